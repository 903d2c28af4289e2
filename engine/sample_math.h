/* sample_math.h - the numbers of a draw, the same bits on the processor and on a device.
 *
 * A weight is e^((logit - top) / temperature), one rounding at a time. Weights are added up as
 * whole numbers of MR_UNITS, so that no order of additions, on any number of threads, makes another
 * sum: which tokens a filter keeps and which one is drawn follow from the logits alone. What is
 * lost are weights below 1e-12 of the best token's.
 *
 * "Best" means the larger logit, then the lower id. A rank says both in one number, the best token
 * having the highest.
 *
 * The common subset of C11 and CUDA C++, compiled without contraction of a * b + c. */
#ifndef MR_ENGINE_SAMPLE_MATH_H
#define MR_ENGINE_SAMPLE_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define MR_BOTH static __device__ __forceinline__
#else
#define MR_BOTH static inline
#endif

#define MR_UNITS   0x1p40f /* of a weight of one */
#define MR_ID_BITS 20      /* of a rank */
#define MR_ID_MASK 0xfffffull

typedef struct mr_pick { /* of one token: mr_sampling in the terms in which it is used */
    float t, inv_t;      /* inv_t 0: greedy, and the rest does not count */
    float below;         /* min_p: how far a logit may be below the best one; -inf: any */
    uint32_t top_k;      /* 0: off */
    double top_p;        /* 0: off */
    uint64_t u;          /* the random number, 53 bits */
} mr_pick;

/* e^x for x <= 0, within 3e-7 of the value; 0 below -87. */
MR_BOTH float mr_exp_neg(float x) {
    const float c = x < -87.0f ? -87.0f : x;
    const int32_t n = (int32_t)(c * 1.44269504f - 0.5f); /* nearest, for c <= 0 */
    const float f = c - (float)n * 0.693359375f + (float)n * 2.12194440e-4f; /* ln 2 in two parts */
    const float e =
        1.0f +
        f * (1.0f +
             f * (0.5f +
                  f * (1.0f / 6 +
                       f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720 + f * (1.0f / 5040)))))));
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float scale;

    memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : e * scale;
}

MR_BOTH uint64_t mr_weight(float logit, float top, float inv_t) {
    return (uint64_t)(mr_exp_neg((logit - top) * inv_t) * MR_UNITS);
}

/* The part u / 2^53 of a sum below 2^60: 0 .. sum - 1. */
MR_BOTH uint64_t mr_part_of(uint64_t sum, uint64_t u) {
    const uint64_t sum_hi = sum >> 32, sum_lo = sum & 0xffffffffu, u_hi = u >> 32;
    const uint64_t u_lo = u & 0xffffffffu;
    const uint64_t middle = sum_hi * u_lo + sum_lo * u_hi + (sum_lo * u_lo >> 32);

    return (sum_hi * u_hi << 11) + (middle >> 21);
}

/* A whole number of units that a sum of weights, given as a float, comes to; at least one. */
MR_BOTH uint64_t mr_goal_of(double sum) {
    const double units = sum * (double)MR_UNITS;
    return units < 1 ? 1 : (uint64_t)units;
}

/* Logits below this cannot be among the best that have the part p of the sum: n of them together
 * have less than half of what is left. The logarithm is that of a power of two not above. */
MR_BOTH float mr_floor_of(float top, float t, double p, double sum, uint32_t n) {
    const double least = 0.5 * (1 - p) * sum / (double)n;
    uint64_t bits;

    memcpy(&bits, &least, sizeof bits);
    return top + t * ((float)((int32_t)(bits >> 52 & 2047) - 1023) * 0.69314718f);
}

/* ---- ranks ---- */

/* Ascends with the value; -0 and 0 are the same. */
MR_BOTH uint32_t mr_key_of(float v) {
    const float plain = v + 0.0f;
    uint32_t bits;

    memcpy(&bits, &plain, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
MR_BOTH float mr_key_value(uint32_t key) {
    const uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

MR_BOTH uint64_t mr_rank_of(float logit, uint32_t id) {
    return (uint64_t)mr_key_of(logit) << MR_ID_BITS | (MR_ID_MASK - id);
}
MR_BOTH float mr_rank_logit(uint64_t rank) {
    return mr_key_value((uint32_t)(rank >> MR_ID_BITS));
}
MR_BOTH uint32_t mr_rank_id(uint64_t rank) {
    return (uint32_t)(MR_ID_MASK - (rank & MR_ID_MASK));
}

/* ---- what a penalty makes of a logit ---- */

/* seen: how often the token is in the output; rep 1: none. */
MR_BOTH float mr_penalized(float z, float rep, float freq, float pres, uint32_t seen) {
    if (rep != 1) z = z > 0 ? z / rep : z * rep;
    if (seen > 0) z -= (float)seen * freq + pres;
    return z;
}

#endif
