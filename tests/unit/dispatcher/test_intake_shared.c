/* Goal: when partitions change hands, what is held of them goes with them, in the window as in a
 * delay topic: no job is lost, none is kept by whom it left, and what was on its way does no harm.
 * Method: a second intake joins the group of the first on the embedded broker, and leaves it again.
 * That broker has no transactions, so a job may come twice here; the integration tests count on a
 * real one. */
#define INGRESS_PARTS 2
#define SESSION_MS    "6000"
#include "intake_world.h"

enum { N = 40 }; /* half of them are not due */

static mr_commit *commit2;
static mr_window *window2;
static mr_keys *keys2;
static mr_intake *second;

static void on_queued2(void *owner, mr_entry *e) {
    (void)owner;
    (void)e;
}

static void on_loaded2(void *owner, int32_t partition) {
    (void)owner;
    mr_intake_keys_loaded(second, partition);
}

static void second_opens(void) {
    const mr_window_conf wc = {0};
    const mr_keys_conf kc = {.kafka = &kafka,
                             .topic = names.keys,
                             .n_partitions = INGRESS_PARTS,
                             .ttl_ms = 3600000,
                             .plain = true,
                             .on_loaded = on_loaded2,
                             .on_fatal = on_fatal};
    commit2 = commit_open();
    CHECK_OK(mr_window_open(&window2, &wc, &err), err);
    CHECK_OK(mr_keys_open(&keys2, &loop, &kc, &err), err);
    const mr_intake_conf conf = {.member = {.kafka = &kafka, .group = "g"},
                                 .names = &names,
                                 .commit = commit2,
                                 .window = window2,
                                 .policy = policy,
                                 .keys = keys2,
                                 .n_keyed = INGRESS_PARTS,
                                 .window_jobs = 100,
                                 .window_bytes = 64 << 20,
                                 .vet = vet,
                                 .on_queued = on_queued2,
                                 .on_waits = on_waits,
                                 .on_delayed = on_delayed,
                                 .on_fatal = on_fatal};
    CHECK_OK(mr_intake_open(&second, &loop, &conf, &err), err);
}

static void second_closes(void) {
    CHECK_I64(mr_commit_flush(commit2, WAIT_MS), MR_OK);
    mr_commit_close(commit2);
    mr_intake_close(second);
    mr_keys_close(keys2);
    mr_window_close(window2);
    second = NULL;
}

static size_t n_in(const mr_window *w) {
    return mr_window_len(w, MR_PRIORITY_NORMAL);
}

static bool first_has_all(void *arg) {
    (void)arg;
    return n_in(window) >= N / 2 && mr_intake_held(intake) >= N / 2;
}

static bool both_have_some(void *arg) {
    (void)arg;
    return n_in(window) > 0 && n_in(window2) > 0 && mr_intake_held(second) > 0 &&
           n_in(window) + n_in(window2) >= N / 2 &&
           mr_intake_held(intake) + mr_intake_held(second) >= N / 2;
}

/* Nothing is held by who does not own it: with half of the partitions nobody has all. */
static bool each_has_less(void *arg) {
    (void)arg;
    return n_in(window) < N / 2 && mr_intake_bytes(intake) > 0 && mr_intake_bytes(second) > 0;
}

static bool all_have_ended(void *arg) {
    char id[MR_JOB_ID_LEN + 1];
    (void)arg;
    for (unsigned i = 0; i < N; i++) {
        job_id(id, i);
        if (!read_key(&results, id)) return false;
    }
    return mr_intake_bytes(intake) == 0 && (!second || mr_intake_bytes(second) == 0);
}

TEST(opening) {
    char wait[64];
    world_open(100, 64 << 20);
    snprintf(wait, sizeof wait, ",\"not_before_ms\":%llu",
             (unsigned long long)mr_clock_wall_ms() + 600000);
    for (unsigned i = 0; i < N; i++)
        produce_job_to(producer, names.jobs[1], (int32_t)(i / 2 % 2), i, i % 2 ? wait : "");
    CHECK(run_until(&loop, first_has_all, NULL, WAIT_MS));
}

TEST(a_second_one_takes_its_part) {
    second_opens();
    CHECK(run_until(&loop, both_have_some, NULL, 2 * WAIT_MS));
    CHECK(run_until(&loop, each_has_less, NULL, WAIT_MS));
}

static void cancel_both(unsigned from, unsigned to) {
    char id[MR_JOB_ID_LEN + 1];
    for (unsigned i = from; i < to; i++) {
        job_id(id, i);
        mr_intake_cancel(intake, id);
        if (second) mr_intake_cancel(second, id);
    }
}

/* Half of them end while both are there, the others on their way back to the first. */
TEST(all_end_wherever_they_are) {
    cancel_both(0, N / 2);
    run_until(&loop, NULL, NULL, 20);
    second_closes();
    cancel_both(N / 2, N);
    CHECK(run_until(&loop, all_have_ended, NULL, 2 * WAIT_MS));
}

TEST(closing) {
    world_close();
}

MR_TEST_MAIN_SHARED
