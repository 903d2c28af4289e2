/* amx.h - products in the matrix unit of CPUs that have one; included once by ops_avx512.c.
 *
 * The unit multiplies tiles that lie in registers of its own: amx_bytes.h those of bytes, for
 * quantized weights, amx_floats.h those of bf16 numbers, for F16 and BF16 weights. The registers
 * are given up at the end of each product: while they hold nothing, the kernel need not save them
 * when it switches threads. */

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

#include "engine/cpu/amx_bytes.h"

#include "engine/cpu/amx_floats.h"

static void amx_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                       const mr_input *in, size_t n_tok, void *scratch) {
    const product p = {y, ldy, w, in, n_tok};

    /* clang-format off */
    switch (w->type) {
    case MR_TYPE_F16: amx_f16(&p, r0, r1, scratch); return;
    case MR_TYPE_BF16: amx_bf16(&p, r0, r1, scratch); return;
    default: break;
    }
    /* clang-format on */
    if (n_tok >= AMX_MIN_TOKENS && w->type < MR_COUNT(amx) && amx[w->type])
        amx_rows_of(&p, r0, r1, scratch);
    else
        simd_matmul(y, ldy, w, r0, r1, in, n_tok, scratch);
}
