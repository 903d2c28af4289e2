/* kafka_fixture.h - the mock cluster, a producer's and a reader's books, for test_kafka*.c.
 *
 * Each message carries nothing special: the reader knows which offset must come next in each
 * partition, so a lost, doubled or misplaced message counts as wrong. */
#ifndef MR_TESTS_KAFKA_FIXTURE_H
#define MR_TESTS_KAFKA_FIXTURE_H

#include "../../test.h"
#include "base/kafka.h"
#include "loop.h"

#define N_PARTS 4
#define TOPIC   "test.topic"
#define WAIT_MS 120000 /* only what never comes takes so long */

typedef struct sent {
    size_t n_ok, n_failed;
    mr_status last_failure;
    mr_kafka_producer *close_me; /* closed inside the callback */
} sent;

typedef struct reader {
    mr_kafka_consumer *c;
    int64_t next[N_PARTS];  /* expected offset per partition */
    int64_t first[N_PARTS]; /* as told by on_assign */
    bool mine[N_PARTS];
    bool pause_at_assign;
    size_t n_got, n_wrong, n_while_paused, n_assign, n_revoke, n_lost, n_eof, n_errors, n_fatal;
    size_t n_want;
    size_t pause_every; /* 0: never */
    uint64_t resume_at[N_PARTS];
    mr_err err;
    size_t n_headers;
    char header[32];
    int64_t commit_at; /* commit_sync on revoke, when > 0 */
} reader;

static void on_delivery(void *owner, void *cookie, mr_status st, const char *text,
                        int32_t partition, int64_t offset) {
    sent *s = owner;
    (void)cookie;
    (void)text;
    (void)partition;
    if (st == MR_OK) {
        s->n_ok++;
        CHECK(offset >= 0);
    } else {
        s->n_failed++;
        s->last_failure = st;
    }
    if (s->close_me) {
        mr_kafka_producer *p = s->close_me;
        s->close_me = NULL;
        mr_kafka_producer_close(p);
    }
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    reader *r = owner;
    CHECK(m->partition >= 0 && m->partition < N_PARTS);
    if (m->offset != r->next[m->partition]) r->n_wrong++;
    r->next[m->partition] = m->offset + 1;
    if (mr_kafka_paused(r->c, m->topic, m->partition)) r->n_while_paused++;
    r->n_got++;
    r->n_headers = m->n_headers;
    size_t len;
    const char *h = mr_kafka_msg_header(m, "color", &len);
    if (h) snprintf(r->header, sizeof r->header, "%.*s", (int)len, h);
    if (r->pause_every && r->n_got % r->pause_every == 0) {
        CHECK_OK(mr_kafka_pause(r->c, m->topic, m->partition, &r->err), r->err);
        CHECK_OK(mr_kafka_pause(r->c, m->topic, m->partition, &r->err), r->err); /* may repeat */
        r->resume_at[m->partition] = mr_clock_mono_ms() + 5;
    }
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    reader *r = owner;
    r->n_assign++;
    for (size_t i = 0; i < n; i++) {
        r->mine[tp[i].partition] = true;
        r->first[tp[i].partition] = tp[i].offset;
        r->next[tp[i].partition] = tp[i].offset < 0 ? 0 : tp[i].offset;
        if (r->pause_at_assign)
            CHECK_OK(mr_kafka_pause(r->c, tp[i].topic, tp[i].partition, &r->err), r->err);
    }
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    reader *r = owner;
    r->n_revoke++;
    r->n_lost += lost;
    for (size_t i = 0; i < n; i++) {
        r->mine[tp[i].partition] = false;
        if (r->commit_at <= 0) continue;
        const mr_kafka_tp at = {
            .topic = tp[i].topic, .partition = tp[i].partition, .offset = r->commit_at};
        CHECK_OK(mr_kafka_commit_sync(r->c, &at, 1, WAIT_MS, &r->err), r->err);
    }
}

static void on_error(void *owner, mr_status st, const char *text, bool fatal) {
    reader *r = owner;
    r->n_errors++;
    r->n_fatal += fatal;
    mr_fail(&r->err, st, "%s", text);
}

/* ---- fixture ---- */

static uv_loop_t loop;
static mr_kafka_mock *mock;
static mr_err err;

/* The mock forms a group in 3 s, and changes it a second before the session timeout. A member that
 * stands still for that long is lost, so only those whose group changes have a short one. */
static bool group_changes;

static mr_kafka_conf conn(void) {
    return (mr_kafka_conf){mr_kafka_mock_brokers(mock), "test",
                           group_changes
                               ? "fetch.wait.max.ms=10;session.timeout.ms=4000;"
                                 "heartbeat.interval.ms=200"
                               : "fetch.wait.max.ms=10;session.timeout.ms=12000;"
                                 "heartbeat.interval.ms=200"};
}

static mr_kafka_conf producer_conn(void) {
    return (mr_kafka_conf){mr_kafka_mock_brokers(mock), "test", NULL};
}

static void start(void) {
    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_kafka_mock_open(&mock, 1, N_PARTS, &err), err);
    CHECK_OK(mr_kafka_mock_topic(mock, TOPIC, 0, &err), err);
}

static void stop(void) {
    CHECK_I64(close_loop(&loop), 0);
    mr_kafka_mock_close(mock);
}

static mr_kafka_consumer_conf reader_conf(reader *r, const char *group) {
    static const char *const topics[] = {TOPIC, NULL};
    return (mr_kafka_consumer_conf){.conn = conn(),
                                    .group = group,
                                    .topics = topics,
                                    .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                    .owner = r,
                                    .on_msg = on_msg,
                                    .on_assign = on_assign,
                                    .on_revoke = on_revoke,
                                    .on_error = on_error};
}

static void send_n(mr_kafka_producer *p, size_t n) {
    static const mr_kafka_header headers[] = {{"color", "blue", 4}, {"color", "green", 5}};
    for (size_t i = 0; i < n; i++) {
        char text[32];
        const int len = snprintf(text, sizeof text, "message %zu", i);
        CHECK_OK(mr_kafka_send(p, TOPIC, (int32_t)(i % N_PARTS), "k", 1, text, (size_t)len, headers,
                               2, NULL, &err),
                 err);
    }
}

static void produce(size_t n) {
    mr_kafka_producer *p = NULL;
    sent s = {0};
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &c, on_delivery, &s, &err), err);
    send_n(p, n);
    CHECK_I64(mr_kafka_flush(p, WAIT_MS), MR_OK);
    CHECK_I64(s.n_ok, n);
    mr_kafka_producer_close(p);
}

static bool got_all(void *arg) {
    reader *r = arg;
    for (int32_t i = 0; i < N_PARTS; i++) {
        if (!r->resume_at[i] || mr_clock_mono_ms() < r->resume_at[i]) continue;
        r->resume_at[i] = 0;
        CHECK_OK(mr_kafka_resume(r->c, TOPIC, i, &r->err), r->err);
        CHECK_OK(mr_kafka_resume(r->c, TOPIC, i, &r->err), r->err); /* a stray one does nothing */
    }
    return r->n_got >= r->n_want;
}

#endif
