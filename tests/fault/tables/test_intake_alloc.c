/* Goal: an intake that gets no memory for a record does not lose or refuse the job: it is tried
 * again, or the process is asked to end, and the next start does it. Method: per round a job of each kind
 * (new, with a key, come back, not due, noise) while one more allocation fails; then everything is
 * cancelled after a restart, and each job must have its result. */
#include "tests/fault/fault.h"
#include "tests/unit/dispatcher/intake_world.h"

/* A round whose failure has come goes on for ROUND_MS; that none comes is known after NONE_MS. */
enum { PER_ROUND = 4, ROUND_MS = 60, NONE_MS = 15000, MAX_ROUNDS = 400 };

static void produce_round(unsigned first) {
    const mr_past past = {
        .attempt = 1, .outcome = MR_ATTEMPT_FAULT, .worker = "w", .message = "broke"};
    char later[64];
    mr_job_spec j = released_job(first + 3);

    snprintf(later, sizeof later, ",\"not_before_ms\":%llu",
             (unsigned long long)mr_clock_wall_ms() + 600000);
    produce_job(producer, names.jobs[0], first, "");
    produce_job(producer, names.jobs[1], first + 1, ",\"idempotency_key\":\"k\"");
    produce_job(producer, names.jobs[2], first + 2, later);
    produce(producer, names.jobs[0], NULL, "noise", 5);
    j.history = &past;
    j.n_history = 1;
    produce_spec(producer, names.attempts, MR_KAFKA_ANY_PARTITION, &j);
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
}

static unsigned n_jobs;

static bool has_failed(void *unused) {
    (void)unused;
    return fault_hit;
}

static bool all_have_ended(void *arg) {
    char id[MR_JOB_ID_LEN + 1];
    (void)arg;
    mr_intake_tick(intake, mr_clock_wall_ms());
    for (unsigned i = 0; i < n_jobs; i++) {
        job_id(id, i);
        if (!read_key(&results, id)) return false;
    }
    return mr_intake_bytes(intake) == 0;
}

TEST(no_record_is_lost) {
    unsigned rounds = 0;
    world_open(1000, 64 << 20);
    reader_close(&results); /* they allocate, too: opened again when memory is there */
    reader_close(&dead);
    for (fault_hit = true; fault_hit && rounds < MAX_ROUNDS; rounds++) {
        produce_round(n_jobs);
        n_jobs += PER_ROUND;
        fault_at = rounds + 1;
        fault_count = 0;
        fault_hit = false;
        run_until(&loop, has_failed, NULL, NONE_MS);
        run_until(&loop, NULL, NULL, ROUND_MS);
        fault_at = 0;
    }
    printf("%u rounds\n", rounds);
    CHECK(rounds > 20);
    CHECK(rounds < MAX_ROUNDS);
    CHECK(n_lost > 0);
    intake_close();
    commit = commit_open();
    intake_open(1000, 64 << 20);
    reader_open(&results, names.results, RESULT_PARTS);
    reader_open(&dead, names.dead, INGRESS_PARTS);
    for (unsigned i = 0; i < n_jobs; i++) cancel_job(i);
    CHECK(run_until(&loop, all_have_ended, NULL, 3 * WAIT_MS));
    world_close();
}

MR_TEST_MAIN_SHARED
