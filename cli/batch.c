/* batch.c - millrace batch: a file of requests in, a file of results out, through the queue.
 *
 * A bounded number of jobs is in flight; each result is appended as it comes. What is in the output
 * is done: run again, the command goes on behind it. For what an interrupted run had in flight the
 * journal knows the job ids: their results are looked for first, those still on their way are
 * waited for, and only what nobody knows is submitted again, under its old id. A result that comes
 * twice is written once.
 *
 * Jobs that the brokers did not take (away for longer than librdkafka waits) are sent again, under
 * the same id, at most MAX_SENDS times. A job that was refused for now, by its tenant's limits, is
 * submitted again when it may come back (pace.h), under a new id, since a job id has one result.
 * The journal then has the request twice, and the last entry counts. */
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
#include "cli/flights.h"
#include "cli/latency.h"
#include "cli/net.h"
#include "cli/pace.h"

enum {
    POLL_MS = 200,
    QUIET_MS = 30000, /* without a result: say so */
    RESEND_MS = 5000, /* pause before jobs that were not taken are sent again */
    MAX_SENDS = 10,
    FETCH_MS = 10000,       /* for one result whose place is known */
    SLACK_MS = 3600 * 1000, /* our clock and the brokers' may differ by this */
    MAX_IN_FLIGHT = 65536,
    MAX_RETRIES = 1000000
};

static const mr_opt opts[] = {
    {"output", 'o', "OUT.jsonl", NULL, "where results go; an existing one is continued", NULL},
    {"in-flight", 0, "N", "256", "jobs that may be on their way at one time", NULL},
    {"in-flight-kb", 0, "N", "4096", "and their size in KiB", NULL},
    {"retries", 0, "N", "100", "times to submit a job again that is refused for now", NULL},
    MR_CLI_JOB_OPTS,
    {"json", 0, NULL, NULL, "print a summary as JSON at the end", NULL},
    {"quiet", 'q', NULL, NULL, "no progress", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct batch {
    const mr_args *a;
    mr_client *c;
    mr_batch_in in;
    FILE *out, *journal;
    char journal_path[4096];
    mr_idset done, seen; /* in the output; in the input */
    mr_flights flights;
    int64_t max_flights, max_bytes, max_retries;
    uint64_t not_before_ms; /* the same for all lines, whenever they are read */
    mr_bar bar;
    mr_pace pace;
    size_t n_ok, n_failed, n_before, n_failed_before, n_retries;
    uint64_t prompt_tokens, completion_tokens, heard_ms, resend_ms, told_ms;
    bool redis_away;                 /* found out while settling: not asked again */
    mr_latency *first_token, *total; /* of jobs that succeeded */
    mr_status st;                    /* of what ends the run */
    mr_err err;
} batch;

/* The run ends; b->err says why. */
static bool fail(batch *b, mr_status st) {
    if (b->st == MR_OK) b->st = st;
    return false;
}

static bool no_memory(batch *b) {
    return fail(b, mr_fail(&b->err, MR_ENOMEM, "out of memory"));
}

static bool may_go_on(const batch *b) {
    return b->st == MR_OK && !mr_cli_interrupted();
}

/* ---- results ---- */

static void count(batch *b, bool ok) {
    b->n_ok += ok;
    b->n_failed += !ok;
    b->bar.done++;
    b->bar.failed = b->n_failed;
}

/* A request that ends without a job: what is wrong with it stands in the output. */
static bool write_refusal(batch *b, const char *id, const char *custom_id, const char *code,
                          const char *why) {
    mr_err err;
    const mr_status st = mr_batch_write_error(b->out, id, custom_id, code, "", why, &err);
    if (st != MR_OK) {
        b->err = err;
        return fail(b, st);
    }
    count(b, false);
    return mr_idset_add(&b->done, custom_id) || no_memory(b);
}

static void write_result(batch *b, mr_flight *f, const mr_result *r) {
    const mr_status st = mr_batch_write_result(b->out, f->custom_id, r, &b->err);
    if (st != MR_OK) {
        fail(b, st);
        return;
    }
    if (!mr_idset_add(&b->done, f->custom_id)) no_memory(b);
    mr_flights_drop(&b->flights, f);
    count(b, r->status == MR_STATUS_SUCCEEDED);
    if (r->status == MR_STATUS_SUCCEEDED) {
        mr_latency_add(b->first_token, r->first_token_ms);
        mr_latency_add(b->total,
                       r->finished_ms > r->received_ms ? r->finished_ms - r->received_ms : 0);
    }
    b->prompt_tokens += r->prompt_tokens;
    b->completion_tokens += r->completion_tokens;
    b->bar.tokens = b->completion_tokens;
    b->heard_ms = mr_clock_mono_ms();
}

static bool was_not_taken(const mr_result *r) {
    return r->error.code && strcmp(r->error.code, "not_submitted") == 0;
}

/* Its tenant's limits are in the way, and it may come back. */
static bool is_for_now(const batch *b, const mr_flight *f, const mr_result *r) {
    return r->status == MR_STATUS_REJECTED && r->error.retry_after_ms &&
           f->n_refused < b->max_retries;
}

static void send_later(batch *b, mr_flight *f, const mr_result *r) {
    const uint64_t now_ms = mr_clock_mono_ms(), after_ms = r->error.retry_after_ms;

    mr_pace_refused(&b->pace, f->sent_ms, after_ms, now_ms);
    if (now_ms >= b->told_ms) {
        mr_bar_clear(&b->bar);
        fprintf(stderr, "millrace batch: refused for now, submitting again in %.1f s: %s\n",
                (double)after_ms / 1000, r->error.message ? r->error.message : "");
        b->told_ms = now_ms + QUIET_MS;
    }
    f->n_refused++;
    f->spent = true;
    b->bar.held++;
    b->heard_ms = now_ms;
    mr_flights_set_need(&b->flights, f, MR_FLIGHT_SEND);
}

static void on_result(void *owner, const mr_result *r) {
    batch *b = owner;
    mr_flight *f = mr_flights_find_job(&b->flights, r->job_id);
    if (!f || b->st != MR_OK) return; /* another producer's, or a second copy */
    if (f->spent) return; /* the same */
    if (is_for_now(b, f, r)) {
        send_later(b, f, r);
        return;
    }
    if (!was_not_taken(r) || f->n_sent >= MAX_SENDS) {
        write_result(b, f, r);
        return;
    }
    const uint64_t now_ms = mr_clock_mono_ms();
    if (now_ms >= b->resend_ms) {
        mr_bar_clear(&b->bar);
        fprintf(stderr, "millrace batch: the brokers did not take a job, sending again: %s\n",
                r->error.message);
        b->resend_ms = now_ms + RESEND_MS;
    }
    mr_flights_set_need(&b->flights, f, MR_FLIGHT_SEND);
}

/* ---- waiting ---- */

/* Until the next look at what may be sent, at most. */
static int poll_ms(const batch *b) {
    const uint64_t now_us = mr_clock_mono_ms() * 1000, next_us = b->pace.next_us;
    return next_us > now_us && next_us - now_us < POLL_MS * 1000
               ? (int)((next_us - now_us) / 1000) + 1
               : POLL_MS;
}

/* One turn of waiting. False: the run ends. */
static bool wait_a_little(batch *b) {
    mr_err err;
    const mr_status st = mr_poll(b->c, poll_ms(b), &err);
    if (st != MR_OK && st != MR_ETIMEOUT && st != MR_ECANCELED && b->st == MR_OK) {
        b->err = err;
        fail(b, st);
    }
    const uint64_t now_ms = mr_clock_mono_ms();
    b->bar.held_ms = b->pace.next_us / 1000;
    if (!mr_args_flag(b->a, "quiet")) mr_bar_show(&b->bar, now_ms, false);
    if (b->flights.n > b->bar.held && now_ms - b->heard_ms > QUIET_MS) {
        mr_bar_clear(&b->bar);
        fprintf(stderr, "millrace batch: no result for %d s, %zu jobs wait; is a worker running?\n",
                QUIET_MS / 1000, b->flights.n - b->bar.held);
        b->heard_ms = now_ms;
    }
    return may_go_on(b);
}

static bool has_room(const batch *b, size_t bytes) {
    if (b->flights.n == 0) return true; /* a job larger than the limit goes alone */
    return (int64_t)b->flights.n < b->max_flights &&
           (int64_t)(b->flights.n_bytes + bytes) <= b->max_bytes;
}

/* ---- submitting ---- */

static bool may_send(const batch *b) {
    const uint64_t now_ms = mr_clock_mono_ms();
    return now_ms >= b->resend_ms && mr_pace_may_send(&b->pace, now_ms);
}

/* f is of this line; it may be gone when this returns. */
static bool submit(batch *b, mr_batch_line *l, mr_flight *f) {
    mr_job_spec *j = &l->job;
    mr_err err;
    mr_status st;

    memcpy(j->job_id, f->job_id, sizeof j->job_id);
    j->stream = false; /* nobody reads these live */
    if (!mr_cli_apply_job_options(b->a, j, &l->arena))
        return no_memory(b); /* checked at the start */
    j->not_before_ms = b->not_before_ms;
    f->n_sent++;
    f->sent_ms = mr_clock_mono_ms();
    mr_pace_sent(&b->pace, f->sent_ms);
    while ((st = mr_submit_async(b->c, j, &err)) == MR_ELIMIT || st == MR_EUNAVAIL)
        if (!wait_a_little(b)) return false;
    if (st == MR_OK || st == MR_ECANCELED) return st == MR_OK;
    if (st != MR_EINVAL) {
        b->err = err;
        return fail(b, st);
    }
    /* this one job cannot be sent: too large, say */
    if ((f = mr_flights_find_job(&b->flights, j->job_id)) != NULL) mr_flights_drop(&b->flights, f);
    return write_refusal(b, j->job_id, l->custom_id, "rejected", err.text);
}

/* A refused request gets its next job id; who finds it in the journal knows no other. */
static bool renew(batch *b, mr_flight *f) {
    char job_id[MR_JOB_ID_LEN + 1];
    mr_uuid_v7(job_id, mr_clock_wall_ms());
    const mr_status st = mr_batch_journal_add(b->journal, f->custom_id, job_id, &b->err);
    if (st != MR_OK) return fail(b, st);
    mr_flights_set_job(&b->flights, f, job_id);
    f->spent = false;
    f->n_sent = 0;
    b->bar.held--;
    b->n_retries++;
    return true;
}

typedef struct place { /* of a line; the reader may be at another one meanwhile */
    off_t at;
    size_t line_no, bytes;
} place;

static bool submit_new(batch *b, mr_batch_line *l, const place *p) {
    char job_id[MR_JOB_ID_LEN + 1];
    mr_uuid_v7(job_id, mr_clock_wall_ms());
    const mr_status st = mr_batch_journal_add(b->journal, l->custom_id, job_id, &b->err);
    if (st != MR_OK) return fail(b, st);
    mr_flight *f = mr_flights_add(&b->flights, l->custom_id, job_id, p->bytes);
    if (!f) return no_memory(b);
    f->at = p->at;
    f->line_no = p->line_no;
    return submit(b, l, f);
}

/* Its line is read again; then reading goes on where it was. */
static bool submit_again(batch *b, mr_flight *f) {
    const off_t back_at = ftello(b->in.f);
    const size_t back_line = b->in.line_no + 1;
    char custom_id[MR_BATCH_MAX_ID + 1];
    mr_batch_line l;

    mr_flights_set_need(&b->flights, f, MR_FLIGHT_WAIT);
    snprintf(custom_id, sizeof custom_id, "%s", f->custom_id);
    mr_status st = mr_batch_in_seek(&b->in, f->at, f->line_no, &b->err);
    if (st != MR_OK) return fail(b, st);
    const bool there = mr_batch_in_next(&b->in);
    mr_batch_parse(&l, there ? b->in.text : "", there ? b->in.n : 0, f->line_no);
    bool ok = there && !l.code[0] && strcmp(l.custom_id, custom_id) == 0;
    if (!ok)
        fail(b, mr_fail(&b->err, MR_EINVAL, "line %zu of the input has changed while it was read",
                        f->line_no));
    ok = ok && (!f->spent || renew(b, f)) && submit(b, &l, f);
    mr_batch_line_drop(&l);
    if ((st = mr_batch_in_seek(&b->in, back_at, back_line, &b->err)) != MR_OK) return fail(b, st);
    return ok;
}

/* A job of an earlier run whose result has not turned up: alive, over, or to be submitted again? */
static bool settle(batch *b, mr_flight *f) {
    char job_id[MR_JOB_ID_LEN + 1];
    const mr_result *r;
    mr_job_view v;
    mr_err err;

    memcpy(job_id, f->job_id, sizeof job_id);
    if (f->at < 0) { /* the input has it no longer */
        mr_flights_drop(&b->flights, f);
        return true;
    }
    const mr_status st = b->redis_away ? MR_EUNAVAIL : mr_job_look(b->c, job_id, &v, &err);
    if (st == MR_ECANCELED) return false;
    b->redis_away = st == MR_EUNAVAIL;
    const bool alive = st == MR_OK && !mr_cli_is_over(v.state);
    if (st == MR_OK && !alive && mr_wait(b->c, job_id, FETCH_MS, &r, &err) == MR_OK)
        on_result(b, r);
    if ((f = mr_flights_find_job(&b->flights, job_id)) != NULL) /* it may have come meanwhile */
        mr_flights_set_need(&b->flights, f, alive ? MR_FLIGHT_WAIT : MR_FLIGHT_SEND);
    return may_go_on(b);
}

/* Whatever is to be done about jobs in flight. False: the run ends. */
static bool work_off(batch *b) {
    mr_flight *f;
    while ((f = b->flights.first) != NULL && f->need != MR_FLIGHT_WAIT) {
        if (f->need == MR_FLIGHT_SEND && !may_send(b)) break;
        if (!(f->need == MR_FLIGHT_SETTLE ? settle(b, f) : submit_again(b, f))) return false;
    }
    return may_go_on(b);
}

static bool take_line(batch *b, mr_batch_line *l) {
    const place p = {b->in.at, b->in.line_no, b->in.n};
    char id[32];
    if (mr_idset_has(&b->done, l->custom_id) || mr_flights_find_custom(&b->flights, l->custom_id))
        return true;
    if (l->code[0]) {
        snprintf(id, sizeof id, "line-%zu", p.line_no);
        return write_refusal(b, id, l->custom_id, l->code, l->message);
    }
    while (!has_room(b, p.bytes) || !mr_pace_may_send(&b->pace, mr_clock_mono_ms()))
        if (!wait_a_little(b) || !work_off(b)) return false;
    return submit_new(b, l, &p);
}

/* What an earlier run left, then the input, then all of what is in flight. */
static void run_all(batch *b) {
    bool go_on = work_off(b);

    while (go_on && mr_batch_in_next(&b->in)) {
        mr_batch_line l;
        mr_batch_parse(&l, b->in.text, b->in.n, b->in.line_no);
        go_on = take_line(b, &l) && may_go_on(b);
        mr_batch_line_drop(&l);
    }
    if (go_on && ferror(b->in.f))
        fail(b, mr_fail(&b->err, MR_EIO, "cannot read the input: %s", strerror(errno)));
    while (go_on && b->flights.n > 0) go_on = wait_a_little(b) && work_off(b);
}

/* ---- begin and end ---- */

static void on_journal(void *owner, const char *custom_id, const char *job_id) {
    batch *b = owner;
    if (mr_idset_has(&b->done, custom_id)) return;
    mr_flight *f = mr_flights_find_custom(&b->flights, custom_id);
    if (f)
        mr_flights_set_job(&b->flights, f, job_id); /* it was refused under the other one */
    else if ((f = mr_flights_add(&b->flights, custom_id, job_id, 0)) != NULL)
        mr_flights_set_need(&b->flights, f, MR_FLIGHT_SETTLE);
    else
        no_memory(b);
}

/* Once through the input, before anything is submitted: no custom_id may stand there twice, since
 * results are told apart by it. */
static mr_status scan(batch *b) {
    char id[MR_BATCH_MAX_ID + 1];
    while (mr_batch_in_next(&b->in)) {
        mr_batch_parse_id(id, b->in.text, b->in.n, b->in.line_no);
        if (mr_idset_has(&b->seen, id))
            return mr_fail(&b->err, MR_EINVAL,
                           "line %zu: custom_id \"%.80s\" stands in the file twice", b->in.line_no,
                           id);
        if (!mr_idset_add(&b->seen, id)) return mr_fail(&b->err, MR_ENOMEM, "out of memory");
        b->n_before += mr_idset_has(&b->done, id);
        mr_flight *f = mr_flights_find_custom(&b->flights, id);
        if (!f) continue;
        f->at = b->in.at;
        f->line_no = b->in.line_no;
    }
    if (ferror(b->in.f))
        return mr_fail(&b->err, MR_EIO, "cannot read the input: %s", strerror(errno));
    return mr_batch_in_seek(&b->in, 0, 1, &b->err);
}

/* Watches results; those that came since the earlier run began are waited for. */
static mr_status watch(batch *b, uint64_t started_ms) {
    const bool old = b->flights.n > 0;
    const mr_status st =
        mr_watch_results(b->c, old ? started_ms - SLACK_MS : 0, on_result, b, &b->err);
    while (st == MR_OK && old && !mr_watch_caught_up(b->c))
        if (!wait_a_little(b)) break;
    return st == MR_OK ? b->st : st;
}

static mr_status begin_journal(batch *b, uint64_t started_ms) {
    mr_status st = mr_batch_journal_create(&b->journal, b->journal_path, started_ms, &b->err);
    for (mr_flight *f = b->flights.first; f && st == MR_OK; f = f->next)
        st = mr_batch_journal_add(b->journal, f->custom_id, f->job_id, &b->err);
    return st == MR_OK ? mr_batch_journal_publish(b->journal_path, &b->err) : st;
}

static mr_status open_all(batch *b, const char *in_path, const char *out_path) {
    uint64_t started_ms = 0;
    mr_status st = mr_batch_in_open(&b->in, in_path, &b->err);
    if (st == MR_OK)
        st = mr_batch_output_open(&b->out, out_path, &b->done, &b->n_failed_before, &b->err);
    if (st != MR_OK) return st;
    if (snprintf(b->journal_path, sizeof b->journal_path, "%s.journal", out_path) >=
        (int)sizeof b->journal_path)
        return mr_fail(&b->err, MR_EINVAL, "the name of the output is too long");
    st = mr_batch_journal_read(b->journal_path, &started_ms, on_journal, b, &b->err);
    if (st != MR_OK && st != MR_ENOTFOUND) return st;
    if (b->st != MR_OK) return b->st;
    if (b->flights.n == 0 || started_ms <= SLACK_MS) started_ms = mr_clock_wall_ms();
    if ((st = scan(b)) != MR_OK) return st;
    mr_bar_init(&b->bar, stderr, b->seen.n, b->n_before, mr_clock_mono_ms());
    if (b->done.n)
        fprintf(stderr, "millrace batch: %s has %zu results (%zu failed), going on\n", out_path,
                b->done.n, b->n_failed_before);
    b->heard_ms = mr_clock_mono_ms();
    if ((st = watch(b, started_ms)) != MR_OK) return st;
    return begin_journal(b, started_ms);
}

static int report(batch *b) {
    const double seconds = (double)(mr_clock_mono_ms() - b->bar.begin_ms) / 1000;
    const bool over = may_go_on(b);

    if (!mr_args_flag(b->a, "quiet")) mr_bar_show(&b->bar, mr_clock_mono_ms(), true);
    if (!mr_args_flag(b->a, "quiet") && b->bar.terminal) fputc('\n', stderr);
    if (b->st != MR_OK) fprintf(stderr, "millrace batch: %s\n", b->err.text);
    fprintf(stderr,
            "%zu succeeded, %zu failed, %zu done before; %llu prompt and %llu generated tokens in "
            "%.1f s\n",
            b->n_ok, b->n_failed, b->n_before, (unsigned long long)b->prompt_tokens,
            (unsigned long long)b->completion_tokens, seconds);
    if (b->n_retries)
        fprintf(stderr, "%zu times a job was submitted again that was refused for now\n",
                b->n_retries);
    if (b->n_ok)
        fprintf(stderr,
                "%.0f tokens/s generated, %.0f in and out; per job, queue included: first token "
                "%u ms (p50) %u ms (p95), all %u ms (p50) %u ms (p95)\n",
                (double)b->completion_tokens / seconds,
                (double)(b->completion_tokens + b->prompt_tokens) / seconds,
                mr_latency_percentile(b->first_token, 50),
                mr_latency_percentile(b->first_token, 95), mr_latency_percentile(b->total, 50),
                mr_latency_percentile(b->total, 95));
    if (!over)
        fprintf(stderr,
                "millrace batch: not finished, %zu jobs in flight; the same command goes on\n",
                b->flights.n);
    if (mr_args_flag(b->a, "json"))
        printf("{\"succeeded\":%zu,\"failed\":%zu,\"done_before\":%zu,\"in_flight\":%zu,"
               "\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"seconds\":%.3f,\"first_token_"
               "ms\":{\"p50\":%u,"
               "\"p95\":%u},\"total_ms\":{\"p50\":%u,\"p95\":%u},\"retries\":%zu,"
               "\"finished\":%s}\n",
               b->n_ok, b->n_failed, b->n_before, b->flights.n,
               (unsigned long long)b->prompt_tokens, (unsigned long long)b->completion_tokens,
               seconds, mr_latency_percentile(b->first_token, 50),
               mr_latency_percentile(b->first_token, 95), mr_latency_percentile(b->total, 50),
               mr_latency_percentile(b->total, 95), b->n_retries, over ? "true" : "false");
    if (b->st != MR_OK) return mr_status_exit_code(b->st);
    if (mr_cli_interrupted()) return 130;
    return b->n_failed || b->n_failed_before ? EX_DATAERR : EX_OK;
}

static void close_all(batch *b) {
    mr_cli_catch_interrupt(NULL);
    mr_client_close(b->c);
    mr_batch_in_close(&b->in);
    if (b->out) fclose(b->out);
    if (b->journal) fclose(b->journal);
    mr_flights_deinit(&b->flights);
    free(b->first_token);
    free(b->total);
    mr_idset_deinit(&b->done);
    mr_idset_deinit(&b->seen);
}

static bool options_ok(const mr_args *a, batch *b) {
    mr_job_spec j;
    mr_arena arena;
    int64_t kb;

    if (!mr_args_int(a, "in-flight", 1, MAX_IN_FLIGHT, &b->max_flights) ||
        !mr_args_int(a, "in-flight-kb", 1, 1 << 20, &kb) ||
        !mr_args_int(a, "retries", 0, MAX_RETRIES, &b->max_retries))
        return false;
    b->max_bytes = kb * 1024;
    mr_job_defaults(&j);
    mr_arena_init(&arena, 1 << 20);
    const bool ok = mr_cli_apply_job_options(a, &j, &arena);
    b->not_before_ms = j.not_before_ms;
    mr_arena_drop(&arena);
    return ok;
}

static int run(const mr_args *a) {
    batch b = {.a = a};
    const char *out_path = mr_args_get(a, "output");
    int rc;

    if (!out_path) return mr_cli_usage(a, "needs --output OUT.jsonl");
    if (!options_ok(a, &b)) return EX_USAGE;
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
        if (may_go_on(&b)) run_all(&b);
        rc = report(&b);
        if (may_go_on(&b) && b.flights.n == 0) unlink(b.journal_path);
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
        "IN.jsonl has OpenAI's Batch format, a request a line: "
        "{\"custom_id\",\"method\",\"url\",\"body\"}; "
        "url\n/v1/chat/completions (messages) or /v1/completions (prompt). OUT.jsonl gets a line "
        "per "
        "request, in\nthe order of completion: {\"custom_id\",\"response\",\"error\"}. Options of "
        "the job "
        "override the file's.\n\nInterrupted (Ctrl-C, crash, full disk), the same command goes on "
        "where it "
        "was; OUT.jsonl.journal\nremembers what was on its way. Requests that fail are in "
        "OUT.jsonl with "
        "their error; the exit code\nis then 65. Delete their lines and run again to repeat them.",
    .examples = "  millrace batch samples.jsonl -o synopses.jsonl\n"
                "  millrace batch night.jsonl -o night.out.jsonl --priority low --in-flight 1024",
    .run = run,
};
