/* Goal: base64, UUIDs and error lines have exactly the form that others rely on.
 * Method: vectors of RFC 4648, round trips over all lengths, refusal of each kind of bad input. */
#include <pthread.h>
#include <sysexits.h>

#include "../../test.h"
#include "base/b64.h"
#include "base/clock.h"
#include "base/uuid.h"

TEST(base64_vectors_of_the_rfc) {
    static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < MR_COUNT(pairs); i++) {
        char text[16], back[16];
        size_t n = 99;
        mr_b64_encode(text, pairs[i][0], strlen(pairs[i][0]));
        CHECK_STR(text, pairs[i][1]);
        CHECK_I64(mr_b64_decode(back, sizeof back, &n, text, strlen(text)), MR_OK);
        CHECK_I64(n, strlen(pairs[i][0]));
        CHECK(memcmp(back, pairs[i][0], n) == 0);
    }
}

TEST(base64_round_trip_of_every_byte) {
    unsigned char bytes[256], back[256];
    char text[MR_B64_LEN(256) + 1];
    size_t n = 0;
    for (int i = 0; i < 256; i++) bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        mr_b64_encode(text, bytes, len);
        CHECK_I64(strlen(text), MR_B64_LEN(len));
        CHECK_I64(mr_b64_decode(back, len, &n, text, strlen(text)), MR_OK); /* exactly enough room */
        CHECK_I64(n, len);
        CHECK(memcmp(back, bytes, len) == 0);
        if (len == 0) continue;
        CHECK_I64(mr_b64_decode(back, len - 1, &n, text, strlen(text)), MR_ELIMIT);
    }
}

TEST(base64_refuses_what_the_encoder_would_not_make) {
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zg==Zg==", "Z===",
                                      "====", "Zm 9", "Zm9v\n", "Zm-_", "=g==", "Zm9v=AAA"};
    char back[64];
    size_t n = 0;
    for (size_t i = 0; i < MR_COUNT(bad); i++)
        CHECK_I64(mr_b64_decode(back, sizeof back, &n, bad[i], strlen(bad[i])), MR_EINVAL);
}

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
static char ids[3][N_IDS][MR_UUID_LEN + 1];

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
    CHECK_I64(pthread_create(&other, NULL, make_ids, ids[1]), 0);
    make_ids(ids[0]);
    pthread_join(other, NULL);
    for (size_t t = 0; t < 2; t++)
        for (size_t i = 1; i < N_IDS; i++) CHECK(strcmp(ids[t][i - 1], ids[t][i]) < 0);
    qsort(ids, (size_t)2 * N_IDS, sizeof ids[0][0], compare);
    for (size_t i = 1; i < (size_t)2 * N_IDS; i++) CHECK(strcmp(ids[0][i - 1], ids[0][i]) != 0);
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

TEST(an_error_is_one_printable_line) {
    mr_err err;
    CHECK_I64(mr_fail(&err, MR_EIO, "a\nb\x1b[0m %s", "c\r"), MR_EIO);
    CHECK_STR(err.text, "a?b?[0m c?");
    CHECK_I64(err.status, MR_EIO);
    CHECK_I64(mr_fail(&err, MR_EINVAL, "job 7: %s", err.text), MR_EINVAL); /* its own text */
    CHECK_STR(err.text, "job 7: a?b?[0m c?");
    CHECK_I64(mr_fail(NULL, MR_ELIMIT, "unseen"), MR_ELIMIT);

    char many[2000] = "x"; /* two-byte characters at odd places: the cut falls into one */
    for (size_t i = 1; i + 2 < sizeof many; i += 2) memcpy(many + i, "\xC3\xBC", 2);
    mr_fail(&err, MR_EIO, "%s", many);
    CHECK_I64(strlen(err.text), sizeof err.text - 1);
    mr_fail(&err, MR_EIO, "y%s", many);
    CHECK_I64(strlen(err.text), sizeof err.text - 2);
    CHECK(err.text[strlen(err.text) - 1] == '\xBC');
}

TEST(every_status_has_a_name_and_an_exit_code) {
    for (int st = 0; st >= MR_EINTERNAL; st--) {
        CHECK(strcmp(mr_status_name((mr_status)st), "unknown") != 0);
        CHECK((mr_status_exit_code((mr_status)st) == 0) == (st == 0));
        for (int other = 0; other > st; other--)
            CHECK(strcmp(mr_status_name((mr_status)st), mr_status_name((mr_status)other)) != 0);
    }
    CHECK_STR(mr_status_name((mr_status)-99), "unknown");
    CHECK_STR(mr_status_name((mr_status)3), "unknown");
    CHECK_I64(mr_status_exit_code(MR_EUNAVAIL), EX_UNAVAILABLE);
    CHECK_I64(mr_status_exit_code((mr_status)-99), EX_SOFTWARE);
}

TEST(clocks_run) {
    const uint64_t us = mr_clock_mono_us(), ms = mr_clock_mono_ms();
    CHECK(ms >= us / 1000 && ms < us / 1000 + 1000);
    CHECK(mr_clock_wall_ms() > 1600000000000u);
}

MR_TEST_MAIN
