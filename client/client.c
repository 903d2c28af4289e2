/* client.c - connect, submit, cancel; the loop that every call of the client runs.
 *
 * One uv loop without a thread: a call starts something, runs the loop until a counter moves or its time
 * is over, and returns. Kafka and Redis are reached through the same glue as in our programs. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"

enum { ENCODE_LIMIT = 16 << 20 };

static void on_timeout(uv_timer_t *t) {
    mr_client *c = t->data;
    c->timed_out = true;
}

bool mr_client_run(mr_client *c, const uint64_t *counter, uint64_t was, int64_t timeout_ms) {
    c->timed_out = false;
    uv_update_time(&c->loop);
    if (timeout_ms >= 0) uv_timer_start(&c->timer, on_timeout, (uint64_t)timeout_ms, 0);
    while (*counter == was && !c->timed_out && !c->interrupted) uv_run(&c->loop, UV_RUN_ONCE);
    uv_timer_stop(&c->timer);
    return *counter != was;
}

static void on_interrupt(uv_async_t *async) {
    (void)async; /* waking the loop is all; the flag says why */
}

void mr_interrupt(mr_client *c) {
    c->interrupted = 1;
    uv_async_send(&c->interrupt);
}

mr_status mr_client_late(mr_client *c, mr_err *err, const char *fmt, ...) {
    char text[256];
    va_list ap;
    if (c->interrupted) return mr_fail(err, MR_ECANCELED, "interrupted");
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return mr_fail(err, MR_ETIMEOUT, "%s", text);
}

/* ---- connect and close ---- */

static mr_status load_settings(mr_client *c, const mr_client_options *opt, mr_err *err) {
    const char *pairs[8];
    size_t n = 0;
    const struct { const char *name, *value; } given[] = {
        {"kafka_brokers", opt->kafka_brokers}, {"redis_url", opt->redis_url},
        {"topic_prefix", opt->topic_prefix}, {"redis_prefix", opt->redis_prefix}};
    for (size_t i = 0; i < MR_COUNT(given); i++) {
        if (!given[i].value) continue;
        pairs[n++] = given[i].name;
        pairs[n++] = given[i].value;
    }
    return mr_settings_load_pairs(&c->settings, MR_PROGRAM_CLIENT, opt->config_path, pairs, n / 2, err);
}

/* "a=b;c=d" -> list of "a=b", "c=d". */
static mr_status split_extra(mr_client *c, mr_err *err) {
    size_t n = 0;
    c->extra_text = strdup(c->settings.kafka_extra);
    if (!c->extra_text) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    char *save;
    for (char *item = strtok_r(c->extra_text, ";", &save); item; item = strtok_r(NULL, ";", &save)) {
        if (n == MR_CLIENT_MAX_EXTRA)
            return mr_fail(err, MR_EINVAL, "kafka_extra has more than %d properties", MR_CLIENT_MAX_EXTRA);
        c->extra[n++] = item;
    }
    return MR_OK;
}

typedef struct ack {
    uint64_t n; /* 1 when reported */
    mr_status status;
    char text[256];
} ack;

typedef struct sent { /* cookie of a produced record */
    ack *wait;        /* NULL: nobody waits */
    char job_id[MR_JOB_ID_LEN + 1];
} sent;

static void on_delivery(void *owner, void *cookie, mr_status status, const char *text,
                        int32_t partition, int64_t offset) {
    mr_client *c = owner;
    sent *s = cookie;
    (void)partition;
    (void)offset;
    c->events++;
    if (s->wait) {
        s->wait->n = 1;
        s->wait->status = status;
        snprintf(s->wait->text, sizeof s->wait->text, "%s", text ? text : "");
    } else if (status != MR_OK && status != MR_ECANCELED) {
        mr_client_submit_failed(c, s->job_id, text ? text : mr_status_name(status));
    }
    free(s);
}

mr_status mr_client_connect(mr_client **out, const mr_client_options *opt, mr_err *err) {
    static const mr_client_options none;
    mr_client *c = calloc(1, sizeof *c);
    char topic[256];
    int32_t n;

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    mr_arena_init(&c->wait_arena, 64u << 20);
    MR_CHECK(uv_loop_init(&c->loop) == 0);
    uv_timer_init(&c->loop, &c->timer);
    c->timer.data = c;
    MR_CHECK(uv_async_init(&c->loop, &c->interrupt, on_interrupt) == 0);
    mr_status st = load_settings(c, opt ? opt : &none, err);
    if (st == MR_OK) st = split_extra(c, err);
    if (st == MR_OK) {
        c->kafka = (mr_kafka_conf){c->settings.kafka_brokers, "millrace-client", c->extra};
        snprintf(c->topic_results, sizeof c->topic_results, "%s.results", c->settings.topic_prefix);
        snprintf(c->topic_control, sizeof c->topic_control, "%s.control", c->settings.topic_prefix);
        snprintf(topic, sizeof topic, "%s.jobs.normal", c->settings.topic_prefix);
        st = mr_kafka_partitions(&c->kafka, topic, MR_CLIENT_META_MS, &n, err);
        if (st == MR_ENOTFOUND)
            mr_fail(err, MR_EUNAVAIL, "topic %s is not there; has a millrace-dispatcher run on %s?",
                    topic, c->settings.kafka_brokers);
    }
    if (st == MR_OK)
        st = mr_kafka_producer_open(&c->producer, &c->loop, &c->kafka, on_delivery, c, err);
    if (st != MR_OK) {
        mr_client_close(c);
        return st == MR_ENOTFOUND ? MR_EUNAVAIL : st;
    }
    *out = c;
    return MR_OK;
}

static void close_handle(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

void mr_client_close(mr_client *c) {
    if (!c) return;
    mr_client_watch_close(c);
    mr_redis_close(c->subscriber);
    mr_redis_close(c->redis);
    mr_kafka_producer_close(c->producer);
    uv_walk(&c->loop, close_handle, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    MR_CHECK(uv_loop_close(&c->loop) == 0);
    for (size_t i = 0; i < c->own_cap; i++) free(c->own[i].bytes);
    free(c->own);
    free(c->ends);
    free(c->extra_text);
    mr_arena_drop(&c->wait_arena);
    mr_settings_free(&c->settings);
    free(c);
}

/* ---- submit ---- */

void mr_job_defaults(mr_job_spec *j) {
    *j = (mr_job_spec){.model = "", .tenant = "default", .stream = true,
                       .priority = MR_PRIORITY_NORMAL,
                       .params = {.temperature = 1, .top_p = 1, .repetition_penalty = 1}};
    mr_uuid_v7(j->job_id, mr_clock_wall_ms());
}

static mr_status produce(mr_client *c, const char *topic, const char *key, const char *job_id,
                         const void *bytes, size_t n, ack *wait, mr_err *err) {
    const mr_kafka_header type = {"content-type", "application/json", 16};
    sent *s = calloc(1, sizeof *s);
    if (!s) return mr_fail(err, MR_ENOMEM, "submit: out of memory");
    s->wait = wait;
    snprintf(s->job_id, sizeof s->job_id, "%s", job_id);
    const mr_status st = mr_kafka_send(c->producer, topic, MR_KAFKA_ANY_PARTITION, key, strlen(key),
                                       bytes, n, &type, 1, s, err);
    if (st != MR_OK) free(s);
    return st;
}

/* Encodes j and hands it to Kafka; wait as in produce. */
static mr_status send_job(mr_client *c, mr_job_spec *j, ack *wait, mr_err *err) {
    char topic[256];
    mr_arena arena;
    const void *bytes;
    size_t n;

    if (!j->job_id[0]) mr_uuid_v7(j->job_id, mr_clock_wall_ms());
    mr_status st = mr_client_mark_ends(c, err);
    if (st != MR_OK) return st;
    mr_arena_init(&arena, ENCODE_LIMIT);
    st = mr_codec_job_encode(j, MR_FORMAT_JSON, false, &arena, &bytes, &n);
    if (st != MR_OK)
        st = mr_fail(err, st, "job %s cannot be encoded: its text is not UTF-8, or too long", j->job_id);
    else if (n > MR_JOB_MAX_BYTES)
        st = mr_fail(err, MR_EINVAL, "job %s has %zu bytes encoded, must have at most %u", j->job_id, n,
                     MR_JOB_MAX_BYTES);
    if (st == MR_OK) {
        snprintf(topic, sizeof topic, "%s.jobs.%s", c->settings.topic_prefix,
                 mr_priority_name(j->priority));
        st = produce(c, topic, j->tenant, j->job_id, bytes, n, wait, err);
    }
    mr_arena_drop(&arena);
    if (st == MR_OK) st = mr_client_add_own(c, j->job_id, err);
    return st;
}

/* Waits for the one acknowledgement. On a time-out the record may still arrive: the ack must not die
 * before it is reported, so the producer is emptied first. */
static mr_status await(mr_client *c, ack *a, int timeout_ms, const char *what, mr_err *err) {
    if (!mr_client_run(c, &a->n, 0, timeout_ms)) {
        mr_kafka_producer_close(c->producer); /* reports it, cancelled */
        c->producer = NULL;
        const mr_status st = mr_kafka_producer_open(&c->producer, &c->loop, &c->kafka, on_delivery, c, err);
        if (st != MR_OK) return st;
        if (a->status != MR_OK)
            return mr_client_late(c, err, "%s: not acknowledged by %s within %d ms", what,
                                  c->settings.kafka_brokers, timeout_ms);
    }
    return a->status == MR_OK ? MR_OK : mr_fail(err, a->status, "%s: %s", what, a->text);
}

mr_status mr_submit(mr_client *c, mr_job_spec *j, int timeout_ms, mr_err *err) {
    ack a = {0};
    const mr_status st = send_job(c, j, &a, err);
    return st == MR_OK ? await(c, &a, timeout_ms, "submit", err) : st;
}

mr_status mr_submit_async(mr_client *c, mr_job_spec *j, mr_err *err) {
    return send_job(c, j, NULL, err);
}

mr_status mr_cancel(mr_client *c, const char *job_id, mr_err *err) {
    ack a = {0};
    mr_arena arena;
    const void *bytes;
    size_t n;

    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    mr_arena_init(&arena, 1 << 16);
    mr_status st = mr_codec_cancel_encode(job_id, &arena, &bytes, &n);
    if (st != MR_OK) mr_fail(err, st, "cancel: out of memory");
    else st = produce(c, c->topic_control, job_id, job_id, bytes, n, &a, err);
    mr_arena_drop(&arena);
    return st == MR_OK ? await(c, &a, MR_CLIENT_META_MS, "cancel", err) : st;
}

mr_status mr_poll(mr_client *c, int timeout_ms, mr_err *err) {
    const uint64_t was = c->events;
    uv_run(&c->loop, UV_RUN_NOWAIT);
    if (c->events != was || mr_client_run(c, &c->events, was, timeout_ms)) return MR_OK;
    return mr_client_late(c, err, "nothing happened within %d ms", timeout_ms);
}
