/* ops_avxvnni.c - the kernels with AVX2, FMA, F16C and AVX-VNNI: products of bytes are summed by
 * one instruction, as with AVX-512, on CPUs that lack that. The ops are in simd_*.h. */
#include "engine/cpu/vec_avx2.h"

/* clang-format off */
/* As in ops_avx512.c: weights get 128 more, and a sum starts 128 times the inputs' sum lower. */
INLINE bytes b_biased(bytes a) {
    const __m256i flip = _mm256_set1_epi8(-128);
    return b_of(_mm256_xor_si256(a.lo, flip), _mm256_xor_si256(a.hi, flip));
}
INLINE ints i_bias(const int32_t *bias) {
    const __m256i b = _mm256_set1_epi32(*bias);
    return (ints){b, b};
}
INLINE ints i_dot(ints sum, bytes w, const int8_t x[4]) {
    int32_t x4;
    memcpy(&x4, x, 4);
    const __m256i all = _mm256_set1_epi32(x4);
    return (ints){_mm256_dpbusd_avx_epi32(sum.lo, w.lo, all),
                  _mm256_dpbusd_avx_epi32(sum.hi, w.hi, all)};
}
/* clang-format on */

#define SIMD_TABLE mr_ops_avxvnni
#define SIMD_NAME  "avxvnni"
#include "engine/cpu/simd.h"
