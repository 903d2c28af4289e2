/* synth.c - shapes of models, their list of tensors, and the file made of them.
 *
 * Weights have the deviation 1/sqrt(inputs), so that what goes into a product with unit variance
 * comes out with it; those that add to the residual stream are smaller by sqrt(2 * layers), as
 * in GPT-2's initialization, so its size after the last layer does not depend on the depth.
 * Logits come out with a deviation near 1, also when the embedding is the head.
 *
 * Rows are made one at a time and streamed: memory is one row and the writer's buffer, whatever the
 * model. One thread: making rows is faster than writing them.
 *
 * Limits: those of model_params.h and MR_SYNTH_MAX_VOCAB. Thread: any. */
#include "engine/synth.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/model_params.h"
#include "engine/synth_parts.h"

#define MAX_SHAPE_TEXT 512
#define MAX_NAME       48
#define PROGRESS_BYTES (16u << 20) /* between two calls of on_progress */
#define LLAMA3_CTX     8192        /* context that llama3's rope scaling starts from */
#define PER_LAYER      14          /* tensors of a layer, at most */

/* clang-format off */
static const mr_synth_shape shapes[] = {
    {.name = "tiny", .arch = MR_ARCH_LLAMA, .n_layer = 2, .n_embd = 256, .n_ff = 512, .n_head = 8,
     .n_kv_head = 4, .d_head = 32, .n_vocab = 512, .n_ctx = 512, .rope_base = 10000,
     .rms_eps = 1e-5f, .vocab = MR_SYNTH_SPM},
    {.name = "tinyllama-1.1b", .arch = MR_ARCH_LLAMA, .n_layer = 22, .n_embd = 2048, .n_ff = 5632,
     .n_head = 32, .n_kv_head = 4, .d_head = 64, .n_vocab = 32000, .n_ctx = 2048,
     .rope_base = 10000, .rms_eps = 1e-5f, .vocab = MR_SYNTH_SPM},
    {.name = "qwen3-0.6b", .arch = MR_ARCH_QWEN3, .n_layer = 28, .n_embd = 1024, .n_ff = 3072,
     .n_head = 16, .n_kv_head = 8, .d_head = 128, .n_vocab = 151936, .n_ctx = 40960,
     .rope_base = 1e6f, .rms_eps = 1e-6f, .tied = true, .vocab = MR_SYNTH_BPE_QWEN2},
    {.name = "llama3-3b", .arch = MR_ARCH_LLAMA, .n_layer = 28, .n_embd = 3072, .n_ff = 8192,
     .n_head = 24, .n_kv_head = 8, .d_head = 128, .n_vocab = 128256, .n_ctx = 131072,
     .rope_base = 500000, .rms_eps = 1e-5f, .rope_factor = 32, .tied = true,
     .vocab = MR_SYNTH_BPE_LLAMA3},
    {.name = "llama3-8b", .arch = MR_ARCH_LLAMA, .n_layer = 32, .n_embd = 4096, .n_ff = 14336,
     .n_head = 32, .n_kv_head = 8, .d_head = 128, .n_vocab = 128256, .n_ctx = 8192,
     .rope_base = 500000, .rms_eps = 1e-5f, .vocab = MR_SYNTH_BPE_LLAMA3},
};
/* clang-format on */

const char *const mr_synth_types[] = {"f32",  "f16",  "bf16", "q8_0",   "q4_0",
                                      "q4_k", "q5_k", "q6_k", "q4_k_m", NULL};

static const struct mix {
    mr_type base, better; /* better: of the tensors that suffer most, where the mix has two types */
    uint32_t file_type;   /* general.file_type */
} mixes[] = {
    /* as mr_synth_types */
    {MR_TYPE_F32, MR_TYPE_F32, 0},    {MR_TYPE_F16, MR_TYPE_F16, 1},
    {MR_TYPE_BF16, MR_TYPE_BF16, 32}, {MR_TYPE_Q8_0, MR_TYPE_Q8_0, 7},
    {MR_TYPE_Q4_0, MR_TYPE_Q4_0, 2},  {MR_TYPE_Q4_K, MR_TYPE_Q4_K, 14},
    {MR_TYPE_Q5_K, MR_TYPE_Q5_K, 16}, {MR_TYPE_Q6_K, MR_TYPE_Q6_K, 18},
    {MR_TYPE_Q4_K, MR_TYPE_Q6_K, 15},
};

const mr_synth_shape *mr_synth_shape_at(size_t i) {
    return i < MR_COUNT(shapes) ? &shapes[i] : NULL;
}

/* --- custom shapes ---------------------------------------------------------------------------- */

static mr_status parse_u32(const char *key, const char *text, uint32_t lo, uint32_t hi,
                           uint32_t *out, mr_err *err) {
    char *end;

    errno = 0;
    const unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v < lo || v > hi)
        return mr_fail(err, MR_EINVAL, "shape: %s is \"%s\", must be %u..%u", key, text, lo, hi);
    *out = (uint32_t)v;
    return MR_OK;
}

static mr_status parse_choice(const char *key, const char *text, const char *const *names, size_t n,
                              uint32_t *out, mr_err *err) {
    char list[128] = "";

    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (uint32_t)i;
            return MR_OK;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    }
    return mr_fail(err, MR_EINVAL, "shape: %s is \"%s\", must be one of %s", key, text, list);
}

typedef struct custom {
    uint32_t arch, tokenizer, tied, d_head, rope_base;
    bool has_tokenizer;
} custom;

static mr_status parse_pair(mr_synth_shape *s, custom *c, const char *key, const char *value,
                            mr_err *err) {
    static const char *const archs[] = {"llama", "qwen2", "qwen3"};
    static const char *const vocabs[] = {"spm", "qwen2", "llama-bpe"};
    const struct {
        const char *key;
        uint32_t lo, hi, *out;
    } numbers[] = {
        {"layers", 1, MR_MODEL_MAX_LAYERS, &s->n_layer},
        {"embd", 2, MR_MODEL_MAX_EMBD, &s->n_embd},
        {"ff", 1, MR_MODEL_MAX_FF, &s->n_ff},
        {"heads", 1, MR_MODEL_MAX_HEADS, &s->n_head},
        {"kv_heads", 1, MR_MODEL_MAX_HEADS, &s->n_kv_head},
        {"head_dim", 2, MR_MODEL_MAX_D_HEAD, &c->d_head},
        {"vocab", MR_SYNTH_MIN_VOCAB, MR_SYNTH_MAX_VOCAB, &s->n_vocab},
        {"ctx", 1, MR_MODEL_MAX_CTX, &s->n_ctx},
        {"rope_base", 2, 1000000000, &c->rope_base},
        {"tied", 0, 1, &c->tied},
    };

    if (strcmp(key, "arch") == 0)
        return parse_choice(key, value, archs, MR_COUNT(archs), &c->arch, err);
    if (strcmp(key, "tokenizer") == 0) {
        c->has_tokenizer = true;
        return parse_choice(key, value, vocabs, MR_COUNT(vocabs), &c->tokenizer, err);
    }
    for (size_t i = 0; i < MR_COUNT(numbers); i++)
        if (strcmp(key, numbers[i].key) == 0)
            return parse_u32(key, value, numbers[i].lo, numbers[i].hi, numbers[i].out, err);
    return mr_fail(err, MR_EINVAL,
                   "shape: unknown key \"%s\"; there are arch, layers, embd, ff, heads, kv_heads, "
                   "head_dim, vocab, ctx, rope_base, tied and tokenizer",
                   key);
}

static mr_status check_heads(mr_synth_shape *s, uint32_t d_head, mr_err *err) {
    if (s->n_head % s->n_kv_head != 0)
        return mr_fail(err, MR_EINVAL, "shape: heads is %u, must be a multiple of kv_heads, %u",
                       s->n_head, s->n_kv_head);
    if (d_head == 0 && s->n_embd % s->n_head != 0)
        return mr_fail(
            err, MR_EINVAL,
            "shape: embd is %u, must be a multiple of heads, %u, unless head_dim is given",
            s->n_embd, s->n_head);
    s->d_head = d_head ? d_head : s->n_embd / s->n_head;
    if (s->d_head % 2 != 0 || s->d_head == 0 || s->d_head > MR_MODEL_MAX_D_HEAD)
        return mr_fail(err, MR_EINVAL,
                       "shape: a head has %u values, must be an even number in 2..%u", s->d_head,
                       MR_MODEL_MAX_D_HEAD);
    return MR_OK;
}

/* text: the part behind "custom:". */
static mr_status parse_custom(mr_synth_shape *s, const char *text, mr_err *err) {
    char copy[MAX_SHAPE_TEXT], *rest = copy;
    custom c = {0};
    mr_status st;

    if (strlen(text) >= sizeof copy)
        return mr_fail(err, MR_EINVAL, "shape: %zu bytes, the limit is %zu", strlen(text),
                       sizeof copy - 1);
    strcpy(copy, text);
    *s = shapes[0];
    s->name = "custom";
    while (*rest) {
        char *key = rest, *end = strchr(rest, ','), *equals;
        rest = end ? end + 1 : rest + strlen(rest);
        if (end) *end = '\0';
        if (!(equals = strchr(key, '=')))
            return mr_fail(err, MR_EINVAL, "shape: \"%s\" is no key=value", key);
        *equals = '\0';
        if ((st = parse_pair(s, &c, key, equals + 1, err)) != MR_OK) return st;
    }
    s->arch = (mr_arch)c.arch;
    s->tied = c.tied != 0;
    s->vocab = s->arch == MR_ARCH_LLAMA ? MR_SYNTH_SPM : MR_SYNTH_BPE_QWEN2;
    if (c.has_tokenizer) s->vocab = (mr_synth_vocab)c.tokenizer;
    if (c.rope_base) s->rope_base = (float)c.rope_base;
    return check_heads(s, c.d_head, err);
}

mr_status mr_synth_shape_parse(mr_synth_shape *out, const char *text, mr_err *err) {
    static const char prefix[] = "custom:";
    char list[256] = "";

    if (strncmp(text, prefix, sizeof prefix - 1) == 0)
        return parse_custom(out, text + sizeof prefix - 1, err);
    for (size_t i = 0; i < MR_COUNT(shapes); i++) {
        if (strcasecmp(text, shapes[i].name) == 0) {
            *out = shapes[i];
            return MR_OK;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s, ", shapes[i].name);
    }
    return mr_fail(err, MR_EINVAL, "shape: \"%s\" is unknown; there are %sand custom:KEY=VALUE,...",
                   text, list);
}

/* --- the list of tensors ---------------------------------------------------------------------- */

typedef enum fill { FILL_ROWS, FILL_NORM, FILL_BIAS, FILL_ROPE } fill;

typedef struct tensor {
    char name[MAX_NAME];
    mr_type type;
    uint32_t rows, cols; /* a vector has no rows */
    float std;
    fill fill;
} tensor;

typedef struct plan {
    const mr_synth_shape *s;
    const struct mix *mix;
    tensor *tensors;
    size_t n;
    int layer; /* that the next tensors belong to; -1: none */
} plan;

static tensor *add(plan *p, const char *name) {
    tensor *t = &p->tensors[p->n++];

    if (p->layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", p->layer, name);
    return t;
}

static void add_matrix(plan *p, const char *name, mr_type type, uint32_t rows, uint32_t cols,
                       float std) {
    tensor *t = add(p, name);

    t->type = type;
    t->rows = rows;
    t->cols = cols;
    t->std = std;
    t->fill = FILL_ROWS;
}

static void add_vector(plan *p, const char *name, uint32_t n, fill f) {
    tensor *t = add(p, name);

    t->type = MR_TYPE_F32;
    t->cols = n;
    t->fill = f;
}

/* The layers whose attn_v and ffn_down a Q4_K_M file keeps in Q6_K: the first and the last
 * eighth, where errors weigh most, and every third between them. */
static bool is_better_layer(uint32_t i, uint32_t n) {
    const uint32_t eighth = n / 8;

    return i < eighth || i >= 7 * n / 8 || (i - eighth) % 3 == 2;
}

static void add_layer(plan *p, uint32_t i) {
    const mr_synth_shape *s = p->s;
    const uint32_t n_q = s->n_head * s->d_head, n_kv = s->n_kv_head * s->d_head;
    const mr_type base = p->mix->base;
    const mr_type better = is_better_layer(i, s->n_layer) ? p->mix->better : base;
    const float in = 1 / sqrtf((float)s->n_embd), depth = 1 / sqrtf(2 * (float)s->n_layer);
    const float out_q = depth / sqrtf((float)n_q), out_ff = depth / sqrtf((float)s->n_ff);
    const size_t first = p->n;

    p->layer = (int)i;
    add_vector(p, "attn_norm.weight", s->n_embd, FILL_NORM);
    add_matrix(p, "attn_q.weight", base, n_q, s->n_embd, in);
    add_matrix(p, "attn_k.weight", base, n_kv, s->n_embd, in);
    add_matrix(p, "attn_v.weight", better, n_kv, s->n_embd, in);
    add_matrix(p, "attn_output.weight", base, s->n_embd, n_q, out_q);
    if (s->arch == MR_ARCH_QWEN2) {
        add_vector(p, "attn_q.bias", n_q, FILL_BIAS);
        add_vector(p, "attn_k.bias", n_kv, FILL_BIAS);
        add_vector(p, "attn_v.bias", n_kv, FILL_BIAS);
    }
    if (s->arch == MR_ARCH_QWEN3) {
        add_vector(p, "attn_q_norm.weight", s->d_head, FILL_NORM);
        add_vector(p, "attn_k_norm.weight", s->d_head, FILL_NORM);
    }
    add_vector(p, "ffn_norm.weight", s->n_embd, FILL_NORM);
    add_matrix(p, "ffn_gate.weight", base, s->n_ff, s->n_embd, in);
    add_matrix(p, "ffn_up.weight", base, s->n_ff, s->n_embd, in);
    add_matrix(p, "ffn_down.weight", better, s->n_embd, s->n_ff, out_ff);
    p->layer = -1;
    MR_CHECK(p->n - first <= PER_LAYER);
}

static mr_status make_plan(plan *p, mr_err *err) {
    const mr_synth_shape *s = p->s;
    const float head_std = 1 / sqrtf((float)s->n_embd);
    const mr_type head = p->mix->better;

    p->tensors = calloc((size_t)s->n_layer * PER_LAYER + 4, sizeof *p->tensors);
    if (!p->tensors)
        return mr_fail(err, MR_ENOMEM, "synth: out of memory for %u layers", s->n_layer);
    add_matrix(p, "token_embd.weight", s->tied ? head : p->mix->base, s->n_vocab, s->n_embd,
               s->tied ? head_std : 1);
    if (s->rope_factor != 0) add_vector(p, "rope_freqs.weight", s->d_head / 2, FILL_ROPE);
    for (uint32_t i = 0; i < s->n_layer; i++) add_layer(p, i);
    add_vector(p, "output_norm.weight", s->n_embd, FILL_NORM);
    if (!s->tied) add_matrix(p, "output.weight", head, s->n_vocab, s->n_embd, head_std);

    for (size_t i = 0; i < p->n; i++) {
        const tensor *t = &p->tensors[i];
        if (t->cols % mr_type_block(t->type) == 0) continue;
        return mr_fail(
            err, MR_EINVAL,
            "synth: tensor %s has rows of %u values, no multiple of %zu, the block of %s", t->name,
            t->cols, mr_type_block(t->type), mr_type_name(t->type));
    }
    return MR_OK;
}

/* --- the file --------------------------------------------------------------------------------- */

static void put_param_keys(mr_gguf_writer *w, const mr_synth_shape *s, const struct mix *mix,
                           uint64_t seed) {
    const char *arch = mr_arch_name(s->arch);
    const struct {
        const char *suffix;
        uint32_t value;
    } numbers[] = {
        {"block_count", s->n_layer},         {"context_length", s->n_ctx},
        {"embedding_length", s->n_embd},     {"feed_forward_length", s->n_ff},
        {"attention.head_count", s->n_head}, {"attention.head_count_kv", s->n_kv_head},
        {"attention.key_length", s->d_head}, {"attention.value_length", s->d_head},
        {"rope.dimension_count", s->d_head}, {"vocab_size", s->n_vocab},
    };
    char text[96];

    mr_gguf_put_str(w, "general.architecture", arch);
    snprintf(text, sizeof text, "%s, random weights, seed %llu", s->name, (unsigned long long)seed);
    mr_gguf_put_str(w, "general.name", text);
    mr_gguf_put_u32(w, "general.file_type", mix->file_type);
    mr_gguf_put_u32(w, "general.quantization_version", 2);
    for (size_t i = 0; i < MR_COUNT(numbers); i++) {
        snprintf(text, sizeof text, "%s.%s", arch, numbers[i].suffix);
        mr_gguf_put_u32(w, text, numbers[i].value);
    }
    snprintf(text, sizeof text, "%s.rope.freq_base", arch);
    mr_gguf_put_f32(w, text, s->rope_base);
    snprintf(text, sizeof text, "%s.attention.layer_norm_rms_epsilon", arch);
    mr_gguf_put_f32(w, text, s->rms_eps);
}

/* Divisors per pair: slow ones (fewer than one turn in the old context) by the factor, fast ones
 * (over four turns) not at all, a straight line between. */
static void fill_rope(float *out, const mr_synth_shape *s) {
    for (uint32_t i = 0; i < s->d_head / 2; i++) {
        const double speed = pow((double)s->rope_base, -2.0 * i / s->d_head);
        const double turns = LLAMA3_CTX * speed / (2 * 3.14159265358979323846);
        const double keep = fmin(1, fmax(0, (turns - 1) / (4 - 1)));
        out[i] = (float)(1 / ((1 - keep) / (double)s->rope_factor + keep));
    }
}

typedef struct progress {
    const mr_synth_options *opt;
    uint64_t total, told;
} progress;

static mr_status tell(progress *pr, uint64_t bytes, mr_err *err) {
    const bool due = bytes - pr->told >= PROGRESS_BYTES || bytes == pr->total;

    if (!pr->opt->on_progress || !due) return MR_OK;
    pr->told = bytes;
    if (pr->opt->on_progress(pr->opt->owner, bytes, pr->total)) return MR_OK;
    return mr_fail(err, MR_ECANCELED, "%s: stopped after %llu of %llu bytes, nothing is left",
                   pr->opt->path, (unsigned long long)bytes, (unsigned long long)pr->total);
}

static mr_status put_tensor_data(mr_gguf_writer *w, const plan *p, const tensor *t, void *row,
                                 progress *pr, mr_err *err) {
    const uint64_t stream = mr_synth_stream(pr->opt->seed, t->name);
    const size_t row_bytes = mr_type_row_bytes(t->type, t->cols);
    const uint32_t rows = t->rows ? t->rows : 1;

    for (uint32_t r = 0; r < rows; r++) {
        switch (t->fill) {
        case FILL_ROWS:
            mr_synth_row(row, t->type, t->cols, t->std, stream, r);
            break;
        case FILL_NORM:
            mr_synth_values(row, t->cols, 1, 0.1f, stream);
            break;
        case FILL_BIAS:
            mr_synth_values(row, t->cols, 0, 0.1f, stream);
            break;
        case FILL_ROPE:
            fill_rope(row, p->s);
            break;
        }
        mr_status st = mr_gguf_put_data(w, row, row_bytes, err);
        if (st == MR_OK) st = tell(pr, mr_gguf_writer_bytes(w), err);
        if (st != MR_OK) return st;
    }
    return MR_OK;
}

static mr_status write_file(mr_gguf_writer *w, const plan *p, const mr_synth_options *opt,
                            uint64_t *bytes, mr_err *err) {
    size_t row_bytes = 0;
    mr_status st = MR_OK;

    put_param_keys(w, p->s, p->mix, opt->seed);
    mr_synth_put_vocab(w, p->s);
    for (size_t i = 0; i < p->n; i++) {
        const tensor *t = &p->tensors[i];
        const uint64_t dims[2] = {t->cols, t->rows};
        const size_t n = mr_type_row_bytes(t->type, t->cols);
        mr_gguf_put_tensor(w, t->name, t->type, dims, t->rows ? 2 : 1);
        if (n > row_bytes) row_bytes = n;
    }
    progress pr = {.opt = opt, .total = mr_gguf_writer_bytes(w)};
    void *row = malloc(row_bytes);
    if (!row)
        return mr_fail(err, MR_ENOMEM, "synth: out of memory for a row of %zu bytes", row_bytes);
    for (size_t i = 0; st == MR_OK && i < p->n; i++)
        st = put_tensor_data(w, p, &p->tensors[i], row, &pr, err);
    free(row);
    *bytes = pr.total;
    return st == MR_OK ? mr_gguf_writer_finish(w, err) : st;
}

static const struct mix *find_mix(const char *type) {
    for (size_t i = 0; mr_synth_types[i]; i++)
        if (strcasecmp(type, mr_synth_types[i]) == 0) return &mixes[i];
    return NULL;
}

mr_status mr_synth_write(const mr_synth_options *opt, uint64_t *bytes, mr_err *err) {
    plan p = {.s = opt->shape, .mix = find_mix(opt->type), .layer = -1};
    mr_gguf_writer *w = NULL;
    mr_status st;

    if (!p.mix) return mr_fail(err, MR_EINVAL, "synth: type \"%s\" is unknown", opt->type);
    if ((st = make_plan(&p, err)) != MR_OK) goto done;
    if ((st = mr_gguf_writer_open(&w, opt->path, err)) != MR_OK) goto done;
    st = write_file(w, &p, opt, bytes, err);
done:
    mr_gguf_writer_close(w);
    free(p.tensors);
    return st;
}
