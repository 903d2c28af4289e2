/* product_e.cu - kernels of product_e.h. Code for a GPU without e4m3 in its tensor cores stops with
 * a fault (machine_gpu.h), on a newer GPU that runs it, too: the backend refuses FP8 before. */
#include "engine/cuda/launch.h"
#include "engine/cuda/product_e.h"

static __global__ void __launch_bounds__(MR_FEW) few(const __grid_constant__ mr_product p) {
    __shared__ mr_few_e_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};

    mr_few_e(&p, &sh, block);
}

template <bool LARGE>
static __global__ void __launch_bounds__(MR_MANY) many(const __grid_constant__ mr_product p) {
    __shared__ mr_many_q_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};
    const mr_shape large = MR_SHAPE_LARGE, small = MR_SHAPE_SMALL;

    mr_many_e(&p, LARGE ? &large : &small, &sh, block);
}

static __global__ void __launch_bounds__(MR_SCALED) scale(const __grid_constant__ mr_product p) {
    const mr_coord block = {blockIdx.x, blockIdx.y};

    mr_scale_sums(&p, block);
}

cudaError_t mr_launch_product_e(cudaStream_t stream, const mr_product *a, uint32_t n_units) {
    const mr_cut cut = mr_cut_of(&a->w, a->n_tok, n_units);
    const dim3 grid(cut.x, cut.y);

    if (cut.kind == MR_CUT_FEW)
        few<<<grid, MR_FEW, 0, stream>>>(*a);
    else if (cut.kind == MR_CUT_SMALL)
        many<false><<<grid, MR_MANY, 0, stream>>>(*a);
    else
        many<true><<<grid, MR_MANY, 0, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t mr_launch_scale_e(cudaStream_t stream, const mr_product *a) {
    scale<<<dim3(a->n_tok, mr_scale_blocks(&a->w)), MR_SCALED, 0, stream>>>(*a);
    return cudaGetLastError();
}
