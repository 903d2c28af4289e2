/* Goal: a model file whose keys, tensors and shapes belong together opens with the right numbers;
 * each one that does not is refused with the name of the key or tensor and the value.
 * Method: a writer makes a small whole model of one layer with one thing changed, described by a
 * list of edits; the test opens it and looks at the numbers or at the error. */
#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#include "engine/gguf_write.h"
#include "engine/model.h"
#include "engine/pack.h"
#include "tests/test.h"

enum { N_EMBD = 32, N_HEAD = 4, N_KV = 2, D_HEAD = 8, N_FF = 64, N_VOCAB = 10 };

typedef enum edit_kind {
    DROP_KEY,
    SET_U32,
    SET_F32,
    SET_BOOL,
    SET_STR,
    DROP,
    RESHAPE,
    ADD
} edit_kind;

typedef struct edit { /* a key's suffix behind "<arch>.", or a tensor's name */
    edit_kind kind;
    const char *name;
    uint32_t u;
    float f;
    const char *s;
    uint64_t dims[2]; /* RESHAPE, ADD; dims[1] 0: a vector */
    mr_type type;
} edit;

#define MAX_EDITS 8

typedef struct spec {
    const char *arch;
    edit edits[MAX_EDITS]; /* ends at a NULL name */
    uint32_t n_tokens;     /* of the token list; 0: no list */
    uint32_t n_parts;      /* split.count; 0: no key */
    float fill;            /* every float of the data; 0: 2, which all checks like */
} spec;

static const edit *find(const spec *s, const char *name, edit_kind lo, edit_kind hi) {
    for (const edit *e = s->edits; e < s->edits + MAX_EDITS && e->name; e++)
        if (e->kind >= lo && e->kind <= hi && strcmp(e->name, name) == 0) return e;
    return NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_edited_key(mr_gguf_writer *w, const char *key, const edit *e) {
    switch (e->kind) {
    case SET_U32:
        mr_gguf_put_u32(w, key, e->u);
        break;
    case SET_F32:
        mr_gguf_put_f32(w, key, e->f);
        break;
    case SET_BOOL:
        mr_gguf_put_bool(w, key, e->u != 0);
        break;
    case SET_STR:
        mr_gguf_put_str(w, key, e->s);
        break;
    default:
        break;
    }
}

static void put_keys(mr_gguf_writer *w, const spec *s) {
    static const struct {
        const char *name;
        uint32_t u;
    } numbers[] = {
        {"block_count", 1},
        {"context_length", 128},
        {"embedding_length", N_EMBD},
        {"feed_forward_length", N_FF},
        {"attention.head_count", N_HEAD},
        {"attention.head_count_kv", N_KV},
    };
    static const char eps[] = "attention.layer_norm_rms_epsilon";
    char key[96];

    mr_gguf_put_str(w, "general.architecture", s->arch);
    mr_gguf_put_str(w, "general.name", "one\nlayer");
    for (size_t i = 0; i < MR_COUNT(numbers); i++) {
        if (find(s, numbers[i].name, DROP_KEY, SET_STR)) continue;
        snprintf(key, sizeof key, "%s.%s", s->arch, numbers[i].name);
        mr_gguf_put_u32(w, key, numbers[i].u);
    }
    snprintf(key, sizeof key, "%s.%s", s->arch, eps);
    if (!find(s, eps, DROP_KEY, SET_STR)) mr_gguf_put_f32(w, key, 1e-5f);
    for (const edit *e = s->edits; e < s->edits + MAX_EDITS && e->name; e++) {
        snprintf(key, sizeof key, "%s.%s", s->arch, e->name);
        put_edited_key(w, key, e);
    }
    if (s->n_parts) mr_gguf_put_u32(w, "split.count", s->n_parts);
    if (s->n_tokens) mr_gguf_put_array(w, "tokenizer.ggml.tokens", MR_GGUF_STRING, s->n_tokens);
    for (uint32_t i = 0; i < s->n_tokens; i++) mr_gguf_item_str(w, "x", 1);
}

static size_t put_tensor(mr_gguf_writer *w, const spec *s, const char *name, uint64_t cols,
                         uint64_t rows) {
    const edit *e = find(s, name, RESHAPE, ADD);
    const uint64_t dims[2] = {e ? e->dims[0] : cols, e ? e->dims[1] : rows};
    const mr_type type = e ? e->type : MR_TYPE_F32;

    if (find(s, name, DROP, DROP)) return 0;
    mr_gguf_put_tensor(w, name, type, dims, dims[1] ? 2 : 1);
    return mr_type_row_bytes(type, dims[0]) * (dims[1] ? dims[1] : 1);
}

static size_t put_tensors(mr_gguf_writer *w, const spec *s) {
    const bool head_norms = strcmp(s->arch, "qwen3") == 0;
    size_t n = 0;

    n += put_tensor(w, s, "token_embd.weight", N_EMBD, N_VOCAB);
    n += put_tensor(w, s, "output.weight", N_EMBD, N_VOCAB);
    n += put_tensor(w, s, "output_norm.weight", N_EMBD, 0);
    n += put_tensor(w, s, "blk.0.attn_norm.weight", N_EMBD, 0);
    n += put_tensor(w, s, "blk.0.ffn_norm.weight", N_EMBD, 0);
    n += put_tensor(w, s, "blk.0.attn_q.weight", N_EMBD, N_HEAD * D_HEAD);
    n += put_tensor(w, s, "blk.0.attn_k.weight", N_EMBD, N_KV * D_HEAD);
    n += put_tensor(w, s, "blk.0.attn_v.weight", N_EMBD, N_KV * D_HEAD);
    n += put_tensor(w, s, "blk.0.attn_output.weight", N_HEAD * D_HEAD, N_EMBD);
    n += put_tensor(w, s, "blk.0.ffn_gate.weight", N_EMBD, N_FF);
    n += put_tensor(w, s, "blk.0.ffn_up.weight", N_EMBD, N_FF);
    n += put_tensor(w, s, "blk.0.ffn_down.weight", N_FF, N_EMBD);
    if (head_norms) {
        n += put_tensor(w, s, "blk.0.attn_q_norm.weight", D_HEAD, 0);
        n += put_tensor(w, s, "blk.0.attn_k_norm.weight", D_HEAD, 0);
    }
    for (const edit *e = s->edits; e < s->edits + MAX_EDITS && e->name; e++)
        if (e->kind == ADD) n += put_tensor(w, s, e->name, 0, 0);
    return n;
}

static mr_status open_spec(mr_model **m, const spec *s, mr_err *err) {
    const float x = s->fill == 0 ? 2 : s->fill;
    char path[] = "/tmp/mr-model-XXXXXX";
    mr_gguf_writer *w;
    const int fd = mkstemp(path);

    CHECK(fd >= 0);
    close(fd);
    CHECK_OK(mr_gguf_writer_open(&w, path, err), *err);
    put_keys(w, s);
    const size_t before = mr_gguf_writer_bytes(w), n = put_tensors(w, s);
    CHECK(mr_gguf_writer_bytes(w) >= before + n);
    for (size_t i = 0; i < n; i += sizeof x)
        CHECK_OK(mr_gguf_put_data(w, &x, n - i < sizeof x ? n - i : sizeof x, err), *err);
    CHECK_OK(mr_gguf_writer_finish(w, err), *err);
    mr_gguf_writer_close(w);
    const mr_status st = mr_model_open(m, path, err);
    unlink(path);
    return st;
}

static void refused(const spec *s, mr_status status, const char *part, const char *part2) {
    mr_model *m = (mr_model *)s; /* must become NULL */
    mr_err err = {0};

    const mr_status st = open_spec(&m, s, &err);
    if (st != status)
        fail_msg("%s is %s, not %s", part, mr_status_name(st), mr_status_name(status));
    CHECK(m == NULL);
    CHECK_ERR(err, part);
    CHECK_ERR(err, part2);
}

/* --- right models ----------------------------------------------------------------------------- */

TEST(reads_a_llama_and_its_defaults) {
    const spec s = {.arch = "llama"};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &s, &err), err);
    const mr_hparams *hp = &m->hp;
    CHECK(hp->arch == MR_ARCH_LLAMA && !hp->rope_neox);
    CHECK_I64(hp->n_vocab, N_VOCAB);
    CHECK_I64(hp->n_ctx_train, 128);
    CHECK_I64(hp->d_head, D_HEAD);
    CHECK_I64(hp->n_rot, D_HEAD);
    CHECK_I64(hp->n_kv_head, N_KV);
    CHECK(hp->rope_base == 10000 && hp->rope_scaling == MR_ROPE_NONE && !hp->rope_freqs);
    CHECK(fabsf(hp->attn_scale - 1 / sqrtf(D_HEAD)) < 1e-7f);
    CHECK(hp->embd_scale == 1 && hp->residual_scale == 1 && hp->logit_scale == 1);
    CHECK_STR(m->name, "one\\x0alayer");
    CHECK(!m->tied && m->output.data != m->tok_embd.data);
    CHECK(m->layers[0].q_norm == NULL && m->layers[0].bq == NULL);
    CHECK_I64(m->layers[0].wk.rows, N_KV * D_HEAD);
    CHECK_I64(m->layers[0].down.cols, N_FF);
    CHECK_I64(m->layers[0].down.row_bytes, N_FF * 4);
    CHECK(((const float *)m->layers[0].down.data)[N_EMBD * N_FF - 1] == 2);
    CHECK_I64(m->n_params,
              2 * N_EMBD * N_VOCAB + 3 * N_EMBD + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64);
    CHECK_I64(m->weight_bytes, m->n_params * 4);
    mr_model_close(m);
}

TEST(ties_the_head_when_there_is_none) {
    const spec s = {.arch = "qwen3", .edits = {{.kind = DROP, .name = "output.weight"}}};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &s, &err), err);
    CHECK(m->tied && m->output.data == m->tok_embd.data && m->hp.rope_neox);
    CHECK(m->layers[0].q_norm && m->layers[0].k_norm && m->layers[0].k_norm[D_HEAD - 1] == 2);
    mr_model_close(m);
}

TEST(takes_biases_where_they_are) {
    const spec s = {.arch = "qwen2",
                    .edits = {{.kind = ADD, .name = "blk.0.attn_q.bias", .dims = {32}},
                              {.kind = ADD, .name = "blk.0.attn_k.bias", .dims = {16}},
                              {.kind = ADD, .name = "blk.0.attn_v.bias", .dims = {16}},
                              {.kind = ADD, .name = "blk.0.attn_output.bias", .dims = {32}}}};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &s, &err), err);
    CHECK(m->layers[0].bq && m->layers[0].bk && m->layers[0].bv && m->layers[0].bo);
    mr_model_close(m);
}

TEST(reads_rope_and_head_sizes) {
    const spec s = {.arch = "llama",
                    .edits = {{.kind = SET_U32, .name = "attention.key_length", .u = 8},
                              {.kind = SET_U32, .name = "attention.value_length", .u = 8},
                              {.kind = SET_U32, .name = "rope.dimension_count", .u = 4},
                              {.kind = SET_F32, .name = "rope.freq_base", .f = 500000},
                              {.kind = SET_F32, .name = "attention.scale", .f = 0.25f},
                              {.kind = ADD, .name = "rope_freqs.weight", .dims = {2}}}};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &s, &err), err);
    CHECK_I64(m->hp.n_rot, 4);
    CHECK(m->hp.rope_base == 500000 && m->hp.attn_scale == 0.25f);
    CHECK(m->hp.rope_freqs && m->hp.rope_freqs[1] == 2);
    mr_model_close(m);
}

TEST(reads_rope_scaling) {
    const spec yarn = {
        .arch = "qwen2",
        .edits = {{.kind = SET_STR, .name = "rope.scaling.type", .s = "yarn"},
                  {.kind = SET_F32, .name = "rope.scaling.factor", .f = 4},
                  {.kind = SET_U32, .name = "rope.scaling.original_context_length", .u = 32},
                  {.kind = SET_F32, .name = "rope.scaling.attn_factor", .f = 1.5f},
                  {.kind = SET_F32, .name = "rope.scaling.yarn_attn_factor", .f = 2}}};
    const spec linear = {.arch = "llama",
                         .edits = {{.kind = SET_F32, .name = "rope.scaling.factor", .f = 2}}};
    const spec none = {.arch = "llama",
                       .edits = {{.kind = SET_STR, .name = "rope.scaling.type", .s = "none"},
                                 {.kind = SET_F32, .name = "rope.scaling.factor", .f = 2}}};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &yarn, &err), err);
    CHECK(m->hp.rope_scaling == MR_ROPE_YARN && m->hp.rope_factor == 4);
    CHECK(m->hp.rope_orig_ctx == 32 && m->hp.yarn_attn_factor == 3);
    CHECK(m->hp.yarn_ext_factor == 1 && m->hp.yarn_beta_fast == 32 && m->hp.yarn_beta_slow == 1);
    mr_model_close(m);
    CHECK_OK(open_spec(&m, &linear, &err), err);
    CHECK(m->hp.rope_scaling == MR_ROPE_LINEAR && m->hp.rope_factor == 2);
    mr_model_close(m);
    CHECK_OK(open_spec(&m, &none, &err), err);
    CHECK(m->hp.rope_scaling == MR_ROPE_NONE);
    mr_model_close(m);
}

/* Full attention equals windowed attention only up to the window. */
TEST(promises_no_more_context_than_the_window) {
    const spec s = {.arch = "llama",
                    .edits = {{.kind = SET_U32, .name = "attention.sliding_window", .u = 64}}};
    mr_model *m;
    mr_err err;

    CHECK_OK(open_spec(&m, &s, &err), err);
    CHECK_I64(m->hp.n_ctx_train, 64);
    mr_model_close(m);
}

/* --- wrong models ----------------------------------------------------------------------------- */

TEST(refuses_architectures_by_name) {
    const spec s = {.arch = "mamba"};

    refused(&s, MR_EUNSUPPORTED, "architecture mamba",
            "llama (Llama 1 to 3, Mistral, TinyLlama, "
            "SmolLM), qwen2 and qwen3");
}

TEST(refuses_one_of_several_parts) {
    const spec two = {.arch = "llama", .n_parts = 2}, one = {.arch = "llama", .n_parts = 1};
    mr_model *m;
    mr_err err;

    refused(&two, MR_EUNSUPPORTED, "split.count is 2", "merge the parts");
    CHECK_OK(open_spec(&m, &one, &err), err);
    mr_model_close(m);
}

TEST(refuses_missing_keys) {
    static const char *const keys[] = {"block_count",          "context_length",
                                       "embedding_length",     "feed_forward_length",
                                       "attention.head_count", "attention.layer_norm_rms_epsilon"};

    for (size_t i = 0; i < MR_COUNT(keys); i++) {
        const spec s = {.arch = "llama", .edits = {{.kind = DROP_KEY, .name = keys[i]}}};
        char part[80];
        snprintf(part, sizeof part, "key llama.%s is missing", keys[i]);
        refused(&s, MR_EINVAL, part, "");
    }
}

TEST(refuses_numbers_out_of_range) {
    static const struct {
        const char *name;
        uint32_t u;
        const char *part;
    } cases[] = {
        {"block_count", 0, "block_count is 0, must be 1..1024"},
        {"block_count", UINT32_MAX, "block_count is 4294967295, must be 1..1024"},
        {"context_length", 0, "context_length is 0"},
        {"embedding_length", 0, "embedding_length is 0"},
        {"embedding_length", 65537, "embedding_length is 65537, must be 1..65536"},
        {"embedding_length", 33,
         "embedding_length is 33, no multiple of attention.head_count, which is 4"},
        {"embedding_length", 12, "a head has 3 values"},
        {"feed_forward_length", 1u << 21, "feed_forward_length is 2097152"},
        {"attention.head_count", 0, "attention.head_count is 0"},
        {"attention.head_count", 2000, "attention.head_count is 2000, must be 1..1024"},
        {"attention.head_count", 5,
         "attention.head_count is 5, no multiple of attention.head_count_kv"},
        {"attention.head_count_kv", 0, "attention.head_count_kv is 0, must be 1..4"},
        {"attention.head_count_kv", 8, "attention.head_count_kv is 8, must be 1..4"},
        {"attention.key_length", 1, "attention.key_length is 1, must be 2..512"},
        {"attention.key_length", 513, "attention.key_length is 513"},
        {"rope.dimension_count", 0, "rope.dimension_count is 0, must be 2..8"},
        {"rope.dimension_count", 9, "rope.dimension_count is 9, must be 2..8"},
        {"rope.dimension_count", 5, "rope.dimension_count is 5, must be even"},
        {"rope.scaling.original_context_length", 0, "original_context_length is 0"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const spec s = {.arch = "llama",
                        .edits = {{.kind = SET_U32, .name = cases[i].name, .u = cases[i].u}}};
        refused(&s, cases[i].u == 12 ? MR_EUNSUPPORTED : MR_EINVAL, cases[i].part, "gguf ");
    }
}

TEST(refuses_reals_out_of_range) {
    static const struct {
        const char *name;
        float f;
        const char *part;
    } cases[] = {
        {"attention.layer_norm_rms_epsilon", 0, "epsilon is 0, must be"},
        {"attention.layer_norm_rms_epsilon", -1, "epsilon is -1, must be"},
        {"attention.layer_norm_rms_epsilon", NAN, "must be a finite f32"},
        {"rope.freq_base", 1, "rope.freq_base is 1, must be"},
        {"rope.freq_base", INFINITY, "must be a finite f32"},
        {"rope.scaling.factor", 0, "rope.scaling.factor is 0, must be"},
        {"attention.scale", -0.5f, "attention.scale is -0.5, must be"},
        {"residual_scale", 0, "residual_scale is 0, must be"},
        {"rope.scaling.yarn_beta_fast", 0, "yarn_beta_fast is 0, must be"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const spec s = {.arch = "llama",
                        .edits = {{.kind = SET_F32, .name = cases[i].name, .f = cases[i].f}}};
        refused(&s, MR_EINVAL, cases[i].part, "llama.");
    }
}

TEST(refuses_keys_of_another_kind) {
    const spec number = {.arch = "llama",
                         .edits = {{.kind = SET_STR, .name = "block_count", .s = "1"}}};
    const spec real = {.arch = "llama",
                       .edits = {{.kind = SET_U32, .name = "rope.freq_base", .u = 9}}};
    const spec text = {.arch = "llama",
                       .edits = {{.kind = SET_U32, .name = "rope.scaling.type", .u = 9}}};

    refused(&number, MR_EINVAL, "llama.block_count is of kind string", "integer");
    refused(&real, MR_EINVAL, "llama.rope.freq_base is of kind u32", "f32");
    refused(&text, MR_EINVAL, "llama.rope.scaling.type is of kind u32", "string");
}

TEST(refuses_computations_that_it_does_not_know) {
    static const struct {
        edit e;
        const char *part;
    } cases[] = {
        {{.kind = SET_U32, .name = "expert_count", .u = 8}, "llama.expert_count is 8"},
        {{.kind = SET_BOOL, .name = "attention.causal", .u = 0}, "llama.attention.causal is 0"},
        {{.kind = SET_BOOL, .name = "use_parallel_residual", .u = 1}, "use_parallel_residual is 1"},
        {{.kind = SET_F32, .name = "logit_scale", .f = 8}, "llama.logit_scale is 8"},
        {{.kind = SET_F32, .name = "attn_logit_softcapping", .f = 50}, "softcapping is 50"},
        {{.kind = SET_STR, .name = "rope.scaling.type", .s = "longrope"},
         "is longrope; this build"},
        {{.kind = SET_U32, .name = "attention.value_length", .u = 16}, "value_length is 16"},
    };
    const spec neutral = {.arch = "llama",
                          .edits = {{.kind = SET_U32, .name = "expert_count", .u = 0},
                                    {.kind = SET_BOOL, .name = "attention.causal", .u = 1},
                                    {.kind = SET_F32, .name = "logit_scale", .f = 1}}};
    mr_model *m;
    mr_err err;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const spec s = {.arch = "llama", .edits = {cases[i].e}};
        refused(&s, MR_EUNSUPPORTED, cases[i].part, "llama");
    }
    CHECK_OK(open_spec(&m, &neutral, &err), err);
    mr_model_close(m);
}

TEST(refuses_missing_tensors) {
    static const char *const names[] = {
        "token_embd.weight",     "output_norm.weight",       "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight", "blk.0.attn_q.weight",      "blk.0.attn_k.weight",
        "blk.0.attn_v.weight",   "blk.0.attn_output.weight", "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight",   "blk.0.ffn_down.weight",    "blk.0.attn_k_norm.weight"};

    for (size_t i = 0; i < MR_COUNT(names); i++) {
        const spec s = {.arch = "qwen3", .edits = {{.kind = DROP, .name = names[i]}}};
        char part[80];
        snprintf(part, sizeof part, "tensor %s is missing", names[i]);
        refused(&s, MR_EINVAL, part, "");
    }
}

TEST(refuses_shapes_that_do_not_fit) {
    static const struct {
        const char *name;
        uint64_t dims[2];
        const char *part;
    } cases[] = {
        {"token_embd.weight", {16, 10}, "shape 16 x 10 x 1 x 1, the hyperparameters need 32 x 10"},
        {"output.weight", {32, 9}, "shape 32 x 9 x 1 x 1, the hyperparameters need 32 x 10"},
        {"output_norm.weight", {31, 0}, "shape 31 x 1 x 1 x 1, the hyperparameters need 32 x 1"},
        {"blk.0.attn_norm.weight",
         {32, 2},
         "shape 32 x 2 x 1 x 1, the hyperparameters need 32 x 1"},
        {"blk.0.attn_q.weight",
         {32, 16},
         "shape 32 x 16 x 1 x 1, the hyperparameters need 32 x 32"},
        {"blk.0.attn_k.weight",
         {32, 32},
         "shape 32 x 32 x 1 x 1, the hyperparameters need 32 x 16"},
        {"blk.0.attn_v.weight", {64, 8}, "shape 64 x 8 x 1 x 1, the hyperparameters need 32 x 16"},
        {"blk.0.ffn_gate.weight",
         {64, 32},
         "shape 64 x 32 x 1 x 1, the hyperparameters need 32 x 64"},
        {"blk.0.ffn_down.weight",
         {64, 0},
         "shape 64 x 1 x 1 x 1, the hyperparameters need 64 x 32"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const spec s = {.arch = "llama",
                        .edits = {{.kind = RESHAPE,
                                   .name = cases[i].name,
                                   .dims = {cases[i].dims[0], cases[i].dims[1]}}}};
        refused(&s, MR_EINVAL, cases[i].part, cases[i].name);
    }
}

TEST(refuses_a_token_list_of_another_length) {
    const spec less = {.arch = "llama", .n_tokens = N_VOCAB - 1};
    const spec equal = {.arch = "llama", .n_tokens = N_VOCAB};
    mr_model *m;
    mr_err err;

    refused(&less, MR_EINVAL, "token_embd.weight has 10 rows", "tokenizer.ggml.tokens has 9 items");
    CHECK_OK(open_spec(&m, &equal, &err), err);
    mr_model_close(m);
}

TEST(refuses_rope_divisors_that_divide_nothing) {
    static const float wrong[] = {NAN, INFINITY, -1, 1e-9f};

    for (size_t i = 0; i < MR_COUNT(wrong); i++) {
        const spec s = {.arch = "llama",
                        .fill = wrong[i],
                        .edits = {{.kind = ADD, .name = "rope_freqs.weight", .dims = {4}}}};
        refused(&s, MR_EINVAL, "item 0 of tensor rope_freqs.weight is", "must be 1e-06..1e+06");
    }
}

TEST(refuses_types_and_tensors_without_a_place) {
    const spec norm = {
        .arch = "llama",
        .edits = {
            {.kind = RESHAPE, .name = "output_norm.weight", .dims = {32}, .type = MR_TYPE_F16}}};
    const spec extra = {.arch = "llama",
                        .edits = {{.kind = ADD, .name = "blk.0.ffn_gate.bias", .dims = {64}}}};
    const spec layer = {.arch = "llama",
                        .edits = {{.kind = ADD, .name = "blk.1.attn_norm.weight", .dims = {32}}}};
    const spec head_norm = {
        .arch = "llama", .edits = {{.kind = ADD, .name = "blk.0.attn_q_norm.weight", .dims = {8}}}};
    const spec freqs = {.arch = "llama",
                        .edits = {{.kind = ADD, .name = "rope_freqs.weight", .dims = {8}}}};

    refused(&norm, MR_EUNSUPPORTED, "output_norm.weight is of type F16", "must be F32");
    refused(&extra, MR_EUNSUPPORTED, "blk.0.ffn_gate.bias", "no place in a llama model");
    refused(&layer, MR_EUNSUPPORTED, "blk.1.attn_norm.weight", "of 1 layers");
    refused(&head_norm, MR_EUNSUPPORTED, "blk.0.attn_q_norm.weight", "no place in a llama model");
    refused(&freqs, MR_EINVAL, "rope_freqs.weight", "need 4 x 1");
}

/* --- packing ---------------------------------------------------------------------------------- */

/* Every matrix has its tiles, each in memory of its own; rows of the file can still be read after
 * its pages were given back, as the embedding's are. */
TEST(packs_every_matrix_once) {
    mr_model *m;
    mr_pool *pool;
    mr_err err;

    CHECK_OK(mr_model_open(&m, "tests/golden/llama_k_quants.gguf", &err), err);
    CHECK_OK(mr_pool_open(&pool, 2, &err), err);
    const size_t n = m->output.row_bytes * m->output.rows;
    uint8_t *before = malloc(n);
    memcpy(before, m->output.data, n);
    CHECK_OK(mr_model_pack(m, m->hp.n_layer, pool, NULL, &err), err);
    assert_memory_equal(m->output.data, before, n);

    const uint8_t *at = m->tiles;
    const mr_mat *all[7 * 2 + 1] = {[7 * 2] = &m->output};
    CHECK_I64(m->hp.n_layer, 2);
    for (size_t i = 0; i < 2; i++) {
        const mr_layer *y = &m->layers[i];
        const mr_mat *of[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->gate, &y->up, &y->down};
        memcpy(all + 7 * i, of, sizeof of);
    }
    for (size_t i = 0; i < MR_COUNT(all); i++) {
        const size_t bytes = mr_tile_bytes(all[i]->type, all[i]->cols);
        const uint32_t n_tiles = (all[i]->rows + MR_TILE - 1) / MR_TILE;
        uint8_t *last = calloc(1, bytes);
        CHECK(all[i]->tiles == at);
        mr_pack_tile(last, all[i], n_tiles - 1);
        assert_memory_equal(at + (n_tiles - 1) * bytes, last, bytes);
        at += n_tiles * bytes;
        free(last);
    }
    CHECK_I64(at - (const uint8_t *)m->tiles, m->tiles_bytes);
    free(before);
    mr_pool_close(pool);
    mr_model_close(m);
}

MR_TEST_MAIN
