/* quant.c - tensor types: their names and sizes, half precision, and what a block of weights means.
 *
 * mr_group_open is written for the reader: it is the definition of the formats. Weights pass it
 * once, when they are packed (pack.c). The other direction is in quantize.c. Thread: any; pure. */
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

static void widen_16bit(float *y, const uint8_t *row, mr_type type, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * i, 2);
        y[i] = type == MR_TYPE_F16 ? mr_f16_to_f32(h) : f32_of_bits((uint32_t)h << 16);
    }
}

static void open_q8_0(mr_group *g, const mr_q8_0 *b) {
    g->scale[0] = g->scale[1] = load_f16(b->d);
    memcpy(g->q, b->qs, sizeof g->q);
}

static void open_q4_0(mr_group *g, const mr_q4_0 *b) {
    g->scale[0] = g->scale[1] = load_f16(b->d);
    for (int i = 0; i < 16; i++) {
        g->q[i] = (int8_t)((b->qs[i] & 15) - 8);
        g->q[i + 16] = (int8_t)((b->qs[i] >> 4) - 8);
    }
}

/* Group k of a block of Q4_K or Q5_K; qh is NULL for the former. */
static void open_q45_k(mr_group *g, int k, const uint8_t *d, const uint8_t *dmin,
                       const uint8_t *packed, const uint8_t *qs, const uint8_t *qh) {
    uint8_t scale[8], min[8];

    mr_k_unpack(packed, scale, min);
    g->scale[0] = g->scale[1] = load_f16(d) * scale[k];
    g->min = load_f16(dmin) * min[k];
    for (int i = 0; i < 32; i++) g->q[i] = (int8_t)(qs[32 * (k / 2) + i] >> 4 * (k % 2) & 15);
    for (int i = 0; qh && i < 32; i++) g->q[i] |= (int8_t)((qh[i] >> k & 1) << 4);
}

static void open_q6_k(mr_group *g, int k, const mr_q6_k *b) {
    const int half = k / 4, quarter = k % 4;
    const uint8_t *ql = b->ql + 64 * half + 32 * (quarter % 2), *qh = b->qh + 32 * half;

    for (int i = 0; i < 2; i++) g->scale[i] = load_f16(b->d) * b->scale[2 * k + i];
    for (int i = 0; i < 32; i++) {
        const int low = ql[i] >> 4 * (quarter / 2) & 15, high = qh[i] >> 2 * quarter & 3;
        g->q[i] = (int8_t)((low | high << 4) - 32);
    }
}

void mr_group_open(mr_group *g, const void *row, mr_type type, size_t i) {
    const size_t per_block = mr_type_block(type) / 32, k = i % per_block;
    const void *block = (const uint8_t *)row + i / per_block * mr_type_block_bytes(type);

    g->min = 0;
    if (type == MR_TYPE_Q8_0) open_q8_0(g, block);
    if (type == MR_TYPE_Q4_0) open_q4_0(g, block);
    if (type == MR_TYPE_Q6_K) open_q6_k(g, (int)k, block);
    if (type == MR_TYPE_Q4_K) {
        const mr_q4_k *b = block;
        open_q45_k(g, (int)k, b->d, b->dmin, b->packed, b->qs, NULL);
    }
    if (type == MR_TYPE_Q5_K) {
        const mr_q5_k *b = block;
        open_q45_k(g, (int)k, b->d, b->dmin, b->packed, b->qs, b->qh);
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
        widen_16bit(y, row, type, n);
        return;
    }
    for (size_t k = 0; k < n / 32; k++, y += 32) {
        mr_group g;
        mr_group_open(&g, row, type, k);
        for (int i = 0; i < 32; i++) y[i] = g.scale[i / 16] * (float)g.q[i] - g.min;
    }
}
