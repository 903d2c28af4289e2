/* Goal: a load makes every token of every request, through the scheduler as without it, never with
 * more side by side than there are seats, and leaves the engine as it was, also when it fails.
 * Method: a tiny model; steps are counted, durations only compared with each other. */
#include "cli/bench_load.h"

#include "tests/test.h"

#define N_CTX 128

static mr_engine *open_tiny(uint32_t max_seqs, uint32_t kv_tokens) {
    const mr_engine_options opt = {.model_path = "tests/golden/qwen3_q8_0.gguf",
                                   .n_threads = 1,
                                   .n_ctx = N_CTX,
                                   .kv_tokens = kv_tokens,
                                   .max_seqs = max_seqs,
                                   .max_step_tokens = 64,
                                   .device = "cpu"};
    mr_engine *e;
    mr_err err;

    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    return e;
}

static void check_times(const mr_load_times *t) {
    CHECK(t->p50 > 0 && t->p50 <= t->p99 && t->p99 <= t->most);
}

static mr_load_result run(mr_engine *e, const mr_load_conf *conf) {
    mr_load_result r;
    mr_err err;

    CHECK_OK(mr_load_run(e, conf, &r, &err), err);
    CHECK_I64(mr_engine_kv_blocks_free(e), mr_engine_kv_blocks_total(e));
    check_times(&r.ttft);
    check_times(&r.gap);
    CHECK(r.ttft.most <= 1e3 * r.seconds);
    return r;
}

TEST(every_request_is_done_with_and_without_the_scheduler) {
    mr_engine *e = open_tiny(3, 512);
    mr_load_conf conf = {.n_in = 30, .n_out = 9, .n_requests = 7, .seats = 3};

    const mr_load_result scheduled = run(e, &conf);
    CHECK_I64(scheduled.most_running, 3);
    CHECK(scheduled.n_steps >= 3 * 9); /* 7 requests on 3 seats */
    CHECK(scheduled.total_tps > scheduled.output_tps);

    /* Three groups; the prompts of the first two take two steps of 64 tokens. */
    conf.bare = true;
    conf.seed = 1;
    const mr_load_result bare = run(e, &conf);
    CHECK_I64(bare.most_running, 3);
    CHECK_I64(bare.n_steps, 2 * (2 + 8) + (1 + 8));
    mr_engine_close(e);
}

TEST(room_in_the_cache_bounds_what_runs_side_by_side) {
    mr_engine *e = open_tiny(3, 128); /* 4 blocks, 2 for each request */
    mr_load_conf conf = {.n_in = 30, .n_out = 9, .n_requests = 5, .seats = 3};

    CHECK_I64(run(e, &conf).most_running, 2);
    conf.bare = true;
    conf.seed = 1;
    CHECK_I64(run(e, &conf).most_running, 2);
    mr_engine_close(e);
}

TEST(an_intruder_is_answered_while_the_others_go_on) {
    mr_engine *e = open_tiny(3, 512);
    const mr_load_conf conf = {
        .n_in = 4, .n_out = 40, .n_requests = 2, .seats = 2, .intruder = 120};

    const mr_load_result r = run(e, &conf);
    CHECK_I64(r.most_running, 3);
    CHECK(r.intruder_ttft > 0);
    check_times(&r.intruder_gap); /* two tokens at least came beside its prompt */
    mr_engine_close(e);
}

TEST(what_cannot_run_is_refused_and_leaves_nothing) {
    mr_engine *e = open_tiny(2, 64);
    mr_load_result r;
    mr_err err;

    CHECK_I64(mr_load_run(e, &(mr_load_conf){.n_in = 90, .n_out = 9, .n_requests = 1, .seats = 1},
                          &r, &err),
              MR_ELIMIT);
    CHECK_ERR(err, "90 + 9 tokens");
    CHECK_I64(mr_engine_kv_blocks_free(e), 2);
    CHECK_I64(mr_load_run(e, &(mr_load_conf){.n_in = 1, .n_out = 9, .n_requests = 3, .seats = 3},
                          &r, &err),
              MR_EINVAL);
    CHECK_ERR(err, "3 seats");
    CHECK_I64(
        mr_load_run(e,
                    &(mr_load_conf){
                        .n_in = 1, .n_out = 1, .n_requests = MR_LOAD_MAX_REQUESTS + 1, .seats = 1},
                    &r, &err),
        MR_EINVAL);
    CHECK_ERR(err, "16385 requests");
    mr_engine_close(e);
}

MR_TEST_MAIN
