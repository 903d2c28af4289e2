/* webhook_log.c - millrace webhook log: what became of callbacks.
 *
 * The log is a topic with one record per try; it is read from its beginning, and the newest rows
 * are kept. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/when.h"
#include "client/topic.h"
#include "schemas/webhook.h"

enum { READ_MS = 120000, LOG_MAX = 100000, SCRATCH_BYTES = 8 << 20 };

static const mr_opt log_opts[] = {
    {"job", 0, "JOB", NULL, "only the event of this job", NULL},
    {"limit", 0, "N", "1000", "only the newest N", NULL},
    {"json", 0, NULL, NULL, "one JSON object per line", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct row {
    char job_id[MR_JOB_ID_LEN + 1], tenant[MR_JOB_MAX_NAME + 1], host[280];
    char why[MR_WEBHOOK_MAX_WHY + 1];
    mr_delivery d; /* its texts are those above */
} row;

typedef struct log_view {
    const char *job;
    row *rows; /* [n], room for 2 * limit */
    size_t n, limit, n_forgotten, n_unreadable;
    mr_arena scratch;
} log_view;

static int by_time(const void *pa, const void *pb) {
    const mr_delivery *a = &((const row *)pa)->d, *b = &((const row *)pb)->d;
    if (a->time_ms != b->time_ms) return a->time_ms < b->time_ms ? -1 : 1;
    return a->tries < b->tries ? -1 : a->tries > b->tries;
}

static void keep_newest(log_view *v) {
    qsort(v->rows, v->n, sizeof *v->rows, by_time);
    if (v->n <= v->limit) return;
    const size_t older = v->n - v->limit;
    memmove(v->rows, v->rows + older, v->limit * sizeof *v->rows);
    v->n = v->limit;
    v->n_forgotten += older;
}

static bool on_delivery(void *owner, const mr_kafka_msg *m) {
    log_view *v = owner;
    mr_delivery d;

    mr_arena_reset(&v->scratch);
    if (!m->value || mr_codec_delivery_decode(&d, m->value, m->len, &v->scratch, NULL) != MR_OK) {
        v->n_unreadable++;
        return true;
    }
    if (v->job && strcmp(v->job, d.job_id) != 0) return true;
    if (v->n == 2 * v->limit) keep_newest(v);
    row *r = &v->rows[v->n++];
    snprintf(r->job_id, sizeof r->job_id, "%s", d.job_id);
    snprintf(r->tenant, sizeof r->tenant, "%.*s", MR_JOB_MAX_NAME, d.tenant);
    snprintf(r->host, sizeof r->host, "%.*s", (int)sizeof r->host - 1, d.host);
    snprintf(r->why, sizeof r->why, "%.*s", MR_WEBHOOK_MAX_WHY, d.why);
    r->d = d;
    return true;
}

/* Text of others on a terminal: no control characters. */
static void put_text(const char *text) {
    for (const char *c = text; *c; c++) putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
}

static void json_row(const row *r) {
    const mr_delivery *d = &r->d;
    const char *event = mr_job_status_name((mr_job_status)d->event);

    printf("{\"job_id\":\"%s\",\"id\":\"msg_%s_%s\",\"event\":\"%s\",\"tenant\":", r->job_id,
           r->job_id, event, event);
    mr_cli_json_string(stdout, r->tenant, strlen(r->tenant));
    fputs(",\"host\":", stdout);
    mr_cli_json_string(stdout, r->host, strlen(r->host));
    printf(",\"outcome\":\"%s\",\"tries\":%u", mr_delivery_outcome_name(d->outcome), d->tries);
    if (d->code) printf(",\"code\":%d", d->code);
    printf(",\"took_ms\":%u,\"time_ms\":%" PRIu64, d->took_ms, d->time_ms);
    if (d->due_ms) printf(",\"due_ms\":%" PRIu64, d->due_ms);
    if (r->why[0]) {
        fputs(",\"why\":", stdout);
        mr_cli_json_string(stdout, r->why, strlen(r->why));
    }
    puts("}");
}

static void text_row(const row *r) {
    char when[MR_CLI_WHEN_LEN], code[16] = "-";

    mr_cli_when_text(when, r->d.time_ms);
    if (r->d.code) snprintf(code, sizeof code, "%d", r->d.code);
    printf("%-20s  %-36s  %-9s  %-9s  %4u  %4s  %6u  ", when, r->job_id,
           mr_job_status_name((mr_job_status)r->d.event), mr_delivery_outcome_name(r->d.outcome),
           r->d.tries, code, r->d.took_ms);
    put_text(r->host);
    if (r->why[0]) fputs("  ", stdout);
    put_text(r->why);
    if (r->d.due_ms) {
        mr_cli_when_text(when, r->d.due_ms);
        printf(" (again at %s)", when);
    }
    putchar('\n');
}

static void print_log(const mr_args *a, const log_view *v) {
    const bool json = mr_args_flag(a, "json");

    if (!json && v->n)
        printf("%-20s  %-36s  %-9s  %-9s  %4s  %4s  %6s  %s\n", "TIME", "JOB", "EVENT", "OUTCOME",
               "TRY", "CODE", "MS", "HOST");
    for (size_t i = 0; i < v->n; i++) json ? json_row(&v->rows[i]) : text_row(&v->rows[i]);
    if (v->n == 0) fputs("millrace webhook log: no tries\n", stderr);
    if (v->n_forgotten)
        fprintf(stderr, "millrace webhook log: %zu older tries are left out; --limit shows more\n",
                v->n_forgotten);
    if (v->n_unreadable)
        fprintf(stderr, "millrace webhook log: %zu records in the topic are no tries\n",
                v->n_unreadable);
}

static mr_status read_log(log_view *v, mr_client *c, mr_err *err) {
    mr_topic t = {.n = 0};
    mr_status st = MR_OK;

    v->rows = calloc(2 * v->limit, sizeof *v->rows);
    mr_arena_init(&v->scratch, SCRATCH_BYTES);
    if (!v->rows) st = mr_fail(err, MR_ENOMEM, "log of webhooks: out of memory");
    if (st == MR_OK) st = mr_topic_init(&t, c, "deliveries", err);
    if (st == MR_OK) st = mr_topic_read(&t, on_delivery, v, READ_MS, err);
    if (st == MR_OK) keep_newest(v);
    mr_topic_deinit(&t);
    mr_arena_drop(&v->scratch);
    return st;
}

static int run_log(const mr_args *a) {
    log_view v = {.job = mr_args_get(a, "job")};
    mr_client *c = NULL;
    mr_err err;
    int64_t limit;

    if (!mr_args_int(a, "limit", 1, LOG_MAX, &limit)) return EX_USAGE;
    v.limit = (size_t)limit;
    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(c);
    const mr_status st = read_log(&v, c, &err);
    if (st == MR_OK) print_log(a, &v);
    free(v.rows);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(c);
    if (st == MR_OK) return EX_OK;
    return mr_cli_interrupted() ? 130 : mr_cli_fail(a, &err);
}

const mr_cmd mr_cmd_webhook_log = {
    .name = "webhook log",
    .summary = "show the tries to deliver events to callbacks",
    .opts = log_opts,
    .about = "Oldest first, one line per try: delivered, failed (and when the next try is due), or "
             "dead. The\nreceiver is shown as host and port, since the rest of a URL may hold a "
             "secret.",
    .examples = "  millrace webhook log --job 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace webhook log --json | jq 'select(.outcome == \"dead\")'",
    .run = run_log,
};
