/* runner_bench.h - a real engine thread with a tiny random model, a loop that runs until what is
 * expected has come, and a record of all events per slot. */
#ifndef MR_TESTS_WORKER_RUNNER_BENCH_H
#define MR_TESTS_WORKER_RUNNER_BENCH_H

#include "tests/unit/worker/tiny.h"

#include "base/clock.h"
#include "worker/runner.h"

#define SLOTS       12
#define SEATS       4
#define MAX_NEW     200
#define PATIENCE_MS 120000

typedef struct seen { /* events of one slot since its start */
    int started, ended, displaced, resumed;
    mr_end end;
    int32_t tokens[MAX_NEW];
    float logprobs[MAX_NEW];
    mr_event_top top[MAX_NEW]; /* the first of each */
    uint32_t n_tokens, n_taken;
    char why[MR_EVENT_TEXT_BYTES];
    char text[8192];
    size_t text_len;
} seen;

typedef struct bench {
    uv_loop_t loop;
    mr_runner *r;
    bool ready, stopped, lost;
    mr_status ready_status;
    char ready_text[MR_EVENT_TEXT_BYTES];
    seen slots[SLOTS];
} bench;

static const int32_t prompt[100] = {1,  40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54,
                                    55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70};

static inline void add_text(seen *s, const mr_event *ev) {
    CHECK(s->text_len + ev->text_len < sizeof s->text);
    memcpy(s->text + s->text_len, ev->text, ev->text_len);
    s->text_len += ev->text_len;
}

static inline void on_event(void *owner, const mr_event *ev) {
    bench *b = owner;
    seen *s = &b->slots[ev->slot];

    switch (ev->kind) {
    case MR_EVENT_READY:
        b->ready = true;
        b->ready_status = ev->status;
        snprintf(b->ready_text, sizeof b->ready_text, "%s", ev->text_len ? ev->text : "");
        break;
    case MR_EVENT_STOPPED:
        b->stopped = true;
        break;
    case MR_EVENT_STARTED:
        CHECK_I64(s->started++, 0);
        CHECK_I64(s->ended, 0);
        break;
    case MR_EVENT_TEXT:
        add_text(s, ev);
        break;
    case MR_EVENT_TOKEN:
        CHECK(s->started && !s->ended);
        CHECK_I64(ev->index, s->n_tokens);
        if (ev->taken) CHECK_I64(s->n_taken++, ev->index); /* before those that are made */
        s->logprobs[s->n_tokens] = ev->logprob;
        if (ev->n_top) s->top[s->n_tokens] = ev->top[0];
        s->tokens[s->n_tokens++] = ev->token;
        add_text(s, ev);
        break;
    case MR_EVENT_DISPLACED:
        CHECK(s->started && !s->ended);
        CHECK_I64(ev->index, s->n_tokens);
        s->displaced++;
        break;
    case MR_EVENT_RESUMED:
        CHECK_I64(++s->resumed, s->displaced);
        break;
    case MR_EVENT_LOST:
        b->lost = true;
        break;
    case MR_EVENT_END:
        CHECK_I64(s->ended++, 0);
        s->end = ev->end;
        snprintf(s->why, sizeof s->why, "%s", ev->text_len ? ev->text : "");
        break;
    }
}

static inline void on_idle(void *owner) {
    (void)owner;
}

static inline void on_over(uv_timer_t *timer) {
    (void)timer;
    fail_msg("nothing came for %d ms", PATIENCE_MS);
}

/* Runs the loop until *flag, or fails. */
static inline void run_until(bench *b, const int *flag) {
    uv_timer_t timer;

    uv_timer_init(&b->loop, &timer);
    uv_timer_start(&timer, on_over, PATIENCE_MS, 0);
    while (!*flag) uv_run(&b->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&b->loop, UV_RUN_NOWAIT);
}

static inline void run_until_bool(bench *b, const bool *flag) {
    while (!*flag) uv_run(&b->loop, UV_RUN_ONCE);
}

static inline void open_bench(bench *b, const char *path, uint32_t kv_tokens,
                              uint32_t step_tokens) {
    const mr_runner_conf conf = {.model_path = path,
                                 .isa = "auto",
                                 .chat_template = "auto",
                                 .n_threads = 1,
                                 .kv_tokens = kv_tokens,
                                 .swap_bytes = 4 << 20, /* of devices */
                                 .max_jobs = SEATS,
                                 .max_preemptions = 2,
                                 .max_step_tokens = step_tokens,
                                 .n_slots = SLOTS,
                                 .owner = b,
                                 .on_event = on_event,
                                 .on_idle = on_idle};
    mr_err err = {0};

    memset(b, 0, sizeof *b);
    CHECK(uv_loop_init(&b->loop) == 0);
    CHECK_OK(mr_runner_open(&b->r, &b->loop, &conf, &err), err);
    run_until_bool(b, &b->ready);
}

static inline void close_bench(bench *b) {
    mr_runner_stop(b->r);
    run_until_bool(b, &b->stopped);
    CHECK_I64(mr_runner_get_stats(b->r).running, 0);
    if (b->ready_status == MR_OK) /* every block is back */
        CHECK_I64(mr_runner_get_stats(b->r).kv_tokens_free, mr_runner_get_model(b->r)->kv_tokens);
    mr_runner_close(b->r);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&b->loop), 0);
}

static inline void start_as(bench *b, uint32_t slot, size_t n_prompt, uint32_t max_new,
                            const mr_params *p, mr_priority priority) {
    const mr_work w = {.slot = slot,
                       .tokens = prompt,
                       .n_tokens = n_prompt,
                       .max_new = max_new,
                       .params = p,
                       .seed = 100 + slot,
                       .priority = priority};
    mr_err err = {0};

    b->slots[slot] = (seen){0};
    CHECK_OK(mr_runner_start(b->r, &w, &err), err);
}

static inline void start(bench *b, uint32_t slot, size_t n_prompt, uint32_t max_new,
                         const mr_params *p) {
    start_as(b, slot, n_prompt, max_new, p, MR_PRIORITY_NORMAL);
}

static const mr_params free_running = {.temperature = 1, .top_p = 1, .ignore_eos = true};

/* Where the text has three plain letters or blanks in a row, from `from` on. */
static inline size_t find_plain(const seen *s, size_t from) {
    for (size_t i = from; i + 3 < s->text_len; i++) {
        size_t n = 0;
        while (n < 3 && s->text[i + n] >= ' ' && s->text[i + n] < 127) n++;
        if (n == 3) return i;
    }
    fail_msg("no plain text in %zu bytes", s->text_len);
    return 0;
}

#endif
