/* ops_avx2.c - the kernels with AVX2, FMA and F16C. The ops are in simd_*.h. */
#include "engine/cpu/vec_avx2.h"

/* clang-format off */
/* The multiplier adds pairs in 16 bits and wants one factor without a sign: it gets the magnitude
 * of the weight, and the input the sign. 2 * 128 * 127 is the most, which fits; nothing is biased. */
INLINE bytes b_biased(bytes a) { return a; }
INLINE ints i_bias(const int32_t *bias) { return (void)bias, i_zero(); }
INLINE __m256i dot4(__m256i sum, __m256i w, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE ints i_dot(ints sum, bytes w, const int8_t x[4]) {
    int32_t x4;
    memcpy(&x4, x, 4);
    const __m256i all = _mm256_set1_epi32(x4);
    return (ints){dot4(sum.lo, w.lo, all), dot4(sum.hi, w.hi, all)};
}
/* clang-format on */

#define SIMD_TABLE mr_ops_avx2
#define SIMD_NAME  "avx2"
#include "engine/cpu/simd.h"
