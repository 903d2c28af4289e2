/* kv.h - keys and values of all sequences, in blocks that any sequence can take, and equal ones
 * share.
 *
 * Memory: [n_layer, n_block, n_kv_head] of what kv_form.h describes. A sequence's block table lists
 * its blocks in order of position; one number stands for the same block in every layer. After Kwon
 * 2023, "PagedAttention", sec. 4.1. Owner: caller, init to deinit. Thread: one; blocks are written
 * by whoever computes the rows. */
#ifndef MR_ENGINE_KV_H
#define MR_ENGINE_KV_H

#include <stddef.h>
#include <stdint.h>

#include "engine/ops.h"

typedef struct mr_kv_block {
    uint32_t n_holders;   /* tables that it is in */
    int32_t parent;       /* known blocks: the one before it, or MR_KV_FIRST; else MR_KV_UNKNOWN */
    int32_t next;         /* known blocks: the next in its bucket, -1: none */
    int32_t older, newer; /* known blocks without a holder: neighbours in age, -1: none */
    uint64_t salt;
    int32_t tokens[MR_KV_BLOCK_LEN];
} mr_kv_block;

#define MR_KV_FIRST   (-1)
#define MR_KV_UNKNOWN (-2)

typedef struct mr_kv {
    mr_kv_type type;
    uint8_t *data;      /* NULL: a device has it */
    size_t head_bytes;  /* of one head in one block */
    size_t block_bytes; /* of one block in one layer */
    size_t bytes;
    uint32_t n_layer, n_kv_head, d_head;
    uint32_t n_block;
    mr_kv_block *blocks;      /* [n_block] */
    int32_t *empty;           /* [n_block]: the first n_empty hold nothing, taken from the end */
    uint32_t n_empty, n_idle; /* idle: known, without a holder */
    int32_t oldest, newest;   /* of the idle ones */
    int32_t *buckets;         /* [n_buckets] known blocks by content, -1: none */
    uint32_t n_buckets;       /* a power of two */
} mr_kv;

/* Reserves n_block blocks; MR_ENOMEM names the size. _lists: who holds which block, and no memory
 * for keys and values: a device has it. */
mr_status mr_kv_init(mr_kv *kv, mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head,
                     uint32_t d_head, uint32_t n_block, mr_err *err);
mr_status mr_kv_init_lists(mr_kv *kv, mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head,
                           uint32_t d_head, uint32_t n_block, mr_err *err);
void mr_kv_deinit(mr_kv *kv); /* zeroed or half-made is allowed */

/* Bytes of a cache of n_block blocks. */
uint64_t mr_kv_bytes_for(mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head,
                         uint32_t n_block);
/* Blocks that hold n_tokens positions. */
uint32_t mr_kv_blocks_for(size_t n_tokens);
/* Blocks that take would find: empty ones and idle ones. */
uint32_t mr_kv_n_free(const mr_kv *kv);

/* table[n] gets n blocks, all or none; when no empty ones are left the idle ones that were given
 * back longest ago are forgotten. MR_ELIMIT: fewer are free. */
mr_status mr_kv_take(mr_kv *kv, int32_t *table, uint32_t n, mr_err *err);
/* table: all blocks of a sequence, whether taken or found. */
void mr_kv_give(mr_kv *kv, const int32_t *table, uint32_t n);

/* The longest known beginning of tokens[n * MR_KV_BLOCK_LEN], at most n blocks, goes to the front
 * of the table as if taken. Only what was made known with the same salt is found. */
uint32_t mr_kv_find(mr_kv *kv, uint64_t salt, const int32_t *tokens, uint32_t n, int32_t *table);
/* Block i of a table is full: keys and values of tokens[i * MR_KV_BLOCK_LEN ..] are in it, in all
 * layers, and its predecessors are known. It becomes known; or, if an equal one is, the table gets
 * that and its own is given back. */
void mr_kv_make_known(mr_kv *kv, uint64_t salt, const int32_t *tokens, int32_t *table, uint32_t i);

/* Keys and values [d_head] of one head and position. scratch: d_head values of f16. */
void mr_kv_put(const mr_kv *kv, const mr_ops *ops, uint32_t layer, const int32_t *table,
               uint32_t pos, uint32_t head, const float *k, const float *v, void *scratch);

/* One head of a block. */
static inline uint8_t *mr_kv_at(const mr_kv *kv, uint32_t layer, size_t block, uint32_t head) {
    return kv->data + (layer * (size_t)kv->n_block + block) * kv->block_bytes +
           head * kv->head_bytes;
}

#endif
