/* page_tail.c - token streams as server-sent events, one per browser that looks at a job.
 *
 * A reader by the rules of docs/PROTOCOL.md (tail.h). The event's id is the mark of the tail, so a
 * browser that comes back says with Last-Event-ID where it stood. Of a browser that reads slowly
 * nothing piles up: frames are left in Redis while more than BEHIND_BYTES are on their way to it,
 * and read from there when it has them.
 *
 * As a safety net the stream is also read after REREAD_MS without a frame, and the status hash with
 * it: a job that is over there, and whose stream does not get its `done` within SETTLE_MS, or a job
 * that nobody knows for UNKNOWN_MS, ends the events with `over`.
 *
 * Replies of Redis are told apart by a serial: one that comes for a tail that has gone finds
 * nobody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/page_internal.h"
#include "schemas/codec.h"
#include "schemas/tail.h"

enum {
    PAGE = 128,
    FRAME_BYTES = 8192,
    FRAME_ARENA = 1 << 20,
    BEHIND_BYTES = 32 << 10,
    REREAD_MS = 1000,
    SETTLE_MS = 3000,
    UNKNOWN_MS = 10000,
    PING_MS = 8000 /* below what an idle connection may live */
};

struct mr_page_tail {
    mr_page *page;
    mr_page_tail *next;
    uintptr_t serial;
    mr_http_request *r;
    char job_id[MR_JOB_ID_LEN + 1];
    char hash[MR_PAGE_KEY_MAX], stream[MR_PAGE_KEY_MAX], channel[MR_PAGE_KEY_MAX];
    mr_tail tail;
    bool reading, again, known; /* again: the stream has more than was taken */
    uint64_t heard_ms, sent_ms;
    const char *over; /* terminal state in the hash; NULL: it is not over */
    uint64_t over_ms; /* since when that is known */
};
typedef mr_page_tail tail;

static void read_stream(tail *t);

static tail *find_tail(mr_page *p, void *cookie) {
    tail *t = p->tails;
    while (t && t->serial != (uintptr_t)cookie) t = t->next;
    return t;
}

static bool is_watched(const mr_page *p, const char *channel) {
    for (const tail *t = p->tails; t; t = t->next)
        if (strcmp(t->channel, channel) == 0) return true;
    return false;
}

static void drop_tail(tail *t) {
    mr_page *p = t->page;
    tail **at = &p->tails;
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    p->n_tails--;
    if (!is_watched(p, t->channel)) (void)mr_redis_unsubscribe(p->subscriber, t->channel, NULL);
    free(t);
}

static void on_gone(void *arg) {
    drop_tail(arg);
}

static void end_tail(tail *t) {
    mr_http_end(t->r);
    drop_tail(t);
}

/* ---- events ---- */

static const char *const event_names[] = {
    [MR_FRAME_TOKEN] = "token", [MR_FRAME_DONE] = "done", [MR_FRAME_RESTART] = "restart"};

/* There is room for it: see BEHIND_BYTES. */
static void send_event(tail *t, const char *name, const char *json) {
    char text[FRAME_BYTES + MR_TAIL_MARK_LEN + 64], mark[MR_TAIL_MARK_LEN];
    mr_tail_mark(&t->tail, mark);
    const int n = snprintf(text, sizeof text, "id: %s\nevent: %s\ndata: %s\n\n", mark, name, json);
    if (mr_http_send(t->r, text, (size_t)n) != MR_OK)
        mr_log(MR_LOG_DEBUG, "page", "event dropped", "job=%s", t->job_id);
    t->sent_ms = mr_clock_mono_ms();
}

/* False: that was the end, t is gone. */
static bool show_frame(tail *t, const mr_frame *fr) {
    char json[FRAME_BYTES];
    size_t n;
    if (mr_codec_frame_encode(fr, json, sizeof json, &n) == MR_OK)
        send_event(t, event_names[fr->type], json);
    else
        mr_log(MR_LOG_WARN, "page", "frame not shown", "job=%s bytes=%zu max=%d", t->job_id, n,
               FRAME_BYTES);
    if (fr->type != MR_FRAME_DONE) return true;
    end_tail(t);
    return false;
}

static void show_over(tail *t, const char *state) {
    char json[64];
    snprintf(json, sizeof json, "{\"type\":\"over\",\"state\":\"%s\"}", state);
    send_event(t, "over", json);
    end_tail(t);
}

/* ---- frames ---- */

typedef enum taken { TAKEN, LEFT, ENDED } taken; /* LEFT: a gap, or the reader is behind */

static taken take(tail *t, const void *bytes, size_t n, bool from_stream) {
    mr_arena arena;
    mr_frame fr;
    taken result = TAKEN;

    if (mr_http_behind(t->r) > BEHIND_BYTES) {
        t->again = true;
        return LEFT;
    }
    mr_arena_init(&arena, FRAME_ARENA);
    if (mr_codec_frame_decode(&fr, bytes, n, &arena, NULL) == MR_OK &&
        strcmp(fr.job_id, t->job_id) == 0) {
        const mr_tail_step step = mr_tail_take(&t->tail, &fr, from_stream);
        t->known = true;
        if (step == MR_TAIL_GAP) result = LEFT;
        if (step == MR_TAIL_TAKE) {
            t->heard_ms = mr_clock_mono_ms();
            if (!show_frame(t, &fr)) result = ENDED;
        }
    }
    mr_arena_drop(&arena);
    return result;
}

/* One entry of XRANGE: [id, [field, value, ...]]. */
static taken take_entry(tail *t, const mr_reply *e) {
    taken result = TAKEN;
    if (e->type != MR_REPLY_ARRAY || e->n_items != 2 || e->items[1]->type != MR_REPLY_ARRAY)
        return TAKEN;
    const mr_reply *fields = e->items[1];
    for (size_t k = 0; k + 1 < fields->n_items && result == TAKEN; k += 2)
        if (strcmp(fields->items[k]->text, "f") == 0)
            result = take(t, fields->items[k + 1]->text, fields->items[k + 1]->len, true);
    if (result == TAKEN) mr_tail_at(&t->tail, e->items[0]->text);
    return result;
}

static void on_page(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    tail *t = find_tail(owner, cookie);
    taken result = TAKEN;
    if (!t) return;
    t->reading = false;
    if (status != MR_OK || r->type != MR_REPLY_ARRAY) return; /* the next try reads it */
    for (size_t i = 0; i < r->n_items && result == TAKEN; i++) result = take_entry(t, r->items[i]);
    if (result == TAKEN && (r->n_items == PAGE || t->again)) read_stream(t);
}

static void read_stream(tail *t) {
    char count[8];
    if (t->reading) {
        t->again = true;
        return;
    }
    snprintf(count, sizeof count, "%d", PAGE);
    const char *argv[] = {"XRANGE", t->stream, mr_tail_from(&t->tail), "+", "COUNT", count};
    t->again = false;
    t->reading = mr_redis_command(t->page->redis, MR_COUNT(argv), argv, NULL, on_page,
                                  (void *)t->serial, NULL) == MR_OK;
}

static void on_drained(void *arg) {
    tail *t = arg;
    if (t->again) read_stream(t);
}

void mr_page_tail_message(void *page, const char *channel, const void *data, size_t len) {
    mr_page *p = page;
    for (tail *t = p->tails, *next; t; t = next) {
        next = t->next; /* t may end */
        if (strcmp(t->channel, channel) != 0) continue;
        if (take(t, data, len, false) == LEFT && !t->again) read_stream(t);
    }
}

void mr_page_tail_redis_up(mr_page *p) {
    for (tail *t = p->tails; t; t = t->next) read_stream(t);
}

void mr_page_tail_end_all(mr_page *p) {
    while (p->tails) end_tail(p->tails);
}

/* ---- the status hash ---- */

static void on_state(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    tail *t = find_tail(owner, cookie);
    if (!t || status != MR_OK || r->type != MR_REPLY_TEXT) return;
    t->known = true;
    if (t->over) return;
    t->over = mr_page_terminal(r->text);
    t->over_ms = mr_clock_mono_ms();
}

static void look_at_state(tail *t) {
    const char *argv[] = {"HGET", t->hash, "state"};
    (void)mr_redis_command(t->page->redis, MR_COUNT(argv), argv, NULL, on_state, (void *)t->serial,
                           NULL);
}

/* ---- the whole ---- */

static void tick_one(tail *t, uint64_t now_ms) {
    const bool quiet = now_ms - t->heard_ms >= REREAD_MS && mr_http_behind(t->r) == 0;
    if (now_ms - t->sent_ms >= PING_MS) {
        (void)mr_http_send(t->r, ":\n\n", 3); /* a browser that has left is noticed by it */
        t->sent_ms = now_ms;
    }
    if (!quiet || !mr_redis_up(t->page->redis)) return;
    if (t->over && now_ms - t->over_ms >= SETTLE_MS && !t->reading) {
        show_over(t, t->over);
    } else if (!t->known && now_ms - t->heard_ms >= UNKNOWN_MS) {
        show_over(t, "unknown");
    } else {
        read_stream(t);
        look_at_state(t);
    }
}

void mr_page_tail_tick(mr_page *p, uint64_t now_ms) {
    for (tail *t = p->tails, *next; t; t = next) {
        next = t->next;
        tick_one(t, now_ms);
    }
}

/* The stream is read once the server has confirmed; who comes later finds that done. */
static void on_subscribed(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    tail *t = find_tail(owner, cookie);
    (void)r;
    if (t && status == MR_OK) read_stream(t);
}

static void name_keys(tail *t) {
    const char *prefix = t->page->conf.names->redis_prefix;
    snprintf(t->hash, sizeof t->hash, "%s:{%s}", prefix, t->job_id);
    snprintf(t->stream, sizeof t->stream, "%s:{%s}:s", prefix, t->job_id);
    snprintf(t->channel, sizeof t->channel, "%s:{%s}:t", prefix, t->job_id);
}

static void begin(tail *t, mr_http_answer *a) {
    mr_page *p = t->page;
    const bool shared = is_watched(p, t->channel);
    t->serial = ++p->last_tail;
    t->heard_ms = t->sent_ms = mr_clock_mono_ms();
    t->next = p->tails;
    p->tails = t;
    p->n_tails++;
    a->content_type = "text/event-stream";
    mr_http_stream(t->r, a);
    (void)mr_http_send(t->r, "retry: 1000\n\n", 13);
    if (!shared)
        (void)mr_redis_subscribe(p->subscriber, t->channel, on_subscribed, (void *)t->serial, NULL);
    read_stream(t);
}

void mr_page_tail_open(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a) {
    tail *t = p->n_tails < MR_PAGE_TAILS ? calloc(1, sizeof *t) : NULL;
    const mr_http_holder holder = {.arg = t, .on_gone = on_gone, .on_drained = on_drained};
    const char *mark = mr_http_header(r, "Last-Event-ID");

    if (!t || !mr_http_hold(r, &holder)) {
        free(t);
        mr_page_error(a, 503, "busy", "16 token streams are being watched, which is the limit");
        return;
    }
    t->page = p;
    t->r = r;
    snprintf(t->job_id, sizeof t->job_id, "%s", job_id);
    if (mark) (void)mr_tail_parse(&t->tail, mark); /* no mark of ours: from the beginning */
    name_keys(t);
    begin(t, a);
}
