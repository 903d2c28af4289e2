/* launch.h - the kernels, as C calls them: one function per kind, in its own .cu file.
 *
 * Puts a kernel in line on a stream and returns the runtime's code, cudaError_t: 0, or why the
 * launch was refused. */
#ifndef MR_ENGINE_CUDA_LAUNCH_H
#define MR_ENGINE_CUDA_LAUNCH_H

#include <cuda_runtime_api.h>

#include "engine/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

cudaError_t mr_launch_embed(cudaStream_t stream, const mr_embed *a);
cudaError_t mr_launch_feed(cudaStream_t stream, const mr_feed *a);
cudaError_t mr_launch_gather(cudaStream_t stream, const mr_gather *a);
cudaError_t mr_launch_total(cudaStream_t stream, const mr_total *a);
cudaError_t mr_launch_turn(cudaStream_t stream, const mr_turn *a);
cudaError_t mr_launch_attend(cudaStream_t stream, const mr_attention *a);
cudaError_t mr_launch_draw(cudaStream_t stream, const mr_draws *a);
/* Weights with blocks, and floats. */
cudaError_t mr_launch_product_q(cudaStream_t stream, const mr_product *a, uint32_t n_units);
cudaError_t mr_launch_product_f(cudaStream_t stream, const mr_product *a, uint32_t n_units);
/* FP8 weights; and the scales of sums that are raw. */
cudaError_t mr_launch_product_e(cudaStream_t stream, const mr_product *a, uint32_t n_units);
cudaError_t mr_launch_scale_e(cudaStream_t stream, const mr_product *a);
/* Of the kernels that this build has, one that a device needs before any other; cudaSuccess: the
 * device can run them, compiled for compute capability *code (90: 9.0). */
cudaError_t mr_launch_prepare(uint32_t *code);

#ifdef __cplusplus
}
#endif
#endif
