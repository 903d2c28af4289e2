/* runtime.h - a GPU through the CUDA runtime: runtime.c, or no_runtime.c where there is no nvcc. */
#ifndef MR_ENGINE_CUDA_RUNTIME_H
#define MR_ENGINE_CUDA_RUNTIME_H

#include "engine/cuda/device.h"

/* MR_EUNAVAIL: no CUDA in this build, no driver, no such GPU, or one that is too old for these
 * kernels; err says which. */
mr_status mr_runtime_open(mr_device **out, int ordinal, mr_err *err);

/* Of a device that runtime.c has opened: its stream, a cudaStream_t, the device's; its number. */
void *mr_runtime_stream(mr_device *d);
int mr_runtime_ordinal(mr_device *d);

#endif
