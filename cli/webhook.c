/* webhook.c - millrace webhook log and millrace webhook replay: what became of callbacks, and
 * events that were given up once more.
 *
 * The log is a topic with one record per try; it is read from its beginning, and the newest rows
 * are kept. A replay puts the event of a dead letter back as it was, under its old id, with all its
 * tries before it, and notes that in the topic of dead letters. Letters are read in two passes,
 * rows first and then, CHUNK_BYTES at a time, the payloads of those that are wanted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/letters.h"
#include "cli/net.h"
#include "cli/when.h"
#include "schemas/webhook.h"

enum { READ_MS = 120000, LOG_MAX = 100000, SCRATCH_BYTES = 8 << 20, CHUNK_BYTES = 16 << 20 };

/* ---- log ---- */

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

/* ---- replay ---- */

static const mr_opt replay_opts[] = {
    {"job", 0, "JOB", NULL, "the event of this job, or the dead letter at PARTITION:OFFSET", NULL},
    {"cause", 0, "CAUSE", NULL, "all of this cause", NULL},
    {"all", 0, NULL, NULL, "all there are", NULL},
    {"limit", 0, "N", NULL, "at most N, the oldest first", NULL},
    {"again", 0, NULL, NULL, "also what was replayed already", NULL},
    {"yes", 'y', NULL, NULL, "do not ask", NULL},
    {"json", 0, NULL, NULL, "one JSON object per event", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct record {
    struct record *next;
    int32_t partition;
    int64_t offset;
    const void *bytes;
    size_t n;
} record;

typedef struct replay {
    const mr_args *a;
    mr_client *c;
    mr_topic dead;
    const mr_letter **wanted; /* [n_wanted] by place */
    size_t n_wanted, n_done, n_refused;
    mr_arena chunk; /* records that were read and not yet worked off */
    record *records;
    size_t n_bytes;
    bool no_memory;
} replay;

static bool is_meant(const mr_args *a, const mr_letter *e) {
    const char *job = mr_args_get(a, "job"), *cause = mr_args_get(a, "cause");

    if (strncmp(e->cause, "webhook_", 8) != 0) return false;
    if (e->replay[0] && !mr_args_flag(a, "again")) return false;
    return job ? mr_letter_is(e, job) : !cause || strcmp(e->cause, cause) == 0;
}

static int by_place(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    if (a->partition != b->partition) return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool on_letter(void *owner, const mr_kafka_msg *m) {
    replay *r = owner;
    const mr_letter key = {.partition = m->partition, .offset = m->offset}, *wanted = &key;

    if (!m->value || !bsearch(&wanted, r->wanted, r->n_wanted, sizeof *r->wanted, by_place))
        return true;
    record *x = mr_arena_alloc(&r->chunk, sizeof *x);
    void *bytes = mr_arena_copy(&r->chunk, m->value, m->len);
    r->no_memory = !x || !bytes;
    if (r->no_memory) return false;
    *x = (record){r->records, m->partition, m->offset, bytes, m->len};
    r->records = x;
    r->n_bytes += m->len;
    return r->n_bytes < CHUNK_BYTES;
}

static mr_status write_note(const replay *r, const record *x, const char *job_id, mr_arena *arena,
                            mr_err *err) {
    mr_job_spec j = {.model = ""};
    const void *bytes;
    size_t n;

    snprintf(j.job_id, sizeof j.job_id, "%s", job_id);
    snprintf(j.replay_of, sizeof j.replay_of, "%s", job_id);
    if (mr_replay_note(&j, r->dead.name, x->partition, x->offset, arena, &bytes, &n) != MR_OK)
        return mr_fail(err, MR_ENOMEM, "replay: out of memory");
    return mr_topic_write(r->c, "dead", job_id, bytes, n, err);
}

static void print_done(const replay *r, const mr_webhook *w) {
    if (mr_args_flag(r->a, "json"))
        printf("{\"job_id\":\"%s\",\"event\":\"%s\"}\n", w->job_id, mr_job_status_name(w->status));
    else
        printf("%s is called back about again\n", w->job_id);
    fflush(stdout);
}

/* MR_OK also when this one is refused. */
static mr_status replay_one(replay *r, const record *x, mr_err *err) {
    mr_arena arena;
    const void *bytes;
    mr_webhook w;
    mr_dead d;
    size_t n;

    mr_arena_init(&arena, SCRATCH_BYTES);
    mr_status st = mr_codec_dead_decode(&d, x->bytes, x->n, &arena, err);
    if (st == MR_OK) st = mr_codec_webhook_decode(&w, d.payload, d.payload_len, &arena, err);
    if (st != MR_OK) {
        r->n_refused++;
        fprintf(stderr, "millrace webhook replay: dead letter %d:%" PRId64 " is not replayed: %s\n",
                (int)x->partition, x->offset, err->text);
        mr_arena_drop(&arena);
        return MR_OK;
    }
    w.tries = w.put_off = 0;
    w.due_ms = 0;
    w.forced = true;
    st = mr_codec_webhook_encode(&w, &arena, &bytes, &n) == MR_OK
             ? mr_topic_write(r->c, "webhooks", w.job_id, bytes, n, err)
             : mr_fail(err, MR_ENOMEM, "replay: out of memory");
    if (st == MR_OK) {
        r->n_done++;
        print_done(r, &w);
        st = write_note(r, x, w.job_id, &arena, err);
    }
    mr_arena_drop(&arena);
    return st;
}

static mr_status replay_all(replay *r, mr_err *err) {
    mr_status st = mr_topic_init(&r->dead, r->c, "dead", err);

    mr_arena_init(&r->chunk, 4 * CHUNK_BYTES);
    while (st == MR_OK && r->dead.n_left > 0) {
        r->records = NULL;
        r->n_bytes = 0;
        st = mr_topic_read(&r->dead, on_letter, r, READ_MS, err);
        if (st == MR_OK && r->no_memory) st = mr_fail(err, MR_ENOMEM, "replay: out of memory");
        for (const record *x = r->records; x && st == MR_OK; x = x->next)
            st = replay_one(r, x, err);
        mr_arena_reset(&r->chunk);
    }
    mr_arena_drop(&r->chunk);
    mr_topic_deinit(&r->dead);
    return st;
}

static bool is_confirmed(const replay *r) {
    char answer[16] = "";

    if (mr_args_flag(r->a, "yes")) return true;
    fprintf(stderr, "Call back about %zu event%s again? [y/N] ", r->n_wanted,
            r->n_wanted == 1 ? "" : "s");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static mr_status choose(replay *r, const mr_letters *l, size_t limit, mr_err *err) {
    r->wanted = calloc(l->n + 1, sizeof *r->wanted);
    if (!r->wanted) return mr_fail(err, MR_ENOMEM, "replay: out of memory");
    for (size_t i = 0; i < l->n && r->n_wanted < limit; i++)
        if (is_meant(r->a, &l->list[i])) r->wanted[r->n_wanted++] = &l->list[i];
    qsort(r->wanted, r->n_wanted, sizeof *r->wanted, by_place);
    return MR_OK;
}

static int replay_letters(replay *r, size_t limit) {
    mr_letters l;
    mr_err err;
    mr_status st = mr_letters_read(&l, r->c, &err);

    if (st != MR_OK) return mr_cli_interrupted() ? 130 : mr_cli_fail(r->a, &err);
    st = choose(r, &l, limit, &err);
    if (st == MR_OK && r->n_wanted && is_confirmed(r)) st = replay_all(r, &err);
    free(r->wanted);
    mr_letters_deinit(&l);
    fprintf(stderr, "%zu replayed, %zu refused\n", r->n_done, r->n_refused);
    if (st != MR_OK) return mr_cli_interrupted() ? 130 : mr_cli_fail(r->a, &err);
    if (!r->n_wanted && mr_args_get(r->a, "job")) return mr_status_exit_code(MR_ENOTFOUND);
    return r->n_refused ? EX_DATAERR : EX_OK;
}

static int run_replay(const mr_args *a) {
    replay r = {.a = a};
    int64_t limit = MR_LETTERS_MAX;
    mr_err err;

    if ((mr_args_get(a, "job") != NULL) + (mr_args_get(a, "cause") != NULL) +
            mr_args_flag(a, "all") !=
        1)
        return mr_cli_usage(a, "give one of --job, --cause and --all");
    if (mr_args_get(a, "limit") && !mr_args_int(a, "limit", 1, MR_LETTERS_MAX, &limit))
        return EX_USAGE;
    if (!mr_args_flag(a, "yes") && !isatty(STDIN_FILENO))
        return mr_cli_usage(a, "nobody is there to ask: give --yes");
    if (mr_cli_connect(a, &r.c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(r.c);
    const int rc = replay_letters(&r, (size_t)limit);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(r.c);
    return rc;
}

const mr_cmd mr_cmd_webhook_replay = {
    .name = "webhook replay",
    .summary = "try again to deliver events that were given up",
    .opts = replay_opts,
    .about =
        "Each is sent under its old id, with all its tries before it, also to a URL that has said "
        "it is\ngone; when that takes it, it is enabled again. Causes: webhook_undelivered (all "
        "tries have failed),\nwebhook_gone (410), webhook_disabled (410 before), webhook_url (it "
        "may not be asked). What was\nreplayed already is left out.",
    .examples = "  millrace webhook replay --job 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace webhook replay --cause webhook_undelivered --yes",
    .run = run_replay,
};
