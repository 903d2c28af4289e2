/* shard.h - a model of which each layer is shared by several: who has which slice of it.
 *
 * Attention is shared by its heads: a rank has the rows of wq, wk, wv that make its heads, with the
 * heads of keys and values that these read, and the columns of wo that take them in. The rest of a
 * layer is shared by the n_ff values in its middle: rows of gate and up, columns of down. So each
 * rank computes a part of what is added to x, and the parts' sum is the whole. Norms, embeddings
 * and the head are everybody's.
 *
 * A rank's slice is a model itself, with fewer heads and a smaller n_ff, whose matrices point into
 * the file: rows of a column slice lie further apart than they are long.
 *
 * Pure. Thread: any. */
#ifndef MR_ENGINE_SHARD_H
#define MR_ENGINE_SHARD_H

#include "engine/model.h"

/* MR_EUNSUPPORTED: heads or n_ff do not divide by n_ranks, or a slice would begin within a block of
 * a quantized type; with the numbers. */
mr_status mr_shard_check(const mr_model *m, uint32_t n_ranks, mr_err *err);
/* Rank's slice of m, which is not packed, has passed the check, and is borrowed until close.
 * MR_ENOMEM: *out is empty. */
mr_status mr_shard_open(mr_model *out, const mr_model *m, uint32_t rank, uint32_t n_ranks,
                        mr_err *err);
void mr_shard_close(mr_model *slice); /* zeroed is allowed */

#endif
