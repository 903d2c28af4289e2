/* vec_avx512.h - a vector of 16 floats, 64 bytes or 16 whole numbers with AVX-512 (F, BW, DQ, VL,
 * VNNI) and F16C; included once by each ops_<isa>.c that has such registers.
 *
 * 32 registers hold 2 tiles by 12 tokens of float sums, 2 tiles of weights and an input. */
#ifndef MR_ENGINE_CPU_VEC_AVX512_H
#define MR_ENGINE_CPU_VEC_AVX512_H

#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "engine/cpu/tables.h"
#include "engine/pack.h"
#include "engine/quant.h"

/* clang-format off */
#define INLINE static inline __attribute__((always_inline))
#define DOT_TOKENS 8
#define FLOAT_TILES 2
#define FLOAT_TOKENS 12
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
INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
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
INLINE vec v_bf16(const void *p) { return of_bf16(load16(p)); }
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

/* The largest magnitude; NaN if there is one: as whole numbers, the bits of a NaN are the largest. */
INLINE float v_abs_max(vec a, vec b) {
    const __m512i m = _mm512_set1_epi32(0x7fffffff);
    const __m512i c = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), m),
                                       _mm512_and_si512(_mm512_castps_si512(b), m));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(c))));
}

/* To the nearest, for -128 .. 127. */
INLINE __m128i v_to_i8(vec a) { return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)); }

INLINE __m128i load_16_bytes(const void *p) { return _mm_loadu_si128(p); }

typedef __m512i bytes;
typedef __m512i ints;

INLINE bytes b_load(const void *p) { return _mm512_load_si512(p); }
INLINE bytes b_and(bytes a, char mask) { return _mm512_and_si512(a, _mm512_set1_epi8(mask)); }
INLINE bytes b_or(bytes a, bytes b) { return _mm512_or_si512(a, b); }
INLINE bytes b_sll(bytes a, const int n) { return _mm512_slli_epi16(a, (unsigned)n); } /* crosses */
INLINE bytes b_srl(bytes a, const int n) { return _mm512_srli_epi16(a, (unsigned)n); } /* bytes */

/* The multiplier wants one factor without a sign: weights get 128 more, and a sum starts 128 times
 * the inputs' sum lower. */
INLINE bytes b_biased(bytes a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
INLINE ints i_bias(const int32_t *bias) { return _mm512_set1_epi32(*bias); }
INLINE ints i_zero(void) { return _mm512_setzero_si512(); }
INLINE ints i_dot(ints sum, bytes w, const int8_t x[4]) {
    int32_t x4;
    memcpy(&x4, x, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x4));
}
INLINE vec i_float(ints a) { return _mm512_cvtepi32_ps(a); }

/* clang-format on */

#endif
