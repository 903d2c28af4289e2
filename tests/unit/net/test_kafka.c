/* Goal: messages come through base/kafka exactly as they were sent, once and in order, also while
 * partitions are paused and resumed under load, the broker goes away, and requests fail.
 * Method: librdkafka's mock cluster in this process, see kafka_fixture.h. */
#include "kafka_fixture.h"

#define PRODUCE 0 /* api key of the protocol */

/* Reads without a group, which the mock allows at once. */
static void open_lone_reader(reader *r, int64_t from) {
    mr_kafka_tp tp[N_PARTS];
    const mr_kafka_consumer_conf conf = reader_conf(r, NULL);
    CHECK_OK(mr_kafka_consumer_open(&r->c, &loop, &conf, &err), err);
    for (int32_t i = 0; i < N_PARTS; i++) tp[i] = (mr_kafka_tp){.topic = TOPIC, .partition = i, .offset = from};
    CHECK_OK(mr_kafka_assign(r->c, tp, N_PARTS, &err), err);
}

static bool all_reported(void *arg) {
    return mr_kafka_in_flight(arg) == 0;
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    reader *r = owner;
    CHECK_STR(topic, TOPIC);
    CHECK_I64(offset, r->next[partition]);
    r->n_eof++;
}

TEST(reports_arrive_on_the_loop_and_headers_on_the_other_side) {
    start();
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    send_n(p, 5000);
    CHECK_I64(mr_kafka_in_flight(p), 5000);
    CHECK_I64(s.n_ok, 0); /* no callback outside uv_run */

    reader r = {.n_want = 5000};
    open_lone_reader(&r, MR_KAFKA_OFFSET_BEGIN);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    CHECK_I64(s.n_ok, 5000);
    CHECK_I64(mr_kafka_in_flight(p), 0);
    CHECK_I64(r.n_got, 5000);
    CHECK_I64(r.n_wrong, 0);
    CHECK_I64(r.n_headers, 2);
    CHECK_STR(r.header, "green"); /* the last of equal names */
    mr_kafka_producer_close(p);
    mr_kafka_consumer_close(r.c);
    stop();
}

TEST(pause_and_resume_under_load_lose_nothing_and_double_nothing) {
    start();
    produce(8000);
    reader r = {.n_want = 8000, .pause_every = 97};
    open_lone_reader(&r, MR_KAFKA_OFFSET_BEGIN);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    run_until(&loop, got_all, &r, 300); /* time for a duplicate to show up */
    CHECK_I64(r.n_got, 8000);
    CHECK_I64(r.n_wrong, 0);
    CHECK_I64(r.n_errors, 0);
    mr_kafka_consumer_close(r.c);
    stop();
}

/* Goal: what was fetched before a pause from outside a callback stays away until the resume. */
TEST(a_paused_partition_is_silent) {
    start();
    produce(4000);
    reader r = {.n_want = 1};
    open_lone_reader(&r, MR_KAFKA_OFFSET_BEGIN);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    for (int32_t i = 0; i < N_PARTS; i++) CHECK_OK(mr_kafka_pause(r.c, TOPIC, i, &err), err);
    const size_t before = r.n_got;
    CHECK(before < 4000); /* one turn of the loop delivers a bounded number */
    run_until(&loop, NULL, NULL, 1200);
    CHECK_I64(r.n_got, before);
    for (int32_t i = 0; i < N_PARTS; i++) CHECK_OK(mr_kafka_resume(r.c, TOPIC, i, &err), err);
    r.n_want = 4000;
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(r.n_got, 4000);
    CHECK_I64(r.n_wrong, 0);
    mr_kafka_consumer_close(r.c);
    stop();
}

/* Lets a held consumer, whose wake-up of before is used up, go on; ms until it has n records. */
static uint64_t go_on(reader *r, size_t n) {
    const uint64_t began_ms = mr_clock_mono_ms();
    mr_kafka_hold(r->c, false);
    r->n_want = n;
    CHECK(run_until(&loop, got_all, r, WAIT_MS));
    return mr_clock_mono_ms() - began_ms;
}

/* Goal: a consumer that is held up delivers nothing, and then goes on where it stood: at once, not
 * when the safety timer looks after it. On a busy machine that may be late, but not each time. */
TEST(a_held_consumer_is_silent) {
    enum { SAFETY_MS = 1000, ROUNDS = 10 };
    start();
    produce(4000);
    reader r = {.n_want = 1};
    open_lone_reader(&r, MR_KAFKA_OFFSET_BEGIN);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    mr_kafka_hold(r.c, true);
    mr_kafka_hold(r.c, true); /* may repeat */
    const size_t before = r.n_got;
    CHECK(before < 4000);
    run_until(&loop, NULL, NULL, SAFETY_MS + 200);
    CHECK_I64(r.n_got, before);
    size_t n = 4000;
    for (int round = 1; go_on(&r, n) >= SAFETY_MS; round++) {
        CHECK(round < ROUNDS);
        mr_kafka_hold(r.c, true);
        produce(100);
        n += 100;
        run_until(&loop, NULL, NULL, SAFETY_MS + 200);
    }
    CHECK_I64(r.n_got, n);
    CHECK_I64(r.n_wrong, 0);
    mr_kafka_hold(r.c, true);
    mr_kafka_consumer_close(r.c);
    stop();
}

static bool has_ends(void *arg) {
    return ((reader *)arg)->n_eof >= 2;
}

TEST(reading_without_a_group_starts_where_it_is_told) {
    start();
    produce(400);
    reader r = {.n_want = 150};
    mr_kafka_consumer_conf conf = reader_conf(&r, NULL);
    conf.on_eof = on_eof;
    CHECK_OK(mr_kafka_consumer_open(&r.c, &loop, &conf, &err), err);
    const mr_kafka_tp tp[] = {{.topic = TOPIC, .partition = 1, .offset = 50},
                              {.topic = TOPIC, .partition = 2, .offset = MR_KAFKA_OFFSET_BEGIN}};
    r.next[1] = 50;
    CHECK_OK(mr_kafka_assign(r.c, tp, 2, &err), err);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    CHECK(run_until(&loop, has_ends, &r, WAIT_MS));
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(r.n_got, 150);
    CHECK_I64(r.n_wrong, 0);

    const mr_kafka_tp bad = {.topic = TOPIC, .partition = 1, .offset = -7};
    CHECK(mr_kafka_assign(r.c, &bad, 1, &err) == MR_EINVAL);
    mr_kafka_consumer_close(r.c);
    stop();
}

TEST(messages_survive_a_broker_that_comes_back) {
    start();
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    send_n(p, 20);
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    mr_kafka_mock_broker_up(mock, false);
    send_n(p, 200);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(s.n_ok, 20);
    mr_kafka_mock_broker_up(mock, true);
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    CHECK_I64(s.n_ok, 220);
    mr_kafka_producer_close(p);

    reader r = {.n_want = 220};
    open_lone_reader(&r, MR_KAFKA_OFFSET_BEGIN);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    run_until(&loop, NULL, NULL, 100);
    CHECK_I64(r.n_got, 220); /* idempotent: sent again, stored once */
    CHECK_I64(r.n_wrong, 0);
    mr_kafka_consumer_close(r.c);
    stop();
}

TEST(closing_reports_what_is_left_as_cancelled) {
    start();
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    mr_kafka_mock_broker_up(mock, false);
    send_n(p, 10);
    CHECK_I64(mr_kafka_flush(p, 50), MR_ETIMEOUT);
    mr_kafka_producer_close(p);
    CHECK_I64(s.n_failed, 10);
    CHECK_I64(s.last_failure, MR_ECANCELED);
    stop();
}

TEST(closing_inside_a_callback_is_safe) {
    start();
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    send_n(p, 100);
    s.close_me = p;
    stop(); /* runs the loop until the handles are gone */
    CHECK_I64(s.n_ok + s.n_failed, 100);
}

/* Goal: an error that kills an idempotent producer for good is healed by a new one.
 * Method: the broker claims a gap in the sequence numbers. */
TEST(a_dead_producer_is_rebuilt) {
    start();
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    static const int out_of_order[] = {45, 45, 45, 45};
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    send_n(p, 4);
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    mr_kafka_mock_fail_next(mock, PRODUCE, out_of_order, 1);
    send_n(p, 4);
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    CHECK(s.n_failed > 0);
    CHECK_I64(s.last_failure, MR_EUNAVAIL);
    run_until(&loop, NULL, NULL, 100);
    const size_t ok = s.n_ok;
    send_n(p, 4);
    CHECK(run_until(&loop, all_reported, p, WAIT_MS));
    CHECK_I64(s.n_ok, ok + 4);
    mr_kafka_producer_close(p);
    stop();
}

TEST(wrong_input_is_named) {
    start();
    mr_kafka_producer *p = NULL;
    mr_kafka_consumer *c = NULL;
    sent s = {0};
    mr_kafka_conf good = producer_conn(), bad = good;

    bad.brokers = "";
    CHECK_I64(mr_kafka_producer_open(&p, &loop, &bad, on_delivery, &s, &err), MR_EINVAL);
    CHECK_ERR(err, "brokers");
    CHECK(p == NULL);
    bad = good;
    bad.extra = "socket.timeout.ms=5000;no.such.property=1";
    CHECK_I64(mr_kafka_producer_open(&p, &loop, &bad, on_delivery, &s, &err), MR_EINVAL);
    CHECK_ERR(err, "no.such.property");
    bad.extra = "pw";
    CHECK_I64(mr_kafka_producer_open(&p, &loop, &bad, on_delivery, &s, &err), MR_EINVAL);
    CHECK_ERR(err, "property 1");
    CHECK(!strstr(err.text, "pw"));

    CHECK_OK(mr_kafka_producer_open(&p, &loop, &good, on_delivery, &s, &err), err);
    CHECK_I64(mr_kafka_send(p, "bad topic", 0, NULL, 0, "v", 1, NULL, 0, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "bad topic");
    char *big = calloc(1, 2000000);
    CHECK_I64(mr_kafka_send(p, TOPIC, 0, NULL, 0, big, 2000000, NULL, 0, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "2000000");
    free(big);
    CHECK_I64(mr_kafka_in_flight(p), 0);
    mr_kafka_producer_close(p);

    reader r = {0};
    mr_kafka_consumer_conf conf = reader_conf(&r, "g");
    conf.reset_offset = 17;
    CHECK_I64(mr_kafka_consumer_open(&c, &loop, &conf, &err), MR_EINVAL);
    CHECK_ERR(err, "17");
    conf = reader_conf(&r, "g");
    conf.strategy = "nonsense";
    CHECK_I64(mr_kafka_consumer_open(&c, &loop, &conf, &err), MR_EINVAL);
    CHECK_ERR(err, "partition.assignment.strategy");
    conf = reader_conf(&r, "g");
    conf.topics = NULL;
    CHECK_I64(mr_kafka_consumer_open(&c, &loop, &conf, &err), MR_EINVAL);
    CHECK_ERR(err, "no topics");
    CHECK(c == NULL);
    stop();
}

TEST(topics_are_ensured_and_counted) {
    start();
    const mr_kafka_conf c = producer_conn();
    const mr_kafka_topic topics[] = {{TOPIC, N_PARTS, NULL}, {"made.by.asking", 4, NULL}};
    int32_t n = 0;
    mr_kafka_tp ends[N_PARTS];
    size_t n_ends = 0;
    CHECK_I64(mr_kafka_partitions(&c, "made.by.asking", WAIT_MS, &n, &err), MR_ENOTFOUND);
    CHECK_I64(mr_kafka_partitions(&c, "made.by.asking", WAIT_MS, &n, &err),
              MR_ENOTFOUND); /* not made */
    CHECK_OK(mr_kafka_ensure_topics(&c, topics, 2, WAIT_MS, &err), err);
    CHECK_OK(mr_kafka_ensure_topics(&c, topics, 2, WAIT_MS, &err), err);
    CHECK_OK(mr_kafka_partitions(&c, "made.by.asking", WAIT_MS, &n, &err), err);
    CHECK_I64(n, 4);
    produce(40);
    CHECK_OK(mr_kafka_ends(&c, TOPIC, WAIT_MS, ends, N_PARTS, &n_ends, &err), err);
    CHECK_I64(n_ends, N_PARTS);
    CHECK_I64(ends[2].offset, 10);

    mr_kafka_mock_broker_up(mock, false);
    CHECK_I64(mr_kafka_partitions(&c, TOPIC, 300, &n, &err), MR_EUNAVAIL);
    CHECK_ERR(err, c.brokers);
    stop();
}

MR_TEST_MAIN_SHARED
