/* tile.h - weights on the device: the tiles of pack.h, which happen to be what tensor cores want.
 *
 * A tile has 16 rows, as the left matrix of an mma has. In an m16n8k32 product of bytes, lane 4 g +
 * c holds columns 4 c .. 4 c + 3 and 16 + 4 c .. of rows g and g + 8: steps c and c + 4 of a group,
 * one word each, and the words of a warp lie side by side. So fragments are loaded straight from
 * memory, 128 bytes at a time, and unpacked in registers. */
#ifndef MR_ENGINE_CUDA_TILE_H
#define MR_ENGINE_CUDA_TILE_H

#include "engine/cuda/machine.h"

typedef struct mr_dev_mat { /* of mr_mat; data in device memory */
    const uint8_t *tiles;   /* NULL: the model has none; in_rows: its rows */
    mr_type type;
    uint32_t rows, cols;
    size_t tile_bytes, scales_at; /* of pack.h */
    bool in_rows; /* F16, BF16: not in tiles but row by row, as in the file: for matmul, device.h;
                     e4m3.h: likewise, and the rows' scales at scales_at */
} mr_dev_mat;

/* A type of matrix that no file has: e4m3.h. Else mr_dev_mat.type is the file's. */
#define MR_DEV_E4M3 ((mr_type)31)

#define MR_RAW_WORDS 6 /* most that a lane loads of a group of 32 columns */

MR_BODY bool mr_has_min(mr_type type) {
    return type == MR_TYPE_Q4_K || type == MR_TYPE_Q5_K;
}

/* Sums of a group that have scales of their own. */
MR_BODY uint32_t mr_halves(mr_type type) {
    return type == MR_TYPE_Q6_K ? 2 : 1;
}

MR_BODY uint32_t mr_quant_bytes(mr_type type) {
    return type == MR_TYPE_Q8_0   ? 512
           : type == MR_TYPE_Q6_K ? 384
           : type == MR_TYPE_Q5_K ? 320
                                  : 256;
}

/* ---- a lane's part of a group ---- */

MR_BODY void mr_raw_load(uint32_t *w, const uint8_t *tile, mr_type type, uint32_t group,
                         uint32_t lane) {
    const uint32_t g = lane / 4, c = lane % 4;
    const uint8_t *p = tile + (size_t)group * mr_quant_bytes(type) + 4 * g;

    w[0] = mr_load1(p + 64 * c);
    w[1] = mr_load1(p + 64 * c + 32);
    if (type == MR_TYPE_Q8_0) {
        w[2] = mr_load1(p + 64 * (c + 4));
        w[3] = mr_load1(p + 64 * (c + 4) + 32);
    }
    if (type == MR_TYPE_Q5_K || type == MR_TYPE_Q6_K) {
        w[2] = mr_load1(p + 256);
        w[3] = mr_load1(p + 256 + 32);
    }
    if (type == MR_TYPE_Q6_K) {
        w[4] = mr_load1(p + 320);
        w[5] = mr_load1(p + 320 + 32);
    }
}

/* Four bytes 0 .. 2 sign - 1 to -sign .. sign - 1, where they had that bit upside down. */
MR_BODY uint32_t mr_less(uint32_t v, uint32_t sign) {
    const uint32_t all = sign * 0x01010101u;
    return (((v ^ all) | 0x80808080u) - all) ^ 0x80808080u;
}

/* Word i % 2 of the fragment: rows g, or g + 8; i / 2: step c, or c + 4. */
MR_BODY uint32_t mr_raw_open_word(const uint32_t *w, mr_type type, uint32_t c, uint32_t i) {
    const uint32_t nibbles = w[i % 2] >> 4 * (i / 2) & 0x0f0f0f0fu;

    if (type == MR_TYPE_Q8_0) return w[i];
    if (type == MR_TYPE_Q4_0) return mr_less(nibbles, 8);
    if (type == MR_TYPE_Q5_K)
        return nibbles | (w[2 + i % 2] >> (c + 4 * (i / 2)) & 0x01010101u) << 4;
    if (type == MR_TYPE_Q6_K) return mr_less(nibbles << 2 | (w[2 + i] >> 2 * c & 0x03030303u), 32);
    return nibbles;
}

MR_BODY void mr_raw_open(uint32_t *a, const uint32_t *w, mr_type type, uint32_t lane) {
    MR_UNROLL
    for (uint32_t i = 0; i < 4; i++) a[i] = mr_raw_open_word(w, type, lane % 4, i);
}

/* ---- scales ---- */

typedef struct mr_scales { /* of a row in a group */
    float half[2], min;    /* half[1]: Q6_K only */
} mr_scales;

MR_BODY float mr_half_at(const uint8_t *p) {
    return mr_of_half(mr_load_half(p));
}

/* As mr_group_open defines them; scales: where those of the tile begin. */
MR_BODY mr_scales mr_scales_load(const uint8_t *scales, mr_type type, uint32_t group,
                                 uint32_t row) {
    mr_scales s = {{0, 0}, 0};

    if (type == MR_TYPE_Q8_0 || type == MR_TYPE_Q4_0) {
        s.half[0] = mr_half_at(scales + 32 * (size_t)group + 2 * row);
        return s;
    }
    const uint32_t head = type == MR_TYPE_Q6_K ? 32 : 64;
    const uint8_t *block = scales + (size_t)(group / 8) * (head + 8 * 32);
    const uint8_t *p = block + head + group % 8 * 32 + row;
    const float d = mr_half_at(block + 2 * row);
    if (type == MR_TYPE_Q6_K) {
        s.half[0] = d * (float)(int8_t)p[0];
        s.half[1] = d * (float)(int8_t)p[16];
        return s;
    }
    s.half[0] = d * (float)p[0];
    s.min = mr_half_at(block + 32 + 2 * row) * (float)p[16];
    return s;
}

/* ---- one weight ---- */

MR_BODY int32_t mr_tile_quant(const uint8_t *q, mr_type type, uint32_t row, uint32_t col) {
    const uint32_t step = col / 4, at = 4 * row + col % 4;
    const int32_t nibble = q[64 * (step % 4) + at] >> 4 * (step / 4) & 15;

    if (type == MR_TYPE_Q8_0) return (int8_t)q[64 * step + at];
    if (type == MR_TYPE_Q4_0) return (nibble ^ 8) - 8;
    if (type == MR_TYPE_Q5_K) return nibble | (q[256 + at] >> step & 1) << 4;
    if (type == MR_TYPE_Q6_K) {
        const int32_t low = q[256 + 64 * (step / 4) + at] >> 2 * (step % 4) & 3;
        return ((nibble << 2 | low) ^ 32) - 32;
    }
    return nibble;
}

/* Two rows' numbers of one column of a tile without blocks, as f32. p: the first one's. */
MR_BODY void mr_pair_load(float *v, const uint8_t *p, mr_type type) {
    if (type == MR_TYPE_F32) {
        const mr_words2 w = mr_load2(p);
        v[0] = mr_float_of(w.w[0]);
        v[1] = mr_float_of(w.w[1]);
        return;
    }
    const uint32_t w = mr_load1(p);
    v[0] = type == MR_TYPE_F16 ? mr_of_half((uint16_t)(w & 0xffff)) : mr_float_of(w << 16);
    v[1] = type == MR_TYPE_F16 ? mr_of_half((uint16_t)(w >> 16)) : mr_float_of(w & 0xffff0000u);
}

MR_BODY bool mr_is_plain(mr_type type) {
    return type == MR_TYPE_F32 || type == MR_TYPE_F16 || type == MR_TYPE_BF16;
}

/* As mr_dequantize_row has it. */
MR_BODY float mr_mat_value(const mr_dev_mat *w, uint32_t row, uint32_t col) {
    const uint8_t *tile = w->tiles + row / MR_TILE * w->tile_bytes;
    const uint32_t r = row % MR_TILE;

    if (mr_is_plain(w->type)) {
        const uint32_t size = w->type == MR_TYPE_F32 ? 4 : 2;
        float pair[2];
        mr_pair_load(pair, tile + ((size_t)col * MR_TILE + r / 2 * 2) * size, w->type);
        return pair[r % 2];
    }
    const mr_scales s = mr_scales_load(tile + w->scales_at, w->type, col / 32, r);
    const uint8_t *q = tile + (size_t)(col / 32) * mr_quant_bytes(w->type);
    const float scale = s.half[w->type == MR_TYPE_Q6_K ? col % 32 / 16 : 0];
    return scale * (float)mr_tile_quant(q, w->type, r, col % 32) - s.min;
}

#endif
