/* Goal: the table and the JSON of `millrace top` say what beats and heartbeats say: sums of those
 * who live, who is silent, nobody who has gone; and no name steers the terminal. Method: views by
 * hand, and their text; the JSON is read by a parser. */
#include "cli/top_view.h"

#include <jansson.h>

#include "tests/test.h"

#define NOW 1000000

static char *text;
static size_t len;

static const char *show(void (*fn)(FILE *, const mr_top_view *), const mr_top_view *v) {
    free(text);
    FILE *f = open_memstream(&text, &len);
    CHECK(f != NULL);
    fn(f, v);
    CHECK_I64(fclose(f), 0);
    return text;
}

static void has(const char *part) {
    if (!strstr(text, part)) fail_msg("no \"%s\" in:\n%s", part, text);
}

static void lacks(const char *part) {
    if (strstr(text, part)) fail_msg("\"%s\" in:\n%s", part, text);
}

static const struct mr_beat_tenant of_a[] = {{"acme", 3, 4, 100, false}, {"zeta", 9, 1, 1, true}};
static const struct mr_beat_tenant of_b[] = {{"acme", 4, 4, 50, true}};
static const mr_beat a = {.dispatcher = "disp-a",
                          .sent_ms = NOW - 100,
                          .lanes = {[MR_PRIORITY_LOW] = {12, 500, 100, 88, 1.5f}},
                          .delayed = 5,
                          .paused_parts = 1,
                          .parts = 30,
                          .tenants = of_a,
                          .n_tenants = 2};
static const mr_beat b = {.dispatcher = "disp-b",
                          .sent_ms = NOW + 5000, /* its clock is ahead */
                          .lanes = {[MR_PRIORITY_LOW] = {4, 80, 10, 6, 2.5f}},
                          .delayed = 6,
                          .parts = 30,
                          .tenants = of_b,
                          .n_tenants = 1};
static const mr_beat silent = {.dispatcher = "disp-silent",
                               .sent_ms = NOW - 30000,
                               .lanes = {[MR_PRIORITY_LOW] = {1000, 0, 1000, 0, 0}}};
static const mr_beat left = {.dispatcher = "disp-left", .sent_ms = NOW, .leaving = true};
static const mr_beat gone = {.dispatcher = "disp-gone", .sent_ms = NOW - MR_TOP_GONE_MS - 1};
static const mr_heartbeat w = {.worker = "work-1",
                               .model = "demo",
                               .sent_ms = NOW - 20,
                               .free_slots = 3,
                               .max_slots = 16,
                               .running = 12,
                               .waiting = 1,
                               .kv_tokens_free = 250,
                               .kv_tokens_total = 1000,
                               .pressure = 0.25f,
                               .tokens_per_s = 321.5f};
static const mr_heartbeat w_left = {
    .worker = "work-2", .model = "demo", .sent_ms = NOW, .leaving = true};
static const mr_beat *const beats[] = {&a, &b, &silent, &left, &gone};
static const mr_heartbeat *const heartbeats[] = {&w, &w_left};
static const mr_top_view all = {beats, MR_COUNT(beats), heartbeats, MR_COUNT(heartbeats), NOW,
                                false};

TEST(sums_are_of_those_who_live) {
    show(mr_top_table, &all);
    has("2 dispatchers, 1 worker, 322 tokens/s; 11 delayed; 1 of 60 partitions paused");
    has("low                            596       4.0          94\n");
    has("high                             0       0.0           0\n");
    has("acme                             7     150.0       4  held back by its rate\n");
    has("zeta                             9");
    CHECK(strstr(text, "zeta") < strstr(text, "acme")); /* by what waits */
    has("work-1                   demo                    12        1     3/16    75%     321.5"
        "       25%\n");
    has("disp-silent");
    has("silent for 30 s");
    lacks("disp-left");
    lacks("disp-gone");
    lacks("work-2");
    lacks("\033");
}

TEST(json_says_the_same) {
    show(mr_top_json, &all);
    CHECK_I64(strcspn(text, "\n"), len - 1); /* one line */
    json_t *j = json_loads(text, 0, NULL);
    CHECK(j != NULL);
    const char *life = NULL, *name = NULL, *tenant = NULL;
    int waiting = 0, n_waiting = 0, delayed = 0, paused = 0;
    double kv = 0, per_s = 0;
    CHECK_I64(json_unpack(j, "{s:{s:{s:i,s:F}},s:i,s:{s:i}}", "lanes", "low", "waiting", &waiting,
                          "jobs_per_s", &per_s, "delayed", &delayed, "partitions", "paused",
                          &paused),
              0);
    CHECK(waiting == 16 && per_s == 4 && delayed == 11 && paused == 1);
    CHECK_I64(
        json_unpack(j, "{s:[{s:{s:F},s:s}]}", "workers", "kv_tokens", "free", &kv, "state", &life),
        0);
    CHECK(kv == 250);
    CHECK_STR(life, "live");
    CHECK_I64(
        json_unpack(j, "{s:[{s:s,s:i}]}", "tenants", "tenant", &tenant, "waiting", &n_waiting), 0);
    CHECK_STR(tenant, "zeta");
    CHECK_I64(n_waiting, 9);
    const json_t *d = json_object_get(j, "dispatchers");
    CHECK_I64(json_array_size(d), 3);
    CHECK_I64(json_unpack(json_array_get(d, 2), "{s:s,s:s}", "dispatcher", &name, "state", &life),
              0);
    CHECK_STR(name, "disp-silent");
    CHECK_STR(life, "silent");
    json_decref(j);
}

TEST(names_cannot_steer_the_terminal) {
    static const struct mr_beat_tenant bad[] = {
        {"a\033[2Jb\nc", 1, 1, 0, false},
        {"\302\233m\177", 1, 1, 0, false},
        {"größe", 1, 1, 0, false},
        {"a-name-that-is-longer-than-its-column", 1, 1, 0, false}};
    const mr_beat one = {.dispatcher = "d", .sent_ms = NOW, .tenants = bad, .n_tenants = 4};
    const mr_beat *const list[] = {&one};
    const mr_top_view v = {list, 1, NULL, 0, NOW, true};
    show(mr_top_table, &v);
    lacks("\033[2J");
    lacks("\302\233");
    has("a?[2Jb?c                         1");
    has("?m?                              1");
    has("größe                            1");
    has("a-name-that-is-longer-th…        1");
    has("\033[1mTENANT"); /* ours */
}

TEST(nobody) {
    const mr_top_view v = {NULL, 0, NULL, 0, NOW, false};
    show(mr_top_table, &v);
    has("0 dispatchers, 0 workers");
    lacks("WORKER");
    show(mr_top_json, &v);
    has("\"workers\":[],\"dispatchers\":[]");
    free(text);
    text = NULL;
}

MR_TEST_MAIN
