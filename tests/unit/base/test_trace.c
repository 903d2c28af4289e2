/* Goal: a traceparent is taken exactly when the standard says so, a tracestate is cut at whole entries, and ids
 * are the same for the same span and different for different ones.
 *
 * Method: the standard's own examples and every way to break them, one byte at a time; ids of a few thousand
 * spans compared with each other; the part of jobs that is chosen counted. */
#include "base/trace.h"

#include "tests/test.h"

#define GOOD  "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define JOB   "0193e5a0-7c1b-7aaa-8000-0123456789ab"

static bool reads(const char *text) {
    mr_trace_context t;
    return mr_trace_read(&t, text, strlen(text));
}

TEST(what_is_read_is_written) {
    mr_trace_context t;
    char out[MR_TRACE_TEXT + 1];

    CHECK(mr_trace_read(&t, GOOD, strlen(GOOD)));
    CHECK_I64(t.flags, 1);
    CHECK_I64(t.trace_id[0], 0x4b);
    CHECK_I64(t.parent_id[7], 0xb7);
    mr_trace_write(out, &t);
    CHECK_STR(out, GOOD);
}

TEST(what_is_malformed_is_not_there) {
    CHECK(!reads(""));
    CHECK(!mr_trace_read(&(mr_trace_context){.flags = 0}, NULL, 0));
    CHECK(!reads("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
    CHECK(!reads("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
    CHECK(!reads("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    CHECK(!reads("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
    CHECK(!reads(GOOD "-"));
    CHECK(!reads(GOOD "0"));
    CHECK(!reads(" " GOOD));
    CHECK(!reads(GOOD " "));
}

TEST(a_later_version_is_understood_as_far_as_this_one_goes) {
    mr_trace_context t;
    char out[MR_TRACE_TEXT + 1];
    const char later[] = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-will-come";

    CHECK(mr_trace_read(&t, later, strlen(later)));
    mr_trace_write(out, &t);
    CHECK_STR(out, GOOD);
    CHECK(reads("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    CHECK(!reads("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what"));
}

/* A byte that is not a digit where one must be, or not a dash where that must be. */
TEST(every_byte_counts) {
    for (size_t i = 0; i < strlen(GOOD); i++) {
        char text[] = GOOD;
        text[i] = text[i] == '-' ? '0' : 'g';
        CHECK(!reads(text));
        text[i] = '\0';
        CHECK(!mr_trace_read(&(mr_trace_context){.flags = 0}, text, strlen(GOOD)));
        CHECK(!mr_trace_read(&(mr_trace_context){.flags = 0}, GOOD, i));
    }
}

static size_t fits(const char *text) {
    return mr_trace_state_fit(text, strlen(text));
}

TEST(a_state_passes_whole_or_loses_entries_from_its_end) {
    char text[2 * MR_TRACE_STATE] = "first=1";

    CHECK_I64(fits("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"), 39);
    CHECK_I64(fits("tenant@vendor=a b , x=1"), 23);
    CHECK_I64(fits(",a=1, ,"), 4);
    CHECK_I64(fits(""), 0);
    CHECK_I64(mr_trace_state_fit(NULL, 0), 0);
    CHECK_I64(fits("Rojo=1"), 0);
    CHECK_I64(fits("rojo"), 0);
    CHECK_I64(fits("=1"), 0);
    CHECK_I64(fits("a=b=c"), 0);
    CHECK_I64(fits("a=\x01"), 0);
    CHECK_I64(fits("a=1,b=\x7f"), 0);
    memset(text + 7, 'x', MR_TRACE_STATE - 7);
    CHECK_I64(fits(text), MR_TRACE_STATE);
    strcat(text, "x");
    CHECK_I64(fits(text), 0); /* one entry, too long */
    text[100] = ',';
    CHECK_I64(fits(text), 100);
}

TEST(a_state_has_at_most_32_entries) {
    char text[200] = "";
    for (int i = 0; i < 40; i++) strcat(text, i ? ",a=1" : "a=1");
    CHECK_I64(fits(text), 32 * 4 - 1);
}

static int compare(const void *a, const void *b) {
    return memcmp(a, b, MR_SPAN_ID);
}

TEST(ids_are_computed_and_differ) {
    enum { N = 4096 };
    static uint8_t ids[N][MR_SPAN_ID];
    mr_trace_context t, other;

    CHECK(mr_trace_read(&t, GOOD, strlen(GOOD)));
    other = t;
    other.trace_id[15] ^= 1;
    for (int i = 0; i < N / 2; i++) {
        char name[64];
        snprintf(name, sizeof name, JOB "/wait/%d", i);
        mr_trace_span_id(ids[2 * i], &t, name);
        mr_trace_span_id(ids[2 * i + 1], &other, name);
    }
    qsort(ids, N, sizeof ids[0], compare);
    for (int i = 1; i < N; i++) CHECK(memcmp(ids[i - 1], ids[i], MR_SPAN_ID) != 0);
    mr_trace_span_id(ids[0], &t, "one");
    t.flags ^= 1; /* does not count, nor does who made the job */
    t.parent_id[0] ^= 1;
    mr_trace_span_id(ids[1], &t, "one");
    assert_memory_equal(ids[0], ids[1], MR_SPAN_ID);
}

TEST(a_job_without_a_trace_gets_its_own_id) {
    mr_trace_context t, again;
    uint8_t own[MR_SPAN_ID];
    char out[MR_TRACE_TEXT + 1];

    CHECK(mr_trace_make(&t, JOB));
    mr_trace_write(out, &t);
    CHECK(strncmp(out, "00-0193e5a07c1b7aaa80000123456789ab-", 36) == 0);
    CHECK(strcmp(out + 53, "01") == 0);
    mr_trace_job_span(own, &t, JOB);
    assert_memory_equal(own, t.parent_id, MR_SPAN_ID);
    CHECK(mr_trace_make(&again, "0193E5A0-7C1B-7AAA-8000-0123456789AB"));
    assert_memory_equal(again.trace_id, t.trace_id, MR_TRACE_ID);
    CHECK(!mr_trace_make(&t, "00000000-0000-0000-0000-000000000000"));
    CHECK(!mr_trace_make(&t, "not a UUID"));
}

TEST(the_part_that_is_chosen_is_as_large_as_asked) {
    int n = 0, more = 0;

    for (int i = 0; i < 10000; i++) {
        char id[64];
        snprintf(id, sizeof id, "00000000-0000-7000-8000-%012x", i);
        n += mr_trace_chosen(id, 0.1);
        more += mr_trace_chosen(id, 0.2) && !mr_trace_chosen(id, 0.1);
        CHECK(mr_trace_chosen(id, 1) && !mr_trace_chosen(id, 0));
        CHECK(!mr_trace_chosen(id, 0.1) || mr_trace_chosen(id, 0.2)); /* who has more has all of less */
    }
    CHECK(n > 850 && n < 1150);
    CHECK(more > 850 && more < 1150);
}

TEST(a_ratio_is_a_plain_number) {
    CHECK(mr_trace_ratio("0") == 0 && mr_trace_ratio("1") == 1 && mr_trace_ratio("1.0") == 1);
    CHECK(mr_trace_ratio("0.25") == 0.25 && mr_trace_ratio(".5") == 0.5);
    CHECK(mr_trace_ratio("") < 0 && mr_trace_ratio(".") < 0 && mr_trace_ratio("1.01") < 0);
    CHECK(mr_trace_ratio("-0.1") < 0 && mr_trace_ratio("1e-3") < 0 && mr_trace_ratio("0,5") < 0);
    CHECK(mr_trace_ratio("0.0000000000000000000000000001") < 0);
}

MR_TEST_MAIN
