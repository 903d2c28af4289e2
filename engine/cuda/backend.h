/* backend.h - the steps of a pass on a device. */
#ifndef MR_ENGINE_CUDA_BACKEND_H
#define MR_ENGINE_CUDA_BACKEND_H

#include "engine/backend.h"
#include "engine/cuda/device.h"
#include "engine/model.h"

typedef struct mr_device_share { /* of the device's free memory */
    float of_free;               /* 0: 0.9; at most 1 */
    uint32_t least_blocks,
        most_blocks;   /* of the KV cache: what must fit, and what would be of use */
    uint32_t n_blocks; /* answer of open */
} mr_device_share;

/* Borrows device and model; pool: for loading only. Weights, KV cache and work memory are reserved
 * here, weights are loaded. MR_ENOMEM: it does not fit, with the numbers; MR_EUNSUPPORTED: a shape
 * that the kernels cannot do. */
mr_status mr_cuda_backend_open(mr_backend **out, mr_device *d, const mr_model *m, mr_pool *pool,
                               const mr_room *room, mr_device_share *share, mr_err *err);

#endif
