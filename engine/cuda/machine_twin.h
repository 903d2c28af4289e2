/* machine_twin.h - bodies as plain C: every thread of a block in turn, from barrier to barrier.
 *
 * Loads check their alignment, which a GPU insists on. Products of matrices gather the fragments of
 * a warp by the layouts of the PTX manual ("Matrix Fragments for mma") and add up in f64. */
#ifndef MR_ENGINE_CUDA_MACHINE_TWIN_H
#define MR_ENGINE_CUDA_MACHINE_TWIN_H

#include <stdbool.h>

#define MR_BODY static inline
#define MR_UNROLL
#define MR_PRIVATE(n)     (n)
#define MR_OWN(t)         (t)
#define MR_THREADS(t, n)  for (uint32_t t = 0; t < (n); t++)
#define MR_LANES(t)       for (uint32_t t = 0; t < MR_WARP; t++)
#define MR_BARRIER()      ((void)0)
#define MR_WARP_BARRIER() ((void)0)

/* ---- memory ---- */

static inline void mr_twin_load(void *to, const void *from, size_t n) {
    MR_CHECK((uintptr_t)from % n == 0);
    memcpy(to, from, n);
}
MR_BODY uint32_t mr_load1(const void *p) {
    uint32_t w;
    mr_twin_load(&w, p, sizeof w);
    return w;
}
MR_BODY mr_words2 mr_load2(const void *p) {
    mr_words2 w;
    mr_twin_load(&w, p, sizeof w);
    return w;
}
MR_BODY mr_words4 mr_load4(const void *p) {
    mr_words4 w;
    mr_twin_load(&w, p, sizeof w);
    return w;
}
MR_BODY uint16_t mr_load_half(const void *p) {
    uint16_t h;
    mr_twin_load(&h, p, sizeof h);
    return h;
}
MR_BODY mr_words2 mr_read2(const void *p) {
    return mr_load2(p);
}
MR_BODY mr_words4 mr_read4(const void *p) {
    return mr_load4(p);
}

MR_BODY void mr_copy16(void *shared, const void *global, bool real) {
    MR_CHECK((uintptr_t)shared % 16 == 0);
    if (real)
        mr_twin_load(shared, global, 16);
    else
        memset(shared, 0, 16);
}
#define mr_copies_commit() ((void)0)
#define mr_copies_wait(n)  ((void)0)

/* ---- numbers ---- */

MR_BODY float mr_of_half(uint16_t h) {
    return mr_f16_to_f32(h);
}
MR_BODY uint16_t mr_to_half(float f) {
    return mr_f32_to_f16(f);
}
static inline uint32_t mr_twin_to_bf16(float f) {
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return isnan(f) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
MR_BODY uint32_t mr_pack_bf16(float a, float b) {
    return mr_twin_to_bf16(a) | mr_twin_to_bf16(b) << 16;
}

/* ---- together: the member of lane l is `stride` bytes behind that of lane l - 1 ---- */

#define MR_TWIN_AT(type, base, stride, l) ((type *)((char *)(base) + (size_t)(l) * (stride)))
#define MR_TWIN_CONST_AT(type, base, stride, l)                                                    \
    ((const type *)((const char *)(base) + (size_t)(l) * (stride)))

/* In the order of the GPU's exchanges: each lane with those `off` lanes away, 2^i lanes in all. */
static inline void mr_twin_sum_f(float *first, size_t stride, uint32_t off) {
    float v[MR_WARP];

    for (; off > 0; off /= 2) {
        for (uint32_t l = 0; l < MR_WARP; l++)
            v[l] =
                *MR_TWIN_AT(float, first, stride, l) + *MR_TWIN_AT(float, first, stride, l ^ off);
        for (uint32_t l = 0; l < MR_WARP; l++) *MR_TWIN_AT(float, first, stride, l) = v[l];
    }
}
static inline void mr_twin_sum_i(int32_t *first, size_t stride, uint32_t off) {
    int32_t v[MR_WARP];

    for (; off > 0; off /= 2) {
        for (uint32_t l = 0; l < MR_WARP; l++)
            v[l] = *MR_TWIN_AT(int32_t, first, stride, l) +
                   *MR_TWIN_AT(int32_t, first, stride, l ^ off);
        for (uint32_t l = 0; l < MR_WARP; l++) *MR_TWIN_AT(int32_t, first, stride, l) = v[l];
    }
}
static inline void mr_twin_sum_u(uint64_t *first, size_t stride, uint32_t off) {
    uint64_t sum = 0; /* of whole numbers any order will do */

    MR_CHECK(off == MR_WARP / 2);
    for (uint32_t l = 0; l < MR_WARP; l++) sum += *MR_TWIN_AT(uint64_t, first, stride, l);
    for (uint32_t l = 0; l < MR_WARP; l++) *MR_TWIN_AT(uint64_t, first, stride, l) = sum;
}
static inline void mr_twin_top(uint64_t *first, size_t stride) {
    uint64_t top = 0;

    for (uint32_t l = 0; l < MR_WARP; l++)
        if (*MR_TWIN_AT(uint64_t, first, stride, l) > top)
            top = *MR_TWIN_AT(uint64_t, first, stride, l);
    for (uint32_t l = 0; l < MR_WARP; l++) *MR_TWIN_AT(uint64_t, first, stride, l) = top;
}
static inline void mr_twin_max(float *first, size_t stride, uint32_t off) {
    float v[MR_WARP];

    for (; off > 0; off /= 2) {
        for (uint32_t l = 0; l < MR_WARP; l++) {
            const float a = *MR_TWIN_AT(float, first, stride, l);
            const float b = *MR_TWIN_AT(float, first, stride, l ^ off);
            v[l] = a > b || isnan(a) ? a : b;
        }
        for (uint32_t l = 0; l < MR_WARP; l++) *MR_TWIN_AT(float, first, stride, l) = v[l];
    }
}

#define MR_TWIN_SUM(p)                                                                             \
    _Generic((p), float * : mr_twin_sum_f, int32_t * : mr_twin_sum_i, uint64_t * : mr_twin_sum_u)
#define MR_TWIN_WARPS(n) for (uint32_t mr_w = 0; mr_w < (n); mr_w += MR_WARP)
#define MR_WARP_SUM(th, n, member)                                                                 \
    MR_TWIN_WARPS(n) MR_TWIN_SUM (&(th)[mr_w].member)(&(th)[mr_w].member, sizeof *(th), 16)
#define MR_QUAD_SUM(th, n, member)                                                                 \
    MR_TWIN_WARPS(n) MR_TWIN_SUM (&(th)[mr_w].member)(&(th)[mr_w].member, sizeof *(th), 2)
#define MR_WARP_MAX(th, n, member)                                                                 \
    MR_TWIN_WARPS(n) mr_twin_max(&(th)[mr_w].member, sizeof *(th), 16)
#define MR_WARP_TOP(th, n, member) MR_TWIN_WARPS(n) mr_twin_top(&(th)[mr_w].member, sizeof *(th))
#define MR_NEXT(counter)           ((*(counter))++)
#define MR_QUAD_MAX(th, n, member) MR_TWIN_WARPS(n) mr_twin_max(&(th)[mr_w].member, sizeof *(th), 2)
#define MR_MMA(fn, th, n, c, a, b)                                                                 \
    MR_TWIN_WARPS(n) fn((th)[mr_w].c, (th)[mr_w].a, (th)[mr_w].b, sizeof *(th))

/* Fragments are words of `per` numbers. Number (row m, column k) of a, 16 rows: lane m % 8 * 4 +
 * k % (4 per) / per, word m / 8 + 2 (k / (4 per)), place k % per. Of b, 8 columns n: lane n * 4 +
 * the same, word k / (4 per). Of c: lane m % 8 * 4 + n / 2, word n % 2 + 2 (m / 8). */
static inline uint32_t mr_twin_a(const uint32_t *a, size_t stride, uint32_t per, uint32_t m,
                                 uint32_t k) {
    const uint32_t lane = m % 8 * 4 + k % (4 * per) / per;
    return MR_TWIN_CONST_AT(uint32_t, a, stride, lane)[m / 8 + 2 * (k / (4 * per))];
}
static inline uint32_t mr_twin_b(const uint32_t *b, size_t stride, uint32_t per, uint32_t n,
                                 uint32_t k) {
    return MR_TWIN_CONST_AT(uint32_t, b, stride, n * 4 + k % (4 * per) / per)[k / (4 * per)];
}
#define MR_TWIN_C(type, c, stride, m, n)                                                           \
    MR_TWIN_AT(type, c, stride, (m) % 8 * 4 + (n) / 2)[(n) % 2 + 2 * ((m) / 8)]

static inline void mr_twin_mma_s8(int32_t *c, const uint32_t *a, const uint32_t *b, size_t stride,
                                  uint32_t n_k) {
    for (uint32_t m = 0; m < 16; m++)
        for (uint32_t n = 0; n < 8; n++)
            for (uint32_t k = 0; k < n_k; k++) {
                const int8_t x = (int8_t)(mr_twin_a(a, stride, 4, m, k) >> 8 * (k % 4) & 255);
                const int8_t y = (int8_t)(mr_twin_b(b, stride, 4, n, k) >> 8 * (k % 4) & 255);
                MR_TWIN_C(int32_t, c, stride, m, n) += x * y;
            }
}
static inline void mr_mma_s8_k32(int32_t *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    mr_twin_mma_s8(c, a, b, stride, 32);
}
static inline void mr_mma_s8_k16(int32_t *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    mr_twin_mma_s8(c, a, b, stride, 16);
}

/* Of floats: first all numbers, as each is used often; then the sums. */
typedef struct mr_twin_floats {
    double a[16][32], b[8][32]; /* [m][k], [n][k] */
} mr_twin_floats;

static inline void mr_twin_mma(float *c, size_t stride, const mr_twin_floats *f, uint32_t n_k) {
    for (uint32_t m = 0; m < 16; m++)
        for (uint32_t n = 0; n < 8; n++) {
            double sum = MR_TWIN_C(float, c, stride, m, n);
            for (uint32_t k = 0; k < n_k; k++) sum += f->a[m][k] * f->b[n][k];
            MR_TWIN_C(float, c, stride, m, n) = (float)sum;
        }
}
/* of(word, k): number k of those whose word it is. */
#define MR_TWIN_FLOATS(of, c, a_, b_, stride, per, n_k)                                            \
    mr_twin_floats f;                                                                              \
    for (uint32_t k = 0; k < (n_k); k++) {                                                         \
        for (uint32_t m = 0; m < 16; m++) f.a[m][k] = of(mr_twin_a(a_, stride, per, m, k), k);     \
        for (uint32_t n = 0; n < 8; n++) f.b[n][k] = of(mr_twin_b(b_, stride, per, n, k), k);      \
    }                                                                                              \
    mr_twin_mma(c, stride, &f, n_k)

static inline double mr_twin_e4m3(uint32_t word, uint32_t k) {
    const uint32_t code = word >> 8 * (k % 4) & 255, exponent = code >> 3 & 15;
    const double sign = code & 0x80 ? -1 : 1;

    if ((code & 0x7f) == 0x7f) return NAN;
    return sign * (exponent == 0 ? ldexp(code & 7, -9) : ldexp(8 + (code & 7), (int)exponent - 10));
}
static inline double mr_twin_tf32(uint32_t word, uint32_t k) {
    float f;

    (void)k;
    MR_CHECK((word & 0x1fff) == 0); /* a GPU would not look at these bits */
    memcpy(&f, &word, sizeof f);
    return f;
}
static inline double mr_twin_f16(uint32_t word, uint32_t k) {
    return mr_f16_to_f32((mr_f16)(word >> 16 * (k % 2)));
}
static inline double mr_twin_bf16(uint32_t word, uint32_t k) {
    return mr_twin_tf32(k % 2 ? word & 0xffff0000 : word << 16, k);
}

static inline void mr_mma_e4m3(float *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    MR_TWIN_FLOATS(mr_twin_e4m3, c, a, b, stride, 4, 32);
}
static inline void mr_mma_tf32(float *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    MR_TWIN_FLOATS(mr_twin_tf32, c, a, b, stride, 1, 8);
}
static inline void mr_mma_f16(float *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    MR_TWIN_FLOATS(mr_twin_f16, c, a, b, stride, 2, 16);
}
static inline void mr_mma_bf16(float *c, const uint32_t *a, const uint32_t *b, size_t stride) {
    MR_TWIN_FLOATS(mr_twin_bf16, c, a, b, stride, 2, 16);
}

#endif
