/* text.h - generated tokens to text that can be shown: whole UTF-8 characters, stop strings cut off.
 *
 * Holds back the bytes of an unfinished character and of a possible stop string (also one that
 * crosses token borders) until it is decided. A byte that can never become UTF-8 comes out as U+FFFD.
 * One per sequence; fixed size after open. Thread: one at a time. */
#ifndef MR_ENGINE_TEXT_H
#define MR_ENGINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/tokenizer.h"

#define MR_TEXT_MAX_STOPS 16
#define MR_TEXT_MAX_STOP_BYTES 256

typedef struct mr_text mr_text;

/* stops[n]: borrowed until close; each 1..MR_TEXT_MAX_STOP_BYTES bytes. strip_leading_space: drop
 * SentencePiece's space before the first word when the prompt ended a line of its own. */
mr_status mr_text_open(mr_text **out, const mr_tokenizer *t, const mr_str *stops, size_t n,
                       bool strip_leading_space, mr_err *err);
void mr_text_close(mr_text *x);
/* Adds one token; *out: bytes that may be shown now, borrowed until the next call. True: a stop string
 * is complete; the text before it is in *out and nothing will follow. */
bool mr_text_push(mr_text *x, int32_t id, mr_str *out);
/* The sequence ended otherwise: what was held back (an unfinished character as U+FFFD). */
void mr_text_finish(mr_text *x, mr_str *out);

#endif
