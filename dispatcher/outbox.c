/* outbox.c - see outbox.h. A record is one allocation; those that Kafka has not taken (local queue
 * full) or has given up on (timed out) stand in a retry list, tried again by a timer. */
#include "dispatcher/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { RETRY_MS = 200, MAX_HEADERS = 12 };

typedef struct record record;
struct record {
    record *prev, *next; /* in all, or in retry */
    mr_outbox *owner_box;
    mr_outbox_done *done;
    void *owner, *arg;
    const char *topic, *key;
    int32_t partition;
    const void *value;
    size_t len, n_headers;
    mr_kafka_header headers[MAX_HEADERS];
    char bytes[]; /* what the pointers above point into */
};

struct mr_outbox {
    mr_kafka_producer *producer;
    uv_timer_t timer;
    record *retry_head, *retry_tail;
    size_t n; /* records not acknowledged, in flight and in retry */
    bool closing;
};

static void *put(char **at, const void *bytes, size_t n) {
    char *p = *at;
    memcpy(p, bytes, n);
    *at = p + n;
    return p;
}

static record *record_make(const char *topic, int32_t partition, const char *key, const void *value,
                           size_t len, const mr_kafka_header *headers, size_t n_headers) {
    size_t bytes = strlen(topic) + 1 + (key ? strlen(key) + 1 : 0) + len;
    MR_CHECK(n_headers <= MAX_HEADERS);
    for (size_t i = 0; i < n_headers; i++) bytes += strlen(headers[i].name) + 1 + headers[i].len;

    record *r = calloc(1, sizeof *r + bytes);
    if (!r) return NULL;
    char *at = r->bytes;
    r->topic = put(&at, topic, strlen(topic) + 1);
    if (key) r->key = put(&at, key, strlen(key) + 1);
    r->value = put(&at, value, len);
    r->len = len;
    r->partition = partition;
    r->n_headers = n_headers;
    for (size_t i = 0; i < n_headers; i++) {
        r->headers[i].name = put(&at, headers[i].name, strlen(headers[i].name) + 1);
        r->headers[i].value = put(&at, headers[i].value, headers[i].len);
        r->headers[i].len = headers[i].len;
    }
    return r;
}

static void record_end(record *r, mr_status status, int64_t offset) {
    r->owner_box->n--;
    if (r->done) r->done(r->owner, r->arg, status, offset);
    free(r);
}

static void retry_later(record *r) {
    mr_outbox *o = r->owner_box;
    r->next = NULL;
    r->prev = o->retry_tail;
    if (o->retry_tail) o->retry_tail->next = r;
    else o->retry_head = r;
    o->retry_tail = r;
}

/* False: Kafka's local queue is full, r stays with the caller. */
static bool try_send(record *r) {
    mr_err err;
    const mr_status st =
        mr_kafka_send(r->owner_box->producer, r->topic, r->partition, r->key,
                      r->key ? strlen(r->key) : 0, r->value, r->len, r->headers, r->n_headers, r, &err);
    if (st == MR_OK) return true;
    if (st != MR_EINVAL) return false;
    mr_log(MR_LOG_ERROR, "outbox", "record refused", "topic=%s key=%s bytes=%zu err=" MR_Q, r->topic,
           r->key ? r->key : "", r->len, err.text);
    record_end(r, MR_EINVAL, -1);
    return true;
}

static void on_timer(uv_timer_t *t) {
    mr_outbox *o = t->data;
    while (o->retry_head) {
        record *r = o->retry_head;
        o->retry_head = r->next;
        if (!o->retry_head) o->retry_tail = NULL;
        else o->retry_head->prev = NULL;
        if (!try_send(r)) {
            r->prev = NULL;
            r->next = o->retry_head;
            if (o->retry_head) o->retry_head->prev = r;
            else o->retry_tail = r;
            o->retry_head = r;
            return;
        }
    }
}

static void on_delivery(void *owner, void *cookie, mr_status status, const char *err_text,
                        int32_t partition, int64_t offset) {
    mr_outbox *o = owner;
    record *r = cookie;
    (void)partition;
    if (status == MR_OK || status == MR_EINVAL || o->closing) {
        if (status == MR_EINVAL)
            mr_log(MR_LOG_ERROR, "outbox", "record refused", "topic=%s err=" MR_Q, r->topic, err_text);
        record_end(r, status, offset);
        return;
    }
    mr_log(MR_LOG_WARN, "outbox", "record not acknowledged, trying again", "topic=%s err=" MR_Q,
           r->topic, err_text);
    retry_later(r);
}

mr_status mr_outbox_open(mr_outbox **out, uv_loop_t *loop, const mr_kafka_conf *conf, mr_err *err) {
    mr_outbox *o = calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return mr_fail(err, MR_ENOMEM, "outbox: out of memory");
    const mr_status st = mr_kafka_producer_open(&o->producer, loop, conf, on_delivery, o, err);
    if (st != MR_OK) {
        free(o);
        return st;
    }
    uv_timer_init(loop, &o->timer);
    o->timer.data = o;
    uv_timer_start(&o->timer, on_timer, RETRY_MS, RETRY_MS);
    *out = o;
    return MR_OK;
}

static void on_closed(uv_handle_t *h) {
    free(h->data);
}

void mr_outbox_close(mr_outbox *o) {
    if (!o) return;
    o->closing = true;
    mr_kafka_producer_close(o->producer); /* reports what was in flight */
    while (o->retry_head) {
        record *r = o->retry_head;
        o->retry_head = r->next;
        record_end(r, MR_ECANCELED, -1);
    }
    MR_CHECK(o->n == 0);
    uv_close((uv_handle_t *)&o->timer, on_closed);
}

mr_status mr_outbox_send(mr_outbox *o, const char *topic, int32_t partition, const char *key,
                         const void *value, size_t len, const mr_kafka_header *headers,
                         size_t n_headers, mr_outbox_done *done, void *owner, void *arg) {
    if (o->n >= MR_OUTBOX_MAX) return MR_ELIMIT;
    record *r = record_make(topic, partition, key, value, len, headers, n_headers);
    if (!r) return MR_ELIMIT; /* memory, too, may be there later */
    r->owner_box = o;
    r->done = done;
    r->owner = owner;
    r->arg = arg;
    o->n++;
    if (o->retry_head || !try_send(r)) retry_later(r); /* keep the order of what waits */
    return MR_OK;
}

size_t mr_outbox_len(const mr_outbox *o) {
    return o->n;
}

void mr_outbox_flush(mr_outbox *o, int timeout_ms) {
    on_timer(&o->timer);
    (void)mr_kafka_flush(o->producer, timeout_ms); /* what is left is reported when closed */
}
