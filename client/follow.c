/* follow.c - the tokens of one job, in order, without gap or repeat.
 *
 * Subscribe first, then read the stream, then live off the channel; tail.h says what to do with a
 * frame. After a gap the stream is read again from the last ID. Frames that are not in the stream
 * either (trimmed, expired, dropped while Redis was away) are gone: reading goes on behind them.
 *
 * A restart makes `from` void: whoever goes on where an earlier call stopped cannot know whether
 * what he has is from before it, so everything behind it is handed over.
 *
 * As a safety net the stream is also read after every reconnect and every REREAD_MS of silence, and
 * the status hash with it: a job that is over there, and whose stream does not get its `done`
 * within SETTLE_MS (it expired, or a newer attempt writes it), ends here with a `done` made from
 * the hash.
 *
 * Replies are told apart by a serial: one that comes after the call has returned finds nobody. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"
#include "schemas/tail.h"

enum { PAGE = 512, REREAD_MS = 1000, SETTLE_MS = 3000, TURN_MS = 250, FRAME_LIMIT = 16 << 20 };

struct mr_follow {
    mr_client *c;
    uintptr_t serial;
    const char *job_id;
    char hash[160], stream[160], channel[160];
    uint64_t from; /* first index wanted */
    mr_tail tail;
    bool reading, read_again, answered, known, ended; /* answered: the stream was read once */
    uint64_t heard_ms;                                /* last frame */
    uint64_t over_ms; /* since when the hash is known to be terminal; 0: it is not */
    mr_frame over;    /* what it says; texts below */
    char over_reason[64], over_error[512], over_trace[MR_TRACE_TEXT + 1];
    uint64_t changes; /* what the loop waits on */
    mr_on_frame *cb;
    void *owner;
};
typedef struct mr_follow follow;

static void read_stream(follow *f);

static void give(follow *f, const mr_frame *fr) {
    if (!f->cb(f->owner, fr) || fr->type == MR_FRAME_DONE) f->ended = true;
}

/* False: a gap. */
static bool take_frame(follow *f, const mr_frame *fr, bool from_stream) {
    const mr_tail_step step = mr_tail_take(&f->tail, fr, from_stream);
    if (step != MR_TAIL_TAKE) return step == MR_TAIL_KNOWN;
    if (fr->type == MR_FRAME_RESTART) f->from = 0;
    if (fr->type != MR_FRAME_TOKEN || fr->index >= f->from) give(f, fr);
    return true;
}

/* False: a gap, the frame was not taken. */
static bool take(follow *f, const void *bytes, size_t n, bool from_stream) {
    mr_arena arena;
    mr_frame fr;
    mr_err err;
    bool ok = true;

    mr_arena_init(&arena, FRAME_LIMIT);
    if (mr_codec_frame_decode(&fr, bytes, n, &arena, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "client", "not a frame, skipped", "job=%s err=" MR_Q, f->job_id,
               err.text);
    else if (strcmp(fr.job_id, f->job_id) == 0 && !f->ended)
        ok = take_frame(f, &fr, from_stream);
    if (ok) {
        f->known = true;
        f->heard_ms = mr_clock_mono_ms();
        f->changes++;
    }
    mr_arena_drop(&arena);
    return ok;
}

static follow *waiting_for(mr_client *c, void *cookie) {
    return c->follow && c->follow->serial == (uintptr_t)cookie ? c->follow : NULL;
}

/* ---- the stream ---- */

/* One entry of XRANGE: [id, [field, value, ...]]. */
static void take_entry(follow *f, const mr_reply *e) {
    if (e->type != MR_REPLY_ARRAY || e->n_items != 2 || e->items[1]->type != MR_REPLY_ARRAY) return;
    const mr_reply *fields = e->items[1];
    for (size_t k = 0; k + 1 < fields->n_items; k += 2)
        if (strcmp(fields->items[k]->text, "f") == 0)
            (void)take(f, fields->items[k + 1]->text, fields->items[k + 1]->len, true);
    mr_tail_at(&f->tail, e->items[0]->text);
}

static void on_page(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    follow *f = waiting_for(owner, cookie);
    if (!f) return;
    f->reading = false;
    f->changes++;
    if (status != MR_OK || r->type != MR_REPLY_ARRAY) return; /* the next try reads it */
    f->answered = true;
    const uint64_t heard_ms = f->heard_ms, next = f->tail.next;
    for (size_t i = 0; i < r->n_items && !f->ended; i++) take_entry(f, r->items[i]);
    if (f->tail.next == next) f->heard_ms = heard_ms; /* the last entry, once more */
    if (!f->ended && (r->n_items == PAGE || f->read_again)) read_stream(f);
}

static void read_stream(follow *f) {
    char count[8];
    if (f->reading || !mr_redis_up(f->c->redis)) {
        f->read_again = true;
        return;
    }
    snprintf(count, sizeof count, "%d", PAGE);
    const char *argv[] = {"XRANGE", f->stream, mr_tail_from(&f->tail), "+", "COUNT", count};
    f->read_again = false;
    f->reading = mr_redis_command(f->c->redis, MR_COUNT(argv), argv, NULL, on_page,
                                  (void *)f->serial, NULL) == MR_OK;
}

void mr_client_follow_on_redis_up(mr_client *c) {
    read_stream(c->follow);
}

/* ---- the channel ---- */

static void on_message(void *owner, const char *channel, const void *data, size_t len) {
    follow *f = owner;
    (void)channel;
    if (!take(f, data, len, false)) read_stream(f);
}

static void on_subscriber_state(void *owner, bool up, const char *why) {
    follow *f = owner;
    (void)why;
    f->changes++;
    if (up) read_stream(f);
}

static void on_subscribed(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    (void)cookie;
    (void)r;
    if (status == MR_OK) read_stream(owner);
}

/* ---- the status hash ---- */

static bool is_terminal(const char *state, mr_job_status *out) {
    static const mr_job_status all[] = {MR_STATUS_SUCCEEDED, MR_STATUS_FAILED, MR_STATUS_REJECTED,
                                        MR_STATUS_CANCELLED, MR_STATUS_EXPIRED};
    for (size_t i = 0; i < MR_COUNT(all); i++) {
        if (strcmp(state, mr_job_status_name(all[i])) != 0) continue;
        *out = all[i];
        return true;
    }
    return false;
}

/* HMGET state attempt tokens finish_reason error traceparent */
static void on_status(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    follow *f = waiting_for(owner, cookie);
    mr_job_status end;
    mr_trace_context trace;
    if (!f || status != MR_OK || r->type != MR_REPLY_ARRAY || r->n_items != 6) return;
    if (r->items[0]->type != MR_REPLY_TEXT) return;
    f->known = true;
    if (f->over_ms || !is_terminal(r->items[0]->text, &end)) return;
    f->over_ms = mr_clock_mono_ms();
    f->over = (mr_frame){.type = MR_FRAME_DONE,
                         .status = end,
                         .attempt = (uint32_t)strtoul(r->items[1]->text, NULL, 10),
                         .index = strtoull(r->items[2]->text, NULL, 10),
                         .finish_reason = f->over_reason};
    snprintf(f->over.job_id, sizeof f->over.job_id, "%s", f->job_id);
    snprintf(f->over_reason, sizeof f->over_reason, "%s", r->items[3]->text);
    snprintf(f->over_error, sizeof f->over_error, "%s", r->items[4]->text);
    if (mr_trace_read(&trace, r->items[5]->text, strlen(r->items[5]->text))) {
        mr_trace_write(f->over_trace, &trace);
        f->over.traceparent = f->over_trace;
    }
    if (end != MR_STATUS_SUCCEEDED)
        f->over.error =
            (mr_job_error){.code = mr_job_status_name(end), .field = "", .message = f->over_error};
    f->changes++;
}

static void look_at_status(follow *f) {
    const char *argv[] = {"HMGET",  f->hash,         "state", "attempt",
                          "tokens", "finish_reason", "error", "traceparent"};
    (void)mr_redis_command(f->c->redis, MR_COUNT(argv), argv, NULL, on_status, (void *)f->serial,
                           NULL);
}

/* ---- the whole ---- */

/* A short time-out must not speak before Redis has, within its own limit. */
static bool has_asked(const follow *f, uint64_t now_ms) {
    return f->answered || now_ms - f->heard_ms > MR_CLIENT_REDIS_MS;
}

static mr_status too_long(const follow *f, int timeout_ms, mr_err *err) {
    return f->known ? mr_fail(err, MR_ETIMEOUT, "job %s: no token for %d ms", f->job_id, timeout_ms)
                    : mr_fail(err, MR_ENOTFOUND, "job %s: not known within %d ms", f->job_id,
                              timeout_ms);
}

static mr_status run(follow *f, int timeout_ms, mr_err *err) {
    mr_client *c = f->c;
    uint64_t redis_seen_ms = mr_clock_mono_ms(), read_ms = redis_seen_ms;

    f->heard_ms = redis_seen_ms;
    while (!f->ended) {
        const uint64_t now_ms = mr_clock_mono_ms(), was = f->changes;
        if (c->interrupted) return mr_client_late(c, err, "interrupted");
        if (mr_redis_up(c->redis)) redis_seen_ms = now_ms;
        if (now_ms - redis_seen_ms > MR_CLIENT_REDIS_MS)
            return mr_fail(err, MR_EUNAVAIL,
                           "redis has been away for %d ms; the result still comes "
                           "through Kafka",
                           MR_CLIENT_REDIS_MS);
        if (timeout_ms >= 0 && now_ms - f->heard_ms > (uint64_t)timeout_ms && has_asked(f, now_ms))
            return too_long(f, timeout_ms, err);
        if (f->over_ms && !f->reading && now_ms - f->over_ms > SETTLE_MS) {
            give(f, &f->over);
            break;
        }
        if (now_ms - f->heard_ms > REREAD_MS && now_ms - read_ms > REREAD_MS) {
            read_ms = now_ms;
            read_stream(f);
            look_at_status(f);
        }
        (void)mr_client_run(c, &f->changes, was, TURN_MS);
    }
    return MR_OK;
}

mr_status mr_follow(mr_client *c, const char *job_id, uint64_t from, int timeout_ms,
                    mr_on_frame *cb, void *owner, mr_err *err) {
    follow f = {
        .c = c, .serial = ++c->serial, .job_id = job_id, .from = from, .cb = cb, .owner = owner};

    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    const char *prefix = c->settings.redis_prefix;
    snprintf(f.hash, sizeof f.hash, "%s:{%s}", prefix, job_id);
    snprintf(f.stream, sizeof f.stream, "%s:{%s}:s", prefix, job_id);
    snprintf(f.channel, sizeof f.channel, "%s:{%s}:t", prefix, job_id);
    mr_status st = mr_client_redis(c, err);
    if (st != MR_OK) return st;
    const mr_redis_conf rc = {.url = c->settings.redis_url,
                              .client_name = "millrace-follow",
                              .owner = &f,
                              .on_state = on_subscriber_state,
                              .on_message = on_message};
    c->follow = &f;
    st = mr_redis_open(&c->subscriber, &c->loop, &rc, err);
    if (st == MR_OK) st = mr_redis_subscribe(c->subscriber, f.channel, on_subscribed, NULL, err);
    if (st == MR_OK) st = run(&f, timeout_ms, err);
    c->follow = NULL;
    mr_redis_close(c->subscriber); /* the owner of its callbacks goes with it */
    c->subscriber = NULL;
    return st;
}
