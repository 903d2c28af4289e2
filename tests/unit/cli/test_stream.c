/* Goal: what stands printed of a job ends as its text, whatever came before: only what is missing
 * is added, and a text that is another one is printed once more as a whole. Method: standard output
 * in a file, one text after the other for the same job. */
#include "tests/test.h"

#include <unistd.h>

#include "cli/stream.h"

static char path[] = "/tmp/mr-test-cli-stream-XXXXXX";
static int fd, saved;

static void catch_output(void) {
    strcpy(path + strlen(path) - 6, "XXXXXX");
    fd = mkstemp(path);
    CHECK(fd >= 0);
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    CHECK(dup2(fd, STDOUT_FILENO) >= 0);
}

static void check_output(const char *want) {
    char got[512] = "";

    fflush(stdout);
    CHECK(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    CHECK(pread(fd, got, sizeof got - 1, 0) >= 0);
    close(fd);
    unlink(path);
    CHECK_STR(got, want);
}

static void complete(mr_cli_streamed *s, const char *text) {
    mr_err err;

    CHECK_OK(mr_cli_streamed_complete(s, text, strlen(text), &err), err);
    CHECK(s->whole);
    CHECK_I64(s->n_bytes, strlen(text));
}

TEST(only_what_is_missing_is_printed) {
    mr_cli_streamed s = {.whole = false};

    catch_output();
    complete(&s, "one");
    complete(&s, "one, two");
    complete(&s, "one, two");
    check_output("one\n, two\n\n");
    mr_cli_streamed_free(&s);
}

TEST(another_text_is_printed_as_a_whole) {
    mr_cli_streamed s = {.whole = false};

    catch_output();
    complete(&s, "one, two");
    complete(&s, "one, three");
    complete(&s, "one");
    complete(&s, "");
    check_output("one, two\n\none, three\n\none\n\n");
    mr_cli_streamed_free(&s);
}

TEST(a_long_text_is_kept) {
    static char text[100001];
    mr_cli_streamed s = {.whole = false};

    memset(text, 'x', sizeof text - 1);
    catch_output();
    complete(&s, text);
    CHECK(memcmp(s.text, text, sizeof text - 1) == 0);
    fflush(stdout);
    CHECK(ftruncate(fd, 0) == 0);
    check_output("");
    mr_cli_streamed_free(&s);
}

MR_TEST_MAIN
