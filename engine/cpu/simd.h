/* simd.h - all ops in terms of a vector of 16 floats; included once by each ops_<isa>.c.
 *
 * The including file defines vec and the v_ functions on it, bytes (64 of them), ints (16), the b_
 * and i_ functions, INLINE, DOT_TOKENS, FLOAT_TILES, FLOAT_TOKENS, ATTN_TILE and ATTN_VECS. Every
 * v_ function rounds as IEEE says, so all instruction sets give the same bits.
 *
 * Order of sums in products: a lane is a row, see simd_matmul.h. In all other ops: element i goes
 * to sum i % 16, in ascending order and with one rounding (fma); the 16 sums are then folded 8 + 8,
 * 4 + 4, and (0 + 1) + (2 + 3). Tiles choose which sums are made side by side, never the order
 * within one. */
#ifndef INLINE
#error "included by ops_<isa>.c only"
#endif

/* Loops over constant bounds whose arrays must live in registers. clang unrolls them unasked. Under
 * a sanitizer they stay loops: a check for each element of an unrolled tile takes minutes to
 * compile. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&                  \
    !defined(__SANITIZE_THREAD__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

#define LANES MR_CPU_LANES
_Static_assert(sizeof(vec) == LANES * sizeof(float), "one order of sums for all");
_Static_assert(LANES == MR_TILE, "a lane is a row of a tile");

/* The totals of four vectors. */
INLINE __m128 v_sum4(vec a, vec b, vec c, vec d) {
    __m128 s0 = v_fold4(a), s1 = v_fold4(b), s2 = v_fold4(c), s3 = v_fold4(d);
    _MM_TRANSPOSE4_PS(s0, s1, s2, s3);
    return _mm_add_ps(_mm_add_ps(s0, s1), _mm_add_ps(s2, s3));
}

INLINE float v_sum(vec a) {
    return _mm_cvtss_f32(v_sum4(a, a, a, a));
}

/* e^x. x = n ln 2 + r with |r| <= ln 2 / 2; then a polynomial of degree 6 fitted to the least
 * relative error (3.1e-9), so that rounding is what remains: below 1.5 units in the last place.
 * Below the least normal number the result is 0, above the largest power of two it stays there. */
INLINE vec v_exp(vec x) {
    const vec lo = v_set1(-87.3365f), hi = v_set1(88.3762f);
    const vec z = v_min(hi, v_max(lo, x)); /* NaN passes */
    const vec n = v_round(v_mul(z, v_set1(1.44269504f)));
    vec r = v_fma(n, v_set1(-0x1.62e4p-1f), z); /* exact: 15 bits of ln 2 times 8 of n */
    vec p = v_set1(0x1.6a23cep-10f);
    r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
    p = v_fma(p, r, v_set1(0x1.123a2p-7f));
    p = v_fma(p, r, v_set1(0x1.5558f2p-5f));
    p = v_fma(p, r, v_set1(0x1.555492p-3f));
    p = v_fma(p, r, v_set1(0x1.fffffcp-2f));
    p = v_fma(p, r, v_set1(1));
    p = v_fma(p, r, v_set1(1));
    return v_zero_below(v_mul(p, v_pow2(n)), x, lo);
}

#include "engine/cpu/simd_matmul.h"

#include "engine/cpu/simd_attn.h"

#include "engine/cpu/simd_rows.h"

#include "engine/cpu/simd_sample.h"

#define SIMD_OPS(isa, product, splitter, shortener)                                                \
    {                                                                                              \
        .name = isa, .reads_tiles = true, .round = simd_round, .split = splitter,                  \
        .shorten = shortener, .matmul = product, .rmsnorm = simd_rmsnorm, .rope = simd_rope,       \
        .attn = simd_attn, .attn_join = simd_attn_join, .silu_mul = simd_silu_mul,                 \
        .add = simd_add, .to_f16 = simd_to_f16, .largest = simd_largest,                           \
        .exp_sums = simd_exp_sums,                                                                 \
    }

#ifdef SIMD_TABLE /* ops_amx.c has products of its own */
const mr_ops SIMD_TABLE = SIMD_OPS(SIMD_NAME, simd_matmul, NULL, NULL);
#endif
