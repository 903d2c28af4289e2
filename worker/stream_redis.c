/* stream_redis.c - see stream_redis.h.
 *
 * A script runs as a whole, so nobody comes between its checks and its writes. Adding frames twice
 * is harmless: the script is told which entry must be the last one, and when it finds one of the
 * frames it brings instead, an earlier call got through without its answer, and it adds the rest.
 * Any other last entry means that Redis lost something (restarted, wiped, key deleted) or that
 * somebody else wrote; then nothing is added, because readers must not see a gap.
 *
 * Attempts only grow, also for readers who remember more than Redis does: a worker whose stream was
 * lost counts on from its own number, and one that finds nothing of a job that has run takes the
 * time in seconds, which is beyond any number that was counted. */
#include "worker/stream_redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define KEY_BYTES    160
#define NUMBER_BYTES 24
#define SLACK_FRAMES 256 /* XADD's MAXLEN ~ leaves so many more, and some */
#define FRAMES_FIXED 11  /* two keys and nine values before the frames */
#define CLAIM_FIXED  4   /* values of the answer before the entries */

/* KEYS: stream, status hash. ARGV: claim, attempt it held, lowest attempt, ran before (0, 1),
 * streams (0, 1), entries at most, now in ms, TTL in ms, model, tenant, worker.
 * Returns {attempt, last ID, number of entries, shown, ID, frame, ID, frame, ...}, {0} when the job
 * is over, {-1} when a later claim has the stream. A claim whose answer was lost keeps its number.
 * shown is 0 when the hash knows of every claim of this job, and that none has written a token;
 * when that is not known any more, the hash has no field `tokens` until the next frame. */
static const char claim_lua[] =
    "local over = {succeeded=1, failed=1, rejected=1, cancelled=1, expired=1}\n"
    "local h = redis.call('HMGET', KEYS[2], 'state', 'attempt', 'claim', 'tokens')\n"
    "local known = h[3] and tonumber(h[2] or '0') or 0\n"
    "local held, attempt = tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "if h[1] and over[h[1]] then return {0} end\n"
    "if held > 0 and h[3] and h[3] ~= ARGV[1] and known >= held then return {-1} end\n"
    "local streams = ARGV[5] == '1'\n"
    "local last = streams and redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]\n"
    "if h[3] == ARGV[1] and known >= attempt then\n"
    "  attempt = known\n"
    "elseif h[3] then\n"
    "  attempt = math.max(attempt, known + 1)\n"
    "end\n"
    "if last then\n"
    "  attempt = math.max(attempt, tonumber(string.match(last[1], '^%d+')) + 1)\n"
    "elseif streams and not h[3] and held == 0 and ARGV[4] == '1' then\n"
    "  attempt = math.max(attempt, math.floor(tonumber(ARGV[7]) / 1000))\n"
    "end\n"
    "local shown = 0\n"
    "if last or ARGV[4] == '1' and not (h[3] and h[4] == '0') then shown = 1 end\n"
    "if attempt > 4294967000 then\n"
    "  return redis.error_reply('ERR the IDs of this stream leave no room')\n"
    "end\n"
    "redis.call('HSET', KEYS[2], 'state', 'running', 'attempt', string.format('%d', attempt),\n"
    "  'claim', ARGV[1], 'model', ARGV[9], 'tenant', ARGV[10], 'worker', ARGV[11],\n"
    "  'updated_ms', ARGV[7])\n"
    "if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[8]) then\n"
    "  redis.call('PEXPIRE', KEYS[2], ARGV[8])\n"
    "end\n"
    "if not last then\n"
    "  if shown == 0 or not streams then\n"
    "    redis.call('HSET', KEYS[2], 'tokens', '0')\n"
    "  else\n"
    "    redis.call('HDEL', KEYS[2], 'tokens')\n"
    "  end\n"
    "  return {attempt, '', 0, shown}\n"
    "end\n"
    "local n = redis.call('XLEN', KEYS[1])\n"
    "local out = {attempt, last[1], n, shown}\n"
    "if n > tonumber(ARGV[6]) then return out end\n"
    "for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do\n"
    "  out[#out + 1] = e[1]\n"
    "  out[#out + 1] = e[2][1] == 'f' and e[2][2] or ''\n"
    "end\n"
    "return out\n";

/* KEYS: stream, status hash. ARGV: channel, MAXLEN, TTL in ms, claim, attempt, ID of the entry that
 * must be the last one, restart (0, 1), index of the first token, now in ms, frames. A restart
 * frame has the number before the attempt to itself. Returns how many frames were new, -1 when a
 * later claim has the stream, -2 when it is not as it was left. */
static const char frames_lua[] =
    "local attempt, first = tonumber(ARGV[5]), tonumber(ARGV[8])\n"
    "local h = redis.call('HMGET', KEYS[2], 'claim', 'attempt', 'state')\n"
    "if h[1] and h[1] ~= ARGV[4] and (tonumber(h[2]) or 0) >= attempt then return -1 end\n"
    "if h[1] ~= ARGV[4] or h[3] ~= 'running' then return -2 end\n"
    "local ids = {}\n"
    "if ARGV[7] == '1' then\n"
    "  ids[1] = string.format('%d-0', attempt - 1)\n"
    "end\n"
    "for i = 10 + #ids, #ARGV do\n"
    "  ids[#ids + 1] = string.format('%d-%d', attempt, first)\n"
    "  first = first + 1\n"
    "end\n"
    "local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]\n"
    "last = last and last[1] or ''\n"
    "local n_there = last == ARGV[6] and 0 or -1\n"
    "for i = 1, n_there < 0 and #ids or 0 do\n"
    "  if ids[i] == last then n_there = i end\n"
    "end\n"
    "if n_there < 0 then return -2 end\n"
    "for i = n_there + 1, #ids do\n"
    "  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ids[i], 'f', ARGV[9 + i])\n"
    "  redis.call('PUBLISH', ARGV[1], ARGV[9 + i])\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])\n"
    "if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then\n"
    "  redis.call('PEXPIRE', KEYS[2], ARGV[3])\n"
    "end\n"
    "redis.call('HSET', KEYS[2], 'attempt', ARGV[5], 'tokens', string.format('%d', first),\n"
    "  'updated_ms', ARGV[9])\n"
    "return #ids - n_there\n";

mr_status mr_stream_redis_init(mr_stream_redis *r, mr_err *err) {
    const mr_status st = mr_redis_script(r->redis, claim_lua, &r->claim_script, err);

    return st == MR_OK ? mr_redis_script(r->redis, frames_lua, &r->frames_script, err) : st;
}

/* ---- calls ---- */

static const char *number(char buf[NUMBER_BYTES], uint64_t n) {
    snprintf(buf, NUMBER_BYTES, "%" PRIu64, n);
    return buf;
}

mr_status mr_stream_redis_claim(const mr_stream_redis *r, const mr_stream_claim *c,
                                mr_redis_on_reply *cb, void *cookie) {
    char stream[KEY_BYTES], status[KEY_BYTES], n[5][NUMBER_BYTES];
    const char *argv[] = {stream,
                          status,
                          c->claim,
                          number(n[0], c->held),
                          number(n[1], c->lowest),
                          c->ran_before ? "1" : "0",
                          c->streams ? "1" : "0",
                          number(n[2], (uint64_t)r->max_frames + SLACK_FRAMES),
                          number(n[3], mr_clock_wall_ms()),
                          number(n[4], r->ttl_ms),
                          r->model,
                          c->tenant,
                          r->worker};

    snprintf(stream, sizeof stream, "%s:{%s}:s", r->prefix, c->job_id);
    snprintf(status, sizeof status, "%s:{%s}", r->prefix, c->job_id);
    return mr_redis_eval(r->redis, r->claim_script, 2, MR_COUNT(argv), argv, NULL, cb, cookie,
                         NULL);
}

mr_status mr_stream_redis_frames(const mr_stream_redis *r, const mr_stream_frames *f,
                                 mr_redis_on_reply *cb, void *cookie) {
    char stream[KEY_BYTES], status[KEY_BYTES], channel[KEY_BYTES], n[5][NUMBER_BYTES];
    size_t lens[FRAMES_FIXED + MR_STREAM_BATCH];
    const char *argv[FRAMES_FIXED + MR_STREAM_BATCH] = {stream,
                                                        status,
                                                        channel,
                                                        number(n[0], (uint64_t)r->max_frames),
                                                        number(n[1], r->ttl_ms),
                                                        f->claim,
                                                        number(n[2], f->attempt),
                                                        f->previous,
                                                        f->restart ? "1" : "0",
                                                        number(n[3], f->first_index),
                                                        number(n[4], mr_clock_wall_ms())};

    MR_CHECK(f->n > 0 && f->n <= MR_STREAM_BATCH);
    snprintf(stream, sizeof stream, "%s:{%s}:s", r->prefix, f->job_id);
    snprintf(status, sizeof status, "%s:{%s}", r->prefix, f->job_id);
    snprintf(channel, sizeof channel, "%s:{%s}:t", r->prefix, f->job_id);
    for (size_t i = 0; i < FRAMES_FIXED; i++) lens[i] = strlen(argv[i]);
    for (size_t i = 0; i < f->n; i++) {
        argv[FRAMES_FIXED + i] = f->frames[i];
        lens[FRAMES_FIXED + i] = f->lens[i];
    }
    return mr_redis_eval(r->redis, r->frames_script, 2, FRAMES_FIXED + f->n, argv, lens, cb, cookie,
                         NULL);
}

/* ---- answers ---- */

mr_status mr_stream_redis_claimed(mr_claim_reply *out, const mr_reply *r, mr_arena *arena) {
    const bool is_list = r->type == MR_REPLY_ARRAY && r->n_items > 0;
    mr_takeover_entry *entries;

    *out = (mr_claim_reply){.end = MR_CLAIM_ERROR, .last_id = "", .text = r->text};
    if (!is_list) return MR_OK;
    if (r->n_items < CLAIM_FIXED) {
        out->end = r->items[0]->integer < 0 ? MR_CLAIM_FENCED : MR_CLAIM_OVER;
        return MR_OK;
    }
    out->end = MR_CLAIM_HELD;
    out->attempt = (uint32_t)r->items[0]->integer;
    out->last_id = r->items[1]->text;
    out->shown = r->items[3]->integer != 0;
    out->n_entries = (r->n_items - CLAIM_FIXED) / 2;
    out->too_many = r->items[2]->integer > (int64_t)out->n_entries;
    entries = mr_arena_calloc(arena, out->n_entries, sizeof *entries);
    if (!entries) return MR_ENOMEM;
    for (size_t i = 0; i < out->n_entries; i++) {
        const mr_reply *const *e = r->items + CLAIM_FIXED + 2 * i;
        entries[i] = (mr_takeover_entry){e[0]->text, e[1]->text, e[1]->len};
    }
    out->entries = entries;
    return MR_OK;
}

mr_frames_end mr_stream_redis_added(const mr_reply *r, uint64_t *n_new) {
    *n_new = 0;
    if (r->type != MR_REPLY_INT) return MR_FRAMES_ERROR;
    if (r->integer == -1) return MR_FRAMES_FENCED;
    if (r->integer < 0) return MR_FRAMES_LOST;
    *n_new = (uint64_t)r->integer;
    return MR_FRAMES_ADDED;
}
