/* model.h - hyperparameters and weights of one model, checked against each other.
 *
 * A weight points into the mapped file, until it is packed: then the file's pages are given back,
 * and the weights are held once. Owner: caller. Immutable after open and pack. */
#ifndef MR_ENGINE_MODEL_H
#define MR_ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gguf.h"
#include "engine/threads.h"

typedef struct mr_mat { /* y = W x; row r is at data + r * row_bytes */
    const void *data;   /* NULL: the model has no such weight */
    const void *tiles;  /* the same for the kernels, pack.h; NULL: not packed */
    mr_type type;
    uint32_t rows, cols; /* outputs, inputs */
    size_t row_bytes;
} mr_mat;

typedef enum mr_arch { MR_ARCH_LLAMA, MR_ARCH_QWEN2, MR_ARCH_QWEN3 } mr_arch;

typedef enum mr_rope_scaling { MR_ROPE_NONE, MR_ROPE_LINEAR, MR_ROPE_YARN } mr_rope_scaling;

typedef struct mr_hparams {
    mr_arch arch;
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_ff;
    uint32_t n_head, n_kv_head, d_head, n_rot; /* n_rot <= d_head: rotated values of a head */
    float rms_eps, rope_base;
    bool rope_neox; /* pairs (i, i + n_rot/2) as in qwen; else (2i, 2i+1) as in llama */
    mr_rope_scaling rope_scaling;
    float rope_factor;          /* LINEAR and YARN */
    uint32_t rope_orig_ctx;     /* YARN */
    float yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
    const float *rope_freqs;    /* [n_rot/2] divisors (rope_freqs.weight, llama3's scaling), or NULL */
    float attn_scale;           /* 1/sqrt(d_head) unless the file says otherwise */
    float embd_scale, residual_scale, logit_scale; /* 1 unless the file says otherwise */
} mr_hparams;

typedef struct mr_layer {
    const float *attn_norm, *ffn_norm; /* [n_embd] */
    const float *q_norm, *k_norm;      /* [d_head], qwen3; else NULL */
    const float *bq, *bk, *bv, *bo;    /* biases, qwen2 (and llama files that have them); else NULL */
    mr_mat wq, wk, wv, wo;             /* [n_head*d_head, n_embd], [n_kv_head*d_head, n_embd] x2, [n_embd, n_head*d_head] */
    mr_mat gate, up, down;             /* [n_ff, n_embd] x2, [n_embd, n_ff] */
} mr_layer;

typedef struct mr_model {
    mr_gguf *gguf; /* owned */
    mr_hparams hp;
    char name[128];
    mr_mat tok_embd; /* [n_vocab, n_embd] */
    const float *out_norm;
    mr_mat output; /* tok_embd when tied */
    bool tied;
    mr_layer *layers;
    uint64_t n_params, weight_bytes;
    void *tiles; /* of all matrices; NULL: not packed */
    size_t tiles_bytes;
} mr_model;

/* MR_EUNSUPPORTED: an architecture or tensor type that we do not run, named in err. */
mr_status mr_model_open(mr_model **out, const char *path, mr_err *err);
/* Takes over g, also on failure. */
mr_status mr_model_from_gguf(mr_model **out, mr_gguf *g, mr_err *err);
/* Rearranges the matrices of the first n_layer layers for the kernels (pack.h), on all threads, into
 * memory of about their size; if that is all layers, the output's too. Once, before the first
 * product. MR_ENOMEM: nothing has changed.
 * cache: a folder that keeps what was made (pack_cache.h), as <name of the model's file>.tiles; what
 * fits is taken from there, and logged. NULL or "": none. A cache that cannot be used costs a
 * warning, no more. */
mr_status mr_model_pack(mr_model *m, uint32_t n_layer, mr_pool *pool, const char *cache,
                        mr_err *err);
void mr_model_close(mr_model *m);

#endif
