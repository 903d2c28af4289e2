/* backend.h - the steps of a pass on a device. */
#ifndef MR_ENGINE_CUDA_BACKEND_H
#define MR_ENGINE_CUDA_BACKEND_H

#include "engine/backend.h"
#include "engine/cuda/device.h"
#include "engine/cuda/weights.h"
#include "engine/model.h"
#include "engine/split.h"

/* What it would need of a device, for split.h; name and room are the caller's to set. layer_bytes:
 * [n_layer] of the caller, kept by *p. */
void mr_cuda_backend_sizes(mr_split_place *p, uint64_t *layer_bytes, mr_device *d,
                           const mr_model *m, const mr_room *room, mr_gpu_quant quant);

/* Borrows device and model; pool: for loading only. Weights, n_blocks of KV cache and work memory
 * are reserved here, for room->layers only; weights are loaded. MR_ENOMEM: the device has less than
 * it said; MR_EUNSUPPORTED: a shape that the kernels cannot do. */
mr_status mr_cuda_backend_open(mr_backend **out, mr_device *d, const mr_model *m, mr_pool *pool,
                               const mr_room *room, mr_gpu_quant quant, uint32_t n_blocks,
                               mr_err *err);

#endif
