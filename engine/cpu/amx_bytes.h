/* amx_bytes.h - products of Q8_0, Q4_0, Q4_K and Q5_K weights with many tokens, in AMX's matrix
 * unit.
 *
 * An instruction multiplies 16 tokens by 32 columns by 16 rows. Its left factor is the rounded
 * input as it lies in an mr_xblock, its right one a group of a packed tile, whose steps are just
 * the lines it wants; formats of less than 8 bits are unpacked to scratch first, AMX_GROUPS groups
 * of AMX_TILES tiles at a time, for all tokens. The whole-number sums come back through the nearest
 * cache and are scaled like everywhere else (simd_matmul_q.h), so the bits are the same.
 *
 * Not Q6_K: its sums are of 16 columns, so that scaling them costs more than the unit saves. */
#define AMX_TILES      4  /* of rows */
#define AMX_GROUPS     16 /* of columns; a multiple of AMX_BATCH, and of the 8 that share scales */
#define AMX_MIN_TOKENS 9  /* below, vectors are faster */
#define AMX_BATCH      4  /* groups whose sums are in flight at once */

/* Registers of the unit. */
#define R_SUM 0
#define R_X   1 /* 16 tokens, 32 columns */
#define R_W   2 /* 32 columns, 16 rows */

static const amx_shapes shapes = {.palette = 1, .line_bytes = {64, 32, 64}, .n_lines = {16, 16, 8}};

typedef struct amx_work { /* in scratch */
    uint8_t quants[AMX_TILES][AMX_GROUPS][512];
    float scales[AMX_TILES][AMX_GROUPS][2][MR_TILE]; /* scale, min */
    int32_t sums[AMX_BATCH][MR_TILE][MR_TILE];       /* [token][row] */
} amx_work;

_Static_assert(sizeof(amx_work) <= MR_MATMUL_SCRATCH, "as reserved");

typedef struct amx_strip { /* groups of columns of a tile */
    const uint8_t *quants; /* 512 bytes each */
    const float (*scales)[2][MR_TILE];
    size_t first, n; /* groups */
    uint32_t r;
    const uint8_t *ahead; /* what memory should fetch meanwhile, for each group; NULL: nothing */
} amx_strip;

INLINE void amx_sum(int32_t sums[MR_TILE][MR_TILE], const mr_xblock *x, const uint8_t *quants) {
    _tile_zero(R_SUM);
    _tile_loadd(R_X, x->q, 32);
    _tile_loadd(R_W, quants, 64);
    _tile_dpbssd(R_SUM, R_X, R_W);
    _tile_stored(R_SUM, sums, 64);
}

INLINE void amx_scale(vec *acc, const int32_t sums[MR_TILE][MR_TILE],
                      const float scales[2][MR_TILE], const mr_xblock *x, const mr_type type,
                      const int n_tok) {
    const vec w = v_load(scales[0]), min = v_load(scales[1]);

    UNROLL
    for (int t = 0; t < n_tok; t++) {
        const vec scale = v_set1(x->scale[t]);
        acc[t] = v_fma(v_mul(w, scale), i_float(b_load(sums[t])), acc[t]);
        if (has_min(type)) acc[t] = v_fnma(min, v_set1(x->sum[t]), acc[t]);
    }
}

/* Without it the unit waits: the CPU fetches ahead within a page of memory only, and a strip is
 * about one. */
INLINE void fetch_group(const uint8_t *quants, size_t g, const mr_type type) {
    const size_t n = mr_tile_form_of(type).quant_bytes;

    for (size_t i = 0; i < n; i += 64) _mm_prefetch((const char *)quants + g * n + i, _MM_HINT_T1);
}

/* acc[n_tok] += a strip's products with the inputs from its first group on. */
INLINE void amx_accumulate(vec *acc, const amx_strip *s, const mr_xblock *x, amx_work *work,
                           const mr_type type, const int n_tok) {
    for (size_t g = 0; g < s->n; g += AMX_BATCH) {
        const size_t n = s->n - g < AMX_BATCH ? s->n - g : AMX_BATCH;
        for (size_t i = 0; i < n; i++) {
            if (s->ahead) fetch_group(s->ahead, g + i, type);
            amx_sum(work->sums[i], &x[g + i], s->quants + (g + i) * 512);
        }
        for (size_t i = 0; i < n; i++)
            amx_scale(acc, work->sums[i], s->scales[g + i], &x[g + i], type, n_tok);
    }
}

/* y of a tile and n_tok tokens += a strip; n_store of them exist. */
INLINE void amx_add(const product *p, const amx_strip *s, size_t t0, size_t n_store, amx_work *work,
                    const mr_type type, const int n_tok) {
    vec acc[MR_TILE];

    UNROLL
    for (int t = 0; t < n_tok; t++)
        acc[t] =
            s->first > 0 && (size_t)t < n_store ? load_tile_row(p, s->r, t0 + (size_t)t) : v_zero();
    amx_accumulate(acc, s, p->in->blocks + t0 / MR_TILE * p->in->n_blocks + s->first, work, type,
                   n_tok);
    UNROLL
    for (int t = 0; t < n_tok; t++)
        if ((size_t)t < n_store) store_tile_row(p, s->r, t0 + (size_t)t, acc[t]);
}

/* n_tok <= MR_TILE of them; few are a smaller tile, so that fewer sums are scaled. */
INLINE void amx_tokens(const product *p, const amx_strip *s, size_t t0, size_t n_tok,
                       amx_work *work, const mr_type type) {
    if (n_tok > 12)
        amx_add(p, s, t0, n_tok, work, type, 16);
    else if (n_tok > 8)
        amx_add(p, s, t0, n_tok, work, type, 12);
    else if (n_tok > 4)
        amx_add(p, s, t0, n_tok, work, type, 8);
    else
        amx_add(p, s, t0, n_tok, work, type, 4);
}

INLINE void amx_unpack(amx_work *work, int i, const uint8_t *tile, size_t cols, size_t first,
                       size_t n, const mr_type type) {
    const size_t quant_bytes = mr_tile_form_of(type).quant_bytes;
    const uint8_t *scales = tile + mr_tile_scales_at(type, cols);

    for (size_t g = 0; g < n; g++) {
        const uint8_t *quants = tile + (first + g) * quant_bytes;
        const tile_scales o = open_scales(scales, first + g, type);
        v_store(work->scales[i][g][0], o.w[0]);
        v_store(work->scales[i][g][1], o.min);
        if (type == MR_TYPE_Q8_0) continue; /* can be used as it lies there */
        UNROLL
        for (int k = 0; k < 8; k++)
            _mm512_store_si512(work->quants[i][g] + 64 * k, tile_step(quants, k, type));
    }
}

INLINE amx_strip strip_of(const product *p, uint32_t r, size_t first, size_t n,
                          const amx_work *work, int i, const mr_type type) {
    const size_t quant_bytes = mr_tile_form_of(type).quant_bytes;
    const uint8_t *packed = tile_of(p->w, r) + first * quant_bytes;

    return (amx_strip){.quants = type == MR_TYPE_Q8_0 ? packed : work->quants[i][0],
                       .scales = work->scales[i],
                       .first = first,
                       .n = n,
                       .r = r,
                       .ahead = packed + n * quant_bytes};
}

INLINE size_t groups_from(const product *p, size_t g) {
    const size_t left = p->w->cols / 32 - g;
    return left < AMX_GROUPS ? left : AMX_GROUPS;
}

/* Tokens of one tile use weights once: they are read in the order of memory, and sums stay here. */
INLINE void amx_few(const product *p, uint32_t r, amx_work *work, const mr_type type) {
    vec acc[MR_TILE];

    UNROLL
    for (int t = 0; t < MR_TILE; t++) acc[t] = v_zero();
    for (size_t g = 0, n; g < p->w->cols / 32; g += n) {
        n = groups_from(p, g);
        const amx_strip s = strip_of(p, r, g, n, work, 0, type);
        amx_unpack(work, 0, tile_of(p->w, r), p->w->cols, g, n, type);
        memory_is_written();
        amx_accumulate(acc, &s, p->in->blocks + g, work, type, MR_TILE);
    }
    UNROLL
    for (int t = 0; t < MR_TILE; t++)
        if ((size_t)t < p->n_tok) store_tile_row(p, r, (size_t)t, acc[t]);
}

INLINE void amx_many(const product *p, uint32_t r, int n_tiles, amx_work *work,
                     const mr_type type) {
    for (size_t g = 0, n; g < p->w->cols / 32; g += n) {
        n = groups_from(p, g);
        for (int i = 0; i < n_tiles; i++)
            amx_unpack(work, i, tile_of(p->w, r + MR_TILE * (uint32_t)i), p->w->cols, g, n, type);
        memory_is_written();
        for (size_t t = 0; t < p->n_tok; t += MR_TILE) {
            const size_t n_tok = p->n_tok - t < MR_TILE ? p->n_tok - t : MR_TILE;
            for (int i = 0; i < n_tiles; i++) {
                amx_strip s = strip_of(p, r + MR_TILE * (uint32_t)i, g, n, work, i, type);
                if (t > 0) s.ahead = NULL;
                amx_tokens(p, &s, t, n_tok, work, type);
            }
        }
    }
}

INLINE void amx_rows(const product *p, uint32_t r0, uint32_t r1, amx_work *work,
                     const mr_type type) {
    if (p->n_tok <= MR_TILE) {
        for (uint32_t r = r0; r < r1; r += MR_TILE) amx_few(p, r, work, type);
        return;
    }
    for (uint32_t r = r0; r < r1; r += AMX_TILES * MR_TILE) {
        const uint32_t n = (r1 - r + MR_TILE - 1) / MR_TILE;
        amx_many(p, r, (int)(n < AMX_TILES ? n : AMX_TILES), work, type);
    }
}

#define AMX(name, type)                                                                            \
    static void name(const product *p, uint32_t r0, uint32_t r1, amx_work *work) {                 \
        amx_rows(p, r0, r1, work, type);                                                           \
    }
AMX(amx_q8_0, MR_TYPE_Q8_0)
AMX(amx_q4_0, MR_TYPE_Q4_0)
AMX(amx_q4_k, MR_TYPE_Q4_K)
AMX(amx_q5_k, MR_TYPE_Q5_K)
#undef AMX

typedef void amx_fn(const product *p, uint32_t r0, uint32_t r1, amx_work *work);
static amx_fn *const amx[] = {
    /* the types that gain by it */
    [MR_TYPE_Q8_0] = amx_q8_0,
    [MR_TYPE_Q4_0] = amx_q4_0,
    [MR_TYPE_Q4_K] = amx_q4_k,
    [MR_TYPE_Q5_K] = amx_q5_k,
};

static void amx_rows_of(const product *p, uint32_t r0, uint32_t r1, amx_work *work) {
    _tile_loadconfig(&shapes);
    amx[p->w->type](p, r0, r1, work);
    _tile_release();
}
