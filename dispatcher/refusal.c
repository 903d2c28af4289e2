/* refusal.c - see refusal.h. An answer keeps what its short form needs until the outcome is known:
 * a few hundred bytes and its callback, whatever the size of the record. */
#include "dispatcher/refusal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"
#include "schemas/webhook.h"

enum { SCRATCH_LIMIT = 4 << 20, TRACE_LIMIT = 4096, CODE_MAX = 64, WHY_MAX = 200 };

typedef struct answer answer;
struct answer {
    answer *next; /* among those that are tried again */
    mr_refusals *box;
    mr_origin at;
    bool result, dead;              /* of which it consists; neither: the record needs none */
    bool in_short;                  /* its short form has been handed over */
    char job_id[MR_JOB_ID_LEN + 1]; /* "": a dead letter without one */
    mr_job_status status;
    mr_format format;
    uint64_t received_ms;
    char code[CODE_MAX]; /* of the error; of a dead letter its cause */
    char why[WHY_MAX];   /* it was refused */
    char traceparent[MR_JOB_TRACEPARENT + 1];
    char tenant[MR_JOB_MAX_NAME + 1];
    char callback[]; /* as a header; "": none */
};

struct mr_refusals {
    mr_commit *commit;
    const mr_names *names;
    answer *stuck;
    size_t n_stuck;
    uint64_t retry_ms; /* when to try again */
};

mr_status mr_refusals_open(mr_refusals **out, mr_commit *commit, const mr_names *names,
                           mr_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return mr_fail(err, MR_ENOMEM, "refusals: out of memory");
    (*out)->commit = commit;
    (*out)->names = names;
    return MR_OK;
}

void mr_refusals_close(mr_refusals *a) {
    if (!a) return;
    for (answer *r = a->stuck, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    free(a);
}

/* ---- handing over ---- */

static void wait_for_tick(answer *r) {
    mr_refusals *a = r->box;
    r->next = a->stuck;
    a->stuck = r;
    a->n_stuck++;
}

static void try_short(answer *r);

static void on_refused(answer *r, mr_status status, const char *why) {
    snprintf(r->why, sizeof r->why, "%.*s", WHY_MAX - 1, why);
    if (status == MR_EINVAL && !r->in_short)
        try_short(r);
    else
        wait_for_tick(r);
}

static void on_done(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    (void)owner;
    (void)offset;
    if (status == MR_OK || status == MR_ECANCELED)
        free(arg);
    else
        on_refused(arg, status, why);
}

/* Takes r over. */
static void hand_over(answer *r, const mr_commit_record *records, size_t n) {
    mr_err err = {0};
    const mr_status st = mr_commit_send(r->box->commit, r->at, records, n, on_done, NULL, r, &err);
    if (st == MR_ECANCELED)
        free(r); /* the next owner of the partition answers */
    else if (st != MR_OK)
        on_refused(r, st, err.text);
}

static mr_commit_record record_to(const answer *r, const char *topic, const void *bytes, size_t n,
                                  const mr_kafka_header *headers, size_t n_headers) {
    return (mr_commit_record){.topic = topic,
                              .partition = MR_KAFKA_ANY_PARTITION,
                              .key = r->job_id[0] ? r->job_id : NULL,
                              .key_len = strlen(r->job_id),
                              .value = bytes,
                              .len = n,
                              .headers = headers,
                              .n_headers = n_headers};
}

/* result, dead: NULL when there is none; then trace may be, too. Takes r over. */
static void give(answer *r, const mr_result *result, const mr_dead *dead, const mr_trace *trace) {
    mr_kafka_header head[1 + MR_TRACE_HEADERS] = {{"content-type", "application/json", 16}};
    const mr_names *names = r->box->names;
    mr_commit_record records[2];
    mr_result_headers headers;
    mr_status st = MR_OK;
    const void *bytes;
    mr_arena arena;
    size_t len, n = 0;

    mr_arena_init(&arena, SCRATCH_LIMIT);
    if (result) {
        st = mr_codec_result_encode(result, r->format, &arena, &bytes, &len);
        mr_result_headers_init(&headers, result, r->format, "dispatcher", trace);
        if (st == MR_OK)
            records[n++] = record_to(r, names->results, bytes, len, headers.list, headers.n);
    }
    if (dead && st == MR_OK) {
        st = mr_codec_dead_encode(dead, &arena, &bytes, &len);
        const size_t n_head = 1 + mr_trace_headers(trace, head + 1);
        if (st == MR_OK) records[n++] = record_to(r, names->dead, bytes, len, head, n_head);
    }
    if (st == MR_OK)
        hand_over(r, records, n);
    else
        on_refused(r, MR_EINVAL, "it cannot be encoded");
    mr_arena_drop(&arena);
}

/* ---- in full ---- */

/* result NULL: none. */
static answer *make(mr_refusals *a, mr_origin at, const mr_result *result) {
    char callback[MR_CALLBACK_TEXT] = "";
    const size_t len = result ? mr_callback_write(callback, &result->callback) : 0;
    answer *r = calloc(1, sizeof *r + len + 1);
    if (r) {
        r->box = a;
        r->at = at;
        memcpy(r->callback, callback, len + 1);
    } else {
        mr_commit_lost(a->commit, "an answer");
    }
    return r;
}

static void note_trace(answer *r, const mr_trace *trace) {
    memcpy(r->traceparent, trace->parent, sizeof r->traceparent);
}

static void note_result(answer *r, const mr_result *result, mr_format format) {
    r->result = true;
    memcpy(r->job_id, result->job_id, sizeof r->job_id);
    r->status = result->status;
    r->format = format;
    r->received_ms = result->received_ms;
    snprintf(r->tenant, sizeof r->tenant, "%s", result->tenant);
    snprintf(r->code, sizeof r->code, "%s", result->error.code ? result->error.code : "");
}

void mr_refusals_result(mr_refusals *a, mr_origin at, const mr_result *result, mr_format format,
                        const mr_trace *trace) {
    answer *r = make(a, at, result);
    if (!r) return;
    note_result(r, result, format);
    note_trace(r, trace);
    give(r, result, NULL, trace);
}

/* cut[cap] holds the message of a dead letter whose payload is cut. */
static mr_dead dead_of(const mr_kafka_msg *m, const char *cause, const char *message, char *cut,
                       size_t cap) {
    mr_dead dead = {.cause = cause,
                    .message = message,
                    .topic = m->topic,
                    .partition = m->partition,
                    .offset = m->offset,
                    .time_ms = mr_clock_wall_ms(),
                    .payload = m->value,
                    .payload_len = m->len};
    if (m->len <= MR_DEAD_MAX_PAYLOAD) return dead;
    snprintf(cut, cap, "%.500s (the payload is cut: %u of %zu bytes)", message, MR_DEAD_MAX_PAYLOAD,
             m->len);
    dead.message = cut;
    dead.payload_len = MR_DEAD_MAX_PAYLOAD;
    return dead;
}

void mr_refusals_dead(mr_refusals *a, mr_origin at, const mr_kafka_msg *m, const char *cause,
                      const char *message) {
    char cut[640];
    const mr_dead dead = dead_of(m, cause, message, cut, sizeof cut);
    answer *r = make(a, at, NULL);
    mr_arena arena;
    mr_trace trace;

    if (!r) return;
    mr_arena_init(&arena, TRACE_LIMIT);
    mr_trace_of(&trace, m, &arena);
    r->dead = true;
    snprintf(r->code, sizeof r->code, "%s", cause);
    note_trace(r, &trace);
    give(r, NULL, &dead, &trace);
    mr_arena_drop(&arena);
}

void mr_refusals_failed(mr_refusals *a, mr_origin at, const mr_kafka_msg *m,
                        const mr_result *result, mr_format format, const mr_trace *trace) {
    char cut[640];
    mr_dead dead = dead_of(m, result->error.code, result->error.message, cut, sizeof cut);
    answer *r = make(a, at, result);
    if (!r) return;
    note_result(r, result, format);
    r->dead = true;
    dead.job_id = r->job_id;
    note_trace(r, trace);
    give(r, result, &dead, trace);
}

void mr_refusals_none(mr_refusals *a, mr_origin at) {
    answer *r = make(a, at, NULL);
    if (r) give(r, NULL, NULL, NULL);
}

/* ---- in short ---- */

static mr_result short_result(const answer *r, const char *message) {
    mr_result result = {.model = "",
                        .tenant = r->tenant,
                        .status = r->status,
                        .finish_reason = "",
                        .text = "",
                        .error = {.code = r->code, .field = "", .message = message},
                        .worker = "",
                        .received_ms = r->received_ms,
                        .finished_ms = mr_clock_wall_ms()};
    memcpy(result.job_id, r->job_id, sizeof result.job_id);
    return result;
}

static mr_dead short_dead(const answer *r, const char *message) {
    const mr_parts *parts = mr_commit_parts(r->box->commit);
    return (mr_dead){.cause = r->code,
                     .message = message,
                     .topic = mr_parts_topic(parts, r->at.part),
                     .partition = mr_parts_partition(parts, r->at.part),
                     .offset = r->at.offset,
                     .time_ms = mr_clock_wall_ms(),
                     .job_id = r->job_id[0] ? r->job_id : NULL,
                     .payload = "",
                     .payload_len = 0};
}

static void try_short(answer *r) {
    char message[WHY_MAX + 80];
    r->in_short = true;
    snprintf(message, sizeof message, "the whole record could not be written: %s", r->why);
    mr_result result = short_result(r, message);
    const mr_dead dead = short_dead(r, message);
    mr_trace trace = {.parent = ""};
    mr_arena arena;
    mr_arena_init(&arena, SCRATCH_LIMIT);
    (void)mr_callback_read(&result.callback, r->callback, strlen(r->callback), &arena);
    memcpy(trace.parent, r->traceparent, sizeof trace.parent);
    give(r, r->result ? &result : NULL, r->dead ? &dead : NULL, &trace);
    mr_arena_drop(&arena);
}

void mr_refusals_tick(mr_refusals *a, uint64_t now_ms) {
    answer *turn = a->stuck; /* who fails again stands in the new list, for the next time */
    if (!turn || now_ms < a->retry_ms || mr_commit_full(a->commit)) return;
    mr_log(MR_LOG_WARN, "refusal", "answers not taken, trying again", "n=%zu err=" MR_Q, a->n_stuck,
           turn->why);
    a->retry_ms = now_ms + MR_REFUSAL_RETRY_MS;
    a->stuck = NULL;
    a->n_stuck = 0;
    for (answer *next; turn; turn = next) {
        next = turn->next;
        try_short(turn);
    }
}
