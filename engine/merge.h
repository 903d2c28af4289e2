/* merge.h - the greedy pair merging that both kinds of tokenizer do.
 *
 * A text is a list of symbols. Again and again the best pair of neighbours becomes one symbol,
 * until no pair is known; of equally good pairs the leftmost goes first. Private to engine/. */
#ifndef MR_ENGINE_MERGE_H
#define MR_ENGINE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_MERGE_END     UINT32_MAX
#define MR_SYMBOL_NONE   (-1)
#define MR_MERGE_MAX_LEN ((size_t)1 << 28) /* bytes of one text to merge */

typedef struct mr_symbol {
    uint32_t begin, len; /* bytes of the text; len 0: merged into its left neighbour */
    uint32_t prev, next; /* MR_MERGE_END: none */
    int32_t id;          /* MR_SYMBOL_NONE: not in the vocabulary */
} mr_symbol;

typedef struct mr_pair {
    uint64_t order; /* the smallest is merged first; equal ones from left to right */
    uint32_t len;   /* of both symbols when the pair was seen: tells whether it still is */
    int32_t id;     /* what they become */
} mr_pair;

/* Scratch memory; grows with the longest text and is kept for the next one. */
typedef struct mr_merge {
    mr_symbol *syms; /* [n_syms], in text order; the caller appends */
    size_t n_syms, cap_syms;
    mr_pair *heap;
    size_t n_heap, cap_heap;
} mr_merge;

/* Zero the struct to begin with. */
void mr_merge_deinit(mr_merge *m);
/* Appends a symbol behind the last; false: out of memory. */
bool mr_merge_add(mr_merge *m, uint32_t begin, uint32_t len, int32_t id);
/* Priority (smaller is sooner) and result of a pair; false: not a pair. */
typedef bool mr_merge_rule(const void *owner, const mr_symbol *left, const mr_symbol *right,
                           uint32_t *priority, int32_t *id);
/* What is left afterwards: from syms[0] along next. O(n log n). False: out of memory. */
bool mr_merge_run(mr_merge *m, mr_merge_rule *rule, const void *owner);

#endif
