/* intake.c - see intake.h: the consumer, its partitions, and time. intake_fate.c has what becomes
 * of a record.
 *
 * When a partition is revoked, what is on its way to Kafka has REVOKE_FLUSH_MS to be committed, so
 * that the new owner need not do it; then its held entries are dropped (the new owner reads them),
 * and those that are still on their way stay until the committer has reported them. A partition
 * that was lost belongs to somebody else already: nothing of it is flushed.
 *
 * Limits: window_jobs held per partition, and the window of parts.h: past them that partition
 * pauses. window_bytes of all entries, of which those from delay topics have one part in
 * DELAY_PART. Half of it is for whoever comes first, the other half is shared out: when the first
 * is used up, partitions that have their share pause, and the others go on. So no topic that stands
 * still (jobs that wait for an hour, a lane that has to wait) keeps another from being read. What
 * the committer takes: past it whatever ends or moves jobs in bulk (deadlines, cancels, jobs that
 * are due together) goes on with the next tick.
 *
 * A pause throws away what was fetched ahead, up to QUEUED_KBYTES of it, so it is for what lasts: a
 * window that stays full until workers have room. What is full of records that are on their way to
 * Kafka has room in some milliseconds; until then the consumer is held up, all of it, and keeps what
 * it has. When that lasts for HOLD_MS the brokers are slow or away, and what is full pauses. */
#include "dispatcher/intake.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/intake_internal.h"

enum {
    REVOKE_FLUSH_MS = 3000,
    DELAY_PART = 4,
    HOLD_MS = 200,
    /* librdkafka does not look after a full queue for a second: this is one of 30,000 jobs of 1
       KiB. */
    QUEUED_KBYTES = 32768,
    QUEUED_MESSAGES = 40000,
    DUE_PER_TURN = 1024 /* jobs that go on before other handles of the loop get their turn */
};

/* ---- pausing ---- */

static bool is_delay(const mr_intake *in, int part) {
    mr_ingress from;
    return mr_names_ingress_of(in->conf.names, mr_parts_topic(in->parts, part), &from) &&
           from.kind == MR_FROM_DELAY;
}

static int64_t bytes_allowed(const mr_intake *in, bool delayed) {
    const int64_t of_delay = in->conf.window_bytes / DELAY_PART;
    return delayed ? of_delay : in->conf.window_bytes - of_delay;
}

/* level 1: the partition must pause; 2: it may not go on yet. */
static bool bytes_full(const mr_intake *in, int part, int level) {
    const bool delayed = is_delay(in, part);
    const int64_t half = bytes_allowed(in, delayed) / 2;
    return (int64_t)mr_entries_bytes(in->entries, delayed) >= half / level &&
           (int64_t)mr_entries_bytes_of(in->entries, part) >= half / in->n_parts[delayed] / level;
}

static bool must_pause(const mr_intake *in, int part) {
    return (int64_t)mr_entries_of(in->entries, part) >= in->conf.window_jobs ||
           bytes_full(in, part, 1);
}

static void hold_up(mr_intake *in, bool yes) {
    in->held_ms = yes ? mr_clock_mono_ms() : 0;
    mr_kafka_hold(in->consumer, yes);
}

/* One record more came from part. */
static void stop_where_full(mr_intake *in, int part) {
    if (!in->held_ms && (mr_commit_busy(in->conf.commit) || mr_parts_full(in->parts, part, false)))
        hold_up(in, true);
    if (!must_pause(in, part)) return;
    mr_member_pause(in->consumer, in->parts, part, true);
    if (!bytes_full(in, part, 1)) return;
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        if (mr_parts_assigned(in->parts, i) && must_pause(in, i))
            mr_member_pause(in->consumer, in->parts, i, true);
}

/* While the consumer is held up. A partition whose offsets are full pauses when some of its jobs wait
 * for workers, or `late`: after HOLD_MS. A committer that is busy so long makes all pause. */
static void look_at_hold(mr_intake *in, bool late) {
    const bool busy = mr_commit_busy(in->conf.commit);
    bool stays = busy && !late;

    for (int i = 0; i < mr_parts_count(in->parts); i++) {
        if (!mr_parts_assigned(in->parts, i) || mr_member_paused(in->consumer, in->parts, i))
            continue;
        const bool full = mr_parts_full(in->parts, i, false);
        if (late ? full || busy : full && mr_entries_of(in->entries, i) > 0)
            mr_member_pause(in->consumer, in->parts, i, true);
        else
            stays |= full;
    }
    if (!stays) hold_up(in, false);
}

static bool may_resume(const mr_intake *in, int part) {
    return (int64_t)mr_entries_of(in->entries, part) <= in->conf.window_jobs / 2 &&
           !bytes_full(in, part, 2) && !mr_parts_full(in->parts, part, true) &&
           !mr_commit_busy(in->conf.commit);
}

static void resume_where_room(mr_intake *in) {
    in->room = false;
    if (!mr_kafka_any_paused(in->consumer)) return;
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        if (mr_parts_assigned(in->parts, i) && mr_member_paused(in->consumer, in->parts, i) &&
            may_resume(in, i))
            mr_member_pause(in->consumer, in->parts, i, false);
}

/* ---- time ---- */

static void on_due(uv_timer_t *timer);

void mr_intake_arm(mr_intake *in) {
    const uint64_t next_ms = mr_delay_next_ms(in->delay), now_ms = mr_clock_wall_ms();

    if (next_ms >= in->armed_ms) return; /* it fires in time, perhaps for nothing */
    in->armed_ms = next_ms;
    uv_timer_start(&in->timer, on_due, next_ms > now_ms ? next_ms - now_ms : 0, 0);
}

/* What is due goes on, as long as the committer takes it. */
static void go_on(mr_intake *in, uint64_t now_ms) {
    int left = DUE_PER_TURN;
    mr_entry *e;

    while (left > 0 && !mr_commit_full(in->conf.commit) &&
           (e = mr_delay_pop(in->delay, now_ms)) != NULL) {
        mr_intake_route(in, e, now_ms);
        left--;
    }
    if (left < DUE_PER_TURN) resume_where_room(in);
    in->armed_ms = UINT64_MAX;
    if (!mr_commit_full(in->conf.commit)) mr_intake_arm(in); /* else the next tick sees to it */
}

static void on_due(uv_timer_t *timer) {
    go_on(timer->data, mr_clock_wall_ms());
}

/* Fetches do not tell how far paused partitions reach. */
static void ask_for_ends(mr_intake *in, uint64_t mono_ms) {
    const char *topics[2 * MR_PRIORITY_N];
    size_t n = 0;

    if (!mr_kafka_any_paused(in->consumer)) return;
    for (int lane = 0; lane < MR_PRIORITY_N; lane++) {
        topics[n++] = in->conf.names->jobs[lane];
        topics[n++] = in->conf.names->ready[lane];
    }
    mr_ends_ask(in->ends, topics, n, mono_ms);
}

void mr_intake_tick(mr_intake *in, uint64_t now_ms) {
    const uint64_t mono_ms = mr_clock_mono_ms();
    mr_intake_end_due(in, now_ms);
    go_on(in, now_ms);
    mr_refusals_tick(in->refusals, mono_ms);
    mr_onward_tick(in->onward, mono_ms);
    if (in->held_ms && mono_ms - in->held_ms >= HOLD_MS) look_at_hold(in, true);
    resume_where_room(in);
    ask_for_ends(in, mono_ms);
}

void mr_intake_flow(mr_intake *in) {
    mr_intake_tell(in);
    if (in->held_ms) look_at_hold(in, false);
    if (in->room) resume_where_room(in);
}

/* ---- partitions ---- */

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_intake *in = owner;
    const int part = mr_parts_find(in->parts, m->topic, m->partition);
    mr_origin at;

    if (part < 0 || mr_parts_begin(in->parts, part, m->offset, &at) != MR_OK) return;
    mr_intake_take(in, m, at);
    stop_where_full(in, part);
}

static void drop_entries_of(mr_intake *in, int part) {
    for (mr_entry *e = mr_entries_next(in->entries, NULL), *next; e; e = next) {
        next = mr_entries_next(in->entries, e);
        if (e->at.part != part) continue;
        if (e->place == MR_PLACE_NONE) {
            mr_entries_orphan(in->entries, e);
        } else {
            mr_intake_unlink(in, e);
            mr_intake_drop(in, e);
        }
    }
}

static void take_partition(mr_intake *in, const mr_kafka_tp *tp) {
    mr_err err;
    mr_status st = mr_commit_assign(in->conf.commit, tp, &err);
    const int part = st == MR_OK ? mr_parts_find(in->parts, tp->topic, tp->partition) : -1;
    if (part >= 0 && !mr_entries_need_row(in->entries, part)) {
        mr_commit_revoke(in->conf.commit, tp->topic, tp->partition);
        st = mr_fail(&err, MR_ENOMEM, "out of memory");
    }
    if (st == MR_OK) in->n_parts[is_delay(in, part)]++;
    if (st == MR_OK)
        mr_log(MR_LOG_INFO, "intake", "assigned", "topic=%s part=%d off=%lld", tp->topic,
               tp->partition, (long long)tp->offset);
    else /* its records are skipped, and never committed */
        mr_log(MR_LOG_ERROR, "intake", "partition not taken", "topic=%s part=%d err=" MR_Q,
               tp->topic, tp->partition, err.text);
}

/* Those of keyed, out of tp[n], to be freed; NULL: no memory. */
static int32_t *keyed_of(const mr_intake *in, const mr_kafka_tp *tp, size_t n, size_t *n_out) {
    int32_t *list = calloc(n + 1, sizeof *list);
    *n_out = 0;
    for (size_t i = 0; list && i < n; i++)
        if (strcmp(tp[i].topic, in->conf.names->keyed) == 0) list[(*n_out)++] = tp[i].partition;
    return list;
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_intake *in = owner;
    size_t n_keyed = 0;
    mr_err err;

    in->assigned = true;
    for (size_t i = 0; i < n; i++) take_partition(in, &tp[i]);
    int32_t *keyed = keyed_of(in, tp, n, &n_keyed);
    mr_status st = keyed ? MR_OK : mr_fail(&err, MR_ENOMEM, "idempotency keys: out of memory");
    if (st == MR_OK && n_keyed > 0) st = mr_keys_assign(in->conf.keys, keyed, n_keyed, &err);
    free(keyed);
    if (st != MR_OK)
        in->conf.on_fatal(in->conf.owner, err.text); /* nobody else would ask for them */
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
        in->n_parts[is_delay(in, part)]--;
        if (strcmp(tp[i].topic, in->conf.names->keyed) == 0)
            mr_keys_revoke(in->conf.keys, &tp[i].partition, 1);
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

/* ---- open and close ---- */

static mr_status open_consumer(mr_intake *in, uv_loop_t *loop, mr_err *err) {
    const char *topics[MR_INGRESS_TOPICS + 1];
    mr_names_ingress(in->conf.names, topics);
    mr_kafka_consumer_conf cc = mr_member_consumer(&in->conf.member, topics);
    cc.queued_max_kbytes = QUEUED_KBYTES;
    cc.queued_min_messages = QUEUED_MESSAGES;
    cc.owner = in;
    cc.on_msg = on_msg;
    cc.on_assign = on_assign;
    cc.on_revoke = on_revoke;
    cc.on_error = on_error;
    const mr_status st = mr_kafka_consumer_open(&in->consumer, loop, &cc, err);
    if (st == MR_OK) mr_commit_use(in->conf.commit, in->consumer);
    return st;
}

static mr_status open_parts(mr_intake *in, uv_loop_t *loop, mr_err *err) {
    const mr_onward_conf oc = {in->conf.commit, in, mr_intake_gone_on};
    mr_status st = mr_entries_open(&in->entries, err);
    if (st == MR_OK) st = mr_delay_open(&in->delay, err);
    if (st == MR_OK) st = mr_refusals_open(&in->refusals, in->conf.commit, in->conf.names, err);
    if (st == MR_OK) st = mr_onward_open(&in->onward, &oc, err);
    if (st == MR_OK) st = mr_recent_open(&in->cancelled, err);
    if (st == MR_OK) st = mr_ends_open(&in->ends, loop, in->conf.member.kafka, err);
    return st;
}

/* All but the timer's handle, of a half-open one too. */
static void close_parts(mr_intake *in) {
    mr_onward_close(in->onward);
    mr_refusals_close(in->refusals);
    mr_recent_close(in->cancelled);
    mr_entries_close(in->entries);
    mr_delay_close(in->delay);
    mr_ends_close(in->ends);
}

static void on_closed(uv_handle_t *timer) {
    free(timer->data);
}

mr_status mr_intake_open(mr_intake **out, uv_loop_t *loop, const mr_intake_conf *conf,
                         mr_err *err) {
    mr_intake *in = calloc(1, sizeof *in);
    *out = NULL;
    if (!in) return mr_fail(err, MR_ENOMEM, "intake: out of memory");
    in->conf = *conf;
    in->parts = mr_commit_parts(conf->commit);
    in->next_expiry_ms = in->armed_ms = UINT64_MAX;
    uv_timer_init(loop, &in->timer); /* always 0 */
    in->timer.data = in;
    mr_status st = open_parts(in, loop, err);
    if (st == MR_OK) st = open_consumer(in, loop, err);
    if (st != MR_OK) {
        close_parts(in);
        uv_close((uv_handle_t *)&in->timer, on_closed);
        return st;
    }
    *out = in;
    return MR_OK;
}

void mr_intake_close(mr_intake *in) {
    if (!in) return;
    in->closing = true;
    mr_kafka_consumer_close(in->consumer);
    for (mr_entry *e; (e = mr_entries_next(in->entries, NULL)) != NULL;) {
        mr_intake_unlink(in, e);
        mr_intake_drop(in, e);
    }
    close_parts(in);
    uv_close((uv_handle_t *)&in->timer, on_closed);
}

/* ---- settings and numbers ---- */

void mr_intake_set_window(mr_intake *in, int64_t jobs, int64_t bytes) {
    in->conf.window_jobs = jobs;
    in->conf.window_bytes = bytes;
}

void mr_intake_set_retry(mr_intake *in, const mr_retry_conf *retry) {
    in->conf.retry = *retry;
}

const mr_intake_counts *mr_intake_counters(const mr_intake *in) {
    return &in->counts;
}

size_t mr_intake_bytes(const mr_intake *in) {
    return mr_entries_bytes(in->entries, false) + mr_entries_bytes(in->entries, true);
}

size_t mr_intake_held(const mr_intake *in) {
    return mr_delay_len(in->delay);
}

bool mr_intake_waits_for(const mr_intake *in, const char *model) {
    const mr_entry *e = mr_entries_next(in->entries, NULL);
    while (e && !(e->job.model && strcmp(e->job.model, model) == 0))
        e = mr_entries_next(in->entries, e);
    return e != NULL;
}

size_t mr_intake_parts(const mr_intake *in, size_t *paused) {
    size_t n = 0;
    *paused = 0;
    for (int i = 0; i < mr_parts_count(in->parts); i++) {
        if (!mr_parts_assigned(in->parts, i)) continue;
        n++;
        *paused += mr_member_paused(in->consumer, in->parts, i);
    }
    return n;
}

/* Ours, and of a topic where jobs of this lane wait for their turn. */
static bool is_of_lane(const mr_intake *in, int part, mr_priority lane) {
    mr_ingress what;
    return mr_parts_assigned(in->parts, part) &&
           mr_names_ingress_of(in->conf.names, mr_parts_topic(in->parts, part), &what) &&
           (what.kind == MR_FROM_JOBS || what.kind == MR_FROM_READY) && what.lane == lane;
}

/* What lies behind the newest record of a topic of ours is the marker of its transaction: with the
 * partition being read nothing else does, but for what is just on its way. */
static bool ends_in_markers(const mr_intake *in, int part) {
    mr_ingress what;
    return mr_names_ingress_of(in->conf.names, mr_parts_topic(in->parts, part), &what) &&
           what.kind != MR_FROM_JOBS;
}

/* The offset behind the last record, as far as we know. */
static int64_t end_of(const mr_intake *in, int part) {
    const char *topic = mr_parts_topic(in->parts, part);
    const int32_t partition = mr_parts_partition(in->parts, part);
    const bool paused = mr_member_paused(in->consumer, in->parts, part);
    const int64_t fetched = mr_kafka_end(in->consumer, topic, partition);
    const int64_t asked = paused ? mr_ends_of(in->ends, topic, partition) : -1;

    if (!paused && ends_in_markers(in, part)) return mr_parts_next(in->parts, part);
    return asked > fetched ? asked : fetched;
}

/* Records of the partition from this offset on. */
static uint64_t records_from(const mr_intake *in, int part, int64_t offset) {
    const int64_t end = end_of(in, part);
    return offset >= 0 && end > offset ? (uint64_t)(end - offset) : 0;
}

uint64_t mr_intake_lag(const mr_intake *in, mr_priority lane) {
    uint64_t n = 0;
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        if (is_of_lane(in, i, lane))
            n += records_from(in, i, mr_parts_commit(in->parts, i, NULL, 0));
    return n;
}

uint64_t mr_intake_unread(const mr_intake *in, mr_priority lane) {
    uint64_t n = 0;
    for (int i = 0; i < mr_parts_count(in->parts); i++)
        if (is_of_lane(in, i, lane)) n += records_from(in, i, mr_parts_next(in->parts, i));
    return n;
}

bool mr_intake_assigned(const mr_intake *in) {
    return in->assigned;
}
