/* intake_fate.c - what becomes of a record: decoded, it is an entry that goes from place to place
 * until it has been sent on, released or answered.
 *
 * `route` says what is next, and knows nothing of how an entry came to be there: it expires, is
 * asked for its key, waits, or may be released. So a job may take up its way in any dispatcher, at
 * any topic. Whenever a wait is chosen it ends with the deadline at the latest: an expired job
 * comes up by itself.
 *
 * Who waits for its turn may do so for long, and what lies behind it in its partition with it. So
 * only a topic of its own lane is a place to wait for that: elsewhere a job that could be released
 * goes on to ready.<lane>, and no lane holds up another.
 *
 * How a job in attempts came there is told by its history: when the newest entry is that of the
 * present attempt, it came back and what follows is decided here, once: the attempt is raised with
 * it. Otherwise it goes on.
 *
 * Limits: those of intake.c. What finds no memory is held for RETRY_MS and tried again. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "dispatcher/cost.h"
#include "dispatcher/history.h"
#include "dispatcher/intake_internal.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

enum {
    RETRY_MS = 1000,
    PENDING_MS = 100,   /* some times what a commit takes */
    LEAST_HOLD_MS = 250 /* in a delay topic: clocks may disagree, but no job goes in circles */
};

static const mr_job_error cancelled = {
    .code = "cancelled", .field = "", .message = "cancelled before it was released"};

/* ---- the end of an entry ---- */

static void leave_backlog(mr_intake *in, mr_entry *e) {
    if (e->counted) mr_policy_left(in->conf.policy, e->job.tenant);
    e->counted = false;
}

static void forget(mr_intake *in, mr_entry *e) {
    leave_backlog(in, e);
    mr_entries_free(in->entries, e);
    in->room = true;
}

static mr_result result_of(const mr_entry *e, mr_job_status status, const mr_job_error *why) {
    const uint64_t now_ms = mr_clock_wall_ms();
    const mr_job_spec *j = &e->job;
    const mr_past *last = mr_history_last(j);
    mr_result r = {.model = j->model,
                   .tenant = j->tenant,
                   .status = status,
                   .finish_reason = status == MR_STATUS_CANCELLED ? "cancelled"
                                    : status == MR_STATUS_EXPIRED ? "expired"
                                                                  : "",
                   .text = "",
                   .error = *why,
                   .attempt = last ? last->attempt : 0,
                   .tries = j->tries,
                   .worker = "",
                   .received_ms = j->received_ms,
                   .finished_ms = now_ms,
                   .queue_ms = now_ms > j->received_ms ? (uint32_t)(now_ms - j->received_ms) : 0,
                   .metadata = j->metadata,
                   .n_metadata = j->n_metadata,
                   .callback = j->callback};
    memcpy(r.job_id, j->job_id, sizeof r.job_id);
    return r;
}

static void count_end(mr_intake *in, const mr_result *r) {
    in->counts.rejected += r->status == MR_STATUS_REJECTED;
    in->counts.failed += r->status == MR_STATUS_FAILED;
    in->counts.cancelled += r->status == MR_STATUS_CANCELLED;
    in->counts.expired += r->status == MR_STATUS_EXPIRED;
    mr_log(MR_LOG_INFO, "intake", "job ended here", "job=%s status=%s code=%s", r->job_id,
           mr_job_status_name(r->status), r->error.code ? r->error.code : "");
}

static void end(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why,
                const char *duplicate_of) {
    mr_result r = result_of(e, status, why);
    r.duplicate_of = duplicate_of;
    count_end(in, &r);
    mr_spans_ended(in->conf.spans, e, status, why);
    if (e->at.part >= 0)
        mr_refusals_result(in->refusals, e->at, &r, e->job.reply_format, &e->job.trace);
    forget(in, e);
}

void mr_intake_refuse(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why) {
    end(in, e, status, why, NULL);
}

void mr_intake_sent(mr_intake *in, mr_entry *e) {
    mr_entries_sent(in->entries, e);
    in->room = true;
}

void mr_intake_released(mr_intake *in, mr_entry *e) {
    in->counts.released++;
    forget(in, e);
}

void mr_intake_drop(mr_intake *in, mr_entry *e) {
    forget(in, e);
}

static void expire(mr_intake *in, mr_entry *e) {
    const mr_job_error late = {.code = "expired",
                               .field = "deadline_ms",
                               .message = "the deadline passed while the job waited"};
    end(in, e, MR_STATUS_EXPIRED, &late, NULL);
}

static void cancel(mr_intake *in, mr_entry *e) {
    end(in, e, MR_STATUS_CANCELLED, &cancelled, NULL);
}

/* ---- from place to place ---- */

void mr_intake_unlink(mr_intake *in, mr_entry *e) {
    if (e->place == MR_PLACE_WINDOW) mr_window_remove(in->conf.window, e);
    if (e->place == MR_PLACE_DELAY) mr_delay_remove(in->delay, e);
}

/* The end of a wait until due_ms: with the deadline at the latest. */
static uint64_t wait_end(const mr_job_spec *j, uint64_t due_ms) {
    return j->expires_ms && j->expires_ms < due_ms ? j->expires_ms : due_ms;
}

static void hold(mr_intake *in, mr_entry *e, uint64_t until_ms) {
    mr_delay_add(in->delay, e, wait_end(&e->job, until_ms));
    mr_intake_arm(in);
}

/* Its index record is committed, or will not be. */
static void settle_key(mr_intake *in, mr_entry *e, bool committed) {
    const int32_t partition = mr_parts_partition(in->parts, e->at.part);
    if (committed)
        mr_keys_keep(in->conf.keys, partition, &e->job);
    else
        mr_keys_take_back(in->conf.keys, partition, &e->job);
    e->job.key_held = committed;
}

void mr_intake_gone_on(void *owner, mr_entry *e, mr_status status, const char *why) {
    mr_intake *in = owner;
    const mr_job_error too_large = {.code = "too_large", .field = "", .message = why};
    const bool took_key = e->from == MR_FROM_KEYED && e->job.idempotency_key && e->job.key_held;

    if (took_key && e->at.part >= 0) settle_key(in, e, status == MR_OK);
    if (status == MR_OK || status == MR_ECANCELED)
        forget(in, e);
    else if (status == MR_ENOMEM)
        hold(in, e, mr_clock_wall_ms() + RETRY_MS);
    else
        end(in, e, MR_STATUS_FAILED, &too_large, NULL);
}

static void send_on(mr_intake *in, mr_entry *e, const char *topic, int32_t partition,
                    const mr_commit_record *index) {
    leave_backlog(in, e);
    mr_intake_sent(in, e);
    mr_onward_send(in->onward, e, topic, partition, index);
}

/* The tier that its wait begins in; -1: what is left of it is waited where it is. */
static int tier_of(const mr_job_spec *j, uint64_t now_ms) {
    return j->due_ms > now_ms ? mr_delay_tier(j->due_ms - now_ms) : -1;
}

static const char *behind_key(const mr_intake *in, const mr_job_spec *j, uint64_t now_ms) {
    const int tier = tier_of(j, now_ms);
    return tier < 0 ? in->conf.names->ready[j->priority] : in->conf.names->delay[tier];
}

static void take_key(mr_intake *in, mr_entry *e, int32_t partition, uint64_t now_ms) {
    static const mr_kafka_header type = {"content-type", "application/json", 16};
    mr_commit_record index = {
        .topic = in->conf.names->keys, .partition = partition, .headers = &type, .n_headers = 1};
    if (mr_keys_record(&e->job, now_ms, &e->arena, &index.key, &index.key_len, &index.value,
                       &index.len) != MR_OK ||
        mr_keys_put(in->conf.keys, partition, &e->job, now_ms) != MR_OK) {
        hold(in, e, now_ms + RETRY_MS);
        return;
    }
    in->counts.new_keys++;
    e->job.key_held = true;
    send_on(in, e, behind_key(in, &e->job, now_ms), MR_KAFKA_ANY_PARTITION, &index);
}

static void end_duplicate(mr_intake *in, mr_entry *e, const char *other) {
    const mr_job_error why = {
        .code = "duplicate",
        .field = "idempotency_key",
        .message = mr_arena_printf(&e->arena, "job %s has the same idempotency key", other)};
    in->counts.duplicates++;
    end(in, e, MR_STATUS_REJECTED, &why, other);
}

/* The record stands in keyed, where its key is decided. */
static void ask_for_key(mr_intake *in, mr_entry *e, uint64_t now_ms) {
    const int32_t partition = mr_parts_partition(in->parts, e->at.part);
    char other[MR_JOB_ID_LEN + 1];

    switch (mr_keys_ask(in->conf.keys, partition, &e->job, now_ms, other)) {
    case MR_KEYS_NEW:
        take_key(in, e, partition, now_ms);
        break;
    case MR_KEYS_SAME:
        in->counts.repeats++;
        mr_refusals_none(in->refusals, e->at);
        forget(in, e);
        break;
    case MR_KEYS_TAKEN:
        end_duplicate(in, e, other);
        break;
    case MR_KEYS_PENDING:
        hold(in, e, now_ms + PENDING_MS);
        break;
    case MR_KEYS_LOADING:
        hold(in, e, UINT64_MAX); /* until mr_intake_keys_loaded */
        break;
    }
}

static void send_to_keyed(mr_intake *in, mr_entry *e) {
    in->counts.to_keyed++;
    send_on(in, e, in->conf.names->keyed, mr_keys_partition(&e->job, in->conf.n_keyed), NULL);
}

static void wait_until_due(mr_intake *in, mr_entry *e, uint64_t now_ms) {
    const int tier = tier_of(&e->job, now_ms);

    if (e->from == MR_FROM_JOBS || e->from == MR_FROM_ATTEMPTS)
        in->conf.on_delayed(in->conf.owner, e);
    if (tier < 0) {
        hold(in, e, e->job.due_ms);
        return;
    }
    in->counts.hops[tier]++;
    send_on(in, e, in->conf.names->delay[tier], MR_KAFKA_ANY_PARTITION, NULL);
}

/* As vet, for a job that was taken once: it is not refused for what it has grown since. Beyond its
 * history that is a few numbers, for which the committer's own limit has room. False: e has ended.
 */
static bool vet_again(mr_intake *in, mr_entry *e) {
    mr_job_error why = {.code = "rejected", .field = "", .message = ""};
    while (!in->conf.vet(in->conf.owner, e, &why)) {
        if (strcmp(why.code, "too_large") != 0) {
            end(in, e, MR_STATUS_REJECTED, &why, NULL);
            return false;
        }
        if (!mr_history_shorten(&e->job, &e->arena)) break;
    }
    return true;
}

static void enter_window(mr_intake *in, mr_entry *e) {
    const uint64_t now_ms = mr_clock_mono_ms();
    const mr_job_error full = {
        .code = "too_many_models", .field = "model", .message = "64 different models wait already"};
    mr_job_error why;

    if (e->from != MR_FROM_JOBS && !vet_again(in, e)) return;
    if (!e->counted) /* it was let in when it came: now it only counts, if there is room */
        e->counted = mr_policy_enter(in->conf.policy, e->job.tenant, e->cost, now_ms, &why);
    const mr_status st = mr_window_push(in->conf.window, e, now_ms);
    if (st == MR_OK) {
        in->conf.on_queued(in->conf.owner, e);
        mr_entries_untold(in->entries, e);
    } else if (st == MR_ENOMEM) {
        hold(in, e, mr_clock_wall_ms() + RETRY_MS);
    } else {
        end(in, e, MR_STATUS_REJECTED, &full, NULL);
    }
}

/* To the topic where jobs of its lane, and no others, wait for their turn. */
static void send_home(mr_intake *in, mr_entry *e) {
    in->counts.to_ready[e->lane]++;
    send_on(in, e, in->conf.names->ready[e->lane], MR_KAFKA_ANY_PARTITION, NULL);
}

void mr_intake_tell(mr_intake *in) {
    mr_entry *e;
    while ((e = mr_entries_take_untold(in->entries)) != NULL)
        if (!e->sent) in->conf.on_waits(in->conf.owner, e);
}

void mr_intake_route(mr_intake *in, mr_entry *e, uint64_t now_ms) {
    const mr_job_spec *j = &e->job;
    const bool needs_key = j->idempotency_key && !j->key_held;

    if (e->cancelled)
        cancel(in, e);
    else if (j->expires_ms && j->expires_ms <= now_ms)
        expire(in, e);
    else if (needs_key && e->from == MR_FROM_KEYED)
        ask_for_key(in, e, now_ms);
    else if (needs_key)
        send_to_keyed(in, e);
    else if (j->due_ms > now_ms)
        wait_until_due(in, e, now_ms);
    else if (!e->at_home)
        send_home(in, e);
    else
        enter_window(in, e);
}

/* ---- new entries ---- */

/* A job from outside. False: it has ended. */
static bool let_in(mr_intake *in, mr_entry *e, uint64_t now_ms) {
    mr_job_spec *j = &e->job;
    mr_job_error why = {.code = "rejected", .field = "", .message = ""};

    if (j->not_before_ms > j->received_ms + MR_JOB_MAX_NOT_BEFORE_MS) {
        why = (mr_job_error){.code = "out_of_range",
                             .field = "not_before_ms",
                             .message = "is more than 30 days ahead"};
        end(in, e, MR_STATUS_REJECTED, &why, NULL);
        return false;
    }
    bool ok = in->conf.vet(in->conf.owner, e, &why);
    if (ok) {
        ok = e->counted =
            mr_policy_enter(in->conf.policy, j->tenant, e->cost, mr_clock_mono_ms(), &why);
        in->counts.limited += !ok;
    }
    if (!ok) {
        end(in, e, MR_STATUS_REJECTED, &why, NULL);
        return false;
    }
    j->due_ms = j->not_before_ms > now_ms ? wait_end(j, j->not_before_ms) : 0;
    return true;
}

/* A failed result and a dead letter: no attempt is left. */
static void end_dead(mr_intake *in, mr_entry *e, const mr_kafka_msg *m, const mr_retry *retry) {
    const mr_job_error why = {.code = retry->cause, .field = "", .message = retry->message};
    const mr_result r = result_of(e, MR_STATUS_FAILED, &why);
    count_end(in, &r);
    in->counts.dead++;
    mr_refusals_failed(in->refusals, e->at, m, &r, e->job.reply_format, &e->job.trace);
    forget(in, e);
}

/* What follows the attempt that did not end it. False: it has ended. */
static bool decide(mr_intake *in, mr_entry *e, const mr_kafka_msg *m, uint64_t now_ms) {
    static const char *const outcomes[MR_INTAKE_OUTCOMES] = {"fault", "oom", "no_fit"};
    mr_job_spec *j = &e->job;
    const mr_past *last = mr_history_last(j);
    const unsigned outcome = last->outcome - MR_ATTEMPT_FAULT;
    uint32_t random = 0;

    MR_CHECK(outcome < MR_INTAKE_OUTCOMES);
    uv_random(NULL, NULL, &random, sizeof random, 0, NULL);
    const mr_retry retry = mr_retry_decide(&in->conf.retry, j, now_ms, random);
    in->counts.retries[outcome]++;
    mr_log(MR_LOG_INFO, "intake", "job came back",
           "job=%s attempt=%u outcome=%s worker=" MR_Q " tries=%u backoffs=%u wait_ms=%llu dead=%d",
           j->job_id, last->attempt, outcomes[outcome], last->worker, j->tries, j->backoffs,
           (unsigned long long)(retry.due_ms > now_ms ? retry.due_ms - now_ms : 0),
           retry.verdict == MR_RETRY_DEAD);
    if (retry.verdict == MR_RETRY_DEAD) {
        end_dead(in, e, m, &retry);
        return false;
    }
    if (last->attempt < UINT32_MAX) j->attempt = last->attempt + 1;
    j->due_ms = wait_end(j, retry.due_ms);
    return true;
}

/* When a record that was read from a delay topic is to be looked at again. */
static uint64_t hop_end(const mr_job_spec *j, const mr_kafka_msg *m, int tier, uint64_t now_ms) {
    const uint64_t appended_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : now_ms;
    const bool comes_again = j->due_ms >= now_ms + mr_tier_ms[tier];
    const uint64_t least_ms = now_ms + (comes_again ? LEAST_HOLD_MS : 0);
    const uint64_t over_ms = appended_ms + mr_tier_ms[tier];
    const uint64_t hop_ms = over_ms > least_ms ? over_ms : least_ms;
    return j->due_ms < hop_ms ? j->due_ms : hop_ms;
}

static void admit(mr_intake *in, mr_entry *e, const mr_kafka_msg *m, const mr_ingress *from) {
    const uint64_t now_ms = mr_clock_wall_ms();
    mr_job_spec *j = &e->job;
    bool goes_on = true;

    mr_entries_index(in->entries, e);
    e->lane = j->priority;
    e->at_home = (from->kind == MR_FROM_JOBS || from->kind == MR_FROM_READY) &&
                 from->lane == j->priority;
    e->cost = mr_cost(j);
    if (j->expires_ms && j->expires_ms < in->next_expiry_ms) in->next_expiry_ms = j->expires_ms;
    if (j->expires_ms && j->expires_ms <= now_ms) {
        expire(in, e);
        return;
    }
    if (mr_recent_has(in->cancelled, j->job_id)) {
        cancel(in, e);
        return;
    }
    if (from->kind == MR_FROM_JOBS)
        goes_on = let_in(in, e, now_ms);
    else if (from->kind == MR_FROM_ATTEMPTS && mr_history_came_back(j))
        goes_on = decide(in, e, m, now_ms);
    if (!goes_on) return;
    const uint64_t hop_ms =
        from->kind == MR_FROM_DELAY ? hop_end(j, m, from->tier, now_ms) : now_ms;
    if (hop_ms > now_ms)
        hold(in, e, hop_ms);
    else
        mr_intake_route(in, e, now_ms);
}

/* ---- records ---- */

static void dead_letter(mr_intake *in, mr_origin at, const mr_kafka_msg *m, const char *cause,
                        const char *message) {
    in->counts.dead++;
    mr_log(MR_LOG_WARN, "intake", "dead letter", "topic=%s part=%d off=%lld cause=%s", m->topic,
           m->partition, (long long)m->offset, cause);
    mr_refusals_dead(in->refusals, at, m, cause, message);
}

static uint64_t time_of(const mr_kafka_msg *m) {
    return m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : mr_clock_wall_ms();
}

static void reject_record(mr_intake *in, mr_origin at, const mr_kafka_msg *m,
                          const mr_codec_error *why, const mr_trace *trace) {
    mr_result r = {.model = why->model,
                   .tenant = why->tenant[0] ? why->tenant : "default",
                   .status = MR_STATUS_REJECTED,
                   .finish_reason = "",
                   .text = "",
                   .error = {.code = why->code, .field = why->field, .message = why->message},
                   .worker = "",
                   .received_ms = time_of(m),
                   .finished_ms = mr_clock_wall_ms()};
    memcpy(r.job_id, why->job_id, sizeof r.job_id);
    in->counts.rejected++;
    mr_log(MR_LOG_INFO, "intake", "job rejected", "job=%s code=%s field=" MR_Q, r.job_id, why->code,
           why->field);
    mr_refusals_result(in->refusals, at, &r, why->format, trace);
}

/* Part of the jobs that nobody traces get a trace of their own. Read again it is the same one. */
static void give_trace(const mr_intake *in, mr_job_spec *j) {
    mr_trace_context t;
    if (j->trace.parent[0] || !mr_trace_chosen(j->job_id, in->conf.trace_ratio)) return;
    if (mr_trace_make(&t, j->job_id)) mr_trace_write(j->trace.parent, &t);
}

/* The dispatcher's fields of a job from outside. */
static void complete(const mr_intake *in, mr_job_spec *j, const mr_kafka_msg *m, mr_priority lane,
                     mr_format format) {
    if (j->priority < lane) j->priority = lane; /* the topic has the last word; lower is allowed */
    j->reply_format = format;
    j->attempt = 1;
    j->received_ms = time_of(m);
    j->expires_ms = j->deadline_ms ? j->received_ms + j->deadline_ms : 0;
    give_trace(in, j);
}

static void count_record(mr_intake *in, const mr_ingress *from) {
    in->counts.received[from->lane] += from->kind == MR_FROM_JOBS;
    in->counts.attempts += from->kind == MR_FROM_ATTEMPTS;
    in->counts.delayed[from->tier] += from->kind == MR_FROM_DELAY;
    in->counts.keyed += from->kind == MR_FROM_KEYED;
    in->counts.ready += from->kind == MR_FROM_READY;
}

static void take_job(mr_intake *in, const mr_kafka_msg *m, mr_origin at, const mr_ingress *from,
                     mr_format format) {
    const bool inside = from->kind != MR_FROM_JOBS;
    mr_codec_error why = {0};

    mr_entry *e = mr_entries_make(in->entries, at, from->kind);
    if (!e) {
        mr_commit_lost(in->conf.commit, "a job");
        return;
    }
    const mr_status st =
        mr_codec_job_decode(&e->job, format, m->value, m->len, inside, &e->arena, &why);
    mr_trace_of(&e->job.trace, m, &e->arena);
    if (st == MR_OK) {
        if (!inside) complete(in, &e->job, m, from->lane, format);
        admit(in, e, m, from);
        return;
    }
    if (st == MR_ENOMEM && !e->arena.full) /* it is not too large: we have no memory */
        mr_commit_lost(in->conf.commit, "a job");
    else if (why.has_job_id)
        reject_record(in, at, m, &why, &e->job.trace);
    else
        dead_letter(in, at, m, why.code, why.message);
    mr_entries_free(in->entries, e);
}

void mr_intake_take(mr_intake *in, const mr_kafka_msg *m, mr_origin at) {
    mr_ingress from;
    mr_format format;
    size_t len = 0;
    const char *type = mr_kafka_msg_header(m, "content-type", &len);

    MR_CHECK(mr_names_ingress_of(in->conf.names, m->topic, &from)); /* we subscribed to it */
    count_record(in, &from);
    if (!m->value) {
        dead_letter(in, at, m, "malformed", "the record has no value");
    } else if (!mr_format_of(type, len, m->value, m->len, &format)) {
        dead_letter(in, at, m, "content_type",
                    "the header content-type is neither application/json nor application/msgpack");
    } else if (from.kind == MR_FROM_ATTEMPTS && format == MR_FORMAT_JSON) {
        in->counts.notes++;
        mr_refusals_none(in->refusals, at);
    } else {
        take_job(in, m, at, &from, format);
    }
}

/* ---- cancels and deadlines ---- */

void mr_intake_end_due(mr_intake *in, uint64_t now_ms) {
    uint64_t next_ms = UINT64_MAX;

    if (now_ms < in->next_expiry_ms) return;
    for (mr_entry *e = mr_entries_next(in->entries, NULL), *next; e; e = next) {
        next = mr_entries_next(in->entries, e);
        const uint64_t expires_ms = e->job.expires_ms ? e->job.expires_ms : UINT64_MAX;
        if (e->place == MR_PLACE_NONE) continue;
        if (!e->cancelled && expires_ms > now_ms) {
            if (expires_ms < next_ms) next_ms = expires_ms;
        } else if (mr_commit_full(in->conf.commit)) {
            next_ms = 0; /* the next tick goes on */
        } else {
            mr_intake_unlink(in, e);
            if (e->cancelled)
                cancel(in, e);
            else
                expire(in, e);
        }
    }
    in->next_expiry_ms = next_ms;
}

void mr_intake_cancel(mr_intake *in, const char *job_id) {
    mr_recent_add(in->cancelled, job_id);
    for (mr_entry *e = mr_entries_find(in->entries, job_id, NULL), *next; e; e = next) {
        next = mr_entries_find(in->entries, job_id, e);
        e->cancelled =
            true; /* enough for what is set aside, or on its way: who reads it next knows */
        if (e->place == MR_PLACE_NONE) continue;
        if (mr_commit_full(in->conf.commit)) {
            in->next_expiry_ms = 0;
        } else {
            mr_intake_unlink(in, e);
            cancel(in, e);
        }
    }
}

void mr_intake_keys_loaded(mr_intake *in, int32_t partition) {
    const int part = mr_parts_find(in->parts, in->conf.names->keyed, partition);
    const uint64_t now_ms = mr_clock_wall_ms();

    if (part < 0) return;
    for (mr_entry *e = mr_entries_next(in->entries, NULL), *next; e; e = next) {
        next = mr_entries_next(in->entries, e);
        if (e->at.part != part || e->place != MR_PLACE_DELAY) continue;
        mr_delay_remove(in->delay, e);
        mr_intake_route(in, e, now_ms);
    }
}
