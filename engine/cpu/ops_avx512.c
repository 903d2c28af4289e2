/* ops_avx512.c - the kernels with AVX-512 (F, BW, DQ, VL) and F16C.
 *
 * This file says what a vector of 16 floats is; the ops are in simd_*.h, which know no instruction
 * set. With 32 registers a tile is 4 rows by 6 tokens: 24 sums, 4 rows of weights, one of inputs.
 */
#include <immintrin.h>
#include <math.h>

#include "engine/cpu/tables.h"
#include "engine/quant.h"

/* clang-format off */
#define INLINE static inline __attribute__((always_inline))
#define TILE_ROWS 4
#define TILE_TOKENS 6
#define DIRECT_TOKENS 4
#define ATTN_TILE 8
#define ATTN_VECS 2

typedef __m512 vec;

INLINE vec v_zero(void) { return _mm512_setzero_ps(); }
INLINE vec v_set1(float x) { return _mm512_set1_ps(x); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); } /* b if one is NaN */
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); } /* b if one is NaN */
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec v_fms(vec a, vec b, vec c) { return _mm512_fmsub_ps(a, b, c); }
INLINE vec v_round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }

/* Even lanes a * b - c, odd lanes a * b + c. */
INLINE vec v_fmaddsub(vec a, vec b, vec c) { return _mm512_fmaddsub_ps(a, b, c); }
INLINE vec v_swap_pairs(vec a) { return _mm512_permute_ps(a, 0xb1); }

/* 2^n for whole n in -126..127. */
INLINE vec v_pow2(vec n) {
    const __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}

/* y where x >= lo or x is NaN, else 0. */
INLINE vec v_zero_below(vec y, vec x, vec lo) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, lo, _CMP_NLT_UQ), y);
}

/* The _n forms touch n <= 16 values; a load fills up with zeros. */
INLINE __mmask16 first(size_t n) { return (__mmask16)((1u << n) - 1); }
INLINE vec v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vec v_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
INLINE void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
INLINE void v_store_n(float *p, vec a, size_t n) { _mm512_mask_storeu_ps(p, first(n), a); }

INLINE __m256i load16(const void *p) { return _mm256_loadu_si256(p); }
INLINE __m256i load16_n(const void *p, size_t n) { return _mm256_maskz_loadu_epi16(first(n), p); }
INLINE vec of_f16(__m256i h) { return _mm512_cvtph_ps(h); }
INLINE vec of_bf16(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
INLINE vec v_f16(const void *p) { return of_f16(load16(p)); }
INLINE vec v_f16_n(const void *p, size_t n) { return of_f16(load16_n(p, n)); }
INLINE vec v_f16_all(short h) { return of_f16(_mm256_set1_epi16(h)); }
INLINE vec v_bf16(const void *p) { return of_bf16(load16(p)); }
INLINE vec v_bf16_n(const void *p, size_t n) { return of_bf16(load16_n(p, n)); }
INLINE __m256i to_f16(vec a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }
INLINE void v_store_f16(mr_f16 *p, vec a) { _mm256_storeu_si256((__m256i_u *)p, to_f16(a)); }
INLINE void v_store_f16_n(mr_f16 *p, vec a, size_t n) {
    _mm256_mask_storeu_epi16(p, first(n), to_f16(a));
}

/* n <= 8 values, each twice. */
INLINE vec v_load_pairs_n(const float *p, size_t n) {
    const __m512 half = _mm512_castps256_ps512(_mm256_maskz_loadu_ps((__mmask8)first(n), p));
    return _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), half);
}

INLINE vec v_i8(__m128i b) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b)); }

/* 16 sums to 4: the first half of the tree that simd.h completes. */
INLINE __m128 v_fold4(vec a) {
    const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

INLINE float v_reduce_max(vec a) { return _mm512_reduce_max_ps(a); }

/* clang-format on */

#define SIMD_TABLE mr_ops_avx512
#define SIMD_NAME  "avx512"
#include "engine/cpu/simd.h"
