/* amx_floats.h - products with F16 and BF16 weights, in AMX's matrix unit.
 *
 * The unit multiplies numbers of 8 significant bits (bf16). An f32 input is the sum of three such
 * numbers, an F16 weight of two, a BF16 weight is one, all exactly: so a product is made of the
 * products of parts. Only the low part of an F16 weight times the lowest of an input is left out:
 * 2^-22 of the product at most.
 *
 * Order of sums. An instruction adds 32 columns: even ones and odd ones each from 0 on in order,
 * with one rounding each (fma), then their sum to the total. Parts follow each other within the 32
 * columns; totals of MR_SUM_COLS columns are added to y. Rows and tokens do not meet, so bits do
 * not depend on the batch. They are not those of vectors, for which this order would be dear. The
 * unit takes numbers below 2^-126 for 0, factors and sums.
 *
 * Weights are unpacked to scratch, as parts in the order that the unit wants. For many tokens that
 * is a strip of MR_SUM_COLS columns of some tiles, which all tokens use. For the tokens of one tile
 * it is 32 columns at a time, next to the instructions that use them: two slots that stay in the
 * nearest cache. A single token takes this way too. Its products cost as much as those of 16, but
 * memory is slower still: 60 ns for 1 KiB of weights, for which the unit needs 13 (F16: 22). */
#define FLOAT_ROWS   4 /* tiles of rows that share the loads of inputs */
#define FEW_ROWS     2 /* the same for the tokens of one tile */
#define LEAST_TOKENS 5 /* fewer, BF16: tiles one by one, as they lie in memory */
#define FLOAT_STEPS  (MR_SUM_COLS / MR_X_COLS)        /* of 32 columns, in a strip */
#define PAIR_BYTES   (2 * MR_TILE * sizeof(uint16_t)) /* two columns of a tile */
#define STEP_BYTES   (MR_X_COLS / 2 * PAIR_BYTES)

/* Registers of the unit: 0 .. 3 are sums. */
#define R_WEIGHTS 4
#define R_HIGH    5
#define R_MIDDLE  6
#define R_LOW     7

/* One line of sums and of inputs for each token. */
INLINE amx_shapes float_shapes(size_t n_tok) {
    const uint8_t n = (uint8_t)(n_tok < MR_TILE ? n_tok : MR_TILE);

    return (amx_shapes){.palette = 1,
                        .line_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                        .n_lines = {n, n, n, n, 16, n, n, n}};
}

typedef struct float_work {                                 /* in scratch */
    uint8_t parts[2][FLOAT_ROWS][FLOAT_STEPS * STEP_BYTES]; /* high, low; BF16: the former */
    float sums[FLOAT_ROWS][MR_TILE][MR_TILE];               /* [token][row] */
} float_work;

_Static_assert(sizeof(float_work) <= MR_MATMUL_SCRATCH, "as reserved");

/* ---- parts ---- */

/* Bits of numbers whose lower 16 bits are 0, those of b beside those of a. */
INLINE __m512i pair_up(__m512 a, __m512 b) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(_mm512_castps_si512(a), 16),
                                   _mm512_castps_si512(b));
}

INLINE vec v_high(vec a) { /* the first 8 bits of it, and what is left is exact */
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0xffff0000)));
}

/* A line of two columns, the numbers of the first before those of the second, to pairs. */
INLINE __m512i pairs_of(__m512i columns) {
    const __m512i row = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(row, _mm512_set1_epi32(16)), 16);

    return _mm512_permutexvar_epi16(_mm512_or_si512(row, second), columns);
}

/* Two columns of a tile, n of which exist, to lines as the unit wants them. */
INLINE void unpack_pair(uint8_t *high, uint8_t *low, const uint8_t *w, const size_t n,
                        const mr_type type) {
    fetch_ahead(w, 2 * column_bytes(type));
    if (type == MR_TYPE_BF16) {
        const __m512i columns = n == 2 ? _mm512_loadu_si512(w) : _mm512_zextsi256_si512(load16(w));
        _mm512_store_si512(high, pairs_of(columns));
        return;
    }
    const vec a = v_f16(w), b = n == 2 ? v_f16(w + 2 * MR_TILE) : v_zero();
    _mm512_store_si512(high, pair_up(a, b));
    _mm512_store_si512(low, pair_up(v_sub(a, v_high(a)), v_sub(b, v_high(b))));
}

/* n columns of a tile; up to the next multiple of MR_X_COLS they are zero. */
INLINE void unpack_columns(uint8_t *high, uint8_t *low, const uint8_t *w, size_t n,
                           const mr_type type) {
    size_t k = 0;

    for (; k + 2 <= n; k += 2, w += PAIR_BYTES, high += PAIR_BYTES, low += PAIR_BYTES)
        unpack_pair(high, low, w, 2, type);
    if (k < n) {
        unpack_pair(high, low, w, 1, type);
        k += 2, high += PAIR_BYTES, low += PAIR_BYTES;
    }
    for (; k % MR_X_COLS != 0; k += 2, high += PAIR_BYTES, low += PAIR_BYTES) {
        _mm512_store_si512(high, _mm512_setzero_si512());
        _mm512_store_si512(low, _mm512_setzero_si512());
    }
}

INLINE void split_16(mr_xsplit *out, const vec x, size_t t, size_t c) {
    const vec high = v_high(x), rest = v_sub(x, high), middle = v_high(rest);
    const vec parts[3] = {high, middle, v_sub(rest, middle)};

    UNROLL
    for (int i = 0; i < 3; i++)
        _mm256_storeu_si256(
            (__m256i_u *)&out->part[i][t][c],
            _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(parts[i]), 16)));
}

static void amx_split(mr_xsplit *out, const float *x, size_t ldx, size_t n_tok, size_t n_cols) {
    for (size_t t = 0; t < n_tok; t++, x += ldx)
        for (size_t c = 0; c < n_cols; c += MR_X_COLS)
            for (size_t k = c; k < c + MR_X_COLS; k += LANES) {
                const size_t left = n_cols > k ? n_cols - k : 0;
                split_16(&out[c / MR_X_COLS], left < LANES ? v_load_n(x + k, left) : v_load(x + k),
                         t, k - c);
            }
}

/* ---- products ---- */

typedef struct float_strip { /* columns of FLOAT_ROWS tiles or fewer */
    const uint8_t *w;        /* of the first tile */
    size_t ldw;              /* bytes from tile to tile */
    size_t n;                /* columns, at most MR_SUM_COLS */
} float_strip;

/* 32 columns, or those that there are, to part `slot` of scratch. */
INLINE void unpack_step(float_work *work, const float_strip *s, size_t k, size_t slot,
                        const int n_tiles, const mr_type type) {
    const size_t c = k * MR_X_COLS, n = s->n - c < MR_X_COLS ? s->n - c : MR_X_COLS;

    for (int i = 0; i < n_tiles; i++) {
        const uint8_t *w = s->w + (size_t)i * s->ldw + c * column_bytes(type);
        uint8_t *high = work->parts[0][i] + slot * STEP_BYTES;
        uint8_t *low = work->parts[1][i] + slot * STEP_BYTES;
        if (n == MR_X_COLS)
            unpack_columns(high, low, w, MR_X_COLS, type);
        else
            unpack_columns(high, low, w, n, type);
    }
}

/* Sums of tile i of rows, which is also a register's number, += 32 columns. */
#define ADD_COLUMNS(i, slot, type)                                                                 \
    do {                                                                                           \
        _tile_loadd(R_WEIGHTS, work->parts[0][i] + (slot)*STEP_BYTES, PAIR_BYTES);                 \
        _tile_dpbf16ps(i, R_HIGH, R_WEIGHTS);                                                      \
        _tile_dpbf16ps(i, R_MIDDLE, R_WEIGHTS);                                                    \
        _tile_dpbf16ps(i, R_LOW, R_WEIGHTS);                                                       \
        if ((type) == MR_TYPE_F16) {                                                               \
            _tile_loadd(R_WEIGHTS, work->parts[1][i] + (slot)*STEP_BYTES, PAIR_BYTES);             \
            _tile_dpbf16ps(i, R_HIGH, R_WEIGHTS);                                                  \
            _tile_dpbf16ps(i, R_MIDDLE, R_WEIGHTS);                                                \
        }                                                                                          \
    } while (0)

/* Sums of all columns of the strip, by up to 16 tokens. once: these are the only tokens, so weights
 * are unpacked on the way. */
INLINE void sum_strip(float_work *work, const float_strip *s, const mr_xsplit *x, const bool once,
                      const int n_tiles, const mr_type type) {
    _tile_zero(0);
    if (n_tiles > 1) _tile_zero(1);
    if (n_tiles > 2) _tile_zero(2);
    if (n_tiles > 3) _tile_zero(3);
    for (size_t k = 0; k * MR_X_COLS < s->n; k++) {
        const size_t slot = once ? k % 2 : k;

        if (once) unpack_step(work, s, k, slot, n_tiles, type);
        memory_is_written();
        _tile_loadd(R_HIGH, x[k].part[0], 2 * MR_X_COLS);
        _tile_loadd(R_MIDDLE, x[k].part[1], 2 * MR_X_COLS);
        _tile_loadd(R_LOW, x[k].part[2], 2 * MR_X_COLS);
        ADD_COLUMNS(0, slot, type);
        if (n_tiles > 1) ADD_COLUMNS(1, slot, type);
        if (n_tiles > 2) ADD_COLUMNS(2, slot, type);
        if (n_tiles > 3) ADD_COLUMNS(3, slot, type);
    }
    _tile_stored(0, work->sums[0], 64);
    if (n_tiles > 1) _tile_stored(1, work->sums[1], 64);
    if (n_tiles > 2) _tile_stored(2, work->sums[2], 64);
    if (n_tiles > 3) _tile_stored(3, work->sums[3], 64);
    memory_is_written();
}

/* y of n_tok tokens from t0 on += the sums; of the first strip, y = sums. */
INLINE void add_sums(const product *p, const float_work *work, uint32_t r, int n_tiles, size_t t0,
                     size_t n_tok, bool is_first) {
    for (size_t t = 0; t < n_tok; t++)
        for (int i = 0; i < n_tiles; i++) {
            const uint32_t at = r + MR_TILE * (uint32_t)i;
            const vec sum = v_load(work->sums[i][t]);
            store_tile_row(p, at, t0 + t,
                           is_first ? sum : v_add(load_tile_row(p, at, t0 + t), sum));
        }
}

/* n_tiles from row r on, a constant. */
INLINE void float_tiles(const product *p, uint32_t r, float_work *work, const int n_tiles,
                        const mr_type type) {
    float_strip s = {tile_of(p->w, r), mr_tile_bytes(type, p->w->cols), 0};

    for (size_t c = 0; c < p->w->cols; c += s.n, s.w += s.n * column_bytes(type)) {
        s.n = p->w->cols - c < MR_SUM_COLS ? p->w->cols - c : MR_SUM_COLS;
        const mr_xsplit *x = p->in->split + c / MR_X_COLS;

        if (p->n_tok <= MR_TILE) {
            sum_strip(work, &s, x, true, n_tiles, type);
            add_sums(p, work, r, n_tiles, 0, p->n_tok, c == 0);
            continue;
        }
        for (size_t k = 0; k * MR_X_COLS < s.n; k++) unpack_step(work, &s, k, k, n_tiles, type);
        for (size_t t = 0; t < p->n_tok; t += MR_TILE, x += p->in->n_blocks) {
            sum_strip(work, &s, x, false, n_tiles, type);
            add_sums(p, work, r, n_tiles, t, p->n_tok - t < MR_TILE ? p->n_tok - t : MR_TILE,
                     c == 0);
        }
    }
}

INLINE void float_range(const product *p, uint32_t r0, uint32_t r1, float_work *work,
                        const mr_type type) {
    const amx_shapes s = float_shapes(p->n_tok);
    const bool one_by_one = p->n_tok < LEAST_TOKENS && type == MR_TYPE_BF16;
    const uint32_t most = one_by_one ? 1 : p->n_tok <= MR_TILE ? FEW_ROWS : FLOAT_ROWS;

    _tile_loadconfig(&s);
    for (uint32_t r = r0, n; r < r1; r += n * MR_TILE) {
        const uint32_t left = (r1 - r + MR_TILE - 1) / MR_TILE;
        n = left < most ? left : most;
        if (n == 4)
            float_tiles(p, r, work, 4, type);
        else if (n == 3)
            float_tiles(p, r, work, 3, type);
        else if (n == 2)
            float_tiles(p, r, work, 2, type);
        else
            float_tiles(p, r, work, 1, type);
    }
    _tile_release();
}

static void amx_f16(const product *p, uint32_t r0, uint32_t r1, float_work *scratch) {
    float_range(p, r0, r1, scratch, MR_TYPE_F16);
}
static void amx_bf16(const product *p, uint32_t r0, uint32_t r1, float_work *scratch) {
    float_range(p, r0, r1, scratch, MR_TYPE_BF16);
}
