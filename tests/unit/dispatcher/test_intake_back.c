/* Goal: jobs that come back from a worker, that are not due, or that have an idempotency key take
 * the way of intake.h: retried never early, dead with their evidence, ended by cancel and deadline
 * wherever they are held, once per key. Method: records as workers and dispatchers write them, on
 * the embedded broker (see intake_world.h); long waits by telling the intake a later time. */
#include "dispatcher/delay.h"
#include "dispatcher/history.h"
#include "intake_world.h"

static reader hops[MR_TIER_N], ready[MR_PRIORITY_N];

TEST(opening) {
    world_open(100, 64 << 20);
    for (int t = 0; t < MR_TIER_N; t++) reader_open(&hops[t], names.delay[t], INGRESS_PARTS);
    for (int l = 0; l < MR_PRIORITY_N; l++) reader_open(&ready[l], names.ready[l], INGRESS_PARTS);
}

static void send_job(const char *topic, const mr_job_spec *j) {
    produce_spec(producer, topic, MR_KAFKA_ANY_PARTITION, j);
}

/* j comes back from a worker. */
static void come_back(mr_job_spec *j, mr_attempt_outcome outcome, const char *message) {
    const mr_past past = {.attempt = j->attempt,
                          .outcome = outcome,
                          .worker = "w1",
                          .message = message,
                          .time_ms = mr_clock_wall_ms()};
    j->history = &past;
    j->n_history = 1;
    send_job(names.attempts, j);
    j->history = NULL;
    j->n_history = 0;
}

/* The next record of a delay topic, in arena. */
static mr_job_spec next_hop(int tier, mr_arena *arena) {
    mr_job_spec j;
    read_n(&hops[tier], hops[tier].n + 1);
    const seen *s = &hops[tier].all[hops[tier].n - 1];
    mr_arena_init(arena, 0);
    CHECK_I64(mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, s->value, s->len, true, arena, NULL),
              MR_OK);
    CHECK_STR(s->key, j.job_id);
    return j;
}

static bool is_held(void *arg) {
    return mr_intake_held(intake) == *(size_t *)arg;
}

static void wait_held(size_t n) {
    if (!run_until(&loop, is_held, &n, WAIT_MS))
        fail_msg("%zu held, not %zu", mr_intake_held(intake), n);
}

static void nothing_is_left(void) {
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    CHECK_I64(mr_commit_get_stats(commit).unfinished, 0);
    CHECK_I64(mr_intake_bytes(intake), 0);
}

/* A fault waits a second in delay.1s; then it is queued, under the next attempt. */
TEST(a_fault_waits_and_goes_on) {
    mr_job_spec j = released_job(1);
    mr_arena arena;
    begin_test();
    come_back(&j, MR_ATTEMPT_FAULT, "the engine failed");
    const mr_job_spec hop = next_hop(0, &arena);
    CHECK_I64(hop.attempt, 2);
    CHECK_I64(hop.tries, 1);
    CHECK_I64(hop.backoffs, 0);
    CHECK_I64(hop.n_history, 1);
    CHECK_STR(hop.history[0].message, "the engine failed");
    CHECK(hop.due_ms >= j.received_ms + 1000);
    wait_queued(n_known + 1);
    CHECK(queued_ms >= hop.due_ms);
    CHECK_STR(last.job_id, j.job_id);
    CHECK_I64(last.attempt, 2);
    mr_arena_drop(&arena);
    cancel_job(1);
    expect_result(1, "cancelled", "cancelled");
    CHECK(strstr(read_key(&results, j.job_id)->value, "\"tries\":1"));
    nothing_is_left();
}

TEST(no_memory_is_waited_out_here) {
    mr_job_spec j = released_job(2);
    const uint64_t sent_ms = mr_clock_wall_ms();
    begin_test();
    come_back(&j, MR_ATTEMPT_OOM, "no memory");
    wait_queued(n_known + 1);
    CHECK(queued_ms >= sent_ms + 250);
    CHECK_I64(last.tries, 0);
    CHECK_I64(last.backoffs, 1);
    CHECK_I64(last.attempt, 2);
    cancel_job(2);
    expect_result(2, "cancelled", "cancelled");
}

TEST(too_large_goes_to_another_at_once) {
    mr_job_spec j = released_job(3);
    begin_test();
    j.need_tokens = 5000;
    come_back(&j, MR_ATTEMPT_NO_FIT, "needs 5000 tokens");
    wait_queued(n_known + 1);
    CHECK_I64(last.need_tokens, 5000);
    CHECK_I64(last.attempt, 2);
    CHECK_I64(last.tries, 0);
    cancel_job(3);
    expect_result(3, "cancelled", "cancelled");
}

/* No attempt is left: result and dead letter say so, and the letter holds the whole record. */
TEST(a_job_without_attempts_is_dead) {
    mr_job_spec j = released_job(4);
    mr_arena arena;
    mr_dead d;
    mr_job_spec kept;
    const size_t n_dead = dead.n;
    begin_test();
    j.tries = 2;
    j.attempt = 3;
    come_back(&j, MR_ATTEMPT_FAULT, "it broke again");
    expect_result(4, "failed", "attempts_exhausted");
    const char *result = read_key(&results, j.job_id)->value;
    CHECK(strstr(result, "3 of 3 attempts have failed; the last one on worker w1: it broke again"));
    CHECK(strstr(result, "\"tries\":3"));
    read_n(&dead, n_dead + 1);
    const seen *letter = &dead.all[n_dead];
    CHECK_STR(letter->key, j.job_id);
    mr_arena_init(&arena, 0);
    CHECK_OK(mr_codec_dead_decode(&d, letter->value, letter->len, &arena, &err), err);
    CHECK_STR(d.cause, "attempts_exhausted");
    CHECK_STR(d.job_id, j.job_id);
    CHECK_STR(d.topic, names.attempts);
    CHECK(strstr(d.message, "it broke again"));
    CHECK_I64(
        mr_codec_job_decode(&kept, MR_FORMAT_MSGPACK, d.payload, d.payload_len, true, &arena, NULL),
        MR_OK);
    CHECK_STR(kept.history[0].worker, "w1");
    mr_arena_drop(&arena);

    j = released_job(5);
    j.backoffs = 2;
    come_back(&j, MR_ATTEMPT_OOM, "no memory");
    expect_result(5, "failed", "out_of_memory");
    read_n(&dead, n_dead + 2);
    CHECK_I64(n_queued, n_known);
    nothing_is_left();
}

/* The attempt was decided already: the job just goes on. So does one without history. */
TEST(what_goes_on_is_not_decided_twice) {
    const mr_past past = {
        .attempt = 1, .outcome = MR_ATTEMPT_FAULT, .worker = "w1", .message = "it broke"};
    mr_job_spec j = released_job(6);
    begin_test();
    j.attempt = 2;
    j.tries = 1;
    j.history = &past;
    j.n_history = 1;
    send_job(names.attempts, &j);
    wait_queued(n_known + 1);
    CHECK_I64(last.tries, 1);
    CHECK_I64(last.attempt, 2);
    cancel_job(6);
    expect_result(6, "cancelled", "cancelled");
    j = released_job(7);
    send_job(names.attempts, &j);
    wait_queued(n_known + 2);
    CHECK_I64(last.tries, 0);
    cancel_job(7);
    expect_result(7, "cancelled", "cancelled");
}

TEST(notes_for_people_need_no_answer) {
    static const char note[] = "{\"job_id\":\"x\",\"outcome\":\"drained\"}";
    const uint64_t notes = mr_intake_counters(intake)->notes;
    const size_t n_results = results.n, n_dead = dead.n;
    mr_job_spec j = released_job(8);
    produce(producer, names.attempts, "application/json", note, sizeof note - 1);
    produce(producer, names.attempts, "application/msgpack", "\xc1", 1);
    read_n(&dead, n_dead + 1);
    send_job(names.attempts, &j);
    begin_test();
    wait_queued(n_known + 1);
    cancel_job(8);
    expect_result(8, "cancelled", "cancelled");
    CHECK_I64(mr_intake_counters(intake)->notes, notes + 1);
    CHECK_I64(results.n, n_results + 1);
    nothing_is_left();
}

static void produce_later(unsigned n, uint64_t wait_ms, const char *more) {
    char fields[200];
    snprintf(fields, sizeof fields, ",\"not_before_ms\":%llu%s",
             (unsigned long long)(mr_clock_wall_ms() + wait_ms), more);
    produce_job(producer, names.jobs[1], n, fields);
}

/* 40 seconds: 30 s, 5 s, 1 s, and the rest here. The clock is the test's. */
TEST(a_long_wait_is_a_chain_of_hops) {
    static const int tiers[] = {2, 1, 0};
    static const uint64_t left_ms[] = {40000, 9000, 3500}; /* when the hop is chosen */
    const size_t n_ready = ready[MR_PRIORITY_NORMAL].n;
    uint64_t due_ms = 0;
    mr_arena arena;
    begin_test();
    produce_later(10, left_ms[0], "");
    for (size_t i = 0; i < MR_COUNT(tiers); i++) {
        if (i > 0) mr_intake_tick(intake, due_ms - left_ms[i]);
        const mr_job_spec hop = next_hop(tiers[i], &arena);
        CHECK(!due_ms || hop.due_ms == due_ms);
        due_ms = hop.due_ms;
        mr_arena_drop(&arena);
        wait_held(1);
        if (tiers[i] == 0) break; /* a second: a machine may stand still for that long */
        mr_intake_tick(intake, mr_clock_wall_ms());
        CHECK_I64(mr_intake_held(intake), 1); /* its time here is not over */
    }
    mr_intake_tick(intake, due_ms - 1);
    CHECK_I64(mr_intake_held(intake), 1);
    CHECK_I64(n_queued, n_known);
    mr_intake_tick(intake, due_ms);
    CHECK_I64(mr_intake_held(intake), 0);
    read_n(&ready[MR_PRIORITY_NORMAL], n_ready + 1);
    CHECK_I64(n_queued, n_known); /* who reads it there has a clock of its own, and waits on */
    cancel_job(10);
    expect_result(10, "cancelled", "cancelled");
    nothing_is_left();
}

TEST(a_short_wait_is_waited_here) {
    begin_test();
    const uint64_t asked_ms = mr_clock_wall_ms(); /* before the time that the job names is taken */
    produce_later(11, 700, "");
    wait_queued(n_known + 1);
    CHECK(queued_ms >= asked_ms + 700);
    cancel_job(11);
    expect_result(11, "cancelled", "cancelled");
}

/* Twice as many low jobs as a partition may hold come up in one partition and find no worker: the
 * high one behind them gets its turn. */
static void hold_up_nobody(const char *topic, unsigned first, const mr_job_spec *like) {
    enum { LOW = 200 };
    char id[MR_JOB_ID_LEN + 1];
    mr_job_spec j = *like;
    begin_test();
    for (unsigned i = 0; i <= LOW; i++) {
        job_id(j.job_id, first + i);
        j.priority = i < LOW ? MR_PRIORITY_LOW : MR_PRIORITY_HIGH;
        send_job(topic, &j);
    }
    wait_queued(n_known + 100 + 1); /* window_jobs low ones, and it */
    while (mr_intake_unread(intake, MR_PRIORITY_LOW) != LOW - 100) { /* in ready.low, not fetched */
        mr_intake_tick(intake, mr_clock_wall_ms());
        run_until(&loop, NULL, NULL, 10);
    }
    job_id(id, first + LOW);
    CHECK(mr_window_has_lane(window, "m", MR_PRIORITY_HIGH));
    CHECK_I64(mr_window_len(window, MR_PRIORITY_LOW), 100);
    for (unsigned i = 0; i <= LOW; i++) cancel_job(first + i);
    mr_intake_tick(intake, mr_clock_wall_ms()); /* there is room for the others */
    read_n(&results, results.n + LOW + 1);
    nothing_is_left();
}

TEST(due_low_jobs_hold_up_no_high_one) {
    mr_job_spec j = released_job(0);
    j.due_ms = mr_clock_wall_ms() + 1500;
    hold_up_nobody(names.delay[0], 1000, &j);
}

TEST(neither_do_low_jobs_that_go_on) {
    const mr_job_spec j = released_job(0);
    hold_up_nobody(names.attempts, 2000, &j);
}

/* Who puts a low job into the high lane's topic holds up nobody there. */
TEST(nor_low_jobs_in_a_high_topic) {
    begin_test();
    for (unsigned i = 0; i < 200; i++)
        produce_job(producer, names.jobs[MR_PRIORITY_HIGH], 3000 + i, ",\"priority\":\"low\"");
    produce_job(producer, names.jobs[MR_PRIORITY_HIGH], 3200, ",\"priority\":\"high\"");
    wait_queued(n_known + 100 + 1);
    CHECK(mr_window_has_lane(window, "m", MR_PRIORITY_HIGH));
    for (unsigned i = 0; i <= 200; i++) cancel_job(3000 + i);
    mr_intake_tick(intake, mr_clock_wall_ms());
    read_n(&results, results.n + 201);
    nothing_is_left();
}

static bool one_is_paused(void *arg) {
    size_t paused;
    (void)arg;
    (void)mr_intake_parts(intake, &paused);
    return paused == 1;
}

/* Memory is short, and many jobs wait for an hour: one that is due soon is held all the same. */
TEST(who_waits_long_does_not_keep_others_out) {
    enum { LONG = 80 };
    begin_test();
    mr_intake_set_window(intake, 100, 1 << 20);
    for (unsigned i = 0; i < LONG; i++) produce_later(100 + i, 3600000, "");
    read_n(&hops[4], hops[4].n + LONG);
    CHECK(run_until(&loop, one_is_paused, NULL, WAIT_MS));
    run_until(&loop, NULL, NULL, 300);
    CHECK(one_is_paused(NULL));
    CHECK(mr_intake_held(intake) < LONG);
    CHECK(mr_intake_bytes(intake) <= (1 << 20) / 4);
    produce_later(99, 1500, "");
    wait_queued(n_known + 1);
    cancel_job(99);
    expect_result(99, "cancelled", "cancelled");
    mr_intake_set_window(intake, 100, 64 << 20);
    mr_intake_tick(intake, mr_clock_wall_ms());
    for (unsigned i = 0; i < LONG; i++) cancel_job(100 + i);
    read_n(&results, results.n + LONG);
    nothing_is_left();
}

TEST(a_cancel_ends_what_is_held) {
    begin_test();
    produce_later(12, 100000, "");
    wait_held(1);
    cancel_job(12);
    expect_result(12, "cancelled", "cancelled");
    CHECK_I64(mr_intake_held(intake), 0);
    nothing_is_left();
}

/* The cancel comes while the job is on its way into a delay topic. */
TEST(a_cancel_is_remembered_across_a_hop) {
    const size_t n = hops[3].n;
    begin_test();
    produce_later(13, 400000, "");
    while (mr_intake_counters(intake)->hops[3] == 0) run_until(&loop, NULL, NULL, 1);
    cancel_job(13);
    expect_result(13, "cancelled", "cancelled");
    read_n(&hops[3], n + 1);
    nothing_is_left();
}

TEST(a_deadline_ends_what_is_held) {
    begin_test();
    produce_later(14, 100000, ",\"deadline_ms\":1500");
    expect_result(14, "expired", "expired"); /* in time, by itself */
    const uint64_t sent_ms = mr_clock_wall_ms();
    produce_later(15, 100000, ",\"deadline_ms\":60000");
    wait_held(1);
    mr_intake_tick(intake, sent_ms + 59999); /* of the record's own time, which is later */
    wait_held(1);
    mr_intake_tick(intake, mr_clock_wall_ms() + 60001);
    expect_result(15, "expired", "expired");
    nothing_is_left();
}

/* A tenant's backlog counts what waits, and not what was sent on. */
TEST(a_full_backlog_ends_what_comes) {
    static const char rules[] = "tenants:\n  default: {backlog: 2}\n";
    begin_test();
    CHECK_OK(mr_policy_parse(policy, rules, sizeof rules - 1, &err), err);
    for (unsigned i = 50; i < 53; i++) produce_later(i, 100000, "");
    wait_held(3);
    for (unsigned i = 53; i < 55; i++) produce_job(producer, names.jobs[1], i, "");
    wait_queued(n_known + 2);
    produce_job(producer, names.jobs[1], 55, "");
    expect_result(55, "rejected", "backlog_full");
    cancel_job(53);
    expect_result(53, "cancelled", "cancelled");
    produce_job(producer, names.jobs[1], 56, "");
    wait_queued(n_known + 3);
    mr_job_spec j = released_job(57); /* was let in before: it comes back all the same */
    come_back(&j, MR_ATTEMPT_NO_FIT, "needs more");
    wait_queued(n_known + 4);
    CHECK_OK(mr_policy_parse(policy, "", 0, &err), err);
    for (unsigned i = 50; i < 58; i++) cancel_job(i);
    read_n(&results, results.n + 6);
    nothing_is_left();
}

TEST(too_far_ahead_is_refused) {
    begin_test();
    produce_later(16, MR_JOB_MAX_NOT_BEFORE_MS + 60000, "");
    expect_result(16, "rejected", "out_of_range");
    CHECK_I64(n_queued, n_known);
}

/* One key, one job: the first goes on, the second is told which one has it; the first once more is
 * nobody's answer. Another tenant's key is another key. */
TEST(a_key_names_one_job) {
    char first[MR_JOB_ID_LEN + 1], want[80];
    begin_test();
    produce_job(producer, names.jobs[1], 20, ",\"idempotency_key\":\"k\"");
    wait_queued(n_known + 1);
    CHECK(last.key_held);
    produce_job(producer, names.jobs[1], 21, ",\"idempotency_key\":\"k\"");
    expect_result(21, "rejected", "duplicate");
    job_id(first, 20);
    snprintf(want, sizeof want, "\"duplicate_of\":\"%s\"", first);
    CHECK(strstr(results.all[results.n - 1].value, want));
    produce_job(producer, names.jobs[1], 20, ",\"idempotency_key\":\"k\"");
    produce_job(producer, names.jobs[1], 22, ",\"idempotency_key\":\"k\",\"tenant\":\"other\"");
    wait_queued(n_known + 2);
    CHECK_I64(mr_intake_counters(intake)->new_keys, 2);
    CHECK_I64(mr_intake_counters(intake)->repeats, 1);
    cancel_job(20);
    expect_result(20, "cancelled", "cancelled");
    cancel_job(22);
    expect_result(22, "cancelled", "cancelled");
    nothing_is_left();
}

/* Records that no dispatcher writes: a job without a key just goes on. */
TEST(what_has_no_key_is_not_asked_for_it) {
    mr_job_spec j = released_job(25);
    begin_test();
    send_job(names.keyed, &j);
    wait_queued(n_known + 1);
    cancel_job(25);
    expect_result(25, "cancelled", "cancelled");
    j = released_job(26);
    j.due_ms = mr_clock_wall_ms() + 600000;
    send_job(names.keyed, &j);
    wait_held(1);
    cancel_job(26);
    expect_result(26, "cancelled", "cancelled");
    nothing_is_left();
}

/* A job with a key, not due and with a deadline: the wait outlives the way through keyed. */
TEST(a_key_and_a_wait) {
    begin_test();
    produce_later(23, 300000, ",\"idempotency_key\":\"later\"");
    wait_held(1);
    CHECK_I64(n_queued, n_known);
    cancel_job(23);
    expect_result(23, "cancelled", "cancelled");
    nothing_is_left();
}

/* The record has grown beyond what the brokers take: the history goes, oldest first, the job does
 * not. */
TEST(what_is_too_large_loses_its_history) {
    static const int too_large[] = {10, 10, 10, 10}; /* each is tried once more, alone */
    enum { PRODUCE = 0, N = 3 };
    mr_past past[N];
    mr_job_spec j = released_job(30);
    mr_arena arena;
    for (unsigned i = 0; i < N; i++)
        past[i] = (mr_past){.attempt = i + 1,
                            .outcome = MR_ATTEMPT_FAULT,
                            .worker = "w1",
                            .message = "it broke",
                            .time_ms = i};
    begin_test();
    j.attempt = N;
    j.max_attempts = 20;
    j.history = past;
    j.n_history = N;
    send_job(names.attempts, &j);
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    mr_kafka_mock_fail_next(mock, PRODUCE, too_large, 4);
    const mr_job_spec hop = next_hop(0, &arena);
    CHECK(hop.n_history < N);
    CHECK_I64(hop.history[hop.n_history - 1].attempt, N);
    mr_arena_drop(&arena);
    wait_queued(n_known + 1);
    cancel_job(30);
    expect_result(30, "cancelled", "cancelled");
    nothing_is_left();
}

/* What was held is read again after a restart, no more and no less. */
TEST(a_restart_finds_what_was_held) {
    begin_test();
    produce_later(40, 100000, "");
    produce_later(41, 500000, "");
    wait_held(2);
    intake_close();
    commit = commit_open();
    intake_open(100, 64 << 20);
    wait_held(2);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(mr_intake_held(intake), 2);
    cancel_job(40);
    expect_result(40, "cancelled", "cancelled");
    cancel_job(41);
    expect_result(41, "cancelled", "cancelled");
    nothing_is_left();
}

TEST(closing) {
    for (int t = 0; t < MR_TIER_N; t++) reader_close(&hops[t]);
    for (int l = 0; l < MR_PRIORITY_N; l++) reader_close(&ready[l]);
    world_close();
}

MR_TEST_MAIN_SHARED
