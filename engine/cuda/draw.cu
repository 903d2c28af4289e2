/* draw.cu - the kernel of draw.h: a block to each row of logits. */
#include "engine/cuda/launch.h"

static __global__ void __launch_bounds__(MR_DRAW, 1) draw(const __grid_constant__ mr_draws a) {
    __shared__ mr_draw_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};

    mr_draw_row(&a, &sh, block);
}

cudaError_t mr_launch_draw(cudaStream_t stream, const mr_draws *a) {
    draw<<<a->n, MR_DRAW, 0, stream>>>(*a);
    return cudaGetLastError();
}
