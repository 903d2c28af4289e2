/* Goal: whatever a call of a transaction answers, an item ends once: committed, or with the process and
 * a text that says what to change. Method: the mock cluster with injected errors and a real group. The
 * mock keeps no transactional offsets and shows aborted records, so here an outcome that is unknown is
 * always found aborted; tests/integration/test_commit.py has the rest, on a real broker. */
#include "commit_fixture.h"

enum { /* api keys of the protocol */
       PRODUCE = 0,
       INIT_PRODUCER_ID = 22,
       ADD_PARTITIONS = 24,
       ADD_OFFSETS = 25,
       END_TXN = 26,
       TXN_OFFSET_COMMIT = 28
};

static reader group_reader;

static bool is_member(void *arg) {
    (void)arg;
    return group_reader.n_assign > 0;
}

static void open_txn(void) {
    start();
    CHECK_OK(mr_kafka_mock_topic(mock, OUT, 2, &err), err);
    open_commit("tx");
    group_reader = (reader){0};
    mr_kafka_consumer_conf conf = reader_conf(&group_reader, "g-txn");
    conf.read_committed = true;
    CHECK_OK(mr_kafka_consumer_open(&source, &loop, &conf, &err), err);
    group_reader.c = source;
    CHECK(run_until(&loop, is_member, NULL, WAIT_MS));
    mr_commit_use(commit, source);
}

static void one_item(int part, int64_t offset) {
    const size_t n = n_told;
    items[offset] = (told){0};
    finish(begin(part, offset), &items[offset]);
    CHECK(wait_told(n + 1));
    CHECK_I64(items[offset].status, MR_OK);
}

/* Goal: each passing error costs time, no item, and comes out in the counts. */
TEST(passing_errors_are_healed) {
    open_txn();
    const int part = assign(0, 0, NULL, 0);
    static const struct {
        int api, error, aborts, unknown;
    } cases[] = {
        {ADD_PARTITIONS, 51, 0, 0},    /* concurrent transactions: librdkafka tries again */
        {ADD_PARTITIONS, 49, 1, 0},    /* invalid producer id mapping */
        {ADD_OFFSETS, 16, 0, 0},       /* not coordinator */
        {TXN_OFFSET_COMMIT, 15, 0, 0}, /* coordinator not available */
        {TXN_OFFSET_COMMIT, 22, 1, 0}, /* illegal generation: formed anew */
        {TXN_OFFSET_COMMIT, 25, 1, 0}, /* unknown member */
        {PRODUCE, 2, -1, 0},           /* corrupt message: the library may or may not try again */
        {END_TXN, 16, -1, -1},         /* not coordinator */
        {END_TXN, -1, 1, 1},           /* unknown server error: who knows */
    };
    one_item(part, 0);
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const mr_commit_stats before = mr_commit_get_stats(commit);
        mr_kafka_mock_fail_next(mock, cases[i].api, &cases[i].error, 1);
        one_item(part, (int64_t)i + 1);
        const mr_commit_stats after = mr_commit_get_stats(commit);
        if (cases[i].aborts >= 0) CHECK_I64(after.aborts - before.aborts, cases[i].aborts);
        if (cases[i].unknown >= 0) CHECK_I64(after.unknown - before.unknown, cases[i].unknown);
        CHECK_I64(after.found_committed, 0);
    }
    CHECK_I64(mr_commit_get_stats(commit).records, MR_COUNT(cases) + 1);
    CHECK_I64(fatal.status, MR_OK);
    close_all();
}

TEST(marks_revocation_and_flush_inside_a_transaction) {
    open_txn();
    const int part = assign(0, 0, NULL, 0), other = assign(1, 0, NULL, 0);
    const mr_origin a = begin(part, 0), b = begin(other, 0);
    CHECK_I64(mr_commit_mark(commit, a, on_done, &commit, &items[0]), MR_OK);
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    CHECK_I64(n_ok, 1);
    mr_kafka_mock_delay(mock, 300);
    finish(a, &items[1]);
    finish(b, &items[2]);
    run_until(&loop, NULL, NULL, 100); /* under way now */
    mr_commit_revoke(commit, TOPIC, 0);
    CHECK_I64(items[1].status, MR_ECANCELED);
    CHECK_I64(items[2].n, 0);
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    CHECK_I64(items[2].status, MR_OK);
    mr_kafka_mock_delay(mock, 0);
    close_all();
}

TEST(the_brokers_go_and_come_back) {
    open_txn();
    const int part = assign(0, 0, NULL, 0);
    one_item(part, 0);
    mr_kafka_mock_broker_up(mock, false);
    for (int i = 1; i <= 50; i++) finish(begin(part, i), &items[i]);
    run_until(&loop, NULL, NULL, 1500);
    CHECK_I64(n_told, 1);
    mr_kafka_mock_broker_up(mock, true);
    CHECK(wait_told(51));
    CHECK_I64(n_ok, 51);
    close_all();
}

/* Goal: what only a person can change ends the committer, with a text that names it. */
TEST(what_a_person_must_change_is_named) {
    static const struct {
        int api, error;
        mr_status status;
        const char *text;
    } cases[] = {
        {INIT_PRODUCER_ID, 50, MR_EINVAL, "transaction.max.timeout.ms"},
        {INIT_PRODUCER_ID, 53, MR_EINVAL, "not authorised to use this transactional.id"},
        {ADD_PARTITIONS, 29, MR_EINVAL, "not authorised to write to a topic"},
        {ADD_PARTITIONS, 90, MR_EFENCED, "transactional.id tx: each needs a worker_id"},
        {ADD_OFFSETS, 30, MR_EINVAL, "consumer group"},
        {TXN_OFFSET_COMMIT, 12, MR_EINVAL, "offset.metadata.max.bytes"},
        {END_TXN, 47, MR_EFENCED, "another process uses transactional.id tx"},
    };
    open_txn();
    int64_t offset = 0;
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        if (i > 0) { /* the same consumer, the next committer */
            mr_commit_use(commit, NULL);
            mr_commit_close(commit);
            open_commit("tx");
            mr_commit_use(commit, source);
        }
        const int part = assign(0, 0, NULL, 0);
        if (cases[i].api != INIT_PRODUCER_ID) one_item(part, offset);
        mr_kafka_mock_fail_next(mock, cases[i].api, &cases[i].error, 1);
        if (cases[i].api == INIT_PRODUCER_ID) { /* at its start */
            mr_commit_close(commit);
            open_commit("tx");
            mr_commit_use(commit, source);
            assign(0, 0, NULL, 0);
        }
        finish(begin(mr_parts_find(mr_commit_parts(commit), TOPIC, 0), 1), &items[1]);
        if (!run_until(&loop, has_failed, NULL, WAIT_MS)) fail_msg("%s", cases[i].text);
        CHECK_I64(fatal.status, cases[i].status);
        CHECK_ERR(fatal, cases[i].text);
        CHECK_I64(items[1].n, 0); /* nobody can say */
        CHECK(mr_commit_full(commit));
    }
    close_all();
}

MR_TEST_MAIN_SHARED
