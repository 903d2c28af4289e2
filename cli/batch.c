/* batch.c - millrace batch: a file of requests in, a file of results out, through the queue.
 *
 * A bounded number of jobs is in flight; each result is appended as it comes. What is in the output is
 * done: run again, the command goes on behind it. For what an interrupted run had in flight the journal
 * knows the job ids: their results are looked for first, those still on their way are waited for, and only
 * what nobody knows is submitted again, under its old id. A result that comes twice is written once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "cli/bar.h"
#include "cli/batch_files.h"
#include "cli/commands.h"
#include "cli/latency.h"
#include "cli/net.h"

enum { POLL_MS = 200, CATCH_UP_MS = 120000, QUIET_MS = 30000, MAX_IN_FLIGHT = 65536 };

static const mr_opt opts[] = {
    {"output", 'o', "OUT.jsonl", NULL, "where results go; an existing one is continued", NULL},
    {"in-flight", 0, "N", "256", "jobs that may be on their way at one time", NULL},
    {"in-flight-kb", 0, "N", "4096", "and their size in KiB", NULL},
    MR_CLI_JOB_OPTS,
    {"json", 0, NULL, NULL, "print a summary as JSON at the end", NULL},
    {"quiet", 'q', NULL, NULL, "no progress", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct flight { /* a job whose result is awaited */
    char job_id[MR_JOB_ID_LEN + 1];
    char *custom_id;
    size_t bytes;
    bool inherited; /* from the journal: whether it is still on its way is not known */
} flight;

typedef struct batch {
    const mr_args *a;
    mr_client *c;
    FILE *in, *out, *journal;
    char journal_path[4096];
    mr_idset done, seen; /* in the output; met in the input by this run */
    flight *flights;
    size_t n_flights, flights_cap, flight_bytes;
    int64_t max_flights, max_bytes;
    mr_bar bar;
    size_t line_no, n_ok, n_failed, skipped;
    uint64_t prompt_tokens, completion_tokens, heard_ms;
    mr_latency *first_token, *total; /* of jobs that succeeded */
    mr_status st; /* of a write; the run ends with it */
    mr_err err;
} batch;

/* ---- jobs in flight ---- */

static flight *find_by_job(batch *b, const char *job_id) {
    for (size_t i = 0; i < b->n_flights; i++)
        if (strcmp(b->flights[i].job_id, job_id) == 0) return &b->flights[i];
    return NULL;
}

static flight *find_by_custom(batch *b, const char *custom_id) {
    for (size_t i = 0; i < b->n_flights; i++)
        if (strcmp(b->flights[i].custom_id, custom_id) == 0) return &b->flights[i];
    return NULL;
}

static bool add_flight(batch *b, const char *custom_id, const char *job_id, size_t bytes, bool inherited) {
    if (b->n_flights == b->flights_cap) {
        const size_t cap = b->flights_cap ? 2 * b->flights_cap : 256;
        flight *grown = realloc(b->flights, cap * sizeof *grown);
        if (!grown) return false;
        b->flights = grown;
        b->flights_cap = cap;
    }
    flight *f = &b->flights[b->n_flights];
    *f = (flight){.bytes = bytes, .inherited = inherited, .custom_id = strdup(custom_id)};
    if (!f->custom_id) return false;
    snprintf(f->job_id, sizeof f->job_id, "%s", job_id);
    b->n_flights++;
    b->flight_bytes += bytes;
    return true;
}

static void drop_flight(batch *b, flight *f) {
    b->flight_bytes -= f->bytes;
    free(f->custom_id);
    *f = b->flights[--b->n_flights];
}

static bool fail(batch *b, mr_status st) {
    if (b->st == MR_OK) b->st = st;
    return false;
}

static void count(batch *b, bool ok) {
    b->n_ok += ok;
    b->n_failed += !ok;
    b->bar.done++;
    b->bar.failed = b->n_failed;
}

static void on_result(void *owner, const mr_result *r) {
    batch *b = owner;
    flight *f = find_by_job(b, r->job_id);
    if (!f || b->st != MR_OK) return; /* another producer's, or a second copy */
    const mr_status st = mr_batch_write_result(b->out, f->custom_id, r, &b->err);
    if (st != MR_OK || !mr_idset_add(&b->done, f->custom_id)) {
        fail(b, st != MR_OK ? st : MR_ENOMEM);
        return;
    }
    drop_flight(b, f);
    count(b, r->status == MR_STATUS_SUCCEEDED);
    if (r->status == MR_STATUS_SUCCEEDED) {
        mr_latency_add(b->first_token, r->first_token_ms);
        mr_latency_add(b->total, r->finished_ms > r->received_ms ? r->finished_ms - r->received_ms : 0);
    }
    b->prompt_tokens += r->prompt_tokens;
    b->completion_tokens += r->completion_tokens;
    b->bar.tokens = b->completion_tokens;
    b->heard_ms = mr_clock_mono_ms();
}

/* ---- waiting ---- */

/* One turn of waiting. False: stop (Ctrl-C or a failed write). */
static bool wait_a_little(batch *b) {
    mr_err err;
    (void)mr_poll(b->c, POLL_MS, &err);
    const uint64_t now_ms = mr_clock_mono_ms();
    if (!mr_args_flag(b->a, "quiet")) mr_bar_show(&b->bar, now_ms, false);
    if (b->n_flights && now_ms - b->heard_ms > QUIET_MS) {
        mr_bar_clear(&b->bar);
        fprintf(stderr, "millrace batch: no result for %d s, %zu jobs wait; is a worker running?\n",
                QUIET_MS / 1000, b->n_flights);
        b->heard_ms = now_ms;
    }
    return b->st == MR_OK && !mr_cli_interrupted();
}

static bool has_room(const batch *b, size_t bytes) {
    if (b->n_flights == 0) return true; /* a job larger than the limit goes alone */
    return (int64_t)b->n_flights < b->max_flights && (int64_t)(b->flight_bytes + bytes) <= b->max_bytes;
}

/* ---- submitting ---- */

static bool submit(batch *b, mr_batch_line *l, const char *known_job_id) {
    mr_job_spec *j = &l->job;
    mr_status st;

    if (known_job_id) memcpy(j->job_id, known_job_id, sizeof j->job_id);
    else mr_uuid_v7(j->job_id, mr_clock_wall_ms());
    j->stream = false; /* nobody reads these live */
    if (!mr_cli_apply_job_options(b->a, j, &l->arena)) return fail(b, MR_EINVAL);
    if (!known_job_id) {
        st = mr_batch_journal_add(b->journal, l->custom_id, j->job_id, &b->err);
        if (st != MR_OK) return fail(b, st);
        if (!add_flight(b, l->custom_id, j->job_id, l->bytes, false)) return fail(b, MR_ENOMEM);
    }
    while ((st = mr_submit_async(b->c, j, &b->err)) == MR_ELIMIT)
        if (!wait_a_little(b)) return false;
    if (st == MR_OK) return true;
    flight *f = find_by_job(b, j->job_id);
    if (f) drop_flight(b, f);
    if (st != MR_EINVAL) return fail(b, st);
    count(b, false); /* this one job cannot be sent: too large, say */
    st = mr_batch_write_error(b->out, l->custom_id, "rejected", "", b->err.text, &b->err);
    return st == MR_OK || fail(b, st);
}

/* A job of the journal whose result has not turned up: alive, or to be submitted again? */
static bool settle_inherited(batch *b, mr_batch_line *l, flight *f) {
    mr_job_view v;
    mr_err err;
    f->inherited = false;
    const bool alive = mr_job_look(b->c, f->job_id, &v, &err) == MR_OK &&
                       (strcmp(v.state, "queued") == 0 || strcmp(v.state, "released") == 0 ||
                        strcmp(v.state, "running") == 0);
    if (alive) return true;
    char job_id[MR_JOB_ID_LEN + 1];
    memcpy(job_id, f->job_id, sizeof job_id);
    return submit(b, l, job_id);
}

static bool take_line(batch *b, mr_batch_line *l) {
    if (mr_idset_has(&b->seen, l->custom_id)) {
        mr_fail(&b->err, MR_EINVAL, "line %zu: custom_id \"%s\" stands in the file twice", b->line_no,
                l->custom_id);
        return fail(b, MR_EINVAL);
    }
    if (!mr_idset_add(&b->seen, l->custom_id)) return fail(b, MR_ENOMEM);
    if (mr_idset_has(&b->done, l->custom_id)) {
        b->skipped++;
        return true;
    }
    if (l->code[0]) {
        const mr_status st = mr_batch_write_error(b->out, l->custom_id, l->code, "", l->message, &b->err);
        count(b, false);
        return st == MR_OK || fail(b, st);
    }
    flight *f = find_by_custom(b, l->custom_id);
    if (f && f->inherited) return settle_inherited(b, l, f);
    while (!has_room(b, l->bytes))
        if (!wait_a_little(b)) return false;
    return submit(b, l, NULL);
}

/* All of the input, then all of what is in flight. */
static void run_all(batch *b) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool go_on = true;

    while (go_on && (n = getline(&line, &cap, b->in)) > 0) {
        mr_batch_line l;
        b->line_no++;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
        if (n == 0) continue;
        mr_batch_parse(&l, line, (size_t)n, b->line_no);
        go_on = take_line(b, &l) && !mr_cli_interrupted();
        mr_batch_line_drop(&l);
    }
    if (go_on && ferror(b->in)) fail(b, mr_fail(&b->err, MR_EIO, "cannot read the input: %s", strerror(errno)));
    for (size_t i = b->n_flights; go_on && i > 0; i--) /* of lines that the input no longer has */
        if (b->flights[i - 1].inherited) drop_flight(b, &b->flights[i - 1]);
    while (go_on && b->n_flights > 0) go_on = wait_a_little(b);
    free(line);
}

/* ---- begin and end ---- */

static size_t count_lines(FILE *f) {
    char *line = NULL;
    size_t cap = 0, n = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, f)) > 0) n += len > 1 || line[0] != '\n';
    free(line);
    rewind(f);
    return n;
}

static void on_journal(void *owner, const char *custom_id, const char *job_id) {
    batch *b = owner;
    if (mr_idset_has(&b->done, custom_id) || find_by_custom(b, custom_id)) return;
    if (!add_flight(b, custom_id, job_id, 0, true)) fail(b, MR_ENOMEM);
}

/* Reads the journal of an earlier run, waits for results that came meanwhile, begins a new journal. */
static mr_status resume(batch *b) {
    uint64_t started_ms = 0;
    mr_status st = mr_batch_journal_read(b->journal_path, &started_ms, on_journal, b, &b->err);
    const bool old = st == MR_OK && b->n_flights > 0;
    if (st != MR_OK && st != MR_ENOTFOUND) return st;
    if (!old) started_ms = mr_clock_wall_ms();
    if ((st = mr_watch_results(b->c, old ? started_ms : 0, on_result, b, &b->err)) != MR_OK) return st;
    const uint64_t begin_ms = mr_clock_mono_ms();
    while (old && !mr_watch_caught_up(b->c)) {
        if (!wait_a_little(b)) return b->st;
        if (mr_clock_mono_ms() - begin_ms > CATCH_UP_MS)
            return mr_fail(&b->err, MR_ETIMEOUT, "results of the earlier run could not be read within %d s",
                           CATCH_UP_MS / 1000);
    }
    st = mr_batch_journal_create(&b->journal, b->journal_path, started_ms, &b->err);
    for (size_t i = 0; st == MR_OK && i < b->n_flights; i++)
        st = mr_batch_journal_add(b->journal, b->flights[i].custom_id, b->flights[i].job_id, &b->err);
    return st;
}

static mr_status open_all(batch *b, const char *in_path, const char *out_path) {
    size_t failed_before;
    b->in = strcmp(in_path, "-") == 0 ? NULL : fopen(in_path, "re");
    if (!b->in)
        return mr_fail(&b->err, MR_EIO, "%s: %s", in_path,
                       strcmp(in_path, "-") == 0 ? "a batch is read from a file" : strerror(errno));
    mr_status st = mr_batch_output_open(&b->out, out_path, &b->done, &failed_before, &b->err);
    if (st != MR_OK) return st;
    snprintf(b->journal_path, sizeof b->journal_path, "%s.journal", out_path);
    mr_bar_init(&b->bar, stderr, count_lines(b->in), b->done.n, mr_clock_mono_ms());
    if (b->done.n)
        fprintf(stderr, "millrace batch: %s has %zu results (%zu failed), going on\n", out_path, b->done.n,
                failed_before);
    b->heard_ms = mr_clock_mono_ms();
    return resume(b);
}

static int report(batch *b) {
    const double seconds = (double)(mr_clock_mono_ms() - b->bar.begin_ms) / 1000;
    const bool over = b->st == MR_OK && !mr_cli_interrupted();

    if (!mr_args_flag(b->a, "quiet")) mr_bar_show(&b->bar, mr_clock_mono_ms(), true);
    if (!mr_args_flag(b->a, "quiet") && b->bar.terminal) fputc('\n', stderr);
    if (b->st != MR_OK) fprintf(stderr, "millrace batch: %s\n", b->err.text);
    fprintf(stderr, "%zu succeeded, %zu failed, %zu done before; %llu prompt and %llu generated tokens in "
            "%.1f s\n", b->n_ok, b->n_failed, b->skipped, (unsigned long long)b->prompt_tokens,
            (unsigned long long)b->completion_tokens, seconds);
    if (b->n_ok)
        fprintf(stderr, "%.0f tokens/s generated, %.0f in and out; per job, queue included: first token "
                "%u ms (p50) %u ms (p95), all %u ms (p50) %u ms (p95)\n",
                (double)b->completion_tokens / seconds,
                (double)(b->completion_tokens + b->prompt_tokens) / seconds,
                mr_latency_percentile(b->first_token, 50), mr_latency_percentile(b->first_token, 95),
                mr_latency_percentile(b->total, 50), mr_latency_percentile(b->total, 95));
    if (!over)
        fprintf(stderr, "millrace batch: not finished, %zu jobs in flight; the same command goes on\n",
                b->n_flights);
    if (mr_args_flag(b->a, "json"))
        printf("{\"succeeded\":%zu,\"failed\":%zu,\"done_before\":%zu,\"in_flight\":%zu,"
               "\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"seconds\":%.3f,\"first_token_ms\":{\"p50\":%u,"
               "\"p95\":%u},\"total_ms\":{\"p50\":%u,\"p95\":%u},\"finished\":%s}\n",
               b->n_ok, b->n_failed, b->skipped, b->n_flights, (unsigned long long)b->prompt_tokens,
               (unsigned long long)b->completion_tokens, seconds,
               mr_latency_percentile(b->first_token, 50), mr_latency_percentile(b->first_token, 95),
               mr_latency_percentile(b->total, 50), mr_latency_percentile(b->total, 95), over ? "true" : "false");
    if (b->st != MR_OK) return mr_status_exit_code(b->st);
    if (mr_cli_interrupted()) return 130;
    return b->n_failed ? EX_DATAERR : EX_OK;
}

static void close_all(batch *b) {
    mr_cli_catch_interrupt(NULL);
    mr_client_close(b->c);
    if (b->in) fclose(b->in);
    if (b->out) fclose(b->out);
    if (b->journal) fclose(b->journal);
    while (b->n_flights) drop_flight(b, &b->flights[0]);
    free(b->flights);
    free(b->first_token);
    free(b->total);
    mr_idset_deinit(&b->done);
    mr_idset_deinit(&b->seen);
}

static int run(const mr_args *a) {
    batch b = {.a = a};
    const char *out_path = mr_args_get(a, "output");
    int64_t kb;
    int rc;

    if (!out_path) return mr_cli_usage(a, "needs --output OUT.jsonl");
    if (!mr_args_int(a, "in-flight", 1, MAX_IN_FLIGHT, &b.max_flights) ||
        !mr_args_int(a, "in-flight-kb", 1, 1 << 20, &kb))
        return EX_USAGE;
    b.max_bytes = kb * 1024;
    mr_idset_init(&b.done);
    mr_idset_init(&b.seen);
    b.first_token = calloc(1, sizeof *b.first_token);
    b.total = calloc(1, sizeof *b.total);
    mr_status st = b.first_token && b.total ? mr_cli_connect(a, &b.c, &b.err)
                                            : mr_fail(&b.err, MR_ENOMEM, "out of memory");
    if (st == MR_OK) {
        mr_cli_catch_interrupt(b.c);
        st = open_all(&b, mr_args_at(a, 0), out_path);
    }
    if (st != MR_OK) {
        rc = mr_cli_fail(a, &b.err);
    } else {
        run_all(&b);
        rc = report(&b);
        if ((rc == EX_OK || rc == EX_DATAERR) && b.st == MR_OK && b.n_flights == 0 &&
            !mr_cli_interrupted())
            unlink(b.journal_path);
    }
    close_all(&b);
    return rc;
}

const mr_cmd mr_cmd_batch = {
    .name = "batch",
    .summary = "run a file of requests and append each result to a file",
    .operands = "IN.jsonl",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .about =
        "IN.jsonl has OpenAI's Batch format, a request a line: {\"custom_id\",\"method\",\"url\",\"body\"}; "
        "url\n/v1/chat/completions (messages) or /v1/completions (prompt). OUT.jsonl gets a line per "
        "request, in\nthe order of completion: {\"custom_id\",\"response\",\"error\"}. Options of the job "
        "override the file's.\n\nInterrupted (Ctrl-C, crash, full disk), the same command goes on where it "
        "was. Requests that\nfail are in OUT.jsonl with their error; the exit code is then 65.",
    .examples = "  millrace batch samples.jsonl -o synopses.jsonl\n"
                "  millrace batch night.jsonl -o night.out.jsonl --priority low --in-flight 1024",
    .run = run,
};
