/* attention.cu - kernels of attention.h: for heads up to 64, 128 and 256 wide, and both types of
 * cache. */
#include "engine/cuda/launch.h"

#define COLLECT_WARPS 4

/* Warps of a block, so that their queries and sums fit the shared memory of every GPU: 64 KiB. */
template <typename SHARED> struct warps {
    static constexpr unsigned fit = (64u << 10) / sizeof(SHARED), n = fit < 4 ? fit : 4;
};

template <typename SHARED, int D, mr_kv_type TYPE>
static __global__ void __launch_bounds__(warps<SHARED>::n *MR_WARP)
    attend(const __grid_constant__ mr_attention a) {
    extern __shared__ mr_words4 memory[];
    SHARED *sh = (SHARED *)memory + threadIdx.x / MR_WARP;
    const uint32_t item = blockIdx.x * warps<SHARED>::n + threadIdx.x / MR_WARP;

    mr_attend_item(&a, sh->q, sh->joined, item, D, TYPE);
}

static __global__ void __launch_bounds__(COLLECT_WARPS *MR_WARP)
    collect(const __grid_constant__ mr_attention a) {
    const uint32_t head = blockIdx.y * COLLECT_WARPS + threadIdx.x / MR_WARP;

    if (head < a.n_head) mr_attend_collect(&a, blockIdx.x, head);
}

template <typename SHARED, int D> static void launch(cudaStream_t stream, const mr_attention *a) {
    constexpr unsigned n_warps = warps<SHARED>::n, threads = n_warps * MR_WARP;
    constexpr size_t bytes = n_warps * sizeof(SHARED);
    const unsigned n = (a->n_items + n_warps - 1) / n_warps;

    if (a->cache.type == MR_KV_F16)
        attend<SHARED, D, MR_KV_F16><<<n, threads, bytes, stream>>>(*a);
    else
        attend<SHARED, D, MR_KV_Q8_0><<<n, threads, bytes, stream>>>(*a);
}

/* More than 48 KiB of shared memory have to be asked for, once per process and device. */
template <typename SHARED, int D> static cudaError_t prepare(void) {
    constexpr int bytes = (int)(warps<SHARED>::n * sizeof(SHARED));
    constexpr cudaFuncAttribute most = cudaFuncAttributeMaxDynamicSharedMemorySize;
    const cudaError_t rc = cudaFuncSetAttribute(attend<SHARED, D, MR_KV_F16>, most, bytes);

    if (rc != cudaSuccess) return rc;
    return cudaFuncSetAttribute(attend<SHARED, D, MR_KV_Q8_0>, most, bytes);
}

cudaError_t mr_launch_prepare(uint32_t *code) {
    cudaFuncAttributes of_one = {};
    cudaError_t rc = prepare<mr_attend_shared_64, 64>();

    if (rc == cudaSuccess) rc = prepare<mr_attend_shared_128, 128>();
    if (rc == cudaSuccess) rc = prepare<mr_attend_shared_256, 256>();
    if (rc == cudaSuccess) rc = cudaFuncGetAttributes(&of_one, collect);
    *code = (uint32_t)of_one.ptxVersion;
    return rc;
}

cudaError_t mr_launch_attend(cudaStream_t stream, const mr_attention *a) {
    if (a->d_head <= 64)
        launch<mr_attend_shared_64, 64>(stream, a);
    else if (a->d_head <= 128)
        launch<mr_attend_shared_128, 128>(stream, a);
    else
        launch<mr_attend_shared_256, 256>(stream, a);
    const cudaError_t rc = cudaGetLastError();
    if (rc != cudaSuccess || !a->records) return rc;
    collect<<<dim3(a->n, (a->n_head + COLLECT_WARPS - 1) / COLLECT_WARPS), COLLECT_WARPS * MR_WARP,
              0, stream>>>(*a);
    return cudaGetLastError();
}
