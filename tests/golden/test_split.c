/* Goal: a model whose layers are split over the processor and devices computes what it computes in
 * one place, each place holds its own layers only, and a device that is lost on the way is an
 * answer, never a wrong token.
 * Method: devices that are plain C (cuda_twin.h) and late, as many as the test has, behind the
 * engine's own way to them; their free memory, or gpu_layers, decides the split. Logits are those
 * of the float64 program, or those of the processor alone. */
#include "engine/cuda/backend.h"
#include "engine/model.h"
#include "tests/golden/expect.h"
#include "tests/golden/twin_gpus.h"

#define DEMO "models/demo.gguf"

/* Memory for n layers on a device, with the first or the last one, work included. */
static uint64_t room_for(const char *path, const mr_engine_options *opt, uint32_t n, bool first,
                         bool last) {
    uint64_t layer_bytes[64];
    mr_split_place p = {0};
    mr_model *m;
    mr_err err;

    CHECK_OK(mr_model_open(&m, path, &err), err);
    CHECK(m->hp.n_layer <= MR_COUNT(layer_bytes));
    const mr_room room = {.max_rows = opt->max_step_tokens,
                          .max_head = opt->max_seqs,
                          .max_len = opt->n_ctx,
                          .layers = {0, m->hp.n_layer}};
    mr_cuda_backend_sizes(&p, layer_bytes, &gpus[0].base, m, &room, MR_GPU_QUANT_NONE);
    const uint64_t blocks = (opt->kv_tokens + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN;
    uint64_t bytes = p.work + (first ? p.first_bytes : 0) + (last ? p.last_bytes : 0);
    for (uint32_t i = 0; i < n; i++) bytes += layer_bytes[i] + blocks * p.block_bytes;
    mr_model_close(m);
    return bytes;
}

/* ---- against the float64 program ---- */

static void check_model(const char *name, mr_engine_options opt, const char *device,
                        const char *isa) {
    const mr_sampling greedy = {0};
    expect x = read_expect(name);
    mr_engine *e = golden_open(name, opt);

    CHECK_STR(mr_engine_device(e, NULL), device);
    CHECK_STR(mr_engine_isa(e), isa);
    mr_engine_watch_rows(e, compare_row, &x);
    const uint32_t seq =
        golden_add(e, x.prompt, (size_t)x.n_prompt, 0, (size_t)x.n_generated, &greedy);
    /* The prompt in two chunks: of the first one nobody asks for logits. */
    CHECK_I64(golden_step(e, seq, 5), -1);
    for (int32_t i = 0; i < x.n_generated; i++) {
        const int32_t token = golden_step(e, seq, mr_engine_pending(e, seq));
        if (!opt.kv_type) CHECK_I64(token, x.generated[i]);
    }
    if (opt.kv_type)
        check_kv_bytes(&x, name, device);
    else
        check_expect(&x, name, device, mr_type_block(mr_engine_model(e)->layers[0].wq.type) > 1);
    mr_engine_drop(e, seq);
    mr_engine_close(e);
    check_all_given_back();
    drop_expect(&x);
}

TEST(layers_of_processor_and_device_write_the_tokens_of_the_float64_program) {
    static const char *const models[] = {"llama_f32", "qwen2_f16", "qwen3_q8_0", "llama_k_quants"};
    const mr_engine_options opt = {
        .device = "cuda", .isa = "ref", .gpu_layers = 1, .max_seqs = 2, .n_threads = 2};

    for (size_t i = 0; i < MR_COUNT(models); i++) {
        have_gpus(1);
        check_model(models[i], opt, "cpu (layers 0-0) + cuda:0 twin (layers 1-1)", "ref+cuda");
    }
}

TEST(both_keep_keys_and_values_as_bytes) {
    const mr_engine_options opt = {
        .device = "cuda", .isa = "ref", .gpu_layers = 1, .max_seqs = 2, .kv_type = "q8_0"};

    have_gpus(1);
    check_model("llama_f32", opt, "cpu (layers 0-0) + cuda:0 twin (layers 1-1)", "ref+cuda");
}

TEST(layers_of_two_devices_write_the_tokens_of_the_float64_program) {
    static const char *const models[] = {"llama_f32", "qwen3_q8_0"};
    mr_engine_options opt = {.device = "cuda:0,1",
                             .gpu_memory = 1,
                             .n_ctx = 64,
                             .kv_tokens = 64,
                             .max_seqs = 2,
                             .max_step_tokens = 64};

    for (size_t i = 0; i < MR_COUNT(models); i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN_DIR "%s.gguf", models[i]);
        have_gpus(2);
        gpus[0].free_bytes = room_for(path, &opt, 1, true, false);
        gpus[1].free_bytes = room_for(path, &opt, 1, false, true);
        check_model(models[i], opt, "cuda:0 twin (layers 0-0) + cuda:1 twin (layers 1-1)",
                    "cuda+cuda");
    }
}

/* ---- against the processor ---- */

#define N_NEW 6

static const int32_t prompt[] = {5, 90, 33, 17, 250, 8, 61, 12, 77, 140, 9, 31};

static void write_tokens(const mr_engine_options *opt, const char *device, int32_t *tokens,
                         float *logits, uint32_t n_vocab) {
    const mr_sampling greedy = {.ban_eog = true};
    mr_engine *e;
    mr_err err;

    CHECK_OK(mr_engine_open(&e, opt, &err), err);
    CHECK_STR(mr_engine_device(e, NULL), device);
    CHECK_I64(mr_engine_n_vocab(e), n_vocab);
    const uint32_t seq = golden_add(e, prompt, MR_COUNT(prompt), 0, N_NEW, &greedy);
    golden_step(e, seq, 5); /* nobody waits for what it computes */
    for (int i = 0; i < N_NEW; i++) {
        tokens[i] = golden_step(e, seq, mr_engine_pending(e, seq));
        if (i == 0) memcpy(logits, mr_engine_logits(e, seq), n_vocab * sizeof *logits);
    }
    mr_engine_drop(e, seq);
    mr_engine_close(e);
}

/* What devices named by nobody do not hold is the processor's. */
TEST(three_places_write_what_the_processor_writes) {
    mr_engine_options opt = {.model_path = DEMO,
                             .device = "cpu",
                             .gpu_memory = 1,
                             .n_ctx = 64,
                             .kv_tokens = 64,
                             .max_seqs = 1,
                             .max_step_tokens = 32,
                             .n_threads = 2};
    int32_t alone[N_NEW], split[N_NEW];
    char device[128];
    mr_model *m;
    mr_err err;

    CHECK_OK(mr_model_open(&m, DEMO, &err), err);
    const uint32_t n_vocab = m->hp.n_vocab, n_layer = m->hp.n_layer;
    mr_model_close(m);
    CHECK(n_layer >= 4);
    float *want = calloc(n_vocab, sizeof *want), *got = calloc(n_vocab, sizeof *got);
    CHECK(want && got);
    have_gpus(2);
    write_tokens(&opt, "cpu", alone, want, n_vocab);
    opt.device = NULL;
    gpus[0].free_bytes = room_for(DEMO, &opt, 2, false, false);
    gpus[1].free_bytes = room_for(DEMO, &opt, 1, false, true);
    snprintf(device, sizeof device,
             "cpu (layers 0-%u) + cuda:0 twin (layers %u-%u) + cuda:1 twin (layers %u-%u)",
             n_layer - 4, n_layer - 3, n_layer - 2, n_layer - 1, n_layer - 1);
    write_tokens(&opt, device, split, got, n_vocab);
    const double off = distance(got, want, (int32_t)n_vocab);
    print_message("%s: %.1e of max |logit| from the processor's\n", device, off);
    CHECK(off < TOL_ROUNDED);
    assert_memory_equal(split, alone, sizeof alone);
    check_all_given_back();
    free(want);
    free(got);
}

/* ---- which split ---- */

static void check_device(mr_engine_options opt, const char *device, const char *no_gpu) {
    const char *why;
    mr_engine *e;
    mr_err err;

    opt.model_path = GOLDEN_DIR "qwen3_q8_0.gguf";
    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    CHECK_STR(mr_engine_device(e, &why), device);
    if (no_gpu)
        CHECK(why && strstr(why, no_gpu));
    else
        CHECK(!why);
    mr_engine_close(e);
    check_all_given_back();
}

static void check_refused(mr_engine_options opt, mr_status st, const char *text) {
    mr_engine *e;
    mr_err err;

    opt.model_path = GOLDEN_DIR "qwen3_q8_0.gguf";
    CHECK_I64(mr_engine_open(&e, &opt, &err), st);
    CHECK(e == NULL);
    CHECK_ERR(err, text);
    check_all_given_back();
}

TEST(devices_join_only_when_the_model_needs_them) {
    mr_engine_options opt = {.gpu_memory = 1, .n_ctx = 64, .max_seqs = 1, .max_step_tokens = 32};

    have_gpus(2);
    check_device(opt, "cuda:0 twin", NULL);
    opt.device = "cuda:1";
    check_device(opt, "cuda:1 twin", NULL);
    opt.device = NULL;
    opt.kv_tokens = 64;
    gpus[0].free_bytes = room_for(GOLDEN_DIR "qwen3_q8_0.gguf", &opt, 1, true, false);
    check_device(opt, "cuda:0 twin (layers 0-0) + cuda:1 twin (layers 1-1)", NULL);
    n_gpus = 1;
    gpus[0].free_bytes = room_for(GOLDEN_DIR "qwen3_q8_0.gguf", &opt, 1, false, true);
    check_device(opt, "cpu (layers 0-0) + cuda:0 twin (layers 1-1)", NULL);
    gpus[0].free_bytes--; /* not even one layer */
    check_device(opt, "cpu", "1 bytes are missing");
    opt.device = "cuda"; /* who names it wants it */
    check_refused(opt, MR_ENOMEM, "layers 0 to 1");
    opt.gpu_layers = 1;
    check_refused(opt, MR_ENOMEM, "1 bytes are missing");
}

TEST(options_that_make_no_sense_are_refused_by_name) {
    have_gpus(2);
    check_refused((mr_engine_options){.gpu_memory = 1.5f}, MR_EINVAL, "gpu_memory");
    check_refused((mr_engine_options){.device = "cuda:0,0"}, MR_EINVAL, "cuda:0,0");
    check_refused((mr_engine_options){.device = "cuda:0,"}, MR_EINVAL, "device");
    check_refused((mr_engine_options){.device = "cuda:0,1,2,3,4,5,6,7,8"}, MR_EINVAL, "at most 8");
    check_refused((mr_engine_options){.device = "cuda:0,2"}, MR_EUNAVAIL, "cuda:2: none here");
}

/* ---- when it goes wrong ---- */

TEST(whatever_there_is_no_memory_for_nothing_is_left_behind) {
    const mr_engine_options opt = {.model_path = GOLDEN_DIR "qwen3_q8_0.gguf",
                                   .device = "cuda",
                                   .gpu_layers = 1,
                                   .swap_bytes = 1u << 20,
                                   .max_seqs = 1};
    mr_status st = MR_ENOMEM;
    mr_engine *e;
    size_t n = 0;

    while (st != MR_OK) {
        have_gpus(1);
        gpus[0].refuses = ++n;
        st = mr_engine_open(&e, &opt, NULL);
        CHECK(st == MR_OK || st == MR_ENOMEM);
        if (st == MR_OK) mr_engine_close(e);
        check_all_given_back();
    }
    CHECK(n > 7);
}

static void check_lost(int which) {
    mr_engine_options opt = {.model_path = GOLDEN_DIR "qwen3_q8_0.gguf",
                             .device = "cuda:0,1",
                             .gpu_memory = 1,
                             .n_ctx = 64,
                             .kv_tokens = 64,
                             .max_seqs = 2,
                             .max_step_tokens = 64};
    const mr_sampling greedy = {0};
    mr_engine *e;
    mr_err err;

    have_gpus(2);
    gpus[0].free_bytes = room_for(opt.model_path, &opt, 1, true, false);
    gpus[1].free_bytes = room_for(opt.model_path, &opt, 1, false, true);
    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    const uint32_t seq = golden_add(e, prompt, MR_COUNT(prompt), 0, 8, &greedy);
    golden_step(e, seq, MR_COUNT(prompt));
    check_lost_engine(e, seq, which);
}

TEST(any_device_that_is_lost_ends_the_engine) {
    check_lost(0);
    check_lost(1);
}

MR_TEST_MAIN
