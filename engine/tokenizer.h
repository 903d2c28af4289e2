/* tokenizer.h - bytes <-> token ids, from the vocabulary in a GGUF file.
 *
 * Two kinds: "llama" (SentencePiece BPE by score with byte fallback) and "gpt2" (byte-level BPE with
 * merges behind a pre-tokenizer). Owner: caller. Immutable after open: any thread may encode. */
#ifndef MR_ENGINE_TOKENIZER_H
#define MR_ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gguf.h"

typedef struct mr_tokenizer mr_tokenizer;

#define MR_TOKEN_NONE (-1)

typedef struct mr_span { /* half-open byte range */
    size_t begin, end;
} mr_span;

typedef struct mr_encode_opt {
    bool add_special;      /* BOS/EOS where the vocabulary says so */
    bool parse_special;    /* text of control tokens becomes the token */
    const mr_span *opaque; /* ranges (ascending) where it never does: a user's text */
    size_t n_opaque;
} mr_encode_opt;

mr_status mr_tokenizer_open(mr_tokenizer **out, const mr_gguf *g, mr_err *err);
void mr_tokenizer_close(mr_tokenizer *t);

/* Writes at most cap ids; *n is the number needed, also when larger than cap (then MR_ELIMIT).
 * Invalid UTF-8 is encoded byte by byte, never dropped. MR_ENOMEM. */
mr_status mr_tokenizer_encode(const mr_tokenizer *t, const char *text, size_t len,
                              const mr_encode_opt *opt, int32_t *ids, size_t cap, size_t *n, mr_err *err);

/* Bytes of one token as they appear in running text; may be part of a character. Control tokens give
 * no bytes unless special. Borrowed, lives as long as t. Out of range id: len 0. */
mr_str mr_tokenizer_piece(const mr_tokenizer *t, int32_t id, bool special);
/* Whole sequence to bytes (SentencePiece's leading space rule applied). *n as in encode. */
mr_status mr_tokenizer_decode(const mr_tokenizer *t, const int32_t *ids, size_t n_ids, bool special,
                              char *buf, size_t cap, size_t *n, mr_err *err);

uint32_t mr_tokenizer_n_vocab(const mr_tokenizer *t);
int32_t mr_tokenizer_bos(const mr_tokenizer *t); /* MR_TOKEN_NONE: none */
int32_t mr_tokenizer_eos(const mr_tokenizer *t);
bool mr_tokenizer_adds_bos(const mr_tokenizer *t);
/* End of generation: eos, eot, eom ids and the well-known names (<|im_end|>, <|eot_id|>, ...). */
bool mr_tokenizer_is_eog(const mr_tokenizer *t, int32_t id);
bool mr_tokenizer_is_control(const mr_tokenizer *t, int32_t id);
int32_t mr_tokenizer_find(const mr_tokenizer *t, const char *text, size_t len); /* exact token text */
const char *mr_tokenizer_kind(const mr_tokenizer *t); /* "llama", "gpt2" */
const char *mr_tokenizer_pre(const mr_tokenizer *t);  /* "llama-bpe", ...; "" for llama */
size_t mr_tokenizer_max_piece(const mr_tokenizer *t); /* longest piece in bytes */

#endif
