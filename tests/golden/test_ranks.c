/* Goal: devices that share each layer compute what one computes, to rounding; a row's bits depend
 * neither on its company nor on how its prompt was cut; a model that cannot be shared evenly, and
 * machines that cannot share, are refused by name; a device that is lost ends the engine.
 *
 * Method: devices that are plain C (cuda_twin.h), late, and strict about which of them is chosen;
 * what NCCL does for GPUs, copying parts from one to the other, a table of the test does for them.
 * All else, slices, loading, lists, kernels and sums of parts, is what GPUs run. */
#include <unistd.h>

#include "engine/cuda/peers.h"
#include "engine/cuda/ranks.h"
#include "engine/synth.h"
#include "tests/golden/expect.h"
#include "tests/golden/twin_gpus.h"

typedef struct twin_peers {
    mr_peers base;
    twin *each[MAX_TWINS];
    uint32_t n;
} twin_peers;

static size_t n_gathered, n_peers; /* since the twins are there; peers that nobody has closed */

/* What is in line before it must be done by then, on all of them. */
static void twin_gather_parts(mr_peers *p, float *const *lists, size_t n) {
    const twin_peers *t = (twin_peers *)p;

    for (uint32_t i = 0; i < t->n; i++) twin_do(t->each[i], SIZE_MAX);
    for (uint32_t to = 0; to < t->n; to++)
        for (uint32_t from = 0; from < t->n; from++)
            if (to != from) memcpy(lists[to] + from * n, lists[from] + from * n, n * sizeof(float));
    n_gathered++;
}

static mr_status twin_peers_wait(mr_peers *p, mr_err *err) {
    const twin_peers *t = (twin_peers *)p;
    mr_status st = MR_OK;

    for (uint32_t i = 0; i < t->n && st == MR_OK; i++) st = twin_wait(&t->each[i]->base, err);
    return st;
}

static void twin_peers_close(mr_peers *p) {
    n_peers--;
    free(p);
}

static const mr_peers_calls twin_peers_calls = {twin_gather_parts, twin_peers_wait,
                                                twin_peers_close};

/* The linker puts it in the place of the real one. */
mr_status __real_mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err);
mr_status __wrap_mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err);
mr_status __wrap_mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err) {
    twin_peers *t = calloc(1, sizeof *t);

    *out = NULL;
    if (!t) return mr_fail(err, MR_ENOMEM, "no memory");
    t->base.calls = &twin_peers_calls;
    t->n = n;
    for (uint32_t i = 0; i < n; i++) t->each[i] = (twin *)devices[i];
    n_peers++;
    *out = &t->base;
    return MR_OK;
}
static void have_strict_gpus(int n) {
    have_gpus(n);
    for (int i = 0; i < MAX_TWINS; i++) gpus[i].strict = true;
    twin_chosen = NULL;
    n_gathered = 0;
}

static void check_all_is_given_back(void) {
    check_all_given_back();
    CHECK_I64(n_peers, 0);
}

/* ---- against the float64 program ---- */

static void check_model(const char *name, const char *kv_type) {
    const mr_engine_options opt = {
        .device = "cuda", .tensor_parallel = 2, .max_seqs = 2, .kv_type = kv_type};
    const mr_sampling greedy = {0};
    expect x = read_expect(name);

    have_strict_gpus(2);
    mr_engine *e = golden_open(name, opt);
    CHECK_STR(mr_engine_device(e, NULL), "cuda:0 twin + cuda:1 twin (each layer shared)");
    CHECK_STR(mr_engine_isa(e), "cuda");
    CHECK(!mr_engine_overlaps(e));
    mr_engine_watch_rows(e, compare_row, &x);
    const uint32_t seq =
        golden_add(e, x.prompt, (size_t)x.n_prompt, 0, (size_t)x.n_generated, &greedy);
    /* The prompt in two chunks: of the first one nobody asks for logits. */
    CHECK_I64(golden_step(e, seq, 5), -1);
    for (int32_t i = 0; i < x.n_generated; i++) {
        const int32_t token = golden_step(e, seq, mr_engine_pending(e, seq));
        if (!kv_type) CHECK_I64(token, x.generated[i]);
    }
    CHECK(n_gathered > 0);
    if (kv_type)
        check_kv_bytes(&x, name, "2 ranks");
    else
        check_expect(&x, name, "2 ranks", mr_type_block(mr_engine_model(e)->layers[0].wq.type) > 1);
    mr_engine_drop(e, seq);
    mr_engine_close(e);
    check_all_is_given_back();
    drop_expect(&x);
}

TEST(two_ranks_write_the_tokens_of_the_float64_program) {
    check_model("llama_f32", NULL);
    check_model("llama_partial_f16", NULL);
    check_model("qwen2_f16", NULL); /* with biases */
    check_model("qwen3_q8_0", NULL);
    check_model("llama_f32", "q8_0");
}

/* ---- against one device ---- */

enum { N_PROMPT = 20, N_VOCAB = 512 };

typedef struct synth {
    char path[64];
} synth;

static synth make(const char *shape_text, const char *type) {
    synth s = {"/tmp/mr_ranks_XXXXXX"};
    mr_synth_shape shape;
    uint64_t bytes;
    mr_err err;

    const int fd = mkstemp(s.path);
    CHECK(fd >= 0);
    close(fd);
    CHECK_OK(mr_synth_shape_parse(&shape, shape_text, &err), err);
    CHECK(shape.n_vocab == N_VOCAB);
    const mr_synth_options opt = {.shape = &shape, .type = type, .seed = 7, .path = s.path};
    CHECK_OK(mr_synth_write(&opt, &bytes, &err), err);
    return s;
}

static void drop(const synth *s) {
    CHECK_I64(unlink(s->path), 0);
}

typedef float all_logits[N_PROMPT][N_VOCAB];

static void keep_row(void *owner, uint32_t seq, uint32_t pos, const float *logits) {
    float(*rows)[N_VOCAB] = owner;

    if (seq == 0) memcpy(rows[pos], logits, sizeof rows[pos]);
}

/* Logits of all rows of a prompt in chunks, in company or alone. */
static void compute(const synth *s, uint32_t n_ranks, uint32_t chunk, bool company,
                    all_logits *rows) {
    const mr_engine_options opt = {.model_path = s->path,
                                   .device = "cuda",
                                   .tensor_parallel = n_ranks,
                                   .n_ctx = 64,
                                   .max_seqs = 2,
                                   .no_prefix_cache = true,
                                   .host_sampling = true};
    const mr_sampling greedy = {.ban_eog = true};
    int32_t prompt[N_PROMPT];
    mr_engine_out out[2];
    mr_engine *e;
    mr_err err;

    have_strict_gpus(MAX_TWINS);
    gpus[0].strict = n_ranks > 1; /* there is no other to be chosen */
    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    mr_engine_watch_rows(e, keep_row, *rows);
    for (int32_t i = 0; i < N_PROMPT; i++) prompt[i] = 3 + i * 37 % 260;
    const uint32_t seq = golden_add(e, prompt, N_PROMPT, 0, 1, &greedy);
    const uint32_t other = golden_add(e, prompt + 7, 2, 0, 50, &greedy);
    CHECK_I64(seq, 0);
    for (uint32_t left = N_PROMPT; left > 0;) {
        const uint32_t n = left < chunk ? left : chunk;
        const mr_engine_item items[] = {{other, mr_engine_pending(e, other)}, {seq, n}};
        CHECK_OK(mr_engine_step(e, items + !company, 1 + company, out, &err), err);
        left -= n;
    }
    mr_engine_drop(e, seq);
    mr_engine_drop(e, other);
    mr_engine_close(e);
    check_all_is_given_back();
}

static all_logits alone, shared, cut;

static void check_ranks(const char *shape, const char *type, double tol) {
    const synth s = make(shape, type);

    compute(&s, 1, N_PROMPT, false, &alone);
    for (uint32_t n = 2; n <= 4; n += 2) {
        double worst = 0;
        compute(&s, n, N_PROMPT, false, &shared);
        for (int i = 0; i < N_PROMPT; i++)
            worst = fmax(worst, distance(shared[i], alone[i], N_VOCAB));
        print_message("%s, %u ranks: %.1e of max |logit| from one device's\n", type, n, worst);
        CHECK(worst > 0 && worst <= tol);
        compute(&s, n, 7, true, &cut);
        assert_memory_equal(cut, shared, sizeof cut);
    }
    drop(&s);
}

TEST(ranks_compute_what_one_device_computes_whatever_the_batch) {
    static const char tiny[] = "custom:embd=64,heads=8,kv_heads=4,head_dim=16,ff=128";

    check_ranks(tiny, "f32", TOL);
    check_ranks(tiny, "q8_0", TOL_ROUNDED);
    check_ranks("custom:embd=256,heads=8,kv_heads=4,head_dim=128,ff=1024,layers=1", "q4_k_m",
                TOL_ROUNDED);
}

/* ---- what each has ---- */

TEST(a_rank_has_its_part_of_weights_and_cache) {
    const synth s = make("custom:embd=256,heads=8,kv_heads=4,head_dim=64,ff=2048", "f16");
    const mr_room room = {
        .max_rows = 8, .max_head = 1, .max_len = 64, .layers = {0, 2}, .kv_type = MR_KV_F16};
    uint64_t whole_bytes[2], part_bytes[2];
    mr_split_place whole = {0}, part = {0};
    mr_model *m;
    mr_err err;

    have_strict_gpus(1);
    CHECK_OK(mr_model_open(&m, s.path, &err), err);
    CHECK_I64(m->hp.n_layer, 2);
    mr_cuda_backend_sizes(&whole, whole_bytes, &gpus[0].base, m, &room, MR_GPU_QUANT_NONE);
    CHECK_OK(
        mr_cuda_ranks_sizes(&part, part_bytes, &gpus[0].base, m, &room, 4, MR_GPU_QUANT_NONE, &err),
        err);
    const uint64_t norms = 2 * 256 * sizeof(float); /* everybody has them */
    CHECK_I64(4 * (part_bytes[1] - norms), whole_bytes[1] - norms);
    CHECK_I64(4 * part.block_bytes, whole.block_bytes);
    mr_model_close(m);
    drop(&s);
}

/* ---- parking ---- */

TEST(a_parked_sequence_goes_on_as_if_nothing_had_been) {
    const mr_engine_options opt = {.device = "cuda",
                                   .tensor_parallel = 2,
                                   .n_ctx = 128,
                                   .kv_tokens = 128,
                                   .max_seqs = 1,
                                   .no_prefix_cache = true,
                                   .swap_bytes = 1u << 20};
    const mr_sampling greedy = {.ban_eog = true};
    int32_t tokens[70], token[2][2], parked;

    for (int i = 0; i < 70; i++) tokens[i] = 3 + i * 37 % 260;
    have_strict_gpus(2);
    mr_engine *e = golden_open("qwen3_q8_0", opt);
    for (int round = 0; round < 2; round++) {
        uint32_t seq = golden_add(e, tokens, 69, 0, 2, &greedy);
        token[round][0] = golden_step(e, seq, 69);
        if (round == 1) {
            CHECK(mr_engine_park(e, seq, &parked));
            seq = golden_add(e, tokens + 1, 69, 0, 1, &greedy); /* takes its blocks */
            golden_step(e, seq, 69);
            mr_engine_drop(e, seq);
            tokens[69] = token[1][0];
            seq = golden_add(e, tokens, 70, 1, 1, &greedy);
            mr_engine_unpark(e, seq, parked);
        }
        CHECK_I64(mr_engine_pending(e, seq), 1);
        token[round][1] = golden_step(e, seq, 1);
        mr_engine_drop(e, seq);
    }
    assert_memory_equal(token[0], token[1], sizeof token[0]);
    mr_engine_close(e);
    check_all_is_given_back();
}

/* ---- what is refused ---- */

static void check_refused(const char *model, mr_engine_options opt, mr_status st,
                          const char *text) {
    char path[128];
    mr_engine *e;
    mr_err err;

    snprintf(path, sizeof path, GOLDEN_DIR "%s.gguf", model);
    opt.model_path = path;
    CHECK_I64(mr_engine_open(&e, &opt, &err), st);
    CHECK(e == NULL);
    CHECK_ERR(err, text);
    check_all_is_given_back();
}

TEST(what_cannot_be_shared_is_refused_with_the_numbers) {
    mr_engine_options opt = {.tensor_parallel = 2};

    have_strict_gpus(4);
    check_refused("llama3_bf16", opt, MR_EUNSUPPORTED,
                  "2 does not divide all of this model's 4 heads, 1 heads of keys and values, and "
                  "96 values");
    check_refused(
        "llama_yarn_q4_0", opt, MR_EUNSUPPORTED,
        "2 makes 48 of the 96 columns of ffn_down in layer 0, whose type has blocks of 32");
    check_refused("llama_k_quants", opt, MR_EUNSUPPORTED,
                  "2 makes 128 of the 256 columns of attn_output in layer 0");
    opt.tensor_parallel = 3;
    check_refused("qwen3_q8_0", opt, MR_EUNSUPPORTED, "3 does not divide");
    opt.tensor_parallel = 9;
    check_refused("qwen3_q8_0", opt, MR_EINVAL, "9; at most 8");
}

TEST(machines_that_cannot_share_are_refused_by_name) {
    mr_engine_options opt = {.tensor_parallel = 2};

    have_strict_gpus(1); /* never the processor instead, though none was named */
    check_refused("qwen3_q8_0", opt, MR_EUNAVAIL, "2 GPUs are asked for: cuda:1: none here");
    have_strict_gpus(2);
    opt.device = "cpu";
    check_refused("qwen3_q8_0", opt, MR_EINVAL, "not with device: cpu");
    opt.device = "cuda:0";
    check_refused("qwen3_q8_0", opt, MR_EINVAL, "2 GPUs, and device names 1");
    opt.device = NULL;
    opt.gpu_layers = 1;
    check_refused("qwen3_q8_0", opt, MR_EINVAL, "not with gpu_layers");
    opt.gpu_layers = 0;
    gpus[1].free_bytes = 1u << 16; /* the second has no room */
    check_refused("qwen3_q8_0", opt, MR_ENOMEM, "model does not fit cuda:1 twin");
}

TEST(a_build_without_nccl_says_so) {
    mr_peers *p;
    mr_err err;

    if (MR_HAS_NCCL) skip();
    CHECK_I64(__real_mr_peers_open(&p, NULL, 2, &err), MR_EUNAVAIL);
    CHECK(p == NULL);
    CHECK_ERR(err, "this build has no NCCL (MR_NCCL)");
}

/* ---- when it goes wrong ---- */

TEST(whatever_there_is_no_memory_for_nothing_is_left_behind) {
    const mr_engine_options opt = {.model_path = GOLDEN_DIR "qwen3_q8_0.gguf",
                                   .tensor_parallel = 2,
                                   .swap_bytes = 1u << 20,
                                   .max_seqs = 1};

    for (int which = 0; which < 2; which++) {
        mr_status st = MR_ENOMEM;
        mr_engine *e;
        size_t n = 0;
        while (st != MR_OK) {
            have_strict_gpus(2);
            gpus[which].refuses = ++n;
            st = mr_engine_open(&e, &opt, NULL);
            CHECK(st == MR_OK || st == MR_ENOMEM);
            if (st == MR_OK) mr_engine_close(e);
            check_all_is_given_back();
        }
        CHECK(n > 7);
    }
}

static void check_lost(int which) {
    const mr_engine_options opt = {.device = "cuda", .tensor_parallel = 2, .max_seqs = 2};
    const mr_sampling greedy = {0};
    static const int32_t prompt[] = {5, 90, 33, 17, 250, 8};

    have_strict_gpus(2);
    mr_engine *e = golden_open("qwen3_q8_0", opt);
    const uint32_t seq = golden_add(e, prompt, MR_COUNT(prompt), 0, 8, &greedy);
    golden_step(e, seq, MR_COUNT(prompt));
    check_lost_engine(e, seq, which);
    CHECK_I64(n_peers, 0);
}

TEST(any_device_that_is_lost_ends_the_engine) {
    check_lost(0);
    check_lost(1);
}

MR_TEST_MAIN
