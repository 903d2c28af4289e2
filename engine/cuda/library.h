/* library.h - products through cuBLASLt: library.c, or no_library.c where its header is not found.
 *
 * It is loaded when it is asked for, not linked: a program starts without it. Owner: caller, open
 * to close. Thread: one at a time, whose current device is the one it was opened for. */
#ifndef MR_ENGINE_CUDA_LIBRARY_H
#define MR_ENGINE_CUDA_LIBRARY_H

#include <cuda_runtime_api.h>

#include "engine/cuda/product.h"
#include "millrace/error.h"

typedef struct mr_library mr_library;

/* workspace: device memory that products may use, in line one after the other; borrowed for good.
 * MR_EUNSUPPORTED: this build or this machine has no cuBLASLt. */
mr_status mr_library_open(mr_library **out, void *workspace, size_t bytes, mr_err *err);
/* Puts a product of rows in line, without memory from the heap. A bias goes with scale 1 only. */
cudaError_t mr_library_product(mr_library *l, cudaStream_t stream, const mr_product *a);
void mr_library_close(mr_library *l); /* NULL is allowed */

#endif
