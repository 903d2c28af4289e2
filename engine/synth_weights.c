/* synth_weights.c - random rows of every tensor type, made in their final form.
 *
 * The generator is counter-based: word i of a stream is a hash of (stream, i), so a row depends
 * on its number alone and could be made in any order. Blocks of quantized types are made
 * directly: uniform random quants need no float behind them, and only the scale must fit. With q
 * uniform over 2^b steps the quants have the variance (4^b - 1) / 12, so a scale of std /
 * sqrt(that) gives weights of the wanted deviation. Their mean is made 0: the type with a
 * minimum (Q4_K, Q5_K) gets it at the centre, the others (their range is lopsided by half a
 * step) get scales of random sign, as real files have.
 *
 * Cost: below 1 ns per byte for quantized types, so the disk is slower. Pure. */
#include <math.h>
#include <string.h>

#include "engine/ops.h"
#include "engine/synth_parts.h"

#define MAX_BLOCK_WORDS 27  /* 64-bit words of randomness in the largest block, Q6_K's */
#define FLOAT_STEP      256 /* values made at a time for float types */

/* Mean of sc^2 over sc = 32..63, the 6-bit scales used here (also as magnitudes of Q6_K's). */
#define SUBSCALE_SQUARE 2341.5

/* --- the stream ------------------------------------------------------------------------------- */

/* Finalizer of SplitMix64 (Steele 2014): every input bit changes every output bit with p = 1/2. */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t word(uint64_t stream, uint64_t i) {
    return mix(stream + (i + 1) * 0x9e3779b97f4a7c15u);
}

uint64_t mr_synth_stream(uint64_t seed, const char *name) {
    uint64_t h = mix(seed ^ 0x6d696c6c72616365u);

    for (; *name; name++) h = mix(h ^ (uint8_t)*name) + 0x9e3779b97f4a7c15u;
    return h;
}

/* Sum of four uniforms: bounded at 3.5 standard deviations, and one hash per value. */
static float normal(uint64_t r) {
    const uint32_t sum = (uint32_t)(r & 0xffff) + (uint32_t)(r >> 16 & 0xffff) +
                         (uint32_t)(r >> 32 & 0xffff) + (uint32_t)(r >> 48);

    return ((float)sum - 2 * 65535.0f) * (1.0f / 37837.2f); /* sqrt(4 / 12) * 65536 */
}

void mr_synth_values(float *out, size_t n, float mean, float std, uint64_t stream) {
    for (size_t i = 0; i < n; i++) out[i] = mean + std * normal(word(stream, i));
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Scales differ between blocks by up to a quarter, so that mixing them up shows in a test. */
static float vary(float scale, uint64_t r) {
    return scale * (0.75f + 0.5f * (float)(r >> 40 & 0xffff) / 65536.0f) * 0.98974f; /* rms 1 */
}

static void put_f16(uint8_t *p, float v) {
    const mr_f16 h = mr_f32_to_f16(v);
    memcpy(p, &h, sizeof h);
}

static float with_sign(float v, uint64_t r) {
    return r & 1 ? -v : v;
}

/* 18 bytes: f16 scale, 32 quants of 4 bits. */
static void block_q4_0(uint8_t *p, const uint64_t *r, double std) {
    const double scale = std / sqrt((256 - 1) / 12.0 + 0.25); /* + 0.25: the half step off centre */

    put_f16(p, with_sign(vary((float)scale, r[2]), r[2]));
    memcpy(p + 2, r, 16);
}

/* 34 bytes: f16 scale, 32 quants of 8 bits; -128 never occurs in real files, and some kernels take
 * an absolute value. */
static void block_q8_0(uint8_t *p, const uint64_t *r, double std) {
    const double scale = std / sqrt((255.0 * 255.0 - 1) / 12.0);

    put_f16(p, with_sign(vary((float)scale, r[4]), r[4]));
    memcpy(p + 2, r, 32);
    for (size_t i = 2; i < 34; i++)
        if (p[i] == 0x80) p[i] = 0;
}

/* The 12 bytes of eight 6-bit scales and eight 6-bit minimums of Q4_K and Q5_K. Scale and
 * minimum of a group are the same number, so that d_min alone sets the centre. r gives 5 bits
 * for each. */
static void pack_k_scales(uint8_t *p, uint64_t r) {
    uint8_t s[8];

    for (size_t j = 0; j < 8; j++) s[j] = (uint8_t)(32 + (r >> (5 * j) & 31));
    for (size_t j = 0; j < 4; j++) {
        p[j] = (uint8_t)(s[j] | (s[j + 4] >> 4) << 6);
        p[j + 4] = p[j];
        p[j + 8] = (uint8_t)((s[j + 4] & 15) | (s[j + 4] & 15) << 4);
    }
}

/* 144 or 176 bytes: f16 scale and minimum, 12 of group scales, (32 of high bits,) 128 of low
 * bits. */
static void block_k_min(uint8_t *p, const uint64_t *r, double std, size_t quant_bytes,
                        double steps) {
    const double scale = std / sqrt((steps * steps - 1) / 12.0 * SUBSCALE_SQUARE);
    const float d = vary((float)scale, r[0]);

    put_f16(p, d);
    put_f16(p + 2, d * (float)((steps - 1) / 2));
    pack_k_scales(p + 4, r[1]);
    memcpy(p + 16, r + 2, quant_bytes);
}

/* 210 bytes: 128 of low bits, 64 of high bits, 16 signed group scales, f16 scale. */
static void block_q6_k(uint8_t *p, const uint64_t *r, double std) {
    const double scale = std / sqrt(((64.0 * 64.0 - 1) / 12.0 + 0.25) * SUBSCALE_SQUARE);

    memcpy(p, r, 192);
    for (size_t j = 0; j < 16; j++) {
        const uint64_t bits = r[24 + j / 8] >> (8 * (j % 8));
        const int s = (int)(32 + (bits & 31));
        p[192 + j] = (uint8_t)(int8_t)(bits & 32 ? -s : s);
    }
    put_f16(p + 208, vary((float)scale, r[26]));
}

static size_t words_of_block(mr_type type) {
    switch (type) {
    case MR_TYPE_Q4_0:
        return 3;
    case MR_TYPE_Q8_0:
        return 5;
    case MR_TYPE_Q4_K:
        return 2 + 128 / 8;
    case MR_TYPE_Q5_K:
        return 2 + 160 / 8;
    case MR_TYPE_Q6_K:
        return MAX_BLOCK_WORDS;
    default:
        return 0;
    }
}

static void fill_block(uint8_t *p, mr_type type, const uint64_t *r, double std) {
    switch (type) {
    case MR_TYPE_Q4_0:
        block_q4_0(p, r, std);
        break;
    case MR_TYPE_Q8_0:
        block_q8_0(p, r, std);
        break;
    case MR_TYPE_Q4_K:
        block_k_min(p, r, std, 128, 16);
        break;
    case MR_TYPE_Q5_K:
        block_k_min(p, r, std, 160, 32);
        break;
    case MR_TYPE_Q6_K:
        block_q6_k(p, r, std);
        break;
    default:
        MR_CHECK(!"a type without blocks");
    }
}

/* --- rows ------------------------------------------------------------------------------------- */

static void float_row(uint8_t *out, mr_type type, size_t n, float std, uint64_t stream,
                      uint64_t first) {
    float values[FLOAT_STEP];

    for (size_t i = 0; i < n; i += FLOAT_STEP) {
        const size_t step = n - i < FLOAT_STEP ? n - i : FLOAT_STEP;
        for (size_t k = 0; k < step; k++) values[k] = std * normal(word(stream, first + i + k));
        MR_CHECK(mr_quantize_row(out + mr_type_row_bytes(type, i), values, type, step) == MR_OK);
    }
}

void mr_synth_row(void *out, mr_type type, size_t n, float std, uint64_t stream, uint64_t row) {
    const size_t n_words = words_of_block(type), block = mr_type_block(type);
    uint64_t r[MAX_BLOCK_WORDS];
    uint8_t *p = out;

    MR_CHECK(n % block == 0 && n_words <= MAX_BLOCK_WORDS);
    if (n_words == 0) {
        float_row(out, type, n, std, stream, row * n);
        return;
    }
    for (size_t b = 0; b < n / block; b++) {
        const uint64_t first = (row * (n / block) + b) * n_words;
        for (size_t k = 0; k < n_words; k++) r[k] = word(stream, first + k);
        fill_block(p, type, r, (double)std);
        p += mr_type_block_bytes(type);
    }
}
