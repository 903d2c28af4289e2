/* runtime.h - a GPU through the CUDA runtime. */
#ifndef MR_ENGINE_CUDA_RUNTIME_H
#define MR_ENGINE_CUDA_RUNTIME_H

#include "engine/cuda/device.h"

/* MR_EUNSUPPORTED: no driver, no such GPU, or one that is too old for these kernels. */
mr_status mr_runtime_open(mr_device **out, int ordinal, mr_err *err);

#endif
