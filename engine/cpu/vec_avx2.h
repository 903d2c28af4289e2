/* vec_avx2.h - a vector of 16 floats, 64 bytes or 16 whole numbers with AVX2, FMA and F16C;
 * included once by each ops_<isa>.c that has no wider registers.
 *
 * A vector is 16 floats here too, in two registers: so all instruction sets add in the same order,
 * and a job that moves from one machine to another goes on with the same bits. 16 registers hold
 * the float sums of a tile by 6 tokens, a column of it and an input. How bytes are multiplied
 * (b_biased, i_bias, i_dot) the including file says. */
#ifndef MR_ENGINE_CPU_VEC_AVX2_H
#define MR_ENGINE_CPU_VEC_AVX2_H

#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "engine/cpu/tables.h"
#include "engine/pack.h"
#include "engine/quant.h"

#define INLINE        static inline __attribute__((always_inline))
#define DOT_TOKENS    4
#define FLOAT_TILES   1
#define FLOAT_TOKENS  6
#define ATTN_TILE     4
#define ATTN_VECS     1

typedef struct vec {
    __m256 lo, hi;
} vec;

INLINE vec v_of(__m256 lo, __m256 hi) {
    return (vec){lo, hi};
}

/* clang-format off */
#define V1(name, op) \
    INLINE vec name(vec a) { return v_of(op(a.lo), op(a.hi)); }
#define V2(name, op) \
    INLINE vec name(vec a, vec b) { return v_of(op(a.lo, b.lo), op(a.hi, b.hi)); }
#define V3(name, op)                       \
    INLINE vec name(vec a, vec b, vec c) { \
        return v_of(op(a.lo, b.lo, c.lo), op(a.hi, b.hi, c.hi)); \
    }
#define ROUND(a) _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT)
#define SWAP(a) _mm256_permute_ps(a, 0xb1)

V1(v_round, ROUND)
V1(v_swap_pairs, SWAP)
V2(v_add, _mm256_add_ps)
V2(v_sub, _mm256_sub_ps)
V2(v_mul, _mm256_mul_ps)
V2(v_div, _mm256_div_ps)
V2(v_min, _mm256_min_ps) /* b if one is NaN */
V2(v_max, _mm256_max_ps) /* b if one is NaN */
V3(v_fma, _mm256_fmadd_ps)
V3(v_fms, _mm256_fmsub_ps)
V3(v_fnma, _mm256_fnmadd_ps) /* c - a b */
V3(v_fmaddsub, _mm256_fmaddsub_ps) /* even lanes a * b - c, odd lanes a * b + c */

INLINE vec v_zero(void) { return v_of(_mm256_setzero_ps(), _mm256_setzero_ps()); }
INLINE vec v_set1(float x) { return v_of(_mm256_set1_ps(x), _mm256_set1_ps(x)); }

/* 2^n for whole n in -126..127. */
INLINE __m256 pow2(__m256 n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
V1(v_pow2, pow2)

/* y where x >= lo or x is NaN, else 0. */
INLINE __m256 zero_below(__m256 y, __m256 x, __m256 lo) {
    return _mm256_and_ps(y, _mm256_cmp_ps(x, lo, _CMP_NLT_UQ));
}
V3(v_zero_below, zero_below)

/* Lane i of 8 is on when at + i < n. */
INLINE __m256i first(size_t n, int at) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - at), lane);
}

/* The _n forms touch n <= 16 values; a load fills up with zeros. */
INLINE vec v_load(const float *p) { return v_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
INLINE vec v_load_n(const float *p, size_t n) {
    return v_of(_mm256_maskload_ps(p, first(n, 0)),
                n > 8 ? _mm256_maskload_ps(p + 8, first(n, 8)) : _mm256_setzero_ps());
}
INLINE void v_store(float *p, vec a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
INLINE void v_store_n(float *p, vec a, size_t n) {
    _mm256_maskstore_ps(p, first(n, 0), a.lo);
    if (n > 8) _mm256_maskstore_ps(p + 8, first(n, 8), a.hi);
}

typedef struct half16 { /* 16 numbers of 16 bits */
    __m128i lo, hi;
} half16;

INLINE half16 load16(const void *p) {
    return (half16){_mm_loadu_si128(p), _mm_loadu_si128((const __m128i_u *)p + 1)};
}
INLINE half16 load16_n(const void *p, size_t n) { /* AVX2 has no masks for 16 bits */
    uint16_t h[16] = {0};
    memcpy(h, p, n * sizeof *h);
    return load16(h);
}
INLINE vec of_f16(half16 h) { return v_of(_mm256_cvtph_ps(h.lo), _mm256_cvtph_ps(h.hi)); }
INLINE __m256 bf16(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
INLINE vec of_bf16(half16 h) { return v_of(bf16(h.lo), bf16(h.hi)); }
INLINE vec v_f16(const void *p) { return of_f16(load16(p)); }
INLINE vec v_f16_n(const void *p, size_t n) { return of_f16(load16_n(p, n)); }
INLINE vec v_bf16(const void *p) { return of_bf16(load16(p)); }
INLINE void v_store_f16(mr_f16 *p, vec a) {
    _mm_storeu_si128((__m128i_u *)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i_u *)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
INLINE void v_store_f16_n(mr_f16 *p, vec a, size_t n) {
    mr_f16 h[16];
    v_store_f16(h, a);
    memcpy(p, h, n * sizeof *h);
}

/* n <= 8 values, each twice. */
INLINE vec v_load_pairs_n(const float *p, size_t n) {
    const __m256 half = _mm256_maskload_ps(p, first(n, 0));
    return v_of(_mm256_permutevar8x32_ps(half, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
                _mm256_permutevar8x32_ps(half, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7)));
}

INLINE vec v_i8(__m128i b) {
    return v_of(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8))));
}

/* 16 sums to 4: the first half of the tree that simd.h completes. */
INLINE __m128 v_fold4(vec a) {
    const __m256 s = _mm256_add_ps(a.lo, a.hi);
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

INLINE float v_reduce_max(vec a) {
    const __m256 m = _mm256_max_ps(a.lo, a.hi);
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

/* The largest magnitude; NaN if there is one: as whole numbers, the bits of a NaN are the largest. */
INLINE __m256i abs_max(vec a) {
    const __m256i m = _mm256_set1_epi32(0x7fffffff);
    return _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(a.lo), m),
                            _mm256_and_si256(_mm256_castps_si256(a.hi), m));
}
INLINE float v_abs_max(vec a, vec b) {
    const __m256i c = _mm256_max_epi32(abs_max(a), abs_max(b));
    __m128i h = _mm_max_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1))));
}

/* To the nearest, for -128 .. 127. */
INLINE __m128i v_to_i8(vec a) {
    const __m256i lo = _mm256_cvtps_epi32(a.lo), hi = _mm256_cvtps_epi32(a.hi);
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}

INLINE __m128i load_16_bytes(const void *p) { return _mm_loadu_si128(p); }

typedef struct bytes {
    __m256i lo, hi;
} bytes;
typedef struct ints {
    __m256i lo, hi;
} ints;

INLINE bytes b_of(__m256i lo, __m256i hi) { return (bytes){lo, hi}; }
INLINE bytes b_load(const void *p) {
    return b_of(_mm256_load_si256(p), _mm256_load_si256((const __m256i *)p + 1));
}
INLINE bytes b_and(bytes a, char mask) {
    const __m256i m = _mm256_set1_epi8(mask);
    return b_of(_mm256_and_si256(a.lo, m), _mm256_and_si256(a.hi, m));
}
INLINE bytes b_or(bytes a, bytes b) {
    return b_of(_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi));
}
INLINE bytes b_sll(bytes a, const int n) { /* crosses bytes */
    return b_of(_mm256_slli_epi16(a.lo, n), _mm256_slli_epi16(a.hi, n));
}
INLINE bytes b_srl(bytes a, const int n) { /* crosses bytes */
    return b_of(_mm256_srli_epi16(a.lo, n), _mm256_srli_epi16(a.hi, n));
}

INLINE ints i_zero(void) { return (ints){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE vec i_float(ints a) { return v_of(_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)); }

/* clang-format on */

#endif
