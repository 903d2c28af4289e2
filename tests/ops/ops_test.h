/* ops_test.h - what the tests of kernels share: random inputs, aligned memory, all variants. */
#ifndef MR_TESTS_OPS_TEST_H
#define MR_TESTS_OPS_TEST_H

#include <math.h>

#include "engine/ops.h"
#include "tests/test.h"

static const char *const isas[] = {"ref", "avx2", "avxvnni", "avx512", "amx"};

/* For each variant that this machine runs. */
#define FOR_EACH_OPS(o)                                                                            \
    for (size_t mr_i = 0; mr_i < MR_COUNT(isas); mr_i++)                                           \
        for (const mr_ops *o = mr_ops_pick(isas[mr_i]); o; o = NULL)

static inline uint32_t random_u32(uint64_t *state) { /* Knuth's MMIX multiplier; the high half */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* About normal: mean 0, variance 1, within +-3.5. */
static inline float random_f32(uint64_t *state) {
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += (float)(random_u32(state) >> 8) * 0x1p-24f;
    return (sum - 2) * 1.7320508f;
}

static inline void *alloc64(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) abort();
    return p;
}

/* Exactly n floats, so that ASan sees a read or write past them. */
static inline float *random_floats(size_t n, uint64_t seed) {
    float *p = malloc(n * sizeof *p);
    if (!p) abort();
    for (size_t i = 0; i < n; i++) p[i] = random_f32(&seed);
    return p;
}

#define CHECK_NEAR(got, want, bound, what)                                                         \
    do {                                                                                           \
        const double mr_g = (got), mr_w = (want), mr_e = fabs(mr_g - mr_w);                        \
        if (!(mr_e <= (bound)))                                                                    \
            fail_msg("%s:%d: %s: %.9g, not %.9g: off by %.3g, bound %.3g", __FILE__, __LINE__,     \
                     what, mr_g, mr_w, mr_e, (double)(bound));                                     \
    } while (0)

#endif
