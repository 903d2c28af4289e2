/* forward.h - one pass of the transformer over a ragged batch.
 *
 * A row is one token of one sequence at one position. Rows of many sequences, prompt chunks and
 * single tokens alike, go through together; each row attends to its own sequence's cache only.
 * Thread: one at a time. */
#ifndef MR_ENGINE_FORWARD_H
#define MR_ENGINE_FORWARD_H

#include "engine/backend.h"

/* Computes rows[n], 1 <= n <= b->max_rows: their keys and values go into the cache, the last hidden
 * states of the wanted ones stay inside. Positions of one sequence ascend and join on to what it
 * has in the cache. The one error is MR_EUNAVAIL: the device is lost. */
mr_status mr_forward_run(mr_backend *b, uint32_t n_layer, const mr_row *rows, uint32_t n,
                         mr_err *err);
/* The same for rows whose wanted ones are asked for tokens, instead of for logits: they are on
 * their way when it returns. MR_ELIMIT: run it, and draw from logits. */
mr_status mr_forward_draw(mr_backend *b, uint32_t n_layer, const mr_row *rows, uint32_t n,
                          const mr_asks *asks, mr_err *err);
/* logits[n, n_vocab] of the wanted rows first .. first + n of the last run, counted in order; n at
 * most the backend's max_head. */
mr_status mr_forward_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err);

#endif
