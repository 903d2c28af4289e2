/* Goal: the committer brings each item to one end, sets no bit without its record, keeps its limits
 * and comes back by itself. Method: mode plain on the mock cluster, with its errors and down times;
 * what the mock keeps of offsets is read back. test_commit_txn.c does the same with transactions. */
#include "commit_fixture.h"

#define PRODUCE       0 /* api keys of the protocol */
#define OFFSET_COMMIT 8

/* Goal: records first, then the offset with what is finished above it; a next owner skips that. */
TEST(what_is_finished_above_the_watermark_is_known_to_the_next_owner) {
    open_plain();
    const int part = assign(0, -2, NULL, 0);
    mr_origin at[10];
    for (int i = 0; i < 10; i++) at[i] = begin(part, i);
    CHECK_I64(mr_commit_mark(commit, at[3], on_done, &commit, &items[100]), MR_OK);
    for (int i = 0; i < 10; i++)
        if (i != 3 && i != 7) finish(at[i], &items[i]);
    CHECK(wait_told(9));
    CHECK_I64(n_ok, 9);
    CHECK(items[0].offset >= 0);
    CHECK_I64(count_out(), 8);

    char *text;
    size_t len;
    CHECK_I64(committed(0, &text, &len), 3);
    CHECK(len > 0);
    mr_commit_revoke(commit, TOPIC, 0);
    const int again = assign(0, 3, text, len);
    mr_parts *parts = mr_commit_parts(commit);
    free(text);
    mr_origin o;
    for (int i = 3; i < 10; i++)
        CHECK_I64(mr_parts_begin(parts, again, i, &o), i == 3 || i == 7 ? MR_OK : MR_EINVAL);
    CHECK_I64(mr_parts_deaths(parts, mr_parts_origin(parts, again, 3)), 1);
    CHECK_I64(mr_parts_deaths(parts, mr_parts_origin(parts, again, 7)), 0);
    close_all();
}

TEST(items_end_once_in_any_order_and_share_batches) {
    open_plain();
    int parts[N_PARTS];
    for (int p = 0; p < N_PARTS; p++) parts[p] = assign(p, 0, NULL, 0);
    static mr_origin at[N_PARTS * 250];
    for (int i = 0; i < N_PARTS * 250; i++) at[i] = begin(parts[i % N_PARTS], i / N_PARTS);
    for (int i = 0; i < N_PARTS * 250; i++) finish(at[i * 7 % 1000], &items[i * 7 % 1000]);
    CHECK(wait_told(1000));
    CHECK_I64(n_ok, 1000);
    CHECK_I64(count_out(), 1000);
    char *text;
    size_t len;
    for (int p = 0; p < N_PARTS; p++) {
        CHECK_I64(committed(p, &text, &len), 250);
        free(text);
    }
    const mr_commit_stats s = mr_commit_get_stats(commit);
    CHECK(s.batches < 100);
    CHECK_I64(s.records, 1000);
    CHECK_I64(s.waiting + s.waiting_bytes + s.unfinished, 0);
    CHECK_I64(mr_commit_flush(commit, 100), MR_OK); /* nothing is left */
    close_all();
}

TEST(an_item_may_have_no_record_or_several) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    const mr_origin a = begin(part, 0), b = begin(part, 1);
    const mr_commit_record two[] = {{.topic = OUT, .partition = 0, .value = "1", .len = 1},
                                    {.topic = OUT, .partition = 1, .key = "k", .key_len = 1}};
    CHECK_OK(mr_commit_send(commit, a, NULL, 0, on_done, &commit, &items[0], &err), err);
    CHECK_OK(mr_commit_send(commit, b, two, 2, NULL, NULL, NULL, &err), err);
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    CHECK_I64(n_ok, 1);
    CHECK_I64(items[0].offset, -1);
    CHECK_I64(count_out(), 2);
    close_all();
}

TEST(wrong_records_are_refused_at_once) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    const mr_origin at = begin(part, 0);
    static char large[1 << 20];
    CHECK_I64(answer_to(at, OUT, 0, large, sizeof large, &items[0]), MR_EINVAL);
    CHECK_ERR(err, "limit 1048320");
    CHECK_I64(answer_to(at, "no/topic", 0, "v", 1, &items[0]), MR_EINVAL);
    CHECK_ERR(err, "no/topic");
    CHECK_I64(answer_to(at, OUT, 0, large, (1 << 20) - 1000, &items[0]), MR_OK);
    mr_commit_revoke(commit, TOPIC, 0);
    CHECK_I64(n_canceled, 1); /* it waited */
    CHECK_I64(answer_to(at, OUT, 0, "v", 1, &items[1]), MR_ECANCELED);
    CHECK_I64(mr_commit_mark(commit, at, on_done, &commit, &items[1]), MR_EINVAL);
    mr_commit_unmark(commit, at, true);
    close_all();
}

TEST(a_partition_that_a_topic_does_not_have_stops_only_its_item) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    const mr_origin a = begin(part, 0), b = begin(part, 1);
    CHECK_OK(answer_to(a, OUT, 77, "v", 1, &items[0]), err);
    finish(b, &items[1]);
    CHECK(wait_told(2));
    CHECK_I64(items[0].status, MR_ENOTFOUND);
    CHECK_I64(items[1].status, MR_OK);
    char *text;
    size_t len;
    CHECK_I64(committed(0, &text, &len), 0); /* a is not finished */
    free(text);
    finish(a, &items[2]);
    CHECK(wait_told(3));
    CHECK_I64(committed(0, &text, &len), 2);
    free(text);
    close_all();
}

/* Goal: what a broker refuses for its size holds the partition until it is replaced. */
TEST(a_refused_record_holds_its_partition_until_it_is_replaced) {
    open_plain();
    const int part = assign(0, 0, NULL, 0), other = assign(1, 0, NULL, 0);
    const mr_origin a = begin(part, 0), b = begin(part, 1), c = begin(other, 0);
    static const int too_large[] = {10, 10}; /* with others, then alone */
    mr_kafka_mock_fail_next(mock, PRODUCE, too_large, 2);
    finish(a, &items[0]);
    CHECK(wait_told(1));
    CHECK_I64(items[0].status, MR_EINVAL);
    finish(b, &items[1]);
    finish(c, &items[2]);
    CHECK(wait_told(2));
    CHECK_I64(items[2].status, MR_OK);
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(items[1].n, 0); /* b's bit would carry a's */
    CHECK_I64(mr_commit_flush(commit, 100), MR_ETIMEOUT);
    char *text;
    size_t len;
    CHECK(committed(0, &text, &len) < 0);
    free(text);
    finish(a, &items[3]);
    CHECK(wait_told(4));
    CHECK_I64(n_ok, 3);
    CHECK_I64(committed(0, &text, &len), 2);
    free(text);
    close_all();
}

/* Goal: the queue is bounded, says so in time, and empties when the brokers are back. */
TEST(limits_hold_while_the_brokers_are_away) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    finish(begin(part, 0), &items[0]);
    CHECK(wait_told(1));
    mr_kafka_mock_broker_up(mock, false);
    size_t n = 1, full_at = 0, busy_at = 0;
    for (;; n++) {
        if (!busy_at && mr_commit_busy(commit)) busy_at = n;
        if (!full_at && mr_commit_full(commit)) full_at = n;
        const mr_origin at = begin(part, (int64_t)n);
        if (answer_to(at, OUT, 0, "v", 1, &items[n]) == MR_ELIMIT) break;
    }
    CHECK_I64(n - 1, MR_COMMIT_MAX_RECORDS);
    CHECK_I64(full_at - 1, MR_COMMIT_MAX_RECORDS - MR_COMMIT_RESERVE);
    CHECK_I64(busy_at - 1, (MR_COMMIT_MAX_RECORDS - MR_COMMIT_RESERVE) / 2);
    CHECK_I64(mr_commit_flush(commit, 200), MR_ETIMEOUT);
    mr_kafka_mock_broker_up(mock, true);
    CHECK(wait_told(n));
    CHECK_I64(n_ok, n);
    CHECK(!mr_commit_busy(commit));
    CHECK_I64(count_out(), n); /* none twice */
    close_all();
}

TEST(offsets_that_were_refused_go_again_without_their_records) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    static const int errors[] = {15, 16, 14}; /* coordinator: not available, not this one, loading */
    mr_kafka_mock_fail_next(mock, OFFSET_COMMIT, errors, 3);
    finish(begin(part, 0), &items[0]);
    CHECK(wait_told(1));
    CHECK_I64(n_ok, 1);
    CHECK_I64(count_out(), 1);
    close_all();
}

/* Goal: an idempotent producer that died is replaced, and nothing is lost with it. */
TEST(a_dead_producer_is_rebuilt) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    for (int i = 0; i < 10; i++) {
        static const int out_of_order[] = {45};
        if (i == 5) mr_kafka_mock_fail_next(mock, PRODUCE, out_of_order, 1);
        finish(begin(part, i), &items[i]);
        CHECK(wait_told((size_t)i + 1));
    }
    CHECK_I64(n_ok, 10);
    CHECK_I64(mr_commit_get_stats(commit).rebuilds, 1);
    close_all();
}

static mr_origin second_origin;

static void send_another(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    on_done(owner, arg, status, why, offset);
    finish(second_origin, &items[1]);
}

TEST(what_is_sent_inside_a_callback_goes_by_itself) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    second_origin = begin(assign(1, 0, NULL, 0), 0);
    CHECK_OK(mr_commit_send(commit, begin(part, 0), NULL, 0, send_another, &commit, &items[0], &err),
             err);
    mr_commit_revoke(commit, TOPIC, 0);
    CHECK(wait_told(2));
    CHECK_I64(items[0].status, MR_ECANCELED);
    CHECK_I64(items[1].status, MR_OK);
    close_all();
}

TEST(nothing_goes_without_a_consumer_and_close_cancels) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    mr_commit_use(commit, NULL);
    finish(begin(part, 0), &items[0]);
    CHECK_I64(mr_commit_mark(commit, begin(part, 1), on_done, &commit, &items[1]), MR_OK);
    CHECK_I64(mr_commit_flush(commit, 5000), MR_ETIMEOUT); /* at once */
    run_until(&loop, NULL, NULL, 100);
    CHECK_I64(n_told, 0);
    close_all();
    CHECK_I64(n_canceled, 2);
}

TEST(close_is_bounded_while_the_brokers_are_away) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    finish(begin(part, 0), &items[0]);
    CHECK(wait_told(1));
    mr_kafka_mock_broker_up(mock, false);
    finish(begin(part, 1), &items[1]);
    run_until(&loop, NULL, NULL, 300); /* it is under way */
    mr_commit_close(commit); /* returns */
    CHECK_I64(items[1].status, MR_ECANCELED);
    mr_kafka_consumer_close(source);
    source = NULL;
    stop();
}

static void close_it(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    on_done(owner, arg, status, why, offset);
    if (n_told == 1) mr_commit_close(commit);
}

TEST(closing_inside_a_callback_is_safe) {
    open_plain();
    const int part = assign(0, 0, NULL, 0);
    for (int i = 0; i < 5; i++)
        CHECK_OK(mr_commit_send(commit, begin(part, i), NULL, 0, close_it, &commit, &items[i], &err),
                 err);
    CHECK(wait_told(5));
    mr_kafka_consumer_close(source);
    source = NULL;
    stop();
}

MR_TEST_MAIN_SHARED
