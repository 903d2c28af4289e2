/* intake.c - see intake.h.
 *
 * Entries live on the heap, one arena each, in one list of all from decode until the outcome of
 * their record is known. When a partition is revoked, what is on its way to Kafka has
 * REVOKE_FLUSH_MS to be committed, so that the new owner need not do it; then its waiting entries
 * are dropped (the new owner reads them), and those that are still on their way stay until the
 * committer has reported them. A partition that was lost belongs to somebody else already: nothing
 * of it is flushed.
 *
 * Limits: window_jobs waiting per partition, and the window of parts.h: past them that partition
 * pauses. window_bytes of all entries, and what the committer takes: past them all pause, and
 * whatever ends jobs in bulk (deadlines, cancels) goes on with the next tick. */
#include "dispatcher/intake.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/recent.h"
#include "dispatcher/refusal.h"
#include "schemas/codec.h"

enum {
    ENTRY_LIMIT = 16 << 20,
    ENTRY_LEAST = 4 << 10, /* the first chunk of an arena */
    ID_BUCKETS = 4096,
    REVOKE_FLUSH_MS = 3000
};

struct mr_intake {
    mr_intake_conf conf;
    mr_kafka_consumer *consumer;
    mr_parts *parts; /* the committer's */
    mr_refusals *refusals;
    mr_recent *cancelled;
    mr_entry *all, *by_id[ID_BUCKETS];
    size_t *waiting; /* entries per row of parts, [n_waiting] */
    size_t n_waiting;
    size_t bytes;
    uint64_t next_expiry_ms; /* no entry ends earlier by itself; UINT64_MAX: none */
    mr_intake_counts counts;
    bool assigned, closing;
};

static mr_priority lane_of(const mr_intake *in, const char *topic) {
    for (int l = 0; l < MR_PRIORITY_N; l++)
        if (strcmp(in->conf.names->jobs[l], topic) == 0) return (mr_priority)l;
    return MR_PRIORITY_NORMAL;
}

/* ---- pausing ---- */

static bool all_must_pause(const mr_intake *in) {
    return (int64_t)in->bytes >= in->conf.window_bytes || mr_commit_full(in->conf.commit);
}

static bool must_pause(const mr_intake *in, int part) {
    return (int64_t)in->waiting[part] >= in->conf.window_jobs ||
           mr_parts_full(in->parts, part, false);
}

static void pause_where_full(mr_intake *in, int part) {
    if (must_pause(in, part)) mr_member_pause(in->consumer, in->parts, part, true);
    if (!all_must_pause(in)) return;
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        mr_member_pause(in->consumer, in->parts, i, true);
}

static bool may_resume(const mr_intake *in, int part) {
    return (int64_t)in->waiting[part] <= in->conf.window_jobs / 2 &&
           (int64_t)in->bytes <= in->conf.window_bytes / 2 &&
           !mr_parts_full(in->parts, part, true) && !mr_commit_busy(in->conf.commit);
}

/* ---- entries ---- */

static void index_entry(mr_intake *in, mr_entry *e) {
    mr_entry **head = &in->by_id[mr_recent_hash(e->job.job_id) % ID_BUCKETS];
    e->id_next = *head;
    if (*head) (*head)->id_prev = e;
    *head = e;
}

static void entry_free(mr_intake *in, mr_entry *e) {
    mr_entry **head = &in->by_id[mr_recent_hash(e->job.job_id) % ID_BUCKETS];
    if (e->id_prev)
        e->id_prev->id_next = e->id_next;
    else if (*head == e)
        *head = e->id_next; /* else it was never indexed */
    if (e->id_next) e->id_next->id_prev = e->id_prev;
    if (e->all_prev)
        e->all_prev->all_next = e->all_next;
    else
        in->all = e->all_next;
    if (e->all_next) e->all_next->all_prev = e->all_prev;
    if (e->at.part >= 0) in->waiting[e->at.part]--;
    in->bytes -= e->bytes;
    mr_arena_drop(&e->arena);
    free(e);
}

static mr_entry *entry_make(mr_intake *in, mr_origin at) {
    mr_entry *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    mr_arena_init(&e->arena, ENTRY_LIMIT);
    e->at = at;
    e->all_next = in->all;
    if (in->all) in->all->all_prev = e;
    in->all = e;
    in->waiting[at.part]++;
    return e;
}

/* ---- answers ---- */

static void dead_letter(mr_intake *in, mr_origin at, const mr_kafka_msg *m, const char *cause,
                        const char *message) {
    in->counts.dead++;
    mr_log(MR_LOG_WARN, "intake", "dead letter", "topic=%s part=%d off=%lld cause=%s", m->topic,
           m->partition, (long long)m->offset, cause);
    mr_refusals_dead(in->refusals, at, m, cause, message);
}

static void reject_record(mr_intake *in, mr_origin at, const mr_kafka_msg *m,
                          const mr_codec_error *why, const char *traceparent) {
    mr_result r = {.model = why->model,
                   .tenant = why->tenant[0] ? why->tenant : "default",
                   .status = MR_STATUS_REJECTED,
                   .finish_reason = "",
                   .text = "",
                   .error = {why->code, why->field, why->message},
                   .worker = "",
                   .received_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : 0,
                   .finished_ms = mr_clock_wall_ms()};
    memcpy(r.job_id, why->job_id, sizeof r.job_id);
    in->counts.rejected++;
    mr_log(MR_LOG_INFO, "intake", "job rejected", "job=%s code=%s field=" MR_Q, r.job_id, why->code,
           why->field);
    mr_refusals_result(in->refusals, at, &r, why->format, traceparent);
}

void mr_intake_refuse(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why) {
    const uint64_t now_ms = mr_clock_wall_ms();
    const mr_job_spec *j = &e->job;
    mr_result r = {.model = j->model,
                   .tenant = j->tenant,
                   .status = status,
                   .finish_reason = status == MR_STATUS_CANCELLED ? "cancelled"
                                    : status == MR_STATUS_EXPIRED ? "expired"
                                                                  : "",
                   .text = "",
                   .error = *why,
                   .worker = "",
                   .received_ms = j->received_ms,
                   .finished_ms = now_ms,
                   .metadata = j->metadata,
                   .n_metadata = j->n_metadata};
    memcpy(r.job_id, j->job_id, sizeof r.job_id);
    r.queue_ms = now_ms > j->received_ms ? (uint32_t)(now_ms - j->received_ms) : 0;
    in->counts.rejected += status == MR_STATUS_REJECTED;
    in->counts.cancelled += status == MR_STATUS_CANCELLED;
    in->counts.expired += status == MR_STATUS_EXPIRED;
    mr_log(MR_LOG_INFO, "intake", "job ended before release", "job=%s status=%s code=%s", j->job_id,
           mr_job_status_name(status), why->code ? why->code : "");
    if (e->at.part >= 0)
        mr_refusals_result(in->refusals, e->at, &r, j->reply_format, e->traceparent);
    entry_free(in, e);
}

void mr_intake_released(mr_intake *in, mr_entry *e) {
    in->counts.released++;
    entry_free(in, e);
}

void mr_intake_drop(mr_intake *in, mr_entry *e) {
    entry_free(in, e);
}

/* ---- records ---- */

/* The dispatcher's fields of a job that was just decoded. */
static void complete(const mr_intake *in, mr_entry *e, const mr_kafka_msg *m, mr_format format) {
    mr_job_spec *j = &e->job;
    const mr_priority lane = lane_of(in, m->topic);
    if (j->priority < lane) j->priority = lane; /* the topic has the last word; lower is allowed */
    e->lane = j->priority;
    j->reply_format = format;
    j->attempt = 1;
    j->received_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : mr_clock_wall_ms();
    j->expires_ms = j->deadline_ms ? j->received_ms + j->deadline_ms : 0;
}

static const mr_job_error cancelled = {"cancelled", "", "cancelled before it was released"};

static void admit(mr_intake *in, mr_entry *e) {
    mr_job_error why = {"rejected", "", ""};
    if (e->job.expires_ms && e->job.expires_ms <= mr_clock_wall_ms()) {
        why = (mr_job_error){"expired", "deadline_ms",
                             "the deadline had passed before the job came here"};
        mr_intake_refuse(in, e, MR_STATUS_EXPIRED, &why);
        return;
    }
    if (mr_recent_has(in->cancelled, e->job.job_id)) {
        mr_intake_refuse(in, e, MR_STATUS_CANCELLED, &cancelled);
        return;
    }
    if (!in->conf.vet(in->conf.owner, e, &why)) {
        mr_intake_refuse(in, e, MR_STATUS_REJECTED, &why);
        return;
    }
    if (mr_window_push(in->conf.window, e) != MR_OK) {
        why = (mr_job_error){"too_many_models", "model", "64 different models wait already"};
        mr_intake_refuse(in, e, MR_STATUS_REJECTED, &why);
        return;
    }
    index_entry(in, e);
    e->bytes = sizeof *e + (e->arena.used > ENTRY_LEAST ? e->arena.used : ENTRY_LEAST);
    in->bytes += e->bytes;
    if (e->job.expires_ms && e->job.expires_ms < in->next_expiry_ms)
        in->next_expiry_ms = e->job.expires_ms;
    in->conf.on_queued(in->conf.owner, e);
}

static void take_record(mr_intake *in, const mr_kafka_msg *m, mr_origin at) {
    mr_codec_error why = {0};
    mr_format format;
    char traceparent[MR_TRACEPARENT_MAX + 1] = "";
    size_t len = 0;

    const char *trace = mr_kafka_msg_header(m, "traceparent", &len);
    if (trace && len <= MR_TRACEPARENT_MAX) memcpy(traceparent, trace, len);
    const char *type = mr_kafka_msg_header(m, "content-type", &len);
    if (!m->value) {
        dead_letter(in, at, m, "malformed", "the record has no value");
        return;
    }
    if (!mr_format_of(type, len, m->value, m->len, &format)) {
        dead_letter(in, at, m, "content_type",
                    "the header content-type is neither application/json nor application/msgpack");
        return;
    }
    mr_entry *e = entry_make(in, at);
    if (!e) {
        mr_log(MR_LOG_ERROR, "intake", "out of memory, job left to the next start", "off=%lld",
               (long long)m->offset);
        return;
    }
    if (mr_codec_job_decode(&e->job, format, m->value, m->len, false, &e->arena, &why) == MR_OK) {
        memcpy(e->traceparent, traceparent, sizeof traceparent);
        complete(in, e, m, format);
        admit(in, e);
        return;
    }
    e->job.job_id[0] = '\0'; /* undefined after a failed decode */
    entry_free(in, e);
    if (why.has_job_id)
        reject_record(in, at, m, &why, traceparent);
    else
        dead_letter(in, at, m, why.code, why.message);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_intake *in = owner;
    const int part = mr_parts_find(in->parts, m->topic, m->partition);
    mr_origin at;

    if (part < 0 || mr_parts_begin(in->parts, part, m->offset, &at) != MR_OK) return;
    in->counts.received[lane_of(in, m->topic)]++;
    take_record(in, m, at);
    pause_where_full(in, part);
}

/* ---- assignment ---- */

static void drop_entries_of(mr_intake *in, int part) {
    for (mr_entry *e = in->all, *next; e; e = next) {
        next = e->all_next;
        if (e->at.part != part) continue;
        if (e->waiting) {
            mr_window_remove(in->conf.window, e);
            entry_free(in, e);
        } else {
            e->at.part = -1;
            in->waiting[part]--;
        }
    }
}

static bool need_waiting(mr_intake *in, size_t n) {
    if (n <= in->n_waiting) return true;
    size_t *grown = realloc(in->waiting, n * sizeof *grown);
    if (!grown) return false;
    memset(grown + in->n_waiting, 0, (n - in->n_waiting) * sizeof *grown);
    in->waiting = grown;
    in->n_waiting = n;
    return true;
}

static void take_partition(mr_intake *in, const mr_kafka_tp *tp) {
    mr_err err;
    mr_status st = mr_commit_assign(in->conf.commit, tp, &err);
    const int part = st == MR_OK ? mr_parts_find(in->parts, tp->topic, tp->partition) : -1;
    if (part >= 0 && !need_waiting(in, (size_t)part + 1)) {
        mr_commit_revoke(in->conf.commit, tp->topic, tp->partition);
        st = mr_fail(&err, MR_ENOMEM, "out of memory");
    }
    if (st == MR_OK)
        mr_log(MR_LOG_INFO, "intake", "assigned", "topic=%s part=%d off=%lld", tp->topic,
               tp->partition, (long long)tp->offset);
    else /* its records are skipped, and never committed */
        mr_log(MR_LOG_ERROR, "intake", "partition not taken", "topic=%s part=%d err=" MR_Q,
               tp->topic, tp->partition, err.text);
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_intake *in = owner;
    in->assigned = true;
    for (size_t i = 0; i < n; i++) take_partition(in, &tp[i]);
}

/* While closing the committer is gone, and with it the rows; the entries go next. */
static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_intake *in = owner;
    if (in->closing) return;
    if (!lost) (void)mr_commit_flush(in->conf.commit, REVOKE_FLUSH_MS); /* the rest is cancelled */
    for (size_t i = 0; i < n; i++) {
        const int part = mr_parts_find(in->parts, tp[i].topic, tp[i].partition);
        if (part < 0) continue;
        mr_commit_revoke(in->conf.commit, tp[i].topic, tp[i].partition);
        drop_entries_of(in, part);
        mr_log(MR_LOG_INFO, "intake", "revoked", "topic=%s part=%d lost=%d", tp[i].topic,
               tp[i].partition, lost);
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_intake *in = owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "intake", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) in->conf.on_fatal(in->conf.owner, text);
}

static mr_status open_consumer(mr_intake *in, uv_loop_t *loop, mr_err *err) {
    const char *topics[MR_PRIORITY_N + 1] = {NULL};
    for (int l = 0; l < MR_PRIORITY_N; l++) topics[l] = in->conf.names->jobs[l];
    mr_kafka_consumer_conf cc = mr_member_consumer(&in->conf.member, topics);
    cc.owner = in;
    cc.on_msg = on_msg;
    cc.on_assign = on_assign;
    cc.on_revoke = on_revoke;
    cc.on_error = on_error;
    const mr_status st = mr_kafka_consumer_open(&in->consumer, loop, &cc, err);
    if (st == MR_OK) mr_commit_use(in->conf.commit, in->consumer);
    return st;
}

mr_status mr_intake_open(mr_intake **out, uv_loop_t *loop, const mr_intake_conf *conf,
                         mr_err *err) {
    mr_intake *in = calloc(1, sizeof *in);
    *out = NULL;
    if (!in) return mr_fail(err, MR_ENOMEM, "intake: out of memory");
    in->conf = *conf;
    in->parts = mr_commit_parts(conf->commit);
    in->next_expiry_ms = UINT64_MAX;
    mr_status st = mr_refusals_open(&in->refusals, conf->commit, conf->names, err);
    if (st == MR_OK) st = mr_recent_open(&in->cancelled, err);
    if (st == MR_OK) st = open_consumer(in, loop, err);
    if (st != MR_OK) {
        mr_refusals_close(in->refusals);
        mr_recent_close(in->cancelled);
        free(in);
        return st;
    }
    *out = in;
    return MR_OK;
}

void mr_intake_close(mr_intake *in) {
    if (!in) return;
    in->closing = true;
    mr_kafka_consumer_close(in->consumer);
    while (in->all) {
        if (in->all->waiting) mr_window_remove(in->conf.window, in->all);
        entry_free(in, in->all);
    }
    mr_refusals_close(in->refusals);
    mr_recent_close(in->cancelled);
    free(in->waiting);
    free(in);
}

/* ---- upkeep ---- */

static void end_waiting(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why) {
    mr_window_remove(in->conf.window, e);
    mr_intake_refuse(in, e, status, why);
}

/* Ends what is due, as long as the committer takes the answers; then the next tick goes on. */
static void end_due(mr_intake *in, uint64_t now_ms) {
    const mr_job_error late = {"expired", "deadline_ms",
                               "the deadline passed while the job waited"};
    if (now_ms < in->next_expiry_ms) return;
    uint64_t next_ms = UINT64_MAX;
    for (mr_entry *e = in->all, *next; e; e = next) {
        next = e->all_next;
        const bool expired = e->job.expires_ms && e->job.expires_ms <= now_ms;
        if (!e->waiting || (!e->job.expires_ms && !e->cancelled)) continue;
        if (!expired && !e->cancelled) {
            if (e->job.expires_ms < next_ms) next_ms = e->job.expires_ms;
        } else if (mr_commit_full(in->conf.commit)) {
            next_ms = 0;
        } else if (e->cancelled) {
            end_waiting(in, e, MR_STATUS_CANCELLED, &cancelled);
        } else {
            end_waiting(in, e, MR_STATUS_EXPIRED, &late);
        }
    }
    in->next_expiry_ms = next_ms;
}

void mr_intake_cancel(mr_intake *in, const char *job_id) {
    mr_recent_add(in->cancelled, job_id);
    mr_entry *e = in->by_id[mr_recent_hash(job_id) % ID_BUCKETS];
    for (mr_entry *next; e; e = next) {
        next = e->id_next;
        if (!e->waiting || strcmp(e->job.job_id, job_id) != 0) continue;
        if (mr_commit_full(in->conf.commit)) {
            e->cancelled = true;
            in->next_expiry_ms = 0;
        } else {
            end_waiting(in, e, MR_STATUS_CANCELLED, &cancelled);
        }
    }
}

void mr_intake_tick(mr_intake *in, uint64_t now_ms) {
    end_due(in, now_ms);
    mr_refusals_tick(in->refusals, mr_clock_mono_ms());
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        if (mr_parts_assigned(in->parts, i) && mr_member_paused(in->consumer, in->parts, i) &&
            may_resume(in, i))
            mr_member_pause(in->consumer, in->parts, i, false);
}

void mr_intake_set_window(mr_intake *in, int64_t jobs, int64_t bytes) {
    in->conf.window_jobs = jobs;
    in->conf.window_bytes = bytes;
}

const mr_intake_counts *mr_intake_counters(const mr_intake *in) {
    return &in->counts;
}

size_t mr_intake_bytes(const mr_intake *in) {
    return in->bytes;
}

bool mr_intake_assigned(const mr_intake *in) {
    return in->assigned;
}
