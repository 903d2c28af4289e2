/* Goal: every started job ends exactly once, whatever happens to it, and what it generates depends
 * neither on its company nor on where another worker left it. Method: a real engine thread with a
 * tiny random model (runner_bench.h), one small case per event. */
#include "tests/unit/worker/runner_bench.h"

/* Goes on behind the first k tokens of `before`. */
static void go_on(bench *b, uint32_t slot, const seen *before, size_t k, uint32_t max_new,
                  const mr_params *p) {
    const mr_work w = {.slot = slot,
                       .tokens = prompt,
                       .n_tokens = 10,
                       .taken = before->tokens,
                       .n_taken = k,
                       .max_new = max_new,
                       .params = p,
                       .seed = 100,
                       .priority = MR_PRIORITY_NORMAL};
    mr_err err = {0};

    b->slots[slot] = (seen){0};
    CHECK_OK(mr_runner_start(b->r, &w, &err), err);
}

TEST(a_job_runs_to_its_length) {
    const char *path = tiny_model();
    bench b;
    const mr_runner_model *m;

    open_bench(&b, path, 0, 64);
    CHECK_I64(b.ready_status, MR_OK);
    m = mr_runner_get_model(b.r);
    CHECK_I64(m->n_ctx, 256);
    CHECK(m->kv_tokens >= 4 * 256);
    start(&b, 3, 100, 20, &free_running);
    run_until(&b, &b.slots[3].ended);
    CHECK_I64(b.slots[3].end, MR_END_LENGTH);
    CHECK_I64(b.slots[3].n_tokens, 20);
    CHECK_I64(mr_runner_get_stats(b.r).generated_tokens, 20);
    CHECK_I64(mr_runner_get_stats(b.r).prompt_tokens, 100);
    close_bench(&b);
    unlink(path);
}

TEST(company_and_chunks_do_not_change_a_job) {
    const char *path = tiny_model();
    seen alone[8];
    bench b;

    open_bench(&b, path, 0, 512);
    for (uint32_t i = 0; i < 8; i++) {
        start(&b, i, 10 + 11 * i, 30, &free_running);
        run_until(&b, &b.slots[i].ended);
    }
    memcpy(alone, b.slots, sizeof alone);
    close_bench(&b);
    open_bench(&b, path, 0, 9); /* prompts in crumbs, four at a time */
    for (uint32_t i = 0; i < 8; i++) start(&b, i, 10 + 11 * i, 30, &free_running);
    for (uint32_t i = 0; i < 8; i++) run_until(&b, &b.slots[i].ended);
    for (uint32_t i = 0; i < 8; i++) {
        CHECK_I64(b.slots[i].n_tokens, 30);
        CHECK(memcmp(b.slots[i].tokens, alone[i].tokens, sizeof alone[i].tokens) == 0);
    }
    close_bench(&b);
    unlink(path);
}

TEST(a_cancel_ends_a_job_wherever_it_is) {
    const char *path = tiny_model();
    bench b;

    open_bench(&b, path, 0, 64);
    for (uint32_t i = 0; i < 6; i++) start(&b, i, 50, 190, &free_running); /* two have no seat */
    mr_runner_cancel(b.r, 5);
    run_until(&b, &b.slots[5].ended);
    CHECK_I64(b.slots[5].end, MR_END_CANCELLED);
    run_until(&b, &b.slots[0].started);
    mr_runner_cancel(b.r, 0);
    run_until(&b, &b.slots[0].ended);
    mr_runner_cancel(b.r, 0); /* too late: nothing happens, and nothing to the next one */
    start(&b, 0, 5, 3, &free_running);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[0].end, MR_END_LENGTH);
    for (uint32_t i = 1; i < 5; i++) run_until(&b, &b.slots[i].ended);
    for (uint32_t i = 1; i < 5; i++) CHECK_I64(b.slots[i].n_tokens, 190);
    close_bench(&b);
    unlink(path);
}

TEST(a_deadline_ends_a_job) {
    const char *path = tiny_model();
    bench b;
    mr_work w = {.slot = 1,
                 .tokens = prompt,
                 .n_tokens = 4,
                 .max_new = 50,
                 .params = &free_running,
                 .expires_ms = mr_clock_wall_ms() - 1};
    mr_err err = {0};

    open_bench(&b, path, 0, 64);
    CHECK_OK(mr_runner_start(b.r, &w, &err), err);
    run_until(&b, &b.slots[1].ended);
    CHECK_I64(b.slots[1].end, MR_END_EXPIRED);
    CHECK_I64(b.slots[1].n_tokens, 0);
    close_bench(&b);
    unlink(path);
}

TEST(jobs_wait_for_kv_blocks_and_all_end) {
    const char *path = tiny_model();
    bench b;

    open_bench(&b, path, 256, 64); /* room for one and a half of these */
    for (uint32_t i = 0; i < SLOTS; i++) start(&b, i, 100, 60, &free_running);
    for (uint32_t i = 0; i < SLOTS; i++) run_until(&b, &b.slots[i].ended);
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK_I64(b.slots[i].end, MR_END_LENGTH);
        CHECK_I64(b.slots[i].n_tokens, 60);
    }
    close_bench(&b);
    unlink(path);
}

TEST(a_stop_token_ends_a_job_and_is_counted) {
    const char *path = tiny_model();
    bench b;
    mr_params p = free_running;
    int32_t stop;

    open_bench(&b, path, 0, 64);
    start(&b, 0, 10, 30, &p);
    run_until(&b, &b.slots[0].ended);
    stop = b.slots[0].tokens[4];
    p.stop_token_ids = &stop;
    p.n_stop_token_ids = 1;
    start(&b, 0, 10, 30, &p);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[0].end, MR_END_STOP);
    CHECK(b.slots[0].n_tokens <= 5);
    CHECK_I64(b.slots[0].tokens[b.slots[0].n_tokens - 1], stop);
    close_bench(&b);
    unlink(path);
}

TEST(a_stop_string_cuts_the_text_where_it_begins) {
    const char *path = tiny_model();
    bench b;
    mr_params p = free_running;
    char stop[4] = "";
    const char *stops[1] = {stop};
    static char whole[8192];
    size_t first;

    open_bench(&b, path, 0, 64);
    start(&b, 0, 10, 60, &p);
    run_until(&b, &b.slots[0].ended);
    memcpy(stop, b.slots[0].text + find_plain(&b.slots[0], b.slots[0].text_len / 2), 3);
    memcpy(whole, b.slots[0].text, b.slots[0].text_len);
    first = (size_t)(strstr(whole, stop) - whole);
    p.stop = stops;
    p.n_stop = 1;
    start(&b, 0, 10, 60, &p);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[0].end, MR_END_STOP);
    CHECK(b.slots[0].n_tokens < 60);
    CHECK_I64(b.slots[0].text_len, first);
    CHECK(memcmp(b.slots[0].text, whole, first) == 0);
    close_bench(&b);
    unlink(path);
}

/* Cut behind every token in turn: same tokens, same text, same end, and nothing made twice. */
static void check_every_cut(bench *b, const mr_params *p, uint32_t max_new, mr_end end) {
    static seen whole;

    start(b, 0, 10, max_new, p);
    run_until(b, &b->slots[0].ended);
    whole = b->slots[0];
    CHECK_I64(whole.end, end);
    CHECK(whole.n_tokens > 3);
    for (size_t k = 0; k <= whole.n_tokens; k++) {
        const mr_runner_stats before = mr_runner_get_stats(b->r);
        const seen *s = &b->slots[1];
        go_on(b, 1, &whole, k, max_new, p);
        run_until(b, &b->slots[1].ended);
        CHECK_I64(s->n_taken, k);
        CHECK_I64(s->n_tokens, whole.n_tokens);
        CHECK(memcmp(s->tokens, whole.tokens, sizeof whole.tokens) == 0);
        CHECK_I64(s->text_len, whole.text_len);
        CHECK(memcmp(s->text, whole.text, whole.text_len) == 0);
        CHECK_I64(s->end, whole.end);
        CHECK_I64(mr_runner_get_stats(b->r).generated_tokens - before.generated_tokens,
                  whole.n_tokens - k);
        if (k == whole.n_tokens) /* it had ended already: not one step */
            CHECK_I64(mr_runner_get_stats(b->r).steps, before.steps);
    }
}

TEST(a_job_goes_on_where_another_worker_left_it) {
    const char *path = tiny_model();
    const mr_bias bias[2] = {{.token = 300, .bias = 4}, {.token = 301, .bias = -100}};
    mr_params greedy = {.top_p = 1, .ignore_eos = true};
    mr_params sampled = {.temperature = 1.3f, .top_p = 0.95f, .top_k = 200, .ignore_eos = true};
    mr_params penalties = greedy;
    mr_params biased = sampled;
    bench b;

    penalties.repetition_penalty = 1.4f;
    penalties.frequency_penalty = 0.7f;
    penalties.presence_penalty = 0.9f;
    biased.logit_bias = bias;
    biased.n_logit_bias = 2;
    open_bench(&b, path, 0, 64);
    check_every_cut(&b, &greedy, 24, MR_END_LENGTH);
    check_every_cut(&b, &sampled, 24, MR_END_LENGTH);
    check_every_cut(&b, &penalties, 24, MR_END_LENGTH);
    check_every_cut(&b, &biased, 24, MR_END_LENGTH);
    close_bench(&b);
    unlink(path);
}

/* A stop string of three bytes lies across tokens, since those of this model are short: text that
 * another worker held back is held back again. */
TEST(a_job_that_goes_on_still_finds_its_stop) {
    const char *path = tiny_model();
    mr_params p = free_running;
    char stop[4] = "";
    const char *stops[1] = {stop};
    int32_t token;
    bench b;

    open_bench(&b, path, 0, 64);
    start(&b, 0, 10, 60, &p);
    run_until(&b, &b.slots[0].ended);
    memcpy(stop, b.slots[0].text + find_plain(&b.slots[0], b.slots[0].text_len / 3), 3);
    token = b.slots[0].tokens[9];
    p.stop = stops;
    p.n_stop = 1;
    check_every_cut(&b, &p, 60, MR_END_STOP);
    p.n_stop = 0;
    p.stop_token_ids = &token;
    p.n_stop_token_ids = 1;
    check_every_cut(&b, &p, 60, MR_END_STOP);
    close_bench(&b);
    unlink(path);
}

TEST(what_was_taken_over_must_fit_the_context) {
    const char *path = tiny_model();
    static int32_t taken[300];
    const mr_work w = {.slot = 0,
                       .tokens = prompt,
                       .n_tokens = 10,
                       .taken = taken,
                       .n_taken = MR_COUNT(taken),
                       .max_new = 400,
                       .params = &free_running,
                       .priority = MR_PRIORITY_NORMAL};
    mr_err err = {0};
    bench b;

    open_bench(&b, path, 0, 64);
    CHECK_OK(mr_runner_start(b.r, &w, &err), err);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[0].end, MR_END_REFUSED);
    CHECK_I64(b.slots[0].n_tokens, 0);
    CHECK(strstr(b.slots[0].why, "310 tokens + 100 new ones") != NULL);
    close_bench(&b);
    unlink(path);
}

TEST(a_job_that_the_engine_refuses_hurts_nobody) {
    const char *path = tiny_model();
    bench b;
    mr_params bad = free_running;

    bad.top_p = -3;
    open_bench(&b, path, 0, 64);
    start(&b, 0, 10, 20, &free_running);
    start(&b, 1, 10, 20, &bad);
    run_until(&b, &b.slots[1].ended);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[1].end, MR_END_REFUSED);
    CHECK(strstr(b.slots[1].why, "top_p") != NULL);
    CHECK_I64(b.slots[0].n_tokens, 20);
    close_bench(&b);
    unlink(path);
}

TEST(a_stop_ends_all_jobs_at_once) {
    const char *path = tiny_model();
    bench b;

    open_bench(&b, path, 0, 64);
    for (uint32_t i = 0; i < SLOTS; i++) start(&b, i, 50, 190, &free_running);
    run_until(&b, &b.slots[0].started);
    mr_runner_stop(b.r);
    mr_runner_cancel(b.r, 2); /* after the stop: harmless */
    run_until_bool(&b, &b.stopped);
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_I64(b.slots[i].ended, 1);
    close_bench(&b);
    unlink(path);
}

TEST(a_missing_model_is_said_not_waited_for) {
    bench b;

    open_bench(&b, "/nowhere/model.gguf", 0, 64);
    CHECK_I64(b.ready_status, MR_ENOTFOUND);
    CHECK(strstr(b.ready_text, "/nowhere/model.gguf") != NULL);
    close_bench(&b);
}

MR_TEST_MAIN
