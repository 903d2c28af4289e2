/* forward.h - one pass of the transformer over a ragged batch.
 *
 * A row is one token of one sequence at one position. Rows of many sequences, prompt chunks and
 * single tokens alike, go through together; each row attends to its own sequence's cache only.
 * Owner: caller, open to close. Thread: one at a time; the work is spread over the pool inside. */
#ifndef MR_ENGINE_FORWARD_H
#define MR_ENGINE_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/attend.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/ops.h"
#include "engine/threads.h"

typedef struct mr_forward mr_forward;

/* Borrows model, ops, pool and kv. max_rows: most rows anybody will pass at once; max_head: most
 * rows of one head; max_len: longest sequence. All memory is reserved here. */
mr_status mr_forward_open(mr_forward **out, const mr_model *m, const mr_ops *ops, mr_pool *pool,
                          mr_kv *kv, uint32_t max_rows, uint32_t max_head, uint32_t max_len,
                          mr_err *err);
void mr_forward_close(mr_forward *f);
/* Bytes that open would reserve. */
size_t mr_forward_bytes_for(const mr_model *m, uint32_t max_rows, uint32_t max_head,
                            uint32_t max_len, int n_threads);

/* Rows of one pass: max_rows, or less where that keeps the activations small. */
uint32_t mr_forward_rows(const mr_forward *f);

/* Computes rows[n], 1 <= n <= mr_forward_rows: their keys and values go into the cache, the last
 * hidden states of the wanted ones stay inside. Positions of one sequence ascend and join on to
 * what it has in the cache. */
void mr_forward_run(mr_forward *f, const mr_row *rows, uint32_t n);
/* logits[n, n_vocab] of the wanted rows first .. first + n of the last run, counted in order; n <=
 * max_head. */
void mr_forward_head(mr_forward *f, uint32_t first, uint32_t n, float *logits);

#endif
