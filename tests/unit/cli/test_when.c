/* Goal: times are read as RFC 3339 means them, or from now on, and spans the same way wherever one
 * is asked for; anything else is refused. Method: tables of texts with the milliseconds that they
 * stand for, and of texts that are none. */
#include "cli/when.h"

#include "millrace/error.h"
#include "tests/test.h"

#define NOW_MS 1767225600123ull /* 2026-01-01T00:00:00.123Z */

TEST(points_in_time) {
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"2026-01-01T00:00:00Z", 1767225600000},
        {"2026-01-01t00:00:00z", 1767225600000},
        {"2026-01-01 00:00:00Z", 1767225600000},
        {"2026-01-01T00:00:00.5Z", 1767225600500},
        {"2026-01-01T00:00:00.0019Z", 1767225600001},
        {"2026-01-01T01:30:00+01:30", 1767225600000},
        {"2025-12-31T19:00:00-05:00", 1767225600000},
        {"2026-01-01T00:00:00-00:00", 1767225600000},
        {"2024-02-29T12:00:00Z", 1709208000000},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T01:00:00+01:00", 0},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"+0s", NOW_MS},
        {"+90s", NOW_MS + 90000},
        {"+10m", NOW_MS + 600000},
        {"+2h", NOW_MS + 7200000},
        {"+1d", NOW_MS + 86400000},
        {"+999999999d", NOW_MS + 86399999913600000},
        {"+10", NOW_MS + 10000},
        {"+1.5h", NOW_MS + 5400000},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        uint64_t ms = 7;
        if (!mr_cli_when(cases[i].text, NOW_MS, &ms)) fail_msg("%s: refused", cases[i].text);
        if (ms != cases[i].ms)
            fail_msg("%s: %llu, not %llu", cases[i].text, (unsigned long long)ms,
                     (unsigned long long)cases[i].ms);
    }
}

TEST(what_is_no_time) {
    /* clang-format off */
    static const char *const cases[] = {
        "", "+", "+s", "+10x", "+10mm", "+-1s", "++1s", "+1000000000s", "10m", "-10m",
        "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00Z", "26-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-01-32T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T23:59:60Z", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+0100", "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01", "2026-01-01T00:00:00 Z",
    };
    /* clang-format on */

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        uint64_t ms;
        if (mr_cli_when(cases[i], NOW_MS, &ms)) fail_msg("\"%s\" is taken for a time", cases[i]);
    }
}

TEST(spans) {
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"0", 0},
        {"90", 90000},
        {"90s", 90000},
        {"10m", 600000},
        {"2h", 7200000},
        {"1d", 86400000},
        {"0.2", 200},
        {"0.1259s", 125},
        {"1.5m", 90000},
        {"0.5d", 43200000},
        {"999999999", 999999999000},
    };
    /* clang-format off */
    static const char *const none[] = {"", "s", ".5", "1.", "1.s", "+1s", "-1", " 1", "1 s", "1S", "1w",
                                       "10ms", "1h30m", "1e3", "1000000000", "inf"};
    /* clang-format on */

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        uint64_t ms = 7;
        if (!mr_cli_span(cases[i].text, &ms)) fail_msg("%s: refused", cases[i].text);
        CHECK_I64(ms, cases[i].ms);
    }
    for (size_t i = 0; i < MR_COUNT(none); i++) {
        uint64_t ms;
        if (mr_cli_span(none[i], &ms)) fail_msg("\"%s\" is taken for a span", none[i]);
    }
}

TEST(spans_are_shown_as_they_are_written) {
    static const char *const cases[] = {"7d", "1.5d", "1h", "10m", "59s", "0.1s", "0s"};

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        char text[MR_CLI_SPAN_LEN];
        uint64_t ms;
        CHECK(mr_cli_span(cases[i], &ms));
        mr_cli_span_text(text, ms);
        CHECK_STR(text, cases[i]);
    }
}

TEST(times_are_shown_in_utc) {
    char text[MR_CLI_WHEN_LEN];

    mr_cli_when_text(text, NOW_MS);
    CHECK_STR(text, "2026-01-01T00:00:00Z");
    mr_cli_when_text(text, 253402300799999);
    CHECK_STR(text, "9999-12-31T23:59:59Z");
    mr_cli_when_text(text, UINT64_MAX);
    CHECK(strlen(text) < MR_CLI_WHEN_LEN);
}

MR_TEST_MAIN
