/* ops_avx512.c - the kernels with AVX-512 (F, BW, DQ, VL, VNNI) and F16C. vec_avx512.h says what a
 * vector of 16 floats is; the ops are in simd_*.h, which know no instruction set. */
#include "engine/cpu/vec_avx512.h"

#define SIMD_TABLE mr_ops_avx512
#define SIMD_NAME  "avx512"
#include "engine/cpu/simd.h"
