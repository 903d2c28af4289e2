/* product_e.h - products with FP8 weights: e4m3 times e4m3 in tensor cores, f32 sums.
 *
 * Inputs are rounded to e4m3 as well (rows.h), with a scale for each token and MR_E4M3_BLOCK
 * columns. The products of a block are added up inside of mmas, in the order of the columns; then,
 * in f32 with one rounding each, y = fma(weight scale * input scale, sum, y), block by block. So,
 * on a given GPU, what a (row, token) gets depends on neither cut nor company.
 *
 * Of weights in rows the vendor's library makes the sums. If it knows no scales of rows and tokens
 * it leaves them raw, and a kernel of ours multiplies them.
 *
 * Compute capability 8.9 on: mma of e4m3. */
#ifndef MR_ENGINE_CUDA_PRODUCT_E_H
#define MR_ENGINE_CUDA_PRODUCT_E_H

#include "engine/cuda/e4m3.h"
#include "engine/cuda/product_q.h"

#define MR_E_GROUPS (MR_E4M3_BLOCK / 32) /* mmas of a block */

MR_BODY uint32_t mr_n_e_blocks(const mr_dev_mat *w) {
    return (w->cols + MR_E4M3_BLOCK - 1) / MR_E4M3_BLOCK;
}

/* A lane's fragments of a block, one word each; zeros past the last column. */
MR_BODY void mr_e_load(uint32_t (*a)[4], const mr_dev_mat *w, const uint8_t *tile, uint32_t block,
                       uint32_t lane) {
    MR_UNROLL
    for (uint32_t i = 0; i < MR_E_GROUPS; i++) {
        const uint32_t group = block * MR_E_GROUPS + i;
        memset(a[i], 0, sizeof a[i]);
        if (group < w->cols / 32) mr_raw_load(a[i], tile, MR_TYPE_Q8_0, group, lane);
    }
}

MR_BODY float mr_e_scale(const mr_dev_mat *w, const uint8_t *tile, uint32_t block, uint32_t row) {
    return mr_float_of(mr_load1(tile + w->scales_at + ((size_t)block * MR_TILE + row) * 4));
}

/* ---- few: each warp a block of columns ---- */

typedef struct mr_few_e_shared {
    mr_waiting sum[MR_FEW_WARPS];
    float scale[MR_FEW_WARPS][MR_TILE];
} mr_few_e_shared;

typedef struct mr_few_e_own {
    uint32_t a[MR_E_GROUPS][4], b[MR_E_GROUPS][2];
    float c[4], y;
} mr_few_e_own;

/* Past the end the last block, whose sums nobody takes. */
MR_BODY void mr_few_e_load(mr_few_e_own *o, const mr_product *p, mr_coord block, uint32_t number,
                           uint32_t lane) {
    const uint32_t n_groups = p->w.cols / 32;
    const mr_dev_xblock *x = p->blocks + (size_t)block.y * n_groups;

    number = mr_least(number, mr_n_e_blocks(&p->w) - 1);
    mr_e_load(o->a, &p->w, mr_tile_at(&p->w, block.x), number, lane);
    MR_UNROLL
    for (uint32_t i = 0; i < MR_E_GROUPS; i++) {
        const uint32_t group = mr_least(number * MR_E_GROUPS + i, n_groups - 1);
        const mr_words2 b = mr_load2(&x[group].q[lane / 4][lane % 4 * 8]);
        o->b[i][0] = b.w[0];
        o->b[i][1] = b.w[1];
    }
}

/* Sums and scales go to where they wait. */
MR_BODY void mr_few_e_put(mr_few_e_shared *sh, const mr_few_e_own *o, const mr_product *p,
                          mr_coord block, uint32_t first, uint32_t n, uint32_t t) {
    const uint32_t warp = t / MR_WARP, row = t % MR_WARP / 4, tok = t % 4 * 2;

    MR_UNROLL
    for (uint32_t k = 0; k < 4; k++) sh->sum[warp][tok + k % 2][row + k / 2 * 8] = o->c[k];
    if (t < n * MR_TILE)
        sh->scale[t / MR_TILE][t % MR_TILE] =
            mr_e_scale(&p->w, mr_tile_at(&p->w, block.x), first + t / MR_TILE, t % MR_TILE);
}

MR_BODY float mr_few_e_chain(const mr_few_e_shared *sh, const mr_product *p, mr_coord block,
                             uint32_t first, uint32_t n, uint32_t t, float y) {
    const uint32_t row = mr_chain_row(t), tok = mr_chain_token(t);
    const mr_dev_xblock *x = p->blocks + (size_t)block.y * (p->w.cols / 32);

    for (uint32_t i = 0; i < n; i++)
        y = fmaf(sh->scale[i][row] * x[(first + i) * MR_E_GROUPS].scale[tok], sh->sum[i][tok][row],
                 y);
    return y;
}

/* Block: 16 rows, tokens 8 block.y ... */
MR_BODY void mr_few_e(const mr_product *p, mr_few_e_shared *sh, mr_coord block) {
    const uint32_t n_blocks = mr_n_e_blocks(&p->w);
    mr_few_e_own th[MR_PRIVATE(MR_FEW)];

    MR_THREADS (t, MR_FEW) {
        th[MR_OWN(t)].y = 0;
        mr_few_e_load(&th[MR_OWN(t)], p, block, t / MR_WARP, t % MR_WARP);
    }
    for (uint32_t first = 0; first < n_blocks; first += MR_FEW_WARPS) {
        const uint32_t n_here = mr_least(MR_FEW_WARPS, n_blocks - first);

        MR_THREADS (t, MR_FEW) memset(th[MR_OWN(t)].c, 0, sizeof th[0].c);
        MR_UNROLL
        for (uint32_t i = 0; i < MR_E_GROUPS; i++) MR_MMA(mr_mma_e4m3, th, MR_FEW, c, a[i], b[i]);
        MR_THREADS (t, MR_FEW) {
            mr_few_e_put(sh, &th[MR_OWN(t)], p, block, first, n_here, t);
            /* On their way while the sums are added up. */
            mr_few_e_load(&th[MR_OWN(t)], p, block, first + MR_FEW_WARPS + t / MR_WARP,
                          t % MR_WARP);
        }
        MR_BARRIER();
        MR_THREADS (t, MR_FEW) {
            float *y = &th[MR_OWN(t)].y;
            if (t < MR_TILE * MR_TOKENS && mr_chain_token(t) + block.y * MR_TOKENS < p->n_tok)
                *y = mr_few_e_chain(sh, p, block, first, n_here, t, *y);
        }
        MR_BARRIER();
    }
    MR_THREADS (t, MR_FEW) {
        if (t < MR_TILE * MR_TOKENS)
            mr_product_store(p, block.x * MR_TILE + mr_chain_row(t),
                             block.y * MR_TOKENS + mr_chain_token(t), th[MR_OWN(t)].y);
    }
}

/* ---- many: a stage of product_q.h is a block of columns ---- */

typedef struct mr_many_e_own {
    uint32_t a[MR_MOST_ROW_TILES][MR_E_GROUPS][4], b[MR_E_GROUPS][2];
    float scale[MR_MOST_ROW_TILES][2]; /* rows g, g + 8 */
    float c[4], y[MR_MOST_ROW_TILES][MR_MOST_N_TILES][4];
} mr_many_e_own;

MR_BODY void mr_many_e_load(mr_many_e_own *o, const mr_product *p, const mr_shape *s,
                            mr_coord block, uint32_t stage, uint32_t t) {
    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        const uint8_t *tile = mr_tile_at(&p->w, mr_shape_tile(s, block.x, t) + m);
        mr_e_load(o->a[m], &p->w, tile, stage, t % MR_WARP);
        o->scale[m][0] = mr_e_scale(&p->w, tile, stage, t % MR_WARP / 4);
        o->scale[m][1] = mr_e_scale(&p->w, tile, stage, t % MR_WARP / 4 + 8);
    }
}

MR_BODY void mr_many_e_inputs(mr_many_e_own *o, const mr_many_q_shared *sh, uint32_t stage,
                              uint32_t eight, uint32_t t) {
    MR_UNROLL
    for (uint32_t i = 0; i < MR_E_GROUPS; i++) {
        const mr_words2 b = mr_read2(&sh->x[stage % 2][i][eight].q[t % MR_WARP / 4][t % 4 * 8]);
        o->b[i][0] = b.w[0];
        o->b[i][1] = b.w[1];
    }
}

/* One block of columns, all tiles of every warp. */
MR_BODY void mr_many_e_stage(mr_many_e_own *th, const mr_many_q_shared *sh, const mr_shape *s,
                             uint32_t stage) {
    MR_UNROLL
    for (uint32_t n = 0; n < s->n_tiles; n++) {
        MR_THREADS (t, MR_MANY)
            mr_many_e_inputs(&th[MR_OWN(t)], sh, stage, mr_shape_eight(s, t) + n, t);
        MR_UNROLL
        for (uint32_t m = 0; m < s->row_tiles; m++) {
            MR_THREADS (t, MR_MANY) memset(th[MR_OWN(t)].c, 0, sizeof th[0].c);
            MR_UNROLL
            for (uint32_t i = 0; i < MR_E_GROUPS; i++)
                MR_MMA(mr_mma_e4m3, th, MR_MANY, c, a[m][i], b[i]);
            MR_THREADS (t, MR_MANY) {
                mr_many_e_own *o = &th[MR_OWN(t)];
                const mr_dev_xblock *x = &sh->x[stage % 2][0][mr_shape_eight(s, t) + n];
                MR_UNROLL
                for (uint32_t k = 0; k < 4; k++)
                    o->y[m][n][k] = fmaf(o->scale[m][k / 2] * x->scale[t % 4 * 2 + k % 2], o->c[k],
                                         o->y[m][n][k]);
            }
        }
    }
}

MR_BODY void mr_many_e_store(const mr_many_e_own *o, const mr_product *p, const mr_shape *s,
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

MR_BODY void mr_many_e(const mr_product *p, const mr_shape *s, mr_many_q_shared *sh,
                       mr_coord block) {
    const uint32_t n_stages = mr_n_e_blocks(&p->w);
    mr_many_e_own th[MR_PRIVATE(MR_MANY)];

    MR_THREADS (t, MR_MANY) {
        memset(th[MR_OWN(t)].y, 0, sizeof th[0].y);
        mr_many_q_fetch(sh, p, s, block, 0, t);
    }
    for (uint32_t stage = 0; stage < n_stages; stage++) {
        MR_THREADS (t, MR_MANY) {
            mr_many_q_fetch(sh, p, s, block, stage + 1, t);
            mr_many_e_load(&th[MR_OWN(t)], p, s, block, stage, t);
            mr_copies_wait(1);
        }
        MR_BARRIER();
        mr_many_e_stage(th, sh, s, stage);
        MR_BARRIER();
    }
    MR_THREADS (t, MR_MANY) mr_many_e_store(&th[MR_OWN(t)], p, s, block, t);
}

/* ---- rows: scales of raw sums ---- */

#define MR_SCALED      256 /* threads */
#define MR_SCALED_EACH 4   /* sums of each */

/* Block: a token, MR_SCALED * MR_SCALED_EACH rows. */
MR_BODY void mr_scale_sums(const mr_product *p, mr_coord block) {
    const float *scales = (const float *)(const void *)(p->w.tiles + p->w.scales_at);
    const float scale = p->code_scales[block.x];

    MR_THREADS (t, MR_SCALED) {
        MR_UNROLL
        for (uint32_t i = 0; i < MR_SCALED_EACH; i++) {
            const uint32_t row = (block.y * MR_SCALED_EACH + i) * MR_SCALED + t;
            if (row < p->w.rows)
                mr_product_store(p, row, block.x,
                                 scales[row] * scale * p->raw[(size_t)block.x * p->w.rows + row]);
        }
    }
}

/* Blocks of rows; host. */
static inline uint32_t mr_scale_blocks(const mr_dev_mat *w) {
    return (w->rows + MR_SCALED * MR_SCALED_EACH - 1) / (MR_SCALED * MR_SCALED_EACH);
}

#endif
