/* results.c - terminal records: watching all of them, waiting for one.
 *
 * The client notes at connect where the results topic ends, so that mr_wait finds a result that
 * came before it was asked for. A job of somebody else is found by the place of its record, which
 * the status hash in Redis names.
 *
 * Limit: partitions that the topic gets after connect are not read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "client/topic.h"
#include "schemas/codec.h"

enum { LOOK_MS = 200, RESULT_LIMIT = 64 << 20 };

/* For a watcher a terminal record of our own making: the job never reached Kafka. */
void mr_client_submit_failed(mr_client *c, const char *job_id, const char *why) {
    mr_result r = {.model = "",
                   .tenant = "default",
                   .status = MR_STATUS_FAILED,
                   .finish_reason = "",
                   .text = "",
                   .worker = "",
                   .finished_ms = mr_clock_wall_ms(),
                   .error = {.code = "not_submitted", .field = "", .message = why}};
    memcpy(r.job_id, job_id, sizeof r.job_id);
    mr_own *o = mr_own_find(&c->own, job_id);
    if (o) mr_own_finish(&c->own, o, MR_OWN_NOT_SUBMITTED, MR_FORMAT_JSON, why, strlen(why));
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

static void keep_own(mr_client *c, mr_format format, const mr_kafka_msg *m) {
    char id[MR_JOB_ID_LEN + 1] = "";
    if (m->key && m->key_len == MR_JOB_ID_LEN) memcpy(id, m->key, m->key_len);
    mr_own *o = mr_own_find(&c->own, id);
    if (!o) return;
    mr_own_finish(&c->own, o, MR_OWN_DONE, format, m->value, m->len);
    c->events++;
}

static void hand_to_watcher(mr_client *c, mr_format format, const mr_kafka_msg *m) {
    mr_arena arena;
    mr_result r;
    mr_err err;

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

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_client *c = owner;
    size_t len = 0;
    mr_format format;

    const char *type = mr_kafka_msg_header(m, "content-type", &len);
    if (!m->value || !mr_format_of(type, len, m->value, m->len, &format)) return;
    keep_own(c, format, m); /* most records need not be decoded for that, the key tells */
    if (!c->on_result) return;
    if (c->since_ms && m->timestamp_ms >= 0 && (uint64_t)m->timestamp_ms < c->since_ms) return;
    hand_to_watcher(c, format, m);
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
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "client", "kafka", "err=" MR_Q, text);
    if (!fatal) return;
    c->results_failed = true;
    mr_fail(&c->results_err, status == MR_OK ? MR_EUNAVAIL : status,
            "results can no longer be read: %s", text);
    c->events++;
}

/* Reads results from c->ends on, or from the beginning. */
static mr_status open_results(mr_client *c, bool from_begin, mr_err *err) {
    const mr_kafka_consumer_conf cc = {.conn = c->kafka,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .owner = c,
                                       .on_msg = on_msg,
                                       .on_eof = on_eof,
                                       .on_error = on_error};
    mr_kafka_tp *from = calloc(c->n_ends, sizeof *from);
    if (!from) return mr_fail(err, MR_ENOMEM, "client: out of memory");
    for (size_t i = 0; i < c->n_ends; i++) {
        from[i] = c->ends[i];
        if (from_begin) from[i].offset = MR_KAFKA_OFFSET_BEGIN;
    }
    c->n_behind = c->n_ends;
    mr_status st = mr_kafka_consumer_open(&c->results, &c->loop, &cc, err);
    if (st == MR_OK) st = mr_kafka_assign(c->results, from, c->n_ends, err);
    if (st != MR_OK) mr_client_watch_close(c);
    free(from);
    return st;
}

void mr_client_watch_close(mr_client *c) {
    mr_kafka_consumer_close(c->results);
    c->results = NULL;
}

mr_status mr_watch_results(mr_client *c, uint64_t since_ms, mr_on_result *cb, void *owner,
                           mr_err *err) {
    if (c->results)
        return mr_fail(err, MR_EINVAL,
                       "results are read already: watch before the first wait, and once");
    const mr_status st = open_results(c, since_ms != 0, err);
    if (st != MR_OK) return st;
    c->since_ms = since_ms;
    c->on_result = cb; /* nothing is delivered before the loop runs */
    c->on_result_owner = owner;
    return MR_OK;
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
    const uint64_t end_ms = mr_client_end_ms(timeout_ms);
    const mr_own *o;

    while ((o = mr_own_find(&c->own, job_id)) && o->state == MR_OWN_WAITING && !c->results_failed) {
        const int64_t left_ms = mr_client_left_ms(end_ms);
        const uint64_t was = c->events;
        if (left_ms == 0 || !mr_client_run(c, &c->events, was, left_ms))
            return mr_client_late(c, err, "job %s: no result within %d ms", job_id, timeout_ms);
    }
    if (!o) return mr_fail(err, MR_ENOTFOUND, "job %s: forgotten", job_id);
    if (o->state == MR_OWN_DONE) return hand_out(c, o->format, o->bytes, o->len, out, err);
    if (o->state == MR_OWN_NOT_SUBMITTED)
        return mr_fail(err, MR_EUNAVAIL, "job %s was not submitted: %s", job_id, o->bytes);
    return mr_fail(err, c->results_err.status, "job %s: %s", job_id, c->results_err.text);
}

typedef struct place { /* of a result, from the status hash */
    bool found;
    int32_t partition;
    int64_t offset;
} place;

static void on_place(void *owner, const mr_reply *r) {
    place *p = owner;
    if (r->type != MR_REPLY_ARRAY || r->n_items != 2) return;
    if (r->items[0]->type != MR_REPLY_TEXT || r->items[1]->type != MR_REPLY_TEXT) return;
    p->partition = (int32_t)strtol(r->items[0]->text, NULL, 10);
    p->offset = strtoll(r->items[1]->text, NULL, 10);
    p->found = p->partition >= 0 && p->offset >= 0;
}

typedef struct fetch { /* one record of the results topic */
    mr_client *c;
    mr_status st;
    const mr_result **out;
    mr_err *err;
} fetch;

static bool on_fetched(void *owner, const mr_kafka_msg *m) {
    fetch *f = owner;
    size_t len = 0;
    mr_format format;
    const char *type = mr_kafka_msg_header(m, "content-type", &len);

    if (m->value && mr_format_of(type, len, m->value, m->len, &format))
        f->st = hand_out(f->c, format, m->value, m->len, f->out, f->err);
    else
        f->st = mr_fail(f->err, MR_ENOTFOUND, "partition %d offset %" PRId64 " is not a result",
                        m->partition, m->offset);
    return true;
}

static mr_status fetch_result(mr_client *c, const place *at, int64_t timeout_ms,
                              const mr_result **out, mr_err *err) {
    fetch f = {c, MR_OK, out, err};
    const mr_status st = mr_topic_fetch(c, c->topic_results, at->partition, at->offset, on_fetched,
                                        &f, (int)timeout_ms, err);
    return st == MR_OK ? f.st : st;
}

/* Asks Redis until it knows where the result is. */
static mr_status wait_foreign(mr_client *c, const char *job_id, int timeout_ms,
                              const mr_result **out, mr_err *err) {
    const uint64_t end_ms = mr_client_end_ms(timeout_ms), never = 0;
    char key[160];

    snprintf(key, sizeof key, "%s:{%s}", c->settings.redis_prefix, job_id);
    const char *argv[] = {"HMGET", key, "result_partition", "result_offset"};
    for (;;) {
        place p = {0};
        const mr_status st = mr_client_command(c, MR_COUNT(argv), argv, on_place, &p, err);
        const int64_t left_ms = mr_client_left_ms(end_ms);
        if (st != MR_OK) return st;
        if (p.found) return fetch_result(c, &p, left_ms, out, err);
        if (left_ms == 0 || c->interrupted)
            return mr_client_late(c, err, "job %s: no result within %d ms", job_id, timeout_ms);
        (void)mr_client_run(c, &never, 0, left_ms > 0 && left_ms < LOOK_MS ? left_ms : LOOK_MS);
    }
}

mr_status mr_wait(mr_client *c, const char *job_id, int timeout_ms, const mr_result **out,
                  mr_err *err) {
    *out = NULL;
    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    if (!mr_own_find(&c->own, job_id)) return wait_foreign(c, job_id, timeout_ms, out, err);
    const mr_status st = c->results ? MR_OK : open_results(c, false, err);
    return st == MR_OK ? wait_own(c, job_id, timeout_ms, out, err) : st;
}
