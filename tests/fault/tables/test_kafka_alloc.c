/* Goal: a consumer's calls that find no memory end with an error that says so, and the next one is
 * as good as before. Method: each allocation fails in turn, of calls to the embedded broker. */
#include "base/kafka.h"
#include "base/log.h"
#include "tests/fault/fault.h"

static uv_loop_t loop;
static mr_kafka_mock *mock;
static mr_kafka_consumer *grouped, *assigned;

static void on_msg(void *owner, const mr_kafka_msg *m) {
    (void)owner;
    (void)m;
}

static void on_tp(void *owner, const mr_kafka_tp *tp, size_t n) {
    (void)owner;
    (void)tp;
    (void)n;
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    (void)owner;
    (void)tp;
    (void)n;
    (void)lost;
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    (void)status;
    (void)text;
    (void)fatal;
}

static mr_kafka_consumer *consumer(const char *group) {
    static const char *const topics[] = {"t", NULL};
    mr_kafka_consumer *c = NULL;
    mr_err err;
    const mr_kafka_consumer_conf conf = {.conn = {mr_kafka_mock_brokers(mock), "test", NULL},
                                         .group = group,
                                         .topics = group ? topics : NULL,
                                         .reset_offset = MR_KAFKA_OFFSET_END,
                                         .on_msg = on_msg,
                                         .on_assign = on_tp,
                                         .on_revoke = on_revoke,
                                         .on_error = on_error};
    if (mr_kafka_consumer_open(&c, &loop, &conf, &err) != MR_OK) fail_msg("%s", err.text);
    return c;
}

static const mr_kafka_tp two[] = {
    {.topic = "t", .partition = 0, .offset = 5, .metadata = "mr1:x", .metadata_len = 5},
    {.topic = "t", .partition = 1, .offset = 7, .metadata = "mr1:y", .metadata_len = 5}};

static mr_status commit(mr_err *err) {
    return mr_kafka_commit(grouped, two, MR_COUNT(two), err);
}

static mr_status assign(mr_err *err) {
    return mr_kafka_assign(assigned, two, MR_COUNT(two), err);
}

TEST(no_memory_is_an_error) {
    CHECK_I64(uv_loop_init(&loop), 0);
    mr_log_setup("error", false);
    CHECK_I64(mr_kafka_mock_open(&mock, 1, 2, NULL), MR_OK);
    grouped = consumer("g");
    assigned = consumer(NULL);
    CHECK(fault_each(commit, 1) >= MR_COUNT(two));
    CHECK(fault_each(assign, 1) >= MR_COUNT(two));
    mr_kafka_consumer_close(grouped);
    mr_kafka_consumer_close(assigned);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&loop), 0);
    mr_kafka_mock_close(mock);
}

MR_TEST_MAIN
