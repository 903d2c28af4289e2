/* simd_decode.h - blocks of weights to vectors of 16 floats; formats as engine/quant.h says.
 *
 * begin_block turns the scales of a block into floats and, for the K formats, gathers the bits of
 * its quants to bytes, 32 at a time; decode then makes values 16 j .. 16 j + 15 with one conversion
 * and one rounding. type is a constant wherever these are inlined. */

typedef struct open_block {
    vec d;                             /* of Q8_0 and Q4_0, in all lanes */
    float scale[16], min[8];           /* of the groups of a K format */
    _Alignas(32) int8_t quants[MR_QK]; /* of a K format; Q6_K's with 32 taken off */
} open_block;

INLINE uint16_t load_u16(const uint8_t p[2]) {
    uint16_t h;
    memcpy(&h, p, 2);
    return h;
}

INLINE float scalar_f16(const uint8_t p[2]) {
    return _cvtsh_ss(load_u16(p));
}

INLINE vec v_set1_f16(const uint8_t p[2]) { /* fewer steps than widening one and spreading it */
    return v_f16_all((short)load_u16(p));
}

INLINE void store_scaled(float *y, __m256i small, float d) {
    _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_cvtepi32_ps(small), _mm256_set1_ps(d)));
}

INLINE __m256i load_bytes(const uint8_t *p) {
    return _mm256_loadu_si256((const void *)p);
}

INLINE void store_quants(open_block *o, int at, __m256i q) {
    _mm256_store_si256((void *)(o->quants + at), q);
}

INLINE __m256i low_nibbles(__m256i b) {
    return _mm256_and_si256(b, _mm256_set1_epi8(15));
}

INLINE __m256i high_nibbles(__m256i b) {
    return low_nibbles(_mm256_srli_epi16(b, 4));
}

/* The bits of mask after a shift to the left (by < 0: right); mask drops what crosses bytes. */
INLINE __m256i shifted(__m256i b, const int by, const char mask) {
    const __m256i s = by >= 0 ? _mm256_slli_epi16(b, by) : _mm256_srli_epi16(b, -by);
    return _mm256_and_si256(s, _mm256_set1_epi8(mask));
}

INLINE void begin_k_scales(open_block *o, const uint8_t *d, const uint8_t *dmin,
                           const uint8_t *packed) {
    uint8_t scale[8], min[8];
    mr_k_unpack(packed, scale, min);
    store_scaled(o->scale, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)scale)),
                 scalar_f16(d));
    store_scaled(o->min, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)min)),
                 scalar_f16(dmin));
}

INLINE void begin_q4_k(open_block *o, const mr_q4_k *b) {
    begin_k_scales(o, b->d, b->dmin, b->packed);
    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256i qs = load_bytes(b->qs + 32 * i);
        store_quants(o, 64 * i, low_nibbles(qs));
        store_quants(o, 64 * i + 32, high_nibbles(qs));
    }
}

INLINE void begin_q5_k(open_block *o, const mr_q5_k *b) {
    const __m256i qh = load_bytes(b->qh);
    begin_k_scales(o, b->d, b->dmin, b->packed);
    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256i qs = load_bytes(b->qs + 32 * i);
        const __m256i top0 = shifted(qh, 4 - 2 * i, 16), top1 = shifted(qh, 3 - 2 * i, 16);
        store_quants(o, 64 * i, _mm256_or_si256(low_nibbles(qs), top0));
        store_quants(o, 64 * i + 32, _mm256_or_si256(high_nibbles(qs), top1));
    }
}

INLINE void begin_q6_k(open_block *o, const mr_q6_k *b) {
    const __m128i scale = _mm_loadu_si128((const void *)b->scale);
    const __m256i off = _mm256_set1_epi8(32);
    const float d = scalar_f16(b->d);

    store_scaled(o->scale, _mm256_cvtepi8_epi32(scale), d);
    store_scaled(o->scale + 8, _mm256_cvtepi8_epi32(_mm_srli_si128(scale, 8)), d);
    UNROLL
    for (int i = 0; i < 8; i++) {
        const int half = i / 4, k = i % 4;
        const __m256i ql = load_bytes(b->ql + 64 * half + 32 * (k % 2));
        const __m256i top = shifted(load_bytes(b->qh + 32 * half), 4 - 2 * k, 48);
        const __m256i low = k < 2 ? low_nibbles(ql) : high_nibbles(ql);
        store_quants(o, 32 * i, _mm256_sub_epi8(_mm256_or_si256(low, top), off));
    }
}

INLINE void begin_block(open_block *o, const void *block, const mr_type type) {
    if (type == MR_TYPE_Q8_0) o->d = v_set1_f16(((const mr_q8_0 *)block)->d);
    if (type == MR_TYPE_Q4_0) o->d = v_set1_f16(((const mr_q4_0 *)block)->d);
    if (type == MR_TYPE_Q4_K) begin_q4_k(o, block);
    if (type == MR_TYPE_Q5_K) begin_q5_k(o, block);
    if (type == MR_TYPE_Q6_K) begin_q6_k(o, block);
}

INLINE vec decode_q4_0(const mr_q4_0 *b, vec d, const int j) {
    __m128i q = _mm_loadu_si128((const void *)b->qs);
    if (j == 1) q = _mm_srli_epi16(q, 4);
    q = _mm_and_si128(q, _mm_set1_epi8(15));
    return v_mul(v_i8(_mm_sub_epi8(q, _mm_set1_epi8(8))), d);
}

INLINE vec decode(const open_block *o, const void *block, const int j, const mr_type type) {
    if (type == MR_TYPE_Q4_0) return decode_q4_0(block, o->d, j);
    if (type == MR_TYPE_Q8_0) {
        const int8_t *qs = ((const mr_q8_0 *)block)->qs + LANES * j;
        return v_mul(v_i8(_mm_loadu_si128((const void *)qs)), o->d);
    }
    const vec q = v_i8(_mm_load_si128((const void *)(o->quants + LANES * j)));
    if (type == MR_TYPE_Q6_K) return v_mul(q, v_set1(o->scale[j]));
    return v_fms(q, v_set1(o->scale[j / 2]), v_set1(o->min[j / 2]));
}

/* 16 weights of a type without blocks, or the n < 16 last ones of a row. */
INLINE vec decode_plain(const uint8_t *p, const mr_type type) {
    if (type == MR_TYPE_F32) return v_load((const float *)(const void *)p);
    return type == MR_TYPE_F16 ? v_f16(p) : v_bf16(p);
}

INLINE vec decode_plain_n(const uint8_t *p, size_t n, const mr_type type) {
    if (type == MR_TYPE_F32) return v_load_n((const float *)(const void *)p, n);
    return type == MR_TYPE_F16 ? v_f16_n(p, n) : v_bf16_n(p, n);
}

INLINE void dequant_plain(float *y, const uint8_t *row, size_t n, const mr_type type) {
    const size_t size = type == MR_TYPE_F32 ? 4 : 2;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, decode_plain(row + i * size, type));
    if (i < n) v_store_n(y + i, decode_plain_n(row + i * size, n - i, type), n - i);
}

INLINE void dequant_blocks(float *y, const uint8_t *row, size_t n, const mr_type type,
                           const int block, const int block_bytes) {
    for (size_t i = 0; i < n; i += (size_t)block, row += block_bytes) {
        open_block o;
        begin_block(&o, row, type);
        UNROLL
        for (int j = 0; j < block / LANES; j++)
            v_store(y + i + LANES * j, decode(&o, row, j, type));
    }
}

/* clang-format off */
static void simd_dequant(float *y, const void *row, mr_type type, size_t n) {
    switch (type) {
    case MR_TYPE_F32: dequant_plain(y, row, n, MR_TYPE_F32); break;
    case MR_TYPE_F16: dequant_plain(y, row, n, MR_TYPE_F16); break;
    case MR_TYPE_BF16: dequant_plain(y, row, n, MR_TYPE_BF16); break;
    case MR_TYPE_Q8_0: dequant_blocks(y, row, n, MR_TYPE_Q8_0, MR_Q32, sizeof(mr_q8_0)); break;
    case MR_TYPE_Q4_0: dequant_blocks(y, row, n, MR_TYPE_Q4_0, MR_Q32, sizeof(mr_q4_0)); break;
    case MR_TYPE_Q4_K: dequant_blocks(y, row, n, MR_TYPE_Q4_K, MR_QK, sizeof(mr_q4_k)); break;
    case MR_TYPE_Q5_K: dequant_blocks(y, row, n, MR_TYPE_Q5_K, MR_QK, sizeof(mr_q5_k)); break;
    case MR_TYPE_Q6_K: dequant_blocks(y, row, n, MR_TYPE_Q6_K, MR_QK, sizeof(mr_q6_k)); break;
    }
}
/* clang-format on */
