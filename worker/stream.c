/* stream.c - a lane per slot: claim, then frames, one call at a time.
 *
 *   CLAIM -> OPEN -> (answered, and nothing is left)
 *     ^_______/ lost          \-> SHUT: fenced, given up, over, or a job that does not stream
 *
 * A lane keeps no frames. n_made is what the job has, n_there what the stream has, and whatever
 * lies between goes with the next call, at most MR_STREAM_BATCH at a time; a call that failed is
 * made again from what is there by then, when Redis is back, or after RETRY_MS when it answered
 * with an error. One call per lane is under way, so an error cannot leave a gap.
 *
 * The first claim's tokens go to the owner, who goes on behind them. A claim that comes later, when
 * the job runs already (Redis was away, or lost the stream), finds entries that the job makes or
 * made by itself: they are compared with the job's own, one by one, and as long as they are equal
 * they count as written. Readers are told to start again only when they differ, or when the stream
 * is gone. A lane claims at most MAX_CLAIMS times.
 *
 * A job's result is produced after its last frame is confirmed, because `done` is written by
 * whoever reads the result and nothing may come behind it. The wait is bounded by
 * MR_STREAM_LINGER_MS, and there is none when Redis has been away for as long; then the rest of the
 * frames is dropped, and the result says stream_degraded. Thread: loop. */
#include "worker/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "worker/stream_book.h"
#include "worker/stream_redis.h"

#define RETRY_MS          200
#define TICK_MS           50
#define MAX_CLAIMS        16  /* of one lane */
#define DROP_CALLS        8   /* calls that mr_stream_drop may send, of MR_STREAM_BATCH frames */
#define FRAME_FIXED_BYTES 256 /* a frame without its text */
#define JSON_GROWTH       6   /* bytes that one byte of text can become */
#define BATCH_BYTES       (16u << 20)  /* frames of one call, encoded */
#define CLAIM_BYTES       (256u << 20) /* entries of one claim, taken apart */

typedef enum lane_state { CLAIM, OPEN, SHUT } lane_state;

typedef struct lane { /* one slot's stream */
    bool used, streams, ending, answered, call_open, refusal_logged;
    lane_state state;
    uint32_t generation; /* tells a late reply from one of the present job */
    uint32_t spec_attempt, max_tokens, n_claims;
    char job_id[MR_JOB_ID_LEN + 1], tenant[MR_JOB_MAX_NAME + 1], claim[MR_UUID_LEN + 1];
    char traceparent[MR_JOB_TRACEPARENT + 1]; /* "": none */
    uint64_t retry_at_ms, answer_by_ms, end_by_ms;
    bool cut; /* frames were given up */
    mr_stream_book book;
} lane;

struct mr_stream {
    mr_stream_conf conf;
    mr_stream_redis calls;
    mr_redis *redis;
    uv_timer_t timer;       /* runs while something is to be repeated or given up */
    uint64_t down_since_ms; /* 0: up */
    bool state_known;       /* the log has said whether it is up */
    mr_stream_stats stats;
    lane *lanes;
    mr_arena batch; /* frames of one call */
};

static void on_timer(uv_timer_t *timer);

static void arm(mr_stream *s, uint64_t ms) {
    if (!uv_is_active((uv_handle_t *)&s->timer) || uv_timer_get_due_in(&s->timer) > ms)
        uv_timer_start(&s->timer, on_timer, ms, 0);
}

static void *cookie_of(const mr_stream *s, uint32_t slot) {
    return (void *)((uintptr_t)s->lanes[slot].generation * s->conf.n_slots + slot);
}

/* The lane a reply belongs to; NULL: its job has gone. */
static lane *lane_of(mr_stream *s, void *cookie, uint32_t *slot) {
    *slot = (uint32_t)((uintptr_t)cookie % s->conf.n_slots);
    return cookie_of(s, *slot) == cookie && s->lanes[*slot].used ? &s->lanes[*slot] : NULL;
}

/* The attempt stays readable until the next job. */
static void lane_free(lane *l) {
    const uint32_t attempt = l->book.attempt, generation = l->generation;

    mr_stream_book_deinit(&l->book);
    *l = (lane){.generation = generation + 1, .book.attempt = attempt};
}

/* ---- what is there, and what is not ---- */

static void begin_again(mr_stream *s, lane *l, const char *why) {
    mr_log(MR_LOG_WARN, "stream", "the stream starts again", "job=%s attempt=%u err=" MR_Q,
           l->job_id, (unsigned)l->book.attempt, why);
    s->stats.restarts++;
    mr_stream_book_restart(&l->book);
}

static void shut(mr_stream *s, lane *l, bool cut) {
    if (cut && l->book.n_made > l->book.n_there)
        s->stats.frames_dropped += l->book.n_made - l->book.n_there;
    mr_stream_book_forget_found(&l->book);
    l->state = SHUT;
    l->cut = cut;
}

/* What follows from what is made by now. */
static void look(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    const char *why;

    if (l->state != OPEN) return;
    if ((why = mr_stream_book_compare(&l->book, s->conf.frame, s->conf.owner, slot)) != NULL)
        begin_again(s, l, why);
    if (l->ending && l->book.n_made < l->book.n_there)
        begin_again(s, l, "the answer ends before what readers were shown");
}

static bool is_complete(const lane *l) {
    if (l->state == CLAIM) return !l->streams || (l->book.n_made == 0 && !l->book.shown);
    return l->state == SHUT || (!l->call_open && mr_stream_book_is_written(&l->book));
}

/* ---- frames ---- */

/* Adds one frame to the batch; NULL: no room. */
static const char *encode(mr_stream *s, const lane *l, mr_frame *fr, size_t *n) {
    const size_t cap = FRAME_FIXED_BYTES + JSON_GROWTH * fr->text_len;
    char *json = mr_arena_alloc(&s->batch, cap);

    memcpy(fr->job_id, l->job_id, sizeof fr->job_id);
    fr->traceparent = l->traceparent[0] ? l->traceparent : NULL;
    return json && mr_codec_frame_encode(fr, json, cap, n) == MR_OK ? json : NULL;
}

/* The frames that are next, restart included. */
static size_t make_frames(mr_stream *s, uint32_t slot, const char **frames, size_t *lens) {
    const lane *l = &s->lanes[slot];
    mr_frame fr = {.type = MR_FRAME_RESTART, .attempt = l->book.attempt - 1, .text = ""};
    size_t n = 0;

    mr_arena_reset(&s->batch);
    if (l->book.restart_due) {
        if (!(frames[n] = encode(s, l, &fr, &lens[n]))) return 0;
        n++;
    }
    for (uint64_t i = l->book.n_there; i < l->book.n_made && n < MR_STREAM_BATCH; i++, n++) {
        mr_stream_frame t = {.text = ""};
        s->conf.frame(s->conf.owner, slot, i, &t);
        fr = (mr_frame){.type = MR_FRAME_TOKEN,
                        .attempt = l->book.attempt,
                        .index = i,
                        .token = t.token,
                        .text = t.text_len ? t.text : "",
                        .text_len = t.text_len};
        if (!(frames[n] = encode(s, l, &fr, &lens[n]))) break;
    }
    return n;
}

static void retry_later(mr_stream *s, lane *l) {
    l->retry_at_ms = mr_clock_mono_ms() + RETRY_MS;
    arm(s, TICK_MS);
}

static mr_redis_on_reply on_frames_reply, on_claim_reply;

static void send_frames(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    mr_stream_book *b = &l->book;
    const char *frames[MR_STREAM_BATCH];
    size_t lens[MR_STREAM_BATCH];
    mr_stream_frames call;
    size_t n;

    look(s, slot);
    if (l->call_open || mr_stream_book_is_written(b)) return;
    if ((n = make_frames(s, slot, frames, lens)) == 0) {
        mr_log(MR_LOG_WARN, "stream", "a frame is too large: the live stream of this job ends",
               "job=%s index=%" PRIu64, l->job_id, l->book.n_there);
        shut(s, l, true);
        return;
    }
    call = (mr_stream_frames){.job_id = l->job_id,
                              .claim = l->claim,
                              .attempt = l->book.attempt,
                              .previous = l->book.last_id,
                              .first_index = l->book.n_there,
                              .restart = l->book.restart_due,
                              .frames = frames,
                              .lens = lens,
                              .n = n};
    if (mr_stream_redis_frames(&s->calls, &call, on_frames_reply, cookie_of(s, slot)) == MR_OK) {
        mr_stream_book_sent(b, n - b->restart_due);
        l->call_open = true;
        s->stats.calls++;
    } else { /* away, or its queue is full */
        retry_later(s, l);
    }
}

static void send_claim(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    const bool again = l->n_claims > 0;
    const mr_stream_claim call = {.job_id = l->job_id,
                                  .tenant = l->tenant,
                                  .claim = l->claim,
                                  .held = again ? l->book.attempt : 0,
                                  .lowest = again ? l->book.attempt + 1 : l->spec_attempt,
                                  .streams = l->streams,
                                  .ran_before = l->book.shown};

    if (l->call_open) return;
    if (mr_stream_redis_claim(&s->calls, &call, on_claim_reply, cookie_of(s, slot)) == MR_OK) {
        l->call_open = true;
    } else {
        retry_later(s, l);
    }
}

/* Whatever the lane has to say now. */
static void speak(mr_stream *s, uint32_t slot) {
    const lane *l = &s->lanes[slot];

    if (l->state == CLAIM) send_claim(s, slot);
    if (l->state == OPEN) send_frames(s, slot);
}

/* ---- answers ---- */

static void close_lane(mr_stream *s, uint32_t slot) {
    const bool degraded = s->lanes[slot].cut;

    lane_free(&s->lanes[slot]);
    s->conf.on_closed(s->conf.owner, slot, degraded);
}

/* Goes on after an answer: the next call, or the end. */
static void go_on(mr_stream *s, uint32_t slot) {
    speak(s, slot);
    if (s->lanes[slot].ending && is_complete(&s->lanes[slot])) close_lane(s, slot);
}

static void fence(mr_stream *s, lane *l) {
    mr_log(MR_LOG_WARN, "stream", "another worker has claimed the stream: left to it",
           "job=%s attempt=%u", l->job_id, (unsigned)l->book.attempt);
    s->stats.fenced++;
    shut(s, l, true);
}

static void claim_again(mr_stream *s, lane *l) {
    if (l->n_claims < MAX_CLAIMS) {
        mr_log(MR_LOG_WARN, "stream", "the stream is not as it was left: claiming it again",
               "job=%s attempt=%u", l->job_id, (unsigned)l->book.attempt);
        l->state = CLAIM;
        return;
    }
    mr_log(MR_LOG_WARN, "stream", "the stream was lost too often: it ends here", "job=%s claims=%u",
           l->job_id, (unsigned)l->n_claims);
    shut(s, l, true);
}

/* Not answered, or with an error: once more after a while. */
static void note_trouble(mr_stream *s, lane *l, const char *said) {
    s->stats.errors++;
    if (said && !l->refusal_logged) {
        l->refusal_logged = true;
        mr_log(MR_LOG_WARN, "stream", "redis refused", "job=%s err=" MR_Q, l->job_id, said);
    }
    retry_later(s, l);
}

static void on_frames_reply(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_stream *s = owner;
    uint32_t slot;
    lane *l = lane_of(s, cookie, &slot);
    uint64_t n_new = 0;
    const mr_frames_end end = status == MR_OK ? mr_stream_redis_added(r, &n_new) : MR_FRAMES_ERROR;

    s->stats.frames += n_new;
    if (!l) return;
    l->call_open = false;
    switch (end) {
    case MR_FRAMES_ADDED:
        mr_stream_book_added(&l->book);
        break;
    case MR_FRAMES_FENCED:
        fence(s, l);
        break;
    case MR_FRAMES_LOST:
        claim_again(s, l);
        break;
    case MR_FRAMES_ERROR:
        note_trouble(s, l, r ? r->text : NULL);
        return;
    }
    go_on(s, slot);
}

/* Answers mr_stream_begin; the lane may be gone afterwards, t's memory is the caller's. */
static void answer(mr_stream *s, uint32_t slot, const mr_takeover *t) {
    lane *l = &s->lanes[slot];
    mr_takeover none = {.text = "", .attempt = l->book.attempt};

    if (l->answered) return;
    l->answered = true;
    s->conf.on_claimed(s->conf.owner, slot, t ? t : &none);
}

/* What the stream has is the beginning of the job's answer: as the first claim it is handed to the
 * owner, later it is compared. */
static void take_found(mr_stream *s, uint32_t slot, mr_takeover *found) {
    lane *l = &s->lanes[slot];
    mr_arena memory;

    l->book.n_there = found->n_tokens;
    if (found->restart) begin_again(s, l, found->why);
    found->attempt = l->book.attempt;
    if (l->answered) {
        l->book.found = *found;
        return;
    }
    if (found->n_tokens > 0) s->stats.takeovers++;
    memory = l->book.arena; /* the owner may end the lane inside */
    mr_arena_init(&l->book.arena, CLAIM_BYTES);
    answer(s, slot, found);
    mr_arena_drop(&memory);
}

static void take_claim(mr_stream *s, uint32_t slot, const mr_claim_reply *c) {
    lane *l = &s->lanes[slot];
    mr_takeover found = {.text = ""};

    s->stats.claims++;
    l->n_claims++;
    mr_stream_book_claimed(&l->book, c->attempt, c->shown, c->last_id);
    if (!l->streams) {
        shut(s, l, false);
        answer(s, slot, NULL);
        return;
    }
    l->state = OPEN;
    if (c->too_many) {
        found.restart = true;
        snprintf(found.why, sizeof found.why, "more entries are there than a stream may have");
    } else if (mr_takeover_read(&found, l->job_id, c->entries, c->n_entries, l->book.shown,
                                s->conf.n_vocab, l->max_tokens, &l->book.arena) != MR_OK) {
        found =
            (mr_takeover){.text = "", .restart = true, .why = "no memory to read what is there"};
    }
    take_found(s, slot, &found);
}

static void on_claim_reply(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_stream *s = owner;
    uint32_t slot;
    lane *l = lane_of(s, cookie, &slot);
    const uint32_t generation = l ? l->generation : 0;
    mr_claim_reply c = {.end = MR_CLAIM_ERROR};

    if (!l) return;
    l->call_open = false;
    mr_stream_book_forget_found(&l->book);
    if (status == MR_OK && mr_stream_redis_claimed(&c, r, &l->book.arena) != MR_OK)
        c = (mr_claim_reply){.end = MR_CLAIM_ERROR, .text = "no memory for the answer"};
    switch (c.end) {
    case MR_CLAIM_HELD:
        take_claim(s, slot, &c);
        break;
    case MR_CLAIM_FENCED:
        fence(s, l);
        break;
    case MR_CLAIM_OVER:
        shut(s, l, false);
        answer(s, slot, NULL);
        break;
    case MR_CLAIM_ERROR:
        note_trouble(s, l, c.text);
        return;
    }
    if (l->used && l->generation == generation) go_on(s, slot); /* the owner may have ended it */
}

/* ---- retries and ends ---- */

static bool is_late(const mr_stream *s, uint64_t by_ms, uint64_t patience_ms, uint64_t now_ms) {
    return now_ms >= by_ms || (s->down_since_ms && now_ms >= s->down_since_ms + patience_ms);
}

/* False: nothing is left to do for this lane until somebody calls. */
static bool tick(mr_stream *s, uint32_t slot, uint64_t now_ms) {
    lane *l = &s->lanes[slot];

    if (!l->used) return false;
    if (!l->answered && is_late(s, l->answer_by_ms, s->conf.claim_ms, now_ms))
        answer(s, slot, NULL);
    if (!l->used) return false; /* the owner has ended it */
    if (l->ending && is_late(s, l->end_by_ms, s->conf.linger_ms, now_ms)) {
        shut(s, l, true);
        close_lane(s, slot);
        return false;
    }
    if (mr_redis_up(s->redis) && now_ms >= l->retry_at_ms) {
        go_on(s, slot);
        if (!l->used) return false;
    }
    if (!l->answered || l->ending) return true;
    return mr_redis_up(s->redis) && !l->call_open && (l->state == CLAIM || !is_complete(l));
}

static void on_timer(uv_timer_t *timer) {
    mr_stream *s = timer->data;
    const uint64_t now_ms = mr_clock_mono_ms();
    bool again = false;

    for (uint32_t i = 0; i < s->conf.n_slots; i++) again = tick(s, i, now_ms) || again;
    mr_redis_flush(s->redis);
    if (again) arm(s, TICK_MS);
}

static void on_state(void *owner, bool up, const char *why) {
    mr_stream *s = owner;

    if (s->state_known && up == s->stats.up) return; /* one more failed attempt to connect */
    s->state_known = true;
    s->stats.up = up;
    if (up) {
        mr_log(MR_LOG_INFO, "stream", "redis is up", NULL);
        s->down_since_ms = 0;
        for (uint32_t i = 0; i < s->conf.n_slots; i++) s->lanes[i].retry_at_ms = 0;
    } else {
        mr_log(MR_LOG_WARN, "stream", "redis is away: generation goes on", "err=" MR_Q,
               why ? why : "connection closed");
        s->down_since_ms = mr_clock_mono_ms();
    }
    arm(s, 0);
}

/* ---- interface ---- */

mr_status mr_stream_open(mr_stream **out, uv_loop_t *loop, const mr_stream_conf *conf,
                         mr_err *err) {
    mr_stream *s = calloc(1, sizeof *s);
    mr_status st = MR_OK;
    mr_redis_conf rc = {.url = conf->redis_url, .client_name = conf->client_name};

    *out = NULL;
    if (!s) return mr_fail(err, MR_ENOMEM, "stream: out of memory");
    s->conf = *conf;
    if (!s->conf.claim_ms) s->conf.claim_ms = MR_STREAM_CLAIM_MS;
    if (!s->conf.linger_ms) s->conf.linger_ms = MR_STREAM_LINGER_MS;
    s->down_since_ms = mr_clock_mono_ms();
    s->lanes = calloc(conf->n_slots, sizeof *s->lanes);
    mr_arena_init(&s->batch, BATCH_BYTES);
    if (!s->lanes) {
        st = mr_fail(err, MR_ENOMEM, "stream: no memory for %u slots", (unsigned)conf->n_slots);
        goto fail;
    }
    rc.owner = s;
    rc.on_state = on_state;
    if ((st = mr_redis_open(&s->redis, loop, &rc, err)) != MR_OK) goto fail;
    s->calls = (mr_stream_redis){.redis = s->redis,
                                 .prefix = conf->prefix,
                                 .worker = conf->worker,
                                 .model = conf->model,
                                 .max_frames = conf->max_frames,
                                 .ttl_ms = conf->ttl_ms};
    if ((st = mr_stream_redis_init(&s->calls, err)) != MR_OK) goto fail;
    uv_timer_init(loop, &s->timer); /* always 0 */
    s->timer.data = s;
    *out = s;
    return MR_OK;
fail:
    mr_redis_close(s->redis);
    free(s->lanes);
    free(s);
    return st;
}

void mr_stream_set_ttl(mr_stream *s, uint64_t ttl_ms) {
    s->calls.ttl_ms = ttl_ms;
}

void mr_stream_begin(mr_stream *s, uint32_t slot, const mr_job_spec *spec, bool ran_before,
                     uint32_t max_tokens) {
    lane *l = &s->lanes[slot];
    const uint64_t now_ms = mr_clock_mono_ms();

    MR_CHECK(slot < s->conf.n_slots && !l->used);
    *l = (lane){.used = true,
                .streams = spec->stream,
                .generation = l->generation,
                .spec_attempt = spec->attempt,
                .max_tokens = max_tokens,
                .answer_by_ms = now_ms + s->conf.claim_ms};
    snprintf(l->job_id, sizeof l->job_id, "%s", spec->job_id);
    snprintf(l->tenant, sizeof l->tenant, "%s", spec->tenant);
    memcpy(l->traceparent, spec->trace.parent, sizeof l->traceparent);
    mr_uuid_v7(l->claim, mr_clock_wall_ms());
    mr_stream_book_init(&l->book, spec->attempt, ran_before, CLAIM_BYTES);
    if (mr_redis_up(s->redis)) send_claim(s, slot);
    arm(s, is_late(s, UINT64_MAX, s->conf.claim_ms, now_ms) ? 0 : TICK_MS);
}

void mr_stream_restart(mr_stream *s, uint32_t slot, const char *why) {
    lane *l = &s->lanes[slot];

    MR_CHECK(l->used);
    if (l->state == OPEN) begin_again(s, l, why);
}

void mr_stream_advance(mr_stream *s, uint32_t slot, uint64_t n_tokens) {
    lane *l = &s->lanes[slot];

    MR_CHECK(l->used && n_tokens >= l->book.n_made);
    l->book.n_made = n_tokens;
}

void mr_stream_flush(mr_stream *s) {
    const uint64_t now_ms = mr_clock_mono_ms();

    if (!mr_redis_up(s->redis)) return;
    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        const lane *l = &s->lanes[i];
        if (l->used && now_ms >= l->retry_at_ms) speak(s, i);
    }
    mr_redis_flush(s->redis);
}

uint32_t mr_stream_attempt(const mr_stream *s, uint32_t slot) {
    return s->lanes[slot].book.attempt;
}

bool mr_stream_end(mr_stream *s, uint32_t slot, bool *degraded) {
    lane *l = &s->lanes[slot];
    const uint64_t now_ms = mr_clock_mono_ms();

    *degraded = false;
    if (!l->used) return true;
    l->ending = l->answered = true;
    l->end_by_ms = now_ms + s->conf.linger_ms;
    look(s, slot);
    if (!is_complete(l)) {
        if (!is_late(s, l->end_by_ms, s->conf.linger_ms, now_ms)) {
            arm(s, TICK_MS);
            return false;
        }
        shut(s, l, true);
    }
    *degraded = l->cut;
    lane_free(l);
    return true;
}

void mr_stream_drop(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];

    if (!l->used) return;
    for (int i = 0; i < DROP_CALLS && l->state == OPEN && mr_redis_up(s->redis); i++) {
        /* One call behind the other: the script refuses one whose predecessor failed. */
        if (l->call_open) mr_stream_book_added(&l->book);
        l->call_open = false;
        send_frames(s, slot);
        if (!l->call_open) break;
    }
    mr_redis_flush(s->redis);
    lane_free(l);
}

mr_stream_stats mr_stream_get_stats(const mr_stream *s) {
    mr_stream_stats stats = s->stats;

    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        const lane *l = &s->lanes[i];
        if (l->used && l->streams && l->state != SHUT && l->book.n_made > l->book.n_there)
            stats.lag_frames += l->book.n_made - l->book.n_there;
    }
    return stats;
}

static void on_timer_closed(uv_handle_t *handle) {
    mr_stream *s = handle->data;

    mr_arena_drop(&s->batch);
    free(s->lanes);
    free(s);
}

void mr_stream_close(mr_stream *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        if (s->lanes[i].used) lane_free(&s->lanes[i]);
    }
    mr_redis_close(s->redis);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
