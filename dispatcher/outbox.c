/* outbox.c - see outbox.h.
 *
 * A record is one allocation. Those that Kafka has not taken (its local queue is full, the topic is
 * unknown) or has given up on (timed out) stand in a retry list and are tried again every RETRY_MS;
 * they may overtake each other, since no two records depend on one another. Trouble is logged once
 * per LOG_MS, with the number of records that had it. */
#include "dispatcher/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { WARM_MS = 1000, RETRY_MS = 200, LOG_MS = 1000, MAX_HEADERS = 12 };

typedef struct record record;
struct record {
    record *next; /* in retry */
    mr_outbox *box;
    mr_outbox_done *done;
    void *owner, *arg;
    mr_outbox_record r; /* its pointers lead into bytes */
    uint64_t sent_ms;
    mr_kafka_header headers[MAX_HEADERS];
    char bytes[];
};

typedef struct list {
    record *head, *tail;
} list;

struct mr_outbox {
    mr_kafka_producer *producer;
    uv_timer_t timer;
    list retry;
    size_t n, bytes; /* not acknowledged: in flight and in retry */
    uint64_t logged_ms;
    size_t n_unlogged;
    bool closing;
};

/* ---- records ---- */

static void append(list *l, record *r) {
    r->next = NULL;
    if (l->tail)
        l->tail->next = r;
    else
        l->head = r;
    l->tail = r;
}

static record *take_first(list *l) {
    record *r = l->head;
    l->head = r->next;
    if (!l->head) l->tail = NULL;
    return r;
}

static void *put(char **at, const void *bytes, size_t n) {
    char *p = *at;
    if (n) memcpy(p, bytes, n);
    *at = p + n;
    return p;
}

static record *record_make(const mr_outbox_record *from) {
    const size_t key_bytes = from->key ? strlen(from->key) + 1 : 0;
    size_t bytes = strlen(from->topic) + 1 + key_bytes + from->len;
    MR_CHECK(from->n_headers <= MAX_HEADERS);
    for (size_t i = 0; i < from->n_headers; i++)
        bytes += strlen(from->headers[i].name) + 1 + from->headers[i].len;

    record *r = calloc(1, sizeof *r + bytes);
    if (!r) return NULL;
    char *at = r->bytes;
    r->r = *from;
    r->r.topic = put(&at, from->topic, strlen(from->topic) + 1);
    if (from->key) r->r.key = put(&at, from->key, key_bytes);
    r->r.value = put(&at, from->value, from->len);
    r->r.headers = r->headers;
    for (size_t i = 0; i < from->n_headers; i++) {
        const mr_kafka_header *h = &from->headers[i];
        r->headers[i].name = put(&at, h->name, strlen(h->name) + 1);
        r->headers[i].value = put(&at, h->value, h->len);
        r->headers[i].len = h->len;
    }
    return r;
}

static void record_end(record *r, mr_status status, int64_t offset) {
    r->box->n--;
    r->box->bytes -= r->r.len;
    if (r->done) r->done(r->owner, r->arg, status, offset);
    free(r);
}

static void refuse(record *r, const char *why) {
    mr_log(MR_LOG_ERROR, "outbox", "record refused", "topic=%s part=%d key=%s bytes=%zu err=" MR_Q,
           r->r.topic, (int)r->r.partition, r->r.key ? r->r.key : "", r->r.len, why);
    record_end(r, MR_EINVAL, -1);
}

static void log_trouble(mr_outbox *o, const record *r, const char *why) {
    const uint64_t now_ms = uv_now(o->timer.loop);
    o->n_unlogged++;
    if (o->logged_ms && now_ms - o->logged_ms < LOG_MS) return;
    mr_log(MR_LOG_WARN, "outbox", "records not taken, trying again", "n=%zu topic=%s err=" MR_Q,
           o->n_unlogged, r->r.topic, why);
    o->logged_ms = now_ms;
    o->n_unlogged = 0;
}

/* After a failure that is the record's own: it ends, or has one more try later. */
static void end_or_retry(record *r, mr_status status, const char *why) {
    mr_outbox *o = r->box;
    const bool unknown_for_long = status == MR_ENOTFOUND && r->r.give_up_ms > 0 &&
                                  uv_now(o->timer.loop) - r->sent_ms >= r->r.give_up_ms;
    if (status == MR_EINVAL || unknown_for_long) {
        refuse(r, why);
        return;
    }
    log_trouble(o, r, why);
    append(&o->retry, r);
}

/* ---- sending ---- */

/* False: the producer takes nothing now, from nobody; r stays with the caller. */
static bool try_send(record *r) {
    const mr_outbox_record *m = &r->r;
    mr_err err;
    const mr_status st =
        mr_kafka_send(r->box->producer, m->topic, m->partition, m->key, m->key ? strlen(m->key) : 0,
                      m->value, m->len, m->headers, m->n_headers, r, &err);
    if (st == MR_OK) return true;
    if (st == MR_ELIMIT || st == MR_EUNAVAIL || st == MR_ENOMEM) return false;
    end_or_retry(r, st, err.text);
    return true;
}

static void on_timer(uv_timer_t *t) {
    mr_outbox *o = t->data;
    list turn = o->retry; /* who fails again stands in the new list, for the next time */
    o->retry = (list){NULL, NULL};
    while (turn.head) {
        record *r = take_first(&turn);
        if (try_send(r)) continue;
        append(&o->retry, r);
        while (turn.head) append(&o->retry, take_first(&turn));
    }
}

static void on_delivery(void *owner, void *cookie, mr_status status, const char *err_text,
                        int32_t partition, int64_t offset) {
    mr_outbox *o = owner;
    record *r = cookie;
    (void)partition;
    if (status == MR_OK || o->closing)
        record_end(r, status, offset);
    else
        end_or_retry(r, status, err_text);
}

mr_status mr_outbox_send(mr_outbox *o, const mr_outbox_record *from, mr_outbox_done *done,
                         void *owner, void *arg) {
    if (o->n >= MR_OUTBOX_MAX || o->closing) return MR_ELIMIT;
    record *r = record_make(from);
    if (!r) return MR_ELIMIT; /* memory, too, may be there later */
    r->box = o;
    r->done = done;
    r->owner = owner;
    r->arg = arg;
    r->sent_ms = uv_now(o->timer.loop);
    o->n++;
    o->bytes += r->r.len;
    if (!try_send(r)) append(&o->retry, r);
    return MR_OK;
}

void mr_outbox_flush(mr_outbox *o, int timeout_ms) {
    on_timer(&o->timer);
    (void)mr_kafka_flush(o->producer, timeout_ms); /* what is left is reported when closed */
}

size_t mr_outbox_len(const mr_outbox *o) {
    return o->n;
}

size_t mr_outbox_bytes(const mr_outbox *o) {
    return o->bytes;
}

bool mr_outbox_full(const mr_outbox *o) {
    return o->n + MR_OUTBOX_RESERVE >= MR_OUTBOX_MAX || o->bytes >= MR_OUTBOX_MAX_BYTES;
}

bool mr_outbox_busy(const mr_outbox *o) {
    return o->n >= MR_OUTBOX_MAX / 2 || o->bytes >= MR_OUTBOX_MAX_BYTES / 2;
}

/* ---- life ---- */

void mr_outbox_warm(mr_outbox *o, const char *topic) {
    mr_kafka_warm(o->producer, topic, WARM_MS);
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
    while (o->retry.head) record_end(take_first(&o->retry), MR_ECANCELED, -1);
    MR_CHECK(o->n == 0);
    uv_close((uv_handle_t *)&o->timer, on_closed);
}
