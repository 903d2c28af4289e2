/* ops_ref.c - the definition of every op: plain C, sums in f64, nothing clever.
 *
 * It is what the variants in cpu/ are measured against, and what runs where they do not exist. */
#include <math.h>

#include "engine/cpu/tables.h"
#include "engine/quant.h"

static void ref_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                       const float *x, size_t ldx, size_t n_tok, void *scratch) {
    float *row = scratch;
    for (uint32_t r = r0; r < r1; r++) {
        mr_dequantize_row(row, (const uint8_t *)w->data + r * w->row_bytes, w->type, w->cols);
        for (size_t t = 0; t < n_tok; t++) {
            double sum = 0;
            for (uint32_t c = 0; c < w->cols; c++) sum += (double)row[c] * x[t * ldx + c];
            y[t * ldy + r] = (float)sum;
        }
    }
}

static void ref_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const double inv = 1 / sqrt(sum / (double)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)(x[i] * inv * w[i]);
}

static void ref_rope(float *x, const float *cos, const float *sin, size_t n_rot, int neox) {
    const size_t half = n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        float *a = neox ? x + i : x + 2 * i, *b = neox ? x + half + i : x + 2 * i + 1;
        const double va = *a, vb = *b;
        *a = (float)(va * cos[i] - vb * sin[i]);
        *b = (float)(va * sin[i] + vb * cos[i]);
    }
}

/* First value of position i of a key/value head, in a->k as in a->v. */
static size_t kv_offset(const mr_attn_args *a, uint32_t kv_head, uint32_t i) {
    const size_t block = (size_t)a->table[i / a->block_len];
    return ((block * a->n_kv_head + kv_head) * a->block_len + i % a->block_len) * a->d_head;
}

static double score(const mr_attn_args *a, uint32_t h, uint32_t kv_head, uint32_t i) {
    const mr_f16 *k = a->k + kv_offset(a, kv_head, i);
    const float *q = a->q + (size_t)h * a->d_head;
    double sum = 0;
    for (uint32_t d = 0; d < a->d_head; d++) sum += (double)q[d] * mr_f16_to_f32(k[d]);
    return sum * a->scale;
}

/* Scores are made twice rather than stored: scratch then needs no more than len floats. */
static void attn_head(const mr_attn_args *a, uint32_t h) {
    const uint32_t kv_head = h / (a->n_head / a->n_kv_head);
    double max = -INFINITY, total = 0;

    for (uint32_t i = 0; i < a->len; i++) max = fmax(max, score(a, h, kv_head, i));
    for (uint32_t i = 0; i < a->len; i++) {
        const double p = exp(score(a, h, kv_head, i) - max);
        a->scratch[i] = (float)p;
        total += p;
    }
    for (uint32_t d = 0; d < a->d_head; d++) {
        double sum = 0;
        for (uint32_t i = 0; i < a->len; i++)
            sum += (double)a->scratch[i] * mr_f16_to_f32(a->v[kv_offset(a, kv_head, i) + d]);
        a->out[(size_t)h * a->d_head + d] = (float)(sum / total);
    }
}

static void ref_attn(const mr_attn_args *a) {
    for (uint32_t h = a->h0; h < a->h1; h++) attn_head(a, h);
}

static void ref_silu_mul(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

static void ref_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void ref_to_f16(mr_f16 *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = mr_f32_to_f16(x[i]);
}

const mr_ops mr_ops_ref = {
    .name = "ref",
    .matmul = ref_matmul,
    .dequant = mr_dequantize_row,
    .rmsnorm = ref_rmsnorm,
    .rope = ref_rope,
    .attn = ref_attn,
    .silu_mul = ref_silu_mul,
    .add = ref_add,
    .to_f16 = ref_to_f16,
};
