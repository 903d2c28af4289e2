/* rows.h - what is done row by row: embeddings, norms, gates, rounding for the next product, and
 * sums of parts.
 *
 * A block has one row. Rounding goes with what makes the row, a warp to 32 columns. Sums have the
 * order of the columns of a row alone: column i belongs to thread i % MR_ROW, threads are added up
 * in pairs. */
#ifndef MR_ENGINE_CUDA_ROWS_H
#define MR_ENGINE_CUDA_ROWS_H

#include "engine/cuda/e4m3.h"
#include "engine/cuda/product.h"

#define MR_ROW       256 /* threads */
#define MR_HALF_MOST 65504.0f

/* ---- embeddings and angles ---- */

typedef struct mr_embed {
    float *x;              /* [n, w.cols]; NULL: angles only */
    float *cos, *sin;      /* [n, half] */
    const int32_t *token;  /* [n]; ~s: the one drawn last for sequence s */
    const int32_t *latest; /* [sequences]: those */
    const uint32_t *pos;   /* [n] */
    const double *speed;   /* [half], rope.h */
    double factor;
    mr_dev_mat w; /* a row per token */
    float scale;
    uint32_t half, n;
} mr_embed;

MR_BODY void mr_embed_row(const mr_embed *a, mr_coord block) {
    const uint32_t row = block.x, cols = a->w.cols;
    const int32_t given = a->token[row], token = given < 0 ? a->latest[~given] : given;

    MR_THREADS (t, MR_ROW) {
        for (uint32_t i = t; a->x && i < cols; i += MR_ROW)
            a->x[(size_t)row * cols + i] = mr_mat_value(&a->w, (uint32_t)token, i) * a->scale;
        for (uint32_t i = t; i < a->half; i += MR_ROW) {
            a->cos[(size_t)row * a->half + i] = (float)(cos(a->pos[row] * a->speed[i]) * a->factor);
            a->sin[(size_t)row * a->half + i] = (float)(sin(a->pos[row] * a->speed[i]) * a->factor);
        }
    }
}

/* ---- rows that feed a product ---- */

typedef enum mr_feed_kind {
    MR_FEED_NORM, /* x / sqrt(mean(x^2) + eps) * w */
    MR_FEED_GATE, /* silu(x) * w, w as many rows as x */
    MR_FEED_SAME  /* x: only to be rounded */
} mr_feed_kind;

typedef struct mr_feed {
    mr_feed_kind kind;
    const float *x, *w;    /* [n, cols]; [cols] or [n, cols] */
    float *y;              /* [n, cols], may be x; NULL: nobody wants it */
    mr_dev_xblock *blocks; /* [n / 8, cols / 32]; NULL: nobody wants it */
    bool e4m3;             /* blocks: for FP8 weights; else as ops.h says */
    uint16_t *halves;      /* [n, cols] of half_type, F16 or BF16; NULL: nobody wants it */
    mr_type half_type;
    uint8_t *codes;     /* [n, cols] of e4m3, for FP8 weights in rows; NULL: nobody wants it */
    float *code_scales; /* [n]: theirs */
    float eps;
    uint32_t cols, n;
} mr_feed;

typedef struct mr_feed_own {
    float sum, v, most, inv;
    int32_t total;
} mr_feed_own;

typedef struct mr_feed_shared {
    float sum[MR_ROW / MR_WARP], most[MR_ROW / MR_WARP];
} mr_feed_shared;

/* Rounds as ops.h says; lane l of a warp has column l of the block. */
MR_BODY void mr_round(mr_feed_own *th, const mr_feed *a, uint32_t row, uint32_t col0) {
    MR_THREADS (t, MR_ROW) th[MR_OWN(t)].most = fabsf(th[MR_OWN(t)].v);
    MR_WARP_MAX(th, MR_ROW, most);
    MR_THREADS (t, MR_ROW) {
        mr_feed_own *o = &th[MR_OWN(t)];
        const float scale = o->most < MR_ROUND_MIN ? 0 : o->most / 127, inv = 127 / o->most;
        const bool zero = scale == 0 || !(scale < INFINITY);
        o->total = zero ? 0 : (int32_t)rintf(o->v * inv);
        o->most = scale;
        o->v = (float)o->total;
    }
    MR_WARP_SUM(th, MR_ROW, total);
    MR_THREADS (t, MR_ROW) {
        const mr_feed_own *o = &th[MR_OWN(t)];
        const uint32_t col = col0 + t, lane = t % MR_WARP;
        if (col >= a->cols) continue;
        mr_dev_xblock *b = a->blocks + (size_t)(row / MR_TOKENS) * (a->cols / 32) + col / 32;
        b->q[row % MR_TOKENS][MR_PLACE(lane)] = (int8_t)o->v;
        if (lane > 0) continue;
        b->scale[row % MR_TOKENS] = o->most;
        b->sum[row % MR_TOKENS] = o->most * (float)o->total;
    }
}

/* To e4m3, for FP8 weights: four warps share a scale, which all their blocks have. */
MR_BODY void mr_round_e4m3(mr_feed_own *th, const mr_feed *a, mr_feed_shared *sh, uint32_t row,
                           uint32_t col0) {
    const uint32_t warps = MR_E4M3_BLOCK / MR_WARP;

    MR_THREADS (t, MR_ROW) th[MR_OWN(t)].most = fabsf(th[MR_OWN(t)].v);
    MR_WARP_MAX(th, MR_ROW, most);
    MR_THREADS (t, MR_ROW)
        if (t % MR_WARP == 0) sh->most[t / MR_WARP] = th[MR_OWN(t)].most;
    MR_BARRIER();
    MR_THREADS (t, MR_ROW) {
        const uint32_t col = col0 + t, lane = t % MR_WARP, first = t / MR_E4M3_BLOCK * warps;
        float most = 0;
        for (uint32_t i = first; i < first + warps; i++) most = mr_larger(sh->most[i], most);
        if (col >= a->cols) continue;
        const mr_e4m3_scale s = mr_e4m3_scale_of(most);
        mr_dev_xblock *b = a->blocks + (size_t)(row / MR_TOKENS) * (a->cols / 32) + col / 32;
        b->q[row % MR_TOKENS][MR_PLACE(lane)] =
            (int8_t)(s.inv > 0 ? mr_to_e4m3(th[MR_OWN(t)].v * s.inv) : 0);
        if (lane == 0) b->scale[row % MR_TOKENS] = s.scale;
    }
    MR_BARRIER();
}

/* 1 / sqrt(mean of squares + eps), of all threads. */
MR_BODY void mr_norm_factor(mr_feed_own *th, const mr_feed *a, mr_feed_shared *sh, uint32_t row) {
    MR_THREADS (t, MR_ROW) {
        const float *x = a->x + (size_t)row * a->cols;
        float sum = 0;
        for (uint32_t i = t; i < a->cols; i += MR_ROW) sum = fmaf(x[i], x[i], sum);
        th[MR_OWN(t)].sum = sum;
    }
    MR_WARP_SUM(th, MR_ROW, sum);
    MR_THREADS (t, MR_ROW)
        if (t % MR_WARP == 0) sh->sum[t / MR_WARP] = th[MR_OWN(t)].sum;
    MR_BARRIER();
    MR_THREADS (t, MR_ROW) {
        float sum = 0;
        for (uint32_t i = 0; i < MR_ROW / MR_WARP; i++) sum += sh->sum[i];
        th[MR_OWN(t)].sum = 1 / sqrtf(sum / (float)a->cols + a->eps);
    }
}

MR_BODY float mr_feed_value(const mr_feed *a, const mr_feed_own *o, uint32_t row, uint32_t col) {
    const size_t at = (size_t)row * a->cols + col;
    const float x = a->x[at];

    if (a->kind == MR_FEED_NORM) return x * o->sum * a->w[col];
    if (a->kind == MR_FEED_GATE) return x / (1 + expf(-x)) * a->w[at];
    return x;
}

/* To nearest. Inputs of a model may be larger than F16 can hold: those are cut to its largest. */
MR_BODY uint16_t mr_half_from(float v, mr_type type) {
    if (type == MR_TYPE_BF16) return (uint16_t)(mr_pack_bf16(v, 0) & 0xffff);
    return mr_to_half(v > MR_HALF_MOST ? MR_HALF_MOST : v < -MR_HALF_MOST ? -MR_HALF_MOST : v);
}

/* What the row's codes are multiples of; inv for all threads. The row is computed twice: it may be
 * longer than shared memory, and y may be x until this has been found. */
MR_BODY void mr_code_scale(mr_feed_own *th, const mr_feed *a, mr_feed_shared *sh, uint32_t row) {
    MR_THREADS (t, MR_ROW) {
        mr_feed_own *o = &th[MR_OWN(t)];
        o->most = 0;
        for (uint32_t i = t; i < a->cols; i += MR_ROW)
            o->most = mr_larger(fabsf(mr_feed_value(a, o, row, i)), o->most);
    }
    MR_WARP_MAX(th, MR_ROW, most);
    MR_THREADS (t, MR_ROW)
        if (t % MR_WARP == 0) sh->most[t / MR_WARP] = th[MR_OWN(t)].most;
    MR_BARRIER();
    MR_THREADS (t, MR_ROW) {
        float most = 0;
        for (uint32_t i = 0; i < MR_ROW / MR_WARP; i++) most = mr_larger(sh->most[i], most);
        const mr_e4m3_scale s = mr_e4m3_scale_of(most);
        th[MR_OWN(t)].inv = s.inv;
        if (t == 0) a->code_scales[row] = s.scale;
    }
    MR_BARRIER();
}

MR_BODY void mr_feed_row(const mr_feed *a, mr_feed_shared *sh, mr_coord block) {
    const uint32_t row = block.x;
    mr_feed_own th[MR_PRIVATE(MR_ROW)];

    if (a->kind == MR_FEED_NORM) mr_norm_factor(th, a, sh, row);
    if (a->codes) mr_code_scale(th, a, sh, row);
    for (uint32_t col0 = 0; col0 < a->cols; col0 += MR_ROW) {
        MR_THREADS (t, MR_ROW) {
            mr_feed_own *o = &th[MR_OWN(t)];
            const uint32_t col = col0 + t;
            o->v = col < a->cols ? mr_feed_value(a, o, row, col) : 0;
            if (a->y && col < a->cols) a->y[(size_t)row * a->cols + col] = o->v;
            if (a->halves && col < a->cols)
                a->halves[(size_t)row * a->cols + col] = mr_half_from(o->v, a->half_type);
            if (a->codes && col < a->cols)
                a->codes[(size_t)row * a->cols + col] = o->inv > 0 ? mr_to_e4m3(o->v * o->inv) : 0;
        }
        if (a->blocks && a->e4m3)
            mr_round_e4m3(th, a, sh, row, col0);
        else if (a->blocks)
            mr_round(th, a, row, col0);
    }
}

/* ---- rows that stay ---- */

typedef struct mr_gather {
    float *y; /* [n, cols]: row i is row from[i] of x */
    const float *x;
    const uint32_t *from;
    uint32_t cols, n;
} mr_gather;

MR_BODY void mr_gather_row(const mr_gather *a, mr_coord block) {
    MR_THREADS (t, MR_ROW)
        for (uint32_t i = t; i < a->cols; i += MR_ROW)
            a->y[(size_t)block.x * a->cols + i] = a->x[(size_t)a->from[block.x] * a->cols + i];
}

/* ---- sums that several devices have made a part of ---- */

typedef struct mr_total {
    float *x;           /* [n, cols]: part 0 is added, then part 1 .. */
    const float *parts; /* [n_parts, n, cols] */
    uint32_t n_parts, cols, n;
} mr_total;

MR_BODY void mr_total_row(const mr_total *a, mr_coord block) {
    MR_THREADS (t, MR_ROW)
        for (uint32_t i = t; i < a->cols; i += MR_ROW) {
            const size_t at = (size_t)block.x * a->cols + i;
            float v = a->x[at];
            for (uint32_t k = 0; k < a->n_parts; k++)
                v += a->parts[(size_t)k * a->n * a->cols + at];
            a->x[at] = v;
        }
}

#endif
