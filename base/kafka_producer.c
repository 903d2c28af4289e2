/* kafka_producer.c - an idempotent producer whose delivery reports arrive on the loop.
 *
 * Every message that send took is reported exactly once, whatever happens: acknowledged, failed, or
 * cancelled by close. An idempotent producer can die of an error (a gap in its sequence numbers
 * that nobody can explain any more): librdkafka then refuses everything for good. So it is rebuilt
 * here: what was in flight is reported MR_EUNAVAIL, and the caller sends it again or not.
 *
 * Limits: QUEUE_MESSAGES and QUEUE_KBYTES wait in memory (then send says MR_ELIMIT);
 * EVENTS_PER_TURN batches of reports are handled before other handles of the loop get their turn.
 */
#include "base/kafka_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define QUEUE_MESSAGES  "20000"
#define QUEUE_KBYTES    "32768"
#define EVENTS_PER_TURN 64
#define POLL_MS         100
#define MAX_WARM        64 /* topics kept known */

struct mr_kafka_producer {
    mr_kafka_wake wake;
    rd_kafka_conf_t *conf; /* to rebuild from */
    rd_kafka_t *rk;        /* NULL: could not be rebuilt, tried again by the tick */
    rd_kafka_queue_t *queue;
    mr_kafka_on_delivery *cb;
    void *owner;
    rd_kafka_topic_t *warm[MAX_WARM]; /* a topic that nobody holds is forgotten again */
    size_t n_warm;
    size_t in_flight;
    int depth; /* > 0: inside a callback of ours, where rk must not be destroyed */
    bool dead, closing;
};

static mr_status start_client(mr_kafka_producer *p, mr_err *err) {
    const mr_status st =
        mr_kafka_client_new(&p->rk, RD_KAFKA_PRODUCER, rd_kafka_conf_dup(p->conf), err);
    if (st == MR_OK) p->queue = rd_kafka_queue_get_main(p->rk);
    return st;
}

static void stop_client(mr_kafka_producer *p) {
    if (!p->rk) return;
    mr_kafka_wake_watch(&p->wake, NULL);
    while (p->n_warm > 0) rd_kafka_topic_destroy(p->warm[--p->n_warm]);
    rd_kafka_queue_destroy(p->queue);
    rd_kafka_destroy(p->rk);
    p->rk = NULL;
    p->queue = NULL;
}

static void report(mr_kafka_producer *p, const rd_kafka_message_t *m) {
    mr_status st = mr_kafka_status(m->err);
    /* Purged because the client died, not because somebody wanted it. */
    if (st == MR_ECANCELED && !p->closing) st = MR_EUNAVAIL;
    p->in_flight--;
    p->cb(p->owner, m->_private, st, m->err ? rd_kafka_err2str(m->err) : "", m->partition,
          m->offset);
}

/* Lost connections are logged by librdkafka and healed by it; what is left is worth a line. */
static void on_error_event(mr_kafka_producer *p, rd_kafka_event_t *ev) {
    char why[256];
    if (rd_kafka_event_error_is_fatal(ev)) {
        rd_kafka_fatal_error(p->rk, why, sizeof why);
        p->dead = true;
        mr_log(MR_LOG_WARN, "kafka", "producer failed for good, rebuilding", "err=" MR_Q, why);
    } else if (rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR__TRANSPORT) {
        mr_log(MR_LOG_WARN, "kafka", "producer error", "err=" MR_Q,
               rd_kafka_event_error_string(ev));
    }
}

static void on_event(mr_kafka_producer *p, rd_kafka_event_t *ev) {
    const rd_kafka_message_t *m;
    p->depth++;
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev))) report(p, m);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error_event(p, ev);
        break;
    default:
        break;
    }
    p->depth--;
    rd_kafka_event_destroy(ev);
}

/* Reports until nothing is left, time is over, or (unless it is the dead that are buried) the
 * client dies. */
static void drain(mr_kafka_producer *p, uint64_t timeout_ms, bool also_dead) {
    const uint64_t until = mr_clock_mono_ms() + timeout_ms;
    while (p->rk && p->in_flight > 0 && (also_dead || !p->dead)) {
        const uint64_t now = mr_clock_mono_ms();
        const uint64_t left = now < until ? until - now : 0;
        rd_kafka_event_t *ev = rd_kafka_queue_poll(p->queue, left < POLL_MS ? (int)left : POLL_MS);
        if (ev)
            on_event(p, ev);
        else if (left == 0)
            return;
    }
}

static void purge(mr_kafka_producer *p) {
    if (!p->rk) return;
    rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    drain(p, MR_KAFKA_CLOSE_MS, true);
    if (p->in_flight > 0)
        mr_log(MR_LOG_ERROR, "kafka", "messages were never reported", "n=%zu", p->in_flight);
}

static void rebuild(mr_kafka_producer *p) {
    mr_err err = {0};
    purge(p);
    stop_client(p);
    p->in_flight = 0;
    p->dead = false;
    if (start_client(p, &err) == MR_OK)
        mr_kafka_wake_watch(&p->wake, p->queue);
    else
        mr_log(MR_LOG_ERROR, "kafka", "producer not rebuilt, will try again", "err=" MR_Q,
               err.text);
}

static void on_gone(void *owner) {
    mr_kafka_producer *p = owner;
    rd_kafka_conf_destroy(p->conf);
    free(p);
}

static void close_now(mr_kafka_producer *p) {
    purge(p);
    stop_client(p);
    mr_kafka_wake_close(&p->wake, on_gone);
}

static bool serve(void *owner) {
    mr_kafka_producer *p = owner;
    rd_kafka_event_t *ev = NULL;

    if (!p->rk || p->dead) rebuild(p);
    for (int left = EVENTS_PER_TURN; left > 0 && p->rk && !p->closing; left--) {
        ev = rd_kafka_queue_poll(p->queue, 0);
        if (!ev) break;
        on_event(p, ev);
    }
    if (p->closing) {
        close_now(p);
        return false;
    }
    return ev != NULL || p->dead;
}

mr_status mr_kafka_producer_open(mr_kafka_producer **out, uv_loop_t *loop,
                                 const mr_kafka_conf *conf, mr_kafka_on_delivery *cb, void *owner,
                                 mr_err *err) {
    static const mr_kafka_prop props[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"partitioner", "murmur2_random"}, /* as the Java client, so equal keys meet */
        {"linger.ms", "5"},
        {"queue.buffering.max.messages", QUEUE_MESSAGES},
        {"queue.buffering.max.kbytes", QUEUE_KBYTES},
        {"message.max.bytes", MR_KAFKA_MESSAGE_BYTES},
        /* Ask often for a topic that is not known yet: its first message waits for the answer. */
        {"topic.metadata.refresh.fast.interval.ms", "50"},
    };
    mr_status st = MR_OK;
    mr_kafka_producer *p = calloc(1, sizeof *p);

    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "kafka producer: no memory");
    p->cb = cb;
    p->owner = owner;
    if ((st = mr_kafka_conf_new(&p->conf, conf, props, MR_COUNT(props), err)) != MR_OK) goto fail;
    rd_kafka_conf_set_events(p->conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    if ((st = start_client(p, err)) != MR_OK) goto fail;
    if ((st = mr_kafka_wake_open(&p->wake, loop, p->queue, serve, p, err)) != MR_OK) goto fail;
    *out = p;
    return MR_OK;
fail:
    stop_client(p);
    if (p->conf) rd_kafka_conf_destroy(p->conf);
    free(p);
    return st;
}

mr_status mr_kafka_send(mr_kafka_producer *p, const char *topic, int32_t partition, const void *key,
                        size_t key_len, const void *value, size_t len,
                        const mr_kafka_header *headers, size_t n_headers, void *cookie,
                        mr_err *err) {
    rd_kafka_headers_t *h = NULL;
    if (!mr_kafka_topic_ok(topic))
        return mr_fail(err, MR_EINVAL, "kafka topic \"%s\": not a topic name", topic ? topic : "");
    if (!p->rk || p->dead || p->closing)
        return mr_fail(err, MR_EUNAVAIL, "kafka topic %s: the producer is being rebuilt", topic);
    const mr_status st = mr_kafka_headers_new(&h, headers, n_headers, err);
    if (st != MR_OK) return st;

    const rd_kafka_resp_err_t e = rd_kafka_producev(
        p->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY((void *)(uintptr_t)key, key_len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len), RD_KAFKA_V_HEADERS(h),
        RD_KAFKA_V_OPAQUE(cookie), RD_KAFKA_V_END);
    if (e) {
        if (h) rd_kafka_headers_destroy(h); /* producev takes them on success only */
        return mr_fail(err, mr_kafka_status(e), "kafka topic %s, %zu bytes: %s", topic,
                       key_len + len, rd_kafka_err2str(e));
    }
    p->in_flight++;
    return MR_OK;
}

void mr_kafka_warm(mr_kafka_producer *p, const char *topic, int timeout_ms) {
    const struct rd_kafka_metadata *md = NULL;

    if (!p->rk || p->n_warm == MAX_WARM || !mr_kafka_topic_ok(topic)) return;
    for (size_t i = 0; i < p->n_warm; i++)
        if (strcmp(rd_kafka_topic_name(p->warm[i]), topic) == 0) return;
    rd_kafka_topic_t *t = rd_kafka_topic_new(p->rk, topic, NULL);
    if (!t) return;
    p->warm[p->n_warm++] = t;
    if (!rd_kafka_metadata(p->rk, 0, t, &md, timeout_ms)) rd_kafka_metadata_destroy(md);
}

size_t mr_kafka_in_flight(const mr_kafka_producer *p) {
    return p->in_flight;
}

mr_status mr_kafka_flush(mr_kafka_producer *p, int timeout_ms) {
    drain(p, timeout_ms > 0 ? (uint64_t)timeout_ms : 0, false);
    if (p->dead && p->depth == 0) rebuild(p); /* reports what is left */
    return p->in_flight == 0 ? MR_OK : MR_ETIMEOUT;
}

void mr_kafka_producer_close(mr_kafka_producer *p) {
    if (!p || p->closing) return;
    p->closing = true;
    if (p->depth == 0)
        close_now(p);
    else
        uv_async_send(&p->wake.async); /* serve() does it */
}
