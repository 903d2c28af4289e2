/* machine.h - one kernel body, two machines: a GPU, and a plain C loop over its threads.
 *
 * A body is a function of a block's coordinates. What a thread keeps in registers is a member of a
 * struct, and the body has an array of them: one on a GPU, all threads' in the twin. Between two
 * barriers the body says MR_THREADS and does what each thread does; outside of that control flow is
 * the block's, and there the operations stand that threads do together: barriers, reductions over a
 * warp, products of matrices. So the twin runs the same index arithmetic, the same shared memory
 * and (but for the order inside of a float product of matrices) the same sums, on any machine,
 * under sanitizers; what it cannot find is a missing barrier.
 *
 * Bodies are the common subset of C11 and CUDA C++, compiled without contraction of a * b + c: what
 * is to be fused says fmaf. */
#ifndef MR_ENGINE_CUDA_MACHINE_H
#define MR_ENGINE_CUDA_MACHINE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/ops.h"

#define MR_WARP 32

typedef struct mr_coord { /* of a block */
    uint32_t x, y;
} mr_coord;

#ifdef __CUDACC__
#define MR_ALIGNED(n) __align__(n)
#else
#define MR_ALIGNED(n) _Alignas(n)
#endif

typedef struct mr_words2 {
    MR_ALIGNED(8) uint32_t w[2];
} mr_words2;
typedef struct mr_words4 {
    MR_ALIGNED(16) uint32_t w[4];
} mr_words4;

#ifdef __CUDACC__
#include "engine/cuda/machine_gpu.h"
#else
#include "engine/cuda/machine_twin.h"
#endif

/* ---- the same on both ---- */

MR_BODY float mr_float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
MR_BODY uint32_t mr_bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

MR_BODY uint32_t mr_least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The larger one, NaN if one is. */
MR_BODY float mr_larger(float a, float b) {
    return a > b || a != a ? a : b;
}

/* v = hi + lo + what 21 bits cannot hold; both fit tf32. Cut off, not rounded: NaN and infinity
 * stay what they are, which adding to the bits would not guarantee. */
MR_BODY uint32_t mr_tf32_hi(float v) {
    return mr_bits_of(v) & 0xffffe000u;
}
MR_BODY uint32_t mr_tf32_lo(float v) {
    return mr_tf32_hi(v - mr_float_of(mr_tf32_hi(v)));
}

/* Two values as f16, the first in the low half; and what that has left of them. */
MR_BODY uint32_t mr_pack_f16(float a, float b) {
    return (uint32_t)mr_to_half(a) | (uint32_t)mr_to_half(b) << 16;
}
MR_BODY float mr_after_f16(float a) {
    return a - mr_of_half(mr_to_half(a));
}
/* The same, as bf16, which loses no small number: what both hold together has some 17 bits. */
MR_BODY void mr_split_bf16(uint32_t *hi, uint32_t *lo, float a, float b) {
    *hi = mr_pack_bf16(a, b);
    *lo = mr_pack_bf16(a - mr_float_of(*hi << 16), b - mr_float_of(*hi & 0xffff0000u));
}

/* Signed byte i of a word: its distance from -128 as the last bits of 2^23 + that. */
MR_BODY float mr_byte_of(uint32_t w, uint32_t i) {
    return mr_float_of(0x4b000000u | ((w ^ 0x80808080u) >> 8 * i & 255)) - 8388736.0f;
}

#endif
