/* otlp.c - see otlp.h.
 *
 * Two buffers: one is filled, the other is on its way, or waits for its next try. At most one
 * request is under way, so a slow collector is never pressed, and what it does not take in time
 * piles up in the first buffer until that is full.
 *
 *     IDLE     a first span starts the linger; half a buffer ends it
 *     FLYING   the collector has not answered
 *     WAITING  it could not be reached, or asked to be left alone; the same request again
 *
 * What the standard calls retryable is tried again: no connection, 429, 502, 503, 504. Anything
 * else but success says that the same request will fail again. Closing sends what is left, each
 * request once, and gives up when the time for it is over. */
#include "base/otlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetch.h"
#include "base/log.h"

#define TRACES_PATH "/v1/traces"

enum {
    HEAD_MAX = 2048,
    HEADERS_MAX = 16,
    HEADERS_TEXT = 4096,
    URL_MAX = 2048,
    ANSWER_MAX = 4096, /* bytes of an answer that are read: nothing in it is needed */
    TAIL = sizeof MR_SPAN_TAIL - 1
};

typedef struct batch {
    char *bytes; /* [MR_OTLP_BYTES], from its first span on */
    size_t len;  /* without the tail, for which there is always room */
    size_t n_spans;
} batch;

typedef enum otlp_state { IDLE, FLYING, WAITING } otlp_state;

struct mr_otlp {
    mr_fetch *fetch;
    uv_timer_t timer; /* linger, or the next try */
    uv_timer_t limit; /* of closing */
    int n_open;       /* handles */
    otlp_state state;
    batch fill, sent;
    unsigned tries; /* of sent */
    bool failing;   /* the last answer was none, or bad */
    bool closing;
    mr_otlp_stats stats;
    char head[HEAD_MAX], url[URL_MAX + sizeof TRACES_PATH];
    char headers_text[HEADERS_TEXT + 1];
    mr_fetch_header headers[HEADERS_MAX];
    size_t n_headers;
};

/* ---- buffers ---- */

static void forget(batch *b) {
    b->len = b->n_spans = 0;
}

/* False: there is no room for it. */
static bool append(mr_otlp *o, batch *b, const mr_trace_span *s) {
    const size_t most = MR_OTLP_BYTES - TAIL;
    const char *before = b->n_spans ? "," : o->head;
    const size_t n = strlen(before);

    if (!b->bytes) b->bytes = malloc(MR_OTLP_BYTES);
    if (!b->bytes || b->n_spans == MR_OTLP_SPANS || n >= most - b->len) return false;
    memcpy(b->bytes + b->len, before, n);
    const size_t written = mr_span_write(s, b->bytes + b->len + n, most - b->len - n);
    if (!written) return false;
    b->len += n + written;
    b->n_spans++;
    return true;
}

static bool half_full(const batch *b) {
    return b->n_spans >= MR_OTLP_SPANS / 2 || b->len >= MR_OTLP_BYTES / 2;
}

/* ---- requests ---- */

static void on_timer(uv_timer_t *timer);
static void close_now(mr_otlp *o);

static void judge(mr_otlp *o, bool ok, int code, const char *why) {
    if (ok == !o->failing) return;
    o->failing = !ok;
    if (ok)
        mr_log(MR_LOG_INFO, "otlp", "the collector takes spans again", NULL);
    else
        mr_log(MR_LOG_WARN, "otlp", "the collector does not take spans: some will be missing",
               "code=%d err=" MR_Q, code, why);
}

static void drop_sent(mr_otlp *o) {
    o->stats.dropped += o->sent.n_spans;
    forget(&o->sent);
}

static void wait_for_more(mr_otlp *o) {
    o->state = IDLE;
    if (o->fill.n_spans)
        uv_timer_start(&o->timer, on_timer,
                       o->closing || half_full(&o->fill) ? 0 : MR_OTLP_LINGER_MS, 0);
    else if (o->closing)
        close_now(o);
}

static void post(mr_otlp *o) {
    mr_err err = {0};

    memcpy(o->sent.bytes + o->sent.len, MR_SPAN_TAIL, TAIL);
    const mr_fetch_request r = {.method = "POST",
                                .url = o->url,
                                .headers = o->headers,
                                .n_headers = o->n_headers,
                                .body = o->sent.bytes,
                                .len = o->sent.len + TAIL,
                                .timeout_ms = MR_OTLP_TIMEOUT_MS,
                                .max_answer = ANSWER_MAX};
    o->tries++;
    o->state = FLYING;
    if (mr_fetch_send(o->fetch, &r, NULL, NULL, &err) == MR_OK) return;
    judge(o, false, 0, err.text);
    drop_sent(o);
    wait_for_more(o);
}

/* Milliseconds until the next try of what got this answer; 0: it makes no sense. */
static uint64_t retry_in(const mr_otlp *o, const mr_fetch_answer *a) {
    const bool later = a->status != MR_OK || a->code == 429 || (a->code >= 502 && a->code <= 504);
    const uint64_t own_ms = (uint64_t)MR_OTLP_RETRY_MS << (o->tries - 1);
    const uint64_t asked_ms =
        a->retry_after_s < MR_OTLP_PAUSE_MS / 1000 ? a->retry_after_s * 1000 : MR_OTLP_PAUSE_MS;

    if (!later || o->closing || o->tries >= MR_OTLP_TRIES) return 0;
    return asked_ms > own_ms ? asked_ms : own_ms;
}

static void on_answer(void *owner, void *arg, const mr_fetch_answer *a) {
    mr_otlp *o = owner;
    const bool ok = a->status == MR_OK && a->code >= 200 && a->code < 300;
    uint64_t ms = 0;

    (void)arg;
    if (a->status == MR_ECANCELED) return; /* close_now has the last word */
    judge(o, ok, a->code, a->why);
    if (ok) {
        o->stats.sent += o->sent.n_spans;
        forget(&o->sent);
    } else if ((ms = retry_in(o, a)) > 0) {
        o->state = WAITING;
        uv_timer_start(&o->timer, on_timer, ms, 0);
        return;
    } else {
        drop_sent(o);
    }
    wait_for_more(o);
}

static void on_timer(uv_timer_t *timer) {
    mr_otlp *o = timer->data;

    if (o->state == IDLE) {
        const batch full = o->fill;
        o->fill = o->sent;
        o->sent = full;
        o->tries = 0;
    }
    post(o);
}

void mr_otlp_add(mr_otlp *o, const mr_trace_span *s) {
    if (!o) return;
    if (o->closing || !append(o, &o->fill, s)) {
        o->stats.dropped++;
        return;
    }
    if (o->state != IDLE) return;
    if (o->fill.n_spans == 1)
        uv_timer_start(&o->timer, on_timer, MR_OTLP_LINGER_MS, 0);
    else if (half_full(&o->fill))
        uv_timer_start(&o->timer, on_timer, 0, 0);
}

mr_otlp_stats mr_otlp_get_stats(const mr_otlp *o) {
    return o ? o->stats : (mr_otlp_stats){0};
}

/* ---- open and close ---- */

/* Cuts "name=value;name=value" in place. */
static mr_status split_headers(mr_otlp *o, const char *text, mr_err *err) {
    char *next = NULL;

    if (strlen(text) > HEADERS_TEXT)
        return mr_fail(err, MR_EINVAL, "otlp_headers: at most %d bytes", HEADERS_TEXT);
    strcpy(o->headers_text, text);
    o->headers[o->n_headers++] = (mr_fetch_header){"content-type", "application/json"};
    for (char *pair = strtok_r(o->headers_text, ";", &next); pair;
         pair = strtok_r(NULL, ";", &next)) {
        char *equals = strchr(pair, '=');
        if (!equals || o->n_headers == HEADERS_MAX)
            return mr_fail(err, MR_EINVAL, "otlp_headers: at most %d pairs name=value",
                           HEADERS_MAX - 1);
        *equals = '\0';
        o->headers[o->n_headers++] = (mr_fetch_header){pair, equals + 1};
    }
    return MR_OK;
}

static mr_status make_url(mr_otlp *o, const char *endpoint, mr_err *err) {
    const size_t path = sizeof TRACES_PATH - 1;
    size_t n = strlen(endpoint);

    while (n && endpoint[n - 1] == '/') n--;
    if (n > URL_MAX) return mr_fail(err, MR_EINVAL, "otlp_endpoint: at most %d bytes", URL_MAX);
    const bool whole = n > path && memcmp(endpoint + n - path, TRACES_PATH, path) == 0;
    snprintf(o->url, sizeof o->url, "%.*s%s", (int)n, endpoint, whole ? "" : TRACES_PATH);
    return MR_OK;
}

mr_status mr_otlp_open(mr_otlp **out, uv_loop_t *loop, const mr_otlp_conf *conf, mr_err *err) {
    const mr_fetch_conf fetch = {
        .user_agent = "millrace/" MR_VERSION, .max_calls = 1, .max_per_host = 1};
    mr_otlp *o;

    *out = NULL;
    if (!conf->endpoint[0]) return MR_OK;
    if (!(o = calloc(1, sizeof *o))) return mr_fail(err, MR_ENOMEM, "otlp: out of memory");
    mr_status st = make_url(o, conf->endpoint, err);
    if (st == MR_OK) st = split_headers(o, conf->headers, err);
    if (st == MR_OK &&
        !mr_span_head(o->head, sizeof o->head, conf->service, conf->instance, MR_VERSION))
        st = mr_fail(err, MR_EINVAL, "otlp: the name of this process is too long");
    if (st == MR_OK) st = mr_fetch_open(&o->fetch, loop, &fetch, on_answer, o, err);
    if (st != MR_OK) {
        free(o);
        return st;
    }
    uv_timer_init(loop, &o->timer);
    uv_timer_init(loop, &o->limit);
    o->timer.data = o->limit.data = o;
    o->n_open = 2;
    *out = o;
    return MR_OK;
}

static void on_closed(uv_handle_t *h) {
    mr_otlp *o = h->data;

    if (--o->n_open > 0) return;
    free(o->fill.bytes);
    free(o->sent.bytes);
    free(o);
}

static void close_now(mr_otlp *o) {
    const size_t left = o->fill.n_spans + o->sent.n_spans;

    if (left) mr_log(MR_LOG_WARN, "otlp", "spans not sent before the end", "n=%zu", left);
    mr_fetch_close(o->fetch);
    uv_close((uv_handle_t *)&o->timer, on_closed);
    uv_close((uv_handle_t *)&o->limit, on_closed);
}

static void on_limit(uv_timer_t *timer) {
    close_now(timer->data);
}

void mr_otlp_close(mr_otlp *o) {
    if (!o) return;
    o->closing = true;
    uv_update_time(o->limit.loop); /* what closed before us may have taken a while */
    uv_timer_start(&o->limit, on_limit, MR_OTLP_CLOSE_MS, 0);
    if (o->state == IDLE)
        wait_for_more(o);
    else if (o->state == WAITING)
        uv_timer_start(&o->timer, on_timer, 0, 0);
}
