/* Goal: what is handed over is acknowledged or reported, exactly once each, whatever the brokers
 * do; and one record that cannot be sent holds nobody up. Method: the embedded broker: taken down
 * and up, with a record too large, with a partition that does not exist; an outbox filled to its
 * limits and closed. */
#include "dispatcher/outbox.h"

#include "rig.h"

#define TOPIC "mr.results"

typedef struct tally {
    mr_outbox *o;
    size_t n_ok, n_invalid, n_canceled, n_other;
    size_t want; /* for has_ended */
    bool send_more;
} tally;

static void on_done(void *owner, void *arg, mr_status st, int64_t offset) {
    tally *t = owner;
    if (st == MR_OK)
        t->n_ok++;
    else if (st == MR_EINVAL)
        t->n_invalid++;
    else if (st == MR_ECANCELED)
        t->n_canceled++;
    else
        t->n_other++;
    CHECK((st == MR_OK) == (offset >= 0));
    CHECK(arg == &t->n_ok);
    if (!t->send_more) return;
    t->send_more = false; /* an answer for one that failed, as release.c does */
    const mr_outbox_record r = {
        .topic = TOPIC, .partition = 0, .key = "more", .value = "v", .len = 1};
    CHECK_I64(mr_outbox_send(t->o, &r, on_done, t, &t->n_ok), MR_OK);
}

static bool has_ended(void *arg) {
    const tally *t = arg;
    return t->n_ok + t->n_invalid + t->n_canceled + t->n_other >= t->want;
}

static void wait_ended(tally *t, size_t n) {
    t->want = n;
    if (!run_until(&loop, has_ended, t, WAIT_MS))
        fail_msg("%zu ended, %zu are on the way, %zu wanted", t->n_ok + t->n_invalid,
                 mr_outbox_len(t->o), n);
}

static mr_status send_one(tally *t, int32_t partition, const void *value, size_t len,
                          uint32_t give_up_ms) {
    const mr_kafka_header h[] = {{"content-type", "application/json", 16}, {"empty", "", 0}};
    const mr_outbox_record r = {.topic = TOPIC,
                                .partition = partition,
                                .key = "k",
                                .value = value,
                                .len = len,
                                .headers = h,
                                .n_headers = 2,
                                .give_up_ms = give_up_ms};
    return mr_outbox_send(t->o, &r, on_done, t, &t->n_ok);
}

static void open_box(tally *t) {
    *t = (tally){0};
    CHECK_OK(mr_outbox_open(&t->o, &loop, &kafka, &err), err);
}

TEST(records_arrive_whole) {
    tally t;
    reader r;
    rig_open(1);
    open_box(&t);
    reader_open(&r, TOPIC, 1);
    CHECK_I64(send_one(&t, MR_KAFKA_ANY_PARTITION, "{}", 2, 0), MR_OK);
    const mr_outbox_record bare = {.topic = TOPIC, .partition = MR_KAFKA_ANY_PARTITION};
    CHECK_I64(mr_outbox_send(t.o, &bare, NULL, NULL, NULL), MR_OK); /* nobody waits for it */
    wait_ended(&t, 1);
    read_n(&r, 2);
    CHECK_STR(r.all[0].key, "k");
    CHECK_STR(r.all[0].value, "{}");
    CHECK_STR(r.all[0].type, "application/json");
    CHECK(r.all[1].key == NULL);
    CHECK_I64(r.all[1].len, 0);
    CHECK_I64(mr_outbox_len(t.o), 0);
    CHECK_I64(mr_outbox_bytes(t.o), 0);
    reader_close(&r);
    mr_outbox_close(t.o);
    rig_close();
}

TEST(a_broker_that_is_away_loses_nothing) {
    tally t;
    rig_open(1);
    open_box(&t);
    mr_kafka_mock_broker_up(mock, false);
    for (int i = 0; i < 500; i++) CHECK_I64(send_one(&t, 0, "v", 1, 0), MR_OK);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(mr_outbox_len(t.o), 500);
    mr_kafka_mock_broker_up(mock, true);
    wait_ended(&t, 500);
    CHECK_I64(t.n_ok, 500);
    mr_outbox_close(t.o);
    rig_close();
}

TEST(a_record_too_large_is_reported_and_the_rest_goes) {
    tally t;
    rig_open(1);
    open_box(&t);
    char *big = calloc(1, 2u << 20);
    t.send_more = true;
    CHECK_I64(send_one(&t, 0, big, 2u << 20, 0), MR_OK);
    CHECK_I64(t.n_invalid, 1);
    CHECK_I64(send_one(&t, 0, "v", 1, 0), MR_OK);
    wait_ended(&t, 3);
    CHECK_I64(t.n_ok, 2);
    free(big);
    mr_outbox_close(t.o);
    rig_close();
}

TEST(an_unknown_partition_holds_nobody_up) {
    tally t;
    rig_open(1);
    open_box(&t);
    CHECK_I64(send_one(&t, 0, "v", 1, 0), MR_OK);
    wait_ended(&t, 1);                              /* the topic's partitions are known */
    CHECK_I64(send_one(&t, 7, "v", 1, 0), MR_OK);   /* waits for ever */
    CHECK_I64(send_one(&t, 8, "v", 1, 500), MR_OK); /* gives up */
    for (int i = 0; i < 100; i++) CHECK_I64(send_one(&t, 0, "v", 1, 0), MR_OK);
    wait_ended(&t, 101);
    CHECK_I64(t.n_ok, 101);
    wait_ended(&t, 102);
    CHECK_I64(t.n_invalid, 1);
    CHECK_I64(mr_outbox_len(t.o), 1);
    mr_outbox_close(t.o);
    CHECK_I64(t.n_canceled, 1);
    rig_close();
}

TEST(it_takes_so_many_and_reports_each_when_closed) {
    tally t;
    size_t n = 0;
    rig_open(1);
    open_box(&t);
    mr_kafka_mock_broker_up(mock, false);
    while (!mr_outbox_busy(t.o)) CHECK_I64((n++, send_one(&t, 0, "v", 1, 0)), MR_OK);
    CHECK_I64(n, MR_OUTBOX_MAX / 2);
    while (!mr_outbox_full(t.o)) CHECK_I64((n++, send_one(&t, 0, "v", 1, 0)), MR_OK);
    CHECK_I64(n, MR_OUTBOX_MAX - MR_OUTBOX_RESERVE);
    while (send_one(&t, 0, "v", 1, 0) == MR_OK) n++;
    CHECK_I64(n, MR_OUTBOX_MAX);
    mr_outbox_close(t.o);
    CHECK_I64(t.n_canceled, MR_OUTBOX_MAX);
    CHECK_I64(t.n_ok + t.n_invalid + t.n_other, 0);
    rig_close();
}

TEST(large_records_fill_it_by_their_bytes) {
    tally t;
    rig_open(1);
    open_box(&t);
    mr_kafka_mock_broker_up(mock, false);
    char *big = calloc(1, 1000000);
    size_t n = 0;
    /* more than the producer's own queue holds: the rest waits in the retry list */
    while (!mr_outbox_full(t.o)) CHECK_I64((n++, send_one(&t, 0, big, 1000000, 0)), MR_OK);
    CHECK(n > 30 && n < 40);
    CHECK(mr_outbox_busy(t.o));
    mr_kafka_mock_broker_up(mock, true);
    wait_ended(&t, n);
    CHECK_I64(t.n_ok, n);
    CHECK_I64(mr_outbox_bytes(t.o), 0);
    free(big);
    mr_outbox_close(t.o);
    rig_close();
}

MR_TEST_MAIN
