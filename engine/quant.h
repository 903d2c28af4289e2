/* quant.h - the block formats of GGUF's quantized tensors, as bytes.
 *
 * A row is a string of blocks of equal size. All members are bytes, so a block has alignment 1 and
 * may lie anywhere in a mapped file; numbers in it are little endian. Every format decodes to one
 * f32 value without ambiguity: scale times quant needs at most 24 bits and is exact, and where a
 * minimum is taken off, that is the one rounding. Hence all variants of the decoder agree to the
 * bit.
 *
 * Formats: github.com/ggml-org/ggml (docs/gguf.md and the block structures of its public headers).
 */
#ifndef MR_ENGINE_QUANT_H
#define MR_ENGINE_QUANT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/gguf.h"
#include "engine/ops.h"

#define MR_Q32 32  /* values of a Q8_0 or Q4_0 block */
#define MR_QK  256 /* values of a super-block: Q4_K, Q5_K, Q6_K */

typedef struct mr_q8_0 { /* value i = d * qs[i] */
    uint8_t d[2];        /* f16 */
    int8_t qs[32];
} mr_q8_0;

/* d * (nibble - 8); value i is the low nibble of qs[i], value i + 16 the high one. */
typedef struct mr_q4_0 {
    uint8_t d[2];
    uint8_t qs[16];
} mr_q4_0;

/* Eight groups of 32 values; group g: d * scale[g] * quant - dmin * min[g]. Scales and minima have
 * 6 bits, packed as mr_k_unpack says. Groups 2i and 2i + 1 are the low and the high nibbles of the
 * 32 bytes at qs + 32 i. */
typedef struct mr_q4_k {
    uint8_t d[2], dmin[2];
    uint8_t packed[12];
    uint8_t qs[128];
} mr_q4_k;

typedef struct mr_q5_k { /* as Q4_K, and bit g of qh[i] is bit 4 of value i of group g */
    uint8_t d[2], dmin[2];
    uint8_t packed[12];
    uint8_t qh[32];
    uint8_t qs[128];
} mr_q5_k;

/* Sixteen groups of 16 values: d * scale[g] * (quant - 32). Values come in two halves of 128, a
 * half in four quarters of 32. Quarter k: its low 4 bits are the low (k < 2) or high nibbles of the
 * 32 bytes at ql + 64 half + 32 (k % 2), its high 2 bits are bits 2k, 2k + 1 of qh + 32 half. */
typedef struct mr_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scale[16];
    uint8_t d[2];
} mr_q6_k;

_Static_assert(sizeof(mr_q8_0) == 34 && sizeof(mr_q4_0) == 18 && sizeof(mr_q4_k) == 144 &&
                   sizeof(mr_q5_k) == 176 && sizeof(mr_q6_k) == 210,
               "blocks are read straight from the file");

/* Twelve bytes to 8 scales and 8 minima of 6 bits. Bytes 0-3 and 4-7: the first four scales and
 * minima in the low 6 bits. Bytes 8-11: the low 4 bits of the last four, scale in the low nibble,
 * minimum in the high one; their top 2 bits sit on top of bytes 0-3 and 4-7. */
static inline void mr_k_unpack(const uint8_t packed[12], uint8_t scale[8], uint8_t min[8]) {
    uint32_t a, b, c, s[2], m[2];
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    s[0] = a & 0x3f3f3f3fu;
    m[0] = b & 0x3f3f3f3fu;
    s[1] = (c & 0x0f0f0f0fu) | ((a >> 2) & 0x30303030u);
    m[1] = ((c >> 4) & 0x0f0f0f0fu) | ((b >> 2) & 0x30303030u);
    memcpy(scale, s, 8);
    memcpy(min, m, 8);
}

typedef struct mr_group { /* 32 weights of a row: value i is scale[i / 16] * q[i] - min */
    float scale[2], min;
    int8_t q[32]; /* Q4_K, Q5_K: 0..15, 0..31; Q4_0, Q6_K: from -8, -32 on */
} mr_group;

/* Weights 32 i .. 32 i + 31 of a row of a type with blocks. Defines each format. */
void mr_group_open(mr_group *g, const void *row, mr_type type, size_t i);

/* y[n] = values of n weights of any type; n is a multiple of the type's block. */
void mr_dequantize_row(float *y, const void *row, mr_type type, size_t n);

#endif
