/* flow.c - the stations of a job on the loop thread.
 *
 * Whatever happens to a record, one of four things follows: an answer on millrace.results, a dead
 * letter when not even its job id can be read, nothing because it is in hand already, or nothing
 * because its partition was taken away and somebody else will run it. Only the last leaves its
 * offset open.
 *
 * A job whose partition is taken away while the engine has it is an orphan: it is cancelled, and
 * its events are ignored. One that has ended already sends its answer all the same; when the
 * partition comes back and brings the same record, the answer under way counts for it, so it is not
 * run twice. */
#include "worker/flow.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "worker/result.h"

/* ---- the end of a job ---- */

/* Through the rest of its states, and gone. */
static void drop(mr_flow *f, mr_job *j) {
    const uint64_t now_ms = mr_clock_mono_ms();

    if (j->state == MR_JOB_FREE) mr_job_move(j, MR_JOB_DECODED, now_ms);
    if (j->state < MR_JOB_FLUSHING) mr_job_move(j, MR_JOB_FLUSHING, now_ms);
    if (j->state == MR_JOB_FLUSHING) mr_job_move(j, MR_JOB_DONE, now_ms);
    mr_jobs_put(f->jobs, j, now_ms);
    f->on_change(f->owner);
}

/* The same, and others may come: never from within mr_flow_record, which on_room leads to. */
static void free_slot(mr_flow *f, mr_job *j) {
    drop(f, j);
    f->on_room(f->owner);
}

static void log_end(const mr_job *j) {
    mr_log(MR_LOG_DEBUG, "flow", "job ended",
           "job=%s part=%d off=%" PRId64 " status=%s tokens=%u code=%s", j->spec.job_id,
           (int)j->partition, j->offset, mr_job_status_name(j->status), (unsigned)j->n_generated,
           j->error.code ? j->error.code : "none");
}

/* Everything that belongs in the result is known: produce it. */
static void answer(mr_flow *f, mr_job *j) {
    const uint64_t wall_ms = mr_clock_wall_ms();
    mr_err err = {0};
    mr_status st = MR_ELIMIT;

    if (!j->too_large) st = mr_result_build(j, f->model, f->worker, wall_ms, &err);
    if (st != MR_OK) st = mr_result_build_too_large(j, f->model, f->worker, wall_ms, &err);
    if (st != MR_OK) {
        f->on_fatal(f->owner, st, err.text); /* its offset stays open */
        return;
    }
    mr_metrics_job(f->metrics, j);
    log_end(j);
    mr_commit_send(f->commit, j);
}

/* The job has ended as mr_job_end noted: its frames first, then its result. */
static void flush(mr_flow *f, mr_job *j, uint64_t now_ms) {
    bool degraded = false;

    mr_job_move(j, MR_JOB_FLUSHING, now_ms);
    if (!mr_stream_end(f->stream, j->slot, &degraded)) return; /* mr_flow_stream_closed goes on */
    j->degraded = degraded;
    answer(f, j);
}

void mr_flow_stream_closed(mr_flow *f, uint32_t slot, bool degraded) {
    mr_job *j = mr_jobs_at(f->jobs, slot);

    MR_CHECK(j->state == MR_JOB_FLUSHING);
    j->degraded = degraded;
    answer(f, j);
}

void mr_flow_acknowledged(mr_flow *f, mr_job *j) {
    free_slot(f, j);
}

/* ---- the start of a job ---- */

/* Not even an id to answer to: keep the bytes where an operator looks. */
static void send_dead_letter(mr_flow *f, mr_job *j, const mr_kafka_msg *m,
                             const mr_codec_error *why) {
    char cut[sizeof why->message + 64];
    mr_dead d = {.cause = why->code,
                 .message = why->message,
                 .topic = m->topic,
                 .partition = m->partition,
                 .offset = m->offset,
                 .time_ms = mr_clock_wall_ms(),
                 .payload = m->value,
                 .payload_len = m->len};

    if (d.payload_len > MR_DEAD_MAX_PAYLOAD) { /* whole it is where it came from */
        snprintf(cut, sizeof cut, "%s (the payload is cut: %u of %zu bytes)", why->message,
                 MR_DEAD_MAX_PAYLOAD, m->len);
        d.message = cut;
        d.payload_len = MR_DEAD_MAX_PAYLOAD;
    }
    mr_log(MR_LOG_WARN, "flow", "work record not understood",
           "part=%d off=%" PRId64 " code=%s err=" MR_Q, (int)m->partition, m->offset, why->code,
           why->message);
    mr_arena_reset(&j->arena);
    if (mr_codec_dead_encode(&d, &j->arena, &j->record, &j->record_len) != MR_OK) {
        f->on_fatal(f->owner, MR_ENOMEM, "flow: no memory for a dead letter");
        return;
    }
    mr_job_move(j, MR_JOB_FLUSHING, mr_clock_mono_ms());
    j->record_topic = f->dead_topic;
    mr_commit_send(f->commit, j);
}

/* Decoded so far that it can be answered. */
static void reject_undecodable(mr_flow *f, mr_job *j, const mr_codec_error *why,
                               const mr_kafka_msg *m) {
    mr_arena *a = &j->arena;

    j->spec = (mr_job_spec){.attempt = 1, .reply_format = why->format};
    snprintf(j->spec.job_id, sizeof j->spec.job_id, "%s", why->job_id);
    j->spec.tenant = why->tenant[0] ? mr_arena_copy(a, why->tenant, strlen(why->tenant)) : NULL;
    j->spec.model = mr_arena_copy(a, why->model, strlen(why->model));
    j->spec.received_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : 0;
    mr_job_end(j, MR_STATUS_REJECTED, "", mr_arena_copy(a, why->code, strlen(why->code)),
               mr_arena_copy(a, why->field, strlen(why->field)), why->message);
    flush(f, j, mr_clock_mono_ms());
}

static void keep_traceparent(mr_job *j, const mr_kafka_msg *m) {
    size_t n = 0;
    const void *value = mr_kafka_msg_header(m, "traceparent", &n);

    if (!value || n == 0 || n >= sizeof j->traceparent) return;
    memcpy(j->traceparent, value, n);
    j->traceparent[n] = 0;
    j->traceparent_len = n;
}

/* Already here: as a record that was released twice, or as an answer under way from before a
 * rebalance. True: nothing more to do for this record. */
static bool merge(mr_flow *f, mr_job *j) {
    mr_job *other = mr_jobs_find(f->jobs, j->spec.job_id);

    if (!other) return false;
    f->metrics->duplicates++;
    if (other->orphan) {
        other->orphan = false;
        other->partition = j->partition;
        other->offset = j->offset;
        other->epoch = j->epoch;
    } else { /* the offset of the first one keeps the job safe */
        mr_commit_finish(f->commit, j->partition, j->epoch, j->offset);
    }
    mr_log(MR_LOG_DEBUG, "flow", "job is in hand already", "job=%s part=%d off=%" PRId64,
           other->spec.job_id, (int)j->partition, j->offset);
    drop(f, j);
    return true;
}

static void end_before_start(mr_flow *f, mr_job *j, mr_job_status status) {
    const bool expired = status == MR_STATUS_EXPIRED;
    char text[128];

    snprintf(text, sizeof text, "the deadline passed %" PRIu64 " ms before the job could start",
             expired ? mr_clock_wall_ms() - j->spec.expires_ms : 0);
    mr_job_end(j, status, "", mr_job_status_name(status), expired ? "deadline_ms" : "",
               expired ? text : "cancelled before it started");
    flush(f, j, mr_clock_mono_ms());
}

static void start(mr_flow *f, mr_job *j) {
    mr_refusal why;
    mr_err err = {0};
    mr_work w;

    if (mr_admit(j, &f->limits, &why) != MR_OK) {
        mr_job_end(j, MR_STATUS_REJECTED, "", why.code,
                   mr_arena_copy(&j->arena, why.field, strlen(why.field)), why.message);
        flush(f, j, mr_clock_mono_ms());
        return;
    }
    w = (mr_work){
        .slot = j->slot,
        .tokens = j->tokens,
        .n_tokens = j->n_tokens,
        .max_new = j->max_new,
        .params = &j->spec.params,
        .seed = j->seed,
        .priority = j->spec.priority,
        .expires_ms = j->spec.expires_ms,
        .starts_line = mr_admit_starts_line(&j->spec),
    };
    if (mr_runner_start(f->runner, &w, &err) != MR_OK) {
        mr_job_end(j, MR_STATUS_FAILED, "", "engine_error", "", err.text);
        flush(f, j, mr_clock_mono_ms());
        return;
    }
    mr_job_move(j, MR_JOB_ADMITTED, mr_clock_mono_ms());
    j->in_engine = true;
    f->n_active++;
    f->on_change(f->owner);
}

static mr_status decode(mr_job *j, const mr_kafka_msg *m, mr_codec_error *why) {
    size_t n = 0;
    const char *type = mr_kafka_msg_header(m, "content-type", &n);
    mr_format format = MR_FORMAT_MSGPACK;

    if (!mr_format_of(type, n, m->value, m->len, &format)) {
        snprintf(why->code, sizeof why->code, "unsupported");
        snprintf(why->message, sizeof why->message, "content-type is neither JSON nor msgpack");
        return MR_EINVAL;
    }
    return mr_codec_job_decode(&j->spec, format, m->value, m->len, true, &j->arena, why);
}

mr_status mr_flow_record(mr_flow *f, const mr_kafka_msg *m) {
    const uint64_t wall_ms = mr_clock_wall_ms();
    mr_codec_error why = {0};
    uint32_t epoch = 0;
    mr_status st;
    mr_job *j;

    if (f->n_active >= f->max_jobs + MR_FLOW_AHEAD(f->max_jobs) || mr_jobs_n_free(f->jobs) == 0)
        return MR_ELIMIT;
    st = mr_commit_begin(f->commit, m->partition, m->offset, &epoch);
    if (st == MR_ELIMIT) return MR_ELIMIT;
    if (st != MR_OK) return MR_OK; /* finished or in hand: a repeated delivery */
    f->metrics->records++;
    if (!m->value) { /* a tombstone holds no job */
        mr_commit_finish(f->commit, m->partition, epoch, m->offset);
        return MR_OK;
    }
    j = mr_jobs_take(f->jobs);
    j->partition = m->partition;
    j->offset = m->offset;
    j->epoch = epoch;
    keep_traceparent(j, m);
    if (decode(j, m, &why) != MR_OK) {
        mr_job_move(j, MR_JOB_DECODED, mr_clock_mono_ms());
        if (why.has_job_id) {
            reject_undecodable(f, j, &why, m);
        } else {
            send_dead_letter(f, j, m, &why);
        }
        return MR_OK;
    }
    if (merge(f, j)) return MR_OK;
    j->age_ms = wall_ms > j->spec.received_ms ? wall_ms - j->spec.received_ms : 0;
    mr_job_move(j, MR_JOB_DECODED, mr_clock_mono_ms());
    if (mr_control_cancelled(f->control, j->spec.job_id)) {
        end_before_start(f, j, MR_STATUS_CANCELLED);
    } else if (j->spec.expires_ms && j->spec.expires_ms <= wall_ms) {
        end_before_start(f, j, MR_STATUS_EXPIRED);
    } else {
        start(f, j);
    }
    return MR_OK;
}

/* ---- while the engine has it ---- */

static void cancel_in_engine(mr_flow *f, mr_job *j) {
    if (!j->in_engine || j->cancel_sent) return;
    j->cancel_sent = true;
    mr_runner_cancel(f->runner, j->slot);
}

void mr_flow_cancel(mr_flow *f, const char *job_id) {
    mr_job *j = mr_jobs_find(f->jobs, job_id);

    if (j) cancel_in_engine(f, j); /* what has ended, has ended */
}

/* Text of a token for the logprobs: itself, with half characters made visible. */
static const char *token_text(mr_flow *f, mr_job *j, int32_t token) {
    const mr_str piece = mr_tokenizer_piece(f->limits.tokenizer, token, true);
    char *text = mr_arena_alloc(&j->arena, 3 * piece.len + 1);

    if (text) mr_result_clean_utf8(text, piece.ptr, piece.len);
    return text;
}

static bool add_logprob(mr_flow *f, mr_job *j, const mr_event *ev) {
    mr_token_logprob *p = mr_job_add_logprob(j);
    mr_token_logprob *top;

    if (!p) return false;
    *p = (mr_token_logprob){.token = ev->token, .logprob = ev->logprob, .n_top = ev->n_top};
    p->text = token_text(f, j, ev->token);
    top = mr_arena_calloc(&j->arena, ev->n_top, sizeof *top);
    if (!p->text || !top) return false;
    for (uint32_t i = 0; i < ev->n_top; i++) {
        top[i] = (mr_token_logprob){.token = ev->top[i].token, .logprob = ev->top[i].logprob};
        top[i].text = token_text(f, j, ev->top[i].token);
        if (!top[i].text) return false;
    }
    if (ev->n_top) p->top = top;
    return true;
}

static void take_token(mr_flow *f, mr_job *j, const mr_event *ev) {
    if (j->n_generated == 0) {
        j->first_token_ms = ev->at_ms;
    } else {
        mr_metrics_token(f->metrics, ev->at_ms - j->last_token_ms);
    }
    j->last_token_ms = ev->at_ms;
    j->n_generated++;
    if (j->spec.params.logprobs && !add_logprob(f, j, ev)) j->too_large = true;
    mr_stream_token(f->stream, j->slot, ev->index, ev->token,
                    j->text_len ? j->text + j->frame_begin : "", j->text_len - j->frame_begin);
    j->frame_begin = j->text_len;
}

static void take_text(mr_flow *f, mr_job *j, const mr_event *ev) {
    if (j->orphan || j->too_large) return;
    if (mr_job_add_text(j, ev->text, ev->text_len) != MR_OK) j->too_large = true;
    if (!j->too_large && ev->kind == MR_EVENT_TOKEN) take_token(f, j, ev);
    if (j->too_large) cancel_in_engine(f, j); /* mr_flow_event answers it at its end */
}

static void note_end(mr_job *j, const mr_event *ev) {
    char text[128];

    switch (ev->end) {
    case MR_END_STOP: mr_job_end(j, MR_STATUS_SUCCEEDED, "stop", NULL, NULL, NULL); break;
    case MR_END_LENGTH: mr_job_end(j, MR_STATUS_SUCCEEDED, "length", NULL, NULL, NULL); break;
    case MR_END_CANCELLED:
        snprintf(text, sizeof text, "cancelled after %u tokens", (unsigned)j->n_generated);
        mr_job_end(j, MR_STATUS_CANCELLED, "cancelled", "cancelled", "", text);
        break;
    case MR_END_EXPIRED:
        snprintf(text, sizeof text, "the deadline passed after %u tokens",
                 (unsigned)j->n_generated);
        mr_job_end(j, MR_STATUS_EXPIRED, "expired", "expired", "deadline_ms", text);
        break;
    case MR_END_REFUSED:
        mr_job_end(j, MR_STATUS_REJECTED, "", "invalid_params", "params", ev->text);
        break;
    case MR_END_FAILED: mr_job_end(j, MR_STATUS_FAILED, "", "engine_error", "", ev->text); break;
    }
}

static void take_end(mr_flow *f, mr_job *j, const mr_event *ev) {
    j->in_engine = false;
    f->n_active--;
    if (j->orphan) {
        f->metrics->jobs_dropped++;
        free_slot(f, j);
        return;
    }
    note_end(j, ev);
    flush(f, j, ev->at_ms);
    f->on_change(f->owner);
    f->on_room(f->owner); /* its seat is free, its slot not yet */
}

void mr_flow_event(mr_flow *f, const mr_event *ev) {
    mr_job *j = mr_jobs_at(f->jobs, ev->slot);

    MR_CHECK(j->in_engine);
    switch (ev->kind) {
    case MR_EVENT_STARTED:
        mr_job_move(j, MR_JOB_RUNNING, ev->at_ms);
        if (!j->orphan) mr_stream_begin(f->stream, j->slot, &j->spec);
        break;
    case MR_EVENT_TEXT:
    case MR_EVENT_TOKEN: take_text(f, j, ev); break;
    case MR_EVENT_END: take_end(f, j, ev); break;
    case MR_EVENT_READY:
    case MR_EVENT_STOPPED: MR_CHECK(!"an event of the thread, not of a job");
    }
}

/* ---- partitions that go away ---- */

static void make_orphan(mr_flow *f, mr_job *j, mr_attempt_outcome outcome) {
    if (j->state == MR_JOB_FREE || j->orphan) return;
    j->orphan = true;
    if (!j->in_engine) return; /* its answer is under way */
    f->on_handed_back(f->owner, j, outcome);
    mr_stream_drop(f->stream, j->slot);
    cancel_in_engine(f, j);
}

void mr_flow_revoke(mr_flow *f, const int32_t *partitions, size_t n) {
    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++) {
        mr_job *j = mr_jobs_at(f->jobs, s);
        for (size_t i = 0; i < n; i++) {
            if (j->partition == partitions[i]) make_orphan(f, j, MR_ATTEMPT_REVOKED);
        }
    }
}

void mr_flow_abandon(mr_flow *f, mr_attempt_outcome outcome) {
    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++)
        make_orphan(f, mr_jobs_at(f->jobs, s), outcome);
}

bool mr_flow_idle(const mr_flow *f) {
    return mr_jobs_n_free(f->jobs) == mr_jobs_n(f->jobs);
}
