/* pack.c - from the rows of the file to tiles; pack.h has the layout.
 *
 * Plain C, and quants go through mr_group_open: the formats are defined in one place. It costs a
 * few cycles per weight, once. Thread: any; pure. */
#include "engine/pack.h"

#include <math.h>

#include "engine/quant.h"

static void pack_plain(uint8_t *out, const uint8_t *row, size_t size, size_t cols, int r) {
    for (size_t c = 0; c < cols; c++)
        memcpy(out + (c * MR_TILE + (size_t)r) * size, row + c * size, size);
}

static void pack_bytes(uint8_t *out, const int8_t q[32], int r) {
    for (int s = 0; s < 8; s++) memcpy(out + MR_TILE_STEP * s + 4 * r, q + 4 * s, 4);
}

static void pack_nibbles(uint8_t *out, const int8_t q[32], int shift, int r) {
    for (int i = 0; i < 16; i++) {
        const int low = q[i] >> shift & 15, high = q[i + 16] >> shift & 15;
        out[MR_TILE_STEP * (i / 4) + 4 * r + i % 4] = (uint8_t)(low | high << 4);
    }
}

static void pack_q5_bits(uint8_t *out, const int8_t q[32], int r) {
    for (int i = 0; i < 32; i++) out[4 * r + i % 4] |= (uint8_t)((q[i] >> 4 & 1) << i / 4);
}

static void pack_q6_bits(uint8_t *out, const int8_t q[32], int r) {
    for (int i = 0; i < 32; i++)
        out[MR_TILE_STEP * (i / 16) + 4 * r + i % 4] |= (uint8_t)((q[i] & 3) << 2 * (i / 4 % 4));
}

static void pack_quants(uint8_t *out, const int8_t q[32], mr_type type, int r) {
    uint8_t *bits = out + 4 * MR_TILE_STEP;

    if (type == MR_TYPE_Q8_0)
        pack_bytes(out, q, r);
    else
        pack_nibbles(out, q, type == MR_TYPE_Q6_K ? 2 : 0, r);
    if (type == MR_TYPE_Q5_K) pack_q5_bits(bits, q, r);
    if (type == MR_TYPE_Q6_K) pack_q6_bits(bits, q, r);
}

/* Scales of 8 groups: those of Q4_K; Q5_K begins with the same members. */
static void pack_q45_scales(uint8_t *out, const mr_q4_k *b, int r) {
    uint8_t scale[8], min[8];

    mr_k_unpack(b->packed, scale, min);
    memcpy(out + 2 * r, b->d, 2);
    memcpy(out + 32 + 2 * r, b->dmin, 2);
    for (int g = 0; g < 8; g++) {
        out[64 + 32 * g + r] = scale[g];
        out[64 + 32 * g + 16 + r] = min[g];
    }
}

static void pack_q6_scales(uint8_t *out, const mr_q6_k *b, int r) {
    memcpy(out + 2 * r, b->d, 2);
    for (int i = 0; i < 16; i++) out[32 + 16 * i + r] = (uint8_t)b->scale[i];
}

/* Of one block of the file. Q8_0 and Q4_0 both begin with their scale. */
static void pack_scales(uint8_t *out, const void *block, mr_type type, int r) {
    if (type == MR_TYPE_Q6_K)
        pack_q6_scales(out, block, r);
    else if (mr_type_block(type) == MR_QK)
        pack_q45_scales(out, block, r);
    else
        memcpy(out + 2 * r, block, 2);
}

_Static_assert(offsetof(mr_q4_k, packed) == offsetof(mr_q5_k, packed) &&
                   offsetof(mr_q8_0, d) == 0 && offsetof(mr_q4_0, d) == 0,
               "what pack_scales takes to be alike");

static void pack_row(uint8_t *out, const uint8_t *row, mr_type type, size_t cols, int r) {
    const mr_tile_form f = mr_tile_form_of(type);
    const size_t block = mr_type_block(type), bytes = mr_type_block_bytes(type);
    const size_t block_scales = f.head_bytes + block / 32 * f.scale_bytes;
    uint8_t *scales = out + mr_tile_scales_at(type, cols);

    if (block == 1) {
        pack_plain(out, row, bytes, cols, r);
        return;
    }
    for (size_t i = 0; i < cols / 32; i++) {
        mr_group g;
        mr_group_open(&g, row, type, i);
        pack_quants(out + i * f.quant_bytes, g.q, type, r);
    }
    for (size_t i = 0; i < cols / block; i++)
        pack_scales(scales + i * block_scales, row + i * bytes, type, r);
}

static float f16_at(const uint8_t *p) {
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return fabsf(mr_f16_to_f32(h));
}

/* The largest |d| or |dmin| of a row; NaN if one is not finite. Q6_K has d at its end, the others
 * at their beginning, and those with a dmin behind it. */
static float largest_scale(const uint8_t *row, mr_type type, size_t cols) {
    const size_t bytes = mr_type_block_bytes(type), n = cols / mr_type_block(type);
    const size_t at = type == MR_TYPE_Q6_K ? offsetof(mr_q6_k, d) : 0;
    const bool has_min = type == MR_TYPE_Q4_K || type == MR_TYPE_Q5_K;
    float most = 0;

    for (size_t i = 0; i < n; i++) {
        const uint8_t *d = row + i * bytes + at;
        const float a = f16_at(d), b = has_min ? f16_at(d + 2) : 0;
        if (!isfinite(a) || !isfinite(b)) return NAN;
        most = fmaxf(most, fmaxf(a, b));
    }
    return most;
}

static float unit_of(float most) {
    int e;

    if (!(most > 0)) return most == 0 ? 1 : NAN;
    frexpf(most, &e);
    return ldexpf(1, e - 1);
}

void mr_pack_tile(uint8_t *out, const mr_mat *w, uint32_t i) {
    const bool has_units = mr_type_block(w->type) > 1;
    float unit[MR_TILE];

    for (uint32_t r = 0; r < MR_TILE; r++) {
        const uint8_t *row = (const uint8_t *)w->data + (i * MR_TILE + r) * w->row_bytes;
        unit[r] = 1;
        if (i * MR_TILE + r >= w->rows) continue;
        pack_row(out, row, w->type, w->cols, (int)r);
        if (has_units) unit[r] = unit_of(largest_scale(row, w->type, w->cols));
    }
    if (has_units) memcpy(out + mr_tile_units_at(w->type, w->cols), unit, sizeof unit);
}
