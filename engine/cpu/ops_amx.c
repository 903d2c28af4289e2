/* ops_amx.c - the kernels of CPUs with a matrix unit (AMX): those with AVX-512, but for products of
 * all weights that are not F32.
 *
 * The unit multiplies tiles of bf16 numbers that lie in registers of its own: amx_short.h those of
 * quantized weights, amx_floats.h those of F16 and BF16 ones. The registers are given up at the end
 * of each product: while they hold nothing, the kernel need not save them when it switches threads.
 *
 * CPUs with the unit also have arithmetic in f16, conversions to bf16 and shuffles of bits (FP16,
 * BF16, VBMI), which not all have that run ops_avx512.c: hence a file of its own. */
#include "engine/cpu/vec_avx512.h"

#include "engine/cpu/simd.h"

typedef struct amx_shapes { /* of the registers, as the instruction wants it */
    uint8_t palette, start_row, zero[14];
    uint16_t line_bytes[16];
    uint8_t n_lines[16];
} amx_shapes;
_Static_assert(sizeof(amx_shapes) == 64, "as the instruction reads it");

/* The compiler does not know that the unit reads and writes memory. */
INLINE void memory_is_written(void) {
    __asm__ volatile("" ::: "memory");
}

#include "engine/cpu/amx_short.h"

#include "engine/cpu/amx_floats.h"

static void amx_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                       const mr_input *in, size_t n_tok, void *scratch) {
    const product p = {y, ldy, w, in, n_tok};

    /* clang-format off */
    switch (w->type) {
    case MR_TYPE_F32: simd_matmul(y, ldy, w, r0, r1, in, n_tok, scratch); return;
    case MR_TYPE_F16: amx_f16(&p, r0, r1, scratch); return;
    case MR_TYPE_BF16: amx_bf16(&p, r0, r1, scratch); return;
    case MR_TYPE_Q8_0: short_q8_0(&p, r0, r1, scratch); return;
    case MR_TYPE_Q4_0: short_q4_0(&p, r0, r1, scratch); return;
    case MR_TYPE_Q4_K: short_q4_k(&p, r0, r1, scratch); return;
    case MR_TYPE_Q5_K: short_q5_k(&p, r0, r1, scratch); return;
    case MR_TYPE_Q6_K: short_q6_k(&p, r0, r1, scratch); return;
    }
    /* clang-format on */
}

const mr_ops mr_ops_amx = SIMD_OPS("amx", amx_matmul, amx_split, amx_shorten);
