/* kv.c - the block pool: who holds a block, and which tokens are known to be in it.
 *
 * A block is empty, held, or idle. Empty blocks are a stack that hands out low numbers first and a
 * returned block next, so that a lightly loaded cache touches few pages. A full block can be made
 * known by what is in it: its tokens, its predecessor and a salt. Keys and values depend on just
 * the tokens up to them, bit by bit, so a sequence that begins with the same tokens takes it as it
 * is. A known block that nobody holds is idle: it waits to be found again, and is forgotten when
 * blocks run out, the one longest idle first.
 *
 * A known block is compared in full, never by its hash alone. Its predecessor is named by number:
 * whoever holds a block holds its predecessors too, and a table is given back from its end, so a
 * block is always forgotten before its predecessor, and the number cannot come to mean another.
 *
 * A block is not cleared between owners: attention reads positions below the length of its own
 * sequence only, and those have been written for it.
 *
 * Limits: n_block * block bytes of one layer must fit size_t; engine.c bounds n_block. Nothing here
 * allocates after init. */
#include "engine/kv.h"

#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

#define NONE (-1)

uint64_t mr_kv_bytes_for(mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head, uint32_t d_head,
                         uint32_t n_block) {
    return 2 * mr_kv_half(type, d_head) * (uint64_t)n_layer * n_kv_head * n_block;
}

uint32_t mr_kv_blocks_for(size_t n_tokens) {
    return (uint32_t)((n_tokens + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN);
}

uint32_t mr_kv_n_free(const mr_kv *kv) {
    return kv->n_empty + kv->n_idle;
}

mr_status mr_kv_init_lists(mr_kv *kv, mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head,
                           uint32_t d_head, uint32_t n_block, mr_err *err) {
    memset(kv, 0, sizeof *kv);
    kv->type = type;
    kv->n_layer = n_layer;
    kv->n_kv_head = n_kv_head;
    kv->d_head = d_head;
    kv->bytes = mr_kv_bytes_for(type, n_layer, n_kv_head, d_head, n_block);
    for (kv->n_buckets = 1; kv->n_buckets < n_block;) kv->n_buckets *= 2;
    kv->empty = malloc(n_block * sizeof *kv->empty);
    kv->blocks = calloc(n_block, sizeof *kv->blocks);
    kv->buckets = malloc(kv->n_buckets * sizeof *kv->buckets);
    if (!kv->empty || !kv->blocks || !kv->buckets) {
        mr_kv_deinit(kv);
        return mr_fail(err, MR_ENOMEM, "kv cache: no memory for the lists of %u blocks", n_block);
    }
    kv->n_block = kv->n_empty = n_block;
    kv->oldest = kv->newest = NONE;
    for (uint32_t i = 0; i < n_block; i++) {
        kv->empty[i] = (int32_t)(n_block - 1 - i);
        kv->blocks[i].parent = MR_KV_UNKNOWN;
    }
    for (uint32_t i = 0; i < kv->n_buckets; i++) kv->buckets[i] = NONE;
    return MR_OK;
}

mr_status mr_kv_init(mr_kv *kv, mr_kv_type type, uint32_t n_layer, uint32_t n_kv_head,
                     uint32_t d_head, uint32_t n_block, mr_err *err) {
    const mr_status st = mr_kv_init_lists(kv, type, n_layer, n_kv_head, d_head, n_block, err);

    if (st != MR_OK) return st;
    kv->head_bytes = 2 * mr_kv_half(type, d_head);
    kv->block_bytes = n_kv_head * kv->head_bytes;
    kv->data = mr_pages_map(kv->bytes);
    if (!kv->data) {
        mr_fail(err, MR_ENOMEM, "kv cache: cannot reserve %zu MiB for %u tokens", kv->bytes >> 20,
                n_block * MR_KV_BLOCK_LEN);
        mr_kv_deinit(kv);
        return MR_ENOMEM;
    }
    return MR_OK;
}

void mr_kv_deinit(mr_kv *kv) {
    mr_pages_unmap(kv->data, kv->bytes);
    free(kv->buckets);
    free(kv->blocks);
    free(kv->empty);
    memset(kv, 0, sizeof *kv);
}

/* ---- known blocks ---- */

/* splitmix64's last steps (Steele 2014). */
static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return h ^ h >> 31;
}

static int32_t *bucket_of(const mr_kv *kv, uint64_t salt, int32_t parent, const int32_t *tokens) {
    uint64_t h = mix(salt) + (uint64_t)(int64_t)parent;

    for (int i = 0; i < MR_KV_BLOCK_LEN; i++)
        h = mix(h + 0x9E3779B97F4A7C15u) ^ (uint64_t)tokens[i];
    return &kv->buckets[mix(h) & (kv->n_buckets - 1)];
}

static int32_t find(const mr_kv *kv, uint64_t salt, int32_t parent, const int32_t *tokens) {
    int32_t i = *bucket_of(kv, salt, parent, tokens);

    for (; i != NONE; i = kv->blocks[i].next) {
        const mr_kv_block *b = &kv->blocks[i];

        if (b->salt == salt && b->parent == parent &&
            memcmp(b->tokens, tokens, sizeof b->tokens) == 0)
            break;
    }
    return i;
}

/* ---- idle blocks, by age ---- */

static void become_idle(mr_kv *kv, int32_t i) {
    mr_kv_block *b = &kv->blocks[i];

    b->newer = NONE;
    b->older = kv->newest;
    *(kv->newest == NONE ? &kv->oldest : &kv->blocks[kv->newest].newer) = i;
    kv->newest = i;
    kv->n_idle++;
}

static void stop_idling(mr_kv *kv, int32_t i) {
    const mr_kv_block *b = &kv->blocks[i];

    *(b->older == NONE ? &kv->oldest : &kv->blocks[b->older].newer) = b->newer;
    *(b->newer == NONE ? &kv->newest : &kv->blocks[b->newer].older) = b->older;
    kv->n_idle--;
}

static int32_t forget_oldest(mr_kv *kv) {
    const int32_t i = kv->oldest;
    mr_kv_block *b = &kv->blocks[i];
    int32_t *at = bucket_of(kv, b->salt, b->parent, b->tokens);

    stop_idling(kv, i);
    while (*at != i) at = &kv->blocks[*at].next;
    *at = b->next;
    b->parent = MR_KV_UNKNOWN;
    return i;
}

/* ---- take and give ---- */

mr_status mr_kv_take(mr_kv *kv, int32_t *table, uint32_t n, mr_err *err) {
    if (n > mr_kv_n_free(kv))
        return mr_fail(err, MR_ELIMIT, "kv cache: %u blocks wanted, %u of %u free", n,
                       mr_kv_n_free(kv), kv->n_block);
    for (uint32_t i = 0; i < n; i++) {
        table[i] = kv->n_empty > 0 ? kv->empty[--kv->n_empty] : forget_oldest(kv);
        kv->blocks[table[i]].n_holders = 1;
    }
    return MR_OK;
}

static void give_one(mr_kv *kv, int32_t i) {
    mr_kv_block *b = &kv->blocks[i];

    MR_CHECK(b->n_holders > 0);
    if (--b->n_holders > 0) return;
    if (b->parent == MR_KV_UNKNOWN)
        kv->empty[kv->n_empty++] = i;
    else
        become_idle(kv, i);
}

void mr_kv_give(mr_kv *kv, const int32_t *table, uint32_t n) {
    /* Backwards: the next sequence gets the same empty blocks in the same order, and of idle ones
     * the end is forgotten before the beginning. */
    for (uint32_t i = n; i-- > 0;) give_one(kv, table[i]);
}

static void hold(mr_kv *kv, int32_t i) {
    if (kv->blocks[i].n_holders++ == 0) stop_idling(kv, i);
}

/* ---- prefixes ---- */

uint32_t mr_kv_find(mr_kv *kv, uint64_t salt, const int32_t *tokens, uint32_t n, int32_t *table) {
    int32_t parent = MR_KV_FIRST;

    for (uint32_t i = 0; i < n; i++) {
        const int32_t block = find(kv, salt, parent, tokens + (size_t)i * MR_KV_BLOCK_LEN);

        if (block == NONE) return i;
        hold(kv, block);
        table[i] = parent = block;
    }
    return n;
}

void mr_kv_make_known(mr_kv *kv, uint64_t salt, const int32_t *tokens, int32_t *table, uint32_t i) {
    const int32_t *in_block = tokens + (size_t)i * MR_KV_BLOCK_LEN;
    const int32_t parent = i == 0 ? MR_KV_FIRST : table[i - 1];
    const int32_t equal = find(kv, salt, parent, in_block);
    mr_kv_block *b = &kv->blocks[table[i]];

    MR_CHECK(parent == MR_KV_FIRST || kv->blocks[parent].parent != MR_KV_UNKNOWN);
    if (equal != NONE) {
        hold(kv, equal);
        give_one(kv, table[i]);
        table[i] = equal;
        return;
    }
    int32_t *bucket = bucket_of(kv, salt, parent, in_block);
    b->salt = salt;
    b->parent = parent;
    memcpy(b->tokens, in_block, sizeof b->tokens);
    b->next = *bucket;
    *bucket = table[i];
}

void mr_kv_put(const mr_kv *kv, const mr_ops *ops, uint32_t layer, const int32_t *table,
               uint32_t pos, uint32_t head, const float *k, const float *v, void *scratch) {
    const size_t block = (size_t)table[pos / MR_KV_BLOCK_LEN];

    mr_kv_write(mr_kv_at(kv, layer, block, head), kv->type, ops, pos % MR_KV_BLOCK_LEN, k, v,
                kv->d_head, scratch);
}
