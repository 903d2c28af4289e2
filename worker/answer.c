/* answer.c - build, send, and shorten what is refused.
 *
 * The committer refuses a record at once when it is larger than any may be, and later when the
 * brokers' own limit is lower. Both lead to the same: first the payload of a dead letter goes (it
 * is whole where it came from), then the text of a result. A job that comes back has grown by its
 * history, and loses all of it but how the last attempt ended; if it cannot come back even so, it
 * has failed. What is refused even so (no such topic,
 * a very low limit) is logged as an error and tried again; only the offset of its own record stays
 * open, and others go on.
 *
 * An answer that waits keeps its slot; with all slots used the source is paused, so what waits is
 * bounded. */
#include "worker/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"
#include "worker/result.h"

#define NOTE_BYTES 96 /* what is added to a message about a payload that was cut */

/* ---- dead letters ---- */

mr_status mr_answer_keep_dead(mr_answers *a, mr_job *j, const char *cause, const char *message,
                              const void *payload, size_t len) {
    const size_t kept = len < MR_DEAD_MAX_PAYLOAD ? len : MR_DEAD_MAX_PAYLOAD;
    const int part = j->at.part;
    mr_dead d = {.cause = cause,
                 .message = message,
                 .topic = mr_parts_topic(mr_commit_parts(a->commit), part),
                 .partition = j->partition,
                 .offset = j->at.offset,
                 .time_ms = mr_clock_wall_ms(),
                 .job_id = j->spec.job_id[0] ? j->spec.job_id : NULL,
                 .payload = payload,
                 .payload_len = kept};

    if (kept < len)
        d.message = mr_arena_printf(&j->arena, "%s (the payload is cut: %zu of %zu bytes)", message,
                                    kept, len);
    if (!d.message) return MR_ENOMEM;
    j->dead_cause = cause;
    j->dead_message = mr_arena_copy(&j->arena, message, strlen(message));
    if (!j->dead_message) return MR_ENOMEM;
    return mr_codec_dead_encode(&d, &j->arena, &j->dead, &j->dead_len);
}

/* The same without its payload. */
static mr_status shorten_dead(mr_answers *a, mr_job *j) {
    char message[MR_JOB_MAX_ERROR + NOTE_BYTES];

    j->dead_short = true;
    snprintf(message, sizeof message, "%.*s (the payload is left out: the record was too large)",
             MR_JOB_MAX_ERROR - 1, j->dead_message);
    return mr_answer_keep_dead(a, j, j->dead_cause, message, "", 0);
}

/* ---- jobs that come back ---- */

static mr_status encode_back(mr_job *j) {
    j->back = true;
    return mr_codec_job_encode(&j->spec, MR_FORMAT_MSGPACK, true, &j->arena, &j->record,
                               &j->record_len);
}

static mr_status build_back(mr_answers *a, mr_job *j, mr_attempt_outcome outcome, const char *why) {
    const size_t n = j->spec.n_history;
    mr_past *history = mr_arena_calloc(&j->arena, n + 1, sizeof *history);
    const char *message = mr_arena_copy(&j->arena, why, strlen(why));

    if (!history || !message) return MR_ENOMEM;
    if (n) memcpy(history, j->spec.history, n * sizeof *history);
    history[n] = (mr_past){.attempt = j->attempt,
                           .outcome = outcome,
                           .worker = a->worker,
                           .message = message,
                           .time_ms = mr_clock_wall_ms()};
    j->outcome = outcome;
    j->spec.attempt = j->attempt; /* whoever reads it: the last entry is news */
    j->spec.history = history;
    j->spec.n_history = n + 1;
    return encode_back(j);
}

static mr_status end_instead(mr_answers *a, mr_job *j) {
    char text[MR_JOB_MAX_ERROR];

    snprintf(text, sizeof text,
             "attempt %u ended with %s, and the job's record is too large to come back for another",
             (unsigned)j->attempt, mr_attempt_outcome_name(j->outcome));
    j->back = j->record_short = false;
    mr_job_end(j, MR_STATUS_FAILED, "", "engine_error", "", text);
    return mr_result_build(j, a->model, a->worker, mr_clock_wall_ms(), NULL);
}

/* First its older history, then all hope. */
static mr_status shorten_back(mr_answers *a, mr_job *j) {
    mr_past *last = mr_arena_calloc(&j->arena, 1, sizeof *last);

    if (j->record_short || !last) return end_instead(a, j);
    j->record_short = true;
    *last = j->spec.history[j->spec.n_history - 1];
    last->message = "";
    j->spec.history = last;
    j->spec.n_history = 1;
    return encode_back(j);
}

/* ---- sending ---- */

static mr_commit_record result_record(const mr_answers *a, const mr_job *j, mr_result_headers *h) {
    mr_result r;

    mr_result_of(&r, j, a->model, a->worker);
    mr_result_headers_init(h, &r, j->spec.reply_format, a->worker, &j->spec.trace);
    mr_result_headers_charge(h, j->spec.priority, j->spec.charged);
    return (mr_commit_record){.topic = a->results_topic,
                              .partition = MR_KAFKA_ANY_PARTITION,
                              .key = j->spec.job_id,
                              .key_len = strlen(j->spec.job_id),
                              .value = j->record,
                              .len = j->record_len,
                              .headers = h->list,
                              .n_headers = h->n};
}

static mr_commit_record dead_record(const mr_answers *a, const mr_job *j,
                                    const mr_kafka_header *headers, size_t n_headers) {
    const size_t id_len = strlen(j->spec.job_id);

    return (mr_commit_record){.topic = a->dead_topic,
                              .partition = MR_KAFKA_ANY_PARTITION,
                              .key = id_len ? j->spec.job_id : NULL,
                              .key_len = id_len,
                              .value = j->dead,
                              .len = j->dead_len,
                              .headers = headers,
                              .n_headers = n_headers};
}

static mr_commit_record back_record(const mr_answers *a, const mr_job *j,
                                    const mr_kafka_header *headers, size_t n_headers) {
    return (mr_commit_record){.topic = a->attempts_topic,
                              .partition = MR_KAFKA_ANY_PARTITION,
                              .key = j->spec.job_id,
                              .key_len = strlen(j->spec.job_id),
                              .value = j->record,
                              .len = j->record_len,
                              .headers = headers,
                              .n_headers = n_headers};
}

static mr_commit_done on_decided;

static mr_status hand_over(mr_answers *a, mr_job *j, mr_err *err) {
    mr_kafka_header back[1 + MR_TRACE_HEADERS] = {{"content-type", "application/msgpack", 19}};
    mr_kafka_header dead[1 + MR_TRACE_HEADERS] = {{"content-type", "application/json", 16}};
    const size_t n_back = 1 + mr_trace_headers(&j->spec.trace, back + 1);
    const size_t n_dead = 1 + mr_trace_headers(&j->spec.trace, dead + 1);
    mr_commit_record records[2];
    mr_result_headers headers;
    size_t n = 0;

    if (j->back) records[n++] = back_record(a, j, back, n_back);
    if (j->record && !j->back) records[n++] = result_record(a, j, &headers);
    if (j->dead) records[n++] = dead_record(a, j, dead, n_dead);
    return mr_commit_send(a->commit, j->at, records, n, on_decided, a, j, err);
}

/* True: j has something shorter now. */
static bool shorten(mr_answers *a, mr_job *j, const char *why) {
    mr_log(MR_LOG_WARN, "answer", "record refused",
           "job=%s part=%d off=%" PRId64 " bytes=%zu dead_bytes=%zu err=" MR_Q, j->spec.job_id,
           (int)j->partition, j->at.offset, j->record ? j->record_len : 0, j->dead_len, why);
    if (j->back) return shorten_back(a, j) == MR_OK;
    if (j->dead && !j->dead_short) return shorten_dead(a, j) == MR_OK;
    if (!j->record || j->dead || j->record_short) return false;
    j->record_short = true;
    return mr_result_build_too_large(j, a->model, a->worker, mr_clock_wall_ms(), NULL) == MR_OK;
}

/* Nothing shorter is left: a limit or a topic that a person has to see to. */
static void wait_for_help(mr_job *j, const char *why) {
    if (!j->stuck)
        mr_log(MR_LOG_ERROR, "answer", "not even a short answer is taken: will try again",
               "job=%s part=%d off=%" PRId64 " err=" MR_Q, j->spec.job_id, (int)j->partition,
               j->at.offset, why);
    j->stuck = j->unsent = true;
    j->retry_at_ms = mr_clock_mono_ms() + MR_ANSWER_RETRY_MS;
}

/* False: the partition is another's. */
static bool send_answer(mr_answers *a, mr_job *j) {
    mr_err err = {0};
    mr_status st = hand_over(a, j, &err);

    while (st == MR_EINVAL && !j->stuck && shorten(a, j, err.text)) st = hand_over(a, j, &err);
    j->sending = st == MR_OK;
    j->unsent = st == MR_ELIMIT;
    if (st == MR_EINVAL) {
        wait_for_help(j, err.text);
    } else if (st != MR_OK && st != MR_ELIMIT && st != MR_ECANCELED) {
        a->on_fatal(a->owner, st, err.text);
    }
    return st != MR_ECANCELED;
}

static void on_decided(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    mr_answers *a = owner;
    mr_job *j = arg;

    (void)offset;
    j->sending = false;
    if ((status != MR_EINVAL && status != MR_ENOTFOUND) || j->orphan) {
        a->on_done(a->owner, j, status == MR_OK);
    } else if (j->stuck || (j->back && status == MR_ENOTFOUND) ||
               !shorten(a, j, why ? why : "refused")) {
        wait_for_help(j, why ? why : "refused");
    } else if (!send_answer(a, j)) {
        a->on_done(a->owner, j, false);
    }
}

static void on_nothing_decided(void *owner, void *arg, mr_status status, const char *why,
                               int64_t offset) {
    (void)owner, (void)arg, (void)status, (void)why, (void)offset;
}

/* ---- interface ---- */

bool mr_answer_result(mr_answers *a, mr_job *j) {
    const uint64_t wall_ms = mr_clock_wall_ms();
    mr_err err = {0};
    mr_status st = MR_ELIMIT;

    if (!j->too_large) st = mr_result_build(j, a->model, a->worker, wall_ms, &err);
    if (st != MR_OK) {
        j->record_short = true;
        st = mr_result_build_too_large(j, a->model, a->worker, wall_ms, &err);
    }
    if (st != MR_OK) {
        a->on_fatal(a->owner, st, err.text); /* its offset stays open */
        return true;
    }
    j->asked_ms = mr_clock_mono_ms();
    return send_answer(a, j);
}

bool mr_answer_back(mr_answers *a, mr_job *j, mr_attempt_outcome outcome, const char *why) {
    if (build_back(a, j, outcome, why) != MR_OK && end_instead(a, j) != MR_OK) {
        a->on_fatal(a->owner, MR_ENOMEM, "answer: no memory for a job that comes back");
        return true;
    }
    j->asked_ms = mr_clock_mono_ms();
    return send_answer(a, j);
}

bool mr_answer_dead(mr_answers *a, mr_job *j) {
    MR_CHECK(j->dead && !j->record);
    j->asked_ms = mr_clock_mono_ms();
    return send_answer(a, j);
}

/* Room for it is what the committer keeps in reserve: the source asks whether it is full. */
void mr_answer_none(mr_answers *a, mr_origin at) {
    mr_err err = {0};
    const mr_status st = mr_commit_send(a->commit, at, NULL, 0, on_nothing_decided, a, NULL, &err);

    if (st != MR_OK && st != MR_ECANCELED) a->on_fatal(a->owner, st, err.text);
}

bool mr_answer_again(mr_answers *a, mr_job *j, uint64_t now_ms) {
    return !j->unsent || now_ms < j->retry_at_ms || send_answer(a, j);
}
