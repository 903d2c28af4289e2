/* quantize.c - f32 rows to blocks, for `model synth`, conversions and the tests.
 *
 * Plain C, for quality first. A scale is always rounded to the f16 that the block stores before the
 * quants are chosen, so that each quant is the nearest to what a reader will decode. The groups of
 * the K formats start from the range of their values; then, FIT_STEPS times at most, quants are
 * rounded and scale (and minimum) refitted by least squares, as long as the error gets smaller.
 * Thread: any; pure. */
#include <math.h>

#include "engine/quant.h"

#define FIT_STEPS 5
#define F16_MAX   65504.0f

/* Nearest whole number in lo..hi; what a vanishing scale made of 0 (NaN) becomes lo. */
static int clamp(float q, int lo, int hi) {
    return (int)fminf(fmaxf(rintf(q), (float)lo), (float)hi);
}

/* Stores d as f16 and returns what a reader will see. A scale that f16 holds as 0 makes zeros. */
static float store_f16(uint8_t p[2], float d) {
    const mr_f16 h = mr_f32_to_f16(d);
    memcpy(p, &h, 2);
    return mr_f16_to_f32(h);
}

static float inverse(float d) {
    return d != 0 ? 1 / d : 0;
}

/* Value of the largest magnitude, with its sign. */
static float extreme(const float *x, int n) {
    float e = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(e)) e = x[i];
    return e;
}

static void quantize_q8_0(mr_q8_0 *b, const float *x) {
    const float inv = inverse(store_f16(b->d, fabsf(extreme(x, 32)) / 127));
    for (int i = 0; i < 32; i++) b->qs[i] = (int8_t)clamp(x[i] * inv, -127, 127);
}

/* The range is -8 .. 7, so the scale takes the sign that puts the extreme value at -8. */
static void quantize_q4_0(mr_q4_0 *b, const float *x) {
    const float inv = inverse(store_f16(b->d, extreme(x, 32) / -8));
    for (int i = 0; i < 16; i++) {
        const int low = clamp(x[i] * inv, -8, 7) + 8, high = clamp(x[i + 16] * inv, -8, 7) + 8;
        b->qs[i] = (uint8_t)(low | high << 4);
    }
}

/* Best scale s and minimum m >= 0 so that x = s * q - m with q in 0..q_max, for 32 values. */
static void fit_group(const float *x, int q_max, float *scale, float *min) {
    float lo = 0, hi = 0;
    double best = INFINITY;

    for (int i = 0; i < 32; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    *scale = 0;
    *min = 0;
    float s = (hi - lo) / (float)q_max, m = -lo;
    for (int step = 0; step <= FIT_STEPS && s > 0; step++) {
        const float inv = inverse(s);
        double error = 0, sq = 0, sqq = 0, sx = 0, sqx = 0;
        for (int i = 0; i < 32; i++) {
            const double q = clamp((x[i] + m) * inv, 0, q_max), e = s * q - m - x[i];
            error += e * e;
            sq += q;
            sqq += q * q;
            sx += x[i];
            sqx += q * x[i];
        }
        if (error >= best) return;
        best = error;
        *scale = s;
        *min = m;
        const double det = 32 * sqq - sq * sq;
        if (det <= 0) return; /* one quant for all: nothing to fit */
        s = (float)((32 * sqx - sq * sx) / det);
        m = (float)((sq * sqx - sqq * sx) / det);
        if (m < 0) { /* a minimum above zero cannot be stored */
            m = 0;
            s = (float)(sqx / sqq);
        }
    }
}

/* The inverse of mr_k_unpack. */
static void pack_k(uint8_t packed[12], const uint8_t scale[8], const uint8_t min[8]) {
    for (int i = 0; i < 4; i++) {
        packed[i] = (uint8_t)(scale[i] | scale[i + 4] >> 4 << 6);
        packed[i + 4] = (uint8_t)(min[i] | min[i + 4] >> 4 << 6);
        packed[i + 8] = (uint8_t)((scale[i + 4] & 15) | (min[i + 4] & 15) << 4);
    }
}

/* Quants of 256 values, and the head of a Q4_K or Q5_K block. */
static void quantize_k45(uint8_t q[MR_QK], uint8_t d[2], uint8_t dmin[2], uint8_t packed[12],
                         const float *x, int q_max) {
    float s[8], m[8], s_max = 0, m_max = 0;
    uint8_t scale[8], min[8];

    for (int g = 0; g < 8; g++) {
        fit_group(x + 32 * g, q_max, &s[g], &m[g]);
        s_max = fmaxf(s_max, s[g]);
        m_max = fmaxf(m_max, m[g]);
    }
    const float unit = store_f16(d, s_max / 63), min_unit = store_f16(dmin, m_max / 63);
    for (int g = 0; g < 8; g++) {
        scale[g] = (uint8_t)clamp(s[g] * inverse(unit), 0, 63);
        min[g] = (uint8_t)clamp(m[g] * inverse(min_unit), 0, 63);
        const float off = min_unit * min[g], inv = inverse(unit * scale[g]);
        for (int i = 32 * g; i < 32 * g + 32; i++)
            q[i] = (uint8_t)clamp((x[i] + off) * inv, 0, q_max);
    }
    pack_k(packed, scale, min);
}

/* The low four bits of quants to the nibbles of a Q4_K or Q5_K block. */
static void pack_nibbles(uint8_t qs[128], const uint8_t q[MR_QK]) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *pair = q + i / 32 * 64 + i % 32;
        qs[i] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
    }
}

static void quantize_q4_k(mr_q4_k *b, const float *x) {
    uint8_t q[MR_QK];
    quantize_k45(q, b->d, b->dmin, b->packed, x, 15);
    pack_nibbles(b->qs, q);
}

static void quantize_q5_k(mr_q5_k *b, const float *x) {
    uint8_t q[MR_QK];
    quantize_k45(q, b->d, b->dmin, b->packed, x, 31);
    pack_nibbles(b->qs, q);
    memset(b->qh, 0, sizeof b->qh);
    for (int i = 0; i < MR_QK; i++) b->qh[i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
}

/* Best scale so that x = s * q with q in -32..31, for 16 values. */
static float fit_symmetric(const float *x) {
    float s = extreme(x, 16) / -32, fitted = 0;
    double best = INFINITY;

    for (int step = 0; step <= FIT_STEPS && s != 0; step++) {
        const float inv = inverse(s);
        double error = 0, sqq = 0, sqx = 0;
        for (int i = 0; i < 16; i++) {
            const double q = clamp(x[i] * inv, -32, 31), e = s * q - x[i];
            error += e * e;
            sqq += q * q;
            sqx += q * x[i];
        }
        if (error >= best) break;
        best = error;
        fitted = s;
        s = (float)(sqx / sqq); /* the extreme has quant -32, so sqq > 0 */
    }
    return fitted;
}

static void quantize_q6_k(mr_q6_k *b, const float *x) {
    float s[16];
    for (int g = 0; g < 16; g++) s[g] = fit_symmetric(x + 16 * g);

    const float unit = store_f16(b->d, extreme(s, 16) / -128), inv_unit = inverse(unit);
    memset(b->ql, 0, sizeof b->ql);
    memset(b->qh, 0, sizeof b->qh);
    for (int g = 0; g < 16; g++) b->scale[g] = (int8_t)clamp(s[g] * inv_unit, -128, 127);
    for (int i = 0; i < MR_QK; i++) {
        const float inv = inverse(unit * b->scale[i / 16]);
        const int q = clamp(x[i] * inv, -32, 31) + 32, half = i / 128, k = i / 32 % 4;
        b->ql[64 * half + 32 * (k % 2) + i % 32] |= (uint8_t)((q & 15) << 4 * (k / 2));
        b->qh[32 * half + i % 32] |= (uint8_t)(q >> 4 << 2 * k);
    }
}

static void quantize_block(void *block, const float *x, mr_type type) {
    if (type == MR_TYPE_Q8_0) quantize_q8_0(block, x);
    if (type == MR_TYPE_Q4_0) quantize_q4_0(block, x);
    if (type == MR_TYPE_Q4_K) quantize_q4_k(block, x);
    if (type == MR_TYPE_Q5_K) quantize_q5_k(block, x);
    if (type == MR_TYPE_Q6_K) quantize_q6_k(block, x);
}

static uint16_t to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16); /* to nearest, ties to even */
}

mr_status mr_quantize_row(void *row, const float *x, mr_type type, size_t n) {
    const size_t block = mr_type_block(type), bytes = mr_type_block_bytes(type);
    uint8_t *out = row;

    if (block == 0 || n % block != 0) return MR_EINVAL;
    if (type == MR_TYPE_F32) {
        memcpy(out, x, n * sizeof *x);
        return MR_OK;
    }
    /* Scales are fractions of a value, so what f16 holds is fine for all types but BF16's range. */
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= (type == MR_TYPE_BF16 ? 0x1.fep127f : F16_MAX))) return MR_EINVAL;
    for (size_t i = 0; i < n; i += block, out += bytes) {
        if (block > 1) {
            quantize_block(out, x + i, type);
            continue;
        }
        const uint16_t h = type == MR_TYPE_F16 ? mr_f32_to_f16(x[i]) : to_bf16(x[i]);
        memcpy(out, &h, 2);
    }
    return MR_OK;
}
