/* Goal: the engine computes the transformer that the papers describe, for every architecture, rope
 * variant, weight type and instruction set.
 * Method: make.py computed the logits of a prompt and the greedy tokens after it in float64, from
 * the same files and without any of this code. Compare every row of the prompt, and the tokens. */
#include "tests/golden/expect.h"

static void check_model(const char *name, const char *isa) {
    expect x = read_expect(name);
    mr_engine *e =
        golden_open(name, (mr_engine_options){.isa = isa, .n_threads = 2, .max_seqs = 2});
    const mr_sampling greedy = {0};

    CHECK_I64(mr_engine_n_vocab(e), x.n_vocab);
    mr_engine_watch_rows(e, compare_row, &x);
    const uint32_t seq =
        golden_add(e, x.prompt, (size_t)x.n_prompt, 0, (size_t)x.n_generated, &greedy);
    for (int32_t i = 0; i < x.n_generated; i++)
        CHECK_I64(golden_step(e, seq, mr_engine_pending(e, seq)), x.generated[i]);
    CHECK_I64(mr_engine_pending(e, seq), 0); /* all of max_new is used */
    check_expect(&x, name, isa, mr_type_block(mr_engine_model(e)->layers[0].wq.type) > 1);
    mr_engine_drop(e, seq);
    mr_engine_close(e);
    drop_expect(&x);
}

TEST(every_model_computes_what_the_float64_program_computed) {
    for (size_t i = 0; i < MR_COUNT(golden_isas); i++)
        for (size_t m = 0; m < MR_COUNT(golden_models) && golden_has(golden_isas[i]); m++)
            check_model(golden_models[m], golden_isas[i]);
}

/* What a cache of bytes costs, in the same models: attention is sharp in them, so this is much. */
static void check_bytes(const char *name, const char *isa) {
    expect x = read_expect(name);
    mr_engine *e = golden_open(
        name, (mr_engine_options){
                  .isa = isa, .n_threads = 2, .max_seqs = 2, .device = "cpu", .kv_type = "q8_0"});
    mr_engine *wide = golden_open(name, (mr_engine_options){.max_seqs = 2, .device = "cpu"});

    CHECK_STR(mr_engine_kv_type(e), "q8_0");
    CHECK(mr_engine_kv_bytes(e) < 0.6 * (double)mr_engine_kv_bytes(wide));
    CHECK_I64(mr_engine_kv_blocks_total(e), mr_engine_kv_blocks_total(wide));
    mr_engine_watch_rows(e, compare_row, &x);
    const uint32_t seq = golden_add(e, x.prompt, (size_t)x.n_prompt, 0, 1, &(mr_sampling){0});
    golden_step(e, seq, (uint32_t)x.n_prompt);
    check_kv_bytes(&x, name, isa);
    mr_engine_close(wide);
    mr_engine_close(e);
    drop_expect(&x);
}

TEST(a_cache_of_bytes_costs_what_was_measured) {
    for (size_t i = 0; i < MR_COUNT(golden_isas); i++)
        for (size_t m = 0; m < MR_COUNT(golden_models) && mr_ops_pick(golden_isas[i]); m++)
            check_bytes(golden_models[m], golden_isas[i]);
}

MR_TEST_MAIN
