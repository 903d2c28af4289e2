/* simd_attn.h - attention of one query row, in one pass over the cache.
 *
 * Positions are taken in pieces of ATTN_PIECE, counted from position 0: scores, then softmax
 * against the largest score so far (what was summed before is scaled down to it), then the weighted
 * values (online softmax: Milakov 2018). Nothing depends on where blocks of the cache begin. Query
 * heads that share a key/value head are done ATTN_HEADS at a time to read keys and values once;
 * each has sums of its own, so how h0..h1 cuts the group does not show. */

#define ATTN_PIECE 64
#define ATTN_SLAB  4 /* vectors of values summed at once */
_Static_assert(ATTN_PIECE % LANES == 0 && LANES % 4 == 0, "a piece is whole vectors");

typedef struct attn_piece {
    _Alignas(64) float p[ATTN_HEADS][ATTN_PIECE]; /* scores, then e^(score - max) */
    size_t at[ATTN_PIECE];                        /* offset of a position in a->k and a->v */
    float max[ATTN_HEADS], total[ATTN_HEADS];     /* of all pieces so far */
    float keep[ATTN_HEADS];                       /* factor for what was summed before */
    uint32_t n;                                   /* positions in this piece */
} attn_piece;

static void locate(attn_piece *s, const mr_attn_args *a, uint32_t kv_head, uint32_t i0) {
    uint32_t block = i0 / a->block_len, in = i0 % a->block_len;
    for (uint32_t i = 0; i < s->n; i++) {
        const size_t head = (size_t)a->table[block] * a->n_kv_head + kv_head;
        s->at[i] = (head * a->block_len + in) * a->d_head;
        if (++in == a->block_len) in = 0, block++;
    }
    for (uint32_t i = s->n; i % 4; i++) s->at[i] = s->at[s->n - 1]; /* scores go by fours */
}

/* Unscaled scores of positions i .. i + 3. */
INLINE void scores4(attn_piece *s, const mr_attn_args *a, uint32_t h, uint32_t i,
                    const int n_heads) {
    const float *q = a->q + (size_t)h * a->d_head;
    const size_t n = a->d_head;
    vec sum[ATTN_HEADS][4], k[4];
    size_t d = 0;

    UNROLL
    for (int g = 0; g < n_heads; g++) {
        UNROLL
        for (int j = 0; j < 4; j++) sum[g][j] = v_zero();
    }
    for (; d + LANES <= n; d += LANES) {
        UNROLL
        for (int j = 0; j < 4; j++) k[j] = v_f16(a->k + s->at[i + (uint32_t)j] + d);
        UNROLL
        for (int g = 0; g < n_heads; g++) {
            const vec qv = v_load(q + (size_t)g * n + d);
            UNROLL
            for (int j = 0; j < 4; j++) sum[g][j] = v_fma(qv, k[j], sum[g][j]);
        }
    }
    if (d < n) {
        UNROLL
        for (int j = 0; j < 4; j++) k[j] = v_f16_n(a->k + s->at[i + (uint32_t)j] + d, n - d);
        UNROLL
        for (int g = 0; g < n_heads; g++) {
            const vec qv = v_load_n(q + (size_t)g * n + d, n - d);
            UNROLL
            for (int j = 0; j < 4; j++) sum[g][j] = v_fma(qv, k[j], sum[g][j]);
        }
    }
    UNROLL
    for (int g = 0; g < n_heads; g++)
        _mm_store_ps(s->p[g] + i, v_sum4(sum[g][0], sum[g][1], sum[g][2], sum[g][3]));
}

/* Scores of one head to weights, and its maximum and total brought up to date. */
static void softmax_piece(attn_piece *s, int g, float scale) {
    float *p = s->p[g];
    vec most = v_set1(s->max[g]), total = v_zero();

    for (uint32_t i = 0; i < s->n; i++) p[i] *= scale;
    for (uint32_t i = s->n; i % LANES; i++) p[i] = -INFINITY; /* weight 0 */
    for (uint32_t i = 0; i < s->n; i += LANES) most = v_max(most, v_load(p + i));
    const float max = v_reduce_max(most);
    for (uint32_t i = 0; i < s->n; i += LANES) {
        const vec e = v_exp(v_sub(v_load(p + i), v_set1(max)));
        v_store(p + i, e);
        total = v_add(total, e);
    }
    float keep[LANES];
    v_store(keep, v_exp(v_set1(s->max[g] - max)));
    s->keep[g] = keep[0];
    s->total[g] = s->total[g] * keep[0] + v_sum(total);
    s->max[g] = max;
}

/* out[d .. d + 16 n_vec) = out * keep + weighted values of the piece; of the last vector only n. */
INLINE void add_values(const attn_piece *s, const mr_attn_args *a, uint32_t h, uint32_t d, size_t n,
                       const int n_heads, const int n_vec) {
    vec sum[ATTN_HEADS][ATTN_SLAB], v[ATTN_SLAB];

    UNROLL
    for (int g = 0; g < n_heads; g++) {
        UNROLL
        for (int j = 0; j < n_vec; j++) sum[g][j] = v_zero();
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const mr_f16 *p = a->v + s->at[i] + d;
        UNROLL
        for (int j = 0; j < n_vec; j++)
            v[j] = n < LANES ? v_f16_n(p + LANES * j, n) : v_f16(p + LANES * j);
        UNROLL
        for (int g = 0; g < n_heads; g++) {
            const vec w = v_set1(s->p[g][i]);
            UNROLL
            for (int j = 0; j < n_vec; j++) sum[g][j] = v_fma(w, v[j], sum[g][j]);
        }
    }
    for (int g = 0; g < n_heads; g++) {
        float *out = a->out + (size_t)(h + (uint32_t)g) * a->d_head + d;
        const vec keep = v_set1(s->keep[g]);
        for (int j = 0; j < n_vec; j++, out += LANES) {
            if (n < LANES)
                v_store_n(out, v_fma(v_load_n(out, n), keep, sum[g][j]), n);
            else
                v_store(out, v_fma(v_load(out), keep, sum[g][j]));
        }
    }
}

/* Heads h .. h + n_heads, all of one key/value head. */
INLINE void attn_heads(const mr_attn_args *a, uint32_t h, const int n_heads) {
    const uint32_t kv_head = h / (a->n_head / a->n_kv_head);
    float *out = a->out + (size_t)h * a->d_head;
    const size_t n_out = (size_t)n_heads * a->d_head;
    attn_piece s;

    for (int g = 0; g < n_heads; g++) s.max[g] = -INFINITY, s.total[g] = 0;
    memset(out, 0, n_out * sizeof *out);
    for (uint32_t i0 = 0; i0 < a->len; i0 += ATTN_PIECE) {
        uint32_t d = 0;
        s.n = a->len - i0 < ATTN_PIECE ? a->len - i0 : ATTN_PIECE;
        locate(&s, a, kv_head, i0);
        for (uint32_t i = 0; i < s.n; i += 4) scores4(&s, a, h, i, n_heads);
        for (int g = 0; g < n_heads; g++) softmax_piece(&s, g, a->scale);
        for (; d + ATTN_SLAB * LANES <= a->d_head; d += ATTN_SLAB * LANES)
            add_values(&s, a, h, d, LANES, n_heads, ATTN_SLAB);
        for (; d + LANES <= a->d_head; d += LANES) add_values(&s, a, h, d, LANES, n_heads, 1);
        if (d < a->d_head) add_values(&s, a, h, d, a->d_head - d, n_heads, 1);
    }
    for (size_t i = 0; i < n_out; i++) out[i] /= s.total[i / a->d_head];
}

typedef void attn_fn(const mr_attn_args *a, uint32_t h);
static void attn_1(const mr_attn_args *a, uint32_t h) {
    attn_heads(a, h, 1);
}
#if ATTN_HEADS >= 4
static void attn_2(const mr_attn_args *a, uint32_t h) {
    attn_heads(a, h, 2);
}
static void attn_4(const mr_attn_args *a, uint32_t h) {
    attn_heads(a, h, 4);
}
#endif

/* Widest first; the last one fits always. */
static const struct attn_width {
    uint32_t n_heads;
    attn_fn *run;
} attn_widths[] = {
#if ATTN_HEADS >= 4
    {4, attn_4},
    {2, attn_2},
#endif
    {1, attn_1},
};

static void simd_attn(const mr_attn_args *a) {
    const uint32_t group = a->n_head / a->n_kv_head;
    for (uint32_t h = a->h0; h < a->h1;) {
        const uint32_t group_end = (h / group + 1) * group;
        const uint32_t n = (group_end < a->h1 ? group_end : a->h1) - h;
        const struct attn_width *w = attn_widths;
        while (w->n_heads > n) w++;
        w->run(a, h);
        h += w->n_heads;
    }
}
