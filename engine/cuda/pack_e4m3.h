/* pack_e4m3.h - weights of any type as tiles of FP8 numbers. */
#ifndef MR_ENGINE_CUDA_PACK_E4M3_H
#define MR_ENGINE_CUDA_PACK_E4M3_H

#include "engine/model.h"

/* Tile i of w, whose columns are a multiple of 32, from w->data into out[mr_e4m3_tile_bytes], which
 * is zero. Thread: any. */
void mr_pack_e4m3(uint8_t *out, const mr_mat *w, uint32_t i);
/* The same rows for the vendor's library: codes[mr_e4m3_rows_bytes], scales[MR_TILE], both zero. */
void mr_pack_e4m3_rows(uint8_t *codes, float *scales, const mr_mat *w, uint32_t i);

#endif
