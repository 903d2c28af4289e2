/* ranks.h - devices that share every layer (shard.h), as one backend.
 *
 * All have x, and go through a pass together, each with its slice of the weights, its heads and
 * their keys and values. Behind wo and behind down each has a part of what is added to x: the parts
 * are gathered everywhere (peers.h) and added in order of rank, so x stays the same to the bit on
 * all of them, whatever the batch. The sums of a product are cut at the slices' borders: the last
 * bits depend on how many there are.
 *
 * They do not draw tokens, nor are passes recorded or overlapped: rank 0 computes the logits, which
 * come back to the host. */
#ifndef MR_ENGINE_CUDA_RANKS_H
#define MR_ENGINE_CUDA_RANKS_H

#include "engine/cuda/backend.h"

/* What rank 0, which is as large as any, would need of d: as mr_cuda_backend_sizes.
 * MR_EUNSUPPORTED: the model cannot be shared so (shard.h). */
mr_status mr_cuda_ranks_sizes(mr_split_place *p, uint64_t *layer_bytes, mr_device *d,
                              const mr_model *m, const mr_room *room, uint32_t n_ranks,
                              mr_gpu_quant quant, mr_err *err);
/* As mr_cuda_backend_open, on devices[n_ranks], 1 < n_ranks <= MR_DEVICES_MAX, all layers; m as
 * mr_shard_open wants it. MR_EUNAVAIL: nothing joins them in this build. */
mr_status mr_cuda_ranks_open(mr_backend **out, mr_device *const *devices, uint32_t n_ranks,
                             const mr_model *m, mr_pool *pool, const mr_room *room,
                             mr_gpu_quant quant, uint32_t n_blocks, mr_err *err);

#endif
