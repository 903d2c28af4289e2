/* source.c - the consumer of the work topic.
 *
 * A record that finds no room is copied into its partition's queue, and when that is full the
 * partition is paused: a resume has to fetch again, so a queue of one would make short jobs wait
 * for the network. When there is room again the partitions are asked in turn, one record each, so
 * that none lives on the leavings of another. Offsets can only be begun in order, so a record that
 * presses takes those before it along.
 *
 * Position: the offset that will be taken next. It goes into the heartbeat, and a dispatcher counts
 * from there; so it moves only when a record is taken, or when the end of the partition is reached.
 * A partition whose committed offset is unknown has no position until its first record or its end
 * comes.
 *
 * Bounds: MR_SOURCE_MAX_PARTS; HELD_RECORDS or HELD_BYTES per partition, whichever comes first, and
 * one record (MR_JOB_MAX_BYTES). Thread: loop. */
#include "worker/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define HELD_RECORDS  32
#define HELD_BYTES    (256u << 10)
#define QUEUED_KBYTES 4096 /* fetched ahead by librdkafka; work topics are kept short */

typedef struct held { /* a copy of a record, without its key: a job carries its id */
    mr_kafka_msg m;
    mr_kafka_header *headers;
    bool pressing;
    struct held *next;
} held;

typedef struct part {
    int32_t partition;
    int64_t position; /* -1: not known yet */
    held *first, *last;
    size_t n_held, n_pressing, held_bytes;
} part;

struct mr_source {
    mr_source_conf conf;
    mr_kafka_consumer *consumer;
    part parts[MR_SOURCE_MAX_PARTS]; /* [n_parts] in no order */
    size_t n_parts, next_turn;
    bool assigned, stopped;
};

static part *find_part(mr_source *s, int32_t partition) {
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].partition == partition) return &s->parts[i];
    }
    return NULL;
}

/* ---- held records ---- */

static void *copy_bytes(const void *bytes, size_t n) {
    void *copy = malloc(n ? n : 1);

    if (copy && n) memcpy(copy, bytes, n);
    return copy;
}

static void held_free(held *h) {
    if (!h) return;
    for (size_t i = 0; i < h->m.n_headers; i++) {
        free((void *)(uintptr_t)h->headers[i].name);
        free((void *)(uintptr_t)h->headers[i].value);
    }
    free(h->headers);
    free((void *)(uintptr_t)h->m.value);
    free(h);
}

static bool copy_headers(held *h, const mr_kafka_msg *m) {
    if (m->n_headers == 0) return true;
    h->headers = calloc(m->n_headers, sizeof *h->headers);
    if (!h->headers) return false;
    h->m.headers = h->headers;
    for (size_t i = 0; i < m->n_headers; i++) {
        mr_kafka_header *to = &h->headers[h->m.n_headers++];
        to->name = copy_bytes(m->headers[i].name, strlen(m->headers[i].name) + 1);
        to->value = copy_bytes(m->headers[i].value, m->headers[i].len);
        to->len = m->headers[i].len;
        if (!to->name || !to->value) return false;
    }
    return true;
}

/* Copies m to the end of p's queue. False: out of memory. */
static bool hold(const mr_source *s, part *p, const mr_kafka_msg *m, bool pressing) {
    held *h = calloc(1, sizeof *h);

    if (!h) return false;
    h->m = (mr_kafka_msg){.topic = s->conf.topic,
                          .partition = m->partition,
                          .offset = m->offset,
                          .timestamp_ms = m->timestamp_ms,
                          .len = m->len};
    h->m.value = m->value ? copy_bytes(m->value, m->len) : NULL;
    if ((m->value && !h->m.value) || !copy_headers(h, m)) {
        held_free(h);
        return false;
    }
    if (p->last) {
        p->last->next = h;
    } else {
        p->first = h;
    }
    p->last = h;
    h->pressing = pressing;
    p->n_pressing += pressing;
    p->n_held++;
    p->held_bytes += m->len;
    return true;
}

static void drop_first(part *p) {
    held *h = p->first;

    p->first = h->next;
    if (!p->first) p->last = NULL;
    p->n_held--;
    p->n_pressing -= h->pressing;
    p->held_bytes -= h->m.len;
    held_free(h);
}

static void drop_held(part *p) {
    while (p->first) drop_first(p);
}

/* ---- records ---- */

static void check_call(mr_source *s, mr_status st, const mr_err *err) {
    if (st != MR_OK) s->conf.on_fatal(s->conf.owner, st, err->text);
}

/* False: no room. */
static bool offer(mr_source *s, part *p, const mr_kafka_msg *m, bool pressing) {
    if (s->stopped || s->conf.on_record(s->conf.owner, m, pressing) != MR_OK) return false;
    p->position = m->offset + 1;
    return true;
}

/* False: nothing held, or no room for it. */
static bool offer_first(mr_source *s, part *p) {
    mr_err err = {0};

    if (!p->first || !offer(s, p, &p->first->m, p->n_pressing > 0)) return false;
    drop_first(p);
    if (p->n_held <= HELD_RECORDS / 2 && p->held_bytes <= HELD_BYTES / 2) /* no-op if not paused */
        check_call(s, mr_kafka_resume(s->consumer, s->conf.topic, p->partition, &err), &err);
    return true;
}

/* A record that presses has come behind these. */
static void take_pressing(mr_source *s, part *p) {
    while (p->n_pressing > 0 && offer_first(s, p)) s->conf.on_change(s->conf.owner);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_source *s = owner;
    part *p = find_part(s, m->partition);
    bool pressing;
    mr_err err = {0};

    if (!p) return; /* fetched before it was revoked */
    if (!p->first && offer(s, p, m, false)) {
        s->conf.on_change(s->conf.owner);
        return;
    }
    if (p->position < 0) p->position = m->offset;
    pressing = !s->stopped && s->conf.is_pressing(s->conf.owner, m);
    if (!hold(s, p, m, pressing)) {
        s->conf.on_fatal(s->conf.owner, MR_ENOMEM, "source: no memory to hold a record back");
        return;
    }
    if (pressing) take_pressing(s, p);
    if (p->n_held >= HELD_RECORDS || p->held_bytes >= HELD_BYTES) {
        mr_log(MR_LOG_DEBUG, "source", "partition paused", "part=%d off=%" PRId64 " held=%zu",
               (int)m->partition, m->offset, p->n_held);
        check_call(s, mr_kafka_pause(s->consumer, s->conf.topic, m->partition, &err), &err);
    }
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_source *s = owner;
    part *p = find_part(s, partition);

    (void)topic;
    if (!p || p->first || offset <= p->position) return;
    p->position = offset;
    s->conf.on_change(s->conf.owner);
}

void mr_source_retry(mr_source *s) {
    bool changed = false;
    size_t refused = 0; /* partitions in a row: a full window is one partition's alone */

    while (!s->stopped && refused < s->n_parts) {
        part *p = &s->parts[s->next_turn++ % s->n_parts];
        const bool took = offer_first(s, p);
        refused = took ? 0 : refused + 1;
        changed = changed || took;
    }
    if (changed) s->conf.on_change(s->conf.owner);
}

/* ---- partitions ---- */

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_source *s = owner;

    s->assigned = true;
    for (size_t i = 0; i < n; i++) {
        const int64_t next = tp[i].offset >= 0 ? tp[i].offset : -1;
        mr_err err = {0};
        if (s->n_parts == MR_SOURCE_MAX_PARTS) {
            s->conf.on_fatal(s->conf.owner, MR_ELIMIT, "source: too many partitions");
            return;
        }
        if (s->conf.on_assign(s->conf.owner, &tp[i], &err) != MR_OK) {
            s->conf.on_fatal(s->conf.owner, err.status, err.text);
            return;
        }
        s->parts[s->n_parts++] = (part){.partition = tp[i].partition, .position = next};
    }
    mr_log(MR_LOG_INFO, "source", "partitions assigned", "n=%zu all=%zu", n, s->n_parts);
    s->conf.on_change(s->conf.owner);
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_source *s = owner;
    int32_t partitions[MR_SOURCE_MAX_PARTS];
    size_t gone = 0;

    for (size_t i = 0; i < n; i++) {
        part *p = find_part(s, tp[i].partition);
        if (!p) continue;
        drop_held(p);
        partitions[gone++] = p->partition;
        *p = s->parts[--s->n_parts];
    }
    mr_log(MR_LOG_INFO, "source", lost ? "partitions lost" : "partitions revoked", "n=%zu all=%zu",
           n, s->n_parts);
    s->conf.on_revoke(s->conf.owner, partitions, gone, lost);
    s->conf.on_change(s->conf.owner);
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_source *s = owner;

    if (fatal) {
        s->conf.on_fatal(s->conf.owner, status, text);
    } else {
        mr_log(MR_LOG_WARN, "source", "kafka", "status=%s err=" MR_Q, mr_status_name(status), text);
    }
}

/* ---- interface ---- */

mr_status mr_source_open(mr_source **out, uv_loop_t *loop, const mr_source_conf *conf,
                         mr_err *err) {
    mr_source *s = calloc(1, sizeof *s);
    const char *const topics[] = {conf->topic, NULL};
    mr_status st;

    *out = NULL;
    if (!s) return mr_fail(err, MR_ENOMEM, "source: out of memory");
    s->conf = *conf;
    st = mr_kafka_consumer_open(&s->consumer, loop,
                                &(mr_kafka_consumer_conf){
                                    .conn = conf->kafka,
                                    .group = conf->group,
                                    .instance_id = conf->instance_id,
                                    .strategy = conf->assignor,
                                    .session_timeout_ms = conf->session_timeout_ms,
                                    .topics = topics,
                                    .read_committed = true,
                                    .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                    .queued_max_kbytes = QUEUED_KBYTES,
                                    .owner = s,
                                    .on_msg = on_msg,
                                    .on_assign = on_assign,
                                    .on_revoke = on_revoke,
                                    .on_error = on_error,
                                    .on_eof = on_eof,
                                },
                                err);
    if (st != MR_OK) {
        free(s);
        return st;
    }
    *out = s;
    return MR_OK;
}

mr_kafka_consumer *mr_source_consumer(const mr_source *s) {
    return s->consumer;
}

void mr_source_stop(mr_source *s) {
    s->stopped = true; /* each partition pauses at its next record, if there is one */
}

bool mr_source_assigned(const mr_source *s) {
    return s->assigned;
}

size_t mr_source_n_parts(const mr_source *s) {
    return s->n_parts;
}

size_t mr_source_positions(const mr_source *s, struct mr_heartbeat_part *out, size_t cap) {
    size_t n = 0;

    for (size_t i = 0; i < s->n_parts && n < cap; i++) {
        if (s->parts[i].position < 0) continue;
        out[n++] = (struct mr_heartbeat_part){s->parts[i].partition, s->parts[i].position};
    }
    return n;
}

void mr_source_close(mr_source *s) {
    if (!s) return;
    mr_kafka_consumer_close(s->consumer); /* calls on_revoke */
    for (size_t i = 0; i < s->n_parts; i++) drop_held(&s->parts[i]);
    free(s);
}
