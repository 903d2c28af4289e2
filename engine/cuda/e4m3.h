/* e4m3.h - FP8 weights: numbers of 8 bits with 4 bits of exponent, and tiles of them.
 *
 * A number has a sign, an exponent with bias 7 and 3 bits behind the point; exponent 0 counts in
 * steps of 2^-9; the largest is 448, and what would be infinity and above is one NaN for each sign.
 * Source: Micikevicius 2022, "FP8 formats for deep learning".
 *
 * Weights of any type become such numbers times a scale for each row and MR_E4M3_BLOCK columns, the
 * largest of which is 448. A tile has the 16 rows' bytes in the places of Q8_0's (pack.h), then for
 * each block of columns the scales of its rows, f32.
 *
 * The vendor's library knows no scales of blocks: for it, numbers of 16 rows at a time lie row by
 * row, and behind those of the whole matrix the rows' scales, f32, one for all columns. */
#ifndef MR_ENGINE_CUDA_E4M3_H
#define MR_ENGINE_CUDA_E4M3_H

#include "engine/cuda/machine.h"

#define MR_E4M3_BLOCK 128 /* columns that share a scale: of a row of weights, of a token */
#define MR_E4M3_MAX   448.0f

/* To the nearest, ties to even; what is larger than 448 becomes 448, also infinity. */
MR_BODY uint8_t mr_to_e4m3(float f) {
    const uint32_t bits = mr_bits_of(f), sign = bits >> 24 & 0x80, size = bits & 0x7fffffff;

    if (size > 0x7f800000) return (uint8_t)(sign | 0x7f);
    if (size >= 0x43e00000) return (uint8_t)(sign | 0x7e); /* 448 */
    if (size < 0x3c800000)                                 /* 2^-6 */
        return (uint8_t)(sign | (uint32_t)rintf(mr_float_of(size) * 512));
    return (uint8_t)(sign | (((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3)));
}

MR_BODY float mr_of_e4m3(uint8_t code) {
    const uint32_t exponent = code >> 3 & 15, rest = code & 7, sign = (uint32_t)(code >> 7) << 31;

    if ((code & 0x7f) == 0x7f) return mr_float_of(sign | 0x7fc00000);
    if (exponent == 0) return mr_float_of(sign | mr_bits_of((float)rest / 512));
    return mr_float_of(sign | (exponent + 120) << 23 | rest << 20);
}

/* What maps the largest of a block to 448, and back; both 0: the block is zero. */
typedef struct mr_e4m3_scale {
    float scale, inv;
} mr_e4m3_scale;

MR_BODY mr_e4m3_scale mr_e4m3_scale_of(float most) {
    mr_e4m3_scale s = {0, 0};

    if (most < MR_ROUND_MIN) return s;
    s.scale = most / MR_E4M3_MAX;
    s.inv = s.scale < INFINITY ? MR_E4M3_MAX / most : 0; /* not finite: scale is not either */
    return s;
}

/* ---- tiles ---- */

#define MR_E4M3_GROUP_BYTES 512 /* 32 columns of 16 rows */

MR_BODY size_t mr_e4m3_scales_at(size_t cols) {
    return cols / 32 * MR_E4M3_GROUP_BYTES;
}
MR_BODY size_t mr_e4m3_tile_bytes(size_t cols) {
    const size_t n_blocks = (cols + MR_E4M3_BLOCK - 1) / MR_E4M3_BLOCK;
    return mr_e4m3_scales_at(cols) + n_blocks * MR_TILE * sizeof(float);
}

/* ---- rows; together no larger than tiles ---- */

#define MR_E4M3_ROW_SCALES (MR_TILE * sizeof(float)) /* bytes: of 16 rows */

MR_BODY size_t mr_e4m3_rows_bytes(size_t cols) { /* 16 of them, without scales */
    return MR_TILE * cols;
}

#endif
