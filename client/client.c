/* client.c - connect, submit, cancel; the loop that every call of the client runs.
 *
 * One uv loop without a thread: a call starts something, runs the loop until a counter moves or its
 * time is over, and returns. Kafka and Redis are reached through the same glue as in our programs.
 * What waits for an answer never lives on a caller's stack: an answer may come after the call has
 * given up. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"
#include "schemas/codec_utf8.h"
#include "schemas/headers.h"

enum { ENCODE_LIMIT = 16 << 20 };

static void on_timeout(uv_timer_t *t) {
    mr_client *c = t->data;
    c->timed_out = true;
}

/* libuv writes to sockets in a way that raises SIGPIPE when the peer has gone, and a library may
 * not end its program. So the signal is held back in this thread while the loop runs, and what was
 * raised meanwhile is taken away. All writing is done by the loop. */
static void turn(mr_client *c, uv_run_mode mode) {
    const struct timespec at_once = {.tv_sec = 0};
    sigset_t pipe_signal, old, pending;

    MR_CHECK(!c->in_loop); /* millrace.h: a callback may not call what waits */
    c->in_loop = true;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
    uv_run(&c->loop, mode);
    if (!sigismember(&pending, SIGPIPE)) sigtimedwait(&pipe_signal, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    c->in_loop = false;
}

bool mr_client_run(mr_client *c, const uint64_t *counter, uint64_t was, int64_t timeout_ms) {
    c->timed_out = false;
    uv_update_time(&c->loop);
    if (timeout_ms >= 0) uv_timer_start(&c->timer, on_timeout, (uint64_t)timeout_ms, 0);
    while (*counter == was && !c->timed_out && !c->interrupted) turn(c, UV_RUN_ONCE);
    uv_timer_stop(&c->timer);
    return *counter != was;
}

uint64_t mr_client_end_ms(int timeout_ms) {
    return timeout_ms < 0 ? MR_CLIENT_NEVER : mr_clock_mono_ms() + (uint64_t)timeout_ms;
}

int64_t mr_client_left_ms(uint64_t end_ms) {
    const uint64_t now_ms = mr_clock_mono_ms();
    if (end_ms == MR_CLIENT_NEVER) return -1;
    return now_ms < end_ms ? (int64_t)(end_ms - now_ms) : 0;
}

static void on_interrupt(uv_async_t *async) {
    (void)async; /* waking the loop is all; the flag says why */
}

void mr_interrupt(mr_client *c) {
    c->interrupted = true;
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
    const struct {
        const char *name, *value;
    } given[] = {{"kafka_brokers", opt->kafka_brokers},
                 {"redis_url", opt->redis_url},
                 {"topic_prefix", opt->topic_prefix},
                 {"redis_prefix", opt->redis_prefix}};
    for (size_t i = 0; i < MR_COUNT(given); i++) {
        if (!given[i].value) continue;
        pairs[n++] = given[i].name;
        pairs[n++] = given[i].value;
    }
    return mr_settings_load_pairs(&c->settings, MR_PROGRAM_CLIENT, opt->config_path, pairs, n / 2,
                                  err);
}

/* A record on its way to the brokers, the cookie of its delivery report. */
typedef struct sent {
    bool is_job, awaited; /* awaited: freed by who waits, else by the report */
    uint64_t n_reports;   /* 0 or 1 */
    mr_status status;
    char text[256];
    char job_id[MR_JOB_ID_LEN + 1];
    mr_client_send trace;
} sent;

static void on_delivery(void *owner, void *cookie, mr_status status, const char *text,
                        int32_t partition, int64_t offset) {
    mr_client *c = owner;
    sent *s = cookie;
    (void)partition;
    (void)offset;
    c->events++;
    s->status = status;
    snprintf(s->text, sizeof s->text, "%s", text && text[0] ? text : mr_status_name(status));
    s->n_reports = 1;
    mr_client_trace_end(c, &s->trace, s->job_id, status);
    if (s->awaited) return;
    if (s->is_job && status != MR_OK && !c->closing) mr_client_submit_failed(c, s->job_id, s->text);
    free(s);
}

/* Whether the brokers answer and the topics are there is told by an answer that is needed anyway.
 */
static mr_status open_kafka(mr_client *c, mr_err *err) {
    c->kafka = (mr_kafka_conf){c->settings.kafka_brokers, "millrace-client", c->settings.kafka_extra};
    snprintf(c->topic_results, sizeof c->topic_results, "%s.results", c->settings.topic_prefix);
    snprintf(c->topic_control, sizeof c->topic_control, "%s.control", c->settings.topic_prefix);
    mr_status st = mr_client_mark_ends(c, err);
    if (st == MR_ENOTFOUND)
        st =
            mr_fail(err, MR_EUNAVAIL, "topic %s is not there; has a millrace-dispatcher run on %s?",
                    c->topic_results, c->settings.kafka_brokers);
    return st;
}

mr_status mr_client_connect(mr_client **out, const mr_client_options *opt, mr_err *err) {
    static const mr_client_options none;
    mr_client *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    mr_arena_init(&c->wait_arena, 64u << 20);
    MR_CHECK(uv_loop_init(&c->loop) == 0);
    uv_timer_init(&c->loop, &c->timer);
    c->timer.data = c;
    MR_CHECK(uv_async_init(&c->loop, &c->interrupt, on_interrupt) == 0);
    mr_status st = load_settings(c, opt ? opt : &none, err);
    if (st == MR_OK) st = mr_client_trace_open(c, err);
    if (st == MR_OK) st = open_kafka(c, err);
    if (st != MR_OK) {
        mr_client_close(c);
        return st;
    }
    *out = c;
    return MR_OK;
}

void mr_client_close(mr_client *c) {
    if (!c) return;
    MR_CHECK(!c->in_loop);
    c->closing = true;
    mr_client_watch_close(c);
    mr_redis_close(c->subscriber);
    mr_redis_close(c->redis);
    mr_kafka_producer_close(c->producer);
    mr_otlp_close(c->otlp); /* the producer has reported on every job */
    uv_close((uv_handle_t *)&c->timer, NULL);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
    turn(c, UV_RUN_DEFAULT);
    MR_CHECK(uv_loop_close(&c->loop) == 0);
    mr_own_drop(&c->own);
    free(c->ends);
    mr_arena_drop(&c->wait_arena);
    mr_settings_free(&c->settings);
    free(c);
}

/* ---- submit ---- */

void mr_job_defaults(mr_job_spec *j) {
    mr_codec_job_defaults(j);
    mr_uuid_v7(j->job_id, mr_clock_wall_ms());
}

static mr_status produce(mr_client *c, const char *topic, const char *key, mr_format format,
                         const void *bytes, size_t n, const mr_trace *trace, sent *s, mr_err *err) {
    const char *name = mr_format_content_type(format);
    mr_kafka_header headers[1 + MR_TRACE_HEADERS] = {{"content-type", name, strlen(name)}};
    const size_t n_headers = 1 + mr_trace_headers(trace, headers + 1);
    /* Opened by the first record: librdkafka looks for a topic that it is asked for right at its
     * start, and up to a second later when it has fallen asleep. */
    const mr_status st = c->producer ? MR_OK
                                     : mr_kafka_producer_open(&c->producer, &c->loop, &c->kafka,
                                                              on_delivery, c, err);
    if (st != MR_OK) return st;
    return mr_kafka_send(c->producer, topic, MR_KAFKA_ANY_PARTITION, key, strlen(key), bytes, n,
                         headers, n_headers, s, err);
}

static sent *new_sent(const char *job_id, bool is_job, bool awaited, mr_err *err) {
    sent *s = calloc(1, sizeof *s);
    if (!s) {
        mr_fail(err, MR_ENOMEM, "submit: out of memory");
        return NULL;
    }
    s->is_job = is_job;
    s->awaited = awaited;
    snprintf(s->job_id, sizeof s->job_id, "%s", job_id);
    return s;
}

/* A record that cannot be decoded would never be answered. */
static mr_status check_text(const mr_job_spec *j, const char *what, const char *s, size_t n,
                            mr_err *err) {
    const size_t ok = mr_utf8_check(s, n);
    if (ok == n) return MR_OK;
    return mr_fail(err, MR_EINVAL, "job %s: the %s is not UTF-8 at byte %zu", j->job_id, what, ok);
}

static mr_status check_job(mr_job_spec *j, mr_err *err) {
    if (!j->job_id[0]) mr_uuid_v7(j->job_id, mr_clock_wall_ms());
    if (!memchr(j->job_id, 0, sizeof j->job_id) || !mr_uuid_valid(j->job_id, strlen(j->job_id)))
        return mr_fail(err, MR_EINVAL, "job_id is \"%.36s\", must be a UUID", j->job_id);
    if ((unsigned)j->priority >= MR_PRIORITY_N)
        return mr_fail(err, MR_EINVAL, "job %s: priority is %d, must be 0..%d", j->job_id,
                       j->priority, MR_PRIORITY_N - 1);
    if ((unsigned)j->reply_format > MR_FORMAT_MSGPACK)
        return mr_fail(err, MR_EINVAL, "job %s: reply_format is %d, must be 0..1", j->job_id,
                       j->reply_format);
    if (!j->model) j->model = "";
    if (!j->tenant) j->tenant = "default";
    if (j->idempotency_key) {
        const mr_status st = check_text(j, "idempotency key", j->idempotency_key,
                                        strlen(j->idempotency_key), err);
        if (st != MR_OK) return st;
    }
    if (j->input == MR_INPUT_PROMPT) return check_text(j, "prompt", j->prompt, j->prompt_len, err);
    for (size_t i = 0; j->input == MR_INPUT_MESSAGES && i < j->n_messages; i++) {
        const mr_message *m = &j->messages[i];
        const mr_status st = check_text(j, "message", m->content, m->content_len, err);
        if (st != MR_OK) return st;
    }
    return MR_OK;
}

/* Encodes j and hands it to Kafka. */
static mr_status send_job(mr_client *c, const mr_job_spec *j, sent *s, mr_err *err) {
    char topic[256];
    mr_arena arena;
    mr_trace trace;
    const void *bytes;
    size_t n;

    mr_arena_init(&arena, ENCODE_LIMIT);
    mr_status st = mr_codec_job_encode(j, j->reply_format, false, &arena, &bytes, &n);
    if (st != MR_OK)
        st = mr_fail(err, st, "job %s cannot be encoded: it is too long, or out of memory",
                     j->job_id);
    else if (n > MR_JOB_MAX_BYTES)
        st = mr_fail(err, MR_EINVAL, "job %s has %zu bytes encoded, must have at most %u",
                     j->job_id, n, MR_JOB_MAX_BYTES);
    if (st == MR_OK) {
        snprintf(topic, sizeof topic, "%s.jobs.%s", c->settings.topic_prefix,
                 mr_priority_name(j->priority));
        mr_client_trace_begin(c, j, &trace, &s->trace);
        st = produce(c, topic, j->tenant, j->reply_format, bytes, n, &trace, s, err);
    }
    mr_arena_drop(&arena);
    return st;
}

/* Waits for the acknowledgement, and frees s or leaves it to the report. */
static mr_status await(mr_client *c, sent *s, int timeout_ms, const char *what, mr_err *err) {
    if (!mr_client_run(c, &s->n_reports, 0, timeout_ms)) {
        s->awaited = false;
        s->is_job = false; /* the caller is told here */
        return mr_client_late(c, err, "%s: not acknowledged by %s within %d ms", what,
                              c->settings.kafka_brokers, timeout_ms);
    }
    const mr_status st =
        s->status == MR_OK ? MR_OK : mr_fail(err, s->status, "%s: %s", what, s->text);
    free(s);
    return st;
}

/* The job is remembered first: once it is sent nothing may fail. */
static mr_status begin_submit(mr_client *c, mr_job_spec *j, bool awaited, sent **out, mr_err *err) {
    mr_status st = check_job(j, err);
    if (st == MR_OK && c->interrupted) st = mr_client_late(c, err, "submit");
    if (st == MR_OK && !c->on_result)
        st = mr_own_add(&c->own, j->job_id, err); /* a watcher hears of all */
    if (st != MR_OK) return st;
    sent *s = new_sent(j->job_id, true, awaited, err);
    if (!s) return MR_ENOMEM;
    st = send_job(c, j, s, err);
    if (st != MR_OK)
        free(s);
    else if (out)
        *out = s;
    return st;
}

mr_status mr_submit(mr_client *c, mr_job_spec *j, int timeout_ms, mr_err *err) {
    sent *s = NULL;
    const mr_status st = begin_submit(c, j, true, &s, err);
    return st == MR_OK ? await(c, s, timeout_ms, "submit", err) : st;
}

mr_status mr_submit_async(mr_client *c, mr_job_spec *j, mr_err *err) {
    return begin_submit(c, j, false, NULL, err);
}

mr_status mr_client_produce(mr_client *c, const char *topic, const char *job_id, const void *bytes,
                            size_t n, mr_err *err) {
    if (c->interrupted) return mr_client_late(c, err, "%s", topic);
    sent *s = new_sent(job_id, false, true, err);
    if (!s) return MR_ENOMEM;
    const mr_status st =
        produce(c, topic, job_id, MR_FORMAT_JSON, bytes, n, &c->environment, s, err);
    if (st == MR_OK) return await(c, s, MR_CLIENT_META_MS, topic, err);
    free(s);
    return st;
}

mr_status mr_cancel(mr_client *c, const char *job_id, mr_err *err) {
    mr_arena arena;
    const void *bytes;
    size_t n;

    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    mr_arena_init(&arena, 1 << 16);
    const mr_status st =
        mr_codec_cancel_encode(job_id, &arena, &bytes, &n) == MR_OK
            ? mr_client_produce(c, c->topic_control, job_id, bytes, n, err)
            : mr_fail(err, MR_ENOMEM, "cancel: out of memory");
    mr_arena_drop(&arena);
    return st;
}

mr_status mr_poll(mr_client *c, int timeout_ms, mr_err *err) {
    const uint64_t was = c->events;
    if (!c->interrupted) turn(c, UV_RUN_NOWAIT);
    if (!c->interrupted && c->events == was && !c->results_failed)
        (void)mr_client_run(c, &c->events, was, timeout_ms);
    if (c->results_failed) return mr_fail(err, c->results_err.status, "%s", c->results_err.text);
    if (!c->interrupted && c->events != was) return MR_OK;
    return mr_client_late(c, err, "nothing happened within %d ms", timeout_ms);
}
