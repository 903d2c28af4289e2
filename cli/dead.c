/* dead.c - millrace dead list and millrace dead show: what was given up, and why.
 *
 * Letters are shown oldest first, so the newest stands above the prompt. A prompt's text is shown
 * only when it is asked for: it is the users', and this is for operators. */
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

#include "base/b64.h"
#include "cli/commands.h"
#include "cli/letters.h"
#include "cli/net.h"
#include "cli/when.h"

enum { LIST_MAX = MR_LETTERS_MAX, JOB_BYTES = 64 << 20 };

/* Text of others on a terminal: no control characters. */
static void put_line(const char *text) {
    for (const char *c = text; *c; c++) putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
}

static void put_json(FILE *f, const char *name, const char *text) {
    fprintf(f, "\"%s\":", name);
    mr_cli_json_string(f, text, strlen(text));
}

/* The members of one letter, without the braces. */
static void json_letter(FILE *f, const mr_letter *e) {
    char place[MR_LETTER_PLACE_LEN];

    mr_letter_place(e, place);
    fprintf(f, "\"letter\":\"%s\",\"time_ms\":%" PRIu64 ",", place, e->time_ms);
    if (e->job_id[0]) fprintf(f, "\"job_id\":\"%s\",", e->job_id);
    put_json(f, "cause", e->cause);
    fputs(",\"origin\":{", f);
    put_json(f, "topic", e->origin);
    fprintf(f, ",\"partition\":%d,\"offset\":%" PRId64 "},", (int)e->origin_partition,
            e->origin_offset);
    put_json(f, "message", e->message);
    fprintf(f, ",\"payload_bytes\":%zu", e->payload_len);
    if (e->replay[0])
        fprintf(f, ",\"replay\":\"%s\",\"replayed_ms\":%" PRIu64, e->replay, e->replayed_ms);
}

/* ---- list ---- */

static const mr_opt list_opts[] = {
    {"job", 0, "JOB", NULL, "only those of this job", NULL},
    {"cause", 0, "CAUSE", NULL, "only those of this cause", NULL},
    {"limit", 0, "N", "1000", "only the newest N", NULL},
    {"json", 0, NULL, NULL, "one JSON object per dead letter", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

static bool is_listed(const mr_args *a, const mr_letter *e) {
    const char *job = mr_args_get(a, "job"), *cause = mr_args_get(a, "cause");

    return (!job || mr_letter_is(e, job)) && (!cause || strcmp(e->cause, cause) == 0);
}

static void print_row(const mr_letter *e) {
    char when[MR_CLI_WHEN_LEN], place[MR_LETTER_PLACE_LEN], origin[300];

    mr_cli_when_text(when, e->time_ms);
    mr_letter_place(e, place);
    snprintf(origin, sizeof origin, "%.249s[%d]@%" PRId64, e->origin, (int)e->origin_partition,
             e->origin_offset);
    printf("%-20s  %-36s  %-18s  %-30s  ", when, e->job_id[0] ? e->job_id : place, e->cause,
           origin);
    if (e->replay[0]) printf("(replayed as %s) ", e->replay);
    puts(e->message);
}

static void print_list(const mr_args *a, const mr_letters *l, size_t limit) {
    size_t n = 0, skip;

    for (size_t i = 0; i < l->n; i++) n += is_listed(a, &l->list[i]);
    skip = n > limit ? n - limit : 0;
    if (!mr_args_flag(a, "json") && n)
        printf("%-20s  %-36s  %-18s  %-30s  %s\n", "TIME", "JOB", "CAUSE", "ORIGIN", "MESSAGE");
    for (size_t i = 0; i < l->n; i++) {
        if (!is_listed(a, &l->list[i])) continue;
        if (skip) {
            skip--;
        } else if (mr_args_flag(a, "json")) {
            putchar('{');
            json_letter(stdout, &l->list[i]);
            puts("}");
        } else {
            print_row(&l->list[i]);
        }
    }
    if (n > limit)
        fprintf(stderr, "millrace dead list: the newest %zu of %zu; --limit shows more\n", limit,
                n);
    if (n == 0) fputs("millrace dead list: no dead letters\n", stderr);
}

/* What the list does not show. */
static void print_notes(const mr_letters *l) {
    if (l->n_forgotten)
        fprintf(stderr, "millrace dead: %zu older dead letters are left out\n", l->n_forgotten);
    if (l->n_unreadable)
        fprintf(stderr, "millrace dead: %zu records in the topic are no dead letters\n",
                l->n_unreadable);
}

static int run_list(const mr_args *a) {
    mr_client *c = NULL;
    mr_letters l;
    mr_err err;
    int64_t limit;

    if (!mr_args_int(a, "limit", 1, LIST_MAX, &limit)) return EX_USAGE;
    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(c);
    const mr_status st = mr_letters_read(&l, c, &err);
    if (st == MR_OK) {
        print_list(a, &l, (size_t)limit);
        print_notes(&l);
        mr_letters_deinit(&l);
    }
    mr_cli_catch_interrupt(NULL);
    mr_client_close(c);
    if (st == MR_OK) return EX_OK;
    return mr_cli_interrupted() ? 130 : mr_cli_fail(a, &err);
}

const mr_cmd mr_cmd_dead_list = {
    .name = "dead list",
    .summary = "list dead letters: jobs and records that were given up",
    .opts = list_opts,
    .about =
        "Oldest first. JOB is the job's id, or the letter's place in the topic, PARTITION:OFFSET, "
        "when\nno id is known; show and replay take either. A job that was given up more than "
        "once has more\nthan one letter. What was replayed says so, with the id of the new job.",
    .examples = "  millrace dead list\n"
                "  millrace dead list --cause poison --json | jq -r .job_id",
    .run = run_list,
};

/* ---- show ---- */

static const mr_opt show_opts[] = {
    {"payload", 0, NULL, NULL, "the record itself, too: prompt and all", NULL},
    {"json", 0, NULL, NULL, "one JSON object per dead letter", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

static size_t input_bytes(const mr_job_spec *j) {
    size_t n = j->input == MR_INPUT_PROMPT ? j->prompt_len : 0;

    for (size_t i = 0; j->input == MR_INPUT_MESSAGES && i < j->n_messages; i++)
        n += j->messages[i].content_len;
    return n;
}

static void text_job(const mr_job_spec *j) {
    char when[MR_CLI_WHEN_LEN];

    printf("  model     %s\n  tenant    %s\n  lane      %s\n", j->model, j->tenant,
           mr_priority_name(j->priority));
    if (j->received_ms) {
        mr_cli_when_text(when, j->received_ms);
        printf("  received  %s\n", when);
    }
    if (j->input == MR_INPUT_TOKENS)
        printf("  input     %zu tokens\n", j->n_tokens);
    else
        printf("  input     %zu bytes\n", input_bytes(j));
    printf("  attempts  %u used up, %u times without memory\n", j->tries, j->backoffs);
    if (j->replay_of[0]) printf("  replay of %s\n", j->replay_of);
    for (size_t i = 0; i < j->n_history; i++) {
        const mr_past *p = &j->history[i];
        mr_cli_when_text(when, p->time_ms);
        printf("  %s attempt %u on ", when, p->attempt);
        put_line(p->worker);
        printf(": %s: ", mr_attempt_outcome_name(p->outcome));
        put_line(p->message);
        putchar('\n');
    }
}

static void json_history(const mr_job_spec *j) {
    fputs(",\"history\":[", stdout);
    for (size_t i = 0; i < j->n_history; i++) {
        const mr_past *p = &j->history[i];
        printf("%s{\"attempt\":%u,\"outcome\":\"%s\",", i ? "," : "", p->attempt,
               mr_attempt_outcome_name(p->outcome));
        put_json(stdout, "worker", p->worker);
        putchar(',');
        put_json(stdout, "message", p->message);
        printf(",\"time_ms\":%" PRIu64 "}", p->time_ms);
    }
    putchar(']');
}

static void json_job(const mr_job_spec *j) {
    fputs(",\"job\":{", stdout);
    put_json(stdout, "model", j->model);
    putchar(',');
    put_json(stdout, "tenant", j->tenant);
    printf(",\"lane\":\"%s\",\"received_ms\":%" PRIu64 ",\"input_bytes\":%zu,\"input_tokens\":%zu,"
           "\"tries\":%u,\"backoffs\":%u",
           mr_priority_name(j->priority), j->received_ms, input_bytes(j),
           j->input == MR_INPUT_TOKENS ? j->n_tokens : 0, j->tries, j->backoffs);
    if (j->replay_of[0]) printf(",\"replay_of\":\"%s\"", j->replay_of);
    json_history(j);
    putchar('}');
}

/* As a job when it is one, else as it is, in base64. */
static void print_payload(const mr_dead *d, const mr_job_spec *j, bool json, mr_arena *arena) {
    const void *bytes = NULL;
    size_t n = 0;

    if (j && mr_codec_job_encode(j, MR_FORMAT_JSON, j->attempt > 0, arena, &bytes, &n) == MR_OK) {
        fputs(json ? ",\"payload\":" : "  payload   ", stdout);
        fwrite(bytes, 1, n, stdout);
    } else {
        char *b64 = mr_arena_alloc(arena, MR_B64_LEN(d->payload_len) + 1);
        if (!b64) return;
        mr_b64_encode(b64, d->payload, d->payload_len);
        printf(json ? ",\"payload_b64\":\"%s\"" : "  payload   base64 %s", b64);
    }
    if (!json) putchar('\n');
}

static void print_head(const mr_letter *e) {
    char when[MR_CLI_WHEN_LEN], place[MR_LETTER_PLACE_LEN];

    mr_letter_place(e, place);
    mr_cli_when_text(when, e->time_ms);
    printf("%s %s, dead letter %s\n  cause     %s\n  message   %s\n  time      %s\n",
           e->job_id[0] ? "job" : "record", e->job_id[0] ? e->job_id : "without a job id", place,
           e->cause, e->message, when);
    printf("  origin    %s partition %d offset %" PRId64 "\n", e->origin, (int)e->origin_partition,
           e->origin_offset);
    if (!e->replay[0]) return;
    mr_cli_when_text(when, e->replayed_ms);
    printf("  replayed  %s as %s\n", when, e->replay);
}

static mr_status show_letter(const mr_args *a, mr_client *c, const mr_letter *e, mr_err *err) {
    const bool json = mr_args_flag(a, "json");
    mr_arena arena;
    mr_job_spec j;
    mr_dead d;
    mr_err why;

    mr_arena_init(&arena, JOB_BYTES);
    const mr_status st = mr_letter_fetch(c, e, &arena, &d, err);
    if (st == MR_OK) {
        const bool is_job = mr_letter_job(c, &d, &arena, &j, &why) == MR_OK;
        if (json) {
            putchar('{');
            json_letter(stdout, e);
        } else {
            print_head(e);
        }
        if (is_job && json)
            json_job(&j);
        else if (is_job)
            text_job(&j);
        else if (!json)
            printf("  no job    %s\n", why.text);
        if (mr_args_flag(a, "payload")) print_payload(&d, is_job ? &j : NULL, json, &arena);
        if (json) puts("}");
    }
    mr_arena_drop(&arena);
    return st;
}

static mr_status show_all(const mr_args *a, mr_client *c, const char *which, mr_err *err) {
    mr_letters l;
    size_t n = 0;
    mr_status st = mr_letters_read(&l, c, err);

    if (st != MR_OK) return st;
    for (size_t i = 0; i < l.n && st == MR_OK; i++) {
        if (!mr_letter_is(&l.list[i], which)) continue;
        n++;
        st = show_letter(a, c, &l.list[i], err);
    }
    if (st == MR_OK && n == 0) st = mr_fail(err, MR_ENOTFOUND, "no dead letter of %.80s", which);
    mr_letters_deinit(&l);
    return st;
}

static int run_show(const mr_args *a) {
    mr_client *c = NULL;
    mr_err err;

    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(c);
    const mr_status st = show_all(a, c, mr_args_at(a, 0), &err);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(c);
    if (st == MR_OK) return EX_OK;
    return mr_cli_interrupted() ? 130 : mr_cli_fail(a, &err);
}

const mr_cmd mr_cmd_dead_show = {
    .name = "dead show",
    .summary = "show all about the dead letters of one job",
    .operands = "JOB",
    .min_operands = 1,
    .max_operands = 1,
    .opts = show_opts,
    .about =
        "JOB is a job's id, or the place of one dead letter, PARTITION:OFFSET, as the list shows "
        "it. Of a\njob with several letters all are shown, oldest first. The prompt is shown "
        "with --payload only.",
    .examples = "  millrace dead show 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace dead show 0:17 --payload",
    .run = run_show,
};
