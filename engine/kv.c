/* kv.c - the block pool: a stack of free block numbers over one large mapping.
 *
 * The stack hands out low numbers first and a returned block next, so that a lightly loaded cache
 * touches few pages. A block is not cleared between owners: attention reads positions below the
 * length of its own sequence only, and those it has written itself.
 *
 * Limits: n_block * block bytes of one layer must fit size_t; engine.c bounds n_block. */
#include "engine/kv.h"

#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

uint64_t mr_kv_bytes_for(uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head, uint32_t n_block) {
    return 2 * sizeof(mr_f16) * (uint64_t)n_layer * n_kv_head * d_head * n_block * MR_KV_BLOCK_LEN;
}

uint32_t mr_kv_blocks_for(size_t n_tokens) {
    return (uint32_t)((n_tokens + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN);
}

mr_status mr_kv_init(mr_kv *kv, uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head,
                     uint32_t n_block, mr_err *err) {
    memset(kv, 0, sizeof *kv);
    kv->n_layer = n_layer;
    kv->n_kv_head = n_kv_head;
    kv->d_head = d_head;
    kv->layer_values = (size_t)n_block * n_kv_head * MR_KV_BLOCK_LEN * d_head;
    kv->bytes = mr_kv_bytes_for(n_layer, n_kv_head, d_head, n_block);
    kv->free = malloc(n_block * sizeof *kv->free);
    kv->k = mr_pages_map(kv->bytes);
    if (!kv->free || !kv->k) {
        const mr_status st =
            mr_fail(err, MR_ENOMEM, "kv cache: cannot reserve %zu MiB for %u tokens",
                    kv->bytes >> 20, n_block * MR_KV_BLOCK_LEN);
        mr_kv_deinit(kv);
        return st;
    }
    kv->v = kv->k + n_layer * kv->layer_values;
    kv->n_block = kv->n_free = n_block;
    for (uint32_t i = 0; i < n_block; i++) kv->free[i] = (int32_t)(n_block - 1 - i);
    return MR_OK;
}

void mr_kv_deinit(mr_kv *kv) {
    mr_pages_unmap(kv->k, kv->bytes);
    free(kv->free);
    memset(kv, 0, sizeof *kv);
}

mr_status mr_kv_take(mr_kv *kv, int32_t *table, uint32_t n, mr_err *err) {
    if (n > kv->n_free)
        return mr_fail(err, MR_ELIMIT, "kv cache: %u blocks wanted, %u of %u free", n, kv->n_free,
                       kv->n_block);
    for (uint32_t i = 0; i < n; i++) table[i] = kv->free[--kv->n_free];
    return MR_OK;
}

void mr_kv_give(mr_kv *kv, const int32_t *table, uint32_t n) {
    MR_CHECK(n <= kv->n_block - kv->n_free);
    /* Backwards, so that the next sequence gets the same blocks in the same order. */
    for (uint32_t i = n; i-- > 0;) kv->free[kv->n_free++] = table[i];
}

void mr_kv_put(const mr_kv *kv, const mr_ops *ops, uint32_t layer, const int32_t *table,
               uint32_t pos, const float *k, const float *v, mr_f16 *scratch) {
    const uint32_t d_head = kv->d_head, in = pos % MR_KV_BLOCK_LEN;

    for (uint32_t h = 0; h < kv->n_kv_head; h++) {
        const size_t at = mr_kv_at(kv, table, pos, h);
        mr_f16 *key = mr_kv_k(kv, layer) + at + in;

        ops->to_f16(scratch, k + (size_t)h * d_head, d_head);
        for (uint32_t d = 0; d < d_head; d++) key[d * MR_KV_BLOCK_LEN] = scratch[d];
        ops->to_f16(mr_kv_v(kv, layer) + at + in * d_head, v + (size_t)h * d_head, d_head);
    }
}
