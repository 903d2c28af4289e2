/* stream_world.h - several workers' streams over one Redis: a private redis-server, an mr_stream for
 * each worker with jobs whose tokens the test makes up, and a reader that reads the whole stream as
 * docs/PROTOCOL.md says. */
#ifndef MR_TESTS_WORKER_STREAM_WORLD_H
#define MR_TESTS_WORKER_STREAM_WORLD_H

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "tests/redis_server.h"
#include "tests/test.h"
#include "tests/unit/net/loop.h"
#include "worker/stream.h"

#define JOB       "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define STREAM    "mr:{" JOB "}:s"
#define STATUS    "mr:{" JOB "}"
#define SLOT      1
#define SLOTS     3
#define N_WORKERS 4
#define TTL_MS    60000
#define WAIT_MS   120000
#define MAX_TAKEN 512

/* ---- Redis ---- */

static redis_server server;

#define REDIS(...) REDIS_DO(&server, __VA_ARGS__)

static inline void check_status(const char *field, const char *want) {
    const char *text = strchr(REDIS("HGET", STATUS, field), '\n');

    if (!text || strncmp(text + 1, want, strlen(want)) != 0)
        fail_msg("status %s is %s, not %s", field, text ? text + 1 : "none", want);
}

static inline long long redis_int(const char *answer) {
    CHECK(answer[0] == ':');
    return atoll(answer + 1);
}

/* ---- the answer that all workers make ---- */

static inline int32_t token_of(uint64_t i) {
    return 100 + (int32_t)(i % 300);
}

/* Some tokens show nothing, the next then more. */
static inline const char *text_of(uint64_t i) {
    static char text[32];

    snprintf(text, sizeof text, "t%llu\xC3\xA9\" ", (unsigned long long)i);
    return i % 5 == 3 ? "" : text;
}

/* ---- workers ---- */

/* Of the workers that are opened next: a claim, or the end of a job, waits for Redis only as long as
 * it does in earnest. Elsewhere Redis is there, however slow, and they wait for it. */
static bool short_claim, short_end;

typedef struct worker {
    mr_stream *s;
    int n_claimed, n_closed;
    bool degraded, differs; /* differs: it makes other tokens */
    bool dies;              /* as soon as it has the claim */
    bool asleep;            /* another one has the job */
    uint64_t made;          /* tokens, where the test keeps count */
    uint32_t attempt;       /* as claimed */
    size_t n_taken;
    int32_t taken[MAX_TAKEN];
    char text[8192];
    bool restart;
} worker;

static uv_loop_t loop;
static worker workers[N_WORKERS];
static const char *job_trace; /* traceparent of the job, "": none; each frame must have it */

static inline void on_claimed(void *owner, uint32_t slot, const mr_takeover *t) {
    worker *w = owner;

    CHECK_I64(slot, SLOT);
    w->n_claimed++;
    w->attempt = t->attempt;
    w->restart = t->restart;
    w->n_taken = t->n_tokens;
    CHECK(t->n_tokens <= MAX_TAKEN && t->text_len < sizeof w->text);
    if (t->n_tokens) memcpy(w->taken, t->tokens, t->n_tokens * sizeof *w->taken);
    memcpy(w->text, t->text, t->text_len);
    w->text[t->text_len] = 0;
    CHECK_I64(mr_stream_attempt(w->s, slot), t->attempt);
    if (!w->dies) return;
    mr_stream_close(w->s);
    w->s = NULL;
}

static inline void frame(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out) {
    const worker *w = owner;

    CHECK_I64(slot, SLOT);
    *out = (mr_stream_frame){.token = token_of(index) + w->differs, .text = text_of(index)};
    out->text_len = strlen(out->text);
}

static inline void on_closed(void *owner, uint32_t slot, bool degraded) {
    worker *w = owner;

    CHECK_I64(slot, SLOT);
    w->n_closed++;
    w->degraded = degraded;
}

static inline worker *open_worker(int i, int64_t max_frames) {
    static const char *const names[N_WORKERS] = {"a", "b", "c", "d"};
    worker *w = &workers[i];
    const mr_stream_conf conf = {.redis_url = server.url,
                                 .client_name = "test",
                                 .prefix = "mr",
                                 .worker = names[i],
                                 .model = "demo",
                                 .ttl_ms = TTL_MS,
                                 .claim_ms = short_claim ? 0 : WAIT_MS,
                                 .linger_ms = short_end ? 0 : WAIT_MS,
                                 .max_frames = max_frames,
                                 .n_slots = SLOTS,
                                 .n_vocab = 1000,
                                 .owner = w,
                                 .on_claimed = on_claimed,
                                 .frame = frame,
                                 .on_closed = on_closed};
    mr_err err;

    *w = (worker){0};
    CHECK_OK(mr_stream_open(&w->s, &loop, &conf, &err), err);
    return w;
}

static inline void close_worker(worker *w) {
    mr_stream_close(w->s);
    w->s = NULL;
    w->asleep = false;
}

static inline void begin(void) {
    mr_log_setup("error", false);
    signal(SIGPIPE, SIG_IGN); /* as our programs do */
    memset(workers, 0, sizeof workers);
    job_trace = "";
    short_claim = short_end = false;
    redis_init(&server);
    CHECK_I64(uv_loop_init(&loop), 0);
    redis_start(&server, "");
}

static inline void end(void) {
    for (int i = 0; i < N_WORKERS; i++) close_worker(&workers[i]);
    CHECK_I64(close_loop(&loop), 0);
    redis_deinit(&server);
}

static inline bool is_up(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).up;
}

static inline bool is_claimed(void *arg) {
    return ((worker *)arg)->n_claimed > 0;
}

static inline bool is_closed(void *arg) {
    return ((worker *)arg)->n_closed > 0;
}

static inline bool has_caught_up(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).lag_frames == 0;
}

/* It claimed once more. */
static inline bool is_again(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).claims > 1 && has_caught_up(arg);
}

static inline void begin_job(worker *w, bool ran_before) {
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .stream = true, .attempt = 1};

    snprintf(spec.trace.parent, sizeof spec.trace.parent, "%s", job_trace);
    CHECK(run_until(&loop, is_up, w, WAIT_MS));
    w->n_claimed = w->n_closed = 0;
    mr_stream_begin(w->s, SLOT, &spec, ran_before, MAX_TAKEN);
    CHECK_I64(w->n_claimed, 0); /* never inside */
}

static inline void claim(worker *w, bool ran_before) {
    begin_job(w, ran_before);
    CHECK(run_until(&loop, is_claimed, w, WAIT_MS));
}

static inline void make(worker *w, uint64_t n_tokens) {
    mr_stream_advance(w->s, SLOT, n_tokens);
    mr_stream_flush(w->s);
}

static inline void make_and_wait(worker *w, uint64_t n_tokens) {
    make(w, n_tokens);
    CHECK(run_until(&loop, has_caught_up, w, WAIT_MS));
}

/* True: degraded. */
static inline bool end_job(worker *w) {
    bool degraded = false;

    if (mr_stream_end(w->s, SLOT, &degraded)) return degraded;
    CHECK(run_until(&loop, is_closed, w, WAIT_MS));
    CHECK_I64(w->n_closed, 1);
    return w->degraded;
}

/* ---- the reader ---- */

typedef struct seen {
    uint64_t n_tokens;
    int n_restarts, n_frames;
    uint32_t attempt; /* of the last token */
    char first_id[48], last_id[48];
    char text[16384];
} seen;

static inline void take(seen *s, const char *id, const char *json) {
    mr_arena arena;
    mr_frame fr;
    mr_err err;

    mr_arena_init(&arena, 0);
    CHECK_OK(mr_codec_frame_decode(&fr, json, strlen(json), &arena, &err), err);
    CHECK_STR(fr.job_id, JOB);
    CHECK_STR(fr.traceparent ? fr.traceparent : "", job_trace);
    if (s->n_frames++ == 0) snprintf(s->first_id, sizeof s->first_id, "%s", id);
    snprintf(s->last_id, sizeof s->last_id, "%u-%llu", (unsigned)fr.attempt,
             (unsigned long long)fr.index);
    CHECK_STR(id, s->last_id);
    if (fr.type == MR_FRAME_RESTART) {
        s->n_restarts++;
        s->n_tokens = 0;
        s->text[0] = 0;
    } else {
        CHECK_I64(fr.index, s->n_tokens++);
        CHECK_I64(fr.token, token_of(fr.index));
        CHECK(fr.attempt >= s->attempt);
        strncat(s->text, fr.text, fr.text_len);
    }
    s->attempt = fr.attempt;
    mr_arena_drop(&arena);
}

/* The stream is whole: n tokens, their text, no repeat. */
static inline seen read_all(uint64_t n_tokens) {
    static const char dump[] = "local out = {}\n"
                               "for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do\n"
                               "  out[#out + 1] = e[1]\n"
                               "  out[#out + 1] = e[2][2]\n"
                               "end\n"
                               "return table.concat(out, '\\n')";
    char want[16384] = "";
    seen s = {0};
    char *copy = strdup(strchr(REDIS("EVAL", dump, "1", STREAM), '\n') + 1);

    for (char *id = strtok(copy, "\r\n"); id; id = strtok(NULL, "\r\n")) {
        char *json = strtok(NULL, "\r\n");
        CHECK(json != NULL);
        take(&s, id, json);
    }
    free(copy);
    CHECK_I64(s.n_tokens, n_tokens);
    for (uint64_t i = 0; i < n_tokens; i++) strcat(want, text_of(i));
    CHECK_STR(s.text, want);
    return s;
}

static inline void check_taken(const worker *w, size_t n) {
    char want[8192] = "";

    CHECK_I64(w->n_taken, n);
    for (size_t i = 0; i < n; i++) {
        CHECK_I64(w->taken[i], token_of(i));
        strcat(want, text_of(i));
    }
    CHECK_STR(w->text, want);
}

#endif
