/* pack.h - weights rearranged once, at load, so that a kernel reads them in the order it wants.
 *
 * A matrix is cut into tiles of MR_TILE rows, rows that are missing at the end being zero. A tile
 * keeps the numbers of its rows side by side, so that one vector register holds one number of each
 * row, and takes as many bytes as in the file, plus 3 % for the scales of the K formats and a line.
 */
#ifndef MR_ENGINE_PACK_H
#define MR_ENGINE_PACK_H

#include "engine/ops.h"

/* A tile of F32, F16, BF16: for each column the 16 rows' numbers, as they are in the file.
 *
 * A tile of a type with blocks: the quants of each group of 32 columns, then the scales of all.
 *
 * Quants. Step s of a group is 64 bytes, number 4 r + i of which belongs to row r and column
 * 4 s + i: what a dot product of bytes adds up in lane r. Q8_0 stores its 8 steps; the others store
 * 4 times 64 bytes, the low nibbles of which are steps 0..3 and the high ones steps 4..7, and
 * behind them the bits that are left: Q5_K bit 4 of step s as bit s of 64 bytes; Q6_K bits 0 and 1
 * of step s as bits 2 (s % 4), 2 (s % 4) + 1 of the 64 bytes number s / 4. A nibble is quant & 15;
 * Q6_K: quant >> 2 & 15; negative quants in two's complement.
 *
 * Scales. Q8_0, Q4_0: f16[16] for each group. K formats, for each 8 groups: f16 d[16] (Q4_K, Q5_K:
 * and f16 dmin[16]), then for each group 2 bytes a row: scale[16] and min[16]; Q6_K: the scale[16]
 * of the first and of the second half of the columns.
 *
 * Units, the last 64 bytes: f32[16], for each row the power of two u with u <= d, |dmin| < 2 u for
 * the largest |d| and |dmin| of the row; 1 if all are 0 or there is no such row; NaN if one is not
 * finite. For kernels whose numbers have a small range. */
#define MR_PACK_LAYOUT 2 /* version of all this: another whenever a byte would lie elsewhere */

#define MR_TILE_STEP 64 /* bytes of a step: 4 columns of 16 rows */

typedef struct mr_tile_form {
    size_t quant_bytes; /* of a group; types without blocks: of a column */
    size_t head_bytes;  /* of the scales of 8 groups: d, dmin; none of Q8_0, Q4_0 */
    size_t scale_bytes; /* of the scales of a group */
} mr_tile_form;

/* Inline, as kernels know the type when they are compiled. */
static inline mr_tile_form mr_tile_form_of(mr_type type) {
    switch (type) {
    case MR_TYPE_F32:
        return (mr_tile_form){64, 0, 0};
    case MR_TYPE_F16:
    case MR_TYPE_BF16:
        return (mr_tile_form){32, 0, 0};
    case MR_TYPE_Q8_0:
        return (mr_tile_form){8 * MR_TILE_STEP, 0, 32};
    case MR_TYPE_Q4_0:
        return (mr_tile_form){4 * MR_TILE_STEP, 0, 32};
    case MR_TYPE_Q4_K:
        return (mr_tile_form){4 * MR_TILE_STEP, 64, 32};
    case MR_TYPE_Q5_K:
        return (mr_tile_form){5 * MR_TILE_STEP, 64, 32};
    case MR_TYPE_Q6_K:
        return (mr_tile_form){6 * MR_TILE_STEP, 32, 32};
    }
    MR_CHECK(!"a type of tensor");
    return (mr_tile_form){0};
}

/* Where a tile's scales begin. */
static inline size_t mr_tile_scales_at(mr_type type, size_t cols) {
    const mr_tile_form f = mr_tile_form_of(type);
    return (f.scale_bytes > 0 ? cols / 32 : cols) * f.quant_bytes;
}

/* Where its units begin; types with blocks only. */
static inline size_t mr_tile_units_at(mr_type type, size_t cols) {
    const mr_tile_form f = mr_tile_form_of(type);
    const size_t scales = cols / 32 * f.scale_bytes + cols / 256 * f.head_bytes;
    return (mr_tile_scales_at(type, cols) + scales + 63) / 64 * 64;
}

/* Bytes from one tile of a matrix to the next: a multiple of 64. */
static inline size_t mr_tile_bytes(mr_type type, size_t cols) {
    const bool has_units = mr_tile_form_of(type).scale_bytes > 0;
    return mr_tile_units_at(type, cols) + (has_units ? MR_TILE * sizeof(float) : 0);
}

/* Tile i of w, from w->data, into out[mr_tile_bytes], which is zero. Thread: any. */
void mr_pack_tile(uint8_t *out, const mr_mat *w, uint32_t i);

#endif
