/* peers.c - see peers.h. The timer both sends and notices who has fallen silent. */
#include "dispatcher/peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/feed.h"
#include "schemas/codec.h"

enum { BEAT_BYTES = 1 << 20, LEAVE_MS = 1000 };

typedef struct peer {
    char id[192];
    uint64_t seen_ms;
    bool waiting; /* it has jobs to release */
} peer;

struct mr_peers {
    mr_peers_conf conf;
    mr_kafka_producer *producer;
    mr_kafka_consumer *consumer;
    uv_timer_t timer;
    peer others[MR_MAX_PEERS];
    size_t n, n_sharing;
};

static void send_beat(mr_peers *p, bool leaving) {
    mr_beat b = {0};
    mr_arena arena;
    const void *bytes;
    size_t n;
    mr_err err = {0};

    p->conf.on_fill(p->conf.owner, &b);
    b.dispatcher = p->conf.dispatcher;
    b.sent_ms = mr_clock_wall_ms();
    b.leaving = leaving;
    mr_arena_init(&arena, BEAT_BYTES);
    mr_status st = mr_codec_beat_encode(&b, &arena, &bytes, &n);
    if (st == MR_OK)
        st = mr_kafka_send(p->producer, p->conf.topic, MR_KAFKA_ANY_PARTITION, b.dispatcher,
                           strlen(b.dispatcher), bytes, n, NULL, 0, NULL, &err);
    mr_arena_drop(&arena);
    if (st != MR_OK)
        mr_log(MR_LOG_DEBUG, "peers", "beat not sent", "status=%s err=" MR_Q, mr_status_name(st),
               err.text);
}

static void on_sent(void *owner, void *cookie, mr_status status, const char *text,
                    int32_t partition, int64_t offset) {
    (void)owner;
    (void)cookie;
    (void)partition;
    (void)offset;
    if (status != MR_OK)
        mr_log(MR_LOG_DEBUG, "peers", "beat not acknowledged", "status=%s err=" MR_Q,
               mr_status_name(status), text ? text : "");
}

/* ---- the others ---- */

static void forget(mr_peers *p, size_t i) {
    mr_log(MR_LOG_INFO, "peers", "dispatcher gone", "id=" MR_Q, p->others[i].id);
    p->others[i] = p->others[--p->n];
}

static peer *need_peer(mr_peers *p, const char *id) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->others[i].id, id) == 0) return &p->others[i];
    if (p->n == MR_MAX_PEERS || strlen(id) >= sizeof p->others[0].id) return NULL;
    peer *o = &p->others[p->n++];
    *o = (peer){.seen_ms = 0};
    strcpy(o->id, id);
    mr_log(MR_LOG_INFO, "peers", "dispatcher found", "id=" MR_Q, id);
    return o;
}

static bool is_silent(const mr_peers *p, const peer *o, uint64_t now_ms) {
    const uint64_t beats_ms = MR_PEER_BEATS * p->conf.period_ms;
    return now_ms - o->seen_ms > (beats_ms > MR_PEER_LEAST_MS ? beats_ms : MR_PEER_LEAST_MS);
}

static void count(mr_peers *p) {
    const uint64_t now_ms = mr_clock_mono_ms();
    size_t n = 1;
    for (size_t i = 0; i < p->n;) {
        if (is_silent(p, &p->others[i], now_ms))
            forget(p, i);
        else
            n += p->others[i++].waiting;
    }
    if (n == p->n_sharing) return;
    p->n_sharing = n;
    p->conf.on_share(p->conf.owner, n);
}

static void note(mr_peers *p, const mr_beat *b) {
    if (p->conf.on_beat) p->conf.on_beat(p->conf.owner, b);
    if (strcmp(b->dispatcher, p->conf.dispatcher) == 0) return;
    peer *o = need_peer(p, b->dispatcher);
    if (!o) return;
    o->seen_ms = mr_clock_mono_ms();
    o->waiting = false;
    for (int l = 0; l < MR_PRIORITY_N; l++) o->waiting |= b->lanes[l].waiting > 0;
    if (b->leaving) forget(p, (size_t)(o - p->others));
    count(p);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_arena arena;
    mr_beat b;
    mr_err err;

    if (!m->value) return; /* a tombstone of compaction */
    mr_arena_init(&arena, BEAT_BYTES);
    if (mr_codec_beat_decode(&b, m->value, m->len, &arena, &err) == MR_OK)
        note(owner, &b);
    else
        mr_log(MR_LOG_WARN, "peers", "not a beat, skipped", "part=%d off=%lld err=" MR_Q,
               m->partition, (long long)m->offset, err.text);
    mr_arena_drop(&arena);
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    const mr_peers *p = owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "peers", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) p->conf.on_fatal(p->conf.owner, text);
}

/* ---- open, close ---- */

static void on_timer(uv_timer_t *timer) {
    mr_peers *p = timer->data;
    send_beat(p, false);
    count(p);
    uv_timer_start(timer, on_timer, p->conf.period_ms, 0);
}

mr_status mr_peers_open(mr_peers **out, uv_loop_t *loop, const mr_peers_conf *conf, mr_err *err) {
    mr_peers *p = calloc(1, sizeof *p);
    const mr_feed_conf feed = {.kafka = conf->kafka,
                               .topic = conf->topic,
                               .timeout_ms = conf->timeout_ms,
                               .owner = p,
                               .on_msg = on_msg,
                               .on_error = on_error};
    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "peers: out of memory");
    p->conf = *conf;
    p->n_sharing = 1;
    mr_status st = mr_kafka_producer_open(&p->producer, loop, conf->kafka, on_sent, p, err);
    if (st == MR_OK) st = mr_feed_open(&p->consumer, loop, &feed, err);
    if (st != MR_OK) {
        mr_kafka_producer_close(p->producer);
        free(p);
        return st;
    }
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    uv_timer_start(&p->timer, on_timer, 0, 0);
    *out = p;
    return MR_OK;
}

void mr_peers_set_period(mr_peers *p, uint64_t period_ms) {
    p->conf.period_ms = period_ms;
}

size_t mr_peers_live(const mr_peers *p) {
    return p->n;
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void mr_peers_close(mr_peers *p) {
    if (!p) return;
    send_beat(p, true);
    (void)mr_kafka_flush(p->producer, LEAVE_MS); /* the others would find out by themselves */
    mr_kafka_consumer_close(p->consumer);
    mr_kafka_producer_close(p->producer);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}
