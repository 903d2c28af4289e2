/* product_q.cu - kernels of product_q.h, one set for each type of weights with blocks. */
#include "engine/cuda/launch.h"
#include "engine/cuda/product_q.h"

template <int TYPE>
static __global__ void __launch_bounds__(MR_FEW) few(const __grid_constant__ mr_product p) {
    __shared__ mr_few_q_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};

    mr_few_q(&p, (mr_type)TYPE, &sh, block);
}

template <int TYPE, bool LARGE>
static __global__ void __launch_bounds__(MR_MANY) many(const __grid_constant__ mr_product p) {
    __shared__ mr_many_q_shared sh;
    const mr_coord block = {blockIdx.x, blockIdx.y};
    const mr_shape large = MR_SHAPE_LARGE, small = MR_SHAPE_SMALL;

    mr_many_q(&p, (mr_type)TYPE, LARGE ? &large : &small, &sh, block);
}

template <int TYPE> static void launch(cudaStream_t stream, const mr_product *a, uint32_t n_units) {
    const mr_cut cut = mr_cut_of(&a->w, a->n_tok, n_units);
    const dim3 grid(cut.x, cut.y);

    if (cut.kind == MR_CUT_FEW)
        few<TYPE><<<grid, MR_FEW, 0, stream>>>(*a);
    else if (cut.kind == MR_CUT_SMALL)
        many<TYPE, false><<<grid, MR_MANY, 0, stream>>>(*a);
    else
        many<TYPE, true><<<grid, MR_MANY, 0, stream>>>(*a);
}

cudaError_t mr_launch_product_q(cudaStream_t stream, const mr_product *a, uint32_t n_units) {
    switch (a->w.type) {
    case MR_TYPE_Q8_0:
        launch<MR_TYPE_Q8_0>(stream, a, n_units);
        break;
    case MR_TYPE_Q4_0:
        launch<MR_TYPE_Q4_0>(stream, a, n_units);
        break;
    case MR_TYPE_Q4_K:
        launch<MR_TYPE_Q4_K>(stream, a, n_units);
        break;
    case MR_TYPE_Q5_K:
        launch<MR_TYPE_Q5_K>(stream, a, n_units);
        break;
    case MR_TYPE_Q6_K:
        launch<MR_TYPE_Q6_K>(stream, a, n_units);
        break;
    default:
        return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}
