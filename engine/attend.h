/* attend.h - attention of a ragged batch, cut into pieces for the threads.
 *
 * plan() says which rows go together; when the keys and values of all of them are in the cache,
 * piece() does one piece of the work. Those of a block that is alone need not be there yet: a
 * function of the caller's, due, can write them when their turn comes. Owner: caller, init to
 * deinit. Thread: plan from one; piece from any, each number once per layer. */
#ifndef MR_ENGINE_ATTEND_H
#define MR_ENGINE_ATTEND_H

#include <stdatomic.h>

#include "engine/backend.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/ops.h"

#define MR_ATTEND_ROWS 16 /* most rows of a block; divides MR_KV_RUN */

typedef struct mr_attend_block { /* rows that follow each other in one sequence */
    const int32_t *table;
    uint32_t first, n_rows, pos; /* first: among the rows of the plan; pos: its position */
    uint32_t n_parts;            /* records that are joined: 1, or one for each of its spans */
    uint32_t first_piece, first_left;
    size_t first_record;
    bool alone; /* no other block of its sequence, and one piece for each key head */
} mr_attend_block;

/* What is still to be done to a key head of a block before it attends, its keys included. */
typedef void mr_attend_due_fn(void *arg, const mr_attend_block *b, uint32_t kv_head, void *scratch);

typedef struct mr_attend {
    const mr_hparams *hp;
    const mr_ops *ops;
    const mr_kv *kv;
    uint32_t few;                         /* pieces below which spans become pieces of their own */
    uint32_t many;                        /* blocks from which on a piece has all key heads */
    uint32_t n_blocks, n_pieces, n_heads; /* n_heads: key heads of a piece */
    uint32_t n_alone;                     /* blocks */
    mr_attend_due_fn *due; /* or NULL: the pieces of a block that is alone call it, once a head */
    void *due_arg;
    mr_attend_block *blocks; /* [max_rows] */
    atomic_uint *left;       /* [few]: pieces that a block's key head still waits for */
    float *parts;            /* [n_records] records of spans */
    size_t n_records, parts_bytes;
} mr_attend;

/* Borrows hp, ops and kv. max_len: longest sequence. Everything is reserved here. */
mr_status mr_attend_init(mr_attend *a, const mr_hparams *hp, const mr_ops *ops, const mr_kv *kv,
                         uint32_t max_rows, uint32_t max_len, int n_threads, mr_err *err);
void mr_attend_deinit(mr_attend *a); /* zeroed or half-made is allowed */
/* Bytes that init reserves beside its lists, and those of a piece's scratch. */
size_t mr_attend_bytes_for(const mr_hparams *hp, uint32_t max_len);
size_t mr_attend_scratch(const mr_hparams *hp);

/* rows[live[i]], i < n: those that take part; the rows of a sequence lie together. Sets n_blocks,
 * n_alone and n_pieces, for any number of layers. arm() is called before the pieces of each. */
void mr_attend_plan(mr_attend *a, const mr_row *rows, const uint32_t *live, uint32_t n);
void mr_attend_arm(mr_attend *a);
/* q, out [n, n_head, d_head] of the plan's rows. */
void mr_attend_piece(mr_attend *a, uint32_t piece, uint32_t layer, const float *q, float *out,
                     void *scratch);

#endif
