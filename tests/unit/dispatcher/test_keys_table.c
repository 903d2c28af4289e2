/* Goal: a key is found until it is dropped, its ttl is over or it was the oldest of too many; it
 * never stands for the wrong job; and nothing of a partition is left when it is dropped. Method:
 * small tables of which every key is known; then 200,000 random changes, each compared with a plain
 * array that does the same by looking at everything. */
#include "dispatcher/keys_table.h"

#include "tests/test.h"

enum { TTL_MS = 1000 };

static mr_keys_table *table;

static void open_table(int32_t n_partitions, size_t max) {
    const mr_keys_table_conf conf = {
        .n_partitions = n_partitions, .max = max, .ttl_ms = TTL_MS, .secret = {1, 2, 3}};
    CHECK_I64(mr_keys_table_open(&table, &conf, NULL), MR_OK);
}

static const char *id_of(unsigned n) {
    static char id[MR_JOB_ID_LEN + 1];
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012u", n);
    return id;
}

static mr_status put_since(int32_t partition, const char *name, unsigned job, uint64_t time_ms,
                           uint64_t now_ms) {
    mr_key_holder h = {.time_ms = time_ms};
    memcpy(h.job_id, id_of(job), sizeof h.job_id);
    return mr_keys_table_put(table, partition, name, strlen(name), &h, now_ms);
}

static void put(int32_t partition, const char *name, unsigned job, uint64_t now_ms) {
    CHECK_I64(put_since(partition, name, job, now_ms, now_ms), MR_OK);
}

/* The job that has the key; -1: none. */
static long holder(const char *name, uint64_t now_ms) {
    const mr_key_holder *h = mr_keys_table_find(table, name, strlen(name), now_ms);
    return h ? strtol(h->job_id + 24, NULL, 10) : -1;
}

TEST(a_key_is_found_until_it_is_dropped) {
    open_table(2, 100);
    CHECK_I64(holder("a", 0), -1);
    put(0, "a", 1, 10);
    put(1, "b", 2, 11);
    CHECK_I64(holder("a", 20), 1);
    CHECK_I64(holder("b", 20), 2);
    CHECK_I64(holder("ab", 20), -1);
    mr_keys_table_drop(table, "a", 1, id_of(2)); /* not this one's */
    CHECK_I64(holder("a", 20), 1);
    mr_keys_table_drop(table, "a", 1, id_of(1));
    CHECK_I64(holder("a", 20), -1);
    mr_keys_table_drop(table, "b", 1, NULL);
    CHECK_I64(holder("b", 20), -1);
    CHECK_I64(mr_keys_table_len(table), 0);
    put(1, "b", 3, 21); /* memory that went comes back */
    CHECK_I64(holder("b", 21), 3);
    mr_keys_table_close(table);
}

TEST(the_newest_word_counts) {
    open_table(1, 100);
    put(0, "a", 1, 10);
    put(0, "a", 2, 20);
    CHECK_I64(holder("a", 20), 2);
    CHECK_I64(mr_keys_table_len(table), 1);
    CHECK_I64(holder("a", 10 + TTL_MS), 2); /* its own time, not its former holder's */
    mr_keys_table_close(table);
}

TEST(a_key_is_free_again_after_the_ttl) {
    open_table(2, 100);
    put(0, "a", 1, 10);
    put(1, "b", 2, 10);
    CHECK_I64(holder("a", 9 + TTL_MS), 1);
    CHECK_I64(holder("a", 10 + TTL_MS), -1);
    CHECK_I64(mr_keys_table_len(table), 2);
    put(0, "c", 3, 10 + TTL_MS); /* clears its partition */
    CHECK_I64(mr_keys_table_len(table), 2);
    CHECK_I64(mr_keys_table_forgotten(table), 0);
    mr_keys_table_close(table);
}

TEST(a_full_table_forgets_the_oldest_of_all_partitions) {
    open_table(3, 3);
    CHECK_I64(put_since(2, "young", 1, 30, 40), MR_OK); /* loaded in any order */
    CHECK_I64(put_since(0, "old", 2, 10, 40), MR_OK);
    CHECK_I64(put_since(1, "middle", 3, 20, 40), MR_OK);
    CHECK_I64(mr_keys_table_forgotten(table), 0);
    put(2, "new", 4, 40);
    CHECK_I64(holder("old", 40), -1);
    CHECK_I64(holder("middle", 40), 3);
    CHECK_I64(mr_keys_table_forgotten(table), 1);
    put(2, "newer", 5, 41);
    CHECK_I64(holder("middle", 41), -1);
    CHECK_I64(holder("young", 41), 1);
    CHECK_I64(mr_keys_table_len(table), 3);
    mr_keys_table_close(table);
}

TEST(who_gives_way_when_its_time_was_over_is_not_missed) {
    open_table(2, 1);
    put(0, "a", 1, 10);
    put(1, "b", 2, 10 + TTL_MS);
    CHECK_I64(mr_keys_table_len(table), 1);
    CHECK_I64(mr_keys_table_forgotten(table), 0);
    mr_keys_table_close(table);
}

TEST(a_table_of_one_key_works) {
    open_table(1, 1);
    put(0, "a", 1, 1);
    put(0, "b", 2, 2);
    CHECK_I64(holder("a", 2), -1);
    CHECK_I64(holder("b", 2), 2);
    mr_keys_table_close(table);
}

TEST(a_partition_goes_with_all_its_keys) {
    char name[16];
    open_table(2, 10000);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "k%u", i);
        put((int32_t)(i % 2), name, i, 1);
    }
    mr_keys_table_drop_partition(table, 0);
    CHECK_I64(mr_keys_table_len(table), 2500);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "k%u", i);
        CHECK_I64(holder(name, 1), i % 2 ? (long)i : -1);
    }
    mr_keys_table_drop_partition(table, 0);
    mr_keys_table_drop_partition(table, 1);
    CHECK_I64(mr_keys_table_len(table), 0);
    mr_keys_table_close(table);
}

/* ---- against a plain array ---- */

enum { MODEL_NAMES = 64, MODEL_PARTS = 4, MODEL_MAX = 24, STEPS = 200000 };

static struct {
    long job; /* -1: none */
    uint64_t time_ms, order;
} model[MODEL_NAMES];
static uint64_t random_state = 1;

static unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static void model_forget_oldest(void) {
    int best = -1;
    for (int i = 0; i < MODEL_NAMES; i++)
        if (model[i].job >= 0 && (best < 0 || model[i].order < model[best].order)) best = i;
    model[best].job = -1;
}

static size_t model_len(void) {
    size_t n = 0;
    for (int i = 0; i < MODEL_NAMES; i++) n += model[i].job >= 0;
    return n;
}

static void model_put(unsigned i, unsigned job, uint64_t now_ms, uint64_t order) {
    model[i].job = -1;
    for (unsigned p = i % MODEL_PARTS; p < MODEL_NAMES; p += MODEL_PARTS)
        if (model[p].job >= 0 && model[p].time_ms + TTL_MS <= now_ms) model[p].job = -1;
    if (model_len() == MODEL_MAX) model_forget_oldest();
    model[i].job = (long)job;
    model[i].time_ms = now_ms;
    model[i].order = order;
}

TEST(random_changes_leave_what_a_plain_array_has) {
    uint64_t now_ms = 1;
    char name[16];
    for (int i = 0; i < MODEL_NAMES; i++) model[i].job = -1;
    open_table(MODEL_PARTS, MODEL_MAX);
    for (unsigned step = 0; step < STEPS; step++) {
        const unsigned i = random_below(MODEL_NAMES), what = random_below(100);
        snprintf(name, sizeof name, "key-%u", i);
        now_ms += 1 + random_below(60); /* all times differ: so "the oldest" is one */
        if (what < 70) {
            put((int32_t)(i % MODEL_PARTS), name, step, now_ms);
            model_put(i, step, now_ms, step);
        } else if (what < 98) {
            mr_keys_table_drop(table, name, strlen(name), NULL);
            model[i].job = -1;
        } else {
            mr_keys_table_drop_partition(table, (int32_t)(i % MODEL_PARTS));
            for (unsigned p = i % MODEL_PARTS; p < MODEL_NAMES; p += MODEL_PARTS) model[p].job = -1;
        }
        CHECK_I64(mr_keys_table_len(table), model_len());
        const unsigned q = random_below(MODEL_NAMES);
        snprintf(name, sizeof name, "key-%u", q);
        const bool live = model[q].job >= 0 && model[q].time_ms + TTL_MS > now_ms;
        CHECK_I64(holder(name, now_ms), live ? model[q].job : -1);
    }
    mr_keys_table_close(table);
}

MR_TEST_MAIN
