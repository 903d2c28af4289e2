/* Goal: every variant multiplies every type of weights as ops.h defines it: quantized ones bit by
 * bit like ref, the others within MR_MATMUL_TOL of it, and AMX within that of the sum of weights
 * and inputs rounded as it says; and what it writes for one (row, token) is the same bits in any
 * batch, any range and any instruction set, but for AMX and all weights but F32. Rounding inputs
 * costs no more than half a step each, splitting them costs nothing.
 *
 * Method: odd shapes and batches around the sizes of tiles; ref itself against sums in f64 of the
 * same numbers; then each (row, token) alone against the same one in a batch. Inputs and outputs
 * are allocated to the byte. */
#include "tests/ops/ops_test.h"

#include <float.h>

#include "engine/pack.h"
#include "engine/quant.h"

typedef struct shape {
    mr_type type;
    uint32_t rows, cols;
} shape;

static const shape shapes[] = {
    {MR_TYPE_F32, 7, 1},     {MR_TYPE_F32, 21, 37},    {MR_TYPE_F32, 50, 1030},
    {MR_TYPE_F16, 5, 15},    {MR_TYPE_F16, 19, 100},   {MR_TYPE_F16, 33, 1025},
    {MR_TYPE_BF16, 6, 17},   {MR_TYPE_BF16, 67, 530},  {MR_TYPE_Q8_0, 1, 32},
    {MR_TYPE_Q8_0, 37, 288}, {MR_TYPE_Q8_0, 17, 1056}, {MR_TYPE_Q8_0, 100, 96},
    {MR_TYPE_Q4_0, 3, 64},   {MR_TYPE_Q4_0, 23, 544},  {MR_TYPE_Q4_K, 2, 256},
    {MR_TYPE_Q4_K, 83, 768}, {MR_TYPE_Q5_K, 19, 512},  {MR_TYPE_Q6_K, 22, 1280},
    {MR_TYPE_Q6_K, 64, 256}, {MR_TYPE_F16, 16, 8192},  {MR_TYPE_BF16, 65, 2048},
    {MR_TYPE_Q4_0, 103, 96},
};
static float f32_of_bf16(uint16_t h) {
    const uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* x to n significant bits, ties to even. */
static double significant(double x, int n) {
    int e;
    const double m = frexp(x, &e);
    return ldexp(nearbyint(ldexp(m, n)), e - n);
}

/* 32 weights with the roundings of cpu/amx_short.h, for scales that keep clear of f16's limits:
 * scales and minima, then weights, to f16, and these to 8 bits with ties away from zero. */
static void short_group(float *w, const uint8_t *row, mr_type type, size_t g) {
    mr_group group;

    mr_group_open(&group, row, type, g);
    for (int i = 0; i < 32; i++) {
        const double scale = significant(group.scale[i / 16], 11);
        const double exact = scale * group.q[i] - significant(group.min, 11);
        int e;
        const double m = frexp(significant(exact, 11), &e);
        w[i] = (float)ldexp(round(ldexp(m, 8)), e - 8);
    }
}

static const size_t batches[] = {1, 2, 3, 4, 5, 8, 11, 13, 16, 17, 33};
#define MAX_BATCH 33

typedef struct problem {
    mr_mat w;
    uint8_t *data, *tiles;
    float *x; /* [MAX_BATCH, cols] */
    bool rounded;
} problem;

/* Weights and inputs are mostly of one sign, the hard case for the order of sums. Every seventh
 * row of weights is bytes at random: quants and scales that no quantizer makes. */
static void problem_init(problem *p, const shape *s, uint64_t seed) {
    const size_t row_bytes = mr_type_row_bytes(s->type, s->cols);
    const size_t tile_bytes = mr_tile_bytes(s->type, s->cols);
    const uint32_t n_tiles = (s->rows + MR_TILE - 1) / MR_TILE;
    float *row = random_floats(s->cols, seed);

    p->w = (mr_mat){.type = s->type, .rows = s->rows, .cols = s->cols, .row_bytes = row_bytes};
    p->rounded = mr_type_block(s->type) > 1;
    p->w.data = p->data = malloc(row_bytes * s->rows);
    p->x = random_floats((size_t)MAX_BATCH * s->cols, seed + 1);
    for (uint32_t r = 0; r < s->rows; r++) {
        for (uint32_t c = 0; c < s->cols; c++) row[c] = random_f32(&seed) + 1;
        CHECK_I64(mr_quantize_row(p->data + r * row_bytes, row, s->type, s->cols), MR_OK);
        if (p->rounded && r % 7 == 6)
            for (size_t i = 0; i < row_bytes; i++) /* f16 below 4: the high byte of d */
                p->data[r * row_bytes + i] = (uint8_t)(random_u32(&seed) & 0xbf);
    }
    for (size_t i = 0; i < (size_t)MAX_BATCH * s->cols; i++) p->x[i] += 1;
    p->w.tiles = p->tiles = alloc64(tile_bytes * n_tiles);
    memset(p->tiles, 0, tile_bytes * n_tiles);
    for (uint32_t i = 0; i < n_tiles; i++) mr_pack_tile(p->tiles + i * tile_bytes, &p->w, i);
    free(row);
}

static void problem_deinit(problem *p) {
    free(p->data);
    free(p->tiles);
    free(p->x);
}

/* Rounded inputs; the lanes of tokens that there are not hold rubbish. */
static mr_xblock *round_all(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = cols / 32, n_tiles = (n_tok + MR_TILE - 1) / MR_TILE;
    mr_xblock *blocks = alloc64(n_tiles * n_blocks * sizeof *blocks);

    memset(blocks, 0x55, n_tiles * n_blocks * sizeof *blocks);
    for (size_t t = 0; t < n_tok; t += MR_TILE)
        o->round(blocks + t / MR_TILE * n_blocks, x + t * cols, cols,
                 n_tok - t < MR_TILE ? n_tok - t : MR_TILE, n_blocks);
    return blocks;
}

/* The same, split. */
static mr_xsplit *split_all(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = (cols + MR_X_COLS - 1) / MR_X_COLS;
    const size_t n = (n_tok + MR_TILE - 1) / MR_TILE * n_blocks;
    mr_xsplit *split = alloc64(n * sizeof *split);

    memset(split, 0xff, n * sizeof *split); /* NaN */
    for (size_t t = 0; t < n_tok; t += MR_TILE)
        o->split(split + t / MR_TILE * n_blocks, x + t * cols, cols,
                 n_tok - t < MR_TILE ? n_tok - t : MR_TILE, cols);
    return split;
}

/* The same, rounded to 8 significant bits. */
static mr_xshort *shorten_all(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = cols / MR_X_COLS, n = (n_tok + MR_TILE - 1) / MR_TILE * n_blocks;
    mr_xshort *shorts = alloc64(n * sizeof *shorts);

    memset(shorts, 0xff, n * sizeof *shorts); /* NaN */
    for (size_t t = 0; t < n_tok; t += MR_TILE)
        o->shorten(shorts + t / MR_TILE * n_blocks, x + t * cols, cols,
                   n_tok - t < MR_TILE ? n_tok - t : MR_TILE, n_blocks);
    return shorts;
}

/* y[n_tok][rows] of exactly that size, of rows r0..r1; the rest stays NaN. */
static float *multiply(const mr_ops *o, const problem *p, uint32_t r0, uint32_t r1, const float *x,
                       size_t n_tok) {
    const size_t n = n_tok * p->w.rows;
    float *y = malloc(n * sizeof *y);
    void *scratch = alloc64(MR_MATMUL_SCRATCH);
    mr_xblock *blocks = p->rounded ? round_all(o, x, p->w.cols, n_tok) : NULL;
    mr_xsplit *split = !p->rounded && o->split ? split_all(o, x, p->w.cols, n_tok) : NULL;
    mr_xshort *shorts = p->rounded && o->shorten ? shorten_all(o, x, p->w.cols, n_tok) : NULL;
    const size_t n_blocks = (p->w.cols + MR_X_COLS - 1) / MR_X_COLS;
    const mr_input in = {x, p->w.cols, shorts ? NULL : blocks, split, shorts, n_blocks};

    for (size_t i = 0; i < n; i++) y[i] = NAN;
    o->matmul(y, p->w.rows, &p->w, r0, r1, &in, n_tok, scratch);
    free(shorts);
    free(split);
    free(blocks);
    free(scratch);
    return y;
}

/* Input c of token t as the product takes it. */
static double input(const mr_ops *o, const problem *p, const mr_xblock *blocks, size_t t,
                    size_t c) {
    const float x = p->x[t * p->w.cols + c];

    if (!p->rounded) return x;
    if (o->shorten) return significant(x, 8);
    const mr_xblock *b = &blocks[t / MR_TILE * (p->w.cols / 32) + c / 32];
    return (double)b->scale[t % MR_TILE] * b->q[t % MR_TILE][c % 32];
}

/* Weights of row r as the product takes them. */
static void weights(const mr_ops *o, const problem *p, uint32_t r, float *w) {
    const uint8_t *row = p->data + r * p->w.row_bytes;

    if (p->rounded && o->shorten)
        for (size_t g = 0; g < p->w.cols / 32; g++) short_group(w + 32 * g, row, p->w.type, g);
    else
        mr_dequantize_row(w, row, p->w.type, p->w.cols);
}

TEST(matmul_is_near_the_sum_in_f64) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        problem p;
        problem_init(&p, &shapes[k], k);
        float *w = malloc(p.w.cols * sizeof *w);
        FOR_EACH_OPS(o) {
            float *got = multiply(o, &p, 0, p.w.rows, p.x, MAX_BATCH);
            mr_xblock *blocks = p.rounded ? round_all(o, p.x, p.w.cols, MAX_BATCH) : NULL;
            for (uint32_t r = 0; r < p.w.rows; r++) {
                weights(o, &p, r, w);
                for (size_t t = 0; t < MAX_BATCH; t++) {
                    double want = 0, size = 0;
                    for (uint32_t c = 0; c < p.w.cols; c++) {
                        const double term = w[c] * input(o, &p, blocks, t, c);
                        want += term;
                        size += fabs(term);
                    }
                    CHECK_NEAR(got[t * p.w.rows + r], want, MR_MATMUL_TOL * size, o->name);
                }
            }
            free(blocks);
            free(got);
        }
        free(w);
        problem_deinit(&p);
    }
}

/* --- units of rows --- */

static void check_units(mr_type type, size_t d_at, const mr_f16 *d, const float *want, uint32_t n) {
    const size_t cols = mr_type_block(type), row_bytes = mr_type_row_bytes(type, cols);
    uint8_t *data = calloc(n, row_bytes), *tile = alloc64(mr_tile_bytes(type, cols));
    const mr_mat w = {
        .type = type, .rows = n, .cols = (uint32_t)cols, .data = data, .row_bytes = row_bytes};
    float unit[MR_TILE];

    for (uint32_t r = 0; r < n; r++) memcpy(data + r * row_bytes + d_at, &d[r], sizeof *d);
    memset(tile, 0, mr_tile_bytes(type, cols));
    mr_pack_tile(tile, &w, 0);
    memcpy(unit, tile + mr_tile_units_at(type, cols), sizeof unit);
    for (uint32_t r = 0; r < MR_TILE; r++)
        if (r < n && isnan(want[r]))
            CHECK(isnan(unit[r]));
        else
            CHECK(unit[r] == (r < n ? want[r] : 1));
    free(tile);
    free(data);
}

TEST(a_unit_is_the_power_of_two_below_the_largest_scale) {
    /* 3, -4, 0, the least, infinity, NaN */
    static const mr_f16 d[] = {0x4200, 0xc400, 0x8000, 0x0001, 0xfc00, 0x7e00};
    static const float want[] = {2, 4, 1, 0x1p-24f, NAN, NAN};

    check_units(MR_TYPE_Q8_0, 0, d, want, MR_COUNT(d));
    check_units(MR_TYPE_Q4_0, 0, d, want, MR_COUNT(d));
    check_units(MR_TYPE_Q4_K, offsetof(mr_q4_k, d), d, want, MR_COUNT(d));
    check_units(MR_TYPE_Q5_K, offsetof(mr_q5_k, dmin), d, want, MR_COUNT(d));
    check_units(MR_TYPE_Q6_K, offsetof(mr_q6_k, d), d, want, MR_COUNT(d));
}

/* Weights near the ends of f16, and rows that have both: none is lost, whatever a kernel computes
 * in. */
TEST(scales_may_be_as_large_and_as_small_as_f16) {
    static const shape s = {MR_TYPE_Q8_0, 16, 64};
    problem p;

    problem_init(&p, &s, 500);
    for (uint32_t r = 0; r < s.rows; r++)
        for (size_t b = 0; b < 2; b++) {
            const mr_f16 d = mr_f32_to_f16(ldexpf(1.5f, (int)r * 2 - 16 + (int)b));
            memcpy(p.data + r * p.w.row_bytes + b * sizeof(mr_q8_0), &d, sizeof d);
        }
    memset(p.tiles, 0, mr_tile_bytes(s.type, s.cols));
    mr_pack_tile(p.tiles, &p.w, 0);
    FOR_EACH_OPS(o) {
        float *got = multiply(o, &p, 0, s.rows, p.x, 3);
        for (uint32_t r = 0; r < s.rows; r++) {
            float w[64];
            double want = 0, size = 0;
            mr_dequantize_row(w, p.data + r * p.w.row_bytes, s.type, s.cols);
            for (uint32_t c = 0; c < s.cols; c++) {
                want += (double)w[c] * p.x[c];
                size += fabs((double)w[c] * p.x[c]);
            }
            CHECK_NEAR(got[r], want, 0.02 * size, o->name); /* as rough as 8 bits are */
        }
        free(got);
    }
    problem_deinit(&p);
}

/* Rows outside r0..r1 stay untouched, those inside have the bits of `all`. */
static void check_range(const mr_ops *o, const problem *p, uint32_t r0, uint32_t r1, size_t t0,
                        size_t n_tok, const float *all) {
    const size_t rows = p->w.rows;
    float *got = multiply(o, p, r0, r1, p->x + t0 * p->w.cols, n_tok);
    for (size_t t = 0; t < n_tok; t++) {
        for (uint32_t r = 0; r < rows; r++) {
            if (r < r0 || r >= r1)
                CHECK(isnan(got[t * rows + r]));
            else if (memcmp(&got[t * rows + r], &all[(t0 + t) * rows + r], sizeof *got) != 0)
                fail_msg("%s %s, %zu tokens: row %u, token %zu is %a, not %a", o->name,
                         mr_type_name(p->w.type), n_tok, r, t, (double)got[t * rows + r],
                         (double)all[(t0 + t) * rows + r]);
        }
    }
    free(got);
}

static uint32_t tile_near(uint32_t r) {
    return r / MR_TILE * MR_TILE;
}

TEST(a_row_and_token_has_the_same_bits_in_any_batch_and_range) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        const uint32_t rows = shapes[k].rows;
        problem p;
        problem_init(&p, &shapes[k], 100 + k);
        FOR_EACH_OPS(o) {
            float *all = multiply(o, &p, 0, rows, p.x, MAX_BATCH);
            for (size_t b = 0; b < MR_COUNT(batches); b++) {
                const size_t n = batches[b], t0 = MAX_BATCH - n;
                check_range(o, &p, 0, rows, t0, n, all);
                check_range(o, &p, tile_near(rows / 3), rows, t0 / 2, n, all);
                check_range(o, &p, 0, tile_near(rows), t0, n, all);
                check_range(o, &p, tile_near(rows), tile_near(rows), 0, n, all);
            }
            free(all);
        }
        problem_deinit(&p);
    }
}

/* Quantized weights: all that round inputs to blocks, ref too. Others: all but ref, which adds in
 * f64, and but those that split what they multiply with F16 and BF16, whose order is another. */
static bool has_common_order(const mr_ops *o, const problem *p) {
    if (p->rounded) return !o->shorten;
    return strcmp(o->name, "ref") != 0 && (p->w.type == MR_TYPE_F32 || !o->split);
}

TEST(variants_agree_to_the_bit) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        problem p;
        problem_init(&p, &shapes[k], 200 + k);
        float *first = NULL;
        FOR_EACH_OPS(o) {
            if (!has_common_order(o, &p)) continue;
            float *y = multiply(o, &p, 0, p.w.rows, p.x, MAX_BATCH);
            if (!first) first = multiply(o, &p, 0, p.w.rows, p.x, MAX_BATCH);
            for (size_t i = 0; i < (size_t)MAX_BATCH * p.w.rows; i++)
                if (memcmp(&y[i], &first[i], sizeof *y) != 0)
                    fail_msg("%s %s: value %zu is %a, not %a", o->name, mr_type_name(p.w.type), i,
                             (double)y[i], (double)first[i]);
            free(y);
        }
        free(first);
        problem_deinit(&p);
    }
}

/* Factors and sums around the least normal number, where units differ in what they flush to 0: the
 * error stays below a few of them per column. */
TEST(the_smallest_numbers_are_lost_alike) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        problem p;
        if (mr_type_block(shapes[k].type) > 1) continue;
        problem_init(&p, &shapes[k], 400 + k);
        for (size_t i = 0; i < (size_t)MAX_BATCH * p.w.cols; i++)
            p.x[i] *= ldexpf(1, -120 - (int)(i % 12));
        FOR_EACH_OPS(o) {
            float *want = multiply(mr_ops_pick("ref"), &p, 0, p.w.rows, p.x, MAX_BATCH);
            float *all = multiply(o, &p, 0, p.w.rows, p.x, MAX_BATCH);
            for (size_t i = 0; i < (size_t)MAX_BATCH * p.w.rows; i++)
                CHECK_NEAR(all[i], want[i], 64.0 * FLT_MIN * p.w.cols, o->name);
            check_range(o, &p, 0, p.w.rows, 0, 1, all);
            check_range(o, &p, 0, p.w.rows, 3, 7, all);
            free(all);
            free(want);
        }
        problem_deinit(&p);
    }
}

/* --- rounding --- */

#define N_ROUNDED 96

TEST(inputs_are_rounded_alike_to_half_a_step) {
    const size_t n_tok = 13, n = n_tok * N_ROUNDED;
    for (uint64_t seed = 0; seed < 40; seed++) {
        float *x = random_floats(n, seed);
        for (size_t i = 0; i < n; i++) x[i] *= ldexpf(1, (int)(i / 32 % 13) * 12 - 90);
        mr_xblock *want = round_all(mr_ops_pick("ref"), x, N_ROUNDED, n_tok);
        FOR_EACH_OPS(o) {
            mr_xblock *got = round_all(o, x, N_ROUNDED, n_tok);
            assert_memory_equal(got, want, N_ROUNDED / 32 * sizeof *got);
            free(got);
        }
        for (size_t t = 0; t < n_tok; t++)
            for (size_t c = 0; c < N_ROUNDED; c++) {
                const mr_xblock *b = &want[c / 32];
                const double step = fmax(b->scale[t], 2 * (double)MR_ROUND_MIN);
                CHECK_NEAR((double)b->scale[t] * b->q[t][c % 32], x[t * N_ROUNDED + c],
                           0.5000001 * step, "rounded");
            }
        free(want);
        free(x);
    }
}

TEST(ties_go_to_the_even_number) {
    float x[32] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f};
    FOR_EACH_OPS(o) {
        mr_xblock *b = round_all(o, x, 32, 1);
        const int8_t want[] = {127, 0, 2, 2, 0, -2};
        assert_memory_equal(b->q[0], want, sizeof want);
        CHECK(b->scale[0] == 1);
        CHECK(b->sum[0] == 129);
        CHECK_I64(b->bias[0][0], -128 * 129);
        free(b);
    }
}

/* An input that is not finite must come out so, also where the weights are zero. */
TEST(what_is_not_finite_stays_so) {
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        if (shapes[k].cols < 32) continue;
        problem p;
        problem_init(&p, &shapes[k], 300 + k);
        if (p.rounded) memset(p.tiles, 0, mr_tile_bytes(p.w.type, p.w.cols));
        FOR_EACH_OPS(o) {
            if (!o->reads_tiles) continue;
            for (size_t i = 0; i < MR_COUNT(bad); i++) {
                p.x[p.w.cols + 17] = bad[i];
                float *y = multiply(o, &p, 0, p.w.rows, p.x, 5);
                for (uint32_t r = 0; r < p.w.rows; r++) {
                    CHECK(isfinite(y[r]));
                    CHECK(!isfinite(y[p.w.rows + r]));
                    CHECK(isfinite(y[2 * p.w.rows + r]));
                }
                free(y);
            }
            p.x[p.w.cols + 17] = 1;
        }
        problem_deinit(&p);
    }
}

/* Columns of each four in the order 0, 2, 1, 3, times 2^56; lanes of other tokens untouched. */
TEST(shortened_inputs_have_8_bits) {
    const size_t n_tok = 18, n = n_tok * N_ROUNDED;
    float *x = random_floats(n, 11);
    for (size_t i = 0; i < n; i++) x[i] *= ldexpf(1, (int)(i % 200) - 130);
    x[0] = 1 + 0x1p-8f, x[2] = 1 + 0x3p-8f, x[1] = -0.f; /* two ties */
    FOR_EACH_OPS(o) {
        if (!o->shorten) continue;
        mr_xshort *s = shorten_all(o, x, N_ROUNDED, n_tok);
        for (size_t t = 0; t < 2 * MR_TILE; t++)
            for (size_t c = 0; c < N_ROUNDED; c++) {
                static const uint8_t at[] = {0, 2, 1, 3};
                const mr_xshort *b = &s[t / MR_TILE * (N_ROUNDED / 32) + c / 32];
                const float got = f32_of_bf16(b->v[t % MR_TILE][c % 32 / 4 * 4 + at[c % 4]]);
                if (t >= n_tok)
                    CHECK(isnan(got));
                else
                    CHECK(got == (float)ldexp(significant(x[t * N_ROUNDED + c], 8), 56));
            }
        free(s);
    }
    free(x);
}

/* --- splitting --- */

TEST(parts_of_an_input_are_the_input) {
    const size_t n_tok = 18, n = n_tok * N_ROUNDED;
    float *x = random_floats(n, 9);
    for (size_t i = 0; i < n; i++) x[i] *= ldexpf(1, (int)(i % 200) - 100);
    FOR_EACH_OPS(o) {
        if (!o->split) continue;
        for (uint32_t cols = N_ROUNDED - 35; cols <= N_ROUNDED; cols += 5) {
            const size_t n_blocks = (cols + MR_X_COLS - 1) / MR_X_COLS;
            mr_xsplit *s = split_all(o, x, cols, n_tok);
            for (size_t t = 0; t < n_tok; t++)
                for (size_t c = 0; c < n_blocks * MR_X_COLS; c++) {
                    const mr_xsplit *b = &s[t / MR_TILE * n_blocks + c / MR_X_COLS];
                    float sum = 0;
                    for (int i = 2; i >= 0; i--)
                        sum += f32_of_bf16(b->part[i][t % MR_TILE][c % MR_X_COLS]);
                    CHECK(sum == (c < cols ? x[t * cols + c] : 0));
                }
            free(s);
        }
    }
    free(x);
}

/* isas are in the order of merit. */
TEST(auto_picks_the_last_that_runs) {
    const mr_ops *last = NULL;

    FOR_EACH_OPS(o) last = o;
    CHECK(last == mr_ops_pick("auto"));
}

TEST(pick_knows_its_names) {
    CHECK_STR(mr_ops_pick("ref")->name, "ref");
    CHECK(mr_ops_pick(NULL) == mr_ops_pick("auto"));
    CHECK(mr_ops_pick(NULL) != NULL);
    CHECK(mr_ops_pick("sse9") == NULL);
}

MR_TEST_MAIN
