/* Goal: a topic is read to its end, each record once, also in parts; one record is found by its
 * place or said to be gone. Method: the embedded broker, records that the test produces. */
#include "world.h"

#include "client/topic.h"

#define N_RECORDS 40

static void on_delivered(void *owner, void *cookie, mr_status st, const char *text,
                         int32_t partition, int64_t offset) {
    (void)owner;
    (void)cookie;
    (void)text;
    (void)partition;
    (void)offset;
    CHECK_I64(st, MR_OK);
}

/* Record i goes to partition i % (N_PARTITIONS - 1): the last one stays empty. */
static void produce_all(const char *name, int n) {
    const mr_kafka_conf conf = {mr_kafka_mock_brokers(mock), "world", NULL};
    mr_kafka_producer *p = NULL;
    uv_loop_t loop;
    mr_err e;

    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &conf, on_delivered, NULL, &e), e);
    for (int i = 0; i < n; i++) {
        char value[16];
        const int len = snprintf(value, sizeof value, "%d", i);
        CHECK_OK(mr_kafka_send(p, name, i % (N_PARTITIONS - 1), NULL, 0, value, (size_t)len, NULL,
                               0, NULL, &e),
                 e);
    }
    CHECK_I64(mr_kafka_flush(p, LONG_MS), MR_OK);
    mr_kafka_producer_close(p);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&loop), 0);
}

typedef struct seen {
    int times[N_RECORDS];
    int n, stop_after; /* of this call; 0: never */
    int64_t next[N_PARTITIONS];
} seen;

static bool on_record(void *owner, const mr_kafka_msg *m) {
    seen *s = owner;
    char value[16];

    snprintf(value, sizeof value, "%.*s", (int)m->len, (const char *)m->value);
    const int i = atoi(value);
    CHECK(i >= 0 && i < N_RECORDS);
    s->times[i]++;
    CHECK_I64(m->offset, s->next[m->partition]++); /* in order */
    return ++s->n != s->stop_after;
}

static void check_once(const seen *s) {
    for (int i = 0; i < N_RECORDS; i++) CHECK_I64(s->times[i], 1);
}

TEST(all_of_a_topic) {
    seen s = {.n = 0};
    mr_topic t;

    world_open("");
    CHECK_OK(mr_kafka_mock_topic(mock, topic("dead"), N_PARTITIONS, &err), err);
    CHECK_OK(mr_topic_init(&t, client, "dead", &err), err);
    CHECK_OK(mr_topic_read(&t, on_record, &s, LONG_MS, &err), err); /* empty */
    CHECK_I64(t.n_left + (size_t)s.n, 0);
    mr_topic_deinit(&t);

    produce_all(topic("dead"), N_RECORDS);
    CHECK_OK(mr_topic_init(&t, client, "dead", &err), err);
    CHECK_I64(t.n_left, N_PARTITIONS);
    CHECK_OK(mr_topic_read(&t, on_record, &s, LONG_MS, &err), err);
    CHECK_I64(t.n_left, 0);
    check_once(&s);
    CHECK_OK(mr_topic_read(&t, on_record, &s, LONG_MS, &err), err); /* nothing more */
    check_once(&s);
    mr_topic_deinit(&t);
    mr_topic_deinit(&t);
    world_close();
}

TEST(a_topic_in_parts) {
    seen s = {.stop_after = 7};
    mr_topic t;
    int n_calls = 0;

    world_open("");
    CHECK_OK(mr_kafka_mock_topic(mock, topic("dead"), N_PARTITIONS, &err), err);
    produce_all(topic("dead"), N_RECORDS);
    CHECK_OK(mr_topic_init(&t, client, "dead", &err), err);
    for (; t.n_left > 0; n_calls++) {
        s.n = 0;
        CHECK_OK(mr_topic_read(&t, on_record, &s, LONG_MS, &err), err);
        CHECK(s.n <= 7);
    }
    CHECK(n_calls >= N_RECORDS / 7);
    check_once(&s);
    mr_topic_deinit(&t);
    world_close();
}

TEST(one_record_by_its_place) {
    seen s = {.next = {5}};

    world_open("");
    CHECK_OK(mr_kafka_mock_topic(mock, topic("dead"), N_PARTITIONS, &err), err);
    produce_all(topic("dead"), N_RECORDS);
    CHECK_OK(mr_topic_fetch(client, topic("dead"), 0, 5, on_record, &s, LONG_MS, &err), err);
    CHECK_I64(s.n, 1);
    CHECK_I64(s.times[15], 1);
    CHECK_I64(mr_topic_fetch(client, topic("dead"), 0, 4711, on_record, &s, LONG_MS, &err),
              MR_ENOTFOUND);
    CHECK_ERR(err, "partition 0 offset 4711 is no longer in topic");
    CHECK_I64(
        mr_topic_fetch(client, topic("dead"), N_PARTITIONS - 1, 0, on_record, &s, LONG_MS, &err),
        MR_ENOTFOUND);
    CHECK_I64(mr_topic_fetch(client, topic("dead"), -1, 0, on_record, &s, LONG_MS, &err),
              MR_ENOTFOUND);
    CHECK_I64(mr_topic_fetch(client, topic("dead"), 0, -1, on_record, &s, LONG_MS, &err),
              MR_ENOTFOUND);
    CHECK_I64(s.n, 1);
    world_close();
}

TEST(what_is_written_can_be_read) {
    seen s = {.n = 0};
    mr_topic t;

    world_open("");
    CHECK_OK(mr_kafka_mock_topic(mock, topic("dead"), N_PARTITIONS, &err), err);
    CHECK_OK(mr_topic_write(client, "dead", JOB, "7", 1, &err), err);
    CHECK_OK(mr_topic_init(&t, client, "dead", &err), err);
    CHECK_OK(mr_topic_read(&t, on_record, &s, LONG_MS, &err), err);
    CHECK_I64(s.times[7], 1);
    mr_topic_deinit(&t);
    world_close();
}

MR_TEST_MAIN_SHARED
