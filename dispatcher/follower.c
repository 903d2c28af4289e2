/* follower.c - see follower.h. At most MAX_PENDING results or MAX_BYTES of them are held (and one
 * per partition, which a rebalance may bring); then all partitions pause. */
#include "dispatcher/follower.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dispatcher/progress.h"
#include "schemas/codec.h"

enum {
    MAX_PENDING = 1024,
    MAX_BYTES = 8 << 20, /* of records; decoded they take some times as much */
    RESULT_LIMIT = 64 << 20,
    COMMIT_MS = 200,
    RETRY_MS = 1000
};

typedef struct told told;
struct told {
    told *next; /* in the list of those that Redis did not take */
    mr_follower *f;
    mr_arena arena;
    mr_result result;
    mr_origin at;
    int32_t partition;
    size_t bytes; /* of the record */
};

struct mr_follower {
    mr_follower_conf conf;
    mr_kafka_consumer *consumer;
    mr_progress *progress;
    mr_status_view *view;
    uv_timer_t commit_timer;
    uint64_t last_retry_ms;
    told *retry_head, *retry_tail;
    size_t pending, bytes;
    uint64_t n_told;
    bool closing;
};

static void told_free(told *t) {
    t->f->pending--;
    t->f->bytes -= t->bytes;
    mr_arena_drop(&t->arena);
    free(t);
}

static void pause_all(mr_follower *f, bool paused) {
    for (int i = 0; i < mr_progress_count(f->progress); i++)
        mr_progress_set_paused(f->progress, f->consumer, i, paused);
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
    if (st == MR_OK)
        f->n_told++;
    else
        mr_log(MR_LOG_WARN, "follower", "result not announced", "job=%s part=%d off=%lld",
               t->result.job_id, t->partition, (long long)t->at.offset);
    mr_progress_finish(f->progress, t->at);
    told_free(t);
    if (has_room(f)) pause_all(f, false);
}

static void tell(told *t) {
    const mr_status st =
        mr_status_end(t->f->view, &t->result, t->partition, t->at.offset, on_told, t->f, t);
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
    if (has_room(f)) pause_all(f, false);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_follower *f = owner;
    const int part = mr_progress_find(f->progress, m->topic, m->partition);
    mr_origin at;
    mr_format format;
    mr_err err;
    size_t type_len = 0;

    if (part < 0 || mr_progress_begin(f->progress, part, m->offset, &at) != MR_OK) return;
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
        if (!mr_status_up(f->view) || f->retry_head)
            hold(t); /* keep their order */
        else
            tell(t);
        if (is_full(f)) pause_all(f, true);
        return;
    }
    mr_log(MR_LOG_WARN, "follower", "not a result, skipped", "part=%d off=%lld err=" MR_Q,
           m->partition, (long long)m->offset, err.text);
    mr_progress_finish(f->progress, at);
    told_free(t);
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_follower *f = owner;
    for (size_t i = 0; i < n; i++)
        if (mr_progress_assign(f->progress, tp[i].topic, tp[i].partition, tp[i].offset) < 0)
            mr_log(MR_LOG_ERROR, "follower", "out of memory", "part=%d", tp[i].partition);
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_follower *f = owner;
    if (!lost) mr_progress_commit(f->progress, f->consumer, true);
    for (size_t i = 0; i < n; i++) {
        const int part = mr_progress_find(f->progress, tp[i].topic, tp[i].partition);
        if (part >= 0) mr_progress_revoke(f->progress, part);
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_follower *f = owner;
    mr_progress_doubt(f->progress);
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "follower", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) f->conf.on_fatal(f->conf.owner, text);
}

static void on_timer(uv_timer_t *timer) {
    mr_follower *f = timer->data;
    mr_progress_commit(f->progress, f->consumer, false);
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
    mr_status st = mr_progress_open(&f->progress, err);
    if (st == MR_OK) {
        const mr_kafka_consumer_conf cc = {.conn = *conf->kafka,
                                           .group = conf->group,
                                           .topics = topics,
                                           .read_committed = true,
                                           .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                           .owner = f,
                                           .on_msg = on_msg,
                                           .on_assign = on_assign,
                                           .on_revoke = on_revoke,
                                           .on_error = on_error};
        st = mr_kafka_consumer_open(&f->consumer, loop, &cc, err);
    }
    if (st != MR_OK) {
        mr_progress_close(f->progress);
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
    mr_progress_close(f->progress);
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
