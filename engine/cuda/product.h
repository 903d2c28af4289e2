/* product.h - what all products y = W x have in common: inputs, outputs, and how they are cut.
 *
 * Weights are the left matrix of every mma, tokens the right one, 8 at a time. What an mma adds to
 * one (row, token) depends on that row and token alone, and the order of additions is fixed below
 * for every shape; so there may be as many shapes of blocks as pay, and all write the same bits:
 *
 *   few   up to 8 tokens, bound by memory: a block has 16 rows, its 8 warps read different columns,
 *         and sums that come out of order wait in shared memory until their turn;
 *   many  a block has more rows and tokens, its warps go through all columns, and sums that many
 *         tokens need are made once.
 */
#ifndef MR_ENGINE_CUDA_PRODUCT_H
#define MR_ENGINE_CUDA_PRODUCT_H

#include "engine/cuda/tile.h"

#define MR_TOKENS    8  /* columns of an mma */
#define MR_PAD_ROWS  64 /* inputs are there, whatever is in them, up to a multiple of this */
#define MR_FEW_WARPS 8
#define MR_FEW       (MR_FEW_WARPS * MR_WARP) /* threads */
#define MR_MANY      128
#define MR_PAD_CODES 16 /* of e4m3 in rows inputs, raw and y are there up to a multiple of this */

/* 32 columns of 8 tokens, rounded to 8 bits as ops.h says; the right matrix of an mma. Column k of
 * a token is at MR_PLACE(k), so that the 8 bytes of lane 4 g + c of the mma are side by side. */
typedef struct mr_dev_xblock {
    int8_t q[MR_TOKENS][32];
    float scale[MR_TOKENS], sum[MR_TOKENS];
} mr_dev_xblock;

#define MR_PLACE(k) ((k) % 16 / 4 * 8 + (k) / 16 * 4 + (k) % 4)

typedef struct mr_product {
    mr_dev_mat w;
    const float *x;              /* [n_tok, w.cols], if the weights are tiles of floats */
    const mr_dev_xblock *blocks; /* [n_tok / 8, w.cols / 32], if they are tiles of anything else */
    const uint16_t *halves;      /* [n_tok, w.cols] of w.type, if they are F16 or BF16 in rows */
    const uint8_t *codes;        /* [n_tok, w.cols] of e4m3, if they are that, in rows: */
    const float *code_scales;    /* [n_tok] */
    float *raw;        /* [n_tok, w.rows]: for sums without scales; y will do unless it adds */
    float *y;          /* [n_tok, w.rows] */
    const float *bias; /* [w.rows], or NULL */
    float scale;       /* of y, after the bias */
    bool adds;         /* to what y holds */
    uint32_t n_tok;
} mr_product;

MR_BODY void mr_product_store(const mr_product *p, uint32_t row, uint32_t tok, float v) {
    if (row >= p->w.rows || tok >= p->n_tok) return;
    float *y = p->y + (size_t)tok * p->w.rows + row;
    if (p->bias) v += p->bias[row];
    v *= p->scale;
    *y = p->adds ? *y + v : v;
}

/* ---- few: sums that wait for their turn ---- */

#define MR_SUM_PITCH 20 /* of the 16 rows: writes of a warp, 2 tokens a lane, hit all banks */

typedef float mr_waiting[MR_TOKENS][MR_SUM_PITCH]; /* of 16 rows and 8 tokens */

/* Which (row, token) of a tile a thread adds up, thread t < 16 * MR_TOKENS. */
MR_BODY uint32_t mr_chain_row(uint32_t t) {
    return t % MR_TILE;
}
MR_BODY uint32_t mr_chain_token(uint32_t t) {
    return t / MR_TILE;
}

/* ---- many: where a warp of a block works ---- */

typedef struct mr_shape {        /* of a block of MR_MANY threads */
    uint32_t row_tiles, n_tiles; /* of a warp: 16 rows each, 8 tokens each */
    uint32_t warps_down, warps_across;
} mr_shape;

#define MR_MOST_ROW_TILES 2
#define MR_MOST_N_TILES   4

/* The larger one reads less, the smaller one makes more blocks of small matrices. */
#define MR_SHAPE_LARGE                                                                             \
    { 2, 4, 2, 2 }
#define MR_SHAPE_SMALL                                                                             \
    { 1, 2, 2, 2 }

/* ---- the cut of a product: blocks of a grid; host ---- */

typedef enum mr_cut_kind { MR_CUT_FEW, MR_CUT_SMALL, MR_CUT_LARGE } mr_cut_kind;

typedef struct mr_cut {
    mr_cut_kind kind;
    uint32_t x, y; /* blocks */
} mr_cut;

/* n_units: processors of the device; each should have a block. */
static inline mr_cut mr_cut_of(const mr_dev_mat *w, uint32_t n_tok, uint32_t n_units) {
    static const mr_shape shapes[] = {MR_SHAPE_LARGE, MR_SHAPE_SMALL};
    mr_cut cut = {MR_CUT_FEW, (w->rows + MR_TILE - 1) / MR_TILE, 1};

    if (n_tok <= MR_TOKENS) return cut;
    for (uint32_t i = 0; i < MR_COUNT(shapes); i++) {
        const mr_shape *s = &shapes[i];
        const uint32_t rows = MR_TILE * s->row_tiles * s->warps_down;
        const uint32_t tokens = MR_TOKENS * s->n_tiles * s->warps_across;
        cut.kind = i == 0 ? MR_CUT_LARGE : MR_CUT_SMALL;
        cut.x = (w->rows + rows - 1) / rows;
        cut.y = (n_tok + tokens - 1) / tokens;
        if (cut.x * cut.y >= n_units) break;
    }
    return cut;
}

/* ---- many, on the device ---- */

MR_BODY uint32_t mr_shape_tokens(const mr_shape *s) {
    return MR_TOKENS * s->n_tiles * s->warps_across;
}
/* First tile of rows, and first 8 tokens within the block's, of a thread's warp. */
MR_BODY uint32_t mr_shape_tile(const mr_shape *s, uint32_t block, uint32_t t) {
    return (block * s->warps_down + t / MR_WARP % s->warps_down) * s->row_tiles;
}
MR_BODY uint32_t mr_shape_eight(const mr_shape *s, uint32_t t) {
    return t / MR_WARP / s->warps_down * s->n_tiles;
}

MR_BODY uint32_t mr_n_row_tiles(const mr_dev_mat *w) {
    return (w->rows + MR_TILE - 1) / MR_TILE;
}
/* Of a tile that is beyond the last one, the last: its products are never stored. */
MR_BODY const uint8_t *mr_tile_at(const mr_dev_mat *w, uint32_t tile) {
    return w->tiles + mr_least(tile, mr_n_row_tiles(w) - 1) * w->tile_bytes;
}

#endif
