/* tokenizer_parts.h - what the files of the tokenizer share: the vocabulary's tables.
 *
 * tokenizer.c reads the file and fills them, tokenizer_spm.c and tokenizer_bpe.c encode plain text
 * with them, tokenizer_special.c finds the tokens that are matched before. Private to engine/. */
#ifndef MR_ENGINE_TOKENIZER_PARTS_H
#define MR_ENGINE_TOKENIZER_PARTS_H

#include "engine/merge.h"
#include "engine/pretokenize.h"
#include "engine/tokenizer.h"

#define MR_VOCAB_MAX_TOKENS ((size_t)1 << 22)
#define MR_VOCAB_MAX_TEXT   16384 /* bytes of one token */

typedef enum mr_token_type { /* numbers of the file format */
                             MR_TOKEN_NORMAL = 1,
                             MR_TOKEN_UNKNOWN = 2,
                             MR_TOKEN_CONTROL = 3,
                             MR_TOKEN_USER = 4,
                             MR_TOKEN_UNUSED = 5,
                             MR_TOKEN_BYTE = 6
} mr_token_type;

/* Texts with numbers 0..n-1, found by content. The first n_vocab are the tokens; behind them come
 * texts that only merges know. */
typedef struct mr_symbols {
    char *bytes;
    size_t n_bytes, cap_bytes;
    size_t *ends; /* [n]; text i starts where i - 1 ends */
    size_t n, cap;
    uint32_t *slots; /* open addressing: number + 1, or 0; a power of two, at most half full */
    size_t n_slots;
} mr_symbols;

typedef struct mr_merge_entry {
    uint64_t pair; /* left << 32 | right; MR_NO_PAIR: free */
    uint32_t rank;
    int32_t id; /* symbol that the two become */
} mr_merge_entry;
#define MR_NO_PAIR UINT64_MAX

struct mr_tokenizer {
    bool bpe;
    uint32_t n_vocab;
    mr_symbols symbols;
    unsigned char *types; /* [n_vocab] mr_token_type */
    bool *eog;            /* [n_vocab] */
    int32_t bos, eos, unk;
    bool add_bos, add_eos;
    int32_t byte_ids[256]; /* llama: token of a byte; gpt2: symbol of a byte's character */
    size_t max_text;       /* longest token text */

    /* What a token looks like in running text: [piece_ends[id - 1], piece_ends[id]) of pieces. */
    char *pieces;
    size_t *piece_ends; /* [n_vocab] */
    size_t max_piece;

    /* Matched before everything else, ascending by text. */
    int32_t *specials;
    size_t n_specials;
    bool special_start[256]; /* a special token starts with this byte */
    bool strip_after;        /* blanks behind most special tokens vanish */
    int32_t keeps_blanks[3]; /* but not behind these */

    /* llama */
    uint32_t *priorities; /* [n_vocab] smaller for a higher score */
    bool space_prefix, squeeze_spaces;

    /* gpt2 */
    const mr_pre *pre;
    mr_merge_entry *merges; /* open addressing over pair */
    size_t n_merge_slots;   /* power of two, at most half full */
};

/* Ids go here; n counts also those that found no room. */
typedef struct mr_ids {
    int32_t *ids;
    size_t cap, n;
} mr_ids;
static inline void mr_ids_add(mr_ids *out, int32_t id) {
    if (out->n < out->cap) out->ids[out->n] = id;
    out->n++;
}

/* symbols.c */
mr_status mr_symbols_init(mr_symbols *s, size_t n_expected, mr_err *err);
void mr_symbols_deinit(mr_symbols *s);
mr_str mr_symbols_at(const mr_symbols *s, size_t i);
int32_t mr_symbols_find(const mr_symbols *s, const char *text, size_t len); /* MR_SYMBOL_NONE */
/* Appends; of equal texts the last one is found. MR_SYMBOL_NONE: out of memory. */
int32_t mr_symbols_add(mr_symbols *s, const char *text, size_t len);

/* tokenizer_special.c */
mr_status mr_special_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err);
/* The longest special token at text[0..len) that is allowed; MR_TOKEN_NONE. */
int32_t mr_special_at(const mr_tokenizer *t, const char *text, size_t len, bool control,
                      size_t *len_out);
bool mr_special_strips(const mr_tokenizer *t, int32_t id);

/* tokenizer_spm.c and tokenizer_bpe.c. init: after the vocabulary is there. encode: text without
 * special tokens; first: nothing or a special token stands before it. False: out of memory. */
mr_status mr_spm_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err);
bool mr_spm_encode(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len, bool first,
                   mr_ids *out);
mr_status mr_bpe_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err);
bool mr_bpe_encode(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len, mr_ids *out);
/* Bytes that a normal token stands for; out has room for len bytes. Returns how many. */
size_t mr_spm_piece(const char *text, size_t len, char *out);
size_t mr_bpe_piece(const char *text, size_t len, char *out);

#endif
