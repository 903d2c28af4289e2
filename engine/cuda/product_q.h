/* product_q.h - products with quantized weights: whole numbers in tensor cores, then f32 in order.
 *
 * The sum over a group of columns is exact, and the f32 sums after it follow the definition in
 * ops.h to the bit: a GPU writes what every CPU writes.
 *
 * Whole numbers become f32 without a conversion: an mma begins at MAGIC, the bits of 1.5 * 2^23, so
 * that its sum s (|s| < 2^20) are the bits of 1.5 * 2^23 + s. */
#ifndef MR_ENGINE_CUDA_PRODUCT_Q_H
#define MR_ENGINE_CUDA_PRODUCT_Q_H

#include "engine/cuda/product.h"

#define MAGIC       0x4b400000
#define MAGIC_FLOAT 12582912.0f

MR_BODY float mr_sum_of(int32_t c) {
    return mr_float_of((uint32_t)c) - MAGIC_FLOAT;
}

/* y behind one group more; x_scale, x_sum: of the inputs. */
MR_BODY float mr_chain(float y, const mr_scales *s, mr_type type, const float *sums, float x_scale,
                       float x_sum) {
    y = fmaf(s->half[0] * x_scale, sums[0], y);
    if (type == MR_TYPE_Q6_K) y = fmaf(s->half[1] * x_scale, sums[1], y);
    return mr_has_min(type) ? fmaf(-s->min, x_sum, y) : y;
}

/* ---- few ---- */

#define MR_FEW_SLOTS 32 /* sums that wait, for each (row, token) */

typedef struct mr_few_q_shared {
    mr_waiting sum[MR_FEW_SLOTS];
    mr_scales scales[MR_FEW_SLOTS][MR_TILE];
} mr_few_q_shared;

#define MR_FEW_GROUPS (MR_FEW_SLOTS / MR_FEW_WARPS) /* of a warp in one turn, or half as many */

typedef struct mr_few_q_own {
    uint32_t raw[MR_FEW_GROUPS][MR_RAW_WORDS], b[MR_FEW_GROUPS][2];
    uint32_t a[MR_FEW_GROUPS][4];
    int32_t c[MR_FEW_GROUPS][2][4];
    float y;
} mr_few_q_own;

/* Groups from `first` on, of one lane; past the end the last one, whose sums nobody takes. */
MR_BODY void mr_few_q_load(mr_few_q_own *o, const mr_product *p, mr_type type, mr_coord block,
                           uint32_t first, uint32_t n, uint32_t lane) {
    const uint32_t n_groups = p->w.cols / 32;
    const mr_dev_xblock *x = p->blocks + (size_t)block.y * n_groups;

    MR_UNROLL
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t group = mr_least(first + i, n_groups - 1);
        mr_raw_load(o->raw[i], mr_tile_at(&p->w, block.x), type, group, lane);
        const mr_words2 b = mr_load2(&x[group].q[lane / 4][lane % 4 * 8]);
        o->b[i][0] = b.w[0];
        o->b[i][1] = b.w[1];
    }
}

/* A lane's sums go to where they wait: rows lane / 4 and 8 more, tokens 2 (lane % 4) and the next.
 */
MR_BODY void mr_few_q_put(mr_few_q_shared *sh, const mr_few_q_own *o, uint32_t n, uint32_t halves,
                          uint32_t t) {
    const uint32_t slot0 = t / MR_WARP * n * halves, row = t % MR_WARP / 4, tok = t % 4 * 2;

    MR_UNROLL
    for (uint32_t i = 0; i < n; i++) {
        MR_UNROLL
        for (uint32_t h = 0; h < halves; h++) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++)
                sh->sum[slot0 + i * halves + h][tok + k % 2][row + k / 2 * 8] =
                    mr_sum_of(o->c[i][h][k]);
        }
    }
}

MR_BODY float mr_few_q_chain(const mr_few_q_shared *sh, const mr_product *p, mr_type type,
                             mr_coord block, uint32_t first, uint32_t n, uint32_t t, float y) {
    const uint32_t row = mr_chain_row(t), tok = mr_chain_token(t), halves = mr_halves(type);
    const mr_dev_xblock *x = p->blocks + (size_t)block.y * (p->w.cols / 32) + first;

    for (uint32_t i = 0; i < n; i++) {
        float sums[2] = {0, 0};
        MR_UNROLL
        for (uint32_t h = 0; h < halves; h++) sums[h] = sh->sum[i * halves + h][tok][row];
        y = mr_chain(y, &sh->scales[i][row], type, sums, x[i].scale[tok], x[i].sum[tok]);
    }
    return y;
}

/* Block: 16 rows, tokens 8 block.y ... A turn is as many groups as there are places to wait. */
MR_BODY void mr_few_q(const mr_product *p, mr_type type, mr_few_q_shared *sh, mr_coord block) {
    const uint32_t halves = mr_halves(type), n = MR_FEW_GROUPS / halves, turn = n * MR_FEW_WARPS;
    const uint32_t n_groups = p->w.cols / 32;
    mr_few_q_own th[MR_PRIVATE(MR_FEW)];

    MR_THREADS (t, MR_FEW) {
        th[MR_OWN(t)].y = 0;
        mr_few_q_load(&th[MR_OWN(t)], p, type, block, t / MR_WARP * n, n, t % MR_WARP);
    }
    for (uint32_t first = 0; first < n_groups; first += turn) {
        const uint32_t n_here = mr_least(turn, n_groups - first);

        MR_THREADS (t, MR_FEW) {
            mr_few_q_own *o = &th[MR_OWN(t)];
            MR_UNROLL
            for (uint32_t i = 0; i < n; i++) {
                mr_raw_open(o->a[i], o->raw[i], type, t % MR_WARP);
                MR_UNROLL
                for (uint32_t k = 0; k < 8; k++) o->c[i][k / 4][k % 4] = MAGIC;
            }
        }
        MR_UNROLL
        for (uint32_t i = 0; i < n; i++) {
            if (halves == 1) {
                MR_MMA(mr_mma_s8_k32, th, MR_FEW, c[i][0], a[i], b[i]);
            } else {
                MR_MMA(mr_mma_s8_k16, th, MR_FEW, c[i][0], a[i], b[i]);
                MR_MMA(mr_mma_s8_k16, th, MR_FEW, c[i][1], a[i] + 2, b[i] + 1);
            }
        }
        MR_THREADS (t, MR_FEW) {
            mr_few_q_put(sh, &th[MR_OWN(t)], n, halves, t);
            for (uint32_t i = t; i < n_here * MR_TILE; i += MR_FEW)
                sh->scales[i / MR_TILE][i % MR_TILE] =
                    mr_scales_load(mr_tile_at(&p->w, block.x) + p->w.scales_at, type,
                                   first + i / MR_TILE, i % MR_TILE);
            /* On their way while the sums are added up. */
            mr_few_q_load(&th[MR_OWN(t)], p, type, block, first + turn + t / MR_WARP * n, n,
                          t % MR_WARP);
        }
        MR_BARRIER();
        MR_THREADS (t, MR_FEW) {
            float *y = &th[MR_OWN(t)].y;
            if (t < MR_TILE * MR_TOKENS && mr_chain_token(t) + block.y * MR_TOKENS < p->n_tok)
                *y = mr_few_q_chain(sh, p, type, block, first, n_here, t, *y);
        }
        MR_BARRIER();
    }
    MR_THREADS (t, MR_FEW) {
        if (t < MR_TILE * MR_TOKENS)
            mr_product_store(p, block.x * MR_TILE + mr_chain_row(t),
                             block.y * MR_TOKENS + mr_chain_token(t), th[MR_OWN(t)].y);
    }
}

/* ---- many ---- */

#define MR_STAGE_GROUPS 4
#define MR_MANY_EIGHTS  8 /* most 8 tokens of a block */

typedef struct mr_many_q_shared { /* two stages: one is used while the other is loaded */
    MR_ALIGNED(16) mr_dev_xblock x[2][MR_STAGE_GROUPS][MR_MANY_EIGHTS];
} mr_many_q_shared;

typedef struct mr_many_q_own {
    uint32_t raw[MR_MOST_ROW_TILES][MR_RAW_WORDS], a[MR_MOST_ROW_TILES][4], b[2];
    mr_scales scales[MR_MOST_ROW_TILES][2];
    int32_t c[2][4];
    float y[MR_MOST_ROW_TILES][MR_MOST_N_TILES][4];
} mr_many_q_own;

/* Stage `stage` of the block's tokens begins its way into shared memory. Past the end nothing does,
 * but a group is counted. */
MR_BODY void mr_many_q_fetch(mr_many_q_shared *sh, const mr_product *p, const mr_shape *s,
                             mr_coord block, uint32_t stage, uint32_t t) {
    const uint32_t n_groups = p->w.cols / 32, n_eights = mr_shape_tokens(s) / MR_TOKENS;
    const uint32_t parts = sizeof(mr_dev_xblock) / 16, first = stage * MR_STAGE_GROUPS;
    const uint32_t n = first < n_groups ? n_eights * MR_STAGE_GROUPS * parts : 0;

    for (uint32_t i = t; i < n; i += MR_MANY) {
        const uint32_t part = i % parts, group = i / parts % MR_STAGE_GROUPS;
        const uint32_t eight = i / parts / MR_STAGE_GROUPS;
        const uint32_t from = mr_least(first + group, n_groups - 1);
        const mr_dev_xblock *x = p->blocks + (size_t)(block.y * n_eights + eight) * n_groups + from;
        mr_copy16((char *)&sh->x[stage % 2][group][eight] + 16 * part, (const char *)x + 16 * part,
                  true);
    }
    mr_copies_commit();
}

MR_BODY void mr_many_q_load(mr_many_q_own *o, const mr_product *p, const mr_shape *s, mr_type type,
                            mr_coord block, uint32_t group, uint32_t t) {
    const uint32_t tile = mr_shape_tile(s, block.x, t);

    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++)
        mr_raw_load(o->raw[m], mr_tile_at(&p->w, tile + m), type, group, t % MR_WARP);
}

MR_BODY void mr_many_q_open(mr_many_q_own *o, const mr_product *p, const mr_shape *s, mr_type type,
                            mr_coord block, uint32_t group, uint32_t t) {
    const uint32_t tile = mr_shape_tile(s, block.x, t), row = t % MR_WARP / 4;

    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        const uint8_t *scales = mr_tile_at(&p->w, tile + m) + p->w.scales_at;
        mr_raw_open(o->a[m], o->raw[m], type, t % MR_WARP);
        o->scales[m][0] = mr_scales_load(scales, type, group, row);
        o->scales[m][1] = mr_scales_load(scales, type, group, row + 8);
    }
}

/* The sums of one mma join the four (row, token)s of the lane. */
MR_BODY void mr_many_q_add(mr_many_q_own *o, const mr_dev_xblock *x, mr_type type, uint32_t m,
                           uint32_t n, uint32_t t) {
    MR_UNROLL
    for (uint32_t k = 0; k < 4; k++) {
        const uint32_t tok = t % 4 * 2 + k % 2;
        const float sums[2] = {mr_sum_of(o->c[0][k]), mr_sum_of(o->c[1][k])};
        o->y[m][n][k] =
            mr_chain(o->y[m][n][k], &o->scales[m][k / 2], type, sums, x->scale[tok], x->sum[tok]);
    }
}

/* One group of columns, all tiles of every warp. */
MR_BODY void mr_many_q_group(mr_many_q_own *th, const mr_many_q_shared *sh, const mr_shape *s,
                             mr_type type, uint32_t stage, uint32_t group) {
    MR_UNROLL
    for (uint32_t n = 0; n < s->n_tiles; n++) {
        MR_THREADS (t, MR_MANY) {
            mr_many_q_own *o = &th[MR_OWN(t)];
            const mr_dev_xblock *x = &sh->x[stage % 2][group][mr_shape_eight(s, t) + n];
            const mr_words2 b = mr_read2(&x->q[t % MR_WARP / 4][t % 4 * 8]);
            o->b[0] = b.w[0];
            o->b[1] = b.w[1];
        }
        MR_UNROLL
        for (uint32_t m = 0; m < s->row_tiles; m++) {
            MR_THREADS (t, MR_MANY) {
                MR_UNROLL
                for (uint32_t k = 0; k < 8; k++) th[MR_OWN(t)].c[k / 4][k % 4] = MAGIC;
            }
            if (type == MR_TYPE_Q6_K) {
                MR_MMA(mr_mma_s8_k16, th, MR_MANY, c[0], a[m], b);
                MR_MMA(mr_mma_s8_k16, th, MR_MANY, c[1], a[m] + 2, b + 1);
            } else {
                MR_MMA(mr_mma_s8_k32, th, MR_MANY, c[0], a[m], b);
            }
            MR_THREADS (t, MR_MANY)
                mr_many_q_add(&th[MR_OWN(t)], &sh->x[stage % 2][group][mr_shape_eight(s, t) + n],
                              type, m, n, t);
        }
    }
}

MR_BODY void mr_many_q_store(const mr_many_q_own *o, const mr_product *p, const mr_shape *s,
                             mr_coord block, uint32_t t) {
    const uint32_t row0 = mr_shape_tile(s, block.x, t) * MR_TILE + t % MR_WARP / 4;
    const uint32_t tok0 =
        block.y * mr_shape_tokens(s) + mr_shape_eight(s, t) * MR_TOKENS + t % 4 * 2;

    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        MR_UNROLL
        for (uint32_t n = 0; n < s->n_tiles; n++) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++)
                mr_product_store(p, row0 + m * MR_TILE + k / 2 * 8, tok0 + n * MR_TOKENS + k % 2,
                                 o->y[m][n][k]);
        }
    }
}

MR_BODY void mr_many_q(const mr_product *p, mr_type type, const mr_shape *s, mr_many_q_shared *sh,
                       mr_coord block) {
    const uint32_t n_groups = p->w.cols / 32;
    const uint32_t n_stages = (n_groups + MR_STAGE_GROUPS - 1) / MR_STAGE_GROUPS;
    mr_many_q_own th[MR_PRIVATE(MR_MANY)];

    MR_THREADS (t, MR_MANY) {
        memset(th[MR_OWN(t)].y, 0, sizeof th[0].y);
        mr_many_q_fetch(sh, p, s, block, 0, t);
        mr_many_q_load(&th[MR_OWN(t)], p, s, type, block, 0, t);
    }
    for (uint32_t stage = 0; stage < n_stages; stage++) {
        MR_THREADS (t, MR_MANY) {
            mr_many_q_fetch(sh, p, s, block, stage + 1, t);
            mr_copies_wait(1);
        }
        MR_BARRIER();
        for (uint32_t i = 0; i < MR_STAGE_GROUPS; i++) {
            const uint32_t group = stage * MR_STAGE_GROUPS + i;

            if (group >= n_groups) break;
            MR_THREADS (t, MR_MANY) {
                mr_many_q_own *o = &th[MR_OWN(t)];
                mr_many_q_open(o, p, s, type, block, group, t);
                mr_many_q_load(o, p, s, type, block, mr_least(group + 1, n_groups - 1), t);
            }
            mr_many_q_group(th, sh, s, type, stage, i);
        }
        MR_BARRIER();
    }
    MR_THREADS (t, MR_MANY) mr_many_q_store(&th[MR_OWN(t)], p, s, block, t);
}

#endif
