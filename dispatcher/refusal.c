/* refusal.c - see refusal.h. An answer keeps what its short form needs until the outcome is known:
 * a few hundred bytes, whatever the size of the record. */
#include "dispatcher/refusal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

enum { SCRATCH_LIMIT = 4 << 20, CODE_MAX = 64, WHY_MAX = 200 };

typedef struct answer answer;
struct answer {
    answer *next; /* among those that are tried again */
    mr_refusals *box;
    mr_origin at;
    bool dead;     /* a dead letter, else a result */
    bool in_short; /* its short form has been handed over */
    char job_id[MR_JOB_ID_LEN + 1];
    mr_job_status status;
    mr_format format;
    uint64_t received_ms;
    char code[CODE_MAX]; /* of the error; of a dead letter its cause */
    char why[WHY_MAX];   /* it was refused */
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
static void hand_over(answer *r, const mr_commit_record *record) {
    mr_err err = {0};
    const mr_status st = mr_commit_send(r->box->commit, r->at, record, 1, on_done, NULL, r, &err);
    if (st == MR_ECANCELED)
        free(r); /* the next owner of the partition answers */
    else if (st != MR_OK)
        on_refused(r, st, err.text);
}

static void hand_over_result(answer *r, const mr_result *result, const char *traceparent) {
    mr_arena arena;
    mr_result_headers headers;
    const void *bytes;
    size_t n;

    mr_arena_init(&arena, SCRATCH_LIMIT);
    if (mr_codec_result_encode(result, r->format, &arena, &bytes, &n) == MR_OK) {
        mr_result_headers_init(&headers, result, r->format, "dispatcher", traceparent);
        const mr_commit_record record = {.topic = r->box->names->results,
                                         .partition = MR_KAFKA_ANY_PARTITION,
                                         .key = result->job_id,
                                         .key_len = strlen(result->job_id),
                                         .value = bytes,
                                         .len = n,
                                         .headers = headers.list,
                                         .n_headers = headers.n};
        hand_over(r, &record);
    } else {
        on_refused(r, MR_EINVAL, "it cannot be encoded");
    }
    mr_arena_drop(&arena);
}

static void hand_over_dead(answer *r, const mr_dead *dead) {
    const mr_kafka_header type = {"content-type", "application/json", 16};
    mr_arena arena;
    const void *bytes;
    size_t n;

    mr_arena_init(&arena, SCRATCH_LIMIT);
    if (mr_codec_dead_encode(dead, &arena, &bytes, &n) == MR_OK) {
        const mr_commit_record record = {.topic = r->box->names->dead,
                                         .partition = MR_KAFKA_ANY_PARTITION,
                                         .value = bytes,
                                         .len = n,
                                         .headers = &type,
                                         .n_headers = 1};
        hand_over(r, &record);
    } else {
        on_refused(r, MR_EINVAL, "it cannot be encoded");
    }
    mr_arena_drop(&arena);
}

/* ---- in full ---- */

static answer *make(mr_refusals *a, mr_origin at) {
    answer *r = calloc(1, sizeof *r);
    if (r) {
        r->box = a;
        r->at = at;
    } else {
        mr_log(MR_LOG_ERROR, "refusal", "out of memory, record left to the next start", "off=%lld",
               (long long)at.offset);
    }
    return r;
}

void mr_refusals_result(mr_refusals *a, mr_origin at, const mr_result *result, mr_format format,
                        const char *traceparent) {
    answer *r = make(a, at);
    if (!r) return;
    memcpy(r->job_id, result->job_id, sizeof r->job_id);
    r->status = result->status;
    r->format = format;
    r->received_ms = result->received_ms;
    snprintf(r->code, sizeof r->code, "%s", result->error.code ? result->error.code : "");
    hand_over_result(r, result, traceparent);
}

void mr_refusals_dead(mr_refusals *a, mr_origin at, const mr_kafka_msg *m, const char *cause,
                      const char *message) {
    char cut[640];
    mr_dead dead = {.cause = cause,
                    .message = message,
                    .topic = m->topic,
                    .partition = m->partition,
                    .offset = m->offset,
                    .time_ms = mr_clock_wall_ms(),
                    .payload = m->value,
                    .payload_len = m->len};
    answer *r = make(a, at);
    if (!r) return;
    r->dead = true;
    snprintf(r->code, sizeof r->code, "%s", cause);
    if (dead.payload_len > MR_DEAD_MAX_PAYLOAD) {
        snprintf(cut, sizeof cut, "%.500s (the payload is cut: %u of %zu bytes)", message,
                 MR_DEAD_MAX_PAYLOAD, m->len);
        dead.message = cut;
        dead.payload_len = MR_DEAD_MAX_PAYLOAD;
    }
    hand_over_dead(r, &dead);
}

/* ---- in short ---- */

static void try_short_result(answer *r, const char *message) {
    mr_result result = {.model = "",
                        .tenant = "default",
                        .status = r->status,
                        .finish_reason = "",
                        .text = "",
                        .error = {r->code, "", message},
                        .worker = "",
                        .received_ms = r->received_ms,
                        .finished_ms = mr_clock_wall_ms()};
    memcpy(result.job_id, r->job_id, sizeof result.job_id);
    hand_over_result(r, &result, "");
}

static void try_short_dead(answer *r, const char *message) {
    const mr_parts *parts = mr_commit_parts(r->box->commit);
    const mr_dead dead = {.cause = r->code,
                          .message = message,
                          .topic = mr_parts_topic(parts, r->at.part),
                          .partition = mr_parts_partition(parts, r->at.part),
                          .offset = r->at.offset,
                          .time_ms = mr_clock_wall_ms(),
                          .payload = "",
                          .payload_len = 0};
    hand_over_dead(r, &dead);
}

static void try_short(answer *r) {
    char message[WHY_MAX + 80];
    r->in_short = true;
    snprintf(message, sizeof message, "the whole record could not be written: %s", r->why);
    if (r->dead)
        try_short_dead(r, message);
    else
        try_short_result(r, message);
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
