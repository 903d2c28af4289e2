/* commit_fixture.h - a committer on the mock cluster, and its books, for test_commit*.c.
 *
 * Inputs are not read: a partition is assigned by hand, and offsets are begun as the test likes. Each
 * item's done is counted by status, and an item that is told twice fails the test. */
#ifndef MR_TESTS_COMMIT_FIXTURE_H
#define MR_TESTS_COMMIT_FIXTURE_H

#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of the fixtures */

#include "base/commit.h"
#include "kafka_fixture.h"

#define OUT   "test.out"
#define MAX_N 20000

typedef struct told {
    int n; /* times */
    mr_status status;
    int64_t offset;
} told;

static mr_commit *commit;
static mr_kafka_consumer *source;
static told items[MAX_N];
static size_t n_told, n_ok, n_refused, n_canceled;
static mr_err fatal;

static void on_done(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    told *t = arg;
    CHECK(owner == &commit && why);
    CHECK_I64(++t->n, 1);
    t->status = status;
    t->offset = offset;
    n_told++;
    n_ok += status == MR_OK;
    n_refused += status == MR_EINVAL || status == MR_ENOTFOUND;
    n_canceled += status == MR_ECANCELED;
}

static void on_fatal(void *owner, mr_status status, const char *text) {
    CHECK(owner == &commit);
    CHECK_I64(fatal.status, MR_OK); /* once */
    mr_fail(&fatal, status, "%s", text);
}

static void open_commit(const char *transactional_id) {
    memset(items, 0, sizeof items);
    n_told = n_ok = n_refused = n_canceled = 0;
    fatal = (mr_err){.status = MR_OK};
    const mr_commit_conf conf = {.kafka = producer_conn(), .transactional_id = transactional_id,
                                 .linger_ms = 5, .transaction_timeout_ms = 60000, .window = 64,
                                 .owner = &commit, .on_fatal = on_fatal};
    CHECK_OK(mr_commit_open(&commit, &loop, &conf, &err), err);
}

static void ignore_msg(void *owner, const mr_kafka_msg *m) {
    (void)owner;
    (void)m;
}

/* A consumer to commit through that is in no group: enough for mode plain. */
static void open_plain(void) {
    start();
    CHECK_OK(mr_kafka_mock_topic(mock, OUT, 2, &err), err);
    open_commit(NULL);
    const mr_kafka_consumer_conf conf = {.conn = producer_conn(), .read_committed = true,
                                         .reset_offset = MR_KAFKA_OFFSET_BEGIN, .on_msg = ignore_msg};
    CHECK_OK(mr_kafka_consumer_open(&source, &loop, &conf, &err), err);
    mr_commit_use(commit, source);
}

static void close_all(void) {
    mr_commit_use(commit, NULL);
    if (source) mr_kafka_consumer_close(source);
    mr_commit_close(commit);
    source = NULL;
    stop();
}

static int assign(int32_t partition, int64_t offset, const char *text, size_t len) {
    const mr_kafka_tp tp = {TOPIC, partition, offset, text, len};
    CHECK_OK(mr_commit_assign(commit, &tp, &err), err);
    return mr_parts_find(mr_commit_parts(commit), TOPIC, partition);
}

static mr_origin begin(int part, int64_t offset) {
    mr_origin at = {0};
    CHECK_I64(mr_parts_begin(mr_commit_parts(commit), part, offset, &at), MR_OK);
    return at;
}

static mr_status answer_to(mr_origin at, const char *topic, int32_t partition, const char *value,
                           size_t len, told *t) {
    const mr_kafka_header h = {"color", "blue", 4};
    const mr_commit_record r = {topic, partition, "k", 1, value, len, &h, 1};
    return mr_commit_send(commit, at, &r, 1, on_done, &commit, t, &err);
}

static void finish(mr_origin at, told *t) {
    CHECK_OK(answer_to(at, OUT, MR_KAFKA_ANY_PARTITION, "v", 1, t), err);
}

static bool told_enough(void *arg) {
    return n_told >= *(const size_t *)arg;
}

static bool wait_told(size_t n) {
    return run_until(&loop, told_enough, &n, WAIT_MS);
}

static bool has_failed(void *arg) {
    (void)arg;
    return fatal.status != MR_OK;
}

/* What the group has committed; text is the caller's. */
static int64_t committed(int32_t partition, char **text, size_t *len) {
    mr_kafka_tp tp = {.topic = TOPIC, .partition = partition};
    CHECK_OK(mr_kafka_committed(source, &tp, 1, WAIT_MS, text, &err), err);
    *len = tp.metadata_len;
    return tp.offset;
}

static int64_t count_out(void) {
    mr_kafka_tp ends[8];
    size_t n = 0;
    int64_t sum = 0;
    const mr_kafka_conf c = producer_conn();
    CHECK_OK(mr_kafka_ends(&c, OUT, WAIT_MS, ends, 8, &n, &err), err);
    for (size_t i = 0; i < n; i++) sum += ends[i].offset;
    return sum;
}

#endif
