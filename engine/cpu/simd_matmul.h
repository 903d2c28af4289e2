/* simd_matmul.h - y = W x for a range of rows and a batch of tokens.
 *
 * Few tokens: weights go from block to register to sum and touch no memory in between. This is
 * bound by reading W, or by decoding it.
 *
 * Many tokens: a block of rows is decoded to f32, CHUNK_COLS columns at a time so that it stays in
 * the nearest caches, and tiles of rows by tokens run over it for up to GROUP_TOKENS tokens, their
 * sums parked in scratch between chunks.
 *
 * Either way one (row, token) is 16 sums over ascending columns, see simd.h. */

#define CHUNK_COLS   MR_CPU_CHUNK_COLS
#define GROUP_TOKENS MR_CPU_GROUP_TOKENS

typedef struct matmul_args {
    float *y;
    size_t ldy;
    const mr_mat *w;
    const float *x;
    size_t ldx, n_tok;
} matmul_args;

INLINE const uint8_t *weight_row(const mr_mat *w, uint32_t r) {
    return (const uint8_t *)w->data + r * w->row_bytes;
}

/* y[0..n_rows) of one token from sums of n_rows (1, 2 or 4) rows. */
INLINE void store_rows(float *y, const vec *sum, const int n_rows) {
    if (n_rows == 4) _mm_storeu_ps(y, v_sum4(sum[0], sum[1], sum[2], sum[3]));
    if (n_rows == 2) _mm_storel_pi((void *)y, v_sum4(sum[0], sum[1], sum[0], sum[1]));
    if (n_rows == 1) *y = v_sum(sum[0]);
}

/* ---- few tokens ---- */

INLINE void direct_plain(const matmul_args *m, uint32_t r, const mr_type type, const int n_rows,
                         const int n_tok) {
    const uint8_t *row[TILE_ROWS];
    vec sum[DIRECT_TOKENS][TILE_ROWS];
    const size_t n = m->w->cols;
    size_t c = 0;

    UNROLL
    for (int i = 0; i < n_rows; i++) {
        row[i] = weight_row(m->w, r + (uint32_t)i);
        for (int t = 0; t < n_tok; t++) sum[t][i] = v_zero();
    }
    for (; c + LANES <= n; c += LANES) {
        UNROLL
        for (int i = 0; i < n_rows; i++) {
            const vec w = decode_plain(row[i] + 2 * c, type);
            UNROLL
            for (int t = 0; t < n_tok; t++)
                sum[t][i] = v_fma(w, v_load(m->x + (size_t)t * m->ldx + c), sum[t][i]);
        }
    }
    if (c < n) {
        UNROLL
        for (int i = 0; i < n_rows; i++) {
            const vec w = decode_plain_n(row[i] + 2 * c, n - c, type);
            UNROLL
            for (int t = 0; t < n_tok; t++)
                sum[t][i] = v_fma(w, v_load_n(m->x + (size_t)t * m->ldx + c, n - c), sum[t][i]);
        }
    }
    for (int t = 0; t < n_tok; t++) store_rows(m->y + (size_t)t * m->ldy + r, sum[t], n_rows);
}

INLINE void direct_blocks(const matmul_args *m, uint32_t r, const mr_type type, const int block,
                          const int block_bytes, const int n_rows, const int n_tok) {
    const uint8_t *row[TILE_ROWS];
    vec sum[DIRECT_TOKENS][TILE_ROWS];

    UNROLL
    for (int i = 0; i < n_rows; i++) {
        row[i] = weight_row(m->w, r + (uint32_t)i);
        for (int t = 0; t < n_tok; t++) sum[t][i] = v_zero();
    }
    for (size_t c = 0; c < m->w->cols; c += (size_t)block) {
        open_block o[TILE_ROWS];
        UNROLL
        for (int i = 0; i < n_rows; i++) begin_block(&o[i], row[i], type);
        for (int j = 0; j < block / LANES; j++) {
            const float *x = m->x + c + (size_t)(LANES * j);
            UNROLL
            for (int i = 0; i < n_rows; i++) {
                const vec w = decode(&o[i], row[i], j, type);
                UNROLL
                for (int t = 0; t < n_tok; t++)
                    sum[t][i] = v_fma(w, v_load(x + (size_t)t * m->ldx), sum[t][i]);
            }
        }
        UNROLL
        for (int i = 0; i < n_rows; i++) row[i] += block_bytes;
    }
    for (int t = 0; t < n_tok; t++) store_rows(m->y + (size_t)t * m->ldy + r, sum[t], n_rows);
}

INLINE void direct_tile(const matmul_args *m, uint32_t r, const mr_type type, const int block,
                        const int block_bytes, const int n_rows, const int n_tok) {
    if (block == 1)
        direct_plain(m, r, type, n_rows, n_tok);
    else
        direct_blocks(m, r, type, block, block_bytes, n_rows, n_tok);
}

INLINE void direct_rows(const matmul_args *m, uint32_t r0, uint32_t r1, const mr_type type,
                        const int block, const int block_bytes, const int n_tok) {
    uint32_t r = r0;
    for (; r + TILE_ROWS <= r1; r += TILE_ROWS)
        direct_tile(m, r, type, block, block_bytes, TILE_ROWS, n_tok);
    for (; r < r1; r++) { /* left over: one by one */
        matmul_args one = *m;
        for (int t = 0; t < n_tok; t++, one.y += m->ldy, one.x += m->ldx)
            direct_tile(&one, r, type, block, block_bytes, 1, 1);
    }
}

/* clang-format off */
#if DIRECT_TOKENS >= 4
#define DIRECT_CASE_4(...) case 4: direct_rows(__VA_ARGS__, 4); break;
#else
#define DIRECT_CASE_4(...)
#endif
#define DIRECT(name, type, block, block_bytes)                              \
    static void name(const matmul_args *m, uint32_t r0, uint32_t r1) {      \
        switch (m->n_tok) {                                                 \
        case 1: direct_rows(m, r0, r1, type, block, block_bytes, 1); break; \
        case 2: direct_rows(m, r0, r1, type, block, block_bytes, 2); break; \
        case 3: direct_rows(m, r0, r1, type, block, block_bytes, 3); break; \
        DIRECT_CASE_4(m, r0, r1, type, block, block_bytes)                  \
        }                                                                   \
    }
DIRECT(direct_f16, MR_TYPE_F16, 1, 2)
DIRECT(direct_bf16, MR_TYPE_BF16, 1, 2)
DIRECT(direct_q8_0, MR_TYPE_Q8_0, MR_Q32, sizeof(mr_q8_0))
DIRECT(direct_q4_0, MR_TYPE_Q4_0, MR_Q32, sizeof(mr_q4_0))
DIRECT(direct_q4_k, MR_TYPE_Q4_K, MR_QK, sizeof(mr_q4_k))
DIRECT(direct_q5_k, MR_TYPE_Q5_K, MR_QK, sizeof(mr_q5_k))
DIRECT(direct_q6_k, MR_TYPE_Q6_K, MR_QK, sizeof(mr_q6_k))
#undef DIRECT
#undef DIRECT_CASE_4
/* clang-format on */

typedef void direct_fn(const matmul_args *m, uint32_t r0, uint32_t r1);
static direct_fn *const direct[] = {
    /* not F32: it has nothing to decode, tiles read the weights in place */
    [MR_TYPE_F16] = direct_f16,   [MR_TYPE_BF16] = direct_bf16, [MR_TYPE_Q8_0] = direct_q8_0,
    [MR_TYPE_Q4_0] = direct_q4_0, [MR_TYPE_Q4_K] = direct_q4_k, [MR_TYPE_Q5_K] = direct_q5_k,
    [MR_TYPE_Q6_K] = direct_q6_k,
};

/* Up to two tiles of tokens: the second decodes again, from rows that are still in the cache. */
static void matmul_direct(const matmul_args *m, uint32_t r0, uint32_t r1) {
    matmul_args a = *m, b = *m;
    a.n_tok = m->n_tok > DIRECT_TOKENS ? m->n_tok / 2 : m->n_tok;
    b.n_tok = m->n_tok - a.n_tok;
    b.y += a.n_tok * m->ldy;
    b.x += a.n_tok * m->ldx;
    for (uint32_t r = r0; r < r1; r += MR_CPU_ROW_BLOCK) {
        const uint32_t end = r1 - r < MR_CPU_ROW_BLOCK ? r1 : r + MR_CPU_ROW_BLOCK;
        direct[m->w->type](&a, r, end);
        if (b.n_tok > 0) direct[m->w->type](&b, r, end);
    }
}

/* ---- many tokens ---- */

/* sums[n_tok][n_rows][LANES] += products of n columns. */
INLINE void tile(float *sums, const float *w, size_t ldw, const float *x, size_t ldx, size_t n,
                 const int n_rows, const int n_tok) {
    vec sum[TILE_TOKENS][TILE_ROWS], wv[TILE_ROWS];
    size_t c = 0;

    UNROLL
    for (int t = 0; t < n_tok; t++) {
        UNROLL
        for (int i = 0; i < n_rows; i++) sum[t][i] = v_load(sums + (t * n_rows + i) * LANES);
    }
    for (; c + LANES <= n; c += LANES) {
        UNROLL
        for (int i = 0; i < n_rows; i++) wv[i] = v_load(w + (size_t)i * ldw + c);
        UNROLL
        for (int t = 0; t < n_tok; t++) {
            const vec xv = v_load(x + (size_t)t * ldx + c);
            UNROLL
            for (int i = 0; i < n_rows; i++) sum[t][i] = v_fma(wv[i], xv, sum[t][i]);
        }
    }
    if (c < n) {
        UNROLL
        for (int t = 0; t < n_tok; t++) {
            const vec xv = v_load_n(x + (size_t)t * ldx + c, n - c);
            UNROLL
            for (int i = 0; i < n_rows; i++)
                sum[t][i] = v_fma(v_load_n(w + (size_t)i * ldw + c, n - c), xv, sum[t][i]);
        }
    }
    UNROLL
    for (int t = 0; t < n_tok; t++) {
        UNROLL
        for (int i = 0; i < n_rows; i++) v_store(sums + (t * n_rows + i) * LANES, sum[t][i]);
    }
}

INLINE void tile_of_rows(float *sums, const float *w, size_t ldw, const float *x, size_t ldx,
                         size_t n, const int n_rows, int n_tok) {
    /* clang-format off */
    switch (n_tok) {
    case 1: tile(sums, w, ldw, x, ldx, n, n_rows, 1); break;
    case 2: tile(sums, w, ldw, x, ldx, n, n_rows, 2); break;
    case 3: tile(sums, w, ldw, x, ldx, n, n_rows, 3); break;
#if TILE_TOKENS >= 6
    case 4: tile(sums, w, ldw, x, ldx, n, n_rows, 4); break;
    case 5: tile(sums, w, ldw, x, ldx, n, n_rows, 5); break;
    case 6: tile(sums, w, ldw, x, ldx, n, n_rows, 6); break;
#endif
    }
    /* clang-format on */
}

static void tile_rows(float *sums, const float *w, size_t ldw, const float *x, size_t ldx, size_t n,
                      int n_tok) {
    tile_of_rows(sums, w, ldw, x, ldx, n, TILE_ROWS, n_tok);
}

static void tile_row(float *sums, const float *w, size_t ldw, const float *x, size_t ldx, size_t n,
                     int n_tok) {
    tile_of_rows(sums, w, ldw, x, ldx, n, 1, n_tok);
}

/* Columns c .. c + n of a block of rows, as f32: decoded to scratch, or where they are. */
typedef struct row_chunk {
    const float *w;
    size_t ldw, c, n;
    uint32_t n_rows;
} row_chunk;

static row_chunk decode_chunk(const mr_mat *w, uint32_t r, uint32_t n_rows, size_t c, float *rows) {
    const size_t block = mr_type_block(w->type), bytes = mr_type_block_bytes(w->type);
    const size_t n = w->cols - c < CHUNK_COLS ? w->cols - c : CHUNK_COLS, at = c / block * bytes;

    if (w->type == MR_TYPE_F32)
        return (row_chunk){(const float *)(const void *)(weight_row(w, r) + at),
                           w->row_bytes / sizeof(float), c, n, n_rows};
    for (uint32_t i = 0; i < n_rows; i++)
        simd_dequant(rows + i * CHUNK_COLS, weight_row(w, r + i) + at, w->type, n);
    return (row_chunk){rows, CHUNK_COLS, c, n, n_rows};
}

/* sums [n_rows, n_tok, LANES] of a block and a tile of tokens: one part per TILE_ROWS rows, in the
 * order of tile(), then one per left-over row. */
static void add_chunk(float *sums, const row_chunk *b, const float *x, size_t ldx, int n_tok) {
    const size_t row_sums = (size_t)n_tok * LANES;
    uint32_t i = 0;
    for (; i + TILE_ROWS <= b->n_rows; i += TILE_ROWS)
        tile_rows(sums + i * row_sums, b->w + i * b->ldw, b->ldw, x + b->c, ldx, b->n, n_tok);
    for (; i < b->n_rows; i++)
        tile_row(sums + i * row_sums, b->w + i * b->ldw, b->ldw, x + b->c, ldx, b->n, n_tok);
}

static void store_block(float *y, size_t ldy, const float *sums, uint32_t n_rows, int n_tok) {
    const size_t row_sums = (size_t)n_tok * LANES;
    for (int t = 0; t < n_tok; t++, y += ldy) {
        uint32_t i = 0;
        for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
            vec v[TILE_ROWS];
            for (int j = 0; j < TILE_ROWS; j++)
                v[j] = v_load(sums + i * row_sums + (size_t)(t * TILE_ROWS + j) * LANES);
            store_rows(y + i, v, TILE_ROWS);
        }
        for (; i < n_rows; i++) y[i] = v_sum(v_load(sums + i * row_sums + (size_t)t * LANES));
    }
}

/* Begins of the tiles of n_tok tokens, of about equal size; returns their number. */
static int cut_tiles(int begin[GROUP_TOKENS + 1], int n_tok) {
    const int n = (n_tok + TILE_TOKENS - 1) / TILE_TOKENS;
    for (int i = 0; i <= n; i++) begin[i] = n_tok * i / n;
    return n;
}

static void block_times_group(const matmul_args *m, uint32_t r, uint32_t n_rows, size_t t0,
                              int n_tok, float *scratch) {
    float *rows = scratch, *sums = scratch + MR_CPU_ROW_BLOCK * CHUNK_COLS;
    int begin[GROUP_TOKENS + 1];
    const int n_tiles = cut_tiles(begin, n_tok);
    const size_t tok_sums = (size_t)n_rows * LANES;

    memset(sums, 0, (size_t)n_tok * tok_sums * sizeof *sums);
    for (size_t c = 0; c < m->w->cols; c += CHUNK_COLS) {
        const row_chunk b = decode_chunk(m->w, r, n_rows, c, rows);
        for (int i = 0; i < n_tiles; i++)
            add_chunk(sums + (size_t)begin[i] * tok_sums, &b,
                      m->x + (t0 + (size_t)begin[i]) * m->ldx, m->ldx, begin[i + 1] - begin[i]);
    }
    for (int i = 0; i < n_tiles; i++)
        store_block(m->y + (t0 + (size_t)begin[i]) * m->ldy + r, m->ldy,
                    sums + (size_t)begin[i] * tok_sums, n_rows, begin[i + 1] - begin[i]);
}

static void simd_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                        const float *x, size_t ldx, size_t n_tok, void *scratch) {
    const matmul_args m = {y, ldy, w, x, ldx, n_tok};

    if (w->type != MR_TYPE_F32 && n_tok <= 2 * DIRECT_TOKENS) {
        matmul_direct(&m, r0, r1);
        return;
    }
    for (uint32_t r = r0; r < r1; r += MR_CPU_ROW_BLOCK) {
        const uint32_t n_rows = r1 - r < MR_CPU_ROW_BLOCK ? r1 - r : MR_CPU_ROW_BLOCK;
        for (size_t t = 0; t < n_tok; t += GROUP_TOKENS) {
            const size_t n = n_tok - t < GROUP_TOKENS ? n_tok - t : GROUP_TOKENS;
            block_times_group(&m, r, n_rows, t, (int)n, scratch);
        }
    }
}
