/* Goal: a job of lane high has a seat at once while lane low has one, and the job that left it
 * tells in the end exactly what it would have told undisturbed. Method: the same jobs alone and
 * then displaced in the middle, on a real engine thread; compared token by token, byte by byte. */
#include "tests/unit/worker/runner_bench.h"

#define LAST (SEATS - 1) /* the low job that came last: it is the one that leaves */
#define LONG MAX_NEW     /* far more than the engine thread makes ahead of what was told */

/* Runs until this job has so many tokens. */
static void run_until_tokens(bench *b, uint32_t slot, uint32_t n) {
    const uint64_t began_ms = mr_clock_mono_ms();

    while (b->slots[slot].n_tokens < n) {
        CHECK(!b->slots[slot].ended && mr_clock_mono_ms() - began_ms < PATIENCE_MS);
        uv_run(&b->loop, UV_RUN_NOWAIT);
    }
}

static void check_same(const seen *s, const seen *alone) {
    CHECK_I64(s->end, alone->end);
    CHECK_I64(s->n_tokens, alone->n_tokens);
    CHECK(memcmp(s->tokens, alone->tokens, sizeof s->tokens) == 0);
    CHECK(memcmp(s->logprobs, alone->logprobs, sizeof s->logprobs) == 0);
    CHECK(memcmp(s->top, alone->top, sizeof s->top) == 0);
    CHECK_I64(s->text_len, alone->text_len);
    CHECK(memcmp(s->text, alone->text, s->text_len) == 0);
}

static void end_all(bench *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) run_until(b, &b->slots[i].ended);
}

static size_t prompt_of(uint32_t slot) {
    return 10 + 7 * slot;
}

/* All seats are taken by low jobs, the last one with these parameters; after `cut` tokens a high
 * one comes, and another. */
static void check_cut(bench *b, const mr_params *p, uint32_t cut) {
    static seen alone;

    start_as(b, LAST, prompt_of(LAST), LONG, p, MR_PRIORITY_LOW);
    run_until(b, &b->slots[LAST].ended);
    alone = b->slots[LAST];
    for (uint32_t i = 0; i < LAST; i++)
        start_as(b, i, prompt_of(i), LONG, &free_running, MR_PRIORITY_LOW);
    start_as(b, LAST, prompt_of(LAST), LONG, p, MR_PRIORITY_LOW);
    run_until_tokens(b, LAST, cut);
    start_as(b, SEATS, 20, 10, &free_running, MR_PRIORITY_HIGH);
    start_as(b, SEATS + 1, 20, 5, &free_running, MR_PRIORITY_HIGH);
    end_all(b, SEATS + 2);
    check_same(&b->slots[LAST], &alone);
    CHECK(b->slots[LAST].displaced > 0);
    CHECK_I64(b->slots[LAST].resumed, b->slots[LAST].displaced);
    CHECK_I64(b->slots[0].displaced, 0); /* the one that came first keeps its seat */
    CHECK_I64(b->slots[SEATS].displaced, 0);
}

TEST(a_displaced_job_tells_what_it_would_have_told) {
    const char *path = tiny_model();
    const mr_bias bias[2] = {{.token = 300, .bias = 4}, {.token = 301, .bias = -100}};
    mr_params greedy = {.top_p = 1, .ignore_eos = true};
    mr_params sampled = {.temperature = 1.3f, .top_p = 0.95f, .top_k = 200, .ignore_eos = true};
    mr_params penalties = sampled, logprobs = sampled;
    bench b;

    penalties.repetition_penalty = 1.4f;
    penalties.frequency_penalty = 0.7f;
    penalties.presence_penalty = 0.9f;
    penalties.logit_bias = bias;
    penalties.n_logit_bias = 2;
    logprobs.logprobs = true;
    logprobs.top_logprobs = 3;
    open_bench(&b, path, 0, 64);
    for (uint32_t cut = 1; cut <= 21; cut += 20) {
        check_cut(&b, &greedy, cut);
        check_cut(&b, &sampled, cut);
        check_cut(&b, &penalties, cut);
        check_cut(&b, &logprobs, cut);
    }
    CHECK(mr_runner_get_stats(b.r).preemptions >= 8);
    close_bench(&b);
    unlink(path);
}

/* The stop string lies in the second half, the cut before it. */
TEST(a_displaced_job_still_finds_its_stop) {
    const char *path = tiny_model();
    mr_params p = free_running;
    char stop[4] = "";
    const char *stops[1] = {stop};
    bench b;

    open_bench(&b, path, 0, 64);
    start_as(&b, LAST, prompt_of(LAST), LONG, &p, MR_PRIORITY_LOW);
    run_until(&b, &b.slots[LAST].ended);
    memcpy(stop, b.slots[LAST].text + find_plain(&b.slots[LAST], 250), 3);
    p.stop = stops;
    p.n_stop = 1;
    for (uint32_t cut = 1; cut <= 11; cut += 5) check_cut(&b, &p, cut);
    close_bench(&b);
    unlink(path);
}

/* Two low jobs that fill the cache, then a high one. False: it came when one had ended. */
static bool crowd_out(bench *b) {
    start_as(b, 0, 10, LONG, &free_running, MR_PRIORITY_LOW);
    start_as(b, 1, 10, LONG, &free_running, MR_PRIORITY_LOW);
    while (mr_runner_get_stats(b->r).running < 2 && !b->slots[0].ended)
        uv_run(&b->loop, UV_RUN_NOWAIT);
    start_as(b, 2, 10, 10, &free_running, MR_PRIORITY_HIGH);
    end_all(b, 3);
    return b->slots[1].displaced == 1;
}

/* The cache holds two of the low jobs, and not a block more. With so small a model the engine thread
 * may be through with them before the high one comes: then once more. */
TEST(a_high_job_gets_the_blocks_of_a_low_one) {
    const char *path = tiny_model();
    static seen alone;
    bench b;
    int tries = 0;

    open_bench(&b, path, 448, 64);
    start_as(&b, 1, 10, LONG, &free_running, MR_PRIORITY_LOW);
    run_until(&b, &b.slots[1].ended);
    alone = b.slots[1];
    while (!crowd_out(&b)) CHECK(++tries < 50);
    CHECK_I64(b.slots[0].displaced, 0);
    check_same(&b.slots[1], &alone);
    close_bench(&b);
    unlink(path);
}

/* Displaced while nobody leaves a seat again: it can be ended where it waits. */
TEST(a_displaced_job_can_be_cancelled_and_stopped) {
    const char *path = tiny_model();
    bench b;

    open_bench(&b, path, 0, 64);
    for (uint32_t i = 0; i < SEATS; i++) start_as(&b, i, 10, 200, &free_running, MR_PRIORITY_LOW);
    run_until_tokens(&b, LAST, 3);
    for (uint32_t i = 0; i < 2; i++)
        start_as(&b, SEATS + i, 10, 200, &free_running, MR_PRIORITY_HIGH);
    run_until(&b, &b.slots[SEATS - 2].displaced);
    mr_runner_cancel(b.r, LAST);
    run_until(&b, &b.slots[LAST].ended);
    CHECK_I64(b.slots[LAST].end, MR_END_CANCELLED);
    CHECK_I64(b.slots[LAST].displaced, 1);
    CHECK(b.slots[LAST].n_tokens >= 3);
    mr_runner_stop(b.r);
    run_until_bool(&b, &b.stopped);
    for (uint32_t i = 0; i < SEATS + 2; i++) CHECK_I64(b.slots[i].ended, 1);
    close_bench(&b);
    unlink(path);
}

MR_TEST_MAIN
