/* rig.h - what the tests of the queue path share: a loop, the embedded broker, a committer, a
 * reader of any topic, and a redis-server of their own.
 *
 * The embedded broker takes three seconds to form a group, so a file opens its consumers once, in
 * the first test, and closes them in the last. Every wait has a limit. */
#ifndef MR_TESTS_DISPATCHER_RIG_H
#define MR_TESTS_DISPATCHER_RIG_H

#include "base/commit.h"
#include "base/log.h"
#include "dispatcher/names.h"
#include "schemas/codec.h"
#include "tests/redis_server.h"
#include "tests/test.h"
#include "tests/unit/net/loop.h"

#define WAIT_MS  120000
/* Who stands still for so long leaves its group. The embedded broker changes a group a second before:
 * a file in which members come and go has a short one. */
#ifndef SESSION_MS
#define SESSION_MS "12000"
#endif
#define NO_REDIS "unix:///nonexistent/redis.sock"

static uv_loop_t loop;
static mr_kafka_mock *mock;
static mr_kafka_conf kafka;
static mr_names names;
static mr_err err;

static void rig_open(int32_t partitions, int32_t result_partitions) {
    static const char extra[] =
        "session.timeout.ms=" SESSION_MS ";heartbeat.interval.ms=200;fetch.wait.max.ms=10";
    const char *ingress[MR_INGRESS_TOPICS + 1];
    const char *other[] = {names.keys,        names.dead,    names.workers,
                           names.dispatchers, names.control, "mr.work.m"};
    mr_log_setup("error", false);
    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_kafka_mock_open(&mock, 1, 1, &err), err);
    CHECK_OK(mr_names_init(&names, "mr", "mr", &err), err);
    mr_names_ingress(&names, ingress);
    for (size_t i = 0; ingress[i]; i++)
        CHECK_OK(mr_kafka_mock_topic(mock, ingress[i], partitions, &err), err);
    for (size_t i = 0; i < MR_COUNT(other); i++)
        CHECK_OK(mr_kafka_mock_topic(mock, other[i], partitions, &err), err);
    CHECK_OK(mr_kafka_mock_topic(mock, names.results, result_partitions, &err), err);
    kafka = (mr_kafka_conf){mr_kafka_mock_brokers(mock), "test", extra};
}

static void rig_close(void) {
    CHECK_I64(close_loop(&loop), 0);
    mr_kafka_mock_close(mock);
}

/* ---- a committer: the embedded broker keeps no offsets of transactions, so plain ---- */

static size_t n_lost; /* offsets that found no memory */

static inline void on_commit_fatal(void *owner, mr_status status, const char *text) {
    (void)owner;
    n_lost += status == MR_ENOMEM;
    if (status == MR_ENOMEM) return; /* of faults on purpose */
    fail_msg("committer: %s: %s", mr_status_name(status), text);
}

static inline mr_commit *commit_open(void) {
    mr_commit *c = NULL;
    const mr_commit_conf conf = {.kafka = kafka,
                                 .linger_ms = 5,
                                 .transaction_timeout_ms = 10000,
                                 .window = MR_OFFSETS_MAX_WINDOW,
                                 .on_fatal = on_commit_fatal};
    CHECK_OK(mr_commit_open(&c, &loop, &conf, &err), err);
    return c;
}

static inline size_t n_on_the_way(const mr_commit *c) {
    return mr_commit_get_stats(c).waiting;
}

/* ---- a reader: keeps what one topic holds ---- */

typedef struct seen {
    char *key, *value; /* terminated copies; key NULL: none */
    size_t len;
    int32_t partition;
    char type[48]; /* header content-type */
} seen;

typedef struct reader {
    mr_kafka_consumer *c;
    seen *all;
    size_t n, want;
} reader;

static inline void on_read(void *owner, const mr_kafka_msg *m) {
    reader *r = owner;
    size_t type_len;
    r->all = realloc(r->all, (r->n + 1) * sizeof *r->all);
    CHECK(r->all != NULL);
    seen *s = &r->all[r->n++];
    *s = (seen){.len = m->len, .partition = m->partition};
    if (m->key) s->key = strndup(m->key, m->key_len);
    s->value = calloc(1, m->len + 1);
    CHECK(s->value != NULL);
    if (m->len) memcpy(s->value, m->value, m->len);
    const char *type = mr_kafka_msg_header(m, "content-type", &type_len);
    if (type) snprintf(s->type, sizeof s->type, "%.*s", (int)type_len, type);
}

static inline void reader_open(reader *r, const char *topic, int32_t partitions) {
    mr_kafka_tp tp[16];
    const mr_kafka_consumer_conf cc = {
        .conn = kafka, .reset_offset = MR_KAFKA_OFFSET_BEGIN, .owner = r, .on_msg = on_read};
    *r = (reader){0};
    for (int32_t i = 0; i < partitions; i++)
        tp[i] = (mr_kafka_tp){.topic = topic, .partition = i, .offset = MR_KAFKA_OFFSET_BEGIN};
    CHECK_OK(mr_kafka_consumer_open(&r->c, &loop, &cc, &err), err);
    CHECK_OK(mr_kafka_assign(r->c, tp, (size_t)partitions, &err), err);
}

static inline void reader_close(reader *r) {
    mr_kafka_consumer_close(r->c);
    for (size_t i = 0; i < r->n; i++) {
        free(r->all[i].key);
        free(r->all[i].value);
    }
    free(r->all);
}

static inline bool has_read(void *arg) {
    const reader *r = arg;
    return r->n >= r->want;
}

/* Waits until n records have been read in all. */
static inline void read_n(reader *r, size_t n) {
    r->want = n;
    if (!run_until(&loop, has_read, r, WAIT_MS)) fail_msg("%zu records read, not %zu", r->n, n);
}

/* The newest record of a key, of those read so far; NULL: none. */
static inline const seen *read_key(const reader *r, const char *key) {
    for (size_t i = r->n; i-- > 0;)
        if (r->all[i].key && strcmp(r->all[i].key, key) == 0) return &r->all[i];
    return NULL;
}

/* ---- a producer that waits ---- */

static inline void on_produced(void *owner, void *cookie, mr_status st, const char *text,
                               int32_t partition, int64_t offset) {
    (void)owner;
    (void)cookie;
    (void)partition;
    (void)offset;
    if (st != MR_OK) fail_msg("not produced: %s", text);
}

static inline mr_kafka_producer *producer_open(void) {
    mr_kafka_producer *p = NULL;
    const mr_kafka_conf conf = {kafka.brokers, "test", NULL};
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &conf, on_produced, NULL, &err), err);
    return p;
}

/* What it sent may have been read before it hears of that. */
static inline void producer_close(mr_kafka_producer *p) {
    CHECK_I64(mr_kafka_flush(p, WAIT_MS), MR_OK);
    mr_kafka_producer_close(p);
}

static inline void produce_to(mr_kafka_producer *p, const char *topic, int32_t partition,
                              const char *type, const void *value, size_t len) {
    const mr_kafka_header h = {"content-type", type, type ? strlen(type) : 0};
    CHECK_OK(mr_kafka_send(p, topic, partition, NULL, 0, value, len, &h, type ? 1 : 0, NULL, &err),
             err);
}

/* value NULL: a tombstone; type NULL: no header. */
static inline void produce(mr_kafka_producer *p, const char *topic, const char *type,
                           const void *value, size_t len) {
    produce_to(p, topic, MR_KAFKA_ANY_PARTITION, type, value, len);
}

static inline void job_id(char out[MR_JOB_ID_LEN + 1], unsigned n) {
    snprintf(out, MR_JOB_ID_LEN + 1, "00000000-0000-4000-8000-%012u", n);
}

/* A JSON job with more fields, such as ",\"priority\":\"low\"". */
static inline void produce_job_to(mr_kafka_producer *p, const char *topic, int32_t partition,
                                  unsigned n, const char *more) {
    char id[MR_JOB_ID_LEN + 1], json[1024];
    job_id(id, n);
    const int len =
        snprintf(json, sizeof json, "{\"job_id\":\"%s\",\"input\":{\"prompt\":\"x\"}%s}", id, more);
    produce_to(p, topic, partition, "application/json", json, (size_t)len);
}

static inline void produce_job(mr_kafka_producer *p, const char *topic, unsigned n,
                               const char *more) {
    produce_job_to(p, topic, MR_KAFKA_ANY_PARTITION, n, more);
}

/* A job as a dispatcher released it: attempt 1, no history. */
static inline mr_job_spec released_job(unsigned n) {
    mr_job_spec j;
    mr_codec_job_defaults(&j);
    job_id(j.job_id, n);
    j.model = "m";
    j.input = MR_INPUT_PROMPT;
    j.prompt = "x";
    j.prompt_len = 1;
    j.attempt = 1;
    j.received_ms = mr_clock_wall_ms();
    return j;
}

/* As it goes from topic to topic behind its lane. */
static inline void produce_spec(mr_kafka_producer *p, const char *topic, int32_t partition,
                                const mr_job_spec *j) {
    mr_arena arena;
    const void *bytes;
    size_t n;
    mr_arena_init(&arena, 0);
    CHECK_I64(mr_codec_job_encode(j, MR_FORMAT_MSGPACK, true, &arena, &bytes, &n), MR_OK);
    produce_to(p, topic, partition, "application/msgpack", bytes, n);
    mr_arena_drop(&arena);
}

/* ---- Redis ---- */

static redis_server redis;

/* What redis-cli prints, without the last newline. */
static inline void redis_ask(char *out, size_t cap, const char *command) {
    char line[512];
    snprintf(line, sizeof line, "redis-cli -s %s %s", redis.socket_path, command);
    FILE *f = popen(line, "r");
    CHECK(f != NULL);
    const size_t n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    if (n && out[n - 1] == '\n') out[n - 1] = '\0';
    CHECK_I64(pclose(f), 0);
}

#endif
