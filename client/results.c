/* results.c - terminal records: watching all of them, waiting for one.
 *
 * The first submit notes where the results topic ends, so that mr_wait finds a result that came
 * before it was asked for. The results of the client's own jobs are kept until they are asked for, the
 * newest MR_CLIENT_MAX_OWN of them. A job of somebody else is found by the place of its record, which the
 * status hash in Redis names. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"

enum { LOOK_MS = 200, RESULT_LIMIT = 64 << 20 };

/* ---- own jobs ---- */

static size_t slot_of(const mr_client *c, const char *job_id) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (const char *s = job_id; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    size_t i = (size_t)h & (c->own_cap - 1);
    while (c->own[i].job_id[0] && strcmp(c->own[i].job_id, job_id) != 0) i = (i + 1) & (c->own_cap - 1);
    return i;
}

mr_own *mr_client_find_own(mr_client *c, const char *job_id) {
    if (!c->own_cap) return NULL;
    mr_own *o = &c->own[slot_of(c, job_id)];
    return o->job_id[0] ? o : NULL;
}

static void forget_all_own(mr_client *c) {
    for (size_t i = 0; i < c->own_cap; i++) free(c->own[i].bytes);
    memset(c->own, 0, c->own_cap * sizeof *c->own);
    c->n_own = 0;
}

mr_status mr_client_add_own(mr_client *c, const char *job_id, mr_err *err) {
    if (c->on_result) return MR_OK; /* a watcher gets every result, nothing needs to be kept */
    if (c->n_own >= MR_CLIENT_MAX_OWN) forget_all_own(c);
    if (2 * (c->n_own + 1) > c->own_cap) {
        const size_t cap = c->own_cap ? 2 * c->own_cap : 64;
        mr_own *grown = calloc(cap, sizeof *grown), *old = c->own;
        const size_t n = c->own_cap;
        if (!grown) return mr_fail(err, MR_ENOMEM, "submit: out of memory");
        c->own = grown;
        c->own_cap = cap;
        for (size_t i = 0; i < n; i++)
            if (old[i].job_id[0]) c->own[slot_of(c, old[i].job_id)] = old[i];
        free(old);
    }
    mr_own *o = &c->own[slot_of(c, job_id)];
    if (!o->job_id[0]) {
        memcpy(o->job_id, job_id, sizeof o->job_id);
        c->n_own++;
    }
    return MR_OK;
}

static void keep_own(mr_own *o, mr_format format, const mr_kafka_msg *m) {
    if (o->done || !(o->bytes = malloc(m->len))) return;
    memcpy(o->bytes, m->value, m->len);
    o->len = m->len;
    o->format = format;
    o->done = true;
}

/* A terminal record of our own making: the job never reached Kafka. */
void mr_client_submit_failed(mr_client *c, const char *job_id, const char *why) {
    mr_result r = {.model = "", .tenant = "default", .status = MR_STATUS_FAILED, .finish_reason = "",
                   .text = "", .worker = "", .finished_ms = mr_clock_wall_ms(),
                   .error = {"not_submitted", "", why}};
    memcpy(r.job_id, job_id, sizeof r.job_id);
    if (c->on_result) c->on_result(c->on_result_owner, &r);
}

/* ---- the results topic ---- */

mr_status mr_client_mark_ends(mr_client *c, mr_err *err) {
    if (c->ends) return MR_OK;
    mr_kafka_tp *tp = calloc(MR_CLIENT_MAX_PARTITIONS, sizeof *tp);
    if (!tp) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    const mr_status st = mr_kafka_ends(&c->kafka, c->topic_results, MR_CLIENT_META_MS, tp,
                                       MR_CLIENT_MAX_PARTITIONS, &c->n_ends, err);
    if (st != MR_OK) {
        free(tp);
        return st;
    }
    c->ends = tp;
    return MR_OK;
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_client *c = owner;
    size_t len = 0;
    mr_format format;
    mr_arena arena;
    mr_result r;
    mr_err err;

    const char *type = mr_kafka_msg_header(m, "content-type", &len);
    if (!m->value || !mr_format_of(type, len, m->value, m->len, &format)) return;
    if (c->since_ms && m->timestamp_ms >= 0 && (uint64_t)m->timestamp_ms < c->since_ms) return;
    if (!c->on_result) { /* only our own count: most records need not be decoded, the key tells */
        char id[MR_JOB_ID_LEN + 1] = "";
        if (m->key && m->key_len == MR_JOB_ID_LEN) memcpy(id, m->key, m->key_len);
        mr_own *o = mr_client_find_own(c, id);
        if (o) keep_own(o, format, m);
        c->events += o != NULL;
        return;
    }
    mr_arena_init(&arena, RESULT_LIMIT);
    if (mr_codec_result_decode(&r, format, m->value, m->len, &arena, &err) == MR_OK) {
        c->on_result(c->on_result_owner, &r);
        c->events++;
    } else {
        mr_log(MR_LOG_WARN, "client", "not a result, skipped", "part=%d off=%" PRId64 " err=" MR_Q,
               m->partition, m->offset, err.text);
    }
    mr_arena_drop(&arena);
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_client *c = owner;
    (void)topic;
    for (size_t i = 0; i < c->n_ends; i++) {
        if (c->ends[i].partition != partition || c->ends[i].offset < 0) continue;
        if (offset < c->ends[i].offset) continue;
        c->ends[i].offset = -1; /* caught up */
        c->n_behind--;
        c->events++;
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_client *c = owner;
    (void)status;
    if (fatal) c->events++;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "client", "kafka", "err=" MR_Q, text);
}

/* Reads results from c->ends on, or from the beginning. */
static mr_status open_results(mr_client *c, bool from_begin, mr_err *err) {
    const mr_kafka_consumer_conf cc = {.conn = c->kafka, .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN, .owner = c,
                                       .on_msg = on_msg, .on_eof = on_eof, .on_error = on_error};
    mr_status st = mr_client_mark_ends(c, err);
    if (st == MR_OK) st = mr_kafka_consumer_open(&c->results, &c->loop, &cc, err);
    if (st != MR_OK) return st;
    mr_kafka_tp *from = calloc(c->n_ends, sizeof *from);
    if (!from) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    for (size_t i = 0; i < c->n_ends; i++) {
        from[i] = c->ends[i];
        if (from_begin) from[i].offset = MR_KAFKA_OFFSET_BEGIN;
    }
    c->n_behind = c->n_ends;
    st = mr_kafka_assign(c->results, from, c->n_ends, err);
    free(from);
    return st;
}

void mr_client_watch_close(mr_client *c) {
    mr_kafka_consumer_close(c->results);
    c->results = NULL;
}

mr_status mr_watch_results(mr_client *c, uint64_t since_ms, mr_on_result *cb, void *owner, mr_err *err) {
    if (c->results)
        return mr_fail(err, MR_EINVAL, "results are read already: watch before the first wait, and once");
    c->since_ms = since_ms;
    c->on_result = cb;
    c->on_result_owner = owner;
    return open_results(c, since_ms != 0, err);
}

bool mr_watch_caught_up(const mr_client *c) {
    return c->results && c->n_behind == 0;
}

/* ---- one job ---- */

static mr_status hand_out(mr_client *c, mr_format format, const void *bytes, size_t n,
                          const mr_result **out, mr_err *err) {
    mr_arena_reset(&c->wait_arena);
    const void *copy = mr_arena_copy(&c->wait_arena, bytes, n);
    if (!copy) return mr_fail(err, MR_ENOMEM, "wait: out of memory");
    const mr_status st = mr_codec_result_decode(&c->waited, format, copy, n, &c->wait_arena, err);
    if (st == MR_OK) *out = &c->waited;
    return st;
}

static mr_status wait_own(mr_client *c, const char *job_id, int timeout_ms, const mr_result **out,
                          mr_err *err) {
    const uint64_t end_ms = mr_clock_mono_ms() + (uint64_t)timeout_ms;
    mr_own *o;

    while ((o = mr_client_find_own(c, job_id)) != NULL && !o->done) {
        const uint64_t now_ms = mr_clock_mono_ms(), was = c->events;
        if (now_ms >= end_ms || !mr_client_run(c, &c->events, was, (int64_t)(end_ms - now_ms)))
            return mr_client_late(c, err, "job %s: no result within %d ms", job_id, timeout_ms);
    }
    if (!o) return mr_fail(err, MR_ENOTFOUND, "job %s: forgotten", job_id);
    return hand_out(c, o->format, o->bytes, o->len, out, err);
}

typedef struct place { /* of a result, from the status hash */
    int found;
    int32_t partition;
    int64_t offset;
} place;

static void on_place(void *owner, const mr_reply *r) {
    place *p = owner;
    if (r->type != MR_REPLY_ARRAY || r->n_items != 2) return;
    if (r->items[0]->type != MR_REPLY_TEXT || r->items[1]->type != MR_REPLY_TEXT) return;
    p->partition = (int32_t)strtol(r->items[0]->text, NULL, 10);
    p->offset = strtoll(r->items[1]->text, NULL, 10);
    p->found = 1;
}

typedef struct fetch { /* one record of the results topic */
    mr_client *c;
    const place *at;
    uint64_t n;
    mr_status st;
    const mr_result **out;
    mr_err *err;
} fetch;

static void on_fetched(void *owner, const mr_kafka_msg *m) {
    fetch *f = owner;
    size_t len = 0;
    mr_format format;
    if (f->n) return;
    f->n = 1;
    const char *type = mr_kafka_msg_header(m, "content-type", &len);
    if (m->offset != f->at->offset || !m->value ||
        !mr_format_of(type, len, m->value, m->len, &format))
        f->st = mr_fail(f->err, MR_ENOTFOUND, "the result at partition %d offset %" PRId64
                        " is no longer in the topic", f->at->partition, f->at->offset);
    else
        f->st = hand_out(f->c, format, m->value, m->len, f->out, f->err);
}

static mr_status fetch_result(mr_client *c, const place *at, int timeout_ms, const mr_result **out,
                              mr_err *err) {
    fetch f = {c, at, 0, MR_OK, out, err};
    const mr_kafka_consumer_conf cc = {.conn = c->kafka, .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN, .owner = &f,
                                       .on_msg = on_fetched, .on_error = on_error};
    const mr_kafka_tp tp = {c->topic_results, at->partition, at->offset};
    mr_kafka_consumer *consumer = NULL;
    mr_status st = mr_kafka_consumer_open(&consumer, &c->loop, &cc, err);
    if (st == MR_OK) st = mr_kafka_assign(consumer, &tp, 1, err);
    if (st == MR_OK && !mr_client_run(c, &f.n, 0, timeout_ms))
        st = mr_client_late(c, err, "the result could not be read within %d ms", timeout_ms);
    mr_kafka_consumer_close(consumer);
    return st == MR_OK ? f.st : st;
}

mr_status mr_wait(mr_client *c, const char *job_id, int timeout_ms, const mr_result **out, mr_err *err) {
    const uint64_t end_ms = mr_clock_mono_ms() + (uint64_t)timeout_ms;
    char key[160];

    *out = NULL;
    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    if (mr_client_find_own(c, job_id)) {
        const mr_status st = c->results ? MR_OK : open_results(c, false, err);
        return st == MR_OK ? wait_own(c, job_id, timeout_ms, out, err) : st;
    }
    snprintf(key, sizeof key, "%s:{%s}", c->settings.redis_prefix, job_id);
    const char *argv[] = {"HMGET", key, "result_partition", "result_offset"};
    for (;;) {
        place p = {0};
        const uint64_t never = 0;
        const mr_status st = mr_client_command(c, MR_COUNT(argv), argv, on_place, &p, err);
        if (st != MR_OK) return st;
        const uint64_t now_ms = mr_clock_mono_ms();
        if (p.found) return fetch_result(c, &p, timeout_ms, out, err);
        if (now_ms >= end_ms || c->interrupted)
            return mr_client_late(c, err, "job %s: no result within %d ms", job_id, timeout_ms);
        (void)mr_client_run(c, &never, 0, LOOK_MS);
    }
}
