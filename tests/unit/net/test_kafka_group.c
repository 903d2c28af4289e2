/* Goal: members of a group get their partitions with the committed offsets, start exactly there,
 * and pass partitions on without a message lost or doubled, with both rebalance protocols. Method:
 * as test_kafka.c; slow, because the mock takes 3 s for each change of a group. */
#include "kafka_fixture.h"

#define OFFSET_FETCH 9 /* api key of the protocol */

static void open_reader(reader *r, const char *group, const char *strategy) {
    mr_kafka_consumer_conf conf = reader_conf(r, group);
    conf.strategy = strategy;
    CHECK_OK(mr_kafka_consumer_open(&r->c, &loop, &conf, &err), err);
}

static bool has_assignment(void *arg) {
    return ((reader *)arg)->n_assign > 0;
}

TEST(pausing_inside_on_assign_holds_everything_back) {
    start();
    produce(100);
    reader r = {.pause_at_assign = true, .n_want = 100};
    open_reader(&r, "g-early", NULL);
    CHECK(run_until(&loop, has_assignment, &r, WAIT_MS));
    run_until(&loop, NULL, NULL, 400);
    CHECK_I64(r.n_got, 0);
    for (int32_t i = 0; i < N_PARTS; i++) CHECK_OK(mr_kafka_resume(r.c, TOPIC, i, &err), err);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    CHECK_I64(r.n_wrong, 0);
    CHECK(mr_kafka_pause(r.c, TOPIC, 99, &err) == MR_ENOTFOUND);
    CHECK_ERR(err, TOPIC "/99");
    mr_kafka_consumer_close(r.c);
    stop();
}

TEST(commits_decide_where_the_next_consumer_starts) {
    start();
    produce(400);
    reader a = {.n_want = 400, .commit_at = 60};
    open_reader(&a, "g-commit", NULL);
    CHECK(run_until(&loop, got_all, &a, WAIT_MS));
    const mr_kafka_tp at[] = {{.topic = TOPIC, .partition = 0, .offset = 30}};
    CHECK_OK(mr_kafka_commit(a.c, at, 1, &err), err);
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(a.n_errors, 0);
    mr_kafka_consumer_close(a.c); /* commits 60 for all of them in on_revoke */

    reader b = {.n_want = 160};
    open_reader(&b, "g-commit", NULL);
    CHECK(run_until(&loop, got_all, &b, WAIT_MS));
    run_until(&loop, NULL, NULL, 100);
    CHECK_I64(a.n_lost, 0);
    for (int i = 0; i < N_PARTS; i++) CHECK_I64(b.first[i], 60);
    CHECK_I64(b.n_got, 160);
    CHECK_I64(b.n_wrong, 0);
    mr_kafka_consumer_close(b.c);
    stop();
}

static bool split(void *arg) {
    reader *r = arg; /* [2] */
    int both = 0, none = 0, second = 0;
    for (int i = 0; i < N_PARTS; i++) {
        both += r[0].mine[i] && r[1].mine[i];
        none += !r[0].mine[i] && !r[1].mine[i];
        second += r[1].mine[i];
    }
    return both == 0 && none == 0 && second > 0 && second < N_PARTS;
}

static bool has_all(void *arg) {
    reader *r = arg;
    int n = 0;
    for (int i = 0; i < N_PARTS; i++) n += r->mine[i];
    return n == N_PARTS;
}

/* all_move: every partition leaves the first member for a while, so the pauses end. */
static void share_a_group(const char *strategy, bool all_move) {
    group_changes = true;
    start();
    reader r[2] = {{.n_want = 40}, {0}};
    open_reader(&r[0], "g-share", strategy);
    CHECK(run_until(&loop, has_all, &r[0], WAIT_MS));
    for (int32_t i = 0; all_move && i < N_PARTS; i++)
        CHECK_OK(mr_kafka_pause(r[0].c, TOPIC, i, &err), err);
    open_reader(&r[1], "g-share", strategy);
    CHECK(run_until(&loop, split, r, WAIT_MS));
    mr_kafka_consumer_close(r[1].c);
    CHECK(run_until(&loop, has_all, &r[0], WAIT_MS));
    CHECK_I64(r[0].n_fatal + r[1].n_fatal, 0);
    if (all_move) {
        produce(40);
        CHECK(run_until(&loop, got_all, &r[0], WAIT_MS));
    }
    mr_kafka_consumer_close(r[0].c);
    CHECK(!has_all(&r[0]));
    stop();
    group_changes = false;
}

TEST(a_group_shares_partitions_eagerly) {
    share_a_group("range", true);
}

TEST(a_group_shares_partitions_cooperatively) {
    share_a_group("cooperative-sticky", false);
}

/* Goal: an unanswered question for committed offsets delays the assignment and no more. */
TEST(assignment_waits_for_committed_offsets) {
    start();
    produce(40);
    static const int errors[] = {29, 29, 29}; /* topic authorization failed: not retried inside */
    mr_kafka_mock_fail_next(mock, OFFSET_FETCH, errors, 1);
    reader r = {.n_want = 40};
    open_reader(&r, "g-wait", NULL);
    CHECK(run_until(&loop, got_all, &r, WAIT_MS));
    CHECK(r.n_errors > 0);
    CHECK_ERR(r.err, "committed offsets");
    CHECK_I64(r.n_assign, 1);
    CHECK_I64(r.n_wrong, 0);
    mr_kafka_consumer_close(r.c);
    stop();
}

MR_TEST_MAIN_SHARED
