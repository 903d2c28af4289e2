/* Goal: each line is whole, can be parsed, and cannot be forged by what is logged.
 * Method: standard error goes into a pipe for the time of one call. */
#include "base/log.h"

#include <errno.h>
#include <unistd.h>

#include "../../test.h"

static char line[8192];
static int saved, ends[2];

static void begin(void) {
    fflush(stderr);
    saved = dup(STDERR_FILENO);
    CHECK(saved >= 0);
    CHECK_I64(pipe(ends), 0);
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0);
}

/* What was written since begin, without the time stamp (whose form is checked). */
static const char *end(void) {
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    const ssize_t n = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    CHECK(n >= 0);
    line[n] = 0;
    if (n == 0) return line;
    CHECK(line[n - 1] == '\n');
    CHECK(strchr(line, '\n') == line + n - 1); /* one line */
    line[n - 1] = 0;
    int year, month, day, h, m, sec, ms, used = 0;
    const char *form = line[0] == '{' ? "{\"ts\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3dZ\",%n"
                                      : "ts=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n";
    CHECK_I64(sscanf(line, form, &year, &month, &day, &h, &m, &sec, &ms, &used), 7);
    return line + used;
}

TEST(logfmt) {
    mr_log_setup("info", false);
    begin();
    mr_log(MR_LOG_INFO, "worker", "job started", "job=%s part=%d err=" MR_Q, "0193-a", 3,
           "say \"hi\"\nand=go \\");
    CHECK_STR(end(), "level=info mod=worker msg=\"job started\" job=0193-a part=3 "
                     "err=\"say \\\"hi\\\"\\nand=go \\\\\"");
    begin();
    mr_log(MR_LOG_ERROR, "m", "ready", NULL);
    CHECK_STR(end(), "level=error mod=m msg=ready");
    begin();
    mr_log(MR_LOG_INFO, "m", "x", "empty=" MR_Q " word last=%d", "", 1);
    CHECK_STR(end(), "level=info mod=m msg=x empty=\"\" text=word last=1");
}

TEST(json) {
    mr_log_setup("debug", true);
    begin();
    mr_log(MR_LOG_WARN, "m", "a b", "n=%d f=%.1f z=007 id=%s t=" MR_Q, -12, 0.5, "1e5",
           "tab\t\x7F \xC3\xBC \xFF");
    CHECK_STR(end(),
              "\"level\":\"warn\",\"mod\":\"m\",\"msg\":\"a b\",\"n\":-12,\"f\":0.5,"
              "\"z\":\"007\",\"id\":\"1e5\",\"t\":\"tab\\u0009\\u007f \xC3\xBC \xEF\xBF\xBD\"}");
    begin();
    mr_log(MR_LOG_WARN, "m", "x", NULL);
    CHECK_STR(end(), "\"level\":\"warn\",\"mod\":\"m\",\"msg\":\"x\"}");
    mr_log_setup("info", false);
}

TEST(levels_are_left_out) {
    mr_log_setup("warn", false);
    CHECK(mr_log_on(MR_LOG_ERROR) && mr_log_on(MR_LOG_WARN) && !mr_log_on(MR_LOG_INFO));
    begin();
    mr_log(MR_LOG_INFO, "m", "x", NULL);
    CHECK_STR(end(), "");
    mr_log_setup("info", false);
}

TEST(a_value_cannot_forge_a_pair) {
    begin();
    mr_log(MR_LOG_INFO, "m", "x", "err=" MR_Q, "a\x01 level=error b=\x01");
    CHECK_STR(end(), "level=info mod=m msg=x pairs=\"err=\\u0001a\\u0001 level=error "
                     "b=\\u0001\\u0001\"");
}

TEST(long_values_are_cut_and_lines_stay_whole) {
    char big[9000];
    memset(big, 'q', sizeof big - 1);
    big[sizeof big - 1] = 0;
    for (int json = 0; json < 2; json++) {
        mr_log_setup("info", json);
        begin();
        mr_log(MR_LOG_INFO, "m", "x", "err=" MR_Q " after=1", "plain");
        const size_t base = strlen(end());
        begin();
        mr_log(MR_LOG_INFO, "m", "x", "err=" MR_Q " after=1", big + 5000); /* fits the line */
        const char *text = end();
        CHECK(strlen(text) < base + 1100);
        CHECK(strstr(text, json ? "...\",\"after\":1}" : "...\" after=1") != NULL);
        begin();
        mr_log(MR_LOG_INFO, "m", "x", "err=" MR_Q " after=1", big); /* longer than any line */
        text = end();
        CHECK(strlen(text) < 4096);
        CHECK(text[strlen(text) - 1] == (json ? '}' : '"'));
    }
    mr_log_setup("info", false);
}

TEST(a_pair_too_many_is_left_out) {
    char big[901];
    memset(big, 'q', 900);
    big[900] = 0;
    mr_log_setup("info", true);
    begin(); /* four fit into the format's buffer, but each quote doubles on the line */
    for (int i = 0; i < 900; i += 2) big[i] = '"';
    mr_log(MR_LOG_INFO, "m", "x", "a=" MR_Q " b=" MR_Q " c=" MR_Q " d=" MR_Q " e=1", big, big, big,
           big);
    const char *text = end();
    CHECK(strlen(text) < 4096);
    CHECK(strstr(text, "\"a\":") != NULL);
    CHECK(strstr(text, "\"d\":") == NULL);
    CHECK(strstr(text, ",\"e\":1}") != NULL);
    mr_log_setup("info", false);
}

TEST(errno_is_left_alone) {
    errno = 1234;
    begin();
    errno = 1234;
    mr_log(MR_LOG_INFO, "m", "x", NULL);
    const int now = errno;
    end();
    CHECK_I64(now, 1234);
}

MR_TEST_MAIN
