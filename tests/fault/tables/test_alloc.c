/* Goal: the tables behind worker and dispatcher that get no memory say so, and leak nothing.
 * Method: fault.h over opening, filling and closing each of them. */
#include "base/parts.h"
#include "dispatcher/placement.h"
#include "dispatcher/recent.h"
#include "dispatcher/window.h"
#include "tests/fault/fault.h"
#include "worker/cancelled.h"
#include "worker/job.h"
#include "worker/sched.h"

static mr_status fill_parts(mr_err *err) {
    mr_parts *p = NULL;
    mr_origin at;
    mr_status st = mr_parts_open(&p, 64, err);

    for (int i = 0; st == MR_OK && i < 40; i++) {
        const int part = mr_parts_assign(p, "topic", i, 5, NULL, 0, NULL, err);
        if (part < 0) {
            st = MR_ENOMEM;
            break;
        }
        st = mr_parts_begin(p, part, 5, &at);
        if (st == MR_OK) (void)mr_parts_finish(p, at);
    }
    mr_parts_close(p);
    return st;
}

static mr_status fill_dispatcher(mr_err *err) {
    struct mr_heartbeat_part owned = {0, 0};
    const mr_heartbeat h = {.worker = "w", .model = "m", .parts = &owned, .n_parts = 1,
                            .free_slots = 4, .max_slots = 4};
    mr_placement *p = NULL;
    mr_window *w = NULL;
    mr_recent *r = NULL;
    mr_entry e = {.lane = MR_PRIORITY_NORMAL};
    mr_status st = mr_placement_open(&p, 2, 1000, err);

    mr_arena_init(&e.arena, 1 << 16);
    e.job.model = "m";
    if (st == MR_OK && (st = mr_placement_report(p, &h, 1)) != MR_OK) mr_fail(err, st, "heartbeat");
    if (st == MR_OK) st = mr_window_open(&w, err);
    if (st == MR_OK && (st = mr_window_push(w, &e)) != MR_OK) mr_fail(err, st, "window");
    if (st == MR_OK) st = mr_recent_open(&r, err);
    if (st == MR_OK) mr_recent_add(r, "a");
    mr_recent_close(r);
    mr_window_close(w);
    mr_placement_close(p);
    mr_arena_drop(&e.arena);
    return st;
}

static mr_status fill_worker(mr_err *err) {
    mr_jobs *jobs = NULL;
    mr_sched *sched = NULL;
    mr_cancelled cancelled = {0};
    mr_status st = mr_jobs_open(&jobs, 4, err);

    if (st == MR_OK) st = mr_sched_open(&sched, 4, 2, 16, err);
    if (st == MR_OK) st = mr_cancelled_init(&cancelled, err);
    if (st == MR_OK) {
        mr_job *j = mr_jobs_take(jobs);
        CHECK(j != NULL);
        if (mr_job_add_text(j, "some text", 9) != MR_OK) st = mr_fail(err, MR_ENOMEM, "text");
        mr_job_move(j, MR_JOB_DECODED, 1);
        mr_job_move(j, MR_JOB_FLUSHING, 1);
        mr_job_move(j, MR_JOB_DONE, 1);
        mr_jobs_put(jobs, j, 1);
    }
    mr_cancelled_deinit(&cancelled);
    mr_sched_close(sched);
    mr_jobs_close(jobs);
    return st;
}

TEST(partitions_without_memory) { CHECK(fault_each(fill_parts, 1) > 40); }
TEST(a_dispatcher_without_memory) { CHECK(fault_each(fill_dispatcher, 1) > 3); }
TEST(a_worker_without_memory) { CHECK(fault_each(fill_worker, 1) > 3); }

MR_TEST_MAIN
