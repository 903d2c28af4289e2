/* machine_gpu.h - bodies on a GPU: registers, barriers, tensor cores. Compute capability 8.0 on. */
#ifndef MR_ENGINE_CUDA_MACHINE_GPU_H
#define MR_ENGINE_CUDA_MACHINE_GPU_H

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define MR_BODY       static __device__ __forceinline__
#define MR_UNROLL     _Pragma("unroll")
#define MR_PRIVATE(n) 1         /* structs that a block of n threads needs for what each keeps */
#define MR_OWN(t)     (0 * (t)) /* which of them is thread t's */

/* A block of n threads; n is what the kernel was launched with. */
#define MR_THREADS(t, n) for (uint32_t t = threadIdx.x, mr_go = 1; mr_go; mr_go = 0)
/* One warp alone. */
#define MR_LANES(t)       for (uint32_t t = threadIdx.x % MR_WARP, mr_go = 1; mr_go; mr_go = 0)
#define MR_BARRIER()      __syncthreads()
#define MR_WARP_BARRIER() __syncwarp()

/* ---- memory ---- */

MR_BODY uint32_t mr_load1(const void *p) {
    return __ldg((const unsigned *)p);
}
MR_BODY mr_words2 mr_load2(const void *p) {
    const uint2 v = __ldg((const uint2 *)p);
    const mr_words2 w = {{v.x, v.y}};
    return w;
}
MR_BODY mr_words4 mr_load4(const void *p) {
    const uint4 v = __ldg((const uint4 *)p);
    const mr_words4 w = {{v.x, v.y, v.z, v.w}};
    return w;
}

MR_BODY uint16_t mr_load_half(const void *p) {
    return __ldg((const unsigned short *)p);
}

/* From memory that this kernel writes, shared memory above all. */
MR_BODY mr_words2 mr_read2(const void *p) {
    const uint2 v = *(const uint2 *)p;
    const mr_words2 w = {{v.x, v.y}};
    return w;
}
MR_BODY mr_words4 mr_read4(const void *p) {
    const uint4 v = *(const uint4 *)p;
    const mr_words4 w = {{v.x, v.y, v.z, v.w}};
    return w;
}

/* 16 bytes into shared memory, some time before mr_copies_wait(0) returns; zeros unless real. */
MR_BODY void mr_copy16(void *shared, const void *global, bool real) {
    const unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    const int n = real ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(n)
                 : "memory");
}
/* All copies since the last commit are one group; wait: all but the last n groups are there, for
 * this thread: a barrier tells the others. */
#define mr_copies_commit() asm volatile("cp.async.commit_group;" ::: "memory")
#define mr_copies_wait(n)  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")

/* ---- numbers ---- */

MR_BODY float mr_of_half(uint16_t h) {
    return __half2float(__ushort_as_half(h));
}
MR_BODY uint16_t mr_to_half(float f) {
    return __half_as_ushort(__float2half_rn(f));
}
/* Two values as bf16, the first in the low half. */
MR_BODY uint32_t mr_pack_bf16(float a, float b) {
    uint32_t w;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(b), "f"(a));
    return w;
}

/* ---- together ---- */

/* of thread structs: member = sum, or largest (NaN stays), over the warp or over its groups of 4
 * lanes; all lanes get it. */
#define MR_WARP_SUM(th, n, member)                                                                 \
    for (int mr_off = 16; mr_off > 0; mr_off /= 2)                                                 \
    (th)[0].member += __shfl_xor_sync(0xffffffffu, (th)[0].member, mr_off)
#define MR_WARP_MAX(th, n, member)                                                                 \
    for (int mr_off = 16; mr_off > 0; mr_off /= 2)                                                 \
    (th)[0].member = mr_larger((th)[0].member, __shfl_xor_sync(0xffffffffu, (th)[0].member, mr_off))
#define MR_QUAD_SUM(th, n, member)                                                                 \
    for (int mr_off = 2; mr_off > 0; mr_off /= 2)                                                  \
    (th)[0].member += __shfl_xor_sync(0xffffffffu, (th)[0].member, mr_off)
#define MR_QUAD_MAX(th, n, member)                                                                 \
    for (int mr_off = 2; mr_off > 0; mr_off /= 2)                                                  \
    (th)[0].member = mr_larger((th)[0].member, __shfl_xor_sync(0xffffffffu, (th)[0].member, mr_off))

/* of uint64_t */
#define MR_WARP_TOP(th, n, member)                                                                 \
    for (int mr_off = 16; mr_off > 0; mr_off /= 2) {                                               \
        const uint64_t mr_other = __shfl_xor_sync(0xffffffffu, (th)[0].member, mr_off);            \
        if (mr_other > (th)[0].member) (th)[0].member = mr_other;                                  \
    }

/* A counter in shared memory: its next number. */
#define MR_NEXT(counter) atomicAdd(counter, 1u)

/* Products of matrices, c += a b, spread over a warp as the PTX manual draws the fragments.
 * volatile: not to be moved into a branch that some lanes do not take. */
#define MR_MMA(fn, th, n, c, a, b) fn((th)[0].c, (th)[0].a, (th)[0].b)

MR_BODY void mr_mma_s8_k32(int32_t *c, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
MR_BODY void mr_mma_s8_k16(int32_t *c, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}
/* Compute capability 8.9 on. */
MR_BODY void mr_mma_e4m3(float *c, const uint32_t *a, const uint32_t *b) {
#if __CUDA_ARCH__ >= 890
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    c[0] = (float)(a[0] + b[0]); /* never launched */
    __trap();
#endif
}
MR_BODY void mr_mma_tf32(float *c, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
MR_BODY void mr_mma_f16(float *c, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
MR_BODY void mr_mma_bf16(float *c, const uint32_t *a, const uint32_t *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
