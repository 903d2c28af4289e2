/* kv.h - keys and values of all sequences, in blocks that any sequence can take.
 *
 * Memory, f16, per layer: keys [n_block, n_kv_head, d_head, block_len], so that 16 positions are one
 * vector when scores are made; values [n_block, n_kv_head, block_len, d_head].
 * A sequence's block table lists its blocks in order of position; one number stands for the same
 * block in every layer. After Kwon 2023, "PagedAttention", sec. 4.1. Owner: caller, init to deinit.
 * Thread: take and give from one thread; blocks are written by whoever computes the rows. */
#ifndef MR_ENGINE_KV_H
#define MR_ENGINE_KV_H

#include <stddef.h>
#include <stdint.h>

#include "engine/ops.h"

typedef struct mr_kv {
    mr_f16 *k, *v;       /* [n_layer] of the above */
    size_t layer_values; /* values of one layer, keys or values */
    size_t bytes;        /* of k and v together */
    uint32_t n_layer, n_kv_head, d_head;
    uint32_t n_block, n_free;
    int32_t *free; /* [n_block]: the first n_free are free, taken from the end */
} mr_kv;

/* Reserves n_block blocks; MR_ENOMEM names the size. */
mr_status mr_kv_init(mr_kv *kv, uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head,
                     uint32_t n_block, mr_err *err);
void mr_kv_deinit(mr_kv *kv); /* zeroed or half-made is allowed */

/* Bytes of a cache of n_block blocks. */
uint64_t mr_kv_bytes_for(uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head, uint32_t n_block);
/* Blocks that hold n_tokens positions. */
uint32_t mr_kv_blocks_for(size_t n_tokens);

/* table[n] gets n blocks, all or none. MR_ELIMIT: fewer are free. */
mr_status mr_kv_take(mr_kv *kv, int32_t *table, uint32_t n, mr_err *err);
void mr_kv_give(mr_kv *kv, const int32_t *table, uint32_t n);

/* Keys and values [n_kv_head, d_head] of one position. scratch: d_head values. */
void mr_kv_put(const mr_kv *kv, const mr_ops *ops, uint32_t layer, const int32_t *table,
               uint32_t pos, const float *k, const float *v, mr_f16 *scratch);

static inline mr_f16 *mr_kv_k(const mr_kv *kv, uint32_t layer) {
    return kv->k + layer * kv->layer_values;
}
static inline mr_f16 *mr_kv_v(const mr_kv *kv, uint32_t layer) {
    return kv->v + layer * kv->layer_values;
}
/* Index of the first value of one head in the block that holds a position, within a layer: key d of
 * position pos is d * MR_KV_BLOCK_LEN + pos % MR_KV_BLOCK_LEN further. */
static inline size_t mr_kv_at(const mr_kv *kv, const int32_t *table, uint32_t pos, uint32_t head) {
    const size_t block = (size_t)table[pos / MR_KV_BLOCK_LEN];

    return (block * kv->n_kv_head + head) * MR_KV_BLOCK_LEN * kv->d_head;
}

#endif
