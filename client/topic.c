/* topic.c - see topic.h.
 *
 * Where a topic ends is what the brokers say when there is nothing more to read: so records behind
 * a transaction that is still open are not waited for. Each call has a consumer of its own; one
 * that is stopped and begun again drops what librdkafka had fetched ahead. */
#include "client/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

typedef struct reading {
    mr_topic *t;
    mr_topic_record *fn;
    void *owner;
    bool stopped;    /* fn has seen enough: what still comes is not handed over */
    uint64_t n_over; /* reasons to return */
    mr_err err;      /* of a fatal error; MR_OK: none */
} reading;

static void on_msg(void *owner, const mr_kafka_msg *m) {
    reading *r = owner;
    mr_kafka_tp *tp = &r->t->next[m->partition];

    if (r->stopped) return;
    tp->offset = m->offset + 1;
    if (r->fn(r->owner, m)) return;
    r->stopped = true;
    r->n_over++;
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    reading *r = owner;
    mr_kafka_tp *tp = &r->t->next[partition];

    (void)topic;
    (void)offset;
    if (r->stopped || tp->offset == MR_TOPIC_READ) return;
    tp->offset = MR_TOPIC_READ;
    if (--r->t->n_left == 0) r->n_over++;
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    reading *r = owner;

    if (!fatal) return; /* it goes on when the brokers are back, or time is over */
    mr_fail(&r->err, status == MR_OK ? MR_EUNAVAIL : status, "topic %s: %s", r->t->name, text);
    r->n_over++;
}

mr_status mr_topic_init(mr_topic *t, mr_client *c, const char *suffix, mr_err *err) {
    *t = (mr_topic){.c = c};
    snprintf(t->name, sizeof t->name, "%s.%s", c->settings.topic_prefix, suffix);
    int32_t n = 0;
    const mr_status st = mr_kafka_partitions(&c->kafka, t->name, MR_CLIENT_META_MS, &n, err);
    if (st != MR_OK) return st;
    if (!(t->next = calloc((size_t)n, sizeof *t->next)))
        return mr_fail(err, MR_ENOMEM, "topic %s: out of memory", t->name);
    for (int32_t i = 0; i < n; i++)
        t->next[i] =
            (mr_kafka_tp){.topic = t->name, .partition = i, .offset = MR_KAFKA_OFFSET_BEGIN};
    t->n = t->n_left = (size_t)n;
    return MR_OK;
}

void mr_topic_deinit(mr_topic *t) {
    free(t->next);
    *t = (mr_topic){.c = NULL};
}

/* Those with something left. */
static mr_status assign(const mr_topic *t, mr_kafka_consumer *consumer, mr_err *err) {
    mr_kafka_tp *tp = calloc(t->n, sizeof *tp);
    size_t n = 0;

    if (!tp) return mr_fail(err, MR_ENOMEM, "topic %s: out of memory", t->name);
    for (size_t i = 0; i < t->n; i++)
        if (t->next[i].offset != MR_TOPIC_READ) tp[n++] = t->next[i];
    const mr_status st = mr_kafka_assign(consumer, tp, n, err);
    free(tp);
    return st;
}

mr_status mr_topic_read(mr_topic *t, mr_topic_record *fn, void *owner, int timeout_ms,
                        mr_err *err) {
    reading r = {.t = t, .fn = fn, .owner = owner};
    const mr_kafka_consumer_conf cc = {.conn = t->c->kafka,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .owner = &r,
                                       .on_msg = on_msg,
                                       .on_eof = on_eof,
                                       .on_error = on_error};
    mr_kafka_consumer *consumer = NULL;

    if (t->n_left == 0) return MR_OK;
    mr_status st = mr_kafka_consumer_open(&consumer, &t->c->loop, &cc, err);
    if (st == MR_OK) st = assign(t, consumer, err);
    if (st == MR_OK && !mr_client_run(t->c, &r.n_over, 0, timeout_ms))
        st = mr_client_late(t->c, err, "topic %s could not be read to its end within %d ms",
                            t->name, timeout_ms);
    r.stopped = true;
    mr_kafka_consumer_close(consumer);
    if (st == MR_OK && r.err.status != MR_OK) st = mr_fail(err, r.err.status, "%s", r.err.text);
    return st;
}

/* ---- one record ---- */

typedef struct fetch {
    mr_topic_record *fn;
    void *owner;
    int64_t offset;
    bool found;
} fetch;

/* The first record that comes is it, or it is gone. */
static bool on_fetched(void *owner, const mr_kafka_msg *m) {
    fetch *f = owner;

    f->found = m->offset == f->offset;
    if (f->found) f->fn(f->owner, m);
    return false;
}

mr_status mr_topic_fetch(mr_client *c, const char *topic, int32_t partition, int64_t offset,
                         mr_topic_record *fn, void *owner, int timeout_ms, mr_err *err) {
    fetch f = {.fn = fn, .owner = owner, .offset = offset};
    mr_topic t = {.c = c};
    mr_status st = MR_OK;

    if (partition >= 0 && partition < MR_CLIENT_MAX_PARTITIONS && offset >= 0) {
        const size_t n = (size_t)partition + 1;

        snprintf(t.name, sizeof t.name, "%s", topic);
        if (!(t.next = calloc(n, sizeof *t.next)))
            return mr_fail(err, MR_ENOMEM, "topic %s: out of memory", topic);
        for (size_t i = 0; i < n; i++) t.next[i].offset = MR_TOPIC_READ;
        t.next[partition] =
            (mr_kafka_tp){.topic = t.name, .partition = partition, .offset = offset};
        t.n = n;
        t.n_left = 1;
        st = mr_topic_read(&t, on_fetched, &f, timeout_ms, err);
        mr_topic_deinit(&t);
    }
    if (st == MR_OK && !f.found)
        st = mr_fail(err, MR_ENOTFOUND,
                     "the record at partition %d offset %" PRId64 " is no longer in topic %s",
                     partition, offset, topic);
    return st;
}

/* ---- writing ---- */

mr_status mr_topic_write(mr_client *c, const char *suffix, const char *job_id, const void *bytes,
                         size_t n, mr_err *err) {
    char topic[256];

    snprintf(topic, sizeof topic, "%s.%s", c->settings.topic_prefix, suffix);
    return mr_client_produce(c, topic, job_id, bytes, n, err);
}
