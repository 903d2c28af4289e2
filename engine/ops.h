/* ops.h - the CPU's table of kernels: shapes, error bounds and sources.
 *
 * cpu/backend.c does the steps of the transformer in terms of this table only. ops_ref.c defines
 * each op (f64 sums), for the kernels in cuda/ too. Every op is single-threaded and pure: the
 * backend splits the work over threads by ranges. Determinism: what an op writes for one (row,
 * token) depends on the inputs of that row and token alone, never on n_tok, on the range, or on the
 * thread, bit by bit. */
#ifndef MR_ENGINE_OPS_H
#define MR_ENGINE_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/kv_form.h"
#include "engine/model.h"

typedef uint16_t mr_f16; /* IEEE binary16 bits */

/* max |out - ref| as a fraction of the scale stated at the op; tests/ops uses these. */
#define MR_MATMUL_TOL  2e-6f /* of sum |w| |x| of the row, x as the product takes it */
#define MR_ATTN_TOL    1e-5f /* of max |v| */
#define MR_NORM_TOL    2e-6f /* of max |out| */
#define MR_ROPE_TOL    2e-6f /* of max |x| */
#define MR_SILU_TOL    2e-6f /* of max |out| */
#define MR_EXP_SUM_TOL 1e-6f /* of the sum */

#define MR_TILE           16 /* rows of weights, or tokens, that are handled side by side */
#define MR_X_COLS         32 /* columns of an input that are prepared together */
#define MR_SUM_COLS       256
#define MR_ROUND_MIN      0x1p-60f
#define MR_MATMUL_SCRATCH ((size_t)96 << 10)

typedef struct mr_xblock { /* 32 columns of up to 16 tokens, rounded to 8 bits */
    int8_t q[MR_TILE][32]; /* -127..127 */
    float scale[MR_TILE];
    float sum[MR_TILE];       /* scale * sum of q */
    int32_t bias[3][MR_TILE]; /* -128 * sum of q; the same of columns 0..15 and of 16..31 */
} mr_xblock;

typedef struct mr_xsplit { /* 32 columns of up to 16 tokens, each the sum of three numbers */
    uint16_t part[3][MR_TILE][MR_X_COLS]; /* bf16, the largest first */
} mr_xsplit;

typedef struct mr_xshort { /* 32 columns of up to 16 tokens, rounded to 8 significant bits */
    uint16_t v[MR_TILE][MR_X_COLS]; /* bf16 of 2^56 x; of each four columns 0, 2, 1, 3 */
} mr_xshort;

typedef struct mr_input { /* of a product: what of it the weights' type needs */
    const float *x;       /* [n_tok, ldx] */
    size_t ldx;
    const mr_xblock *blocks; /* token t, columns 32 b ..: blocks[t / MR_TILE * n_blocks + b] */
    const mr_xsplit *split;  /* likewise */
    const mr_xshort *shorts; /* likewise */
    size_t n_blocks;
} mr_input;

#define MR_ATTN_SPAN 256 /* positions that attention sums up at once: whole blocks */

/* A record is one (row, head) summed over some spans: sum of e^(score - max) v, [d_head]; max; sum
 * of e^(score - max). */
#define MR_ATTN_RECORD(d_head) ((size_t)(d_head) + 2)

typedef struct mr_attn_args { /* rows of a sequence that follow each other, heads of one key head */
    float *part;              /* [n_rows, n_head / n_kv_head] records: of all spans together, or */
    size_t step;              /* > 0: of the first span, those of the next one step further */
    const float *q;           /* [n_rows, n_head, d_head], rotated */
    const uint8_t *kv;        /* the key head in block 0 of one layer, kv_form.h */
    size_t block_bytes;       /* from there to the same head in the next block */
    mr_kv_type kv_type;
    const int32_t *table;     /* block numbers in order of position */
    uint32_t pos, n_rows;     /* row i is at pos + i and attends to 0 .. pos + i; all in one span */
    uint32_t span0, span1;    /* ... to those in spans span0 .. span1 - 1, at most the rows' own */
    uint32_t n_head, n_kv_head, d_head, kv_head;
    float scale;
    float *scratch; /* mr_attn_scratch floats, 64-byte aligned, this thread's */
} mr_attn_args;

#define MR_EXP_RUN 1024 /* values */

typedef struct mr_ops {
    const char *name; /* "ref", "avx2", "avxvnni", "avx512", "amx" */

    bool reads_tiles; /* matmul wants w->tiles, not w->data */
    /* Rounds n_tok <= MR_TILE inputs of 32 n_blocks columns to 8 bits: out[n_blocks]. Lanes of
     * other tokens stay as they are. Of a block, scale = max |x| / 127 and q = x * (127 / max |x|)
     * to the nearest whole number, ties to even. A maximum below MR_ROUND_MIN: both 0. An x that is
     * not finite: scale is not either. All variants write the same bits, if all is finite. */
    void (*round)(mr_xblock *out, const float *x, size_t ldx, size_t n_tok, size_t n_blocks);
    /* NULL: x as it is will do. Splits n_tok <= MR_TILE inputs of n_cols columns, exactly but for
     * what is below 2^-126; columns that miss to a multiple of MR_X_COLS become 0. Lanes of other
     * tokens stay as they are. */
    void (*split)(mr_xsplit *out, const float *x, size_t ldx, size_t n_tok, size_t n_cols);
    /* NULL: products with quantized weights want blocks. Rounds n_tok <= MR_TILE inputs of 32
     * n_blocks columns to 8 significant bits, ties to even. Lanes of other tokens stay as they are.
     * What is below 2^-182 becomes 0, what is above 2^71 or not finite is not finite then. */
    void (*shorten)(mr_xshort *out, const float *x, size_t ldx, size_t n_tok, size_t n_blocks);
    /* y[t * ldy + r] = sum over c of W[r][c] * x[t][c], rows r0 <= r < r1, tokens t < n_tok; r0 a
     * multiple of MR_TILE, and r1 too unless it is the last row.
     * Weights of a type with blocks times the rounded x. The sum s of 32 (Q6_K: 16) products of
     * whole numbers is exact; then, in f32 with one rounding each and in the order of the columns,
     * y = fma(weight scale * x scale, s, y), and of Q4_K, Q5_K y = fma(-min, sum of the rounded x,
     * y). All variants, ref too, write the same bits, but for one that has shorten: it takes
     * in.shorts, and has roundings of weights and an order of its own (cpu/amx_short.h).
     * F16 and BF16 times in.split, if the table has that: cpu/amx_floats.h. Others times in.x: f32
     * products and sums after conversion, MR_SUM_COLS columns in a row at a time, one rounding
     * each; the sums of those are added up in order. Ref: f64.
     * scratch: MR_MATMUL_SCRATCH bytes, 64-byte aligned, this thread's. */
    void (*matmul)(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                   const mr_input *in, size_t n_tok, void *scratch);
    /* y = x / sqrt(mean(x^2) + eps) * w; y may be x. */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);
    /* Rotates one head in place: x[n_rot] pairs by cos/sin[n_rot/2]; neox: (i, i + n_rot/2). */
    void (*rope)(float *x, const float *cos, const float *sin, size_t n_rot, int neox);
    /* Scores scale * q k of every (row, head), softmax, weighted values, into records: those over
     * all spans at once have the same bits as those of single spans joined in order. */
    void (*attn)(const mr_attn_args *a);
    /* out[d_head] of one (row, head) from its records part + i * step, spans ascending. */
    void (*attn_join)(float *out, const float *part, size_t n_parts, size_t step, size_t d_head);
    /* y = gate * sigmoid(gate) * up */
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
    void (*add)(float *y, const float *x, size_t n);     /* y += x */
    void (*to_f16)(mr_f16 *y, const float *x, size_t n); /* round to nearest even */
    /* Largest of x[n], n > 0; NaN: one is NaN or +inf. */
    float (*largest)(const float *x, size_t n);
    /* Sums of e^((x[i] - top) * scale), scale > 0, no x above top, over runs of MR_EXP_RUN values:
     * one per run, the last run may be shorter. Weights below e^-87 count as 0. */
    void (*exp_sums)(float *sums, const float *x, size_t n, float top, float scale);
} mr_ops;

size_t mr_attn_scratch(uint32_t n_rows, uint32_t group, uint32_t d_head);

/* isa: NULL or "auto", "ref", "avx2", "avxvnni", "avx512", "amx". NULL: this machine or build lacks
 * it. */
const mr_ops *mr_ops_pick(const char *isa);

/* Quantizers of `model synth` and the tests (plain C, round to nearest): n values -> row bytes. */
mr_status mr_quantize_row(void *row, const float *x, mr_type type, size_t n);

float mr_f16_to_f32(mr_f16 h);
mr_f16 mr_f32_to_f16(float f);

#endif
