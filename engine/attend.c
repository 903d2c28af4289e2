/* attend.c - which rows attend together, and on which thread.
 *
 * Rows of one sequence that follow each other form a block: a prompt chunk then reads a stretch of
 * the cache once for MR_ATTEND_ROWS rows instead of once for each. A piece of work is one block and
 * one key head, with all query heads that share it; where there are BLOCKS_PER_THREAD it is one
 * block with all key heads, which lie side by side in the cache, so that each is fetched while the
 * one before it is at work. When heads make too few pieces for the threads (one sequence with a
 * long context is a handful) SPANS_PER_PIECE spans of positions become a piece of their own: each
 * span leaves a record, and whoever finishes the last piece of a block's key head joins the records
 * in order. Whole or in spans, the sums are the same bits (ops.h), so the number of threads does
 * not show.
 *
 * A step of many sequences with one row each is all blocks that are alone. A row's keys are
 * written to hundreds of lines of memory, and the first to read them is its own attention: so a
 * piece does both, head by head, and lines come once, to the core that needs them.
 *
 * Blocks begin at multiples of MR_ATTEND_ROWS, so they never cross a span or a run of keys, and
 * no two threads write keys of one run. Pieces are taken from the end: the rows with most to read
 * first, so that threads end together.
 *
 * Limits: PARTS_BYTES of records, or those of one row if that is more; a block whose records find
 * no room stays whole. */
#include "engine/attend.h"

#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

#define PIECES_PER_THREAD 4 /* fewer: split. The last piece to end then costs a quarter at most */
#define BLOCKS_PER_THREAD 8 /* more: a piece has all heads. The last to end costs an eighth */
#define SPANS_PER_PIECE   4 /* one after the other: the cache of the next is fetched meanwhile */
#define PARTS_BYTES       ((size_t)4 << 20)

_Static_assert(MR_KV_RUN % MR_ATTEND_ROWS == 0, "a block of rows lies in a run of the cache");
_Static_assert(MR_ATTN_SPAN % MR_KV_BLOCK_LEN == 0, "a span is whole blocks");

static uint32_t group_of(const mr_hparams *hp) {
    return hp->n_head / hp->n_kv_head;
}

static size_t record_bytes(const mr_hparams *hp) {
    return MR_ATTN_RECORD(hp->d_head) * sizeof(float);
}

/* ---- open and close ---- */

size_t mr_attend_bytes_for(const mr_hparams *hp, uint32_t max_len) {
    const size_t n_spans = (max_len + MR_ATTN_SPAN - 1) / MR_ATTN_SPAN;
    const size_t row = n_spans * hp->n_head * record_bytes(hp);

    return row > PARTS_BYTES ? row : PARTS_BYTES;
}

size_t mr_attend_scratch(const mr_hparams *hp) {
    const size_t n_queries = MR_ATTEND_ROWS * group_of(hp);

    return mr_attn_scratch(MR_ATTEND_ROWS, group_of(hp), hp->d_head) * sizeof(float) +
           n_queries * record_bytes(hp);
}

mr_status mr_attend_init(mr_attend *a, const mr_hparams *hp, const mr_ops *ops, const mr_kv *kv,
                         uint32_t max_rows, uint32_t max_len, int n_threads, mr_err *err) {
    *a = (mr_attend){.hp = hp, .ops = ops, .kv = kv};
    a->few = n_threads > 1 ? PIECES_PER_THREAD * (uint32_t)n_threads : 0;
    a->many = n_threads > 1 ? BLOCKS_PER_THREAD * (uint32_t)n_threads : 0;
    a->parts_bytes = mr_attend_bytes_for(hp, max_len);
    a->n_records = a->parts_bytes / record_bytes(hp);
    a->blocks = calloc(max_rows, sizeof *a->blocks);
    a->left = calloc(a->few + 1, sizeof *a->left); /* + 1: never a calloc of 0 */
    a->parts = mr_pages_map(a->parts_bytes);
    if (a->blocks && a->left && a->parts) return MR_OK;
    mr_attend_deinit(a);
    return mr_fail(err, MR_ENOMEM, "engine: no memory for the attention of %u rows", max_rows);
}

void mr_attend_deinit(mr_attend *a) {
    mr_pages_unmap(a->parts, a->parts_bytes);
    free(a->left);
    free(a->blocks);
    memset(a, 0, sizeof *a);
}

/* ---- the plan ---- */

static uint32_t n_spans(const mr_attend_block *b) {
    return (b->pos + b->n_rows - 1) / MR_ATTN_SPAN + 1;
}

static uint32_t n_pieces(const mr_attend_block *b) { /* of one key head */
    return b->n_parts == 1 ? 1 : (b->n_parts + SPANS_PER_PIECE - 1) / SPANS_PER_PIECE;
}

static bool follows(const mr_attend_block *b, const mr_row *r) {
    return r->table == b->table && r->pos == b->pos + b->n_rows && r->pos % MR_ATTEND_ROWS != 0;
}

static void make_blocks(mr_attend *a, const mr_row *rows, const uint32_t *live, uint32_t n) {
    a->n_blocks = 0;
    for (uint32_t i = 0; i < n; i++) {
        const mr_row *r = &rows[live[i]];
        mr_attend_block *last = a->blocks + a->n_blocks - 1;

        if (a->n_blocks > 0 && follows(last, r)) {
            last->n_rows++;
            continue;
        }
        a->blocks[a->n_blocks++] =
            (mr_attend_block){.table = r->table, .first = i, .n_rows = 1, .pos = r->pos};
    }
}

/* Rows of a sequence lie together, so its blocks do. */
static bool is_alone(const mr_attend *a, uint32_t i) {
    const mr_attend_block *b = &a->blocks[i];

    return b->n_parts == 1 && (i == 0 || b[-1].table != b->table) &&
           (i + 1 == a->n_blocks || b[1].table != b->table);
}

void mr_attend_plan(mr_attend *a, const mr_row *rows, const uint32_t *live, uint32_t n) {
    const uint32_t n_kv = a->hp->n_kv_head;
    size_t n_records = 0;

    make_blocks(a, rows, live, n);
    const bool split = a->n_blocks * n_kv < a->few;
    a->n_heads = a->n_blocks < a->many ? 1 : n_kv;
    a->n_pieces = a->n_alone = 0;
    for (uint32_t i = 0; i < a->n_blocks; i++) {
        mr_attend_block *b = &a->blocks[i];
        const size_t records = (size_t)n_spans(b) * b->n_rows * a->hp->n_head;

        b->n_parts = 1;
        b->first_piece = a->n_pieces;
        b->first_left = i * n_kv;
        b->first_record = n_records;
        if (split && n_records + records <= a->n_records) {
            b->n_parts = n_spans(b);
            n_records += records;
        }
        a->n_pieces += n_pieces(b) * (n_kv / a->n_heads);
        a->n_alone += b->alone = is_alone(a, i);
    }
}

void mr_attend_arm(mr_attend *a) {
    for (uint32_t i = 0; i < a->n_blocks; i++) {
        const mr_attend_block *b = &a->blocks[i];

        for (uint32_t h = 0; b->n_parts > 1 && h < a->hp->n_kv_head; h++)
            atomic_store_explicit(&a->left[b->first_left + h], n_pieces(b), memory_order_relaxed);
    }
}

/* ---- a piece ---- */

static const mr_attend_block *block_of(const mr_attend *a, uint32_t piece) {
    uint32_t lo = 0, hi = a->n_blocks; /* the last block that begins at or before the piece */

    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;

        if (a->blocks[mid].first_piece <= piece)
            lo = mid;
        else
            hi = mid;
    }
    return &a->blocks[lo];
}

/* Records of the block's first part for one key head; those of the next part are step further. */
static void join(const mr_attend *a, const mr_attend_block *b, uint32_t kv_head, const float *part,
                 size_t step, float *out) {
    const mr_hparams *hp = a->hp;
    const uint32_t group = group_of(hp);

    for (uint32_t r = 0; r < b->n_rows; r++)
        for (uint32_t g = 0; g < group; g++, part += MR_ATTN_RECORD(hp->d_head)) {
            const size_t head = (size_t)(b->first + r) * hp->n_head + kv_head * group + g;

            a->ops->attn_join(out + head * hp->d_head, part, b->n_parts, step, hp->d_head);
        }
}

/* A block's rows and one key head; over the spans from span0 on that are a piece, or all. */
static void attend_head(mr_attend *a, const mr_attend_block *b, uint32_t kv_head, uint32_t span0,
                        uint32_t layer, const float *q, float *out, void *scratch) {
    const mr_hparams *hp = a->hp;
    const uint32_t span1 = span0 + SPANS_PER_PIECE;
    const size_t record = MR_ATTN_RECORD(hp->d_head);
    const size_t head_records = (size_t)b->n_rows * group_of(hp) * record;
    const size_t step = hp->n_kv_head * head_records; /* from part to part */
    float *own = (float *)scratch + mr_attn_scratch(MR_ATTEND_ROWS, group_of(hp), hp->d_head);
    float *first = a->parts + b->first_record * record + kv_head * head_records;
    const bool whole = b->n_parts == 1;

    a->ops->attn(&(mr_attn_args){.part = whole ? own : first + span0 * step,
                                 .step = whole ? 0 : step,
                                 .q = q + (size_t)b->first * hp->n_head * hp->d_head,
                                 .kv = mr_kv_at(a->kv, layer, 0, kv_head),
                                 .block_bytes = a->kv->block_bytes,
                                 .kv_type = a->kv->type,
                                 .table = b->table,
                                 .pos = b->pos,
                                 .n_rows = b->n_rows,
                                 .span0 = whole ? 0 : span0,
                                 .span1 = whole || span1 > n_spans(b) ? n_spans(b) : span1,
                                 .n_head = hp->n_head,
                                 .n_kv_head = hp->n_kv_head,
                                 .d_head = hp->d_head,
                                 .kv_head = kv_head,
                                 .scale = hp->attn_scale,
                                 .scratch = scratch});
    if (whole) {
        join(a, b, kv_head, own, 0, out);
        return;
    }
    if (atomic_fetch_sub_explicit(&a->left[b->first_left + kv_head], 1, memory_order_acq_rel) == 1)
        join(a, b, kv_head, first, step, out);
}

void mr_attend_piece(mr_attend *a, uint32_t piece, uint32_t layer, const float *q, float *out,
                     void *scratch) {
    const mr_attend_block *b = block_of(a, piece = a->n_pieces - 1 - piece);
    const uint32_t n_groups = a->hp->n_kv_head / a->n_heads, i = piece - b->first_piece;
    const uint32_t first = i % n_groups * a->n_heads;

    for (uint32_t h = first; h < first + a->n_heads; h++) {
        if (a->due && b->alone) a->due(a->due_arg, b, h, scratch);
        attend_head(a, b, h, i / n_groups * SPANS_PER_PIECE, layer, q, out, scratch);
    }
}
