/* simd_matmul_f.h - products with F32, F16 and BF16 weights, in f32.
 *
 * A lane of a vector is a row of the tile; a column's 16 weights are multiplied by one input that
 * all lanes share. FLOAT_TILES tiles by FLOAT_TOKENS tokens of sums stay in registers for
 * MR_SUM_COLS columns and are then added to y.
 *
 * Few tokens: weights are widened on the way to the multiplier. Many: MR_SUM_COLS columns are
 * widened once into scratch, which stays in the nearest cache, and used for all tokens; the inputs
 * are copied beside them, since rows of activations are often a power of two apart and would fight
 * for the same lines of the cache. */

#define X_STRIDE (MR_SUM_COLS + LANES) /* of a copied input: no power of two */

_Static_assert((FLOAT_TILES * MR_TILE * MR_SUM_COLS + FLOAT_TOKENS * X_STRIDE) * sizeof(float) <=
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

INLINE void few_tokens(const product *p, const strip *s, const mr_type type, const int n_tiles) {
    const size_t ldx = p->in->ldx, n = p->n_tok;
    const float *x = p->in->x + s->c;
    size_t t = 0;

    for (; t + 4 <= n; t += 4) add_strip(p, s, x + t * ldx, ldx, t, type, n_tiles, 4);
    for (; t + 2 <= n; t += 2) add_strip(p, s, x + t * ldx, ldx, t, type, n_tiles, 2);
    for (; t < n; t++) add_strip(p, s, x + t * ldx, ldx, t, type, n_tiles, 1);
}

INLINE void many_tokens(const product *p, strip *s, float *scratch, const mr_type type,
                        const int n_tiles) {
    float *w = scratch, *x = scratch + (size_t)n_tiles * MR_TILE * MR_SUM_COLS;

    if (type != MR_TYPE_F32) {
        for (int i = 0; i < n_tiles; i++)
            for (size_t c = 0; c < s->n; c++)
                v_store(w + ((size_t)i * MR_SUM_COLS + c) * MR_TILE,
                        widen(s->w + (size_t)i * s->ldw + c * column_bytes(type), type));
        s->w = (const uint8_t *)w;
        s->ldw = MR_SUM_COLS * MR_TILE * sizeof(float);
    }
    for (size_t t = 0; t < p->n_tok; t += FLOAT_TOKENS) {
        const size_t n = p->n_tok - t < FLOAT_TOKENS ? p->n_tok - t : FLOAT_TOKENS;
        for (size_t i = 0; i < n; i++)
            memcpy(x + i * X_STRIDE, p->in->x + (t + i) * p->in->ldx + s->c, s->n * sizeof *x);
        if (n == FLOAT_TOKENS) {
            add_strip(p, s, x, X_STRIDE, t, MR_TYPE_F32, n_tiles, FLOAT_TOKENS);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            add_strip(p, s, x + i * X_STRIDE, X_STRIDE, t + i, MR_TYPE_F32, n_tiles, 1);
    }
}

INLINE void float_tiles(const product *p, uint32_t r, float *scratch, const mr_type type,
                        const int n_tiles) {
    const size_t cols = p->w->cols;

    for (size_t c = 0; c < cols; c += MR_SUM_COLS) {
        const size_t n = cols - c < MR_SUM_COLS ? cols - c : MR_SUM_COLS;
        strip s = {tile_of(p->w, r) + c * column_bytes(type), mr_tile_bytes(type, cols), c, n, r};
        if (p->n_tok < FLOAT_TOKENS)
            few_tokens(p, &s, type, n_tiles);
        else
            many_tokens(p, &s, scratch, type, n_tiles);
    }
}

INLINE void float_rows(const product *p, uint32_t r0, uint32_t r1, float *scratch,
                       const mr_type type) {
    uint32_t r = r0;

    for (; r + FLOAT_TILES * MR_TILE <= r1; r += FLOAT_TILES * MR_TILE)
        float_tiles(p, r, scratch, type, FLOAT_TILES);
    for (; r < r1; r += MR_TILE) float_tiles(p, r, scratch, type, 1);
}

static void multiply_f32(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    float_rows(p, r0, r1, scratch, MR_TYPE_F32);
}
static void multiply_f16(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    float_rows(p, r0, r1, scratch, MR_TYPE_F16);
}
static void multiply_bf16(const product *p, uint32_t r0, uint32_t r1, float *scratch) {
    float_rows(p, r0, r1, scratch, MR_TYPE_BF16);
}
