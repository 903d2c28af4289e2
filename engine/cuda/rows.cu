/* rows.cu - kernels of rows.h and turn.h: what is done row by row, or head by head. */
#include "engine/cuda/launch.h"

static __global__ void __launch_bounds__(MR_ROW) embed(const __grid_constant__ mr_embed a) {
    const mr_coord block = {blockIdx.x, blockIdx.y};
    mr_embed_row(&a, block);
}

static __global__ void __launch_bounds__(MR_ROW) feed(const __grid_constant__ mr_feed a) {
    __shared__ mr_feed_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};
    mr_feed_row(&a, &sh, block);
}

static __global__ void __launch_bounds__(MR_ROW) gather(const __grid_constant__ mr_gather a) {
    const mr_coord block = {blockIdx.x, blockIdx.y};
    mr_gather_row(&a, block);
}

static __global__ void __launch_bounds__(MR_ROW) total(const __grid_constant__ mr_total a) {
    const mr_coord block = {blockIdx.x, blockIdx.y};
    mr_total_row(&a, block);
}

/* Blocks: rows, and MR_TURN_WARPS heads. */
static __global__ void __launch_bounds__(MR_TURN_WARPS *MR_WARP)
    turn(const __grid_constant__ mr_turn a) {
    __shared__ mr_turn_shared sh[MR_TURN_WARPS];
    const uint32_t warp = threadIdx.x / MR_WARP, head = blockIdx.y * MR_TURN_WARPS + warp;

    if (head < a.n_head + 2 * a.n_kv_head) mr_turn_head(&a, &sh[warp], blockIdx.x, head);
}

cudaError_t mr_launch_embed(cudaStream_t stream, const mr_embed *a) {
    embed<<<a->n, MR_ROW, 0, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t mr_launch_feed(cudaStream_t stream, const mr_feed *a) {
    feed<<<a->n, MR_ROW, 0, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t mr_launch_gather(cudaStream_t stream, const mr_gather *a) {
    gather<<<a->n, MR_ROW, 0, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t mr_launch_total(cudaStream_t stream, const mr_total *a) {
    total<<<a->n, MR_ROW, 0, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t mr_launch_turn(cudaStream_t stream, const mr_turn *a) {
    const uint32_t n_heads = a->n_head + 2 * a->n_kv_head;
    const dim3 grid(a->n, (n_heads + MR_TURN_WARPS - 1) / MR_TURN_WARPS);

    turn<<<grid, MR_TURN_WARPS * MR_WARP, 0, stream>>>(*a);
    return cudaGetLastError();
}
