/* model_params.c - keys of the file to hyperparameters, each with its range.
 *
 * Keys are named <architecture>.<suffix>. A required one that is missing, or one outside its
 * range, is an error that names it; an optional one has the default of the format. A key that
 * would change the computation in a way that forward.c does not know is refused: a model that
 * runs with a part of it left out gives plausible nonsense.
 *
 * Sources of names and defaults: the GGUF document of ggml; the meaning of yarn_* is YaRN's (Peng
 * 2023). Limits: MR_MODEL_MAX_*. Pure. */
#include "engine/model_params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_KEY_NAME 96 /* architecture, dot and the longest suffix fit well */

#define MIN_ROPE_BASE   1.001f /* its logarithm is a divisor */
#define MAX_ROPE_BASE   1e12f
#define MIN_ROPE_FACTOR 1e-3f
#define MAX_ROPE_FACTOR 65536.0f
#define MAX_SCALE       1e6f

typedef struct reader {
    const mr_gguf *g;
    const char *arch;
    mr_err *err;
} reader;

static const char *const arch_names[] = {
    [MR_ARCH_LLAMA] = "llama", [MR_ARCH_QWEN2] = "qwen2", [MR_ARCH_QWEN3] = "qwen3"};

const char *mr_arch_name(mr_arch arch) {
    return arch_names[arch];
}

static void full_name(const reader *r, const char *suffix, char key[MAX_KEY_NAME]) {
    snprintf(key, MAX_KEY_NAME, "%s.%s", r->arch, suffix);
}

static mr_status get_u32(const reader *r, const char *suffix, uint32_t lo, uint32_t hi,
                         uint32_t *out) {
    char key[MAX_KEY_NAME];
    uint64_t v = 0;

    full_name(r, suffix, key);
    const mr_status st = mr_gguf_u64(r->g, key, lo, hi, &v, r->err);
    if (st == MR_OK) *out = (uint32_t)v;
    return st == MR_ENOTFOUND ? MR_EINVAL
                              : st; /* a missing key is a bad file, not a missing file */
}

static mr_status maybe_u32(const reader *r, const char *suffix, uint32_t lo, uint32_t hi,
                           uint32_t *out) {
    char key[MAX_KEY_NAME];

    full_name(r, suffix, key);
    return mr_gguf_has(r->g, key) ? get_u32(r, suffix, lo, hi, out) : MR_OK;
}

static mr_status get_f32(const reader *r, const char *suffix, float lo, float hi, float *out) {
    char key[MAX_KEY_NAME];
    float v = 0;

    full_name(r, suffix, key);
    const mr_status st = mr_gguf_f32(r->g, key, &v, r->err);
    if (st != MR_OK) return st == MR_ENOTFOUND ? MR_EINVAL : st;
    if (v < lo || v > hi)
        return mr_fail(r->err, MR_EINVAL, "gguf %s: key %s is %g, must be %g..%g",
                       mr_gguf_label(r->g), key, (double)v, (double)lo, (double)hi);
    *out = v;
    return MR_OK;
}

static mr_status maybe_f32(const reader *r, const char *suffix, float lo, float hi, float *out) {
    char key[MAX_KEY_NAME];

    full_name(r, suffix, key);
    return mr_gguf_has(r->g, key) ? get_f32(r, suffix, lo, hi, out) : MR_OK;
}

/* A key of any number or bool kind, for the keys where only "is it neutral" matters. */
static mr_status get_any(const reader *r, const char *key, double *out) {
    uint64_t u;
    float f;
    bool b;

    if (mr_gguf_f32(r->g, key, &f, NULL) == MR_OK)
        *out = (double)f;
    else if (mr_gguf_bool(r->g, key, &b, NULL) == MR_OK)
        *out = b;
    else if (mr_gguf_u64(r->g, key, 0, UINT64_MAX, &u, r->err) == MR_OK)
        *out = (double)u;
    else
        return MR_EINVAL;
    return MR_OK;
}

/* --- refusals --------------------------------------------------------------------------------- */

static mr_status refuse_unknown_computation(const reader *r) {
    static const struct {
        const char *suffix;
        double neutral; /* the value that changes nothing */
    } foreign[] = {
        {"expert_count", 0},
        {"use_parallel_residual", 0},
        {"attention.causal", 1},
        {"attention.clamp_kqv", 0},
        {"attention.max_alibi_bias", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"rope.scaling.yarn_log_multiplier", 0},
        /* some architectures multiply by it and some divide; for ours it is not defined */
        {"logit_scale", 1},
    };
    char key[MAX_KEY_NAME];
    double v = 0;

    for (size_t i = 0; i < MR_COUNT(foreign); i++) {
        full_name(r, foreign[i].suffix, key);
        if (!mr_gguf_has(r->g, key)) continue;
        if (get_any(r, key, &v) != MR_OK) return MR_EINVAL;
        if (v != foreign[i].neutral)
            return mr_fail(r->err, MR_EUNSUPPORTED,
                           "gguf %s: key %s is %g, this build runs %s models only with %g",
                           mr_gguf_label(r->g), key, v, r->arch, foreign[i].neutral);
    }
    return MR_OK;
}

/* A big model may come as several files; each alone looks like a model with tensors missing. */
static mr_status refuse_parts(const reader *r) {
    uint64_t n = 0;

    if (mr_gguf_u64(r->g, "split.count", 0, UINT64_MAX, &n, NULL) != MR_OK || n <= 1) return MR_OK;
    return mr_fail(r->err, MR_EUNSUPPORTED,
                   "gguf %s: key split.count is %llu: a part of a model; merge the parts into one "
                   "file first",
                   mr_gguf_label(r->g), (unsigned long long)n);
}

static mr_status read_arch(reader *r, mr_arch *out) {
    char shown[64];
    mr_str name;
    const mr_status st = mr_gguf_str(r->g, "general.architecture", &name, r->err);

    if (st != MR_OK) return st == MR_ENOTFOUND ? MR_EINVAL : st;
    for (size_t i = 0; i < MR_COUNT(arch_names); i++) {
        if (name.len != strlen(arch_names[i]) || memcmp(name.ptr, arch_names[i], name.len) != 0)
            continue;
        *out = (mr_arch)i;
        r->arch = arch_names[i];
        return MR_OK;
    }
    mr_gguf_escape(name, shown, sizeof shown);
    return mr_fail(
        r->err, MR_EUNSUPPORTED,
        "gguf %s: architecture %s is not supported; this build runs llama (Llama 1 to 3, "
        "Mistral, TinyLlama, SmolLM), qwen2 and qwen3",
        mr_gguf_label(r->g), shown);
}

/* --- groups of keys --------------------------------------------------------------------------- */

static mr_status read_sizes(const reader *r, mr_hparams *hp) {
    uint32_t window = 0;
    mr_status st;

    st = get_u32(r, "context_length", 1, MR_MODEL_MAX_CTX, &hp->n_ctx_train);
    if (st != MR_OK) return st;
    st = get_u32(r, "embedding_length", 1, MR_MODEL_MAX_EMBD, &hp->n_embd);
    if (st != MR_OK) return st;
    st = get_u32(r, "block_count", 1, MR_MODEL_MAX_LAYERS, &hp->n_layer);
    if (st != MR_OK) return st;
    st = get_u32(r, "feed_forward_length", 1, MR_MODEL_MAX_FF, &hp->n_ff);
    if (st != MR_OK) return st;
    st = get_f32(r, "attention.layer_norm_rms_epsilon", 1e-12f, 0.1f, &hp->rms_eps);
    if (st != MR_OK) return st;
    /* Within the window, full attention is the same computation; beyond it we would be wrong. */
    st = maybe_u32(r, "attention.sliding_window", 0, UINT32_MAX, &window);
    if (st == MR_OK && window > 0 && window < hp->n_ctx_train) hp->n_ctx_train = window;
    return st;
}

static mr_status read_heads(const reader *r, mr_hparams *hp) {
    char key[MAX_KEY_NAME];
    uint32_t d_value;
    mr_status st = get_u32(r, "attention.head_count", 1, MR_MODEL_MAX_HEADS, &hp->n_head);

    if (st != MR_OK) return st;
    hp->n_kv_head = hp->n_head;
    st = maybe_u32(r, "attention.head_count_kv", 1, hp->n_head, &hp->n_kv_head);
    if (st != MR_OK) return st;
    if (hp->n_head % hp->n_kv_head != 0)
        return mr_fail(r->err, MR_EINVAL,
                       "gguf %s: key %s.attention.head_count is %u, no multiple of "
                       "attention.head_count_kv, which is %u",
                       mr_gguf_label(r->g), r->arch, hp->n_head, hp->n_kv_head);

    full_name(r, "attention.key_length", key);
    const bool has_key_length = mr_gguf_has(r->g, key);
    hp->d_head = hp->n_embd / hp->n_head;
    st = maybe_u32(r, "attention.key_length", 2, MR_MODEL_MAX_D_HEAD, &hp->d_head);
    if (st != MR_OK) return st;
    if (hp->n_embd % hp->n_head != 0 && !has_key_length)
        return mr_fail(
            r->err, MR_EINVAL,
            "gguf %s: key %s.embedding_length is %u, no multiple of attention.head_count, "
            "which is %u",
            mr_gguf_label(r->g), r->arch, hp->n_embd, hp->n_head);
    if (hp->d_head < 2 || hp->d_head > MR_MODEL_MAX_D_HEAD || hp->d_head % 2 != 0)
        return mr_fail(r->err, MR_EUNSUPPORTED,
                       "gguf %s: a head has %u values (embedding_length %u, %u heads), must be an "
                       "even number in 2..%u",
                       mr_gguf_label(r->g), hp->d_head, hp->n_embd, hp->n_head,
                       MR_MODEL_MAX_D_HEAD);
    d_value = hp->n_embd / hp->n_head;
    st = maybe_u32(r, "attention.value_length", 1, UINT32_MAX, &d_value);
    if (st != MR_OK) return st;
    if (d_value != hp->d_head)
        return mr_fail(r->err, MR_EUNSUPPORTED,
                       "gguf %s: key %s.attention.value_length is %u and key_length is %u, must be "
                       "equal",
                       mr_gguf_label(r->g), r->arch, d_value, hp->d_head);

    hp->attn_scale = 1.0f / sqrtf((float)hp->d_head);
    return maybe_f32(r, "attention.scale", 1e-6f, MAX_SCALE, &hp->attn_scale);
}

static mr_status read_rope_scaling(const reader *r, mr_hparams *hp) {
    char key[MAX_KEY_NAME], shown[32];
    mr_str type = {"linear", 6}; /* what a factor without a type has always meant */
    mr_status st;

    hp->rope_factor = 1;
    st = maybe_f32(r, "rope.scale_linear", MIN_ROPE_FACTOR, MAX_ROPE_FACTOR, &hp->rope_factor);
    if (st != MR_OK) return st;
    st = maybe_f32(r, "rope.scaling.factor", MIN_ROPE_FACTOR, MAX_ROPE_FACTOR, &hp->rope_factor);
    if (st != MR_OK) return st;
    full_name(r, "rope.scaling.type", key);
    if (mr_gguf_has(r->g, key) && (st = mr_gguf_str(r->g, key, &type, r->err)) != MR_OK) return st;

    if (type.len == 4 && memcmp(type.ptr, "none", 4) == 0) {
        hp->rope_scaling = MR_ROPE_NONE;
    } else if (type.len == 6 && memcmp(type.ptr, "linear", 6) == 0) {
        hp->rope_scaling = hp->rope_factor == 1 ? MR_ROPE_NONE : MR_ROPE_LINEAR;
    } else if (type.len == 4 && memcmp(type.ptr, "yarn", 4) == 0) {
        hp->rope_scaling = MR_ROPE_YARN;
    } else {
        mr_gguf_escape(type, shown, sizeof shown);
        return mr_fail(r->err, MR_EUNSUPPORTED,
                       "gguf %s: key %s is %s; this build knows none, linear and yarn",
                       mr_gguf_label(r->g), key, shown);
    }
    return MR_OK;
}

static mr_status read_yarn(const reader *r, mr_hparams *hp) {
    float more = 1;
    mr_status st;

    hp->rope_orig_ctx = hp->n_ctx_train;
    hp->yarn_ext_factor = hp->yarn_attn_factor = 1;
    hp->yarn_beta_fast = 32;
    hp->yarn_beta_slow = 1;
    st = maybe_u32(r, "rope.scaling.original_context_length", 1, MR_MODEL_MAX_CTX,
                   &hp->rope_orig_ctx);
    if (st != MR_OK) return st;
    st = maybe_f32(r, "rope.scaling.attn_factor", 1e-3f, 1e3f, &hp->yarn_attn_factor);
    if (st != MR_OK) return st;
    st = maybe_f32(r, "rope.scaling.yarn_attn_factor", 1e-3f, 1e3f, &more);
    if (st != MR_OK) return st;
    hp->yarn_attn_factor *= more; /* two names of the format, two factors */
    st = maybe_f32(r, "rope.scaling.yarn_ext_factor", 0, 1, &hp->yarn_ext_factor);
    if (st != MR_OK) return st;
    st = maybe_f32(r, "rope.scaling.yarn_beta_fast", 1e-3f, 1e6f, &hp->yarn_beta_fast);
    if (st != MR_OK) return st;
    return maybe_f32(r, "rope.scaling.yarn_beta_slow", 1e-3f, 1e6f, &hp->yarn_beta_slow);
}

static mr_status read_rope(const reader *r, mr_hparams *hp) {
    mr_status st;

    hp->rope_neox = hp->arch != MR_ARCH_LLAMA;
    hp->n_rot = hp->d_head;
    st = maybe_u32(r, "rope.dimension_count", 2, hp->d_head, &hp->n_rot);
    if (st != MR_OK) return st;
    if (hp->n_rot % 2 != 0)
        return mr_fail(r->err, MR_EINVAL,
                       "gguf %s: key %s.rope.dimension_count is %u, must be even",
                       mr_gguf_label(r->g), r->arch, hp->n_rot);
    hp->rope_base = 10000;
    st = maybe_f32(r, "rope.freq_base", MIN_ROPE_BASE, MAX_ROPE_BASE, &hp->rope_base);
    if (st != MR_OK) return st;
    if ((st = read_rope_scaling(r, hp)) != MR_OK) return st;
    return read_yarn(r, hp);
}

mr_status mr_model_read_params(mr_hparams *hp, const mr_gguf *g, mr_err *err) {
    reader r = {.g = g, .err = err};
    mr_status st;

    memset(hp, 0, sizeof *hp);
    if ((st = read_arch(&r, &hp->arch)) != MR_OK) return st;
    if ((st = refuse_parts(&r)) != MR_OK) return st;
    if ((st = refuse_unknown_computation(&r)) != MR_OK) return st;
    if ((st = read_sizes(&r, hp)) != MR_OK) return st;
    if ((st = read_heads(&r, hp)) != MR_OK) return st;
    if ((st = read_rope(&r, hp)) != MR_OK) return st;
    hp->embd_scale = hp->residual_scale = hp->logit_scale = 1;
    st = maybe_f32(&r, "embedding_scale", 1e-6f, MAX_SCALE, &hp->embd_scale);
    if (st != MR_OK) return st;
    return maybe_f32(&r, "residual_scale", 1e-6f, MAX_SCALE, &hp->residual_scale);
}
