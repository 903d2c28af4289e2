/* status.c - millrace status: where a job is, as far as Redis knows.
 *
 * A job that waits has a ticket: its number among all that entered its lane in its dispatcher,
 * whose beats say how many have left that lane and how fast they leave. So many are before it, if
 * all went by arrival; weights, tenants and deadlines make it earlier or later: hence "about". */
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/when.h"
#include "client/pulse.h"

enum { BEATS_MS = 10000 };

static const mr_opt opts[] = {
    {"json", 0, NULL, NULL, "one JSON object per job", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct ahead { /* of a job that waits */
    uint64_t position; /* 1: it is next; 0: not known */
    double start_in_s; /* negative: not known */
} ahead;

typedef struct status {
    const mr_args *a;
    mr_client *c;
    mr_pulse *pulse; /* opened for the first job that waits */
    bool no_pulse;   /* that failed */
} status;

/* The beats of all dispatchers; without them a job has no position, and the rest is shown. */
static const mr_pulse *beats(status *s) {
    const mr_pulse_conf conf = {.dispatchers = true};
    mr_err err;
    if (s->pulse || s->no_pulse) return s->pulse;
    mr_status st = mr_pulse_open(&s->pulse, s->c, &conf, &err);
    if (st == MR_OK) st = mr_pulse_catch_up(s->pulse, BEATS_MS, &err);
    if (st == MR_OK) return s->pulse;
    fprintf(stderr, "millrace status: no positions: %s\n", err.text);
    mr_pulse_close(s->pulse);
    s->pulse = NULL;
    s->no_pulse = true;
    return NULL;
}

static ahead look_ahead(status *s, const mr_job_view *v) {
    ahead none = {0, -1}, found = none;
    if (strcmp(v->state, "queued") != 0 || !v->ticket) return none;
    const mr_pulse *p = beats(s);
    const mr_beat *b = p ? mr_pulse_find(p, v->dispatcher) : NULL;
    if (!b || b->leaving) return none; /* another one has it by now, and will say so */
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        const mr_beat_lane *lane = &b->lanes[l];
        if (strcmp(v->lane, mr_priority_name((mr_priority)l)) != 0) continue;
        found.position = v->ticket > lane->left ? v->ticket - lane->left : 1;
        if (lane->per_s > 0) found.start_in_s = (double)found.position / lane->per_s;
    }
    return found;
}

static void print_text_field(const char *name, const char *value) {
    if (value[0]) printf(" %s=%s", name, value);
}

static void print_time(const char *name, uint64_t ms) {
    char text[MR_CLI_WHEN_LEN];
    if (!ms) return;
    mr_cli_when_text(text, ms);
    printf(" %s=%s", name, text);
}

static void print_text(const char *id, const mr_job_view *v, const ahead *h) {
    printf("%s %s", id, v->state);
    print_text_field("model", v->model);
    print_text_field("tenant", v->tenant);
    print_text_field("lane", v->lane);
    print_text_field("worker", v->worker);
    printf(" attempt=%u", v->attempt);
    if (v->tries) printf(" failed_attempts=%u", v->tries);
    printf(" tokens=%u", v->tokens);
    print_time("received", v->received_ms);
    print_time("updated", v->updated_ms);
    if (strcmp(v->state, "delayed") == 0) print_time("due", v->due_ms);
    if (h->position) printf(" position=about %" PRIu64, h->position);
    if (h->start_in_s >= 0) printf(" start=in about %.0f s", h->start_in_s);
    if (v->error[0]) printf(" error=\"%s\"", v->error);
    putchar('\n');
}

static void print_json_text(const char *name, const char *value) {
    printf(",\"%s\":", name);
    mr_cli_json_string(stdout, value, strlen(value));
}

static void print_json(const char *id, const mr_job_view *v, const ahead *h) {
    printf("{\"job_id\":\"%s\"", id);
    print_json_text("state", v->state);
    print_json_text("model", v->model);
    print_json_text("tenant", v->tenant);
    print_json_text("lane", v->lane);
    print_json_text("worker", v->worker);
    printf(",\"attempt\":%u,\"failed_attempts\":%u,\"tokens\":%u,\"received_ms\":%" PRIu64
           ",\"updated_ms\":%" PRIu64,
           v->attempt, v->tries, v->tokens, v->received_ms, v->updated_ms);
    if (strcmp(v->state, "delayed") == 0) printf(",\"due_ms\":%" PRIu64, v->due_ms);
    if (h->position) printf(",\"position\":%" PRIu64, h->position);
    if (h->start_in_s >= 0) printf(",\"start_in_s\":%.1f", h->start_in_s);
    print_json_text("error", v->error);
    fputs("}\n", stdout);
}

static mr_status show(status *s, const char *id, mr_err *err) {
    mr_job_view v;
    const mr_status st = mr_job_look(s->c, id, &v, err);
    if (st != MR_OK) return st;
    const ahead h = look_ahead(s, &v);
    if (mr_args_flag(s->a, "json"))
        print_json(id, &v, &h);
    else
        print_text(id, &v, &h);
    return MR_OK;
}

static int run(const mr_args *a) {
    status s = {.a = a};
    mr_err err;
    int rc = EX_OK;

    if (mr_cli_connect(a, &s.c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_status st = MR_OK;
    for (size_t i = 0; i < mr_args_n(a) && st != MR_EUNAVAIL; i++) {
        st = show(&s, mr_args_at(a, i), &err);
        if (st != MR_OK) rc = mr_cli_fail(a, &err);
    }
    mr_pulse_close(s.pulse);
    mr_client_close(s.c);
    return rc;
}

const mr_cmd mr_cmd_status = {
    .name = "status",
    .summary = "show where jobs are",
    .operands = "JOB...",
    .min_operands = 1,
    .max_operands = -1,
    .opts = opts,
    .about =
        "States: queued, delayed, released, running, then succeeded, failed, rejected, "
        "cancelled or\nexpired. A queued job has a position in its lane and, once jobs have "
        "left that lane within the\nlast minute, a time to its start; both are estimates: "
        "weights, tenants and deadlines decide,\nnot arrival alone. A delayed one says when "
        "it is due.\n\nThe status is a view that Redis keeps for a day; the record in Kafka is "
        "the authority.",
    .examples = "  millrace status 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77",
    .run = run,
};
