/* simd_attn.h - attention of a few rows over spans of the cache.
 *
 * A query is one head of one row. Queries that share a key head are taken ATTN_TILE at a time over
 * one span: scores, softmax against the largest score of the span, weighted values. What comes out
 * is folded into the query's record, span by span (online softmax: Milakov 2018).
 *
 * Order of sums. A score adds its products by ascending index into one sum, its lane's: keys lie
 * transposed in the cache, so 16 positions are 16 lanes and nothing is added across them. A value
 * adds its weighted inputs by ascending position into one sum per span. Tiles choose which sums are
 * made side by side, never the order within one, so neither the company of a query, nor who does
 * which span, nor the instruction set shows in a bit.
 *
 * The cache is read in stretches of a few KiB that lie anywhere, and the hardware does not see the
 * next one coming. So it is asked for early, in the order in which it will be read: keys of all
 * blocks of a span, their values, the next span, the next head. Of a sequence's last block only
 * what holds its positions is asked for, and read.
 *
 * A cache of bytes is read as if it held the f32 numbers that byte and scale make (kv_form.h): the
 * product is exact, so nothing but the numbers differs. */

#define SPAN_BLOCKS (MR_ATTN_SPAN / MR_KV_BLOCK_LEN)
#define TO_L2       2 /* of __builtin_prefetch: what is asked for waits there */
_Static_assert(MR_KV_BLOCK_LEN % (ATTN_VECS * LANES) == 0, "a block of keys is whole tiles");
_Static_assert(MR_KV_RUN == LANES, "keys of a run are a vector");

typedef struct attn_stretch { /* that is read next, for fetching only */
    const uint8_t *at;
    size_t last; /* offset of its last line */
} attn_stretch;

typedef struct attn_tile {
    _Alignas(64) float p[ATTN_TILE][MR_ATTN_SPAN]; /* scores, then e^(score - max) */
    float max[ATTN_TILE], total[ATTN_TILE];
    uint32_t n[ATTN_TILE];          /* positions of the span that the query attends to, ascending */
    const uint8_t *at[SPAN_BLOCKS]; /* the key head in a block */
    uint32_t last;                  /* number of the last block that any query attends to */
    uint32_t n_in_last;             /* positions of it that any query attends to */
    attn_stretch next;              /* behind this span */
    size_t half;                    /* bytes from a block's keys to its values */
    const float *q;                 /* [d_head, width] scaled */
    float *sum;                     /* [width, d_head] values of the span */
    uint32_t d_head, first;         /* first: number of the tile's first query */
} attn_tile;

static const uint8_t *block_at(const mr_attn_args *a, uint32_t block) {
    return a->kv + (size_t)a->table[block] * a->block_bytes;
}

/* Positions of a block that any query attends to. */
static uint32_t n_in(const mr_attn_args *a, uint32_t block) {
    const uint32_t left = a->pos + a->n_rows - block * MR_KV_BLOCK_LEN;
    return left < MR_KV_BLOCK_LEN ? left : MR_KV_BLOCK_LEN;
}

/* Bytes of MR_KV_BLOCK_LEN values: a line of f16, half a line of bytes. */
INLINE size_t line_of(const mr_kv_type type) {
    return type == MR_KV_F16 ? 2 * MR_KV_BLOCK_LEN : MR_KV_BLOCK_LEN;
}

/* Keys, and values, of the first n positions of a block. */
INLINE attn_stretch keys_of(const attn_tile *s, const uint8_t *at, uint32_t n,
                            const mr_kv_type type) {
    const uint32_t n_runs = (n + MR_KV_RUN - 1) / MR_KV_RUN;
    return (attn_stretch){at, s->d_head * n_runs * line_of(type) * MR_KV_RUN / MR_KV_BLOCK_LEN - 1};
}
INLINE attn_stretch values_of(const attn_tile *s, const uint8_t *at, uint32_t n,
                              const mr_kv_type type) {
    return (attn_stretch){at + s->half, s->d_head * n * line_of(type) / MR_KV_BLOCK_LEN - 1};
}
INLINE void ask_for(attn_stretch next, size_t at) {
    __builtin_prefetch(next.at + (at < next.last ? at : next.last), 0, TO_L2);
}

/* What is read behind the keys, and behind the values, of a block of the span. */
INLINE attn_stretch after_keys(const attn_tile *s, uint32_t block, const mr_kv_type type) {
    const uint32_t next = block + 1;
    if (block < s->last)
        return keys_of(s, s->at[next], next < s->last ? MR_KV_BLOCK_LEN : s->n_in_last, type);
    return values_of(s, s->at[0], s->last > 0 ? MR_KV_BLOCK_LEN : s->n_in_last, type);
}
INLINE attn_stretch after_values(const attn_tile *s, uint32_t block, const mr_kv_type type) {
    const uint32_t next = block + 1;
    if (block < s->last)
        return values_of(s, s->at[next], next < s->last ? MR_KV_BLOCK_LEN : s->n_in_last, type);
    return s->next;
}

/* The next span, or the key head behind this one, which is likely to be next; the last one has
 * none. */
static attn_stretch next_of(const attn_tile *s, const mr_attn_args *a, uint32_t span) {
    const uint32_t first = a->span0 * SPAN_BLOCKS, next = (span + 1) * SPAN_BLOCKS;
    const uint8_t *own = block_at(a, first);

    if (next * MR_KV_BLOCK_LEN < a->pos + a->n_rows)
        return keys_of(s, block_at(a, next), n_in(a, next), a->kv_type);
    if (a->kv_head + 1 < a->n_kv_head) own += 2 * s->half;
    return keys_of(s, own, n_in(a, first), a->kv_type);
}

static void locate(attn_tile *s, const mr_attn_args *a, uint32_t span) {
    const uint32_t first = span * SPAN_BLOCKS;
    const uint32_t left = (a->pos + a->n_rows - 1) / MR_KV_BLOCK_LEN - first;

    s->last = left < SPAN_BLOCKS ? left : SPAN_BLOCKS - 1;
    s->n_in_last = n_in(a, first + s->last);
    for (uint32_t b = 0; b <= s->last; b++) s->at[b] = block_at(a, first + b);
    s->next = next_of(s, a, span);
}

/* 16 values of a half, number i and those behind it, without their scale. */
INLINE vec v_cached(const uint8_t *half, size_t i, const mr_kv_type type) {
    return type == MR_KV_F16 ? v_f16((const mr_f16 *)half + i) : v_i8(load_16_bytes(half + i));
}

/* Scales of the group that has value d, positions in .. of the block. */
INLINE const mr_f16 *scales_of(const attn_tile *s, const uint8_t *half, uint32_t d, uint32_t in) {
    return (const mr_f16 *)(half + mr_kv_scales_at(s->d_head)) + d / MR_KV_GROUP * MR_KV_BLOCK_LEN +
           in;
}

/* Values d0 .. d1 of n_vec runs of keys, from position in of the block on, into the scores. */
INLINE void score_group(const attn_tile *s, uint32_t block, uint32_t in, uint32_t d0, uint32_t d1,
                        vec sum[ATTN_TILE][ATTN_VECS], const int width, const int n_vec,
                        const mr_kv_type type) {
    const attn_stretch next = after_keys(s, block, type);
    const uint8_t *keys = s->at[block];
    const float *q = s->q + (size_t)d0 * (size_t)width;
    vec k[ATTN_VECS], scale[ATTN_VECS];

    if (type != MR_KV_F16) __builtin_prefetch(scales_of(s, next.at, d0, 0), 0, TO_L2);
    UNROLL
    for (int j = 0; j < n_vec; j++)
        scale[j] =
            type == MR_KV_F16 ? v_zero() : v_f16(scales_of(s, keys, d0, in + LANES * (uint32_t)j));
    for (uint32_t d = d0; d < d1; d++, q += width) {
        ask_for(next, d * line_of(type));
        UNROLL
        for (int j = 0; j < n_vec; j++) {
            k[j] = v_cached(keys, mr_kv_key_at(s->d_head, in + LANES * (size_t)j, d), type);
            if (type != MR_KV_F16) k[j] = v_mul(k[j], scale[j]);
        }
        UNROLL
        for (int m = 0; m < width; m++) {
            const vec qv = v_set1(q[m]);
            UNROLL
            for (int j = 0; j < n_vec; j++) sum[m][j] = v_fma(qv, k[j], sum[m][j]);
        }
    }
}

/* Scores of n_vec * 16 positions from i on. */
INLINE void score_tile(attn_tile *s, uint32_t i, const int width, const int n_vec,
                       const mr_kv_type type) {
    const uint32_t in = i % MR_KV_BLOCK_LEN, step = type == MR_KV_F16 ? s->d_head : MR_KV_GROUP;
    vec sum[ATTN_TILE][ATTN_VECS];

    UNROLL
    for (int m = 0; m < width; m++) {
        UNROLL
        for (int j = 0; j < n_vec; j++) sum[m][j] = v_zero();
    }
    for (uint32_t d = 0; d < s->d_head; d += step)
        score_group(s, i / MR_KV_BLOCK_LEN, in, d, d + step < s->d_head ? d + step : s->d_head, sum,
                    width, n_vec, type);
    UNROLL
    for (int m = 0; m < width; m++) {
        UNROLL
        for (int j = 0; j < n_vec; j++) v_store(s->p[m] + i + LANES * j, sum[m][j]);
    }
}

/* Scores of one query to weights, and their largest and their total. */
static void softmax_span(attn_tile *s, int m) {
    float *p = s->p[m];
    const uint32_t n = s->n[m];
    vec most = v_set1(-INFINITY), total = v_zero();

    for (uint32_t i = n; i % LANES; i++) p[i] = -INFINITY; /* weight 0 */
    for (uint32_t i = 0; i < n; i += LANES) most = v_max(most, v_load(p + i));
    const float max = v_reduce_max(most);
    for (uint32_t i = 0; i < n; i += LANES) {
        const vec e = v_exp(v_sub(v_load(p + i), v_set1(max)));
        v_store(p + i, e);
        total = v_add(total, e);
    }
    s->max[m] = max;
    s->total[m] = v_sum(total);
}

/* Positions i0 .. i1 of one block, into the sums of queries first .. first + width for n_vec
 * vectors of values from d on; of a single one only n values. */
INLINE void value_tile(const attn_tile *s, uint32_t d, uint32_t i0, uint32_t i1,
                       vec sum[ATTN_TILE][ATTN_VECS], int first, const int width, const int n_vec,
                       size_t n, const mr_kv_type type) {
    const uint32_t block = i0 / MR_KV_BLOCK_LEN, in = i0 % MR_KV_BLOCK_LEN;
    const attn_stretch next = after_values(s, block, type);
    const uint8_t *v = s->at[block] + s->half;
    const uint32_t n_asks = s->d_head * (i1 - i0) / MR_KV_BLOCK_LEN; /* of all d */
    size_t ask = d * (i1 - i0) / MR_KV_BLOCK_LEN;
    float scale[MR_KV_BLOCK_LEN];
    vec x[ATTN_VECS];

    if (type != MR_KV_F16) {
        __builtin_prefetch(scales_of(s, next.at, d, 0), 0, TO_L2);
        for (uint32_t i = 0; i < MR_KV_BLOCK_LEN; i += LANES)
            v_store(scale + i, v_f16(scales_of(s, v, d, i)));
    }
    size_t from = (size_t)in * s->d_head + d;
    for (uint32_t i = i0; i < i1; i++, from += s->d_head, ask++) {
        ask_for(next, ask * line_of(type));
        if (n_asks < s->d_head) ask_for(next, (ask + n_asks) * line_of(type));
        UNROLL
        for (int j = 0; j < n_vec; j++) { /* behind bytes lie scales: 16 may be read, n are used */
            x[j] = type == MR_KV_F16 && n < LANES ? v_f16_n((const mr_f16 *)v + from, n)
                                                  : v_cached(v, from + LANES * (size_t)j, type);
            if (type != MR_KV_F16) x[j] = v_mul(x[j], v_set1(scale[i % MR_KV_BLOCK_LEN]));
        }
        UNROLL
        for (int m = 0; m < width; m++) {
            const vec w = v_set1(s->p[first + m][i]);
            UNROLL
            for (int j = 0; j < n_vec; j++) sum[m][j] = v_fma(w, x[j], sum[m][j]);
        }
    }
}

/* Positions i0 .. i1 of one block into s->sum, n_vec vectors of values from d on (of a single one
 * only n values). i0 0: the sums start there. */
INLINE void add_values(attn_tile *s, uint32_t d, uint32_t i0, uint32_t i1, int first,
                       const int width, const int n_vec, size_t n, const mr_kv_type type) {
    vec sum[ATTN_TILE][ATTN_VECS];
    float *out = s->sum + (size_t)first * s->d_head + d;

    UNROLL
    for (int m = 0; m < width; m++) {
        UNROLL
        for (int j = 0; j < n_vec; j++) {
            const float *at = out + (size_t)m * s->d_head + LANES * j;
            sum[m][j] = i0 == 0 ? v_zero() : n < LANES ? v_load_n(at, n) : v_load(at);
        }
    }
    value_tile(s, d, i0, i1, sum, first, width, n_vec, n, type);
    UNROLL
    for (int m = 0; m < width; m++) {
        UNROLL
        for (int j = 0; j < n_vec; j++) {
            float *at = out + (size_t)m * s->d_head + LANES * j;
            if (n < LANES)
                v_store_n(at, sum[m][j], n);
            else
                v_store(at, sum[m][j]);
        }
    }
}

INLINE void block_values(attn_tile *s, uint32_t i0, uint32_t i1, int first, const int width,
                         const mr_kv_type type) {
    const uint32_t d_head = s->d_head;
    uint32_t d = 0;

    for (; d + ATTN_VECS * LANES <= d_head; d += ATTN_VECS * LANES)
        add_values(s, d, i0, i1, first, width, ATTN_VECS, LANES, type);
    for (; d + LANES <= d_head; d += LANES) add_values(s, d, i0, i1, first, width, 1, LANES, type);
    if (d < d_head) add_values(s, d, i0, i1, first, width, 1, d_head - d, type);
}

/* Block after block, as they lie in memory. */
INLINE void values(attn_tile *s, uint32_t i0, uint32_t i1, int first, const int width,
                   const mr_kv_type type) {
    for (uint32_t i = i0, end; i < i1; i = end) {
        const uint32_t block_end = (i / MR_KV_BLOCK_LEN + 1) * MR_KV_BLOCK_LEN;

        end = block_end < i1 ? block_end : i1;
        block_values(s, i, end, first, width, type);
    }
}

/* The positions that only query m sees: a later row than the first of its tile. */
static void rest_of_values(attn_tile *s, uint32_t i0, int m, mr_kv_type type) {
    if (type == MR_KV_F16)
        values(s, i0, s->n[m], m, 1, MR_KV_F16);
    else
        values(s, i0, s->n[m], m, 1, MR_KV_Q8_0);
}

static float exp_1(float x) {
    float e[LANES];
    v_store(e, v_exp(v_set1(x)));
    return e[0];
}

/* What came before (acc, *acc_max, *acc_total) and one span more become one. */
static void fold(float *acc, float *acc_max, float *acc_total, const float *sum, float max,
                 float total, size_t d_head) {
    const float most = *acc_max > max ? *acc_max : max;
    const float keep = exp_1(*acc_max - most), take = exp_1(max - most);
    const vec k = v_set1(keep), t = v_set1(take);
    const size_t n_whole = d_head / LANES * LANES, n = d_head - n_whole;

    for (size_t d = 0; d < n_whole; d += LANES)
        v_store(acc + d, v_fma(v_load(sum + d), t, v_mul(v_load(acc + d), k)));
    if (n > 0) {
        float *at = acc + n_whole;
        v_store_n(at, v_fma(v_load_n(sum + n_whole, n), t, v_mul(v_load_n(at, n), k)), n);
    }
    *acc_total = *acc_total * keep + total * take;
    *acc_max = most;
}

/* A query's span into its record; the first one begins it. */
static void record_span(float *record, const float *sum, float max, float total, size_t d_head,
                        bool begin) {
    if (!begin) {
        fold(record, record + d_head, record + d_head + 1, sum, max, total, d_head);
        return;
    }
    memcpy(record, sum, d_head * sizeof *record);
    record[d_head] = max;
    record[d_head + 1] = total;
}

/* One span of the tile's queries, into their records. */
INLINE void attn_span(attn_tile *s, const mr_attn_args *a, uint32_t span, const int width,
                      const mr_kv_type type) {
    const uint32_t n_most = s->n[width - 1], n_all = s->n[0];

    for (uint32_t i = 0; i < n_most; i += ATTN_VECS * LANES) {
        if (n_most - i > LANES)
            score_tile(s, i, width, ATTN_VECS, type);
        else
            score_tile(s, i, width, 1, type);
    }
    for (int m = 0; m < width; m++) softmax_span(s, m);
    values(s, 0, n_all, 0, width, type);
    for (int m = 1; m < width; m++)
        if (s->n[m] > n_all) rest_of_values(s, n_all, m, type);
    for (int m = 0; m < width; m++) {
        float *record = a->part + (span - a->span0) * a->step +
                        (s->first + (uint32_t)m) * MR_ATTN_RECORD(s->d_head);

        record_span(record, s->sum + (size_t)m * s->d_head, s->max[m], s->total[m], s->d_head,
                    span == a->span0 || a->step > 0);
    }
}

typedef void attn_fn(attn_tile *s, const mr_attn_args *a, uint32_t span);
/* clang-format off */
#define ATTN_WIDTH(n) \
    static void attn_f16_##n(attn_tile *s, const mr_attn_args *a, uint32_t span) {  \
        attn_span(s, a, span, n, MR_KV_F16);                                        \
    }                                                                               \
    static void attn_q8_0_##n(attn_tile *s, const mr_attn_args *a, uint32_t span) { \
        attn_span(s, a, span, n, MR_KV_Q8_0);                                       \
    }
/* clang-format on */
#if ATTN_TILE >= 8
ATTN_WIDTH(8)
#endif
ATTN_WIDTH(4)
ATTN_WIDTH(2)
ATTN_WIDTH(1)

/* Widest first; the last one fits always. */
static const struct attn_width {
    uint32_t n;
    attn_fn *run[2]; /* by type of the cache */
} attn_widths[] = {
#if ATTN_TILE >= 8
    {8, {attn_f16_8, attn_q8_0_8}},
#endif
    {4, {attn_f16_4, attn_q8_0_4}},
    {2, {attn_f16_2, attn_q8_0_2}},
    {1, {attn_f16_1, attn_q8_0_1}},
};

static const struct attn_width *width_for(uint32_t n_queries) {
    const struct attn_width *w = attn_widths;

    while (w->n > n_queries) w++;
    return w;
}

/* Queries of all rows, tile after tile: [d_head, width] each, scaled. */
static void pack_queries(float *packed, const mr_attn_args *a) {
    const uint32_t group = a->n_head / a->n_kv_head, n = a->n_rows * group;

    for (uint32_t first = 0, width; first < n; first += width) {
        width = width_for(n - first)->n;
        for (uint32_t m = 0; m < width; m++) {
            const uint32_t row = (first + m) / group, head = (first + m) % group;
            const float *q =
                a->q + ((size_t)row * a->n_head + a->kv_head * group + head) * a->d_head;
            float *to = packed + (size_t)first * a->d_head + m;
            for (uint32_t d = 0; d < a->d_head; d++) to[d * width] = q[d] * a->scale;
        }
    }
}

static void simd_attn(const mr_attn_args *a) {
    const uint32_t group = a->n_head / a->n_kv_head, n = a->n_rows * group;
    float *packed = a->scratch + (size_t)ATTN_TILE * a->d_head;
    attn_tile s;

    s.sum = a->scratch;
    s.d_head = a->d_head;
    s.half = mr_kv_half(a->kv_type, a->d_head);
    pack_queries(packed, a);
    for (uint32_t span = a->span0; span < a->span1; span++) {
        const uint32_t begin = span * MR_ATTN_SPAN, end = begin + MR_ATTN_SPAN;

        locate(&s, a, span);
        s.first = 0;
        for (uint32_t width; s.first < n; s.first += width) {
            const struct attn_width *w = width_for(n - s.first);
            width = w->n;
            s.q = packed + (size_t)s.first * a->d_head;
            for (uint32_t m = 0; m < width; m++) {
                const uint32_t len = a->pos + (s.first + m) / group + 1;
                s.n[m] = (len < end ? len : end) - begin;
            }
            w->run[a->kv_type](&s, a, span);
        }
    }
}

static void simd_attn_join(float *out, const float *part, size_t n_parts, size_t step,
                           size_t d_head) {
    float max = part[d_head], total = part[d_head + 1];

    memcpy(out, part, d_head * sizeof *out);
    for (size_t i = 1; i < n_parts; i++) {
        const float *p = part + i * step;
        fold(out, &max, &total, p, p[d_head], p[d_head + 1], d_head);
    }
    for (size_t d = 0; d < d_head; d++) out[d] /= total;
}
