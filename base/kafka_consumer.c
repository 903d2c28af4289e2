/* kafka_consumer.c - a consumer that delivers on the loop.
 *
 * librdkafka forwards the messages of all partitions, and what happens to the group, into one
 * queue, whose callback wakes the loop (kafka_internal.h); what comes up is handed on inside
 * serve(). Which partitions there are is in kafka_assign.c, which of them stand still in
 * kafka_pause.c, and offsets in kafka_offsets.c.
 *
 * Closing leaves the group first: librdkafka does it in the background, and its last rebalance is
 * served here, so the owner hears what it loses. A close from inside a callback waits for its end.
 *
 * Limits: EVENTS_PER_TURN messages before other handles of the loop get their turn;
 * MR_KAFKA_MAX_HEADERS of a message are shown; what is fetched ahead is bounded by
 * queued_max_kbytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/kafka_consumer_internal.h"
#include "base/log.h"

#define EVENTS_PER_TURN      256
#define DEFAULT_MAX_POLL_MS  300000
#define DEFAULT_QUEUE_KBYTES 16384
#define DEFAULT_QUEUE_COUNT  10000
#define MAX_QUEUE_COUNT      10000000
#define MIN_QUEUE_KBYTES     1024 /* at least one message of the largest size */
#define MAX_QUEUE_KBYTES     2097151
#define DEFAULT_SESSION_MS   10000
#define HEARTBEAT_MS         3000
#define SOUND_COOPERATIVE    0x020a0000 /* librdkafka from 2.10 on */
#define POLL_MS              100

void mr_kafka_tell_error(mr_kafka_consumer *c, mr_status st, const char *text, bool fatal) {
    if (c->conf.on_error)
        c->conf.on_error(c->conf.owner, st, text, fatal);
    else
        mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "kafka", "consumer error", "err=" MR_Q, text);
}

void mr_kafka_check_group(mr_kafka_consumer *c, const char *what, rd_kafka_error_t *error,
                          rd_kafka_resp_err_t e) {
    mr_err err = {0};
    if (error)
        mr_kafka_fail_error(error, what, &err);
    else if (e)
        mr_fail(&err, mr_kafka_status(e), "%s: %s", what, rd_kafka_err2str(e));
    if (err.status) mr_kafka_tell_error(c, err.status, err.text, false);
}

/* ---- messages ---- */

static size_t read_headers(mr_kafka_consumer *c, const rd_kafka_message_t *m) {
    rd_kafka_headers_t *all;
    size_t n = 0;
    if (rd_kafka_message_headers(m, &all)) return 0;
    while (n < MR_KAFKA_MAX_HEADERS &&
           !rd_kafka_header_get_all(all, n, &c->headers[n].name, &c->headers[n].value,
                                    &c->headers[n].len))
        n++;
    return n;
}

/* Offsets of a partition grow, or something happened to its log (past.h). */
static void look_back(mr_kafka_consumer *c, const mr_kafka_msg *m) {
    int64_t next = -1;
    switch (mr_past_read(&c->past, m->topic, m->partition, m->offset, m->timestamp_ms, &next)) {
    case MR_PAST_BACK:
        mr_log(MR_LOG_ERROR, "kafka", "offsets come again, records below next are taken for known",
               "topic=%s part=%d off=%lld next=%lld", m->topic, (int)m->partition,
               (long long)m->offset, (long long)next);
        break;
    case MR_PAST_ANEW:
        mr_log(MR_LOG_WARN, "kafka", "a log begins anew, its topic was made again",
               "topic=%s part=%d off=%lld next=%lld", m->topic, (int)m->partition,
               (long long)m->offset, (long long)next);
        mr_kafka_begin_anew(c, m->topic, m->partition, m->offset);
        break;
    case MR_PAST_ON:
    case MR_PAST_AGAIN:
        break;
    }
}

static void deliver(mr_kafka_consumer *c, const rd_kafka_message_t *m) {
    if (m->err) {
        mr_kafka_tell_error(c, mr_kafka_status(m->err), rd_kafka_message_errstr(m), false);
        return;
    }
    rd_kafka_timestamp_type_t kind;
    const int64_t timestamp = rd_kafka_message_timestamp(m, &kind);
    const mr_kafka_msg msg = {
        .topic = rd_kafka_topic_name(m->rkt),
        .partition = m->partition,
        .offset = m->offset,
        .timestamp_ms = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp,
        .key = m->key,
        .key_len = m->key_len,
        .value = m->payload,
        .len = m->len,
        .headers = c->headers,
        .n_headers = read_headers(c, m),
    };
    look_back(c, &msg);
    c->conf.on_msg(c->conf.owner, &msg);
}

/* ---- events ---- */

static void on_error_event(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    const rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    char why[256];
    if (rd_kafka_event_error_is_fatal(ev)) {
        const rd_kafka_resp_err_t cause = rd_kafka_fatal_error(c->rk, why, sizeof why);
        mr_kafka_tell_error(c, mr_kafka_status(cause), why, true);
    } else if (e == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        rd_kafka_topic_partition_t *tp = rd_kafka_event_topic_partition(ev);
        if (tp && c->conf.on_eof)
            c->conf.on_eof(c->conf.owner, tp->topic, tp->partition, tp->offset);
        if (tp) rd_kafka_topic_partition_destroy(tp);
    } else {
        mr_kafka_tell_error(c, mr_kafka_status(e), rd_kafka_event_error_string(ev), false);
    }
}

static void on_committed(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    const rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    if (!e || e == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
    mr_err err;
    mr_fail(&err, mr_kafka_status(e), "commit: %s", rd_kafka_err2str(e));
    mr_kafka_tell_error(c, err.status, err.text, false);
}

static void on_event(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    const rd_kafka_message_t *m;
    c->depth++;
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_FETCH:
        /* A message that comes up while the group is left was not handled: it is not committed. */
        while (!c->closing && (m = rd_kafka_event_message_next(ev))) deliver(c, m);
        break;
    case RD_KAFKA_EVENT_REBALANCE:
        mr_kafka_on_rebalance(c, ev);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error_event(c, ev);
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        on_committed(c, ev);
        break;
    default:
        break;
    }
    c->depth--;
    rd_kafka_event_destroy(ev);
}

/* ---- closing ---- */

/* Takes NULL and half-open ones, but not the handles of the loop. */
static void free_consumer(mr_kafka_consumer *c) {
    if (!c) return;
    if (c->held) rd_kafka_topic_partition_list_destroy(c->held);
    if (c->paused) rd_kafka_topic_partition_list_destroy(c->paused);
    if (c->waiting) rd_kafka_topic_partition_list_destroy(c->waiting);
    mr_past_deinit(&c->past);
    free(c);
}

static void on_gone(void *owner) {
    free_consumer(owner);
}

/* librdkafka closes in the background; we serve its last rebalance, and stop waiting in time. */
static void leave_group(mr_kafka_consumer *c) {
    const uint64_t until = mr_clock_mono_ms() + MR_KAFKA_CLOSE_MS;
    rd_kafka_queue_t *q = rd_kafka_queue_new(c->rk);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(c->rk, q);
    mr_kafka_check_group(c, "close", error, 0);
    while (!error && !rd_kafka_consumer_closed(c->rk)) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, POLL_MS);
        if (ev) on_event(c, ev);
        if (mr_clock_mono_ms() < until) continue;
        mr_log(MR_LOG_WARN, "kafka", "the group was not left in time", "limit_ms=%d",
               MR_KAFKA_CLOSE_MS);
        break;
    }
    rd_kafka_queue_destroy(q);
}

static void close_now(mr_kafka_consumer *c) {
    mr_kafka_wake_watch(&c->wake, NULL);
    leave_group(c);
    rd_kafka_queue_destroy(c->queue);
    rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    mr_kafka_wake_close(&c->wake, on_gone);
}

void mr_kafka_consumer_close(mr_kafka_consumer *c) {
    if (!c || c->closing) return;
    c->closing = true;
    if (c->depth == 0)
        close_now(c);
    else
        uv_async_send(&c->wake.async); /* serve() does it */
}

static bool serve(void *owner) {
    mr_kafka_consumer *c = owner;
    rd_kafka_event_t *ev = NULL;

    for (int left = EVENTS_PER_TURN; left > 0 && !c->closing && !c->held_up; left--) {
        ev = rd_kafka_queue_poll(c->queue, 0);
        if (!ev) break;
        on_event(c, ev);
    }
    if (!c->closing && c->waiting->cnt > 0 && mr_clock_mono_ms() >= c->retry_ms) {
        c->depth++;
        mr_kafka_try_assign(c);
        c->depth--;
    }
    if (c->closing) {
        close_now(c);
        return false;
    }
    return ev != NULL && !c->held_up;
}

void mr_kafka_hold(mr_kafka_consumer *c, bool hold) {
    if (c->held_up == hold) return;
    c->held_up = hold;
    if (!hold) uv_async_send(&c->wake.async); /* nobody else tells of what is in the queue */
}

/* ---- opening ---- */

static const char *strategy_of(const mr_kafka_consumer_conf *conf) {
    if (conf->strategy && strcmp(conf->strategy, "auto") != 0) return conf->strategy;
    return rd_kafka_version() >= SOUND_COOPERATIVE ? "cooperative-sticky" : "range";
}

static mr_status make_conf(rd_kafka_conf_t **out, const mr_kafka_consumer_conf *conf, mr_err *err) {
    char max_poll[16], session[16], heartbeat[16], kbytes[16], count[16], fetch_bytes[16];
    const int max_poll_ms =
        conf->max_poll_interval_ms ? conf->max_poll_interval_ms : DEFAULT_MAX_POLL_MS;
    const int wanted_session_ms =
        conf->session_timeout_ms ? conf->session_timeout_ms : DEFAULT_SESSION_MS;
    const int session_ms = max_poll_ms < wanted_session_ms ? max_poll_ms : wanted_session_ms;
    const int queue_kbytes =
        conf->queued_max_kbytes ? conf->queued_max_kbytes : DEFAULT_QUEUE_KBYTES;
    if (queue_kbytes < MIN_QUEUE_KBYTES || queue_kbytes > MAX_QUEUE_KBYTES)
        return mr_fail(err, MR_EINVAL, "queued_max_kbytes is %d; it must be %d..%d", queue_kbytes,
                       MIN_QUEUE_KBYTES, MAX_QUEUE_KBYTES);
    if (conf->queued_min_messages < 0 || conf->queued_min_messages > MAX_QUEUE_COUNT)
        return mr_fail(err, MR_EINVAL, "queued_min_messages is %d; it must be 0..%d",
                       conf->queued_min_messages, MAX_QUEUE_COUNT);
    if (conf->reset_offset != MR_KAFKA_OFFSET_BEGIN && conf->reset_offset != MR_KAFKA_OFFSET_END)
        return mr_fail(err, MR_EINVAL, "reset_offset is %lld; only begin or end will do",
                       (long long)conf->reset_offset);
    snprintf(max_poll, sizeof max_poll, "%d", max_poll_ms);
    snprintf(session, sizeof session, "%d", session_ms);
    snprintf(heartbeat, sizeof heartbeat, "%d",
             session_ms / 3 < HEARTBEAT_MS ? session_ms / 3 : HEARTBEAT_MS);
    snprintf(kbytes, sizeof kbytes, "%d", queue_kbytes);
    snprintf(count, sizeof count, "%d",
             conf->queued_min_messages ? conf->queued_min_messages : DEFAULT_QUEUE_COUNT);
    snprintf(fetch_bytes, sizeof fetch_bytes, "%d",
             queue_kbytes * 1024ll < 52428800 ? queue_kbytes * 1024 : 52428800);
    const mr_kafka_prop props[] = {
        /* librdkafka wants a group name even where nothing is committed. */
        {"group.id", conf->group ? conf->group : "millrace-no-group"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", conf->reset_offset == MR_KAFKA_OFFSET_BEGIN ? "earliest" : "latest"},
        {"isolation.level", conf->read_committed ? "read_committed" : "read_uncommitted"},
        {"partition.assignment.strategy", strategy_of(conf)},
        {"max.poll.interval.ms", max_poll},
        {"session.timeout.ms", session},
        {"heartbeat.interval.ms", heartbeat},
        {"queued.max.messages.kbytes", kbytes},
        {"queued.min.messages", count},
        {"fetch.max.bytes", fetch_bytes},
        {"fetch.wait.max.ms", "100"},
        {"fetch.error.backoff.ms", "100"},
        {"enable.partition.eof", conf->on_eof ? "true" : "false"},
        {"group.instance.id", conf->instance_id},
    };
    return mr_kafka_conf_new(out, &conf->conn, props, MR_COUNT(props) - (conf->instance_id ? 0 : 1),
                             err);
}

static mr_status subscribe(mr_kafka_consumer *c, const char *const *topics, mr_err *err) {
    if (!topics || !topics[0]) return mr_fail(err, MR_EINVAL, "kafka consumer: no topics");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    for (size_t i = 0; topics[i]; i++)
        rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    const rd_kafka_resp_err_t e = rd_kafka_subscribe(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka subscribe: %s", rd_kafka_err2str(e));
    return MR_OK;
}

mr_status mr_kafka_consumer_open(mr_kafka_consumer **out, uv_loop_t *loop,
                                 const mr_kafka_consumer_conf *conf, mr_err *err) {
    mr_status st = MR_OK;
    rd_kafka_conf_t *rk_conf = NULL;
    mr_kafka_consumer *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "kafka consumer: no memory");
    c->conf = *conf;
    c->held = rd_kafka_topic_partition_list_new(4);
    c->paused = rd_kafka_topic_partition_list_new(4);
    c->waiting = rd_kafka_topic_partition_list_new(4);
    if ((st = make_conf(&rk_conf, conf, err)) != MR_OK) goto fail;
    rd_kafka_conf_set_events(rk_conf, RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE |
                                          RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_OFFSET_COMMIT);
    if ((st = mr_kafka_client_new(&c->rk, RD_KAFKA_CONSUMER, rk_conf, err)) != MR_OK) goto fail;
    rd_kafka_poll_set_consumer(c->rk);
    if (conf->group && (st = subscribe(c, conf->topics, err)) != MR_OK) goto fail;
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    if ((st = mr_kafka_wake_open(&c->wake, loop, c->queue, serve, c, err)) != MR_OK) goto fail;
    *out = c;
    return MR_OK;
fail:
    if (c->queue) rd_kafka_queue_destroy(c->queue);
    if (c->rk) rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free_consumer(c);
    return st;
}
