/* kafka_consumer.c - a consumer that delivers on the loop, pauses partitions and follows its group.
 *
 * librdkafka forwards the messages of all partitions into one queue. A pause puts a barrier into
 * it: what was fetched before is thrown away when it comes up, and fetched again from the position
 * behind the last delivered message after the resume. That works only for pauses and resumes in
 * pairs (a stray resume delivers everything twice in 2.0.2), so the set of paused partitions is
 * kept here.
 *
 * Rebalance: before it takes partitions the consumer asks for their committed offsets, tells the
 * owner, and starts exactly there; so the owner's offset window and the first message agree. When
 * the coordinator does not answer the assignment waits and is tried again; the group is kept alive
 * by librdkafka meanwhile.
 *
 * Limits: EVENTS_PER_TURN messages before other handles of the loop get their turn; MAX_HEADERS of
 * a message are shown; what is fetched ahead is bounded by queued_max_kbytes. */
#include "base/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENTS_PER_TURN      256
#define MAX_HEADERS          128
#define COMMITTED_MS         3000 /* the loop stands still so long at worst, while a group forms */
#define ASSIGN_RETRY_MS      1000
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

struct mr_kafka_consumer {
    mr_kafka_wake wake;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    mr_kafka_consumer_conf conf;              /* callbacks and owner; its texts are not kept */
    rd_kafka_topic_partition_list_t *held;    /* what the owner was told to have */
    rd_kafka_topic_partition_list_t *paused;  /* of held */
    rd_kafka_topic_partition_list_t *waiting; /* assigned by the group, committed offset unknown */
    uint64_t retry_ms;                        /* when to ask again for them */
    const rd_kafka_topic_partition_list_t *assigning; /* inside on_assign: not yet librdkafka's */
    bool rebalancing;                                 /* inside on_rebalance */
    int depth;                                        /* > 0: inside a callback of ours */
    bool held_up, closing;
    mr_kafka_header headers[MAX_HEADERS];
};

static void tell_error(mr_kafka_consumer *c, mr_status st, const char *text, bool fatal) {
    if (c->conf.on_error)
        c->conf.on_error(c->conf.owner, st, text, fatal);
    else
        mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "kafka", "consumer error", "err=" MR_Q, text);
}

/* ---- messages ---- */

static size_t read_headers(mr_kafka_consumer *c, const rd_kafka_message_t *m) {
    rd_kafka_headers_t *all;
    size_t n = 0;
    if (rd_kafka_message_headers(m, &all)) return 0;
    while (n < MAX_HEADERS && !rd_kafka_header_get_all(all, n, &c->headers[n].name,
                                                       &c->headers[n].value, &c->headers[n].len))
        n++;
    return n;
}

static void deliver(mr_kafka_consumer *c, const rd_kafka_message_t *m) {
    if (m->err) {
        tell_error(c, mr_kafka_status(m->err), rd_kafka_message_errstr(m), false);
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
    c->conf.on_msg(c->conf.owner, &msg);
}

/* ---- group ---- */

static void add_to(rd_kafka_topic_partition_list_t *to,
                   const rd_kafka_topic_partition_list_t *what) {
    for (int i = 0; i < what->cnt; i++)
        rd_kafka_topic_partition_list_add(to, what->elems[i].topic, what->elems[i].partition);
}

static void drop_from(rd_kafka_topic_partition_list_t *from,
                      const rd_kafka_topic_partition_list_t *what) {
    for (int i = what->cnt - 1; i >= 0; i--) /* downwards: what may be from */
        rd_kafka_topic_partition_list_del(from, what->elems[i].topic, what->elems[i].partition);
}

static bool is_cooperative(const mr_kafka_consumer *c) {
    return strcmp(rd_kafka_rebalance_protocol(c->rk), "COOPERATIVE") == 0;
}

static mr_kafka_tp tp_of(const rd_kafka_topic_partition_t *e) {
    return (mr_kafka_tp){e->topic, e->partition, e->offset, e->metadata, e->metadata_size};
}

static void tell_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list,
                            bool assigned, bool lost) {
    mr_kafka_tp *tp = calloc((size_t)list->cnt + 1, sizeof *tp);
    MR_CHECK(tp); /* some bytes per partition: as librdkafka, which aborts too */
    for (int i = 0; i < list->cnt; i++)
        tp[i] = tp_of(&list->elems[i]);
    if (assigned && c->conf.on_assign) c->conf.on_assign(c->conf.owner, tp, (size_t)list->cnt);
    if (!assigned && c->conf.on_revoke)
        c->conf.on_revoke(c->conf.owner, tp, (size_t)list->cnt, lost);
    free(tp);
}

static void check_group_call(mr_kafka_consumer *c, const char *what, rd_kafka_error_t *error,
                             rd_kafka_resp_err_t e) {
    mr_err err = {0};
    if (error)
        mr_kafka_fail_error(error, what, &err);
    else if (e)
        mr_fail(&err, mr_kafka_status(e), "%s: %s", what, rd_kafka_err2str(e));
    if (err.status) tell_error(c, err.status, err.text, false);
}

static void take_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    if (is_cooperative(c))
        check_group_call(c, "assign", rd_kafka_incremental_assign(c->rk, list), 0);
    else
        check_group_call(c, "assign", NULL, rd_kafka_assign(c->rk, list));
}

static void give_up_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    if (is_cooperative(c))
        check_group_call(c, "unassign", rd_kafka_incremental_unassign(c->rk, list), 0);
    else
        check_group_call(c, "unassign", NULL, rd_kafka_assign(c->rk, NULL));
}

/* Those of list that the owner has paused; to be destroyed. */
static rd_kafka_topic_partition_list_t *paused_of(const mr_kafka_consumer *c,
                                                  const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = rd_kafka_topic_partition_list_new(4);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        if (rd_kafka_topic_partition_list_find(c->paused, e->topic, e->partition))
            rd_kafka_topic_partition_list_add(p, e->topic, e->partition);
    }
    return p;
}

/* Partitions of list that the owner paused before librdkafka knew them. */
static void pause_early(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = paused_of(c, list);
    if (p->cnt > 0) check_group_call(c, "pause", NULL, rd_kafka_pause_partitions(c->rk, p));
    rd_kafka_topic_partition_list_destroy(p);
}

/* librdkafka 2.0.2 keeps a pause beyond the assignment, and a partition that came back would stand
 * still for ever: so it is taken back before the partitions of list go. */
static void end_pauses(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = paused_of(c, list);
    if (p->cnt > 0) check_group_call(c, "resume", NULL, rd_kafka_resume_partitions(c->rk, p));
    drop_from(c->paused, list);
    rd_kafka_topic_partition_list_destroy(p);
}

static rd_kafka_resp_err_t find_committed(mr_kafka_consumer *c) {
    rd_kafka_resp_err_t e = rd_kafka_committed(c->rk, c->waiting, COMMITTED_MS);
    for (int i = 0; !e && i < c->waiting->cnt; i++) e = c->waiting->elems[i].err;
    for (int i = 0; !e && i < c->waiting->cnt; i++)
        if (c->waiting->elems[i].offset < 0) c->waiting->elems[i].offset = c->conf.reset_offset;
    return e;
}

static void try_assign(mr_kafka_consumer *c) {
    const rd_kafka_resp_err_t e = find_committed(c);
    if (e) {
        mr_err err;
        mr_fail(&err, mr_kafka_status(e),
                "committed offsets of %d partitions: %s; next try in %d ms", c->waiting->cnt,
                rd_kafka_err2str(e), ASSIGN_RETRY_MS);
        c->retry_ms = mr_clock_mono_ms() + ASSIGN_RETRY_MS;
        tell_error(c, err.status, err.text, false);
        return;
    }
    rd_kafka_topic_partition_list_t *list = c->waiting;
    c->waiting = rd_kafka_topic_partition_list_new(0);
    add_to(c->held, list);
    c->assigning = list;
    tell_partitions(c, list, true, false);
    c->assigning = NULL;
    take_partitions(c, list);
    pause_early(c, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void on_assigned(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    add_to(c->waiting, list);
    if (c->waiting->cnt > 0)
        try_assign(c);
    else
        take_partitions(c, list); /* nothing for us: the group still waits for the answer */
}

/* The owner hears only of what it was told to have. */
static void on_revoked(mr_kafka_consumer *c, rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *told = rd_kafka_topic_partition_list_copy(list);
    drop_from(told, c->waiting);
    drop_from(c->waiting, list);
    if (told->cnt > 0) tell_partitions(c, told, false, rd_kafka_assignment_lost(c->rk) != 0);
    drop_from(c->held, list);
    end_pauses(c, list);
    give_up_partitions(c, told);
    rd_kafka_topic_partition_list_destroy(told);
}

static void on_rebalance(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    c->rebalancing = true;
    switch (rd_kafka_event_error(ev)) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        if (c->closing) /* too late: take nothing that would be given back at once */
            rd_kafka_assign(c->rk, NULL);
        else
            on_assigned(c, list);
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        on_revoked(c, list);
        break;
    default:
        check_group_call(c, "rebalance", NULL, rd_kafka_event_error(ev));
        rd_kafka_assign(c->rk, NULL);
    }
    c->rebalancing = false;
}

/* ---- events ---- */

static void on_error_event(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    const rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    char why[256];
    if (rd_kafka_event_error_is_fatal(ev)) {
        const rd_kafka_resp_err_t cause = rd_kafka_fatal_error(c->rk, why, sizeof why);
        tell_error(c, mr_kafka_status(cause), why, true);
    } else if (e == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        rd_kafka_topic_partition_t *tp = rd_kafka_event_topic_partition(ev);
        if (tp && c->conf.on_eof)
            c->conf.on_eof(c->conf.owner, tp->topic, tp->partition, tp->offset);
        if (tp) rd_kafka_topic_partition_destroy(tp);
    } else {
        tell_error(c, mr_kafka_status(e), rd_kafka_event_error_string(ev), false);
    }
}

static void on_committed(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    const rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    if (!e || e == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
    mr_err err;
    mr_fail(&err, mr_kafka_status(e), "commit: %s", rd_kafka_err2str(e));
    tell_error(c, err.status, err.text, false);
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
        on_rebalance(c, ev);
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
    check_group_call(c, "close", error, 0);
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
        try_assign(c);
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

/* ---- partitions and offsets ---- */

rd_kafka_topic_partition_list_t *mr_kafka_list_of(const mr_kafka_tp *tp, size_t n) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_t *e =
            rd_kafka_topic_partition_list_add(list, tp[i].topic, tp[i].partition);
        e->offset = tp[i].offset;
        if (!tp[i].metadata || tp[i].metadata_len == 0) continue;
        e->metadata = malloc(tp[i].metadata_len); /* the list frees it */
        if (!e->metadata) {
            rd_kafka_topic_partition_list_destroy(list);
            return NULL;
        }
        memcpy(e->metadata, tp[i].metadata, tp[i].metadata_len);
        e->metadata_size = tp[i].metadata_len;
    }
    return list;
}

_Static_assert(MR_KAFKA_OFFSET_TAIL(7) == RD_KAFKA_OFFSET_TAIL(7), "librdkafka's offsets");

mr_status mr_kafka_assign(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err) {
    if (c->conf.group) return mr_fail(err, MR_EINVAL, "kafka assign: the consumer has a group");
    for (size_t i = 0; i < n; i++)
        if (!mr_kafka_topic_ok(tp[i].topic) || tp[i].partition < 0 ||
            (tp[i].offset < MR_KAFKA_OFFSET_BEGIN && tp[i].offset > MR_KAFKA_OFFSET_TAIL(0)))
            return mr_fail(err, MR_EINVAL, "kafka assign: topic \"%s\" partition %d offset %lld",
                           tp[i].topic ? tp[i].topic : "", (int)tp[i].partition,
                           (long long)tp[i].offset);
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka assign: no memory");
    end_pauses(c, c->held); /* a new assignment delivers everything */
    const rd_kafka_resp_err_t e = rd_kafka_assign(c->rk, list);
    if (!e) {
        drop_from(c->held, c->held);
        add_to(c->held, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka assign: %s", rd_kafka_err2str(e));
    return MR_OK;
}

bool mr_kafka_paused(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    return rd_kafka_topic_partition_list_find(c->paused, topic, partition) != NULL;
}

bool mr_kafka_any_paused(const mr_kafka_consumer *c) {
    return c->paused->cnt > 0;
}

int64_t mr_kafka_end(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    int64_t first = 0, end = -1;
    const rd_kafka_resp_err_t e =
        rd_kafka_get_watermark_offsets(c->rk, topic, partition, &first, &end);
    return e || end < 0 ? -1 : end;
}

typedef rd_kafka_resp_err_t partition_call(rd_kafka_t *, rd_kafka_topic_partition_list_t *);

static mr_status call_for_one(mr_kafka_consumer *c, partition_call *call, const char *what,
                              const char *topic, int32_t partition, mr_err *err) {
    const mr_kafka_tp one = {
        .topic = topic, .partition = partition, .offset = RD_KAFKA_OFFSET_INVALID};
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(&one, 1);
    rd_kafka_resp_err_t e = call(c->rk, list);
    if (!e) e = list->elems[0].err;
    rd_kafka_topic_partition_list_destroy(list);
    if (!e) return MR_OK;
    return mr_fail(err, mr_kafka_status(e), "kafka %s %s/%d: %s", what, topic, (int)partition,
                   rd_kafka_err2str(e));
}

/* Partitions of the assignment that on_assign is told of: pause_early does what was asked for. */
static bool is_new(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    return c->assigning && rd_kafka_topic_partition_list_find(c->assigning, topic, partition);
}

mr_status mr_kafka_pause(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err) {
    if (mr_kafka_paused(c, topic, partition)) return MR_OK;
    if (!rd_kafka_topic_partition_list_find(c->held, topic, partition))
        return mr_fail(err, MR_ENOTFOUND, "kafka pause %s/%d: the partition is not assigned", topic,
                       (int)partition);
    if (!is_new(c, topic, partition)) {
        const mr_status st =
            call_for_one(c, rd_kafka_pause_partitions, "pause", topic, partition, err);
        if (st != MR_OK) return st;
    }
    rd_kafka_topic_partition_list_add(c->paused, topic, partition);
    return MR_OK;
}

mr_status mr_kafka_resume(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err) {
    if (!mr_kafka_paused(c, topic, partition)) return MR_OK;
    if (!is_new(c, topic, partition)) {
        const mr_status st =
            call_for_one(c, rd_kafka_resume_partitions, "resume", topic, partition, err);
        if (st != MR_OK) return st;
    }
    rd_kafka_topic_partition_list_del(c->paused, topic, partition);
    return MR_OK;
}

mr_status mr_kafka_commit(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err) {
    if (n == 0) return MR_OK;
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka commit: no memory");
    const rd_kafka_resp_err_t e = rd_kafka_commit(c->rk, list, 1 /* asynchronous */);
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka commit: %s", rd_kafka_err2str(e));
    return MR_OK;
}

/* The error of the whole commit, or of its first partition that has one. */
static rd_kafka_resp_err_t commit_error(rd_kafka_event_t *ev) {
    rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    for (int i = 0; !e && list && i < list->cnt; i++) e = list->elems[i].err;
    return e;
}

mr_status mr_kafka_commit_sync(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n,
                               int timeout_ms, mr_err *err) {
    if (n == 0) return MR_OK;
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka commit: no memory");
    rd_kafka_queue_t *q = rd_kafka_queue_new(c->rk);
    /* Its own queue, because rd_kafka_commit would wait without a limit. */
    rd_kafka_resp_err_t e = rd_kafka_commit_queue(c->rk, list, q, NULL, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    if (!e) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, timeout_ms);
        e = ev ? commit_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (ev) rd_kafka_event_destroy(ev);
    }
    rd_kafka_queue_destroy(q);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka commit: %s", rd_kafka_err2str(e));
    return MR_OK;
}

mr_status mr_kafka_committed(mr_kafka_consumer *c, mr_kafka_tp *tp, size_t n, int timeout_ms,
                             char **text, mr_err *err) {
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    size_t bytes = 1;

    *text = NULL;
    if (!list) return mr_fail(err, MR_ENOMEM, "committed offsets: no memory");
    rd_kafka_resp_err_t e = rd_kafka_committed(c->rk, list, timeout_ms);
    for (int i = 0; !e && i < list->cnt; i++) {
        e = list->elems[i].err;
        bytes += list->elems[i].metadata_size;
    }
    char *to = e ? NULL : malloc(bytes);
    for (size_t i = 0; to && i < n; i++) {
        const rd_kafka_topic_partition_t *at = &list->elems[i]; /* in the order of tp */
        tp[i].offset = at->offset;
        tp[i].metadata = to;
        tp[i].metadata_len = at->metadata_size;
        if (at->metadata_size) memcpy(to, at->metadata, at->metadata_size);
        if (!*text) *text = to;
        to += at->metadata_size;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "committed offsets: %s", rd_kafka_err2str(e));
    if (!*text && n > 0) return mr_fail(err, MR_ENOMEM, "committed offsets: no memory");
    return MR_OK;
}

/* ---- for the committer ---- */

/* An empty member id would pass the coordinator unchecked: whoever lost its membership could still
 * commit. So the id must be there, before and after: it changes with every loss. */
rd_kafka_consumer_group_metadata_t *mr_kafka_generation(const mr_kafka_consumer *c) {
    char *before = rd_kafka_memberid(c->rk);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(c->rk);
    char *after = rd_kafka_memberid(c->rk);

    if (group && (!before || !*before || !after || strcmp(before, after) != 0)) {
        rd_kafka_consumer_group_metadata_destroy(group);
        group = NULL;
    }
    free(before);
    free(after);
    return group;
}

bool mr_kafka_may_commit(const mr_kafka_consumer *c) {
    return !c->rebalancing || !is_cooperative(c);
}
