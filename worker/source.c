/* source.c - the consumer of the work topic.
 *
 * A record that finds no room is copied and its partition paused: at most one record per partition is
 * held, and the others stay with the broker. The held one is offered first when there is room again.
 * Partitions are offered in turn, so that none lives on the leavings of another.
 *
 * Position: the offset that will be taken next. It goes into the heartbeat, and a dispatcher counts
 * from there; so it moves only when a record is taken, or when the end of the partition is reached. A
 * partition whose committed offset is unknown has no position until its first record or its end comes.
 *
 * The group uses the `range` assignor: every rebalance takes all partitions away and gives them anew.
 * Bounds: MR_SOURCE_MAX_PARTS, one record (MR_JOB_MAX_BYTES) held per partition. Thread: loop. */
#include "worker/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MR_SOURCE_MAX_PARTS 4096
#define QUEUED_KBYTES       4096 /* fetched ahead; work topics are kept short */

typedef struct part {
    int32_t partition;
    int64_t position; /* -1: not known yet */
    mr_kafka_msg held; /* value NULL: none; copies are owned */
    mr_kafka_header *headers;
    bool has_held;
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

/* ---- the held record ---- */

static void *copy_bytes(const void *bytes, size_t n) {
    void *copy = malloc(n ? n : 1);

    if (copy && n) memcpy(copy, bytes, n);
    return copy;
}

static void drop_held(part *p) {
    for (size_t i = 0; p->headers && i < p->held.n_headers; i++) {
        free((void *)(uintptr_t)p->headers[i].name);
        free((void *)(uintptr_t)p->headers[i].value);
    }
    free(p->headers);
    free((void *)(uintptr_t)p->held.value);
    p->headers = NULL;
    p->held = (mr_kafka_msg){0};
    p->has_held = false;
}

static bool copy_headers(part *p, const mr_kafka_msg *m) {
    if (m->n_headers == 0) return true;
    p->headers = calloc(m->n_headers, sizeof *p->headers);
    if (!p->headers) return false;
    p->held.n_headers = m->n_headers;
    p->held.headers = p->headers;
    for (size_t i = 0; i < m->n_headers; i++) {
        const mr_kafka_header *h = &m->headers[i];
        p->headers[i].name = copy_bytes(h->name, strlen(h->name) + 1);
        p->headers[i].value = copy_bytes(h->value, h->len);
        p->headers[i].len = h->len;
        if (!p->headers[i].name || !p->headers[i].value) return false;
    }
    return true;
}

/* The key is not needed: a work record carries its id. */
static bool hold(mr_source *s, part *p, const mr_kafka_msg *m) {
    p->held = *m;
    p->held.topic = s->conf.topic;
    p->held.key = NULL;
    p->held.key_len = 0;
    p->held.headers = NULL;
    p->held.n_headers = 0;
    p->held.value = m->value ? copy_bytes(m->value, m->len) : NULL;
    p->has_held = (p->held.value || !m->value) && copy_headers(p, m);
    if (!p->has_held) drop_held(p);
    return p->has_held;
}

/* ---- records ---- */

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_source *s = owner;
    part *p = find_part(s, m->partition);
    mr_err err = {0};

    if (!p) return; /* fetched before it was revoked */
    MR_CHECK(!p->has_held); /* a paused partition delivers nothing */
    if (!s->stopped && s->conf.on_record(s->conf.owner, m) == MR_OK) {
        p->position = m->offset + 1;
        s->conf.on_change(s->conf.owner);
        return;
    }
    if (p->position < 0) p->position = m->offset;
    if (!hold(s, p, m)) {
        s->conf.on_fatal(s->conf.owner, MR_ENOMEM, "source: no memory to hold a record back");
        return;
    }
    if (mr_kafka_pause(s->consumer, s->conf.topic, m->partition, &err) != MR_OK)
        s->conf.on_fatal(s->conf.owner, err.status, err.text);
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_source *s = owner;
    part *p = find_part(s, partition);

    (void)topic;
    if (!p || p->has_held || offset <= p->position) return;
    p->position = offset;
    s->conf.on_change(s->conf.owner);
}

/* False: no room for anybody's record. */
static bool offer(mr_source *s, part *p) {
    mr_err err = {0};

    if (s->conf.on_record(s->conf.owner, &p->held) != MR_OK) return false;
    p->position = p->held.offset + 1;
    drop_held(p);
    if (mr_kafka_resume(s->consumer, s->conf.topic, p->partition, &err) != MR_OK)
        s->conf.on_fatal(s->conf.owner, err.status, err.text);
    return true;
}

void mr_source_retry(mr_source *s) {
    bool changed = false;

    if (s->stopped) return;
    for (size_t i = 0; i < s->n_parts; i++) {
        part *p = &s->parts[s->next_turn % s->n_parts];
        s->next_turn = (s->next_turn + 1) % s->n_parts;
        if (p->has_held) changed = offer(s, p) || changed; /* a full window is one partition's alone */
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
            s->conf.on_fatal(s->conf.owner, MR_ELIMIT, "source: more than 4096 partitions");
            return;
        }
        if (s->conf.on_assign(s->conf.owner, tp[i].partition, next, &err) != MR_OK) {
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

mr_status mr_source_open(mr_source **out, uv_loop_t *loop, const mr_source_conf *conf, mr_err *err) {
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
