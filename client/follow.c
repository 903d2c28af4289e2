/* follow.c - the tokens of one job, in order, without gap or repeat.
 *
 * Subscribe first, then read the stream, then live off the channel. What arrives is a frame with an index;
 * the next index expected is all the state there is: a smaller one was seen, a larger one means that
 * something is missing, and the stream is read again from the last ID. Frames that are not in the stream
 * either (trimmed, expired, dropped while Redis was away) are gone: reading goes on behind them. As a
 * safety net the stream is also read after every reconnect and every REREAD_MS of silence. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"

enum { PAGE = 512, REREAD_MS = 1000, FRAME_LIMIT = 1 << 20 };

typedef struct follow {
    mr_client *c;
    const char *job_id;
    char stream[160], channel[160], last_id[48];
    uint64_t from, next; /* first index wanted; next index expected */
    bool reading, read_again, full_page, any, ended;
    bool exists_asked, exists;
    uint64_t heard_ms; /* last frame */
    uint64_t changes;  /* what the loop waits on */
    mr_on_frame *cb;
    void *owner;
} follow;

static void read_stream(follow *f);

/* One frame. gaps_ok: it comes from the stream, so what is missing before it is gone for good.
 * False: a gap. */
static bool take(follow *f, const void *bytes, size_t n, bool gaps_ok) {
    mr_arena arena;
    mr_frame fr;
    mr_err err;
    bool ok = true;

    mr_arena_init(&arena, FRAME_LIMIT);
    if (mr_codec_frame_decode(&fr, bytes, n, &arena, &err) != MR_OK) {
        mr_log(MR_LOG_WARN, "client", "not a frame, skipped", "job=%s err=" MR_Q, f->job_id, err.text);
    } else if (strcmp(fr.job_id, f->job_id) != 0 || f->ended) {
        ok = true; /* somebody else's, or after the end */
    } else if (fr.type == MR_FRAME_RESTART) {
        f->next = fr.index;
        f->ended = !f->cb(f->owner, &fr);
    } else if (fr.index > f->next && !gaps_ok) {
        ok = false;
    } else if (fr.type == MR_FRAME_DONE) {
        f->ended = true;
        (void)f->cb(f->owner, &fr);
    } else if (fr.index >= f->next) {
        f->next = fr.index + 1;
        if (fr.index >= f->from) f->ended = !f->cb(f->owner, &fr);
    }
    if (ok) {
        f->any = true;
        f->heard_ms = mr_clock_mono_ms();
        f->changes++;
    }
    mr_arena_drop(&arena);
    return ok;
}

/* XRANGE: [[id, [field, value, ...]], ...] */
static void on_page(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    follow *f = cookie;
    (void)owner;
    f->reading = false;
    f->changes++;
    if (status != MR_OK || r->type != MR_REPLY_ARRAY) return; /* the next try reads it */
    for (size_t i = 0; i < r->n_items && !f->ended; i++) {
        const mr_reply *e = r->items[i];
        if (e->type != MR_REPLY_ARRAY || e->n_items != 2 || e->items[1]->type != MR_REPLY_ARRAY) continue;
        const mr_reply *fields = e->items[1];
        snprintf(f->last_id, sizeof f->last_id, "%s", e->items[0]->text);
        for (size_t k = 0; k + 1 < fields->n_items; k += 2)
            if (strcmp(fields->items[k]->text, "f") == 0)
                (void)take(f, fields->items[k + 1]->text, fields->items[k + 1]->len, true);
    }
    f->full_page = r->n_items == PAGE;
    if (!f->ended && (f->full_page || f->read_again)) read_stream(f);
}

static void read_stream(follow *f) {
    char count[8];
    if (f->reading || !mr_redis_up(f->c->redis)) {
        f->read_again = true;
        return;
    }
    snprintf(count, sizeof count, "%d", PAGE);
    const char *argv[] = {"XRANGE", f->stream, f->last_id[0] ? f->last_id : "-", "+", "COUNT", count};
    f->read_again = false;
    f->reading = mr_redis_command(f->c->redis, MR_COUNT(argv), argv, NULL, on_page, f, NULL) == MR_OK;
    mr_redis_flush(f->c->redis);
}

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
    (void)owner;
    (void)r;
    if (status == MR_OK) read_stream(cookie);
}

static void on_exists(void *owner, const mr_reply *r) {
    follow *f = owner;
    f->exists = r->type == MR_REPLY_INT && r->integer > 0;
}

static bool job_exists(follow *f) {
    char hash[160];
    mr_err err;
    snprintf(hash, sizeof hash, "%s:{%s}", f->c->settings.redis_prefix, f->job_id);
    const char *argv[] = {"EXISTS", hash, f->stream};
    return mr_client_command(f->c, MR_COUNT(argv), argv, on_exists, f, &err) == MR_OK && f->exists;
}

static mr_status run(follow *f, int timeout_ms, mr_err *err) {
    uint64_t redis_seen_ms = mr_clock_mono_ms(), read_ms = redis_seen_ms;

    f->heard_ms = redis_seen_ms;
    while (!f->ended) {
        const uint64_t now_ms = mr_clock_mono_ms(), was = f->changes;
        if (f->c->interrupted) return mr_client_late(f->c, err, "interrupted");
        if (mr_redis_up(f->c->redis)) redis_seen_ms = now_ms;
        else if (now_ms - redis_seen_ms > MR_CLIENT_REDIS_MS)
            return mr_fail(err, MR_EUNAVAIL, "redis has been away for %d ms; the result still comes "
                           "through Kafka", MR_CLIENT_REDIS_MS);
        if (timeout_ms >= 0 && now_ms - f->heard_ms > (uint64_t)timeout_ms)
            return f->any || job_exists(f)
                       ? mr_fail(err, MR_ETIMEOUT, "job %s: no token for %d ms", f->job_id, timeout_ms)
                       : mr_fail(err, MR_ENOTFOUND, "job %s: not known within %d ms", f->job_id,
                                 timeout_ms);
        if (now_ms - f->heard_ms > REREAD_MS && now_ms - read_ms > REREAD_MS) {
            read_ms = now_ms;
            read_stream(f);
        }
        (void)mr_client_run(f->c, &f->changes, was, REREAD_MS / 4);
    }
    return MR_OK;
}

mr_status mr_follow(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, mr_on_frame *cb,
                    void *owner, mr_err *err) {
    follow f = {.c = c, .job_id = job_id, .from = from, .cb = cb, .owner = owner};

    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    snprintf(f.stream, sizeof f.stream, "%s:{%s}:s", c->settings.redis_prefix, job_id);
    snprintf(f.channel, sizeof f.channel, "%s:{%s}:t", c->settings.redis_prefix, job_id);
    mr_status st = mr_client_redis(c, err);
    if (st != MR_OK) return st;
    const mr_redis_conf rc = {.url = c->settings.redis_url, .client_name = "millrace-follow", .owner = &f,
                              .on_state = on_subscriber_state, .on_message = on_message};
    st = mr_redis_open(&c->subscriber, &c->loop, &rc, err);
    if (st == MR_OK) st = mr_redis_subscribe(c->subscriber, f.channel, on_subscribed, &f, err);
    if (st == MR_OK) st = run(&f, timeout_ms, err);
    mr_redis_close(c->subscriber);
    c->subscriber = NULL;
    while (f.reading) uv_run(&c->loop, UV_RUN_ONCE); /* a late reply must not find f gone */
    return st;
}
