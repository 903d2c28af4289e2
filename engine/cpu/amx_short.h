/* amx_short.h - products with quantized weights, in AMX's matrix unit.
 *
 * A weight is made here from its quant and its scale and rounded to 8 significant bits (bf16), an
 * input likewise (ops.h, mr_xshort), and the unit multiplies these and adds up all columns itself.
 * The other tables round inputs to 8 bits with a scale for 32 columns and have exact sums of 32;
 * but each of those sums would have to leave the unit through memory to be scaled, which costs
 * four times what the product does, while making weights is paid for once for all tokens. What is
 * lost by rounding is less than there (docs/PERFORMANCE.md), the bits are others.
 *
 * Weights. Quant times scale is made in f16, whose range is small: so scales are taken relative to
 * the row's unit (engine/pack.h), such that the largest weight is below 2^16. Of f16's 10 bits
 * behind the point 7 remain, rounded to the nearest; what is left are the bits of a bf16 number,
 * 2^112 times too small, as bf16 has 3 bits more of exponent. Below 2^-14 the unit sees a 0: that
 * is 2^-16 of a row's largest scale at most. The inputs are 2^56 times too large, so that sums
 * stay in the middle of the range; the rest of both factors and the unit are set right in the end.
 *
 * Order of sums: one chain per (row, token) over all columns in the unit's order (amx_floats.h),
 * two columns s, s + 2 of each four being a pair. Registers are loaded and stored on the way
 * without loss. So bits depend neither on the batch nor on how columns are cut.
 *
 * Few tokens use weights once: 32 columns are made next to the instructions that use them, in two
 * slots a tile that stay in the nearest cache. Memory is what they wait for, so tiles of rows are
 * read side by side: the hardware follows each as a stream of its own. For many tokens a strip of
 * columns is made ahead, for all. */
#define SHORT_TILES   2    /* of rows, and of tokens, that share loads: 4 registers of sums */
#define SHORT_WIDE    4    /* of rows beside one of tokens, at most: the same registers */
#define SHORT_FEW     32   /* tokens; above, weights are made ahead */
#define SHORT_CHUNK   512  /* tokens whose sums are in scratch at once */
#define SHORT_STRIP   8    /* groups of 32 columns made ahead: SHORT_TILES of it fit the L1 cache */
#define SHORT_AHEAD   4096 /* bytes of quants that memory is asked for ahead of the loads, in all */
#define SHORT_BYTES   1024 /* 32 columns of a tile */
#define SHORT_RESCALE 56   /* log2 of what weights are too small by and inputs not too large */

/* Registers: sums of rows i and tokens j are number 2 j + i; of SHORT_WIDE rows number i. */
#define N_SUMS 4
#define R_X0   4
#define R_X1   5
#define R_W0   6
#define R_W1   7

typedef float short_sums[N_SUMS][MR_TILE][MR_TILE]; /* as in the registers: [token][row] */

typedef struct short_work { /* in scratch */
    uint8_t made[SHORT_TILES * SHORT_STRIP][SHORT_BYTES];
    short_sums sums[SHORT_CHUNK / (SHORT_TILES * MR_TILE)];
} short_work;

_Static_assert(sizeof(short_work) <= MR_MATMUL_SCRATCH, "as reserved");

/* ---- inputs ---- */

INLINE __m512i short_columns(const float *x) {
    const vec by = v_set1(0x1p56f); /* SHORT_RESCALE */
    const __m512i in_order =
        (__m512i)_mm512_cvtne2ps_pbh(v_mul(v_load(x + LANES), by), v_mul(v_load(x), by));
    const __m512i pairs =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));

    return _mm512_shuffle_epi8(in_order, pairs);
}

static void amx_shorten(mr_xshort *out, const float *x, size_t ldx, size_t n_tok, size_t n_blocks) {
    for (size_t t = 0; t < n_tok; t++)
        for (size_t b = 0; b < n_blocks; b++)
            _mm512_store_si512(out[b].v[t], short_columns(x + t * ldx + 32 * b));
}

/* ---- weights ---- */

/* The largest scale of a row is made as large as f16 allows for its type's weights: between 2 to
 * this and twice that. */
INLINE float short_log2(const mr_type type) {
    if (type == MR_TYPE_Q8_0) return 7;  /* quants up to 2^7 */
    if (type == MR_TYPE_Q4_0) return 11; /* 2^3 */
    return type == MR_TYPE_Q6_K ? 2 : 4; /* quants by scales: 2^12; 15 by 63, 31 by 63 */
}

/* How much too large quants are that short_pair() makes. */
INLINE float quant_log2(const mr_type type) {
    return type == MR_TYPE_Q8_0 ? 8 : type == MR_TYPE_Q6_K ? 10 : 0;
}

/* Of 16 rows' numbers of 16 bits, each twice. */
INLINE __m512i twice(__m256i a) {
    const __m512i each = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8,
                                          8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_epi16(each, _mm512_castsi256_si512(a));
}

typedef struct short_tile { /* 16 rows of weights */
    const uint8_t *quants, *scales;
    size_t n_groups;
    size_t ahead; /* groups that are asked for before they are made */
    size_t next;  /* bytes to the tile that follows when this one is done */
    __m512h up;   /* log2 of what scales are multiplied with, [row][2] */
} short_tile;

INLINE vec units_of(const product *p, uint32_t r, const mr_type type) {
    const size_t cols = p->w->cols;
    const uint8_t *tile = (const uint8_t *)p->w->tiles + r / MR_TILE * mr_tile_bytes(type, cols);

    return v_load((const float *)(tile + mr_tile_units_at(type, cols)));
}

/* One of n_rows that are made side by side. */
INLINE short_tile open_short(const product *p, uint32_t r, const int n_rows, const mr_type type) {
    const uint8_t *tile = tile_of(p->w, r);
    const vec up =
        v_sub(v_set1(short_log2(type) - quant_log2(type)), _mm512_getexp_ps(units_of(p, r, type)));

    return (short_tile){tile,
                        tile + mr_tile_scales_at(type, p->w->cols),
                        p->w->cols / 32,
                        SHORT_AHEAD / (size_t)n_rows / mr_tile_form_of(type).quant_bytes,
                        (size_t)n_rows * mr_tile_bytes(type, p->w->cols),
                        _mm512_castsi512_ph(twice(to_f16(up)))};
}

typedef struct short_scales { /* of a group, [row][2] */
    __m512h w[2]; /* of the first and the second half of the columns; differ for Q6_K only */
    __m512h min;  /* Q4_K, Q5_K */
} short_scales;

INLINE __m512h twice_f16(const uint8_t *p) {
    return _mm512_castsi512_ph(twice(load16(p)));
}
INLINE __m512h twice_i8(const uint8_t *p) {
    return _mm512_cvtepi16_ph(twice(_mm256_cvtepi8_epi16(load_16_bytes(p))));
}

INLINE short_scales open_short_scales(const short_tile *s, size_t g, const mr_type type) {
    short_scales o;

    if (type == MR_TYPE_Q8_0 || type == MR_TYPE_Q4_0) {
        o.w[0] = o.w[1] = o.min = _mm512_scalef_ph(twice_f16(s->scales + 32 * g), s->up);
        return o;
    }
    const size_t head = has_min(type) ? 64 : 32;
    const uint8_t *of_8 = s->scales + g / 8 * (head + 8 * 32);
    const uint8_t *own = of_8 + head + g % 8 * 32;
    const __m512h d = _mm512_scalef_ph(twice_f16(of_8), s->up);

    o.w[0] = o.w[1] = o.min = _mm512_mul_ph(d, twice_i8(own));
    if (type == MR_TYPE_Q6_K) o.w[1] = _mm512_mul_ph(d, twice_i8(own + 16));
    if (has_min(type))
        o.min = _mm512_mul_ph(_mm512_scalef_ph(twice_f16(of_8 + 32), s->up), twice_i8(own + 16));
    return o;
}

/* f16 of what the low 5 bits of a word may be; of types with 4 bits, whatever is above them. */
#define HALVES_0_TO_15                                                                             \
    0x0000, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0x4800, 0x4880, 0x4900,        \
        0x4980, 0x4a00, 0x4a80, 0x4b00, 0x4b80
#define HALVES_16_TO_31                                                                            \
    0x4c00, 0x4c40, 0x4c80, 0x4cc0, 0x4d00, 0x4d40, 0x4d80, 0x4dc0, 0x4e00, 0x4e40, 0x4e80,        \
        0x4ec0, 0x4f00, 0x4f40, 0x4f80, 0x4fc0
#define HALVES_SIGNED                                                                              \
    0x0000, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0xc800, 0xc700, 0xc600,        \
        0xc500, 0xc400, 0xc200, 0xc000, 0xbc00

INLINE __m512i quant_table(const mr_type type) {
    static const _Alignas(64) uint16_t tables[3][32] = {{HALVES_SIGNED, HALVES_SIGNED},
                                                        {HALVES_0_TO_15, HALVES_0_TO_15},
                                                        {HALVES_0_TO_15, HALVES_16_TO_31}};
    return _mm512_load_si512(tables[type == MR_TYPE_Q4_0 ? 0 : type == MR_TYPE_Q4_K ? 1 : 2]);
}

/* Words, n bits down; above come bits of the next one. Unlike a shift this leaves the port alone
 * that multiplies. */
INLINE __m512i words_down(__m512i a, const int n) {
    const __m512i from =
        _mm512_add_epi8(_mm512_set1_epi64(0x3830282018100800), _mm512_set1_epi8((char)n));
    return n == 0 ? a : _mm512_multishift_epi64_epi8(from, a);
}

/* Line i of a group's 16: a pair of columns of 16 rows, in f16. */
INLINE __m512h short_pair(const uint8_t *quants, __m512i table, const int i, const mr_type type) {
    const int s = i / 2; /* step of 4 columns: bytes 0, 2 or 1, 3 of it */

    if (type == MR_TYPE_Q8_0 || type == MR_TYPE_Q6_K) {
        const __m512i b = tile_step(quants, s, type);
        return _mm512_cvtepi16_ph(i % 2 == 0 ? _mm512_slli_epi16(b, 8)
                                             : _mm512_and_si512(b, _mm512_set1_epi16(-256)));
    }
    const __m512i n = words_down(b_load(quants + 64 * (s % 4)), 8 * (i % 2) + 4 * (s / 4));
    if (type != MR_TYPE_Q5_K) return _mm512_castsi512_ph(_mm512_permutexvar_epi16(n, table));
    const __m512i bits = b_load(quants + 256);
    const __m512i bit = words_down(bits, (60 + s + 8 * (i % 2)) % 64); /* to the fifth */
    const __m512i q = _mm512_ternarylogic_epi32(bit, n, _mm512_set1_epi16(16), 0xe4);
    return _mm512_castsi512_ph(_mm512_permutexvar_epi16(q, table));
}

/* To the nearest number of 8 bits, as bf16: an eighth of the magnitude, and the sign back. */
INLINE __m512i bf16_of(__m512h w) {
    const __m512i eighth = _mm512_mulhrs_epi16(_mm512_castph_si512(w), _mm512_set1_epi16(1 << 12));
    return _mm512_and_si512(eighth, _mm512_set1_epi16((int16_t)0x8fff));
}

/* What comes s->ahead after group g, at the end of a tile in the one that is made after it. The
 * hardware alone follows each stream only to the end of its 4 KiB, and then begins anew. */
INLINE void fetch_ahead_of(const short_tile *s, size_t g, const mr_type type) {
    const mr_tile_form f = mr_tile_form_of(type);
    const size_t ahead = g + s->ahead;
    const bool beyond = ahead >= s->n_groups;
    const size_t at = beyond ? ahead - s->n_groups : ahead, jump = beyond ? s->next : 0;
    const char *quants = (const char *)s->quants + jump + at * f.quant_bytes;

    UNROLL
    for (size_t i = 0; i < f.quant_bytes; i += 64) _mm_prefetch(quants + i, _MM_HINT_T0);
    _mm_prefetch((const char *)s->scales + jump + at * (f.scale_bytes + f.head_bytes / 8),
                 _MM_HINT_T0);
}

/* Group g of a tile. */
INLINE void make_group(uint8_t *out, const short_tile *s, size_t g, const mr_type type) {
    const size_t n = mr_tile_form_of(type).quant_bytes;
    const uint8_t *quants = s->quants + g * n;
    const short_scales o = open_short_scales(s, g, type);
    const __m512i table = quant_table(type);

    fetch_ahead_of(s, g, type);
    UNROLL
    for (int i = 0; i < 16; i++) {
        const __m512h q = short_pair(quants, table, i, type);
        const __m512h scale = o.w[i >= 8];
        const __m512h w =
            has_min(type) ? _mm512_fmsub_ph(q, scale, o.min) : _mm512_mul_ph(q, scale);
        _mm512_store_si512(out + 64 * i, bf16_of(w));
    }
}

/* ---- products ---- */

/* Tiles of rows and of tokens, a constant each, += 32 columns. */
INLINE void add_columns_of(const uint8_t *const rows[], const mr_xshort *const x[SHORT_TILES],
                           const int n_rows, const int n_x) {
    _tile_loadd(R_X0, x[0]->v, 64);
    _tile_loadd(R_W0, rows[0], 64);
    _tile_dpbf16ps(0, R_X0, R_W0);
    if (n_x > 1) {
        _tile_loadd(R_X1, x[1]->v, 64);
        _tile_dpbf16ps(2, R_X1, R_W0);
    }
    if (n_rows > 1) {
        _tile_loadd(R_W1, rows[1], 64);
        _tile_dpbf16ps(1, R_X0, R_W1);
        if (n_x > 1) _tile_dpbf16ps(3, R_X1, R_W1);
    }
    if (n_rows > SHORT_TILES) {
        _tile_loadd(R_W0, rows[2], 64);
        _tile_dpbf16ps(2, R_X0, R_W0);
        _tile_loadd(R_W1, rows[3], 64);
        _tile_dpbf16ps(3, R_X0, R_W1);
    }
}

/* Whether a register has sums of n_rows by n_x tiles. */
INLINE bool is_sum(const int reg, const int n_rows, const int n_x) {
    return n_x > 1 ? reg % 2 < n_rows : reg < n_rows;
}

INLINE void zero_totals(const int n_rows, const int n_x) {
    if (is_sum(0, n_rows, n_x)) _tile_zero(0);
    if (is_sum(1, n_rows, n_x)) _tile_zero(1);
    if (is_sum(2, n_rows, n_x)) _tile_zero(2);
    if (is_sum(3, n_rows, n_x)) _tile_zero(3);
}

INLINE void load_totals(short_sums sums, const int n_rows, const int n_x) {
    if (is_sum(0, n_rows, n_x)) _tile_loadd(0, sums[0], 64);
    if (is_sum(1, n_rows, n_x)) _tile_loadd(1, sums[1], 64);
    if (is_sum(2, n_rows, n_x)) _tile_loadd(2, sums[2], 64);
    if (is_sum(3, n_rows, n_x)) _tile_loadd(3, sums[3], 64);
}

INLINE void store_totals(short_sums sums, const int n_rows, const int n_x) {
    if (is_sum(0, n_rows, n_x)) _tile_stored(0, sums[0], 64);
    if (is_sum(1, n_rows, n_x)) _tile_stored(1, sums[1], 64);
    if (is_sum(2, n_rows, n_x)) _tile_stored(2, sums[2], 64);
    if (is_sum(3, n_rows, n_x)) _tile_stored(3, sums[3], 64);
    memory_is_written();
}

/* y of n_tok tokens from t0 on, of n_rows tiles from row r on. */
INLINE void store_short(const product *p, const short_work *work, uint32_t r, size_t t0,
                        size_t n_tok, const int n_rows, const mr_type type) {
    for (int i = 0; i < n_rows; i++) {
        const uint32_t at = r + MR_TILE * (uint32_t)i;
        const vec back =
            _mm512_scalef_ps(units_of(p, at, type), v_set1(SHORT_RESCALE - short_log2(type)));
        for (size_t t = 0; t < n_tok; t++) {
            const size_t tile = t / MR_TILE;
            const float *y = work->sums[tile / 2][tile % 2 * 2 + (size_t)i][t % MR_TILE];
            store_tile_row(p, at, t0 + t, v_mul(v_load(y), back));
        }
    }
}

/* All tokens, n_x tiles of them, by n_rows tiles from row r on. */
INLINE void short_few(const product *p, uint32_t r, short_work *work, const int n_rows,
                      const int n_x, const mr_type type) {
    const size_t n_blocks = p->in->n_blocks;
    uint8_t(*const made)[SHORT_BYTES] = work->made; /* of tile i: 2 i and 2 i + 1, in turns */
    short_tile w[SHORT_WIDE];

    for (int i = 0; i < n_rows; i++) w[i] = open_short(p, r + MR_TILE * (uint32_t)i, n_rows, type);
    zero_totals(n_rows, n_x);
    for (int i = 0; i < n_rows; i++) make_group(made[2 * i], &w[i], 0, type);
    for (size_t g = 0; g < n_blocks; g++) {
        const size_t now = g % 2;
        const uint8_t *const rows[] = {made[now], made[2 + now], made[4 + now], made[6 + now]};
        const mr_xshort *x = p->in->shorts + g;
        for (int i = 0; i < n_rows && g + 1 < n_blocks; i++)
            make_group(made[2 * (size_t)i + 1 - now], &w[i], g + 1, type);
        memory_is_written();
        add_columns_of(rows, (const mr_xshort *const[]){x, x + (n_x - 1) * n_blocks}, n_rows, n_x);
    }
    store_totals(work->sums[0], n_rows, n_x);
    store_short(p, work, r, 0, p->n_tok, n_rows, type);
}

/* Sums of n_x tiles of tokens += a strip of n groups from g on. */
INLINE void add_made(short_sums sums, const short_work *work, const mr_xshort *x, size_t n_blocks,
                     size_t g, size_t n, const int n_rows, const int n_x) {
    if (g == 0)
        zero_totals(n_rows, n_x);
    else
        load_totals(sums, n_rows, n_x);
    for (size_t k = 0; k < n; k++)
        add_columns_of((const uint8_t *const[]){work->made[k], work->made[SHORT_STRIP + k]},
                       (const mr_xshort *const[]){x + k, x + k + (n_x - 1) * n_blocks}, n_rows,
                       n_x);
    store_totals(sums, n_rows, n_x);
}

/* n_tok tokens from t0 on, a multiple of MR_TILE. */
INLINE void short_many(const product *p, uint32_t r, size_t t0, size_t n_tok, short_work *work,
                       const int n_rows, const mr_type type) {
    const size_t n_blocks = p->in->n_blocks, n_x = (n_tok + MR_TILE - 1) / MR_TILE;
    short_tile w[SHORT_TILES];

    for (int i = 0; i < n_rows; i++) w[i] = open_short(p, r + MR_TILE * (uint32_t)i, n_rows, type);
    for (size_t g = 0, n; g < n_blocks; g += n) {
        const mr_xshort *x = p->in->shorts + t0 / MR_TILE * n_blocks + g;
        n = n_blocks - g < SHORT_STRIP ? n_blocks - g : SHORT_STRIP;
        for (size_t k = 0; k < n; k++)
            for (int i = 0; i < n_rows; i++)
                make_group(work->made[SHORT_STRIP * (size_t)i + k], &w[i], g + k, type);
        memory_is_written();
        for (size_t j = 0; j < n_x; j += SHORT_TILES)
            if (j + 1 < n_x)
                add_made(work->sums[j / 2], work, x + j * n_blocks, n_blocks, g, n, n_rows, 2);
            else
                add_made(work->sums[j / 2], work, x + j * n_blocks, n_blocks, g, n, n_rows, 1);
    }
    store_short(p, work, r, t0, n_tok, n_rows, type);
}

/* Tiles of rows beside one of tokens. Of the shortest weights memory could bring the most in a
 * given time, and more streams help it to; others gain nothing, or lose with one token. */
INLINE int short_side(const mr_type type) {
    return type == MR_TYPE_Q4_0 ? SHORT_WIDE : SHORT_TILES;
}

INLINE void short_rows(const product *p, uint32_t r, short_work *work, const int n_rows,
                       const mr_type type) {
    if (p->n_tok <= MR_TILE) {
        short_few(p, r, work, n_rows, 1, type);
        return;
    }
    if (p->n_tok <= SHORT_FEW) {
        short_few(p, r, work, n_rows, 2, type);
        return;
    }
    for (size_t t = 0, n; t < p->n_tok; t += n) {
        n = p->n_tok - t < SHORT_CHUNK ? p->n_tok - t : SHORT_CHUNK;
        short_many(p, r, t, n, work, n_rows, type);
    }
}

INLINE void short_range(const product *p, uint32_t r0, uint32_t r1, short_work *work,
                        const mr_type type) {
    const uint8_t n = (uint8_t)(p->n_tok < MR_TILE ? p->n_tok : MR_TILE);
    const amx_shapes s = {.palette = 1,
                          .line_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                          .n_lines = {n, n, n, n, n, n, 16, 16}};
    uint32_t r = r0;

    _tile_loadconfig(&s);
    if (p->n_tok <= MR_TILE && short_side(type) == SHORT_WIDE)
        for (; r + (SHORT_WIDE - 1) * MR_TILE < r1; r += SHORT_WIDE * MR_TILE)
            short_few(p, r, work, SHORT_WIDE, 1, type);
    for (; r + MR_TILE < r1; r += SHORT_TILES * MR_TILE) short_rows(p, r, work, SHORT_TILES, type);
    if (r < r1) short_rows(p, r, work, 1, type);
    _tile_release();
}

#define SHORT(name, type)                                                                          \
    static void name(const product *p, uint32_t r0, uint32_t r1, short_work *work) {               \
        short_range(p, r0, r1, work, type);                                                        \
    }
SHORT(short_q8_0, MR_TYPE_Q8_0)
SHORT(short_q4_0, MR_TYPE_Q4_0)
SHORT(short_q4_k, MR_TYPE_Q4_K)
SHORT(short_q5_k, MR_TYPE_Q5_K)
SHORT(short_q6_k, MR_TYPE_Q6_K)
#undef SHORT
