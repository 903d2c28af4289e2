/* ops_ref.c - the definition of every op: plain C, sums in f64, nothing clever. Only for products
 * of quantized weights the definition goes down to the last bit: whole numbers, then f32 in order.
 *
 * It is what the variants in cpu/ are measured against, and what runs where they do not exist. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/cpu/tables.h"
#include "engine/quant.h"

static void round_block(mr_xblock *out, const float *x, size_t t) {
    float most = 0;
    int32_t half[2] = {0};

    for (int i = 0; i < 32; i++)
        if (isnan(x[i]) || fabsf(x[i]) > most) most = fabsf(x[i]); /* NaN stays */
    const float scale = most < MR_ROUND_MIN ? 0 : most / 127, inv = 127 / most;
    for (int i = 0; i < 32; i++) {
        const bool zero = scale == 0 || !isfinite(scale);
        out->q[t][i] = (int8_t)(zero ? 0 : rintf(x[i] * inv));
        half[i / 16] += out->q[t][i];
    }
    out->scale[t] = scale;
    out->sum[t] = scale * (float)(half[0] + half[1]);
    out->bias[0][t] = -128 * (half[0] + half[1]);
    for (int i = 0; i < 2; i++) out->bias[1 + i][t] = -128 * half[i];
}

static void ref_round(mr_xblock *out, const float *x, size_t ldx, size_t n_tok, size_t n_blocks) {
    for (size_t t = 0; t < n_tok; t++)
        for (size_t b = 0; b < n_blocks; b++) round_block(&out[b], x + t * ldx + 32 * b, t);
}

/* y after one group of 32 products: the one order of sums that every variant keeps to. */
static float add_group(float y, const mr_group *g, const mr_xblock *x, size_t t, mr_type type) {
    const int per_scale = type == MR_TYPE_Q6_K ? 16 : 32;
    const bool has_min = type == MR_TYPE_Q4_K || type == MR_TYPE_Q5_K;

    for (int i = 0; i < 32; i += per_scale) {
        int32_t sum = 0;
        for (int k = i; k < i + per_scale; k++) sum += g->q[k] * x->q[t][k];
        y = fmaf(g->scale[i / 16] * x->scale[t], (float)sum, y);
    }
    return has_min ? fmaf(-g->min, x->sum[t], y) : y;
}

static float dot_groups(const mr_mat *w, const uint8_t *row, const mr_input *in, size_t t) {
    const mr_xblock *x = in->blocks + t / MR_TILE * in->n_blocks;
    float y = 0;

    for (size_t i = 0; i < w->cols / 32; i++) {
        mr_group g;
        mr_group_open(&g, row, w->type, i);
        y = add_group(y, &g, &x[i], t % MR_TILE, w->type);
    }
    return y;
}

static float dot_floats(const mr_mat *w, const uint8_t *row, const float *x) {
    double sum = 0;

    for (size_t c = 0; c < w->cols; c += MR_SUM_COLS) {
        const size_t n = w->cols - c < MR_SUM_COLS ? w->cols - c : MR_SUM_COLS;
        float v[MR_SUM_COLS];
        mr_dequantize_row(v, row + c * mr_type_block_bytes(w->type), w->type, n);
        for (size_t i = 0; i < n; i++) sum += (double)v[i] * x[c + i];
    }
    return (float)sum;
}

static void ref_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                       const mr_input *in, size_t n_tok, void *scratch) {
    const bool floats = mr_type_block(w->type) == 1;

    (void)scratch;
    for (uint32_t r = r0; r < r1; r++) {
        const uint8_t *row = (const uint8_t *)w->data + r * w->row_bytes;
        for (size_t t = 0; t < n_tok; t++)
            y[t * ldy + r] =
                floats ? dot_floats(w, row, in->x + t * in->ldx) : dot_groups(w, row, in, t);
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

/* Number at of the half of a block that has position in: value d of that position. */
static double cached(const mr_attn_args *a, const uint8_t *half, size_t at, uint32_t d, size_t in) {
    const mr_f16 *scales = (const mr_f16 *)(half + mr_kv_scales_at(a->d_head));

    if (a->kv_type == MR_KV_F16) return mr_f16_to_f32(((const mr_f16 *)half)[at]);
    return (double)((const int8_t *)half)[at] *
           mr_f16_to_f32(scales[d / MR_KV_GROUP * MR_KV_BLOCK_LEN + in]);
}

static const uint8_t *block_of(const mr_attn_args *a, uint32_t i) {
    return a->kv + (size_t)a->table[i / MR_KV_BLOCK_LEN] * a->block_bytes;
}

static double key(const mr_attn_args *a, uint32_t i, uint32_t d) {
    const size_t in = i % MR_KV_BLOCK_LEN;
    return cached(a, block_of(a, i), mr_kv_key_at(a->d_head, in, d), d, in);
}

static double value(const mr_attn_args *a, uint32_t i, uint32_t d) {
    const size_t in = i % MR_KV_BLOCK_LEN;
    return cached(a, block_of(a, i) + mr_kv_half(a->kv_type, a->d_head), in * a->d_head + d, d, in);
}

static double score(const mr_attn_args *a, const float *q, uint32_t i) {
    double sum = 0;
    for (uint32_t d = 0; d < a->d_head; d++) sum += (double)q[d] * key(a, i, d);
    return sum * a->scale;
}

/* Positions i0 .. i1 of one span. */
static void attn_span(const mr_attn_args *a, const float *q, uint32_t i0, uint32_t i1,
                      float *record) {
    double p[MR_ATTN_SPAN], max = -INFINITY, total = 0;

    for (uint32_t i = i0; i < i1; i++) {
        p[i - i0] = score(a, q, i);
        max = fmax(max, p[i - i0]);
    }
    for (uint32_t i = i0; i < i1; i++) total += p[i - i0] = exp(p[i - i0] - max);
    for (uint32_t d = 0; d < a->d_head; d++) {
        double sum = 0;
        for (uint32_t i = i0; i < i1; i++) sum += p[i - i0] * value(a, i, d);
        record[d] = (float)sum;
    }
    record[a->d_head] = (float)max;
    record[a->d_head + 1] = (float)total;
}

/* What came before and one record more become one. */
static void fold(float *acc, float *acc_max, float *acc_total, const float *record, size_t d_head) {
    const double max = fmax(*acc_max, record[d_head]);
    const double keep = exp(*acc_max - max), take = exp(record[d_head] - max);

    for (size_t d = 0; d < d_head; d++) acc[d] = (float)(acc[d] * keep + record[d] * take);
    *acc_total = (float)(*acc_total * keep + record[d_head + 1] * take);
    *acc_max = (float)max;
}

static void attn_query(const mr_attn_args *a, const float *q, uint32_t len, float *record) {
    const size_t d = a->d_head;

    for (uint32_t span = a->span0; span < a->span1; span++) {
        const uint32_t i0 = span * MR_ATTN_SPAN;
        const uint32_t i1 = i0 + MR_ATTN_SPAN < len ? i0 + MR_ATTN_SPAN : len;

        if (a->step > 0 || span == a->span0) {
            attn_span(a, q, i0, i1, record + (span - a->span0) * a->step);
            continue;
        }
        attn_span(a, q, i0, i1, a->scratch);
        fold(record, record + d, record + d + 1, a->scratch, d);
    }
}

static void ref_attn(const mr_attn_args *a) {
    const uint32_t group = a->n_head / a->n_kv_head;

    for (uint32_t r = 0; r < a->n_rows; r++)
        for (uint32_t g = 0; g < group; g++)
            attn_query(a, a->q + ((size_t)r * a->n_head + a->kv_head * group + g) * a->d_head,
                       a->pos + r + 1, a->part + (r * group + g) * MR_ATTN_RECORD(a->d_head));
}

static void ref_attn_join(float *out, const float *part, size_t n_parts, size_t step,
                          size_t d_head) {
    float max = part[d_head], total = part[d_head + 1];

    memcpy(out, part, d_head * sizeof *out);
    for (size_t i = 1; i < n_parts; i++) fold(out, &max, &total, part + i * step, d_head);
    for (size_t d = 0; d < d_head; d++) out[d] /= total;
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

static float ref_largest(const float *x, size_t n) {
    float most = -INFINITY;

    for (size_t i = 0; i < n; i++) {
        if (!(x[i] <= FLT_MAX)) return NAN;
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

static void ref_exp_sums(float *sums, const float *x, size_t n, float top, float scale) {
    for (size_t i = 0; i < n; i += MR_EXP_RUN) {
        double sum = 0;

        for (size_t j = i; j < n && j < i + MR_EXP_RUN; j++)
            sum += exp(((double)x[j] - top) * scale);
        *sums++ = (float)sum;
    }
}

const mr_ops mr_ops_ref = {
    .name = "ref",
    .round = ref_round,
    .matmul = ref_matmul,
    .rmsnorm = ref_rmsnorm,
    .rope = ref_rope,
    .attn = ref_attn,
    .attn_join = ref_attn_join,
    .silu_mul = ref_silu_mul,
    .add = ref_add,
    .to_f16 = ref_to_f16,
    .largest = ref_largest,
    .exp_sums = ref_exp_sums,
};
