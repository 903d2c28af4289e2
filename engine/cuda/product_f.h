/* product_f.h - products with weights that are floats: tf32 tensor cores, made exact enough.
 *
 * An F16 or BF16 number is a tf32 number. An f32 one is cut into two, high and low part: inputs
 * always, weights if they are F32. The products of parts but low times low are added up, so a
 * product is right to some 21 bits where a plain tf32 or f16 one has 11, and there is no input that
 * f16 could not hold.
 *
 * Sums run over MR_SUM_COLS columns at a time, in order; these are added up in order, rounded to
 * nearest, which the sum inside of an mma is not.
 *
 * Columns are taken as they suit the loads: in a stretch of 32, lane 4 g + c of an mma has columns
 * 8 c .. 8 c + 7 of token g, two for each of four mmas. Of a tile it has rows 2 g and 2 g + 1,
 * which are neighbours in memory, as rows g and g + 8 of the mma. */
#ifndef MR_ENGINE_CUDA_PRODUCT_F_H
#define MR_ENGINE_CUDA_PRODUCT_F_H

#include "engine/cuda/product.h"

#define MR_STRETCH 32 /* columns */
#define MR_STEPS   4  /* mmas of a stretch */

MR_BODY uint32_t mr_col_of(uint32_t stretch, uint32_t t) { /* the first of 8 */
    return stretch * MR_STRETCH + t % 4 * 8;
}

/* Rows of a lane in its tile, for word k of an mma's result. */
MR_BODY uint32_t mr_row_of(uint32_t t, uint32_t k) {
    return t % MR_WARP / 4 * 2 + k / 2;
}

/* Four columns' pairs of rows; zero past the end. w[2 j + i]: column mr_col_of + 2 j + i. */
MR_BODY void mr_pairs_load(float (*w)[2], const uint8_t *tile, mr_type type, uint32_t cols,
                           uint32_t stretch, uint32_t t) {
    const uint32_t col = mr_col_of(stretch, t), size = type == MR_TYPE_F32 ? 4 : 2;
    const uint8_t *p = tile + ((size_t)col * MR_TILE + mr_row_of(t, 0)) * size;

    MR_UNROLL
    for (uint32_t i = 0; i < 8; i++) {
        w[i][0] = w[i][1] = 0;
        if (col < cols) mr_pair_load(w[i], p + (size_t)i * MR_TILE * size, type);
    }
}

/* Fragments of mma j, high and low parts. */
MR_BODY void mr_pairs_split(uint32_t *hi, uint32_t *lo, float (*w)[2], uint32_t j) {
    MR_UNROLL
    for (uint32_t k = 0; k < 4; k++) {
        const float v = w[2 * j + k / 2][k % 2];
        hi[k] = mr_tf32_hi(v);
        lo[k] = mr_tf32_lo(v);
    }
}

MR_BODY void mr_inputs_split(uint32_t *hi, uint32_t *lo, const float *x, uint32_t j) {
    MR_UNROLL
    for (uint32_t k = 0; k < 2; k++) {
        hi[k] = mr_tf32_hi(x[2 * j + k]);
        lo[k] = mr_tf32_lo(x[2 * j + k]);
    }
}

MR_BODY void mr_eight_of(float *x, const mr_words4 *low, const mr_words4 *high) {
    MR_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        x[i] = mr_float_of(low->w[i]);
        x[4 + i] = mr_float_of(high->w[i]);
    }
}

/* The parts of the product of one step, into member c; the same order everywhere. */
#define MR_MMA_PARTS(th, n, type, c, a_hi, a_lo, b_hi, b_lo)                                       \
    do {                                                                                           \
        MR_MMA(mr_mma_tf32, th, n, c, a_hi, b_lo);                                                 \
        if ((type) == MR_TYPE_F32) MR_MMA(mr_mma_tf32, th, n, c, a_lo, b_hi);                      \
        MR_MMA(mr_mma_tf32, th, n, c, a_hi, b_hi);                                                 \
    } while (0)

/* ---- few: each warp MR_SUM_COLS columns ---- */

typedef struct mr_few_f_own {
    float w[8][2], x[8], c[4], y;
    uint32_t a_hi[MR_STEPS][4], a_lo[MR_STEPS][4], b_hi[MR_STEPS][2], b_lo[MR_STEPS][2];
} mr_few_f_own;

MR_BODY void mr_few_f_load(mr_few_f_own *o, const mr_product *p, mr_type type, mr_coord block,
                           uint32_t stretch, uint32_t t) {
    const uint32_t col = mr_col_of(stretch, t);
    const uint32_t tok = block.y * MR_TOKENS + t % MR_WARP / 4;
    mr_words4 x[2] = {{{0, 0, 0, 0}}, {{0, 0, 0, 0}}};

    mr_pairs_load(o->w, mr_tile_at(&p->w, block.x), type, p->w.cols, stretch, t);
    if (col < p->w.cols) {
        x[0] = mr_load4(p->x + (size_t)tok * p->w.cols + col);
        x[1] = mr_load4(p->x + (size_t)tok * p->w.cols + col + 4);
    }
    mr_eight_of(o->x, &x[0], &x[1]);
}

MR_BODY void mr_few_f(const mr_product *p, mr_type type, mr_waiting *sh, mr_coord block) {
    const uint32_t n_sums = (p->w.cols + MR_SUM_COLS - 1) / MR_SUM_COLS;
    mr_few_f_own th[MR_PRIVATE(MR_FEW)];

    MR_THREADS (t, MR_FEW) th[MR_OWN(t)].y = 0;
    for (uint32_t first = 0; first < n_sums; first += MR_FEW_WARPS) {
        MR_THREADS (t, MR_FEW) memset(th[MR_OWN(t)].c, 0, sizeof th[0].c);
        for (uint32_t i = 0; i < MR_SUM_COLS / MR_STRETCH; i++) {
            MR_THREADS (t, MR_FEW) {
                mr_few_f_own *o = &th[MR_OWN(t)];
                const uint32_t sum = first + t / MR_WARP;
                mr_few_f_load(o, p, type, block, sum * (MR_SUM_COLS / MR_STRETCH) + i, t);
                MR_UNROLL
                for (uint32_t j = 0; j < MR_STEPS; j++) {
                    mr_pairs_split(o->a_hi[j], o->a_lo[j], o->w, j);
                    mr_inputs_split(o->b_hi[j], o->b_lo[j], o->x, j);
                }
            }
            MR_UNROLL
            for (uint32_t j = 0; j < MR_STEPS; j++)
                MR_MMA_PARTS(th, MR_FEW, type, c, a_hi[j], a_lo[j], b_hi[j], b_lo[j]);
        }
        MR_THREADS (t, MR_FEW) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++)
                sh[t / MR_WARP][t % 4 * 2 + k % 2][mr_row_of(t, k)] = th[MR_OWN(t)].c[k];
        }
        MR_BARRIER();
        MR_THREADS (t, MR_FEW)
            for (uint32_t i = 0; t < MR_TILE * MR_TOKENS && first + i < n_sums && i < MR_FEW_WARPS;
                 i++)
                th[MR_OWN(t)].y += sh[i][mr_chain_token(t)][mr_chain_row(t)];
        MR_BARRIER();
    }
    MR_THREADS (t, MR_FEW) {
        if (t < MR_TILE * MR_TOKENS)
            mr_product_store(p, block.x * MR_TILE + mr_chain_row(t),
                             block.y * MR_TOKENS + mr_chain_token(t), th[MR_OWN(t)].y);
    }
}

/* ---- many ---- */

#define MR_MANY_TOKENS 64 /* most of a block */

/* Two stages of one stretch. 16 bytes number i of a token are at i ^ token % 8: the lanes of an mma
 * read 8 tokens and two of these each, and all banks of the memory are at work. */
typedef struct mr_many_f_shared {
    MR_ALIGNED(16) float x[2][MR_MANY_TOKENS][MR_STRETCH];
} mr_many_f_shared;

MR_BODY uint32_t mr_swizzle(uint32_t token, uint32_t part) { /* in floats */
    return (part ^ token % 8) * 4;
}

typedef struct mr_many_f_own {
    float w[MR_MOST_ROW_TILES][8][2], x[8];
    uint32_t a_hi[MR_MOST_ROW_TILES][MR_STEPS][4], a_lo[MR_MOST_ROW_TILES][MR_STEPS][4];
    uint32_t b_hi[MR_STEPS][2], b_lo[MR_STEPS][2];
    float c[MR_MOST_ROW_TILES][MR_MOST_N_TILES][4], y[MR_MOST_ROW_TILES][MR_MOST_N_TILES][4];
} mr_many_f_own;

/* Past the last column come zeros; past the last stretch nothing does, but a group is counted. */
MR_BODY void mr_many_f_fetch(mr_many_f_shared *sh, const mr_product *p, const mr_shape *s,
                             mr_coord block, uint32_t stretch, uint32_t t) {
    const uint32_t n_tok = mr_shape_tokens(s), parts = MR_STRETCH / 4, cols = p->w.cols;
    const uint32_t n = stretch * MR_STRETCH < cols ? n_tok * parts : 0;

    for (uint32_t i = t; i < n; i += MR_MANY) {
        const uint32_t tok = i / parts, part = i % parts, col = stretch * MR_STRETCH + 4 * part;
        const float *x = p->x + (size_t)(block.y * n_tok + tok) * cols;
        mr_copy16(&sh->x[stretch % 2][tok][mr_swizzle(tok, part)], x + mr_least(col, cols - 4),
                  col < cols);
    }
    mr_copies_commit();
}

MR_BODY void mr_many_f_load(mr_many_f_own *o, const mr_product *p, const mr_shape *s, mr_type type,
                            mr_coord block, uint32_t stretch, uint32_t t) {
    const uint32_t tile = mr_shape_tile(s, block.x, t);

    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++)
        mr_pairs_load(o->w[m], mr_tile_at(&p->w, tile + m), type, p->w.cols, stretch, t);
}

MR_BODY void mr_many_f_split(mr_many_f_own *o, const mr_shape *s) {
    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        MR_UNROLL
        for (uint32_t j = 0; j < MR_STEPS; j++)
            mr_pairs_split(o->a_hi[m][j], o->a_lo[m][j], o->w[m], j);
    }
}

/* A lane's 8 columns of its token among 8. */
MR_BODY void mr_many_f_inputs(mr_many_f_own *o, const mr_many_f_shared *sh, uint32_t stretch,
                              uint32_t eight, uint32_t t) {
    const uint32_t tok = eight * MR_TOKENS + t % MR_WARP / 4, part = t % 4 * 2;
    const float *row = sh->x[stretch % 2][tok];

    const mr_words4 low = mr_read4(row + mr_swizzle(tok, part));
    const mr_words4 high = mr_read4(row + mr_swizzle(tok, part + 1));

    mr_eight_of(o->x, &low, &high);
    MR_UNROLL
    for (uint32_t j = 0; j < MR_STEPS; j++) mr_inputs_split(o->b_hi[j], o->b_lo[j], o->x, j);
}

MR_BODY void mr_many_f_stretch(mr_many_f_own *th, const mr_many_f_shared *sh, const mr_shape *s,
                               mr_type type, uint32_t stretch) {
    MR_UNROLL
    for (uint32_t n = 0; n < s->n_tiles; n++) {
        MR_THREADS (t, MR_MANY)
            mr_many_f_inputs(&th[MR_OWN(t)], sh, stretch, mr_shape_eight(s, t) + n, t);
        MR_UNROLL
        for (uint32_t j = 0; j < MR_STEPS; j++) {
            MR_UNROLL
            for (uint32_t m = 0; m < s->row_tiles; m++)
                MR_MMA_PARTS(th, MR_MANY, type, c[m][n], a_hi[m][j], a_lo[m][j], b_hi[j], b_lo[j]);
        }
    }
}

/* A sum of MR_SUM_COLS columns is whole. */
MR_BODY void mr_many_f_add(mr_many_f_own *o, const mr_shape *s) {
    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        MR_UNROLL
        for (uint32_t n = 0; n < s->n_tiles; n++) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++) {
                o->y[m][n][k] += o->c[m][n][k];
                o->c[m][n][k] = 0;
            }
        }
    }
}

MR_BODY void mr_many_f_store(const mr_many_f_own *o, const mr_product *p, const mr_shape *s,
                             mr_coord block, uint32_t t) {
    const uint32_t row0 = mr_shape_tile(s, block.x, t) * MR_TILE;
    const uint32_t tok0 =
        block.y * mr_shape_tokens(s) + mr_shape_eight(s, t) * MR_TOKENS + t % 4 * 2;

    MR_UNROLL
    for (uint32_t m = 0; m < s->row_tiles; m++) {
        MR_UNROLL
        for (uint32_t n = 0; n < s->n_tiles; n++) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++)
                mr_product_store(p, row0 + m * MR_TILE + mr_row_of(t, k),
                                 tok0 + n * MR_TOKENS + k % 2, o->y[m][n][k]);
        }
    }
}

MR_BODY void mr_many_f(const mr_product *p, mr_type type, const mr_shape *s, mr_many_f_shared *sh,
                       mr_coord block) {
    const uint32_t n_stretches = (p->w.cols + MR_STRETCH - 1) / MR_STRETCH;
    mr_many_f_own th[MR_PRIVATE(MR_MANY)];

    MR_THREADS (t, MR_MANY) {
        memset(th[MR_OWN(t)].c, 0, sizeof th[0].c);
        memset(th[MR_OWN(t)].y, 0, sizeof th[0].y);
        mr_many_f_fetch(sh, p, s, block, 0, t);
        mr_many_f_load(&th[MR_OWN(t)], p, s, type, block, 0, t);
    }
    for (uint32_t i = 0; i < n_stretches; i++) {
        MR_THREADS (t, MR_MANY) {
            mr_many_f_fetch(sh, p, s, block, i + 1, t);
            mr_many_f_split(&th[MR_OWN(t)], s);
            mr_many_f_load(&th[MR_OWN(t)], p, s, type, block, i + 1, t);
            mr_copies_wait(1);
        }
        MR_BARRIER();
        mr_many_f_stretch(th, sh, s, type, i);
        MR_BARRIER();
        if ((i + 1) % (MR_SUM_COLS / MR_STRETCH) != 0 && i + 1 < n_stretches) continue;
        MR_THREADS (t, MR_MANY) mr_many_f_add(&th[MR_OWN(t)], s);
    }
    MR_THREADS (t, MR_MANY) mr_many_f_store(&th[MR_OWN(t)], p, s, block, t);
}

#endif
