/* Goal: job ids are valid, ordered in time, and never equal.
 * Method: fields read back; two threads make ids for the same milliseconds at once. */
#include "base/uuid.h"

#include <pthread.h>

#include "../../test.h"
#include "base/clock.h"
#include "millrace/error.h"

TEST(uuids_have_version_and_time) {
    char id[MR_UUID_LEN + 1];
    const uint64_t now = mr_clock_wall_ms();
    mr_uuid_v7(id, now);
    CHECK_I64(strlen(id), MR_UUID_LEN);
    CHECK(mr_uuid_valid(id, MR_UUID_LEN));
    CHECK(id[14] == '7');
    CHECK(strchr("89ab", id[19]) != NULL);
    char hex[13];
    snprintf(hex, sizeof hex, "%.8s%.4s", id, id + 9);
    CHECK_I64(strtoull(hex, NULL, 16), now);
}

#define N_IDS 20000
static char ids[2 * N_IDS][MR_UUID_LEN + 1]; /* one half per thread */

static void *make_ids(void *arg) {
    char(*mine)[MR_UUID_LEN + 1] = arg;
    /* Far in the future, so that the ids of both threads share few milliseconds. */
    for (size_t i = 0; i < N_IDS; i++) mr_uuid_v7(mine[i], 4000000000000 - i % 3);
    return NULL;
}

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

TEST(uuids_only_go_up_and_never_repeat) {
    pthread_t other;
    CHECK_I64(pthread_create(&other, NULL, make_ids, ids + N_IDS), 0);
    make_ids(ids);
    pthread_join(other, NULL);
    for (size_t i = 1; i < MR_COUNT(ids); i++)
        if (i != N_IDS) CHECK(strcmp(ids[i - 1], ids[i]) < 0);
    qsort(ids, MR_COUNT(ids), sizeof ids[0], compare);
    for (size_t i = 1; i < MR_COUNT(ids); i++) CHECK(strcmp(ids[i - 1], ids[i]) != 0);
}

TEST(uuids_are_checked) {
    static const char good[] = "01234567-89AB-4cde-8f01-23456789abcd";
    char bad[MR_UUID_LEN + 1];
    CHECK(mr_uuid_valid(good, MR_UUID_LEN));
    CHECK(!mr_uuid_valid(good, MR_UUID_LEN - 1));
    CHECK(!mr_uuid_valid("", 0));
    for (size_t i = 0; i < MR_UUID_LEN; i++) {
        strcpy(bad, good);
        bad[i] = bad[i] == '-' ? 'a' : 'g';
        CHECK(!mr_uuid_valid(bad, MR_UUID_LEN));
    }
}

MR_TEST_MAIN
