/* simd_matmul_q.h - products with quantized weights, in whole numbers of 8 bits.
 *
 * A lane of a vector is a row of the tile: a step multiplies 4 columns of 16 rows by 4 inputs that
 * all lanes share. The sum of a group is exact whatever the order; scales and sums of groups are in
 * f32, one chain per (row, token) as ops.h says. So all that may differ between instruction sets,
 * and with the number of tokens, is what runs side by side. */

/* ---- inputs ---- */

/* Sum of 16 signed bytes. */
INLINE int32_t sum_bytes(__m128i q) {
    const __m128i flip = _mm_set1_epi8(-128); /* there is an instruction for unsigned ones only */
    const __m128i s = _mm_sad_epu8(_mm_xor_si128(q, flip), _mm_setzero_si128());
    return _mm_cvtsi128_si32(s) + _mm_extract_epi16(s, 4) - 16 * 128;
}

INLINE void round_block(mr_xblock *out, const float *x, size_t t) {
    const vec a = v_load(x), b = v_load(x + LANES);
    const float most = v_abs_max(a, b);
    const bool tiny = most < MR_ROUND_MIN; /* not when it is NaN */
    const float scale = tiny ? 0 : most / 127, inv = tiny ? 0 : 127 / most;
    const __m128i qa = v_to_i8(v_mul(a, v_set1(inv))), qb = v_to_i8(v_mul(b, v_set1(inv)));
    const int32_t sa = sum_bytes(qa), sb = sum_bytes(qb);

    _mm_storeu_si128((void *)out->q[t], qa);
    _mm_storeu_si128((void *)(out->q[t] + LANES), qb);
    out->scale[t] = scale;
    out->sum[t] = scale * (float)(sa + sb);
    out->bias[0][t] = -128 * (sa + sb);
    out->bias[1][t] = -128 * sa;
    out->bias[2][t] = -128 * sb;
}

static void simd_round(mr_xblock *out, const float *x, size_t ldx, size_t n_tok, size_t n_blocks) {
    for (size_t t = 0; t < n_tok; t++)
        for (size_t b = 0; b < n_blocks; b++) round_block(&out[b], x + t * ldx + 32 * b, t);
}

/* ---- products ---- */

INLINE void add_group(vec *acc, const uint8_t *quants, const tile_scales *w, const mr_xblock *x,
                      size_t t0, const mr_type type, const int n_tok) {
    const bool halves = type == MR_TYPE_Q6_K;
    ints sum[2][DOT_TOKENS];

    UNROLL
    for (int t = 0; t < n_tok; t++) {
        sum[0][t] = has_min(type) ? i_zero() : i_bias(&x->bias[halves][t0 + (size_t)t]);
        if (halves) sum[1][t] = i_bias(&x->bias[2][t0 + (size_t)t]);
    }
    UNROLL
    for (int s = 0; s < 8; s++) {
        const bytes step = tile_step(quants, s, type);
        const bytes b = has_min(type) ? step : b_biased(step);
        ints *to = sum[halves && s >= 4];
        UNROLL
        for (int t = 0; t < n_tok; t++) to[t] = i_dot(to[t], b, x->q[t0 + (size_t)t] + 4 * s);
    }
    UNROLL
    for (int t = 0; t < n_tok; t++) {
        const vec scale = v_set1(x->scale[t0 + (size_t)t]);
        acc[t] = v_fma(v_mul(w->w[0], scale), i_float(sum[0][t]), acc[t]);
        if (halves) acc[t] = v_fma(v_mul(w->w[1], scale), i_float(sum[1][t]), acc[t]);
        if (has_min(type)) acc[t] = v_fnma(w->min, v_set1(x->sum[t0 + (size_t)t]), acc[t]);
    }
}

/* One tile by n_tok tokens, of which n_store exist: the others' lanes of the inputs are there. */
INLINE void dot_tile(const product *p, uint32_t r, size_t t0, size_t n_store, const mr_type type,
                     const int n_tok) {
    const uint8_t *tile = tile_of(p->w, r);
    const uint8_t *scales = tile + mr_tile_scales_at(type, p->w->cols);
    const size_t quant_bytes = mr_tile_form_of(type).quant_bytes, n = p->w->cols / 32;
    const mr_xblock *x = p->in->blocks + t0 / MR_TILE * p->in->n_blocks;
    vec acc[DOT_TOKENS];

    UNROLL
    for (int t = 0; t < n_tok; t++) acc[t] = v_zero();
    for (size_t g = 0; g < n; g++) {
        const tile_scales w = open_scales(scales, g, type);
        if (t0 == 0) fetch_ahead(tile + g * quant_bytes, quant_bytes);
        add_group(acc, tile + g * quant_bytes, &w, x + g, t0 % MR_TILE, type, n_tok);
    }
    for (size_t t = 0; t < n_store; t++) store_tile_row(p, r, t0 + t, acc[t]);
}

/* A tile by all tokens, DOT_TOKENS or fewer at a time; a number that is no power of two is rounded
 * up to one. */
INLINE void dot_rows(const product *p, uint32_t r, const mr_type type) {
    for (size_t t = 0, n; t < p->n_tok; t += n) {
        n = p->n_tok - t < DOT_TOKENS ? p->n_tok - t : DOT_TOKENS;
        if (n == 1)
            dot_tile(p, r, t, n, type, 1);
        else if (n == 2)
            dot_tile(p, r, t, n, type, 2);
        else if (n <= DOT_TOKENS / 2)
            dot_tile(p, r, t, n, type, DOT_TOKENS / 2);
        else
            dot_tile(p, r, t, n, type, DOT_TOKENS);
    }
}

#define DOT(name, type)                                                                            \
    static void name(const product *p, uint32_t r) {                                               \
        dot_rows(p, r, type);                                                                      \
    }
DOT(dot_q8_0, MR_TYPE_Q8_0)
DOT(dot_q4_0, MR_TYPE_Q4_0)
DOT(dot_q4_k, MR_TYPE_Q4_K)
DOT(dot_q5_k, MR_TYPE_Q5_K)
DOT(dot_q6_k, MR_TYPE_Q6_K)
#undef DOT

typedef void dot_fn(const product *p, uint32_t r);
static dot_fn *const dots[] = {
    [MR_TYPE_Q8_0] = dot_q8_0, [MR_TYPE_Q4_0] = dot_q4_0, [MR_TYPE_Q4_K] = dot_q4_k,
    [MR_TYPE_Q5_K] = dot_q5_k, [MR_TYPE_Q6_K] = dot_q6_k,
};
