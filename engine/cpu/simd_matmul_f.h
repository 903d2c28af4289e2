/* simd_matmul_f.h - products with F32, F16 and BF16 weights, in f32.
 *
 * A lane of a vector is a row of the tile; a column's 16 weights are multiplied by one input that
 * all lanes share. FLOAT_TILES tiles by FLOAT_TOKENS tokens of sums stay in registers for
 * MR_SUM_COLS columns and are then added to y.
 *
 * Few tokens: weights are widened on the way to the multiplier. Many: MR_SUM_COLS columns of some
 * tiles are widened once into scratch, which stays in the nearest cache, and used for all tokens;
 * the inputs are copied beside them, since rows of activations are often a power of two apart and
 * would fight for the same lines of the cache. */

#define WIDE_TILES 4                     /* that are widened together, for the same copied inputs */
#define X_STRIDE   (MR_SUM_COLS + LANES) /* of a copied input: no power of two */

_Static_assert((WIDE_TILES * MR_TILE * MR_SUM_COLS + FLOAT_TOKENS * X_STRIDE) * sizeof(float) <=
                   MR_MATMUL_SCRATCH,
               "widened weights and copied inputs");

INLINE vec widen(const uint8_t *p, const mr_type type) {
    if (type == MR_TYPE_F32) return v_load((const float *)(const void *)p);
    return type == MR_TYPE_F16 ? v_f16(p) : v_bf16(p);
}

INLINE size_t column_bytes(const mr_type type) {
    return MR_TILE * (type == MR_TYPE_F32 ? 4 : 2);
}

typedef struct strip { /* columns of FLOAT_TILES tiles, or of one */
    const uint8_t *w;
    size_t ldw;  /* bytes from tile to tile */
    size_t c, n; /* first column, columns */
    uint32_t r;
} strip;

INLINE void add_strip(const product *p, const strip *s, const float *x, size_t ldx, size_t t0,
                      const mr_type type, const int n_tiles, const int n_tok) {
    vec acc[FLOAT_TOKENS][FLOAT_TILES], w[FLOAT_TILES];

    UNROLL
    for (int t = 0; t < n_tok; t++) {
        UNROLL
        for (int i = 0; i < n_tiles; i++) acc[t][i] = v_zero();
    }
    for (size_t c = 0; c < s->n; c++) {
        UNROLL
        for (int i = 0; i < n_tiles; i++)
            w[i] = widen(s->w + (size_t)i * s->ldw + c * column_bytes(type), type);
        UNROLL
        for (int t = 0; t < n_tok; t++) {
            const vec xv = v_set1(x[(size_t)t * ldx + c]);
            UNROLL
            for (int i = 0; i < n_tiles; i++) acc[t][i] = v_fma(w[i], xv, acc[t][i]);
        }
    }
    UNROLL
    for (int t = 0; t < n_tok; t++) {
        UNROLL
        for (int i = 0; i < n_tiles; i++) {
            const uint32_t r = s->r + MR_TILE * (uint32_t)i;
            if (s->c > 0) acc[t][i] = v_add(load_tile_row(p, r, t0 + (size_t)t), acc[t][i]);
            store_tile_row(p, r, t0 + (size_t)t, acc[t][i]);
        }
    }
}

/* Tokens t0 .. t0 + n of inputs x, where n < FLOAT_TOKENS. */
INLINE void few_tokens(const product *p, const strip *s, const float *x, size_t ldx, size_t t0,
                       size_t n, const mr_type type, const int n_tiles) {
    size_t t = 0;

    for (; t + 4 <= n; t += 4) add_strip(p, s, x + t * ldx, ldx, t0 + t, type, n_tiles, 4);
    for (; t + 2 <= n; t += 2) add_strip(p, s, x + t * ldx, ldx, t0 + t, type, n_tiles, 2);
    for (; t < n; t++) add_strip(p, s, x + t * ldx, ldx, t0 + t, type, n_tiles, 1);
}

INLINE strip strip_at(const product *p, uint32_t r, size_t c, const mr_type type) {
    const size_t left = p->w->cols - c;
    return (strip){tile_of(p->w, r) + c * column_bytes(type), mr_tile_bytes(type, p->w->cols), c,
                   left < MR_SUM_COLS ? left : MR_SUM_COLS, r};
}

/* n_tiles tiles (FLOAT_TILES, or 1) from row r on. */
INLINE void multiply_few(const product *p, uint32_t r, const mr_type type, const int n_tiles) {
    for (size_t c = 0; c < p->w->cols; c += MR_SUM_COLS) {
        const strip s = strip_at(p, r, c, type);
        few_tokens(p, &s, p->in->x + c, p->in->ldx, 0, p->n_tok, type, n_tiles);
    }
}

/* A strip of one tile, widened. */
INLINE void widen_strip(float *to, const strip *s, const mr_type type) {
    for (size_t c = 0; c < s->n; c++)
        v_store(to + c * MR_TILE, widen(s->w + c * column_bytes(type), type));
}

INLINE void tokens_by_tiles(const product *p, const strip *s, const float *x, size_t t, size_t n,
                            const int n_tiles) {
    if (n == FLOAT_TOKENS)
        add_strip(p, s, x, X_STRIDE, t, MR_TYPE_F32, n_tiles, FLOAT_TOKENS);
    else
        few_tokens(p, s, x, X_STRIDE, t, n, MR_TYPE_F32, n_tiles);
}

/* Up to WIDE_TILES tiles from row r on. */
INLINE void multiply_many(const product *p, uint32_t r, int n_tiles, float *scratch,
                          const mr_type type) {
    float *w = scratch, *x = scratch + WIDE_TILES * MR_TILE * MR_SUM_COLS;
    const size_t ldw = MR_TILE * MR_SUM_COLS * sizeof *w;

    for (size_t c = 0; c < p->w->cols; c += MR_SUM_COLS) {
        strip s = strip_at(p, r, c, type);
        for (int i = 0; i < n_tiles; i++) {
            const strip one = strip_at(p, r + MR_TILE * (uint32_t)i, c, type);
            widen_strip(w + (size_t)i * MR_TILE * MR_SUM_COLS, &one, type);
        }
        for (size_t t = 0, n; t < p->n_tok; t += n) {
            n = p->n_tok - t < FLOAT_TOKENS ? p->n_tok - t : FLOAT_TOKENS;
            for (size_t k = 0; k < n; k++)
                memcpy(x + k * X_STRIDE, p->in->x + (t + k) * p->in->ldx + c, s.n * sizeof *x);
            s = (strip){(const uint8_t *)w, ldw, c, s.n, r};
            int i = 0;
            for (; i + FLOAT_TILES <= n_tiles; i += FLOAT_TILES) {
                tokens_by_tiles(p, &s, x, t, n, FLOAT_TILES);
                s.w += FLOAT_TILES * ldw;
                s.r += FLOAT_TILES * MR_TILE;
            }
            if (i < n_tiles) tokens_by_tiles(p, &s, x, t, n, 1);
        }
    }
}

INLINE void multiply_floats(const product *p, uint32_t r0, uint32_t r1, float *scratch,
                            const mr_type type) {
    const uint32_t n_tiles = (r1 - r0 + MR_TILE - 1) / MR_TILE;
    uint32_t i = 0;

    if (p->n_tok >= FLOAT_TOKENS) {
        for (; i < n_tiles; i += WIDE_TILES)
            multiply_many(p, r0 + i * MR_TILE,
                          (int)(n_tiles - i < WIDE_TILES ? n_tiles - i : WIDE_TILES), scratch,
                          type);
        return;
    }
    for (; i + FLOAT_TILES <= n_tiles; i += FLOAT_TILES)
        multiply_few(p, r0 + i * MR_TILE, type, FLOAT_TILES);
    for (; i < n_tiles; i++) multiply_few(p, r0 + i * MR_TILE, type, 1);
}

static void multiply_f32(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    multiply_floats(p, r0, r1, scratch, MR_TYPE_F32);
}
static void multiply_f16(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    multiply_floats(p, r0, r1, scratch, MR_TYPE_F16);
}
static void multiply_bf16(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    multiply_floats(p, r0, r1, scratch, MR_TYPE_BF16);
}
