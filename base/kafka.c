/* kafka.c - what producer, consumer and admin calls have in common.
 *
 * librdkafka is told to keep its fingers off everything of ours: its log lines come to mr_log (from
 * its threads), its events are polled by the loop, and the only other thing that its threads do
 * here is uv_async_send. */
#include "base/kafka_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define MAX_TOPIC_NAME 249 /* Kafka's limit */
#define MAX_EXTRA_VALUE 4096 /* a PEM certificate */
#define MAX_EXTRA_NAME 128
#define MAX_EXTRA      64
#define MAX_HEADERS    64

const char *mr_kafka_version(void) {
    static char text[64];
    snprintf(text, sizeof text, "librdkafka %s", rd_kafka_version_str());
    return text;
}

bool mr_kafka_topic_ok(const char *topic) {
    const size_t n = topic ? strlen(topic) : 0;
    if (n == 0 || n > MAX_TOPIC_NAME) return false;
    return strspn(topic, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

mr_status mr_kafka_status(rd_kafka_resp_err_t e) {
    switch (e) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return MR_OK;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return MR_ETIMEOUT;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return MR_ELIMIT;
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
        return MR_ENOMEM;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return MR_ECANCELED;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return MR_ENOTFOUND;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return MR_EINVAL;
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
        return MR_EUNSUPPORTED;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
        return MR_EFENCED;
    default:
        return MR_EUNAVAIL; /* brokers away, moving, overloaded or refusing */
    }
}

mr_status mr_kafka_fail_error(rd_kafka_error_t *error, const char *what, mr_err *err) {
    const mr_status st = mr_fail(err, mr_kafka_status(rd_kafka_error_code(error)), "%s: %s", what,
                                 rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return st;
}

mr_status mr_kafka_headers_new(rd_kafka_headers_t **out, const mr_kafka_header *headers, size_t n,
                               mr_err *err) {
    *out = NULL;
    if (n == 0) return MR_OK;
    if (n > MAX_HEADERS)
        return mr_fail(err, MR_EINVAL, "kafka message: %zu headers, limit %d", n, MAX_HEADERS);
    rd_kafka_headers_t *h = rd_kafka_headers_new(n);
    for (size_t i = 0; i < n; i++) {
        const rd_kafka_resp_err_t e =
            rd_kafka_header_add(h, headers[i].name, -1, headers[i].value, (ssize_t)headers[i].len);
        if (!e) continue;
        rd_kafka_headers_destroy(h);
        return mr_fail(err, MR_EINVAL, "kafka header %s: %s", headers[i].name, rd_kafka_err2str(e));
    }
    *out = h;
    return MR_OK;
}

/* Runs on librdkafka's threads. What it calls an error it retries by itself: a warning of ours. */
static void on_log(const rd_kafka_t *rk, int syslog_level, const char *fac, const char *text) {
    /* One `kafka_extra` serves producers and consumers: what one of them ignores is no news. */
    if (strcmp(fac, "CONFWARN") == 0 && strstr(text, "will be ignored by this")) return;
    const mr_log_level level = syslog_level <= 2   ? MR_LOG_ERROR
                               : syslog_level <= 4 ? MR_LOG_WARN
                               : syslog_level <= 6 ? MR_LOG_INFO
                                                   : MR_LOG_DEBUG;
    mr_log(level, "kafka", "librdkafka", "client=%s fac=%s text=" MR_Q,
           rk ? rd_kafka_name(rk) : "-", fac, text);
}

static mr_status set(rd_kafka_conf_t *c, const char *name, const char *value, mr_err *err) {
    char why[256];
    if (rd_kafka_conf_set(c, name, value, why, sizeof why) == RD_KAFKA_CONF_OK) return MR_OK;
    return mr_fail(err, MR_EINVAL, "kafka property %s: %s", name, why);
}

/* One "name=value" of n bytes. Errors show names and places but no value: it may be a password. */
static mr_status set_extra(rd_kafka_conf_t *c, const char *pair, size_t n, size_t place, mr_err *err) {
    char name[MAX_EXTRA_NAME], value[MAX_EXTRA_VALUE];
    const char *eq = memchr(pair, '=', n);

    if (!eq || eq == pair)
        return mr_fail(err, MR_EINVAL, "kafka extra property %zu: not name=value", place + 1);
    const size_t n_name = (size_t)(eq - pair), n_value = n - n_name - 1;
    if (n_name >= sizeof name)
        return mr_fail(err, MR_EINVAL, "kafka property %.32s...: the name has %zu bytes, limit %d",
                       pair, n_name, MAX_EXTRA_NAME - 1);
    snprintf(name, sizeof name, "%.*s", (int)n_name, pair);
    if (n_value >= sizeof value)
        return mr_fail(err, MR_EINVAL, "kafka property %s: the value has %zu bytes, limit %d", name,
                       n_value, MAX_EXTRA_VALUE - 1);
    snprintf(value, sizeof value, "%.*s", (int)n_value, eq + 1);
    return set(c, name, value, err);
}

static mr_status set_all_extra(rd_kafka_conf_t *c, const char *extra, mr_err *err) {
    mr_status st = MR_OK;
    size_t place = 0;

    for (const char *p = extra ? extra : ""; *p && st == MR_OK; place++) {
        const size_t n = strcspn(p, ";");
        if (place == MAX_EXTRA)
            return mr_fail(err, MR_EINVAL, "kafka extra properties: more than %d", MAX_EXTRA);
        if (n > 0) st = set_extra(c, p, n, place, err); /* a last semicolon says nothing */
        p += n + (p[n] == ';');
    }
    return st;
}

mr_status mr_kafka_conf_new(rd_kafka_conf_t **out, const mr_kafka_conf *conf,
                            const mr_kafka_prop *props, size_t n_props, mr_err *err) {
    static const mr_kafka_prop common[] = {
        {"socket.nagle.disable", "true"}, /* 40 ms per small request without it */
        {"socket.keepalive.enable", "true"},
        {"log.connection.close", "false"}, /* brokers close idle connections: no news */
        {"reconnect.backoff.ms", "100"},
        {"reconnect.backoff.max.ms", "5000"},
    };
    mr_status st = MR_OK;
    rd_kafka_conf_t *c = rd_kafka_conf_new();

    *out = NULL;
    if (!conf->brokers || !*conf->brokers) {
        st = mr_fail(err, MR_EINVAL, "kafka brokers: empty; host:port expected");
        goto fail;
    }
    if ((st = set(c, "bootstrap.servers", conf->brokers, err)) != MR_OK) goto fail;
    if (conf->client_id && (st = set(c, "client.id", conf->client_id, err)) != MR_OK) goto fail;
    for (size_t i = 0; i < MR_COUNT(common); i++)
        if ((st = set(c, common[i].name, common[i].value, err)) != MR_OK) goto fail;
    for (size_t i = 0; i < n_props; i++)
        if ((st = set(c, props[i].name, props[i].value, err)) != MR_OK) goto fail;
    if ((st = set_all_extra(c, conf->extra, err)) != MR_OK) goto fail;
    rd_kafka_conf_set_log_cb(c, on_log);
    *out = c;
    return MR_OK;
fail:
    rd_kafka_conf_destroy(c);
    return st;
}

mr_status mr_kafka_client_new(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *rk_conf,
                              mr_err *err) {
    char why[256];
    mr_kafka_tsan_link();
    *out = rd_kafka_new(type, rk_conf, why, sizeof why);
    if (*out) return MR_OK;
    rd_kafka_conf_destroy(rk_conf); /* rd_kafka_new takes it on success only */
    return mr_fail(err, MR_EINVAL, "kafka client: %s", why);
}

const void *mr_kafka_msg_header(const mr_kafka_msg *m, const char *name, size_t *len) {
    for (size_t i = m->n_headers; i > 0; i--) {
        const mr_kafka_header *h = &m->headers[i - 1];
        if (strcmp(h->name, name) != 0) continue;
        *len = h->len;
        return h->value;
    }
    *len = 0;
    return NULL;
}

/* ---- waking the loop ---- */

/* librdkafka's thread, under the lock of its queue. */
static void on_queue_event(rd_kafka_t *rk, void *opaque) {
    (void)rk;
    uv_async_send(opaque);
}

static void on_async(uv_async_t *a) {
    mr_kafka_wake *w = a->data;
    if (w->serve(w->owner)) uv_async_send(&w->async);
}

static void on_tick(uv_timer_t *t) {
    mr_kafka_wake *w = t->data;
    if (w->serve(w->owner)) uv_async_send(&w->async);
}

void mr_kafka_wake_watch(mr_kafka_wake *w, rd_kafka_queue_t *queue) {
    if (w->queue) rd_kafka_queue_cb_event_enable(w->queue, NULL, NULL);
    w->queue = queue;
    if (!queue) return;
    rd_kafka_queue_cb_event_enable(queue, on_queue_event, &w->async);
    uv_async_send(&w->async); /* for what lay in the queue before */
}

mr_status mr_kafka_wake_open(mr_kafka_wake *w, uv_loop_t *loop, rd_kafka_queue_t *queue,
                             bool (*serve)(void *owner), void *owner, mr_err *err) {
    const int rc = uv_async_init(loop, &w->async, on_async);
    if (rc) return mr_fail(err, MR_EUNAVAIL, "kafka: no wake-up handle: %s", uv_strerror(rc));
    uv_timer_init(loop, &w->tick);
    w->async.data = w->tick.data = w;
    w->n_open = 2;
    w->serve = serve;
    w->owner = owner;
    w->queue = NULL;
    uv_timer_start(&w->tick, on_tick, MR_KAFKA_TICK_MS, MR_KAFKA_TICK_MS);
    mr_kafka_wake_watch(w, queue);
    return MR_OK;
}

static void on_handle_closed(uv_handle_t *h) {
    mr_kafka_wake *w = h->data;
    if (--w->n_open == 0) w->gone(w->owner);
}

void mr_kafka_wake_close(mr_kafka_wake *w, void (*gone)(void *owner)) {
    MR_CHECK(w->queue == NULL);
    w->gone = gone;
    uv_close((uv_handle_t *)&w->async, on_handle_closed);
    uv_close((uv_handle_t *)&w->tick, on_handle_closed);
}
