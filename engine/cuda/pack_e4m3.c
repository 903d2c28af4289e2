/* pack_e4m3.c - from the rows of the file, of any type, to FP8 numbers in tiles or in rows; e4m3.h
 * has both. */
#include "engine/cuda/pack_e4m3.h"

#include "engine/cuda/e4m3.h"
#include "engine/quant.h"

_Static_assert(MR_QK <= 2 * MR_E4M3_BLOCK, "whole blocks of every type");

/* MR_E4M3_BLOCK columns of a row, or fewer at its end, from `first` on. */
static void pack_block(uint8_t *tile, const float *w, uint32_t first, uint32_t n, size_t cols,
                       uint32_t row) {
    float most = 0;

    for (uint32_t i = 0; i < n; i++) most = mr_larger(fabsf(w[i]), most);
    const mr_e4m3_scale s = mr_e4m3_scale_of(most);
    const size_t at =
        mr_e4m3_scales_at(cols) + ((size_t)first / MR_E4M3_BLOCK * MR_TILE + row) * sizeof s.scale;
    memcpy(tile + at, &s.scale, sizeof s.scale);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *group = tile + (size_t)(first + i) / 32 * MR_E4M3_GROUP_BYTES;
        group[i % 32 / 4 * 64 + 4 * row + i % 4] = s.inv > 0 ? mr_to_e4m3(w[i] * s.inv) : 0;
    }
}

#define STRETCH (2 * MR_E4M3_BLOCK) /* columns at a time: whole blocks of every type */

/* Columns `first` .. of row r, as numbers, STRETCH or those that are left; returns how many. */
static uint32_t open_stretch(float v[STRETCH], const mr_mat *w, uint32_t r, uint32_t first) {
    const uint32_t n = mr_least(STRETCH, w->cols - first);
    const char *row = (const char *)w->data + r * w->row_bytes;

    mr_dequantize_row(v, row + mr_type_row_bytes(w->type, first), w->type, n);
    return n;
}

void mr_pack_e4m3(uint8_t *out, const mr_mat *w, uint32_t i) {
    float v[STRETCH];

    for (uint32_t r = 0; r < MR_TILE && i * MR_TILE + r < w->rows; r++) {
        for (uint32_t c = 0; c < w->cols; c += STRETCH) {
            const uint32_t n = open_stretch(v, w, i * MR_TILE + r, c);
            const uint32_t half = mr_least(MR_E4M3_BLOCK, n);
            pack_block(out, v, c, half, w->cols, r);
            if (n > half) pack_block(out, v + half, c + half, n - half, w->cols, r);
        }
    }
}

void mr_pack_e4m3_rows(uint8_t *codes, float *scales, const mr_mat *w, uint32_t i) {
    float v[STRETCH];

    for (uint32_t r = 0; r < MR_TILE && i * MR_TILE + r < w->rows; r++) {
        float most = 0;
        for (uint32_t c = 0; c < w->cols; c += STRETCH) {
            const uint32_t n = open_stretch(v, w, i * MR_TILE + r, c);
            for (uint32_t k = 0; k < n; k++) most = mr_larger(fabsf(v[k]), most);
        }
        const mr_e4m3_scale s = mr_e4m3_scale_of(most);
        scales[r] = s.scale;
        for (uint32_t c = 0; c < w->cols && s.inv > 0; c += STRETCH) {
            const uint32_t n = open_stretch(v, w, i * MR_TILE + r, c);
            for (uint32_t k = 0; k < n; k++)
                codes[(size_t)r * w->cols + c + k] = mr_to_e4m3(v[k] * s.inv);
        }
    }
}
