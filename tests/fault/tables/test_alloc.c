/* Goal: the tables behind worker and dispatcher that get no memory say so, and leak nothing.
 * Method: fault.h over opening, filling and closing each of them. */
#include "base/parts.h"
#include "dispatcher/delay.h"
#include "dispatcher/entries.h"
#include "dispatcher/history.h"
#include "dispatcher/keys_table.h"
#include "dispatcher/placement.h"
#include "dispatcher/policy.h"
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
    const mr_window_conf conf = {0};
    mr_placement *p = NULL;
    mr_window *w = NULL;
    mr_recent *r = NULL;
    mr_entry e = {.lane = MR_PRIORITY_NORMAL};
    mr_status st = mr_placement_open(&p, 2, 1000, err);

    mr_arena_init(&e.arena, 1 << 16);
    e.job.model = "m";
    e.job.tenant = "t";
    e.cost = 1;
    if (st == MR_OK && (st = mr_placement_report(p, &h, 1)) != MR_OK) mr_fail(err, st, "heartbeat");
    if (st == MR_OK) st = mr_window_open(&w, &conf, err);
    if (st == MR_OK && (st = mr_window_push(w, &e, 1)) != MR_OK) mr_fail(err, st, "window");
    if (st == MR_OK) st = mr_recent_open(&r, err);
    if (st == MR_OK) mr_recent_add(r, "a");
    mr_recent_close(r);
    mr_window_close(w);
    mr_placement_close(p);
    mr_arena_drop(&e.arena);
    return st;
}

/* Tenants without an account of their own share one: entering does not fail. */
static mr_status fill_policy(mr_err *err) {
    static const char yaml[] = "tenants: {default: {jobs_per_s: 5}, a: {weight: 2}, b: {}}";
    mr_policy *p = NULL;
    mr_job_error why;
    mr_status st = mr_policy_open(&p, "", err);

    if (st == MR_OK) st = mr_policy_parse(p, yaml, sizeof yaml - 1, err);
    if (p) {
        CHECK(mr_policy_enter(p, "a", 1, 1, &why));
        CHECK(mr_policy_enter(p, "c", 1, 1, &why));
        mr_policy_charge(p, "c", true, 1, 1);
        mr_policy_left(p, "c");
        mr_policy_left(p, "a");
    }
    mr_policy_close(p);
    return st;
}

static mr_status fill_entries(mr_err *err) {
    const mr_past past = {.attempt = 1, .outcome = MR_ATTEMPT_FAULT, .worker = "w", .message = "m"};
    mr_entries *es = NULL;
    mr_delay *d = NULL;
    mr_status st = mr_entries_open(&es, err);

    if (st == MR_OK) st = mr_delay_open(&d, err);
    for (int part = 0; st == MR_OK && part < 40; part++) {
        mr_entry *e = mr_entries_need_row(es, part)
                          ? mr_entries_make(es, (mr_origin){.part = part}, MR_FROM_DELAY)
                          : NULL;
        if (!e) {
            st = mr_fail(err, MR_ENOMEM, "entry");
            break;
        }
        snprintf(e->job.job_id, sizeof e->job.job_id, "%d", part);
        e->job.history = &past;
        e->job.n_history = 1;
        mr_entries_index(es, e);
        mr_delay_add(d, e, 1);
        (void)mr_history_shorten(&e->job, &e->arena);
        CHECK_I64(e->job.n_history, 1);
        if (part % 2) continue;
        mr_delay_remove(d, e);
        mr_entries_free(es, e);
    }
    mr_entries_close(es);
    mr_delay_close(d);
    return st;
}

/* Without memory for one more the oldest key gives way: only the first may be refused. */
static mr_status fill_keys(mr_err *err) {
    const mr_keys_table_conf conf = {.n_partitions = 2, .max = 100000, .ttl_ms = 1000};
    mr_keys_table *t = NULL;
    char name[16];
    mr_status st = mr_keys_table_open(&t, &conf, err);

    for (int i = 0; st == MR_OK && i < 5000; i++) {
        const mr_key_holder holder = {.job_id = "some job", .time_ms = 1};
        const size_t len = (size_t)snprintf(name, sizeof name, "%d", i);
        if (mr_keys_table_put(t, i % 2, name, len, &holder, 1) == MR_OK)
            CHECK(mr_keys_table_find(t, name, len, 1) != NULL);
        else
            st = mr_fail(err, MR_ENOMEM, "key %d", i);
        CHECK(st == MR_OK || mr_keys_table_len(t) == 0);
    }
    mr_keys_table_close(t);
    return st;
}

static mr_status fill_worker(mr_err *err) {
    mr_jobs *jobs = NULL;
    const mr_sched_conf sched_conf = {.n_ids = 4, .max_running = 2, .step_tokens = 16};
    mr_sched *sched = NULL;
    mr_cancelled cancelled = {0};
    mr_status st = mr_jobs_open(&jobs, 4, err);

    if (st == MR_OK) st = mr_sched_open(&sched, &sched_conf, err);
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
TEST(a_policy_without_memory) { CHECK(fault_each(fill_policy, 1) > 4); }
TEST(entries_without_memory) { CHECK(fault_each(fill_entries, 1) > 40); }
TEST(keys_without_memory) { CHECK(fault_each(fill_keys, 1) > 6); }
TEST(a_worker_without_memory) { CHECK(fault_each(fill_worker, 1) > 3); }

MR_TEST_MAIN
