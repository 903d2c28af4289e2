/* follower.c - see follower.h.
 *
 * At most MAX_PENDING results or MAX_BYTES of them are held (and one per partition, which a
 * rebalance may bring); then all partitions pause. One whose window is full pauses alone. Offsets
 * are committed plainly, watermarks alone: a result that is told twice shows once, so what a crash
 * repeats does no harm. */
#include "dispatcher/follower.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

enum {
    MAX_PENDING = 4096,  /* a pause costs half a second: a fetch that is under way ends first */
    MAX_BYTES = 8 << 20, /* of records; decoded they take some times as much */
    RESULT_LIMIT = 64 << 20,
    COMMIT_MS = 200,
    COMMIT_SYNC_MS = 5000,
    COMMIT_BATCH = 64, /* partitions of one commit */
    DOUBT_MS = 5000,
    RETRY_MS = 1000
};

typedef struct told told;
struct told {
    told *next; /* in the list of those that Redis did not take */
    mr_follower *f;
    mr_arena arena;
    mr_result result;
    mr_trace trace;
    uint64_t read_ms; /* wall clock */
    mr_origin at;
    int32_t partition;
    size_t bytes; /* of the record */
};

struct mr_follower {
    mr_follower_conf conf;
    mr_kafka_consumer *consumer;
    mr_parts *parts;
    mr_status_view *view;
    uv_timer_t commit_timer;
    uint64_t doubt_ms; /* since when a commit may have been lost; 0: none was */
    uint64_t last_retry_ms;
    told *retry_head, *retry_tail;
    size_t pending, bytes;
    uint64_t n_told;
    bool paused; /* some partition may be */
    bool closing;
};

static void told_free(told *t) {
    t->f->pending--;
    t->f->bytes -= t->bytes;
    mr_arena_drop(&t->arena);
    free(t);
}

static void pause_one(mr_follower *f, int part) {
    mr_member_pause(f->consumer, f->parts, part, true);
    f->paused = true;
}

static void pause_all(mr_follower *f) {
    for (int i = 0; i < mr_parts_count(f->parts); i++) pause_one(f, i);
}

static void resume(mr_follower *f) {
    if (!f->paused) return;
    f->paused = false;
    for (int i = 0; i < mr_parts_count(f->parts); i++) {
        if (mr_parts_full(f->parts, i, true))
            f->paused = true;
        else
            mr_member_pause(f->consumer, f->parts, i, false);
    }
}

static bool has_room(const mr_follower *f) {
    return f->pending < MAX_PENDING / 2 && f->bytes < MAX_BYTES / 2 && !f->retry_head;
}

static bool is_full(const mr_follower *f) {
    return f->pending >= MAX_PENDING || f->bytes >= MAX_BYTES || f->retry_head;
}

static void hold(told *t) {
    mr_follower *f = t->f;
    t->next = NULL;
    if (f->retry_tail)
        f->retry_tail->next = t;
    else
        f->retry_head = t;
    f->retry_tail = t;
}

static void on_told(void *owner, void *arg, mr_status st) {
    mr_follower *f = owner;
    told *t = arg;
    if (st == MR_ECANCELED || f->closing) {
        told_free(t); /* its offset is not committed: the next owner tells it */
        return;
    }
    if (st == MR_EUNAVAIL || st == MR_ELIMIT) {
        hold(t);
        return;
    }
    if (st == MR_OK) {
        f->n_told++;
        mr_spans_done(f->conf.spans, &t->result, &t->trace, t->read_ms);
    } else {
        mr_log(MR_LOG_WARN, "follower", "result not announced", "job=%s part=%d off=%lld",
               t->result.job_id, t->partition, (long long)t->at.offset);
    }
    mr_parts_finish(f->parts, t->at);
    told_free(t);
    if (has_room(f)) resume(f);
}

static void tell(told *t) {
    const mr_status st = mr_status_end(t->f->view, &t->result, &t->trace, t->partition,
                                       t->at.offset, on_told, t->f, t);
    if (st == MR_EINVAL)
        on_told(t->f, t, st);
    else if (st != MR_OK)
        hold(t);
}

void mr_follower_kick(mr_follower *f) {
    told *t = f->retry_head;
    f->retry_head = f->retry_tail = NULL;
    while (t) {
        told *next = t->next;
        tell(t);
        t = next;
    }
    if (has_room(f)) resume(f);
}

static void settle(mr_follower *f, const mr_kafka_msg *m, const mr_result *r) {
    size_t len = 0;
    const void *charged = mr_kafka_msg_header(m, MR_HEADER_CHARGED, &len);
    mr_priority lane;
    uint32_t tokens;
    if (mr_charged_read(charged, len, &lane, &tokens))
        f->conf.on_charged(f->conf.owner, r, lane, tokens);
}

static void trace(told *t, const mr_kafka_msg *m) {
    const mr_spans *spans = t->f->conf.spans;
    mr_trace_of(&t->trace, m, &t->arena); /* `done` has it, too */
    if (!mr_spans_on(spans)) return;
    t->read_ms = mr_clock_wall_ms();
    mr_spans_job(spans, &t->result, &t->trace);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_follower *f = owner;
    const int part = mr_parts_find(f->parts, m->topic, m->partition);
    mr_origin at;
    mr_format format;
    mr_err err;
    size_t type_len = 0;

    if (part < 0 || mr_parts_begin(f->parts, part, m->offset, &at) != MR_OK) return;
    if (mr_parts_full(f->parts, part, false)) pause_one(f, part);
    told *t = calloc(1, sizeof *t);
    if (!t) {
        mr_log(MR_LOG_ERROR, "follower", "out of memory, result not announced", "part=%d off=%lld",
               m->partition, (long long)m->offset);
        return; /* never finished: read again after a restart */
    }
    t->f = f;
    t->at = at;
    t->partition = m->partition;
    t->bytes = m->len;
    mr_arena_init(&t->arena, RESULT_LIMIT);
    f->pending++;
    f->bytes += m->len;
    const char *type = mr_kafka_msg_header(m, "content-type", &type_len);
    if (!m->value || !mr_format_of(type, type_len, m->value, m->len, &format))
        mr_fail(&err, MR_EINVAL, "content type is neither JSON nor msgpack");
    else if (mr_codec_result_decode(&t->result, format, m->value, m->len, &t->arena, &err) ==
             MR_OK) {
        settle(f, m, &t->result);
        trace(t, m);
        if (!mr_status_up(f->view) || f->retry_head)
            hold(t); /* keep their order */
        else
            tell(t);
        if (is_full(f)) pause_all(f);
        return;
    }
    mr_log(MR_LOG_WARN, "follower", "not a result, skipped", "part=%d off=%lld err=" MR_Q,
           m->partition, (long long)m->offset, err.text);
    mr_parts_finish(f->parts, at);
    told_free(t);
}

/* ---- offsets ---- */

static bool commit_batch(mr_follower *f, const mr_kafka_tp *tp, size_t n, bool sync) {
    mr_err err;
    if (n == 0) return true;
    const mr_status st = sync ? mr_kafka_commit_sync(f->consumer, tp, n, COMMIT_SYNC_MS, &err)
                              : mr_kafka_commit(f->consumer, tp, n, &err);
    if (st != MR_OK)
        mr_log(MR_LOG_WARN, "follower", "offsets not committed, a restart tells them again",
               "n=%zu err=" MR_Q, n, err.text);
    return st == MR_OK;
}

static void doubt(mr_follower *f) {
    if (!f->doubt_ms) f->doubt_ms = uv_now(f->commit_timer.loop);
}

/* Commits what has changed. An error of the consumer may have been a commit that was lost: then all
 * is committed once more, with the next sync commit or some seconds later. */
static void commit(mr_follower *f, bool sync) {
    const bool all =
        f->doubt_ms && (sync || uv_now(f->commit_timer.loop) - f->doubt_ms >= DOUBT_MS);
    mr_kafka_tp tp[COMMIT_BATCH];
    size_t n = 0;
    bool ok = true;

    if (all) f->doubt_ms = 0;
    for (int i = 0; ok && i < mr_parts_count(f->parts); i++) {
        if (!mr_parts_assigned(f->parts, i) || (!all && !mr_parts_dirty(f->parts, i))) continue;
        const int64_t next = mr_parts_commit(f->parts, i, NULL, 0);
        mr_parts_collected(f->parts, i);
        if (next < 0) continue;
        tp[n++] = (mr_kafka_tp){.topic = mr_parts_topic(f->parts, i),
                                .partition = mr_parts_partition(f->parts, i),
                                .offset = next};
        if (n < COMMIT_BATCH) continue;
        ok = commit_batch(f, tp, n, sync);
        n = 0;
    }
    if (ok) ok = commit_batch(f, tp, n, sync);
    if (!ok) doubt(f);
}

/* ---- the group ---- */

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_follower *f = owner;
    mr_err err;
    for (size_t i = 0; i < n; i++)
        if (mr_parts_assign(f->parts, tp[i].topic, tp[i].partition, tp[i].offset, "", 0, NULL,
                            &err) < 0)
            mr_log(MR_LOG_ERROR, "follower", "partition not taken", "part=%d err=" MR_Q,
                   tp[i].partition, err.text);
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_follower *f = owner;
    if (!lost) commit(f, true);
    for (size_t i = 0; i < n; i++) {
        const int part = mr_parts_find(f->parts, tp[i].topic, tp[i].partition);
        if (part >= 0) mr_parts_revoke(f->parts, part);
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_follower *f = owner;
    doubt(f);
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "follower", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) f->conf.on_fatal(f->conf.owner, text);
}

static void on_timer(uv_timer_t *timer) {
    mr_follower *f = timer->data;
    commit(f, false);
    const uint64_t now_ms = uv_now(timer->loop);
    if (f->retry_head && mr_status_up(f->view) && now_ms - f->last_retry_ms >= RETRY_MS) {
        f->last_retry_ms = now_ms;
        mr_follower_kick(f);
    }
}

mr_status mr_follower_open(mr_follower **out, uv_loop_t *loop, const mr_follower_conf *conf,
                           mr_err *err) {
    mr_follower *f = calloc(1, sizeof *f);
    const char *topics[] = {conf->topic, NULL};
    *out = NULL;
    if (!f) return mr_fail(err, MR_ENOMEM, "follower: out of memory");
    f->conf = *conf;
    f->view = conf->view;
    mr_status st = mr_parts_open(&f->parts, MR_OFFSETS_MAX_WINDOW, err);
    if (st == MR_OK) {
        mr_kafka_consumer_conf cc = mr_member_consumer(&conf->member, topics);
        cc.owner = f;
        cc.on_msg = on_msg;
        cc.on_assign = on_assign;
        cc.on_revoke = on_revoke;
        cc.on_error = on_error;
        st = mr_kafka_consumer_open(&f->consumer, loop, &cc, err);
    }
    if (st != MR_OK) {
        mr_parts_close(f->parts);
        free(f);
        return st;
    }
    uv_timer_init(loop, &f->commit_timer);
    f->commit_timer.data = f;
    uv_timer_start(&f->commit_timer, on_timer, COMMIT_MS, COMMIT_MS);
    *out = f;
    return MR_OK;
}

static void on_closed(uv_handle_t *h) {
    mr_follower *f = h->data;
    mr_parts_close(f->parts);
    free(f);
}

void mr_follower_close(mr_follower *f) {
    if (!f) return;
    f->closing = true;
    mr_kafka_consumer_close(f->consumer);
    while (f->retry_head) {
        told *next = f->retry_head->next;
        told_free(f->retry_head);
        f->retry_head = next;
    }
    uv_close((uv_handle_t *)&f->commit_timer, on_closed);
}

uint64_t mr_follower_told(const mr_follower *f) {
    return f->n_told;
}

size_t mr_follower_pending(const mr_follower *f) {
    return f->pending;
}
