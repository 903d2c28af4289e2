/* Goal: a partition of the index answers once it is read to its end, and not earlier; what was
 * written before is known, what is put later, too; a partition that went away is forgotten and read
 * anew when it comes back; records that are none do not stop it. Both topics must be of one size.
 * Method: an index on the embedded broker, written by a producer of the test's. Open transactions,
 * which that broker does not have, are in tests/integration/test_keys.py. */
#include "dispatcher/keys.h"

#include "rig.h"

enum { N_PARTS = 4, TTL_MS = 60000 };

static mr_keys *keys;
static unsigned n_loaded[N_PARTS];
static mr_kafka_producer *producer;

static void on_loaded(void *owner, int32_t partition) {
    (void)owner;
    CHECK(partition >= 0 && partition < N_PARTS);
    n_loaded[partition]++;
}

static void on_fatal(void *owner, const char *text) {
    (void)owner;
    fail_msg("keys: %s", text);
}

static void on_delivery(void *owner, void *cookie, mr_status st, const char *text,
                        int32_t partition, int64_t offset) {
    (void)owner, (void)cookie, (void)partition, (void)offset;
    if (st != MR_OK) fail_msg("not delivered: %s", text);
}

static bool all_loaded(void *arg) {
    (void)arg;
    return mr_keys_loading(keys) == 0;
}

static void keys_open(bool plain) {
    const mr_keys_conf conf = {.kafka = &kafka,
                               .topic = names.keys,
                               .n_partitions = N_PARTS,
                               .ttl_ms = TTL_MS,
                               .plain = plain,
                               .on_loaded = on_loaded,
                               .on_fatal = on_fatal};
    memset(n_loaded, 0, sizeof n_loaded);
    CHECK_OK(mr_keys_open(&keys, &loop, &conf, &err), err);
}

static void assign(const int32_t *partitions, size_t n) {
    CHECK_OK(mr_keys_assign(keys, partitions, n, &err), err);
}

static void start(void) {
    rig_open(N_PARTS, 1);
    CHECK_OK(mr_kafka_producer_open(&producer, &loop, &kafka, on_delivery, NULL, &err), err);
}

static void stop(void) {
    producer_close(producer);
    rig_close();
}

/* ---- jobs and index records ---- */

static mr_job_spec job_of(const char *tenant, const char *key, unsigned n) {
    mr_job_spec j = {.tenant = tenant, .idempotency_key = key};
    snprintf(j.job_id, sizeof j.job_id, "00000000-0000-4000-8000-%012u", n);
    return j;
}

static void write_raw(int32_t partition, const void *key, size_t key_len, const char *value) {
    CHECK_OK(mr_kafka_send(producer, names.keys, partition, key, key_len, value,
                           value ? strlen(value) : 0, NULL, 0, NULL, &err),
             err);
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
}

static int32_t send_index(const mr_job_spec *j, uint64_t time_ms) {
    const int32_t partition = mr_keys_partition(j, N_PARTS);
    const void *key, *value;
    size_t key_len, len;
    mr_arena arena;
    mr_arena_init(&arena, 4096);
    CHECK_I64(mr_keys_record(j, time_ms, &arena, &key, &key_len, &value, &len), MR_OK);
    CHECK_OK(mr_kafka_send(producer, names.keys, partition, key, key_len, value, len, NULL, 0, NULL,
                           &err),
             err);
    mr_arena_drop(&arena);
    return partition;
}

static int32_t write_index(const mr_job_spec *j, uint64_t time_ms) {
    const int32_t partition = send_index(j, time_ms);
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    return partition;
}

static mr_keys_answer ask(const mr_job_spec *j, char other[MR_JOB_ID_LEN + 1]) {
    return mr_keys_ask(keys, mr_keys_partition(j, N_PARTS), j, mr_clock_wall_ms(), other);
}

static const int32_t all_parts[N_PARTS] = {0, 1, 2, 3};

/* ---- tests ---- */

/* The place of a key is agreed among all dispatchers, so it may not change from build to build. */
TEST(a_key_has_its_place) {
    const mr_job_spec a = job_of("acme", "order-17", 1), b = job_of("acm", "eorder-17", 1);
    CHECK_I64(mr_keys_partition(&a, 1), 0);
    CHECK_I64(mr_keys_partition(&a, 1000), 543);
    CHECK_I64(mr_keys_partition(&b, 1000), 636);
    unsigned hits[16] = {0};
    for (unsigned i = 0; i < 16000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        const mr_job_spec j = job_of("default", key, i);
        hits[mr_keys_partition(&j, 16)]++;
    }
    for (int i = 0; i < 16; i++) CHECK(hits[i] > 850 && hits[i] < 1150); /* 1000 +- 5 sigma */
}

TEST(an_index_answers_when_it_is_read) {
    char other[MR_JOB_ID_LEN + 1];
    const mr_job_spec first = job_of("acme", "k", 1), second = job_of("acme", "k", 2);
    const mr_job_spec elsewhere = job_of("globex", "k", 3);
    start();
    const int32_t part = write_index(&first, mr_clock_wall_ms());
    keys_open(false);
    CHECK_I64(ask(&first, other), MR_KEYS_LOADING); /* not ours */
    assign(&part, 1);
    CHECK_I64(ask(&first, other), MR_KEYS_LOADING);
    CHECK_I64(mr_keys_loading(keys), 1);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(n_loaded[part], 1);

    CHECK_I64(ask(&first, other), MR_KEYS_SAME);
    CHECK_I64(ask(&second, other), MR_KEYS_TAKEN);
    CHECK_STR(other, first.job_id);
    assign(all_parts, N_PARTS);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(n_loaded[part], 1); /* nothing new about this one */
    CHECK_I64(ask(&elsewhere, other), MR_KEYS_NEW);
    CHECK_I64(mr_keys_len(keys), 1);
    mr_keys_close(keys);
    stop();
}

TEST(what_is_put_counts_and_can_be_taken_back) {
    char other[MR_JOB_ID_LEN + 1];
    const mr_job_spec first = job_of("acme", "k", 1), second = job_of("acme", "k", 2);
    const int32_t part = mr_keys_partition(&first, N_PARTS);
    start();
    keys_open(false);
    assign(all_parts, N_PARTS);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(ask(&first, other), MR_KEYS_NEW);
    CHECK_I64(mr_keys_put(keys, part, &first, mr_clock_wall_ms()), MR_OK);
    CHECK_I64(ask(&first, other), MR_KEYS_SAME);
    CHECK_I64(ask(&second, other), MR_KEYS_PENDING); /* not yet to be told of the first */
    mr_keys_take_back(keys, part, &second);          /* it never had it */
    CHECK_I64(ask(&second, other), MR_KEYS_PENDING);
    mr_keys_take_back(keys, part, &first);
    CHECK_I64(ask(&second, other), MR_KEYS_NEW);

    CHECK_I64(mr_keys_put(keys, part, &first, mr_clock_wall_ms()), MR_OK);
    mr_keys_keep(keys, part, &second);
    CHECK_I64(ask(&second, other), MR_KEYS_PENDING);
    mr_keys_keep(keys, part, &first);
    CHECK_I64(ask(&first, other), MR_KEYS_SAME);
    CHECK_I64(ask(&second, other), MR_KEYS_TAKEN);
    CHECK_STR(other, first.job_id);

    CHECK_I64(mr_keys_put(keys, part, &second, mr_clock_wall_ms() - TTL_MS), MR_OK);
    CHECK_I64(ask(&first, other), MR_KEYS_NEW); /* its time is over */
    mr_keys_close(keys);
    stop();
}

TEST(a_partition_that_comes_back_is_read_anew) {
    char other[MR_JOB_ID_LEN + 1];
    const mr_job_spec ours = job_of("acme", "k", 1), theirs = job_of("acme", "k", 2);
    start();
    keys_open(false);
    assign(all_parts, N_PARTS);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    const int32_t part = mr_keys_partition(&ours, N_PARTS);
    CHECK_I64(mr_keys_put(keys, part, &ours, mr_clock_wall_ms()), MR_OK);
    mr_keys_revoke(keys, &part, 1);
    CHECK_I64(mr_keys_len(keys), 0);
    CHECK_I64(ask(&ours, other), MR_KEYS_LOADING);
    mr_keys_keep(keys, part, &ours); /* a commit that ends late finds nobody */
    mr_keys_take_back(keys, part, &ours);

    write_index(&theirs, mr_clock_wall_ms()); /* ours was never written */
    assign(&part, 1);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(n_loaded[part], 2);
    CHECK_I64(ask(&ours, other), MR_KEYS_TAKEN);
    CHECK_STR(other, theirs.job_id);
    mr_keys_close(keys);
    stop();
}

/* Partitions come and go while others are being read, as in a cooperative rebalance. */
TEST(partitions_may_change_while_they_are_read) {
    enum { KEYS = 2000 };
    char key[16], other[MR_JOB_ID_LEN + 1];
    start();
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%u", i);
        const mr_job_spec j = job_of("acme", key, i);
        send_index(&j, mr_clock_wall_ms());
    }
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    keys_open(false);
    for (int round = 0; round < 5; round++) {
        assign(all_parts, 2);
        run_until(&loop, NULL, NULL, 5 * round);
        assign(all_parts + 2, 2);
        run_until(&loop, NULL, NULL, 5 * round);
        mr_keys_revoke(keys, all_parts + 1, 2);
        run_until(&loop, NULL, NULL, 5 * round);
        assign(all_parts, N_PARTS);
        CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
        CHECK_I64(mr_keys_len(keys), KEYS);
        for (unsigned i = 0; i < KEYS; i++) {
            snprintf(key, sizeof key, "%u", i);
            const mr_job_spec j = job_of("acme", key, KEYS);
            CHECK_I64(ask(&j, other), MR_KEYS_TAKEN);
            CHECK_I64(strtol(other + 24, NULL, 10), i);
        }
        mr_keys_revoke(keys, all_parts, N_PARTS);
        CHECK_I64(mr_keys_len(keys), 0);
        CHECK_I64(mr_keys_loading(keys), 0);
    }
    mr_keys_close(keys);
    stop();
}

TEST(old_freed_and_broken_records_do_not_stop_it) {
    char other[MR_JOB_ID_LEN + 1];
    const mr_job_spec old = job_of("acme", "old", 1), freed = job_of("acme", "freed", 2);
    const mr_job_spec future = job_of("acme", "future", 3), good = job_of("acme", "good", 4);
    start();
    write_index(&old, mr_clock_wall_ms() - TTL_MS);
    const int32_t part = write_index(&freed, mr_clock_wall_ms());
    write_raw(part, "acme\0freed", 10, NULL);
    write_index(&future, mr_clock_wall_ms() + 1000000000);
    for (int32_t p = 0; p < N_PARTS; p++) {
        write_raw(p, "x", 1, "no JSON");
        write_raw(p, "x", 1, "{\"job_id\":\"17\",\"time_ms\":1}");
        write_raw(p, NULL, 0,
                  "{\"job_id\":\"00000000-0000-4000-8000-000000000001\",\"time_ms\":1}");
        write_raw(p, NULL, 0, NULL);
    }
    write_index(&good, mr_clock_wall_ms());
    keys_open(false);
    assign(all_parts, N_PARTS);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(ask(&old, other), MR_KEYS_NEW);
    CHECK_I64(ask(&freed, other), MR_KEYS_NEW);
    CHECK_I64(ask(&good, other), MR_KEYS_SAME);
    CHECK_I64(ask(&future, other), MR_KEYS_SAME);
    const mr_job_spec later = job_of("acme", "future", 5);
    CHECK_I64(mr_keys_ask(keys, mr_keys_partition(&later, N_PARTS), &later,
                          mr_clock_wall_ms() + TTL_MS, other),
              MR_KEYS_NEW); /* a clock that was fast does not keep it for ever */
    mr_keys_close(keys);
    stop();
}

/* Without transactions the index record may be there and its job not: better twice than never. */
TEST(with_plain_commits_a_job_goes_on_after_a_crash) {
    char other[MR_JOB_ID_LEN + 1];
    const mr_job_spec first = job_of("acme", "k", 1), second = job_of("acme", "k", 2);
    start();
    const int32_t part = write_index(&first, mr_clock_wall_ms());
    keys_open(true);
    assign(all_parts, N_PARTS);
    CHECK(run_until(&loop, all_loaded, NULL, WAIT_MS));
    CHECK_I64(ask(&second, other), MR_KEYS_TAKEN);
    CHECK_I64(ask(&first, other), MR_KEYS_NEW);
    CHECK_I64(mr_keys_put(keys, part, &first, mr_clock_wall_ms()), MR_OK);
    CHECK_I64(ask(&first, other), MR_KEYS_SAME); /* of this one we know */
    mr_keys_close(keys);
    stop();
}

TEST(both_topics_have_one_size) {
    int32_t n = 0;
    start();
    CHECK_OK(mr_kafka_mock_topic(mock, "mr.keyed.same", N_PARTS, &err), err);
    CHECK_OK(mr_kafka_mock_topic(mock, "mr.keyed.other", N_PARTS + 1, &err), err);
    CHECK_OK(mr_keys_partitions(&kafka, "mr.keyed.same", names.keys, WAIT_MS, &n, &err), err);
    CHECK_I64(n, N_PARTS);
    CHECK_I64(mr_keys_partitions(&kafka, "mr.keyed.other", names.keys, WAIT_MS, &n, &err),
              MR_EINVAL);
    CHECK_ERR(err, "mr.keyed.other has 5 partitions and mr.keys has 4");
    CHECK_I64(mr_keys_partitions(&kafka, "mr.none", names.keys, WAIT_MS, &n, &err), MR_ENOTFOUND);

    keys_open(false);
    const int32_t beyond = N_PARTS;
    CHECK_I64(mr_keys_assign(keys, &beyond, 1, &err), MR_EINVAL);
    CHECK_ERR(err, "there were 4 at the start");
    mr_keys_close(keys);
    stop();
}

MR_TEST_MAIN_SHARED
