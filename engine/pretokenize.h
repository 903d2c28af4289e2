/* pretokenize.h - cuts text into the pieces inside which byte-level BPE merges.
 *
 * What other programs do with regular expressions is done here by hand, one character class at a
 * time. Pieces follow each other without gap: joined they are the text, byte for byte. */
#ifndef MR_ENGINE_PRETOKENIZE_H
#define MR_ENGINE_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum mr_pre_rule {
    MR_PRE_DEFAULT, /* punctuation apart, then gpt-2, then digits in threes */
    MR_PRE_GPT2,
    MR_PRE_LLAMA3, /* numbers in threes from the left, contractions in any case */
    MR_PRE_QWEN2,  /* the same with single digits */
    MR_PRE_SMOLLM  /* single digits apart, then gpt-2 */
} mr_pre_rule;

typedef struct mr_pre { /* one name of `tokenizer.ggml.pre` and what it implies */
    const char *name;
    mr_pre_rule rule;
    bool ignore_merges; /* a piece that is a token is taken whole */
    bool adds_bos;      /* unless the file says otherwise */
} mr_pre;

/* NULL: unknown name. */
const mr_pre *mr_pre_find(const char *name, size_t len);
const mr_pre *mr_pre_at(size_t i); /* NULL behind the last */

typedef struct mr_pre_iter {
    mr_pre_rule rule;
    const char *text;
    size_t len, pos;
    size_t part; /* end of the part inside which the last rule matches */
    size_t cut;  /* end of the digits that still have to be cut (default) */
} mr_pre_iter;

void mr_pre_begin(mr_pre_iter *it, mr_pre_rule rule, const char *text, size_t len);
/* Next piece [*begin, *end); false: no more. All calls together read each byte a bounded number of
 * times. */
bool mr_pre_next(mr_pre_iter *it, size_t *begin, size_t *end);

#endif
