/* flow_run.c - a job between the engine thread's events and the end of its answer.
 *
 * Tokens that an earlier worker made come first, told by the engine thread as if they were new; the
 * text that they make here is compared with what readers were shown. If it differs (another model,
 * another setting), readers are told to start again. Jobs with logprobs are generated from their
 * prompt, because frames carry none; readers notice nothing as long as the tokens are the same.
 *
 * What the engine could not do for want of memory, or because it failed, is no answer: the job goes
 * back to the dispatchers, and its stream stays as it is for the next worker to go on with. */
#include "worker/flow_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "worker/result.h"

/* ---- tokens ---- */

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

/* The newest token is the one that readers were shown in its place, with the same text. */
static bool is_as_shown(const mr_job *j) {
    const uint32_t i = j->n_generated - 1;
    const size_t from = mr_job_text_begin(j, i);

    if (j->made[i].token != j->taken[i] || j->text_len > j->taken_text_len) return false;
    if (i + 1 == j->n_taken && j->text_len != j->taken_text_len) return false;
    return j->text_len == from ||
           memcmp(j->text + from, j->taken_text + from, j->text_len - from) == 0;
}

static void note_times(mr_flow *f, mr_job *j, const mr_event *ev) {
    if (ev->taken) return; /* made by somebody else */
    if (j->first_token_ms == 0) {
        j->first_token_ms = ev->at_ms;
    } else {
        mr_metrics_token(f->metrics, ev->at_ms - j->last_token_ms);
    }
    j->last_token_ms = ev->at_ms;
}

/* Of the first n tokens of prompt and answer only n_known need not be computed again. */
static void note_again(mr_flow *f, mr_job *j, size_t n, uint32_t n_known) {
    const uint32_t again = n > n_known ? (uint32_t)(n - n_known) : 0;

    j->spec.wasted_tokens += again;
    f->metrics->wasted_tokens += again;
}

static void take_token(mr_flow *f, mr_job *j, const mr_event *ev) {
    MR_CHECK(ev->index == j->n_generated);
    note_times(f, j, ev);
    if (!ev->taken && ev->index < j->n_taken) note_again(f, j, 1, 0);
    if (mr_job_add_token(j, ev->token) != MR_OK ||
        (j->spec.params.logprobs && !add_logprob(f, j, ev)))
        j->too_large = true;
    if (j->too_large) return;
    if (ev->index < j->n_taken && !is_as_shown(j)) {
        j->n_taken = 0; /* nothing to compare with any more */
        mr_stream_restart(f->stream, j->slot, "what is made here is not what readers were shown");
    }
    mr_stream_advance(f->stream, j->slot, j->n_generated);
}

static void take_text(mr_flow *f, mr_job *j, const mr_event *ev) {
    if (j->orphan || j->too_large) return;
    if (mr_job_add_text(j, ev->text, ev->text_len) != MR_OK) j->too_large = true;
    if (!j->too_large && ev->kind == MR_EVENT_TOKEN) take_token(f, j, ev);
    if (j->too_large) mr_flow_cancel_in_engine(f, j); /* take_end answers it */
}

void mr_flow_frame(mr_flow *f, uint32_t slot, uint64_t index, mr_stream_frame *out) {
    const mr_job *j = mr_jobs_at(f->jobs, slot);
    size_t from;

    MR_CHECK(index < j->n_generated);
    from = mr_job_text_begin(j, (uint32_t)index);
    *out = (mr_stream_frame){.token = j->made[index].token,
                             .text = j->text ? j->text + from : "",
                             .text_len = j->made[index].text_end - from};
}

/* ---- the end ---- */

/* Where one token's text ends in what was taken over is not known; the last one carries all. */
void mr_flow_adopt_taken(mr_flow *f, mr_job *j) {
    j->text_len = mr_job_text_begin(j, j->n_generated); /* a token may have come by half */
    while (j->n_generated < j->n_taken && !j->too_large) {
        const bool last = j->n_generated + 1 == j->n_taken;
        const char *rest = j->taken_text + j->text_len;
        if ((last && mr_job_add_text(j, rest, j->taken_text_len - j->text_len) != MR_OK) ||
            mr_job_add_token(j, j->taken[j->n_generated]) != MR_OK)
            j->too_large = true;
    }
    mr_stream_advance(f->stream, j->slot, j->n_generated);
}

void mr_flow_end_cancelled(mr_job *j) {
    char text[128];

    if (j->state != MR_JOB_RUNNING && j->n_generated == 0) {
        mr_job_end(j, MR_STATUS_CANCELLED, "", "cancelled", "", "cancelled before it started");
        return;
    }
    snprintf(text, sizeof text, "cancelled after %u tokens", (unsigned)j->n_generated);
    mr_job_end(j, MR_STATUS_CANCELLED, "cancelled", "cancelled", "", text);
}

static void note_end(mr_job *j, const mr_event *ev) {
    char text[128];

    switch (ev->end) {
    case MR_END_STOP: mr_job_end(j, MR_STATUS_SUCCEEDED, "stop", NULL, NULL, NULL); break;
    case MR_END_LENGTH: mr_job_end(j, MR_STATUS_SUCCEEDED, "length", NULL, NULL, NULL); break;
    case MR_END_FAILED:
    case MR_END_NO_MEMORY: /* while it was asked to end: else it goes back */
    case MR_END_CANCELLED: mr_flow_end_cancelled(j); break;
    case MR_END_EXPIRED:
        snprintf(text, sizeof text, "the deadline passed after %u tokens",
                 (unsigned)j->n_generated);
        mr_job_end(j, MR_STATUS_EXPIRED, "expired", "expired", "deadline_ms", text);
        break;
    case MR_END_REFUSED:
        mr_job_end(j, MR_STATUS_REJECTED, "", "invalid_params", "params", ev->text);
        break;
    }
}

/* Readers were shown more tokens than were made here: they stay as they are when the job did not
 * come to its own end. When it did, the stream sees that it ends too early, and starts again. */
static void settle_taken(mr_flow *f, mr_job *j, mr_end end) {
    const bool whole = end == MR_END_STOP || end == MR_END_LENGTH || j->spec.params.logprobs;

    if (!whole && !j->too_large && j->n_generated < j->n_taken) mr_flow_adopt_taken(f, j);
}

static void take_end(mr_flow *f, mr_job *j, const mr_event *ev) {
    j->in_engine = false;
    if (j->orphan) {
        mr_flow_drop(f, j);
    } else if (j->too_large && !j->arena.full) { /* what is short is not its own share */
        mr_flow_send_back(f, j, MR_ATTEMPT_OOM, "no memory for what was made");
    } else if (ev->end == MR_END_FAILED && !j->cancelled) {
        mr_flow_send_back(f, j, MR_ATTEMPT_FAULT, ev->text);
    } else if (ev->end == MR_END_NO_MEMORY && !j->cancelled) {
        mr_flow_send_back(f, j, MR_ATTEMPT_OOM, ev->text);
    } else {
        settle_taken(f, j, ev->end);
        note_end(j, ev);
        mr_flow_flush(f, j, ev->at_ms);
        f->on_change(f->owner);
    }
    mr_flow_move_on(f);
}

static void note_started(mr_flow *f, mr_job *j, const mr_event *ev) {
    const size_t n_taken = mr_flow_goes_on(j) ? j->n_taken : 0;

    j->n_cached = ev->index < j->n_tokens ? ev->index : (uint32_t)j->n_tokens;
    if (j->ran_before) note_again(f, j, j->n_tokens + n_taken, ev->index);
    mr_job_move(j, MR_JOB_RUNNING, ev->at_ms);
    mr_prefixes_add(&f->prefixes, &j->spec);
}

static void note_displaced(mr_job *j, uint64_t at_ms) {
    if (j->preemptions < MR_JOB_DISPLACED) j->displaced_ms[j->preemptions] = at_ms;
    j->preemptions++;
}

void mr_flow_event(mr_flow *f, const mr_event *ev) {
    mr_job *j = mr_jobs_at(f->jobs, ev->slot);

    MR_CHECK(j->in_engine);
    switch (ev->kind) {
    case MR_EVENT_STARTED: note_started(f, j, ev); break;
    case MR_EVENT_DISPLACED: note_displaced(j, ev->at_ms); break;
    case MR_EVENT_RESUMED: note_again(f, j, j->n_tokens + j->n_generated, ev->index); break;
    case MR_EVENT_TEXT:
    case MR_EVENT_TOKEN: take_text(f, j, ev); break;
    case MR_EVENT_END: take_end(f, j, ev); break;
    case MR_EVENT_READY:
    case MR_EVENT_LOST:
    case MR_EVENT_STOPPED: MR_CHECK(!"an event of the thread, not of a job");
    }
}

/* ---- frames and answer ---- */

static void log_end(const mr_job *j) {
    mr_log(MR_LOG_DEBUG, "flow", "job ended",
           "job=%s part=%d off=%" PRId64 " status=%s tokens=%u code=%s", j->spec.job_id,
           (int)j->partition, j->at.offset, mr_job_status_name(j->status), (unsigned)j->n_generated,
           j->error.code ? j->error.code : "none");
}

static void answer(mr_flow *f, mr_job *j) {
    log_end(j);
    if (!mr_answer_result(&f->answers, j)) mr_flow_give_up(f, j);
}

static void close_stream(mr_flow *f, mr_job *j) {
    j->streaming = false;
    j->attempt = mr_stream_attempt(f->stream, j->slot);
    answer(f, j);
}

static void leave_seat(mr_flow *f, mr_job *j, uint64_t now_ms) {
    mr_job_move(j, MR_JOB_FLUSHING, now_ms);
    if (mr_suspects_waits(f->suspects, j->slot)) mr_suspects_drop(f->suspects, j->slot);
    if (j->seated) f->n_active--;
    j->seated = false;
}

void mr_flow_send_back(mr_flow *f, mr_job *j, mr_attempt_outcome outcome, const char *why) {
    leave_seat(f, j, mr_clock_mono_ms());
    if (j->streaming) {
        mr_stream_drop(f->stream, j->slot);
        j->streaming = false;
        j->attempt = mr_stream_attempt(f->stream, j->slot);
    }
    mr_log(MR_LOG_INFO, "flow", "attempt ended, the job goes back",
           "job=%s part=%d off=%" PRId64 " attempt=%u outcome=%s tokens=%u err=" MR_Q,
           j->spec.job_id, (int)j->partition, j->at.offset, (unsigned)j->attempt,
           mr_attempt_outcome_name(outcome), (unsigned)j->n_generated, why);
    if (!mr_answer_back(&f->answers, j, outcome, why)) mr_flow_give_up(f, j);
    f->on_change(f->owner);
}

void mr_flow_flush(mr_flow *f, mr_job *j, uint64_t now_ms) {
    leave_seat(f, j, now_ms);
    if (!j->streaming) {
        answer(f, j);
    } else if (mr_stream_end(f->stream, j->slot, &j->degraded)) {
        close_stream(f, j);
    } /* else: mr_flow_stream_closed goes on */
}

void mr_flow_stream_closed(mr_flow *f, uint32_t slot, bool degraded) {
    mr_job *j = mr_jobs_at(f->jobs, slot);

    MR_CHECK(j->state == MR_JOB_FLUSHING && j->streaming);
    j->degraded = degraded;
    close_stream(f, j);
    mr_flow_move_on(f);
}
