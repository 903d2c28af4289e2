/* Goal: the command table parses what it promises and refuses the rest with the right exit code. Method: a
 * small table of its own, run in process, what a command saw kept in statics. */
#include "cli/args.h"

#include <sysexits.h>

#include "tests/test.h"

static char seen[256];

static int run_probe(const mr_args *a) {
    int64_t n = 0;
    double x = 0;
    uint64_t wait_ms = 0;
    if (!mr_args_int(a, "count", 1, 10, &n) || !mr_args_num(a, "ratio", 0, 1, &x) ||
        !mr_args_span(a, "wait", 100, 86400000, &wait_ms))
        return EX_USAGE;
    snprintf(seen, sizeof seen, "n=%d x=%.2f w=%d v=%d o=%s s0=%s s1=%s", (int)n, x, (int)wait_ms,
             mr_args_flag(a, "verbose"),
             mr_args_at(a, 0) ? mr_args_at(a, 0) : "-", mr_args_nth(a, "stop", 0) ? mr_args_nth(a, "stop", 0) : "-",
             mr_args_nth(a, "stop", 1) ? mr_args_nth(a, "stop", 1) : "-");
    return EX_OK;
}

static const char *const colors[] = {"red", "blue", NULL};
static const mr_opt opts[] = {
    {"count", 'n', "N", "3", "a number", NULL},        {"ratio", 0, "X", "0.5", "a fraction", NULL},
    {"verbose", 'v', NULL, NULL, "a flag", NULL},      {"stop", 0, "TEXT", NULL, "repeatable", NULL},
    {"color", 0, "NAME", NULL, "one of a few", colors}, {"wait", 0, "SPAN", "10m", "a span", NULL},
    {0}};
static const mr_cmd probe = {.name = "probe", .summary = "try things", .operands = "[X]", .max_operands = 1,
                             .opts = opts, .run = run_probe};
static const mr_cmd nested = {.name = "probe deep", .summary = "deeper", .operands = "X", .min_operands = 1,
                              .max_operands = 2, .opts = opts, .run = run_probe};
static const mr_cmd *const table[] = {&probe, &nested, NULL};

static int run(const char *line) {
    static char copy[256];
    char *argv[32] = {"millrace"}, *save = NULL;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) argv[argc++] = w;
    seen[0] = '\0';
    return mr_cli_run(table, argc, argv);
}

TEST(values_defaults_and_forms) {
    CHECK_I64(run("probe"), EX_OK);
    CHECK_STR(seen, "n=3 x=0.50 w=600000 v=0 o=- s0=- s1=-");
    CHECK_I64(run("probe -n 7 --ratio=0.25 -v word --stop a --stop b"), EX_OK);
    CHECK_STR(seen, "n=7 x=0.25 w=600000 v=1 o=word s0=a s1=b");
    CHECK_I64(run("probe -n7 --count 8"), EX_OK); /* the later one wins */
    CHECK_STR(seen, "n=8 x=0.50 w=600000 v=0 o=- s0=- s1=-");
    CHECK_I64(run("probe --wait 90s"), EX_OK);
    CHECK_STR(seen, "n=3 x=0.50 w=90000 v=0 o=- s0=- s1=-");
    CHECK_I64(run("probe -- --count"), EX_OK);
    CHECK_STR(seen, "n=3 x=0.50 w=600000 v=0 o=--count s0=- s1=-");
    CHECK_I64(run("probe -"), EX_OK);
    CHECK_STR(seen, "n=3 x=0.50 w=600000 v=0 o=- s0=- s1=-");
}

TEST(the_longest_command_name_counts) {
    CHECK_I64(run("probe deep word"), EX_OK);
    CHECK_STR(seen, "n=3 x=0.50 w=600000 v=0 o=word s0=- s1=-");
    CHECK_I64(run("probe other"), EX_OK); /* an operand of the shorter one */
    CHECK_STR(seen, "n=3 x=0.50 w=600000 v=0 o=other s0=- s1=-");
}

TEST(wrong_usage_is_refused) {
    static const char *const bad[] = {
        "probe --cuont 3", "probe --count", "probe --count 11", "probe --count 0", "probe --count 3x",
        "probe --ratio nan", "probe --ratio 1.5", "probe --wait 0", "probe --wait 25h", "probe --wait soon", "probe --verbose=1", "probe -x", "probe a b",
        "probe deep", "probe --color green", "prob", "", "nothing at all"};
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        CHECK_I64(run(bad[i]), EX_USAGE);
        CHECK_STR(seen, "");
    }
}

TEST(documents_name_every_option) {
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    mr_cli_print_help(&probe, f);
    mr_cli_print_man(table, &probe, f);
    mr_cli_print_man(table, NULL, f);
    mr_cli_print_bash(table, f);
    fclose(f);
    for (const mr_opt *o = opts; o->name; o++) CHECK(strstr(text, o->name) != NULL);
    CHECK(strstr(text, ".TH \"MILLRACE-PROBE\"") != NULL);
    CHECK(strstr(text, "red blue") != NULL);
    free(text);
}

TEST(json_strings_are_always_utf8) {
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    mr_cli_json_string(f, "a\"\\\n\x01\xc3\xa9\xff\xed\xa0\x80\xf0\x9f\xa6\x99\xe2\x82", 18);
    fclose(f);
    CHECK_STR(text, "\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                    "\xf0\x9f\xa6\x99\xef\xbf\xbd\xef\xbf\xbd\\u0000\"");
    free(text);
}

MR_TEST_MAIN
