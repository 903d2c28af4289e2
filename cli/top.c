/* top.c - millrace top: lanes, tenants, workers and dispatchers, as they tell of themselves.
 *
 * On a terminal the table is drawn over the last one: the cursor goes up as many lines as were
 * drawn, nothing else about the terminal is changed, so nothing has to be put right at the end.
 * Elsewhere each table follows the last. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/net.h"
#include "cli/top_view.h"
#include "client/pulse.h"

enum { CATCH_UP_MS = 10000, NO_LIMIT = 1 << 20, MAX_INTERVAL_MS = 3600 * 1000 };

static const mr_opt opts[] = {
    {"once", '1', NULL, NULL, "print once and end", NULL},
    {"interval", 'i', "SPAN", "1s", "time between two tables", NULL},
    {"json", 0, NULL, NULL, "one JSON object per line instead of a table", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct top {
    const mr_args *a;
    mr_pulse *pulse;
    const mr_beat *beats[MR_PULSE_MAX];
    const mr_heartbeat *heartbeats[MR_PULSE_MAX];
    bool in_place;
    int n_drawn; /* lines of the last table */
} top;

static mr_top_view look(top *t) {
    mr_top_view v = {.beats = t->beats,
                     .heartbeats = t->heartbeats,
                     .now_ms = mr_clock_wall_ms(),
                     .color = mr_cli_is_terminal(stdout)};
    while (v.n_beats < MR_PULSE_MAX &&
           (t->beats[v.n_beats] = mr_pulse_beat(t->pulse, v.n_beats)) != NULL)
        v.n_beats++;
    while (v.n_heartbeats < MR_PULSE_MAX &&
           (t->heartbeats[v.n_heartbeats] = mr_pulse_heartbeat(t->pulse, v.n_heartbeats)) != NULL)
        v.n_heartbeats++;
    return v;
}

/* Lines that fit the terminal; one is left for the cursor. */
static int screen_lines(const top *t) {
    struct winsize size;
    if (!t->in_place || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 3)
        return NO_LIMIT;
    return size.ws_row - 1;
}

/* Draws text over what was drawn before. The terminal cuts lines that are too long, so that each is
 * one line of it. */
static void draw(top *t, const char *text) {
    const int most = screen_lines(t);
    int n = 0;
    if (t->n_drawn) printf("\033[%dA", t->n_drawn);
    fputs("\033[?7l", stdout);
    for (; *text && n < most; n++) {
        const size_t len = strcspn(text, "\n");
        printf("%.*s\033[K\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
    fputs("\033[?7h\033[J", stdout);
    t->n_drawn = n;
}

static bool show_table(top *t, const mr_top_view *v) {
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f) return false;
    mr_top_table(f, v);
    const bool ok = fclose(f) == 0;
    if (ok && t->in_place)
        draw(t, text);
    else if (ok)
        printf("%s%s", text, mr_args_flag(t->a, "once") ? "" : "\n");
    free(text);
    return ok;
}

static bool show(top *t) {
    const mr_top_view v = look(t);
    if (!mr_args_flag(t->a, "json")) {
        if (!show_table(t, &v)) return false;
    } else {
        mr_top_json(stdout, &v);
    }
    return fflush(stdout) == 0; /* whoever read it has gone */
}

static int watch(top *t, int interval_ms) {
    mr_err err;
    mr_status st = mr_pulse_catch_up(t->pulse, CATCH_UP_MS, &err);
    while (st == MR_OK) {
        if (!show(t)) return EX_IOERR;
        if (mr_args_flag(t->a, "once")) return EX_OK;
        st = mr_pulse_run(t->pulse, interval_ms, &err);
    }
    return st == MR_ECANCELED ? EX_OK : mr_cli_fail(t->a, &err);
}

static int run(const mr_args *a) {
    static const mr_pulse_conf conf = {.dispatchers = true, .workers = true};
    static top t; /* large */
    mr_client *c = NULL;
    uint64_t interval_ms;
    mr_err err;

    if (!mr_args_span(a, "interval", 100, MAX_INTERVAL_MS, &interval_ms)) return EX_USAGE;
    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    t = (top){.a = a,
              .in_place =
                  isatty(STDOUT_FILENO) && !mr_args_flag(a, "once") && !mr_args_flag(a, "json")};
    mr_cli_catch_interrupt(c);
    const mr_status st = mr_pulse_open(&t.pulse, c, &conf, &err);
    const int rc = st == MR_OK ? watch(&t, (int)interval_ms) : mr_cli_fail(a, &err);
    mr_pulse_close(t.pulse);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(c);
    return rc;
}

const mr_cmd mr_cmd_top = {
    .name = "top",
    .summary = "watch lanes, tenants, workers and dispatchers",
    .opts = opts,
    .about =
        "What dispatchers and workers tell of themselves, a second old at most. JOBS/S and\n"
        "TOKENS/S of lanes and tenants are means over the last minute, tokens as they were "
        "charged: the\nestimate when a job is released, corrected when it has ended. FREE are "
        "slots for more jobs,\nPRESSURE is the share of its slots that a worker leaves empty for "
        "want of memory. One that was\nnot heard of for 5 seconds is shown as silent, for a "
        "minute.\n\nOn a terminal the table is redrawn in place until Ctrl-C. NO_COLOR is "
        "honoured.",
    .examples = "  millrace top\n"
                "  millrace top --once --json | jq .lanes",
    .run = run,
};
