/* status.c - see status.h. */
#include "dispatcher/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"

#define MAX_NUMBER 4294967000u /* of an attempt; room for those behind it */

/* KEYS: hash, stream. ARGV: ttl s, frame id, frame, channel, then the hash's fields and values.
 * An ID that is not larger than the stream's last one: readers have this end already, or the job
 * ended before the worker that wrote the result had claimed the stream. Then the end goes behind
 * what is there, under the next number: nothing else may come any more. */
static const char end_lua[] =
    "local frame = ARGV[3]\n"
    "local ok = redis.pcall('XADD', KEYS[2], ARGV[2], 'f', frame)\n"
    "if type(ok) == 'table' and ok.err and string.find(ok.err, 'equal or smaller', 1, true) then\n"
    "  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]\n"
    "  if last and not string.find(last[2][2], '\"type\":\"done\"', 1, true) then\n"
    "    local attempt = string.format('%d', tonumber(string.match(last[1], '^%d+')) + 1)\n"
    "    frame = string.gsub(frame, '\"attempt\":%d+', '\"attempt\":' .. attempt, 1)\n"
    "    ok = redis.pcall('XADD', KEYS[2], attempt .. string.match(ARGV[2], '-%d+$'), 'f', frame)\n"
    "  end\n"
    "end\n"
    "redis.call('HSET', KEYS[1], unpack(ARGV, 5))\n"
    "redis.call('EXPIRE', KEYS[1], ARGV[1])\n"
    "redis.call('EXPIRE', KEYS[2], ARGV[1])\n"
    "if type(ok) == 'table' and ok.err then return 0 end\n"
    "redis.call('PUBLISH', ARGV[4], frame)\n"
    "return 1\n";

/* KEYS: hash. ARGV: ttl s, turn, fields and values.
 * A turn of a job is one way from the window to a worker. Who ran before its "queued" came here, or
 * has ended, keeps what the hash has; a turn that is newer than what the hash knows is shown. The
 * number of the attempt is the workers'. */
static const char waiting_lua[] =
    "local h = redis.call('HMGET', KEYS[1], 'state', 'turn')\n"
    "if h[1] and h[1] ~= 'queued' and h[1] ~= 'delayed' and\n"
    "    tonumber(h[2] or '1') >= tonumber(ARGV[2]) then return 0 end\n"
    "redis.call('HSETNX', KEYS[1], 'attempt', ARGV[2])\n"
    "redis.call('HSET', KEYS[1], 'turn', ARGV[2], unpack(ARGV, 3))\n"
    "redis.call('EXPIRE', KEYS[1], ARGV[1])\n"
    "return 1\n";

struct mr_status_view {
    mr_redis *redis;
    mr_status_conf conf;
    int end_script, waiting_script;
    char ttl[24];
};

typedef struct end_call {
    void (*done)(void *owner, void *arg, mr_status st);
    void *owner, *arg;
} end_call;

static void on_state(void *owner, bool up, const char *why) {
    mr_status_view *v = owner;
    mr_log(up ? MR_LOG_INFO : MR_LOG_WARN, "status", up ? "redis connected" : "redis lost",
           "why=" MR_Q, why ? why : "");
    if (up) v->conf.on_up(v->conf.owner);
}

void mr_status_set_ttl(mr_status_view *v, int64_t ttl_s) {
    snprintf(v->ttl, sizeof v->ttl, "%" PRId64, ttl_s);
}

mr_status mr_status_open(mr_status_view **out, uv_loop_t *loop, const mr_status_conf *conf,
                         mr_err *err) {
    mr_status_view *v = calloc(1, sizeof *v);
    *out = NULL;
    if (!v) return mr_fail(err, MR_ENOMEM, "status: out of memory");
    v->conf = *conf;
    mr_status_set_ttl(v, conf->ttl_s);
    const mr_redis_conf rc = {.url = conf->redis_url,
                              .client_name = "millrace-dispatcher",
                              .owner = v,
                              .on_state = on_state};
    mr_status st = mr_redis_open(&v->redis, loop, &rc, err);
    if (st == MR_OK) st = mr_redis_script(v->redis, end_lua, &v->end_script, err);
    if (st == MR_OK) st = mr_redis_script(v->redis, waiting_lua, &v->waiting_script, err);
    if (st != MR_OK) {
        mr_status_close(v);
        return st;
    }
    *out = v;
    return MR_OK;
}

void mr_status_close(mr_status_view *v) {
    if (!v) return;
    mr_redis_close(v->redis);
    free(v);
}

bool mr_status_up(const mr_status_view *v) {
    return mr_redis_up(v->redis);
}

typedef struct keys {
    char hash[160], stream[160], channel[160];
} keys;

static void make_hash_key(const mr_status_view *v, const char *job, keys *k) {
    const size_t prefix = strlen(v->conf.redis_prefix), id = strlen(job);
    char *to = k->hash;
    MR_CHECK(prefix + id + sizeof ":{}" <= sizeof k->hash);
    memcpy(to, v->conf.redis_prefix, prefix);
    memcpy(to += prefix, ":{", 2);
    memcpy(to += 2, job, id);
    memcpy(to += id, "}", sizeof "}");
}

static void make_keys(const mr_status_view *v, const char *job, keys *k) {
    make_hash_key(v, job, k);
    snprintf(k->stream, sizeof k->stream, "%s:{%s}:s", v->conf.redis_prefix, job);
    snprintf(k->channel, sizeof k->channel, "%s:{%s}:t", v->conf.redis_prefix, job);
}

typedef struct args {
    const char *v[32];
    char numbers[8][24]; /* texts of those that are numbers */
    size_t n, n_numbers;
} args;

static void add(args *a, const char *text) {
    MR_CHECK(a->n < MR_COUNT(a->v));
    a->v[a->n++] = text;
}

static void add_number(args *a, uint64_t n) {
    MR_CHECK(a->n_numbers < MR_COUNT(a->numbers));
    char *text = a->numbers[a->n_numbers++] + sizeof a->numbers[0]; /* its end */
    *--text = '\0';
    do
        *--text = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    add(a, text);
}

static void add_text_field(args *a, const char *field, const char *text) {
    add(a, field);
    add(a, text);
}

static void add_number_field(args *a, const char *field, uint64_t n) {
    add(a, field);
    add_number(a, n);
}

static void tell(const mr_status_view *v, const char *job_id, const char *model, const char *tenant,
                 const char *state) {
    if (v->conf.on_job) v->conf.on_job(v->conf.owner, job_id, model, tenant, state);
}

void mr_status_waiting(mr_status_view *v, const mr_job_spec *j, const mr_status_wait *w) {
    keys k;
    args a = {.n = 0};
    tell(v, j->job_id, j->model, j->tenant, w->state);
    if (!mr_status_up(v)) return;
    make_hash_key(v, j->job_id, &k);
    add(&a, k.hash);
    add(&a, v->ttl);
    add_number(&a, j->attempt);
    add_text_field(&a, "state", w->state);
    add_text_field(&a, "model", j->model);
    add_text_field(&a, "tenant", j->tenant);
    add_number_field(&a, "tries", j->tries);
    add_number_field(&a, "received_ms", j->received_ms);
    add_number_field(&a, "updated_ms", mr_clock_wall_ms());
    if (w->ticket) {
        add_text_field(&a, "lane", mr_priority_name(w->lane));
        add_number_field(&a, "ticket", w->ticket);
        add_text_field(&a, "dispatcher", v->conf.dispatcher);
    }
    if (w->due_ms) add_number_field(&a, "due_ms", w->due_ms);
    if (j->trace.parent[0]) add_text_field(&a, "traceparent", j->trace.parent);
    (void)mr_redis_eval(v->redis, v->waiting_script, 1, a.n, a.v, NULL, NULL, NULL, NULL);
}

/* Errors of the server's state pass; all others concern this key or call and come again each time.
 */
static bool passes(const char *text) {
    static const char *const codes[] = {
        "LOADING",  "OOM",  "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED",      "ASK",
        "TRYAGAIN", "BUSY", "MISCONF",  "NOAUTH",     "NOPERM",      "NOREPLICAS", "NOSCRIPT"};
    for (size_t i = 0; i < MR_COUNT(codes); i++)
        if (strncmp(text, codes[i], strlen(codes[i])) == 0) return true;
    return false;
}

static void on_end(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    end_call call = *(end_call *)cookie;
    (void)owner;
    free(cookie);
    if (status == MR_OK && r->type == MR_REPLY_ERROR) {
        status = passes(r->text) ? MR_EUNAVAIL : MR_EINVAL;
        mr_log(MR_LOG_WARN, "status", "redis refused the end of a job", "err=" MR_Q, r->text);
    }
    call.done(call.owner, call.arg, status);
}

/* The number of the attempt in the end of a stream. A result without tokens may be of a worker that
 * never claimed the stream, while readers remember frames of an earlier one that Redis has lost: its
 * number is the time, as a worker takes it in that case. The job's time and not ours, so that an
 * end that is told twice has one ID. */
static uint32_t number_of(const mr_result *r) {
    const uint64_t end_s = r->finished_ms / 1000 + 1;
    if (!r->attempt) return 1; /* never released: there are no frames */
    return r->completion_tokens || end_s <= r->attempt || end_s > MAX_NUMBER ? r->attempt
                                                                             : (uint32_t)end_s;
}

mr_status mr_status_end(mr_status_view *v, const mr_result *r, const mr_trace *trace,
                        int32_t partition, int64_t offset,
                        void (*done)(void *owner, void *arg, mr_status st), void *owner,
                        void *arg) {
    mr_frame frame = {.type = MR_FRAME_DONE,
                      .attempt = number_of(r),
                      .index = r->completion_tokens,
                      .status = r->status,
                      .finish_reason = r->finish_reason,
                      .error = r->error,
                      .traceparent = trace->parent[0] ? trace->parent : NULL};
    keys k;
    char json[2048], id[48], now[24], part[16], off[24], tokens[16], attempt[16];
    size_t len;

    tell(v, r->job_id, r->model, r->tenant, mr_job_status_name(r->status));
    memcpy(frame.job_id, r->job_id, sizeof frame.job_id);
    if (mr_codec_frame_encode(&frame, json, sizeof json, &len) != MR_OK) {
        frame.error.message = ""; /* longer than a frame may be: the result has it whole */
        if (mr_codec_frame_encode(&frame, json, sizeof json, &len) != MR_OK) return MR_EINVAL;
    }
    make_keys(v, r->job_id, &k);
    snprintf(id, sizeof id, "%u-%" PRIu64, frame.attempt, frame.index);
    snprintf(now, sizeof now, "%" PRIu64, mr_clock_wall_ms());
    snprintf(part, sizeof part, "%d", partition);
    snprintf(off, sizeof off, "%" PRId64, offset);
    snprintf(tokens, sizeof tokens, "%u", r->completion_tokens);
    snprintf(attempt, sizeof attempt, "%u", r->attempt ? r->attempt : 1);
    const char *argv[] = {k.hash,
                          k.stream,
                          v->ttl,
                          id,
                          json,
                          k.channel,
                          "state",
                          mr_job_status_name(r->status),
                          "model",
                          r->model,
                          "tenant",
                          r->tenant,
                          "attempt",
                          attempt,
                          "worker",
                          r->worker,
                          "tokens",
                          tokens,
                          "updated_ms",
                          now,
                          "finish_reason",
                          r->finish_reason,
                          "error",
                          r->error.code && r->error.message ? r->error.message : "",
                          "result_partition",
                          part,
                          "result_offset",
                          off};
    end_call *call = malloc(sizeof *call);
    if (!call) return MR_ELIMIT;
    *call = (end_call){done, owner, arg};
    const mr_status st =
        mr_redis_eval(v->redis, v->end_script, 2, MR_COUNT(argv), argv, NULL, on_end, call, NULL);
    if (st != MR_OK) free(call);
    return st;
}
