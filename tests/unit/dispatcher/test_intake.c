/* Goal: every record of a lane gets its fate (queued, answered, or a dead letter) before its offset
 * is committed; cancels and deadlines end what waits, however many at once; limits pause and let
 * go. Method: the intake on the embedded broker, see intake_world.h. The last test opens
 * the intake once more and sees which records come again. */
#include "intake_world.h"

#define WINDOW_JOBS 12000

TEST(opening) {
    world_open(WINDOW_JOBS, 256 << 20);
}

TEST(the_topic_has_the_last_word_on_priority) {
    static const struct {
        mr_priority topic;
        const char *field;
        mr_priority lane;
    } cases[] = {
        {MR_PRIORITY_HIGH, "", MR_PRIORITY_HIGH},
        {MR_PRIORITY_HIGH, ",\"priority\":\"normal\"", MR_PRIORITY_NORMAL},
        {MR_PRIORITY_NORMAL, "", MR_PRIORITY_NORMAL},
        {MR_PRIORITY_LOW, "", MR_PRIORITY_LOW},
        {MR_PRIORITY_HIGH, ",\"priority\":\"high\"", MR_PRIORITY_HIGH},
        {MR_PRIORITY_NORMAL, ",\"priority\":\"high\"", MR_PRIORITY_NORMAL},
        {MR_PRIORITY_NORMAL, ",\"priority\":\"low\"", MR_PRIORITY_LOW},
        {MR_PRIORITY_LOW, ",\"priority\":\"high\"", MR_PRIORITY_LOW},
    };
    for (unsigned i = 0; i < MR_COUNT(cases); i++) {
        begin_test();
        produce_job(producer, names.jobs[cases[i].topic], 100 + i, cases[i].field);
        wait_queued(n_known + 1);
        CHECK_I64(last_lane, cases[i].lane);
    }
    for (unsigned i = 0; i < MR_COUNT(cases); i++) {
        cancel_job(100 + i);
        expect_result(100 + i, "cancelled", "cancelled");
    }
    CHECK_I64(n_waiting(), 0);
    CHECK_I64(mr_intake_bytes(intake), 0);
}

TEST(bad_jobs_are_answered_and_noise_becomes_a_dead_letter) {
    static const char not_json[] = "{\"broken";
    const char *topic = names.jobs[MR_PRIORITY_NORMAL];
    char *big = calloc(1, 1000000);
    begin_test();
    produce_job(producer, topic, 200, ",\"prioritty\":1");
    expect_result(200, "rejected", "unknown_field");
    refuse_all = true;
    produce_job(producer, topic, 201, "");
    expect_result(201, "rejected", "unknown_model");
    refuse_all = false;

    produce(producer, topic, "application/json", NULL, 0);
    produce(producer, topic, "text/plain", "{}", 2);
    produce(producer, topic, NULL, not_json, sizeof not_json - 1);
    memset(big, 'x', 1000000);
    produce(producer, topic, "application/json", big, 1000000);
    read_n(&dead, 4);
    for (size_t i = 0; i < 4; i++) {
        mr_arena arena;
        mr_dead d;
        mr_arena_init(&arena, 0);
        CHECK_OK(mr_codec_dead_decode(&d, dead.all[i].value, dead.all[i].len, &arena, &err), err);
        CHECK_STR(d.topic, topic);
        CHECK(d.cause[0] && d.message[0]);
        if (i == 1) CHECK_STR(d.cause, "content_type");
        if (i == 2)
            CHECK(d.payload_len == sizeof not_json - 1 &&
                  memcmp(d.payload, not_json, d.payload_len) == 0);
        if (i == 3) CHECK(d.payload_len == 512 << 10 && strstr(d.message, "524288 of 1000000"));
        mr_arena_drop(&arena);
    }
    free(big);
    CHECK_I64(n_queued, n_known);
    CHECK_I64(mr_intake_counters(intake)->dead, 4);
    CHECK_I64(mr_intake_bytes(intake), 0);
}

TEST(a_cancel_may_come_before_its_job) {
    begin_test();
    cancel_job(300);
    produce_job(producer, names.jobs[0], 300, "");
    expect_result(300, "cancelled", "cancelled");
    CHECK_I64(n_queued, n_known);
}

TEST(a_deadline_ends_what_waits) {
    begin_test();
    produce_job(producer, names.jobs[1], 400, ",\"deadline_ms\":600000");
    produce_job(producer, names.jobs[1], 401, "");
    wait_queued(n_known + 2);
    mr_intake_tick(intake, mr_clock_wall_ms());
    CHECK_I64(n_waiting(), 2);
    mr_intake_tick(intake, mr_clock_wall_ms() + 600001);
    expect_result(400, "expired", "expired");
    CHECK_I64(n_waiting(), 1);
    cancel_job(401);
    expect_result(401, "cancelled", "cancelled");
}

static bool all_ended(void *arg) {
    mr_intake_tick(intake, *(uint64_t *)arg);
    return n_waiting() == 0;
}

/* More than the committer takes, in one turn of the loop: half by deadline, half by cancel. */
TEST(a_mass_end_is_answered_one_by_one) {
    const unsigned n = 15000, most = MR_COMMIT_MAX_RECORDS - MR_COMMIT_RESERVE;
    uint64_t later_ms = mr_clock_wall_ms() + 700000;
    const size_t before = results.n;

    begin_test();
    for (unsigned i = 0; i < n; i++) {
        produce_job(producer, names.jobs[i % 3], 100000 + i,
                    i % 2 ? "" : ",\"deadline_ms\":600000");
        if (i % 10000 == 0) CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    }
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    wait_queued(n_known + n);
    for (unsigned i = 1; i < n; i += 2) cancel_job(100000 + i);
    mr_intake_tick(intake, later_ms);
    CHECK_I64(n_on_the_way(commit), most);
    CHECK_I64(n_waiting(), n - most); /* the others wait for their turn */
    CHECK(run_until(&loop, all_ended, &later_ms, 3 * WAIT_MS));
    CHECK_I64(mr_commit_flush(commit, 3 * WAIT_MS), MR_OK);
    for (unsigned i = 1000; i <= n; i += 1000) read_n(&results, before + i); /* it reads slowly */
    size_t n_cancelled = 0, n_expired = 0;
    for (size_t i = before; i < results.n; i++) {
        n_cancelled += strstr(results.all[i].value, "\"status\":\"cancelled\"") != NULL;
        n_expired += strstr(results.all[i].value, "\"status\":\"expired\"") != NULL;
    }
    CHECK_I64(n_cancelled, n / 2);
    CHECK_I64(n_expired, n / 2);
    CHECK_I64(mr_intake_bytes(intake), 0);
}

/* The brokers refuse the record of an answer: a short one takes its place. */
TEST(a_refused_answer_is_given_in_short) {
    static const int too_large[] = {10, 10}; /* the committer tries it alone, too */
    enum { PRODUCE = 0 };
    char id[MR_JOB_ID_LEN + 1];
    begin_test();
    produce_job(producer, names.jobs[1], 450, ",\"metadata\":{\"k\":\"v\"}");
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    wait_queued(n_known + 1);
    mr_kafka_mock_fail_next(mock, PRODUCE, too_large, 2);
    job_id(id, 450);
    mr_intake_cancel(intake, id);
    expect_result(450, "cancelled", "cancelled");
    CHECK(strstr(read_key(&results, id)->value, "the whole record could not be written"));
    CHECK(!strstr(read_key(&results, id)->value, "metadata"));
}

/* Of six records the second, the fourth and the last are not finished: those come again, and no
 * other. */
TEST(a_restart_reads_what_has_no_fate) {
    begin_test();
    for (unsigned i = 500; i < 506; i++) produce_job(producer, names.jobs[1], i, "");
    wait_queued(n_known + 6);
    for (unsigned i = 500; i < 506; i++) {
        if (i % 2) continue;
        cancel_job(i);
        expect_result(i, "cancelled", "cancelled");
    }
    intake_close();
    CHECK_I64(n_waiting(), 0);
    n_queued = n_known = 0;
    commit = commit_open();
    intake_open(2, 64 << 20); /* pauses after two, and goes on when one is left */
    wait_queued(2);
    mr_intake_tick(intake, mr_clock_wall_ms());
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(n_queued, 2);
    cancel_job(501);
    expect_result(501, "cancelled", "cancelled");
    mr_intake_tick(intake, mr_clock_wall_ms());
    wait_queued(3);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(n_queued, 3);
}

static mr_entry *hand_on_first(void) {
    mr_entry *e = mr_window_pop(window, mr_window_model(window, 0), MR_LANES_ALL, 0);
    mr_intake_sent(intake, e);
    return e;
}

/* A partition with two jobs has no room. One that is handed on makes it, though it is still held.
 * At the end of a turn those that came in it and stay are shown as waiting, once. */
TEST(what_is_handed_on_makes_room) {
    const mr_job_error why = {.code = "x", .field = "", .message = "refused by the test"};
    mr_entry *gone[4];

    begin_test();
    mr_intake_flow(intake);
    CHECK_I64(n_waiting(), 2);
    produce_job(producer, names.jobs[1], 510, "");
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    mr_intake_flow(intake);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(n_queued, n_known);
    n_waits = 0;
    gone[0] = hand_on_first();
    mr_intake_flow(intake);
    wait_queued(n_known + 1);
    mr_intake_flow(intake);
    mr_intake_flow(intake);
    CHECK_I64(n_waits, 1);

    gone[1] = hand_on_first();
    mr_intake_flow(intake);
    produce_job(producer, names.jobs[1], 511, "");
    wait_queued(n_known + 2);
    CHECK_I64(n_waiting(), 2);
    gone[2] = hand_on_first(); /* 510 */
    gone[3] = hand_on_first();
    mr_intake_flow(intake);
    CHECK_I64(n_waits, 1); /* 511 came and went in one turn */
    for (size_t i = 0; i < 4; i++) mr_intake_refuse(intake, gone[i], MR_STATUS_REJECTED, &why);
}

TEST(closing) {
    world_close();
}

MR_TEST_MAIN_SHARED
