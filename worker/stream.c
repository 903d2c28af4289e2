/* stream.c - one Lua call per job and step.
 *
 * A frame's entry has the ID <attempt>-<index>, and Redis refuses an ID that is not larger than the
 * last one. That makes sending again harmless: after a broken connection, or when another worker
 * died with the same attempt half written, entries that are already there are skipped (generation
 * is a function of the job, so they hold the same tokens). It also fences: when the last entry
 * belongs to a later attempt, this worker is a ghost, and the job's stream is left alone from then
 * on.
 *
 * At most one call per job is under way, so that an error reply cannot leave a gap behind which
 * later frames land; frames of later steps wait and go together. A call that failed is repeated
 * when Redis is back, or after RETRY_MS when it answered with an error.
 *
 * A job's result is produced after its last frame is confirmed, because `done` is written by
 * whoever reads the result and nothing may come behind it. The wait is bounded by
 * MR_STREAM_LINGER_MS, and there is none when Redis has been away for as long; then the rest of the
 * frames is dropped, and the result says stream_degraded.
 *
 * Bounds: buffer_bytes for all frames, MR_STREAM_BATCH frames per call. Thread: loop. */
#include "worker/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/redis.h"
#include "schemas/codec.h"
#include "worker/stream_buffer.h"

#define RETRY_MS          200
#define KEY_BYTES         160
#define NUMBER_BYTES      24
#define FRAME_FIRST_BYTES 1024
#define FRAME_MAX_BYTES   (4u << 20) /* a frame that is larger ends its stream */
#define FIXED_ARGS        8          /* two keys and six values before the frames */

/* KEYS: stream, status hash. ARGV: channel, MAXLEN, TTL in ms, attempt, index of the first frame,
 * now in ms, frames. Returns how many were new, -1 when a later attempt owns the stream. */
static const char frames_lua[] =
    "local attempt, first, new = ARGV[4], tonumber(ARGV[5]), 0\n"
    "for i = 7, #ARGV do\n"
    "  local id = attempt .. '-' .. string.format('%d', first + i - 7)\n"
    "  local r = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], id, 'f', ARGV[i])\n"
    "  if type(r) == 'table' and r.err then\n"
    "    if not string.find(r.err, 'equal or smaller', 1, true) then return r end\n"
    "    local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)\n"
    "    if last[1] and tonumber(string.match(last[1][1], '^%d+')) > tonumber(attempt) then\n"
    "      return -1\n"
    "    end\n"
    "  else\n"
    "    redis.call('PUBLISH', ARGV[1], ARGV[i])\n"
    "    new = new + 1\n"
    "  end\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])\n"
    "if redis.call('HGET', KEYS[2], 'state') == 'running' then\n"
    "  local n = string.format('%d', first + #ARGV - 6)\n"
    "  redis.call('HSET', KEYS[2], 'tokens', n, 'updated_ms', ARGV[6])\n"
    "end\n"
    "return new\n";

/* KEYS: status hash. ARGV: attempt, model, tenant, worker, now in ms, TTL in ms for a new hash. A
 * status that is terminal, or of a later attempt, stays. */
static const char running_lua[] =
    "local h = redis.call('HMGET', KEYS[1], 'state', 'attempt')\n"
    "local terminal = {succeeded=1, failed=1, rejected=1, cancelled=1, expired=1}\n"
    "local known = tonumber(h[2] or '0') or 0\n"
    "if known > tonumber(ARGV[1]) or (h[1] and terminal[h[1]]) then return 0 end\n"
    "redis.call('HSET', KEYS[1], 'state', 'running', 'attempt', ARGV[1], 'model', ARGV[2],\n"
    "  'tenant', ARGV[3], 'worker', ARGV[4], 'tokens', '0', 'updated_ms', ARGV[5])\n"
    "if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end\n"
    "return 1\n";

typedef struct lane { /* one slot's stream */
    bool used, streams, ending, status_due, call_open, refusal_logged;
    uint32_t generation; /* tells a late reply from one of the present job */
    uint32_t attempt;
    uint64_t retry_at_ms, end_by_ms;
    char job_id[MR_JOB_ID_LEN + 1];
    char tenant[MR_JOB_MAX_NAME + 1];
    mr_stream_buffer buffer;
} lane;

struct mr_stream {
    mr_stream_conf conf;
    mr_redis *redis;
    uv_timer_t timer; /* runs while something is to be repeated or given up */
    int frames_script, running_script;
    uint64_t down_since_ms; /* 0: up */
    bool state_known;       /* the log has said whether it is up */
    mr_stream_budget budget;
    mr_stream_stats stats;
    lane *lanes;
    char *scratch; /* one encoded frame */
    size_t scratch_cap;
};

static void on_timer(uv_timer_t *timer);

static void arm(mr_stream *s) {
    if (!uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, on_timer, RETRY_MS / 4, 0);
}

/* ---- calls ---- */

static void *cookie_of(const mr_stream *s, uint32_t slot) {
    return (void *)((uintptr_t)s->lanes[slot].generation * s->conf.n_slots + slot);
}

/* The lane a reply belongs to; NULL: its job has gone. */
static lane *lane_of(mr_stream *s, void *cookie, uint32_t *slot) {
    *slot = (uint32_t)((uintptr_t)cookie % s->conf.n_slots);
    return cookie_of(s, *slot) == cookie && s->lanes[*slot].used ? &s->lanes[*slot] : NULL;
}

static void lane_free(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    const uint32_t generation = l->generation + 1;

    mr_stream_buffer_deinit(&l->buffer);
    *l = (lane){.generation = generation};
}

static void give_up(mr_stream *s, lane *l) {
    s->stats.frames_dropped += mr_stream_buffer_frames(&l->buffer);
    mr_stream_buffer_cut(&l->buffer);
}

static void close_lane(mr_stream *s, uint32_t slot) {
    const bool degraded = s->lanes[slot].buffer.cut;

    lane_free(s, slot);
    s->conf.on_closed(s->conf.owner, slot, degraded);
}

static void send_frames(mr_stream *s, uint32_t slot);

static void on_frames_reply(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_stream *s = owner;
    uint32_t slot;
    lane *l = lane_of(s, cookie, &slot);

    if (!l) return;
    l->call_open = false;
    if (status == MR_OK && r->type == MR_REPLY_INT) {
        s->stats.frames += r->integer > 0 ? (uint64_t)r->integer : 0;
        mr_stream_buffer_confirm(&l->buffer);
        if (r->integer < 0) {
            mr_log(MR_LOG_WARN, "stream", "a later attempt owns the stream", "job=%s attempt=%u",
                   l->job_id, (unsigned)l->attempt);
            give_up(s, l);
        }
    } else {
        mr_stream_buffer_retry(&l->buffer);
        s->stats.errors++;
        l->retry_at_ms = mr_clock_mono_ms() + RETRY_MS;
        if (status == MR_OK && !l->refusal_logged) {
            l->refusal_logged = true;
            mr_log(MR_LOG_WARN, "stream", "redis refused frames", "job=%s err=" MR_Q, l->job_id,
                   r->text ? r->text : "unexpected reply");
        }
        arm(s);
        return;
    }
    if (mr_stream_buffer_frames(&l->buffer) > 0) {
        send_frames(s, slot);
    } else if (l->ending) {
        close_lane(s, slot);
    }
}

static void send_frames(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    const char *argv[FIXED_ARGS + MR_STREAM_BATCH];
    size_t lens[FIXED_ARGS + MR_STREAM_BATCH];
    char keys[3][KEY_BYTES], numbers[5][NUMBER_BYTES];
    uint64_t first = 0;
    size_t n;

    if (l->call_open || mr_stream_buffer_frames(&l->buffer) == 0) return;
    n = mr_stream_buffer_send(&l->buffer, argv + FIXED_ARGS, lens + FIXED_ARGS, &first);
    snprintf(keys[0], KEY_BYTES, "%s:{%s}:s", s->conf.prefix, l->job_id);
    snprintf(keys[1], KEY_BYTES, "%s:{%s}", s->conf.prefix, l->job_id);
    snprintf(keys[2], KEY_BYTES, "%s:{%s}:t", s->conf.prefix, l->job_id);
    snprintf(numbers[0], NUMBER_BYTES, "%" PRId64, s->conf.max_frames);
    snprintf(numbers[1], NUMBER_BYTES, "%" PRIu64, s->conf.ttl_ms);
    snprintf(numbers[2], NUMBER_BYTES, "%" PRIu32, l->attempt);
    snprintf(numbers[3], NUMBER_BYTES, "%" PRIu64, first);
    snprintf(numbers[4], NUMBER_BYTES, "%" PRIu64, mr_clock_wall_ms());
    for (size_t i = 0; i < 3; i++) argv[i] = keys[i];
    for (size_t i = 0; i < 5; i++) argv[3 + i] = numbers[i];
    for (size_t i = 0; i < FIXED_ARGS; i++) lens[i] = strlen(argv[i]);
    if (mr_redis_eval(s->redis, s->frames_script, 2, FIXED_ARGS + n, argv, lens, on_frames_reply,
                      cookie_of(s, slot), NULL) == MR_OK) {
        l->call_open = true;
        s->stats.calls++;
    } else { /* away, or its queue is full */
        mr_stream_buffer_retry(&l->buffer);
        l->retry_at_ms = mr_clock_mono_ms() + RETRY_MS;
        arm(s);
    }
}

static void on_running_reply(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_stream *s = owner;
    uint32_t slot;
    lane *l = lane_of(s, cookie, &slot);

    if (!l || (status == MR_OK && r->type != MR_REPLY_ERROR)) return;
    l->status_due = true;
    l->retry_at_ms = mr_clock_mono_ms() + RETRY_MS;
    s->stats.errors++;
    arm(s);
}

static void send_running(mr_stream *s, uint32_t slot) {
    lane *l = &s->lanes[slot];
    char key[KEY_BYTES], attempt[NUMBER_BYTES], now[NUMBER_BYTES], ttl[NUMBER_BYTES];
    const char *argv[] = {key, attempt, s->conf.model, l->tenant, s->conf.worker, now, ttl};

    snprintf(key, sizeof key, "%s:{%s}", s->conf.prefix, l->job_id);
    snprintf(attempt, sizeof attempt, "%" PRIu32, l->attempt);
    snprintf(now, sizeof now, "%" PRIu64, mr_clock_wall_ms());
    snprintf(ttl, sizeof ttl, "%" PRIu64, s->conf.ttl_ms);
    l->status_due = mr_redis_eval(s->redis, s->running_script, 1, MR_COUNT(argv), argv, NULL,
                                  on_running_reply, cookie_of(s, slot), NULL) != MR_OK;
}

/* ---- retries and ends ---- */

static bool given_up(const mr_stream *s, const lane *l, uint64_t now_ms) {
    return now_ms >= l->end_by_ms ||
           (s->down_since_ms && now_ms >= s->down_since_ms + MR_STREAM_LINGER_MS);
}

static void on_timer(uv_timer_t *timer) {
    mr_stream *s = timer->data;
    const uint64_t now_ms = mr_clock_mono_ms();
    bool again = false;

    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        lane *l = &s->lanes[i];
        if (!l->used) continue;
        if (l->ending && given_up(s, l, now_ms)) {
            give_up(s, l);
            close_lane(s, i);
            continue;
        }
        if (mr_redis_up(s->redis) && now_ms >= l->retry_at_ms) {
            if (l->status_due) send_running(s, i);
            send_frames(s, i);
        }
        again = again || l->ending ||
                (mr_redis_up(s->redis) &&
                 (l->status_due || (!l->call_open && mr_stream_buffer_frames(&l->buffer) > 0)));
    }
    mr_redis_flush(s->redis);
    if (again) arm(s);
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
    arm(s);
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
    s->budget.limit = conf->buffer_bytes;
    s->down_since_ms = mr_clock_mono_ms();
    s->scratch_cap = FRAME_FIRST_BYTES;
    s->scratch = malloc(s->scratch_cap);
    s->lanes = calloc(conf->n_slots, sizeof *s->lanes);
    if (!s->scratch || !s->lanes) {
        st = mr_fail(err, MR_ENOMEM, "stream: no memory for %u slots", (unsigned)conf->n_slots);
        goto fail;
    }
    rc.owner = s;
    rc.on_state = on_state;
    if ((st = mr_redis_open(&s->redis, loop, &rc, err)) != MR_OK) goto fail;
    if ((st = mr_redis_script(s->redis, frames_lua, &s->frames_script, err)) != MR_OK ||
        (st = mr_redis_script(s->redis, running_lua, &s->running_script, err)) != MR_OK)
        goto fail;
    uv_timer_init(loop, &s->timer); /* always 0 */
    s->timer.data = s;
    *out = s;
    return MR_OK;
fail:
    mr_redis_close(s->redis);
    free(s->scratch);
    free(s->lanes);
    free(s);
    return st;
}

void mr_stream_begin(mr_stream *s, uint32_t slot, const mr_job_spec *spec) {
    lane *l = &s->lanes[slot];

    MR_CHECK(slot < s->conf.n_slots && !l->used);
    l->used = true;
    l->streams = spec->stream;
    l->attempt = spec->attempt;
    snprintf(l->job_id, sizeof l->job_id, "%s", spec->job_id);
    snprintf(l->tenant, sizeof l->tenant, "%s", spec->tenant);
    mr_stream_buffer_init(&l->buffer, &s->budget);
    send_running(s, slot);
}

static mr_status encode_frame(mr_stream *s, const mr_frame *fr, size_t *n) {
    mr_status st;

    while ((st = mr_codec_frame_encode(fr, s->scratch, s->scratch_cap, n)) == MR_ELIMIT) {
        const size_t cap = 2 * s->scratch_cap;
        char *bigger = cap <= FRAME_MAX_BYTES ? realloc(s->scratch, cap) : NULL;
        if (!bigger) return MR_ELIMIT;
        s->scratch = bigger;
        s->scratch_cap = cap;
    }
    return st;
}

void mr_stream_token(mr_stream *s, uint32_t slot, uint64_t index, int32_t token, const char *text,
                     size_t len) {
    lane *l = &s->lanes[slot];
    mr_frame fr = {.type = MR_FRAME_TOKEN, .index = index, .token = token};
    const bool was_cut = l->buffer.cut;
    size_t n = 0;

    if (!l->used || !l->streams) return;
    memcpy(fr.job_id, l->job_id, sizeof fr.job_id);
    fr.attempt = l->attempt;
    fr.text = len ? text : "";
    fr.text_len = len;
    if (encode_frame(s, &fr, &n) != MR_OK) l->buffer.cut = true;
    if (mr_stream_buffer_add(&l->buffer, s->scratch, n)) return;
    s->stats.frames_dropped++;
    if (!was_cut)
        mr_log(MR_LOG_WARN, "stream", "no room for more frames: the live stream of this job ends",
               "job=%s index=%" PRIu64 " buffered_bytes=%zu limit=%zu", l->job_id, index,
               s->budget.used, s->budget.limit);
}

void mr_stream_flush(mr_stream *s) {
    const uint64_t now_ms = mr_clock_mono_ms();

    if (!mr_redis_up(s->redis)) return;
    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        lane *l = &s->lanes[i];
        if (l->used && !l->call_open && now_ms >= l->retry_at_ms) send_frames(s, i);
    }
    mr_redis_flush(s->redis);
}

bool mr_stream_end(mr_stream *s, uint32_t slot, bool *degraded) {
    lane *l = &s->lanes[slot];
    const uint64_t now_ms = mr_clock_mono_ms();

    *degraded = false;
    if (!l->used) return true;
    l->end_by_ms = now_ms + MR_STREAM_LINGER_MS;
    if (mr_stream_buffer_frames(&l->buffer) > 0) {
        if (!given_up(s, l, now_ms)) {
            l->ending = true;
            arm(s);
            return false;
        }
        give_up(s, l);
    }
    *degraded = l->buffer.cut;
    lane_free(s, slot);
    return true;
}

void mr_stream_drop(mr_stream *s, uint32_t slot) {
    if (s->lanes[slot].used) lane_free(s, slot);
}

mr_stream_stats mr_stream_get_stats(const mr_stream *s) {
    mr_stream_stats stats = s->stats;

    stats.buffered_bytes = s->budget.used;
    return stats;
}

static void on_timer_closed(uv_handle_t *handle) {
    mr_stream *s = handle->data;

    free(s->scratch);
    free(s->lanes);
    free(s);
}

void mr_stream_close(mr_stream *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->conf.n_slots; i++) {
        if (s->lanes[i].used) lane_free(s, i);
    }
    mr_redis_close(s->redis);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
