/* Goal: each committed result reaches Redis once, in its hash and as `done` on its stream, and the
 * account of its tenant; without Redis little is held and all of it is told later; what is no
 * result, or what Redis will never take, stops nobody. What waits is shown, turn by turn. Method:
 * the embedded broker full of results, and a redis-server of our own that comes late, dies and
 * comes back; what it holds is asked through redis-cli. */
#include "dispatcher/follower.h"

#include "rig.h"
#include "schemas/headers.h"

#define PARTS 2

static mr_status_view *view;
static mr_follower *follower;
static mr_kafka_producer *producer;
static char text[65536];

static void on_up(void *owner) {
    (void)owner;
    if (follower) mr_follower_kick(follower);
}

static void on_fatal(void *owner, const char *why) {
    (void)owner;
    fail_msg("fatal: %s", why);
}

static struct {
    size_t n;
    char tenant[32];
    mr_priority lane;
    uint32_t charged, used;
} settled;

static void on_charged(void *owner, const mr_result *r, mr_priority lane, uint32_t charged) {
    (void)owner;
    settled.n++;
    snprintf(settled.tenant, sizeof settled.tenant, "%s", r->tenant);
    settled.lane = lane;
    settled.charged = charged;
    settled.used = r->prompt_tokens + r->completion_tokens;
}

static void produce_result(unsigned n, const char *more) {
    char id[MR_JOB_ID_LEN + 1], json[1024];
    job_id(id, n);
    const int len =
        snprintf(json, sizeof json, "{\"job_id\":\"%s\",\"status\":\"succeeded\"%s%s}", id,
                 strstr(more, "attempt") ? "" : ",\"attempt\":1", more);
    produce(producer, names.results, "application/json", json, (size_t)len);
}

static bool has_told(void *arg) {
    return mr_follower_told(follower) >= *(uint64_t *)arg;
}

static void wait_told(uint64_t n) {
    if (!run_until(&loop, has_told, &n, WAIT_MS))
        fail_msg("%llu told, %zu held", (unsigned long long)mr_follower_told(follower),
                 mr_follower_pending(follower));
}

static bool holds_some(void *arg) {
    (void)arg;
    return mr_follower_pending(follower) > 0;
}

static bool holds_none(void *arg) {
    (void)arg;
    return mr_follower_pending(follower) == 0;
}

static void follower_open(void) {
    const mr_follower_conf conf = {.member = {.kafka = &kafka, .group = "f"},
                                   .topic = names.results,
                                   .view = view,
                                   .on_charged = on_charged,
                                   .on_fatal = on_fatal};
    CHECK_OK(mr_follower_open(&follower, &loop, &conf, &err), err);
}

TEST(without_redis_kafka_keeps_the_rest) {
    rig_open(PARTS, PARTS);
    redis_init(&redis);
    producer = producer_open();
    const mr_status_conf vc = {.redis_url = redis.url,
                               .redis_prefix = "mr",
                               .dispatcher = "d1",
                               .ttl_s = 60,
                               .on_up = on_up};
    CHECK_OK(mr_status_open(&view, &loop, &vc, &err), err);
    follower_open();
    for (unsigned i = 0; i < 3000; i++)
        produce_result(i, ",\"finish_reason\":\"stop\",\"usage\":{\"completion_tokens\":7}");
    CHECK(run_until(&loop, holds_some, NULL, WAIT_MS));
    run_until(&loop, NULL, NULL, 500);
    CHECK(mr_follower_pending(follower) <= PARTS); /* the first one of each has paused all */
    CHECK_I64(mr_follower_told(follower), 0);
    redis_start(&redis, "");
    wait_told(3000);
    CHECK_I64(mr_follower_told(follower), 3000);
    CHECK_I64(mr_follower_pending(follower), 0);

    redis_ask(text, sizeof text,
              "HMGET 'mr:{00000000-0000-4000-8000-000000002999}' state tokens "
              "finish_reason result_partition");
    CHECK(strncmp(text, "succeeded\n7\nstop\n", 17) == 0);
    redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000000000}:s' - +");
    CHECK(strncmp(text, "1-7\nf\n", 6) == 0 && strstr(text, "\"type\":\"done\""));
    redis_ask(text, sizeof text, "TTL 'mr:{00000000-0000-4000-8000-000000000000}'");
    CHECK(atoi(text) > 0 && atoi(text) <= 60);
}

TEST(noise_and_bad_keys_stop_nobody) {
    static const char *const noise[] = {
        "",
        "{}",
        "[1,2",
        "{\"job_id\":7}",
        "{\"job_id\":\"x\",\"status\":\"succeeded\"}",
        "{\"job_id\":\"00000000-0000-4000-8000-000000000001\",\"status\":\"nonsense\"}"};
    const uint64_t before = mr_follower_told(follower);
    redis_ask(text, sizeof text, "SET 'mr:{00000000-0000-4000-8000-000000005000}' taken");
    redis_ask(text, sizeof text, "SET 'mr:{00000000-0000-4000-8000-000000005001}:s' taken");
    for (size_t i = 0; i < MR_COUNT(noise); i++)
        produce(producer, names.results, "application/json", noise[i], strlen(noise[i]));
    produce(producer, names.results, "image/png", "x", 1);
    produce(producer, names.results, NULL, NULL, 0);
    produce_result(5000, ""); /* its hash is no hash: never told */
    produce_result(5001, ""); /* its stream is no stream: the hash has the end */
    produce_result(5002, ",\"error\":{\"code\":\"odd\"}");
    produce_result(5003, "");
    wait_told(before + 3);
    redis_ask(text, sizeof text, "HGET 'mr:{00000000-0000-4000-8000-000000005001}' state");
    CHECK_STR(text, "succeeded");
    redis_ask(text, sizeof text, "HGET 'mr:{00000000-0000-4000-8000-000000005003}' state");
    CHECK_STR(text, "succeeded");
    CHECK(run_until(&loop, holds_none, NULL, WAIT_MS));
}

TEST(an_end_is_not_told_twice) {
    const uint64_t before = mr_follower_told(follower);
    produce_result(6000, "");
    produce_result(6000, "");
    wait_told(before + 2);
    redis_ask(text, sizeof text, "XLEN 'mr:{00000000-0000-4000-8000-000000006000}:s'");
    CHECK_STR(text, "1");
}

/* Of a job that was released and made no token, readers may have seen frames of an earlier attempt,
 * which Redis has lost. The end has one ID, however often Redis forgets. */
TEST(an_end_comes_behind_what_redis_has_lost) {
    static const char at[] = ",\"timings\":{\"finished_ms\":1700000000999}";
    static const char never[] = ",\"attempt\":0,\"timings\":{\"finished_ms\":1700000000999}";
    static const char some[] = ",\"usage\":{\"completion_tokens\":4},"
                               "\"timings\":{\"finished_ms\":1700000000999}";
    uint64_t told = mr_follower_told(follower);
    for (int i = 0; i < 2; i++) {
        produce_result(6050, at);
        produce_result(6051, some);
        produce_result(6052, never);
        wait_told(told += 3);
        redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006050}:s' - +");
        CHECK(strncmp(text, "1700000001-0\nf\n", 15) == 0);
        CHECK(strstr(text, "\"attempt\":1700000001,\"index\":0") != NULL);
        redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006051}:s' - +");
        CHECK(strncmp(text, "1-4\nf\n", 6) == 0);
        redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006052}:s' - +");
        CHECK(strncmp(text, "1-0\nf\n", 6) == 0);
        redis_ask(text, sizeof text, "FLUSHALL");
    }
}

/* A worker that had not claimed the stream wrote the result; another one had written frames. */
TEST(an_end_comes_behind_what_an_earlier_attempt_left) {
    const uint64_t before = mr_follower_told(follower);
    redis_ask(text, sizeof text, "XADD 'mr:{00000000-0000-4000-8000-000000006100}:s' 2-5 f x");
    produce_result(6100, ",\"usage\":{\"completion_tokens\":0}");
    produce_result(6100, ",\"usage\":{\"completion_tokens\":0}");
    wait_told(before + 2);
    redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006100}:s' 2-6 +");
    CHECK(strncmp(text, "3-0\nf\n", 6) == 0);
    CHECK(strstr(text, "\"attempt\":3,\"index\":0") != NULL);
    redis_ask(text, sizeof text, "XLEN 'mr:{00000000-0000-4000-8000-000000006100}:s'");
    CHECK_STR(text, "2");
}

/* A result with one more header. */
static void produce_with(unsigned n, const char *header, const char *header_value) {
    static const char json[] = "{\"job_id\":\"00000000-0000-4000-8000-%012u\",\"tenant\":\"acme\","
                               "\"status\":\"failed\",\"attempt\":1,"
                               "\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":12}}";
    char value[300];
    const int len = snprintf(value, sizeof value, json, n);
    const mr_kafka_header h[] = {{"content-type", "application/json", 16},
                                 {header, header_value, strlen(header_value)}};
    CHECK_OK(mr_kafka_send(producer, names.results, MR_KAFKA_ANY_PARTITION, NULL, 0, value,
                           (size_t)len, h, MR_COUNT(h), NULL, &err),
             err);
}

TEST(what_a_job_used_is_told_to_its_tenants_account) {
    const uint64_t before = mr_follower_told(follower);
    CHECK_I64(settled.n, 0);
    produce_with(6200, MR_HEADER_CHARGED, "low 256");
    wait_told(before + 1);
    CHECK_I64(settled.n, 1);
    CHECK_STR(settled.tenant, "acme");
    CHECK_I64(settled.lane, MR_PRIORITY_LOW);
    CHECK_I64(settled.charged, 256);
    CHECK_I64(settled.used, 42);
    produce_with(6201, MR_HEADER_CHARGED, "256"); /* from nobody of ours */
    wait_told(before + 2);
    CHECK_I64(settled.n, 1);
}

TEST(done_has_the_trace_of_its_job) {
    static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const uint64_t before = mr_follower_told(follower);
    produce_with(6210, "traceparent", parent);
    produce_with(6211, "traceparent", "00-nonsense");
    wait_told(before + 2);
    redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006210}:s' - +");
    CHECK(strstr(text, "\"type\":\"done\"") && strstr(text, parent));
    redis_ask(text, sizeof text, "XRANGE 'mr:{00000000-0000-4000-8000-000000006211}:s' - +");
    CHECK(strstr(text, "\"type\":\"done\"") && !strstr(text, "traceparent"));
}

/* ---- what waits ---- */

static void show(uint32_t turn, const char *state, uint64_t ticket, uint64_t due_ms) {
    mr_job_spec j = {.job_id = "00000000-0000-4000-8000-000000006300",
                     .model = "m",
                     .tenant = "acme",
                     .attempt = turn,
                     .tries = turn - 1,
                     .received_ms = 77};
    const mr_status_wait w = {
        .state = state, .lane = MR_PRIORITY_LOW, .ticket = ticket, .due_ms = due_ms};
    const uint64_t before = mr_follower_told(follower);
    mr_status_waiting(view, &j, &w);
    produce_result(6301, ""); /* Redis is told in this order */
    wait_told(before + 1);
}

static void check_fields(const char *fields, const char *want) {
    char command[256];
    snprintf(command, sizeof command, "HMGET 'mr:{00000000-0000-4000-8000-000000006300}' %s",
             fields);
    redis_ask(text, sizeof text, command);
    CHECK_STR(text, want);
}

TEST(what_a_job_waits_for_is_shown_until_a_worker_has_it) {
    show(1, "delayed", 0, 5000);
    check_fields("state turn due_ms received_ms tenant", "delayed\n1\n5000\n77\nacme");
    show(1, "queued", 12, 0);
    check_fields("state lane ticket dispatcher attempt", "queued\nlow\n12\nd1\n1");
    show(1, "released", 0, 0);
    check_fields("state ticket", "released\n12");
    show(1, "queued", 13, 0); /* read again after a crash: it may be running by now */
    check_fields("state ticket", "released\n12");

    redis_ask(text, sizeof text,
              "HSET 'mr:{00000000-0000-4000-8000-000000006300}' state running attempt 900");
    show(1, "released", 0, 0);
    check_fields("state attempt", "running\n900");
    show(2, "delayed", 0, 9000); /* it came back; the number of the attempt stays the worker's */
    check_fields("state attempt turn tries due_ms", "delayed\n900\n2\n1\n9000");
    show(2, "queued", 20, 0);
    check_fields("state ticket", "queued\n20");
    redis_ask(text, sizeof text,
              "HSET 'mr:{00000000-0000-4000-8000-000000006300}' state cancelled");
    show(2, "released", 0, 0);
    check_fields("state", "cancelled");
}

/* A worker was faster than our first word of the job. */
TEST(a_running_job_of_an_unknown_turn_is_in_its_first) {
    redis_ask(text, sizeof text, "DEL 'mr:{00000000-0000-4000-8000-000000006300}'");
    redis_ask(text, sizeof text,
              "HSET 'mr:{00000000-0000-4000-8000-000000006300}' state running attempt 1");
    show(1, "queued", 30, 0);
    check_fields("state ticket", "running\n");
    show(2, "queued", 31, 0);
    check_fields("state ticket", "queued\n31");
}

TEST(redis_dies_and_comes_back) {
    const uint64_t before = mr_follower_told(follower);
    for (unsigned i = 7000; i < 7200; i++) produce_result(i, "");
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    run_until(&loop, NULL, NULL, 20); /* some are under way to it */
    redis_kill(&redis);
    run_until(&loop, NULL, NULL, 300);
    redis_start(&redis, "");
    wait_told(before + 200);
    for (unsigned i = 7200; i < 7210; i++) produce_result(i, "");
    wait_told(before + 210);
}

/* What was told is committed: the next follower of the group has nothing to tell. */
TEST(closing) {
    mr_follower_close(follower);
    follower_open();
    produce_result(8000, "");
    wait_told(1);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(mr_follower_told(follower), 1);
    produce_result(8001, ""); /* closed before Redis may have answered */
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    run_until(&loop, NULL, NULL, 10);
    mr_follower_close(follower);
    mr_status_close(view);
    producer_close(producer);
    rig_close();
    redis_deinit(&redis);
}

MR_TEST_MAIN_SHARED
