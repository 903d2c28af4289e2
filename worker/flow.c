/* flow.c - from the record to the engine thread, and what happens when partitions go away.
 *
 * Whatever happens to a record, one of four things follows: a result, a dead letter when not even
 * its job id can be read, nothing because it is in hand already, or nothing because its partition
 * was taken away and somebody else will run it. Only the last leaves its offset open.
 *
 * The stream is claimed only when the mark is committed: the commit is bound to our place in the
 * group, so a worker that was presumed dead and wakes up takes no stream away from its new owner.
 * While Kafka is away no mark comes through and nothing starts; what runs goes on.
 *
 * A job whose partition is taken away is an orphan: the engine is told to end it, and whatever
 * comes of it is ignored; its slot is free when all who have it have answered. When the partition
 * comes back and brings the same record, it is a new job. */
#include "worker/flow_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

static mr_commit_done on_marked;

/* ---- slots ---- */

void mr_flow_drop(mr_flow *f, mr_job *j) {
    const uint64_t now_ms = mr_clock_mono_ms();

    if (j->marking || j->streaming || j->in_engine || j->sending || j->unsent) return;
    mr_suspects_drop(f->suspects, j->slot);
    if (j->seated) f->n_active--;
    if (j->state == MR_JOB_FREE) mr_job_move(j, MR_JOB_DECODED, now_ms);
    if (j->state < MR_JOB_FLUSHING) mr_job_move(j, MR_JOB_FLUSHING, now_ms);
    if (j->state == MR_JOB_FLUSHING) mr_job_move(j, MR_JOB_DONE, now_ms);
    mr_jobs_put(f->jobs, j, now_ms);
    f->on_change(f->owner);
}

static void make_orphan(mr_flow *f, mr_job *j) {
    j->orphan = true;
    f->metrics->jobs_dropped++;
    if (j->streaming) mr_stream_drop(f->stream, j->slot);
    j->streaming = false;
    j->unsent = false;
    mr_flow_cancel_in_engine(f, j);
    mr_flow_drop(f, j);
}

void mr_flow_give_up(mr_flow *f, mr_job *j) {
    if (!j->orphan) {
        make_orphan(f, j);
    } else {
        mr_flow_drop(f, j);
    }
}

static void on_answered(void *owner, mr_job *j, bool committed) {
    mr_flow *f = owner;

    if (committed) {
        if (j->spec.job_id[0]) mr_metrics_job(f->metrics, j);
        mr_attempt_spans_add(&f->spans, j, NULL);
        mr_flow_drop(f, j);
    } else {
        mr_flow_give_up(f, j);
    }
    mr_flow_move_on(f);
}

/* ---- turn, mark, claim ---- */

/* False: too many marks, or no memory for one; when another job has ended, or at the next tick. */
static bool ask_for_mark(mr_flow *f, mr_job *j) {
    const mr_status st = mr_commit_mark(f->commit, j->at, on_marked, f, j);

    if (st == MR_ELIMIT || st == MR_ENOMEM) {
        mr_suspects_wait(f->suspects, j->slot);
        return false;
    }
    j->marking = st == MR_OK;
    j->asked_ms = mr_clock_mono_ms();
    if (st != MR_OK) mr_flow_give_up(f, j); /* its partition is gone */
    return true;
}

static void start_next(mr_flow *f) {
    uint32_t slot;

    while (!f->stopped && mr_suspects_next(f->suspects, &slot)) {
        if (!ask_for_mark(f, mr_jobs_at(f->jobs, slot))) return;
    }
}

void mr_flow_move_on(mr_flow *f) {
    start_next(f);
    f->on_room(f->owner);
}

static void on_marked(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    mr_flow *f = owner;
    mr_job *j = arg;

    (void)offset;
    j->marking = false;
    if (status == MR_OK && !j->orphan) {
        j->streaming = true;
        mr_stream_begin(f->stream, j->slot, &j->spec, j->ran_before, j->max_new);
        return; /* mr_flow_claimed goes on */
    }
    if (!j->orphan)
        mr_log(MR_LOG_WARN, "flow", "job not started: its partition is another's",
               "job=%s part=%d off=%" PRId64 " err=" MR_Q, j->spec.job_id, (int)j->partition,
               j->at.offset, why ? why : mr_status_name(status));
    mr_flow_give_up(f, j);
    mr_flow_move_on(f);
}

bool mr_flow_goes_on(const mr_job *j) {
    return j->n_taken > 0 && !j->spec.params.logprobs;
}

static void launch(mr_flow *f, mr_job *j) {
    const bool goes_on = mr_flow_goes_on(j);
    const mr_work w = {
        .slot = j->slot,
        .tokens = j->tokens,
        .n_tokens = j->n_tokens,
        .taken = goes_on ? j->taken : NULL,
        .n_taken = goes_on ? j->n_taken : 0,
        .max_new = j->max_new,
        .params = &j->spec.params,
        .seed = j->seed,
        .salt = mr_job_seed(j->spec.tenant ? j->spec.tenant : ""),
        .priority = j->spec.priority,
        .expires_ms = j->spec.expires_ms,
        .starts_line = mr_admit_starts_line(&j->spec),
    };
    mr_err err = {0};

    if (mr_runner_start(f->runner, &w, &err) == MR_OK) {
        j->in_engine = true;
        return;
    }
    mr_flow_send_back(f, j, MR_ATTEMPT_OOM, err.text);
    mr_flow_move_on(f);
}

/* False: no memory; the job starts from its prompt. */
static bool keep_taken(mr_job *j, const mr_takeover *t) {
    int32_t *tokens = mr_arena_alloc(&j->arena, t->n_tokens * sizeof *tokens);
    const char *text = mr_arena_copy(&j->arena, t->text, t->text_len);

    if (!tokens || !text) return false;
    memcpy(tokens, t->tokens, t->n_tokens * sizeof *tokens);
    j->taken = tokens;
    j->n_taken = t->n_tokens;
    j->taken_text = text;
    j->taken_text_len = t->text_len;
    return true;
}

void mr_flow_claimed(mr_flow *f, uint32_t slot, const mr_takeover *t) {
    mr_job *j = mr_jobs_at(f->jobs, slot);

    MR_CHECK(j->state == MR_JOB_ADMITTED && j->streaming);
    j->attempt = t->attempt;
    if (t->n_tokens > 0) {
        mr_log(MR_LOG_INFO, "flow", "job taken over",
               "job=%s part=%d off=%" PRId64 " attempt=%u tokens=%zu", j->spec.job_id,
               (int)j->partition, j->at.offset, (unsigned)j->attempt, t->n_tokens);
        if (!keep_taken(j, t)) mr_stream_restart(f->stream, slot, "no memory to go on with it");
    }
    if (!j->cancelled) {
        launch(f, j);
        return;
    }
    mr_flow_adopt_taken(f, j);
    mr_flow_end_cancelled(j);
    mr_flow_flush(f, j, mr_clock_mono_ms());
    mr_flow_move_on(f);
}

/* ---- the record ---- */

static void end_refused(mr_flow *f, mr_job *j, const mr_refusal *why) {
    mr_job_end(j, MR_STATUS_REJECTED, "", why->code,
               mr_arena_copy(&j->arena, why->field, strlen(why->field)), why->message);
    mr_flow_flush(f, j, mr_clock_mono_ms());
}

static void end_expired(mr_flow *f, mr_job *j) {
    char text[128];

    snprintf(text, sizeof text, "the deadline passed %" PRIu64 " ms before the job could start",
             mr_clock_wall_ms() - j->spec.expires_ms);
    mr_job_end(j, MR_STATUS_EXPIRED, "", "expired", "deadline_ms", text);
    mr_flow_flush(f, j, mr_clock_mono_ms());
}

static void end_cancelled(mr_flow *f, mr_job *j) {
    mr_flow_end_cancelled(j);
    mr_flow_flush(f, j, mr_clock_mono_ms());
}

/* It is not run again; what it was lies where an operator looks. */
static void end_poison(mr_flow *f, mr_job *j, const mr_kafka_msg *m) {
    char text[MR_JOB_MAX_ERROR];

    snprintf(text, sizeof text,
             "%u worker processes died while this job ran, so it is not run again "
             "(max_deaths=%u, partition %d, offset %" PRId64 " of %s, found by worker %s)",
             j->deaths, f->max_deaths, (int)m->partition, m->offset, m->topic, f->answers.worker);
    mr_log(MR_LOG_ERROR, "flow", "a job kills its workers: not run again",
           "job=%s part=%d off=%" PRId64 " deaths=%u", j->spec.job_id, (int)m->partition, m->offset,
           j->deaths);
    f->metrics->poisoned++;
    if (mr_answer_keep_dead(&f->answers, j, "poison", text, m->value, m->len) != MR_OK) {
        f->on_fatal(f->owner, MR_ENOMEM, "flow: no memory for a dead letter");
        return;
    }
    mr_job_end(j, MR_STATUS_FAILED, "", "poison", "", text);
    mr_flow_flush(f, j, mr_clock_mono_ms());
}

/* Not even an id to answer to: keep the bytes where an operator looks. */
static void end_dead(mr_flow *f, mr_job *j, const mr_codec_error *why, const mr_kafka_msg *m) {
    mr_log(MR_LOG_WARN, "flow", "work record not understood",
           "part=%d off=%" PRId64 " code=%s err=" MR_Q, (int)m->partition, m->offset, why->code,
           why->message);
    mr_arena_reset(&j->arena);
    j->spec = (mr_job_spec){0};
    mr_trace_of(&j->spec.trace, m, &j->arena);
    mr_job_move(j, MR_JOB_FLUSHING, mr_clock_mono_ms());
    if (mr_answer_keep_dead(&f->answers, j, mr_arena_copy(&j->arena, why->code, strlen(why->code)),
                            why->message, m->value, m->len) != MR_OK) {
        f->on_fatal(f->owner, MR_ENOMEM, "flow: no memory for a dead letter");
    } else if (!mr_answer_dead(&f->answers, j)) {
        mr_flow_give_up(f, j);
    }
}

/* Decoded so far that it can be answered. */
static void end_undecodable(mr_flow *f, mr_job *j, const mr_codec_error *why,
                            const mr_kafka_msg *m) {
    mr_arena *a = &j->arena;

    j->spec = (mr_job_spec){.attempt = 1, .reply_format = why->format, .trace = j->spec.trace};
    j->attempt = 1;
    snprintf(j->spec.job_id, sizeof j->spec.job_id, "%s", why->job_id);
    j->spec.tenant = why->tenant[0] ? mr_arena_copy(a, why->tenant, strlen(why->tenant)) : NULL;
    j->spec.model = mr_arena_copy(a, why->model, strlen(why->model));
    j->spec.received_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : 0;
    mr_job_end(j, MR_STATUS_REJECTED, "", mr_arena_copy(a, why->code, strlen(why->code)),
               mr_arena_copy(a, why->field, strlen(why->field)), why->message);
    mr_flow_flush(f, j, mr_clock_mono_ms());
}

/* The same job in hand twice: the offset of the first one keeps it safe. True: it was. */
static bool merge(mr_flow *f, mr_job *j) {
    const mr_job *other = mr_jobs_find(f->jobs, j->spec.job_id);

    if (!other) return false;
    f->metrics->duplicates++;
    mr_log(MR_LOG_DEBUG, "flow", "job is in hand already", "job=%s part=%d off=%" PRId64,
           other->spec.job_id, (int)j->partition, j->at.offset);
    mr_answer_none(&f->answers, j->at);
    mr_flow_drop(f, j);
    return true;
}

static mr_status decode(mr_job_spec *out, const mr_kafka_msg *m, mr_arena *arena,
                        mr_codec_error *why) {
    size_t n = 0;
    const char *type = mr_kafka_msg_header(m, "content-type", &n);
    mr_format format = MR_FORMAT_MSGPACK;

    if (!mr_format_of(type, n, m->value, m->len, &format)) {
        snprintf(why->code, sizeof why->code, "unsupported");
        snprintf(why->message, sizeof why->message, "content-type is neither JSON nor msgpack");
        return MR_EINVAL;
    }
    return mr_codec_job_decode(out, format, m->value, m->len, true, arena, why);
}

/* Where it came because of its size there is no larger worker: then it ends here. */
static void refuse(mr_flow *f, mr_job *j, const mr_refusal *why) {
    if (why->need_tokens == 0 || j->spec.need_tokens > 0) {
        end_refused(f, j, why);
        return;
    }
    j->spec.need_tokens = why->need_tokens;
    mr_flow_send_back(f, j, MR_ATTEMPT_NO_FIT, why->message);
}

/* An attempt that was told of may have shown something to readers. */
static bool has_run(const mr_job_spec *spec) {
    for (size_t i = 0; i < spec->n_history; i++) {
        if (spec->history[i].outcome != MR_ATTEMPT_NO_FIT) return true;
    }
    return false;
}

static void admit(mr_flow *f, mr_job *j) {
    mr_refusal why;
    const mr_status st = mr_admit(j, &f->limits, &why);

    if (st == MR_ENOMEM) {
        mr_flow_send_back(f, j, MR_ATTEMPT_OOM, why.message);
        return;
    }
    if (st != MR_OK) {
        refuse(f, j, &why);
        return;
    }
    if (j->deaths > 0)
        mr_log(MR_LOG_WARN, "flow", "job runs alone: a process died with it",
               "job=%s part=%d off=%" PRId64 " deaths=%u", j->spec.job_id, (int)j->partition,
               j->at.offset, j->deaths);
    mr_job_move(j, MR_JOB_ADMITTED, mr_clock_mono_ms());
    j->seated = true;
    f->n_active++;
    mr_suspects_add(f->suspects, j->slot, j->deaths);
    start_next(f);
    f->on_change(f->owner);
}

/* m was decoded with this outcome, and its offset is begun. */
static void take(mr_flow *f, mr_job *j, const mr_kafka_msg *m, mr_status decoded,
                 const mr_codec_error *why) {
    const uint64_t wall_ms = mr_clock_wall_ms();

    mr_trace_of(&j->spec.trace, m, &j->arena);
    if (decoded == MR_OK && merge(f, j)) return;
    mr_job_move(j, MR_JOB_DECODED, mr_clock_mono_ms());
    if (decoded != MR_OK && !why->has_job_id) {
        end_dead(f, j, why, m);
        return;
    }
    if (decoded != MR_OK) {
        end_undecodable(f, j, why, m);
        return;
    }
    j->attempt = j->spec.attempt;
    j->ran_before = j->ran_before || has_run(&j->spec);
    j->age_ms = wall_ms > j->spec.received_ms ? wall_ms - j->spec.received_ms : 0;
    if (j->deaths >= f->max_deaths) {
        end_poison(f, j, m);
    } else if (mr_control_cancelled(f->control, j->spec.job_id)) {
        end_cancelled(f, j);
    } else if (j->spec.expires_ms && j->spec.expires_ms <= wall_ms) {
        end_expired(f, j);
    } else {
        admit(f, j);
    }
}

bool mr_flow_is_pressing(const mr_kafka_msg *m) {
    mr_codec_error why;
    mr_job_spec spec;
    mr_arena arena;
    bool is_high;

    if (!m->value) return false;
    mr_arena_init(&arena, MR_JOB_ARENA_BYTES);
    is_high = decode(&spec, m, &arena, &why) == MR_OK && spec.priority == MR_PRIORITY_HIGH;
    mr_arena_drop(&arena);
    return is_high;
}

/* It holds no job. */
static mr_status take_tombstone(mr_flow *f, int part, int64_t offset) {
    mr_origin at;

    if (mr_parts_begin(mr_commit_parts(f->commit), part, offset, &at) != MR_OK) return MR_OK;
    f->metrics->records++;
    mr_answer_none(&f->answers, at);
    return MR_OK;
}

mr_status mr_flow_record(mr_flow *f, const mr_kafka_msg *m, bool pressing) {
    const uint32_t most = pressing ? mr_jobs_n(f->jobs) : f->max_jobs + MR_WORKER_AHEAD(f->max_jobs);
    mr_parts *parts = mr_commit_parts(f->commit);
    const int part = mr_parts_find(parts, m->topic, m->partition);
    mr_codec_error why = {0};
    mr_origin at;
    mr_status st;
    mr_job *j;

    if (f->n_active >= most || mr_jobs_n_free(f->jobs) == 0 || mr_commit_full(f->commit))
        return MR_ELIMIT;
    if (part < 0) return MR_OK; /* it was revoked meanwhile */
    if (mr_parts_full(parts, part, false)) return MR_ELIMIT;
    if (!m->value) return take_tombstone(f, part, m->offset);
    j = mr_jobs_take(f->jobs);
    st = decode(&j->spec, m, &j->arena, &why);
    if (st == MR_ENOMEM && !j->arena.full) { /* perhaps later; so its offset is not begun */
        mr_flow_drop(f, j);
        return MR_ELIMIT;
    }
    if (mr_parts_begin(parts, part, m->offset, &at) != MR_OK) { /* finished before */
        mr_flow_drop(f, j);
        return MR_OK;
    }
    f->metrics->records++;
    j->partition = m->partition;
    j->at = at;
    j->ran_before = mr_parts_was_started(parts, at);
    j->deaths = mr_parts_deaths(parts, at);
    take(f, j, m, st, &why);
    return MR_OK;
}

/* ---- what comes in between ---- */

void mr_flow_cancel_in_engine(mr_flow *f, mr_job *j) {
    if (!j->in_engine || j->cancelled) return;
    j->cancelled = true;
    mr_runner_cancel(f->runner, j->slot);
}

void mr_flow_cancel(mr_flow *f, const char *job_id) {
    mr_job *j = mr_jobs_find(f->jobs, job_id);

    if (!j || j->state >= MR_JOB_FLUSHING) return; /* what has ended, has ended */
    if (mr_suspects_waits(f->suspects, j->slot)) {
        end_cancelled(f, j);
        mr_flow_move_on(f);
    } else if (j->in_engine) {
        mr_flow_cancel_in_engine(f, j);
    } else {
        j->cancelled = true; /* mr_flow_claimed sees it */
    }
}

static void look_at(mr_flow *f, mr_job *j, uint64_t now_ms, uint64_t wall_ms) {
    const bool waits = j->state == MR_JOB_ADMITTED && mr_suspects_waits(f->suspects, j->slot);

    if (waits && j->spec.expires_ms && j->spec.expires_ms <= wall_ms) end_expired(f, j);
    if (!mr_answer_again(&f->answers, j, now_ms)) mr_flow_give_up(f, j);
}

void mr_flow_tick(mr_flow *f) {
    const uint64_t now_ms = mr_clock_mono_ms(), wall_ms = mr_clock_wall_ms();

    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++)
        look_at(f, mr_jobs_at(f->jobs, s), now_ms, wall_ms);
    mr_flow_move_on(f);
}

/* ---- partitions that go away ---- */

/* Here or elsewhere, as far as is known: then readers may have seen something of it. A job whose
 * mark is all there is of it has shown nothing, so the next worker need not tell them to start
 * again. */
static bool has_begun(const mr_job *j) {
    return j->ran_before || j->in_engine || j->state > MR_JOB_ADMITTED;
}

/* An answer that is under way already stays: the committer tells how it ends. */
static void hand_over(mr_flow *f, mr_job *j, mr_attempt_outcome outcome, bool unmark) {
    if (j->state == MR_JOB_FREE || j->orphan || j->sending) return;
    if (unmark) mr_commit_unmark(f->commit, j->at, has_begun(j));
    if (j->in_engine) f->on_handed_back(f->owner, j, outcome);
    mr_attempt_spans_add(&f->spans, j, mr_attempt_outcome_name(outcome));
    make_orphan(f, j);
}

void mr_flow_revoke(mr_flow *f, const char *topic, const int32_t *partitions, size_t n, bool lost) {
    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++) {
        mr_job *j = mr_jobs_at(f->jobs, s);
        for (size_t i = 0; i < n; i++) {
            if (j->partition == partitions[i]) hand_over(f, j, MR_ATTEMPT_REVOKED, !lost);
        }
    }
    if (!lost && mr_commit_flush(f->commit, MR_FLOW_FLUSH_MS) != MR_OK)
        mr_log(MR_LOG_WARN, "flow",
               "not all was committed in time: jobs of these partitions may run again",
               "n=%zu limit_ms=%d", n, MR_FLOW_FLUSH_MS);
    for (size_t i = 0; i < n; i++) mr_commit_revoke(f->commit, topic, partitions[i]);
    mr_flow_move_on(f);
}

void mr_flow_abandon(mr_flow *f, mr_attempt_outcome outcome) {
    f->stopped = true;
    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++)
        hand_over(f, mr_jobs_at(f->jobs, s), outcome, true);
}

/* ---- interface ---- */

static void on_answer_fatal(void *owner, mr_status status, const char *text) {
    mr_flow *f = owner;
    f->on_fatal(f->owner, status, text);
}

mr_status mr_flow_init(mr_flow *f, mr_err *err) {
    f->answers.owner = f;
    f->answers.on_done = on_answered;
    f->answers.on_fatal = on_answer_fatal;
    return mr_suspects_open(&f->suspects, mr_jobs_n(f->jobs), err);
}

void mr_flow_deinit(mr_flow *f) {
    mr_suspects_close(f->suspects);
    f->suspects = NULL;
}

bool mr_flow_idle(const mr_flow *f) {
    return mr_jobs_n_free(f->jobs) == mr_jobs_n(f->jobs);
}

uint64_t mr_flow_commit_wait_ms(const mr_flow *f, uint64_t now_ms) {
    uint64_t longest_ms = 0;

    for (uint32_t s = 0; s < mr_jobs_n(f->jobs); s++) {
        const mr_job *j = mr_jobs_at(f->jobs, s);
        const bool asked = j->marking || j->sending || j->unsent;
        if (asked && now_ms > j->asked_ms + longest_ms) longest_ms = now_ms - j->asked_ms;
    }
    return longest_ms;
}
