/* quant.c - tensor types: their names and sizes, half precision, and what a block of weights means.
 *
 * mr_dequantize_row is written for the reader: it is the definition that the vectorised decoders
 * are tested against bit by bit. The other direction is in quantize.c.
 * Thread: any; pure. */
#include "engine/quant.h"

#include <strings.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF numbers are read in place");

static const struct type_info {
    mr_type type;
    const char *name;
    size_t block, block_bytes;
} types[] = {
    {MR_TYPE_F32, "F32", 1, 4},
    {MR_TYPE_F16, "F16", 1, 2},
    {MR_TYPE_BF16, "BF16", 1, 2},
    {MR_TYPE_Q8_0, "Q8_0", MR_Q32, sizeof(mr_q8_0)},
    {MR_TYPE_Q4_0, "Q4_0", MR_Q32, sizeof(mr_q4_0)},
    {MR_TYPE_Q4_K, "Q4_K", MR_QK, sizeof(mr_q4_k)},
    {MR_TYPE_Q5_K, "Q5_K", MR_QK, sizeof(mr_q5_k)},
    {MR_TYPE_Q6_K, "Q6_K", MR_QK, sizeof(mr_q6_k)},
};

static const struct type_info *find_type(mr_type t) {
    for (size_t i = 0; i < MR_COUNT(types); i++)
        if (types[i].type == t) return &types[i];
    return NULL;
}

size_t mr_type_block(mr_type t) {
    const struct type_info *ti = find_type(t);
    return ti ? ti->block : 0;
}

size_t mr_type_block_bytes(mr_type t) {
    const struct type_info *ti = find_type(t);
    return ti ? ti->block_bytes : 0;
}

size_t mr_type_row_bytes(mr_type t, size_t n) {
    const struct type_info *ti = find_type(t);
    return ti ? n / ti->block * ti->block_bytes : 0;
}

const char *mr_type_name(mr_type t) {
    const struct type_info *ti = find_type(t);
    return ti ? ti->name : "unknown";
}

bool mr_type_parse(const char *name, mr_type *out) {
    for (size_t i = 0; i < MR_COUNT(types); i++) {
        if (strcasecmp(types[i].name, name) != 0) continue;
        *out = types[i].type;
        return true;
    }
    return false;
}

static float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t bits_of_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

float mr_f16_to_f32(mr_f16 h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 0) return f32_of_bits(sign | bits_of_f32((float)man * 0x1p-24f));
    if (exp == 31) return f32_of_bits(sign | 0x7f800000u | man << 13 | (man ? 0x400000u : 0));
    return f32_of_bits(sign | (exp + 112) << 23 | man << 13);
}

mr_f16 mr_f32_to_f16(float f) {
    const uint32_t u = bits_of_f32(f), abs = u & 0x7fffffffu;
    const mr_f16 sign = (mr_f16)(u >> 16 & 0x8000u);

    if (abs > 0x7f800000u) /* NaN: keep what fits of the payload, quietly */
        return (mr_f16)(sign | 0x7e00u | (abs >> 13 & 0x3ffu));
    if (abs >= 0x477ff000u) return (mr_f16)(sign | 0x7c00u); /* 65520 and up round to infinity */
    if (abs < 0x38800000u) /* below 2^-14 f16 is fixed point: one unit is the last bit of 0.5f */
        return (mr_f16)(sign | (bits_of_f32(f32_of_bits(abs) + 0.5f) - bits_of_f32(0.5f)));
    return (mr_f16)(sign | (abs - 0x38000000u + 0xfffu + (abs >> 13 & 1u)) >> 13);
}

static float load_f16(const uint8_t p[2]) {
    mr_f16 h;
    memcpy(&h, p, 2);
    return mr_f16_to_f32(h);
}

static void dequantize_16bit(float *y, const uint8_t *row, mr_type type, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * i, 2);
        y[i] = type == MR_TYPE_F16 ? mr_f16_to_f32(h) : f32_of_bits((uint32_t)h << 16);
    }
}

static void dequantize_q8_0(float *y, const mr_q8_0 *b) {
    const float d = load_f16(b->d);
    for (int i = 0; i < 32; i++) y[i] = d * b->qs[i];
}

static void dequantize_q4_0(float *y, const mr_q4_0 *b) {
    const float d = load_f16(b->d);
    for (int i = 0; i < 16; i++) {
        y[i] = d * ((b->qs[i] & 15) - 8);
        y[i + 16] = d * ((b->qs[i] >> 4) - 8);
    }
}

/* Q4_K and Q5_K; qh is NULL for the former. */
static void dequantize_q45_k(float *y, const uint8_t *d, const uint8_t *dmin, const uint8_t *packed,
                             const uint8_t *qs, const uint8_t *qh) {
    uint8_t scale[8], min[8];
    mr_k_unpack(packed, scale, min);
    for (int g = 0; g < 8; g++) {
        const float s = load_f16(d) * scale[g], m = load_f16(dmin) * min[g];
        for (int i = 0; i < 32; i++) {
            int q = qs[32 * (g / 2) + i] >> 4 * (g % 2) & 15;
            if (qh) q |= (qh[i] >> g & 1) << 4;
            y[32 * g + i] = s * (float)q - m;
        }
    }
}

static void dequantize_q6_k(float *y, const mr_q6_k *b) {
    const float d = load_f16(b->d);
    for (int i = 0; i < MR_QK; i++) {
        const int half = i / 128, k = i / 32 % 4;
        const int low = b->ql[64 * half + 32 * (k % 2) + i % 32] >> 4 * (k / 2) & 15;
        const int high = b->qh[32 * half + i % 32] >> 2 * k & 3;
        y[i] = d * b->scale[i / 16] * (float)((low | high << 4) - 32);
    }
}

static void dequantize_block(float *y, const void *block, mr_type type) {
    if (type == MR_TYPE_Q8_0) dequantize_q8_0(y, block);
    if (type == MR_TYPE_Q4_0) dequantize_q4_0(y, block);
    if (type == MR_TYPE_Q6_K) dequantize_q6_k(y, block);
    if (type == MR_TYPE_Q4_K) {
        const mr_q4_k *b = block;
        dequantize_q45_k(y, b->d, b->dmin, b->packed, b->qs, NULL);
    }
    if (type == MR_TYPE_Q5_K) {
        const mr_q5_k *b = block;
        dequantize_q45_k(y, b->d, b->dmin, b->packed, b->qs, b->qh);
    }
}

void mr_dequantize_row(float *y, const void *row, mr_type type, size_t n) {
    const struct type_info *ti = find_type(type);
    MR_CHECK(ti && n % ti->block == 0);
    if (type == MR_TYPE_F32) {
        memcpy(y, row, n * sizeof *y);
        return;
    }
    if (ti->block == 1) {
        dequantize_16bit(y, row, type, n);
        return;
    }
    for (size_t i = 0; i < n / ti->block; i++)
        dequantize_block(y + i * ti->block, (const uint8_t *)row + i * ti->block_bytes, type);
}
