/* simd_decode.h - blocks of weights to vectors of 16 floats; formats as engine/quant.h says.
 *
 * begin_block turns the scales of one block into floats, decode makes values 16 j .. 16 j + 15 of it.
 * type is a constant wherever these are inlined. Loops over j come in spans: within one, which nibbles
 * and bits to take is known to the compiler, and the span is short enough to keep it quick. */

typedef struct block_scales {
    vec d;                   /* of Q8_0 and Q4_0, in all lanes */
    float scale[16], min[8]; /* of the groups of a K format */
} block_scales;

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

/* Vectors after which the pattern of nibbles and bits repeats. */
INLINE unsigned span(const mr_type type) {
    return type == MR_TYPE_Q6_K ? 8 : type == MR_TYPE_Q4_K || type == MR_TYPE_Q5_K ? 4 : 2;
}

INLINE void begin_k45(block_scales *s, const uint8_t *d, const uint8_t *dmin, const uint8_t *packed) {
    uint8_t scale[8], min[8];
    mr_k_unpack(packed, scale, min);
    store_scaled(s->scale, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)scale)),
                 scalar_f16(d));
    store_scaled(s->min, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)min)),
                 scalar_f16(dmin));
}

INLINE void begin_block(block_scales *s, const void *block, const mr_type type) {
    if (type == MR_TYPE_Q8_0) s->d = v_set1_f16(((const mr_q8_0 *)block)->d);
    if (type == MR_TYPE_Q4_0) s->d = v_set1_f16(((const mr_q4_0 *)block)->d);
    if (type == MR_TYPE_Q4_K) {
        const mr_q4_k *b = block;
        begin_k45(s, b->d, b->dmin, b->packed);
    }
    if (type == MR_TYPE_Q5_K) {
        const mr_q5_k *b = block;
        begin_k45(s, b->d, b->dmin, b->packed);
    }
    if (type == MR_TYPE_Q6_K) {
        const mr_q6_k *b = block;
        const __m128i sc = _mm_loadu_si128((const void *)b->scale);
        const float d = scalar_f16(b->d);
        store_scaled(s->scale, _mm256_cvtepi8_epi32(sc), d);
        store_scaled(s->scale + 8, _mm256_cvtepi8_epi32(_mm_srli_si128(sc, 8)), d);
    }
}

/* The low (high false) or high nibbles of 16 bytes. */
INLINE __m128i nibbles(const uint8_t *p, bool high) {
    __m128i b = _mm_loadu_si128((const void *)p);
    if (high) b = _mm_srli_epi16(b, 4);
    return _mm_and_si128(b, _mm_set1_epi8(15));
}

INLINE vec decode_q4_0(const mr_q4_0 *b, const block_scales *s, unsigned j) {
    return v_mul(v_i8(_mm_sub_epi8(nibbles(b->qs, j), _mm_set1_epi8(8))), s->d);
}

INLINE vec decode_q4_k(const mr_q4_k *b, const block_scales *s, unsigned j) {
    const unsigned g = j / 2;
    const __m128i q = nibbles(b->qs + 32 * (g / 2) + 16 * (j % 2), g % 2);
    return v_fms(v_u8(q), v_set1(s->scale[g]), v_set1(s->min[g]));
}

INLINE vec decode_q5_k(const mr_q5_k *b, const block_scales *s, unsigned j) {
    const unsigned g = j / 2;
    const __m128i q = nibbles(b->qs + 32 * (g / 2) + 16 * (j % 2), g % 2);
    const __m128i bit = _mm_set1_epi8((char)(1u << g));
    const __m128i h = _mm_and_si128(_mm_loadu_si128((const void *)(b->qh + 16 * (j % 2))), bit);
    const __m128i top = _mm_and_si128(_mm_cmpeq_epi8(h, bit), _mm_set1_epi8(16));
    return v_fms(v_u8(_mm_or_si128(q, top)), v_set1(s->scale[g]), v_set1(s->min[g]));
}

INLINE vec decode_q6_k(const mr_q6_k *b, const block_scales *s, unsigned j) {
    const unsigned half = j / 8, k = j / 2 % 4;
    const __m128i low = nibbles(b->ql + 64 * half + 32 * (k % 2) + 16 * (j % 2), k / 2);
    const __m128i h = _mm_loadu_si128((const void *)(b->qh + 32 * half + 16 * (j % 2)));
    const __m128i top = _mm_and_si128(_mm_srli_epi16(h, (int)(2 * k)), _mm_set1_epi8(3));
    const __m128i q = _mm_or_si128(low, _mm_slli_epi16(top, 4));
    return v_mul(v_i8(_mm_sub_epi8(q, _mm_set1_epi8(32))), v_set1(s->scale[j]));
}

INLINE vec decode(const void *block, const block_scales *s, unsigned j, const mr_type type) {
    switch (type) {
    case MR_TYPE_Q8_0: {
        const int8_t *qs = ((const mr_q8_0 *)block)->qs;
        return v_mul(v_i8(_mm_loadu_si128((const void *)(qs + 16 * j))), s->d);
    }
    case MR_TYPE_Q4_0: return decode_q4_0(block, s, j);
    case MR_TYPE_Q4_K: return decode_q4_k(block, s, j);
    case MR_TYPE_Q5_K: return decode_q5_k(block, s, j);
    case MR_TYPE_Q6_K: return decode_q6_k(block, s, j);
    default: return v_zero();
    }
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
        block_scales s;
        begin_block(&s, row, type);
        for (unsigned j0 = 0; j0 < (unsigned)block / LANES; j0 += span(type)) {
            UNROLL
            for (unsigned j = j0; j < j0 + span(type); j++)
                v_store(y + i + LANES * j, decode(row, &s, j, type));
        }
    }
}

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
