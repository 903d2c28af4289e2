/* intake_world.h - an intake with all that it works with, on the embedded broker, without release:
 * what is queued waits until the test ends it. */
#ifndef MR_TESTS_DISPATCHER_INTAKE_WORLD_H
#define MR_TESTS_DISPATCHER_INTAKE_WORLD_H

#include "base/clock.h"
#include "dispatcher/intake.h"
#include "rig.h"

#ifndef INGRESS_PARTS
#define INGRESS_PARTS 1
#endif
#define RESULT_PARTS 4 /* the embedded broker keeps 5 MiB of each */

static mr_commit *commit;
static mr_policy *policy;
static mr_window *window;
static mr_keys *keys;
static mr_intake *intake;
static mr_kafka_producer *producer;
static reader results, dead;
static size_t n_queued, n_waits, n_known; /* n_known: queued when the test began */
static uint64_t queued_ms;       /* when the last one was, wall clock */
static mr_job_spec last;         /* queued; what it points to lives as long as its entry */
static mr_priority last_lane;
static bool refuse_all;

static inline bool vet(void *owner, mr_entry *e, mr_job_error *why) {
    (void)owner;
    e->job.model = "m";
    if (refuse_all) *why = (mr_job_error){"unknown_model", "model", "no such model", 0};
    return !refuse_all;
}

static inline void on_queued(void *owner, mr_entry *e) {
    (void)owner;
    n_queued++;
    queued_ms = mr_clock_wall_ms();
    last = e->job;
    last_lane = e->lane;
}

static inline void on_waits(void *owner, const mr_entry *e) {
    (void)owner;
    CHECK(!e->sent);
    n_waits++;
}

static inline void on_delayed(void *owner, const mr_entry *e) {
    (void)owner;
    CHECK(e->job.due_ms > 0);
}

static inline void on_fatal(void *owner, const char *text) {
    (void)owner;
    fail_msg("fatal: %s", text);
}

static inline void on_loaded(void *owner, int32_t partition) {
    (void)owner;
    mr_intake_keys_loaded(intake, partition);
}

static inline bool is_assigned(void *arg) {
    (void)arg;
    return mr_intake_assigned(intake);
}

static inline void intake_open(int64_t window_jobs, int64_t window_bytes) {
    const mr_keys_conf kc = {.kafka = &kafka,
                             .topic = names.keys,
                             .n_partitions = INGRESS_PARTS,
                             .ttl_ms = 3600000,
                             .plain = true,
                             .on_loaded = on_loaded,
                             .on_fatal = on_fatal};
    CHECK_OK(mr_keys_open(&keys, &loop, &kc, &err), err);
    const mr_intake_conf conf = {
        .member = {.kafka = &kafka, .group = "g"},
        .names = &names,
        .commit = commit,
        .window = window,
        .policy = policy,
        .keys = keys,
        .n_keyed = INGRESS_PARTS,
        .retry = {.max_attempts = 3, .base_ms = 1000, .max_ms = 60000, .max_backoffs = 2},
        .window_jobs = window_jobs,
        .window_bytes = window_bytes,
        .vet = vet,
        .on_queued = on_queued,
        .on_waits = on_waits,
        .on_delayed = on_delayed,
        .on_fatal = on_fatal};
    CHECK_OK(mr_intake_open(&intake, &loop, &conf, &err), err);
    CHECK(run_until(&loop, is_assigned, NULL, WAIT_MS));
}

static inline void intake_close(void) {
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    mr_commit_close(commit);
    mr_intake_close(intake);
    mr_keys_close(keys);
}

static inline void world_open(int64_t window_jobs, int64_t window_bytes) {
    const mr_window_conf wc = {0};
    rig_open(INGRESS_PARTS, RESULT_PARTS);
    commit = commit_open();
    CHECK_OK(mr_policy_open(&policy, "", &err), err);
    CHECK_OK(mr_window_open(&window, &wc, &err), err);
    producer = producer_open();
    reader_open(&results, names.results, RESULT_PARTS);
    reader_open(&dead, names.dead, 1);
    intake_open(window_jobs, window_bytes);
}

static inline void world_close(void) {
    producer_close(producer);
    intake_close();
    mr_window_close(window);
    mr_policy_close(policy);
    reader_close(&results);
    reader_close(&dead);
    rig_close();
}

static inline bool is_queued(void *arg) {
    return n_queued >= *(size_t *)arg;
}

static inline void wait_queued(size_t n) {
    if (!run_until(&loop, is_queued, &n, WAIT_MS)) fail_msg("%zu queued, not %zu", n_queued, n);
}

static inline void begin_test(void) {
    n_known = n_queued;
}

static inline void cancel_job(unsigned n) {
    char id[MR_JOB_ID_LEN + 1];
    job_id(id, n);
    mr_intake_cancel(intake, id);
}

/* The next result is that of job n, and says so. */
static inline void expect_result(unsigned n, const char *status, const char *code) {
    char id[MR_JOB_ID_LEN + 1], want[64];
    job_id(id, n);
    read_n(&results, results.n + 1);
    const seen *s = read_key(&results, id);
    CHECK(s != NULL);
    snprintf(want, sizeof want, "\"status\":\"%s\"", status);
    if (!strstr(s->value, want)) fail_msg("%s has no %s", s->value, want);
    snprintf(want, sizeof want, "\"code\":\"%s\"", code);
    if (!strstr(s->value, want)) fail_msg("%s has no %s", s->value, want);
}

static inline size_t n_waiting(void) {
    return mr_window_len(window, MR_PRIORITY_HIGH) + mr_window_len(window, MR_PRIORITY_NORMAL) +
           mr_window_len(window, MR_PRIORITY_LOW);
}

#endif
