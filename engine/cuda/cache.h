/* cache.h - where a device has the keys and values of a layer.
 *
 * Keys are [n_block, n_kv_head] halves, values as many. Of MR_KV_F16 a half of keys is
 * [MR_KV_BLOCK_LEN, pitch], one of values [pitch, MR_KV_BLOCK_LEN], pitch = d_head up to a multiple
 * of 8: numbers side by side are multiplied with as many others and added up, in scores as in
 * outputs, so a lane loads 8 of them at once. The CPU's cache has it the other way round, as it
 * multiplies one number with 16.
 *
 * MR_KV_Q8_0: the same with bytes, and behind them the scales, f16 [groups, MR_KV_BLOCK_LEN]; bytes
 * and scales are those of kv_form.h. Keys behind d_head are 0, as memory is at first. */
#ifndef MR_ENGINE_CUDA_CACHE_H
#define MR_ENGINE_CUDA_CACHE_H

#include <assert.h>

#include "engine/cuda/machine.h"

typedef struct mr_dev_cache { /* of one layer */
    uint8_t *k, *v;
    mr_kv_type type;
    uint32_t n_kv_head, pitch;
} mr_dev_cache;

MR_BODY uint32_t mr_pitch_of(uint32_t d_head) {
    return (d_head + 7) / 8 * 8;
}
/* Where in a half of MR_KV_Q8_0 the scales begin. */
MR_BODY size_t mr_cache_scales_at(uint32_t pitch) {
    return (size_t)MR_KV_BLOCK_LEN * pitch;
}
/* Bytes of the keys, or of the values, of one head in one block. */
MR_BODY size_t mr_cache_half(mr_kv_type type, uint32_t pitch) {
    const uint32_t groups = (pitch + MR_KV_GROUP - 1) / MR_KV_GROUP;

    return MR_KV_BLOCK_LEN * (size_t)(type == MR_KV_F16 ? 2 * pitch : pitch + 2 * groups);
}
/* The half of a head in a block, keys or values. */
MR_BODY size_t mr_cache_at(const mr_dev_cache *c, int32_t block, uint32_t kv_head) {
    return ((size_t)block * c->n_kv_head + kv_head) * mr_cache_half(c->type, c->pitch);
}

#endif
