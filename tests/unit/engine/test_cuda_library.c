/* Goal: products go to the vendor's library where it is clearly faster, and nowhere else; what it
 * is given is rounded as it should be, and what it gives back is the product.
 * Method: times in, decision out; the measuring on the device that is plain C (cuda_twin.h), whose
 * products take as long as the test says; products of that device and, where this machine has them,
 * of a GPU and cuBLASLt, against sums in f64 of the numbers as rounded. */
#include "tests/cuda_devices.h"

#include "engine/cuda/choice.h"
#include "engine/cuda/pack_e4m3.h"
#include "engine/cuda/weights.h"
#include "tests/ops/ops_test.h"

/* ---- the decision ---- */

TEST(the_library_is_taken_where_its_mean_is_clearly_below) {
    static const struct {
        mr_choice_times t;
        bool library;
    } cases[] = {
        {{{1, 1, 1}, {0.5, 0.5, 0.5}}, true},
        {{{1, 1, 1}, {2, 2, 2}}, false},
        {{{1, 1, 1}, {1, 1, 1}}, false},
        {{{1, 1, 1}, {0.99, 0.99, 0.99}}, false},    /* two measurements differ by that */
        {{{0.01, 0.02, 4}, {0.013, 0.02, 1}}, true}, /* a little of one, much of a full pass */
        {{{0.01, 0.02, 4}, {0.03, 0.05, 2}}, false}, /* the full pass does not decide alone */
        {{{0, 0.02, 4}, {0.01, 0.01, 2}}, true},     /* what could not be measured */
        {{{0, 0, 0}, {0, 0, 0}}, false},             /* nothing could */
        {{{1, 1, 1}, {NAN, NAN, NAN}}, false},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++)
        CHECK_I64(mr_choice_of(&cases[i].t), cases[i].library);
}

/* ---- devices ---- */

static twin twins = {.base = {.calls = &twin_calls, .name = "twin", .n_units = 1, .code = 90},
                     .free_bytes = 1u << 30};
enum { WORKSPACE_BYTES = 1 << 20 };

/* The twin, then a GPU with the library, if there is one. */
static mr_device *device_at(size_t i) {
    static bool tried, has_library;
    mr_device *gpu = i == 0 ? &twins.base : the_gpu();
    void *room;
    mr_err err;

    if (i == 0 || !gpu) return gpu;
    if (!tried) {
        CHECK_OK(gpu->calls->reserve(gpu, &room, WORKSPACE_BYTES, "a test", &err), err);
        has_library = gpu->calls->open_library(gpu, room, WORKSPACE_BYTES, &err) == MR_OK;
        if (!has_library) print_message("not tested on a GPU: %s\n", err.text);
    }
    tried = true;
    return has_library ? gpu : NULL;
}

/* ---- measuring ---- */

static void measure(mr_choice *c, mr_device *d, uint32_t rows, uint32_t cols) {
    static const uint32_t n_toks[MR_CHOICE_COUNTS] = {1, 5, 40};
    const mr_mat w = {.type = MR_TYPE_BF16, .rows = rows, .cols = cols};
    const size_t n = MR_PAD_ROWS;
    mr_product a = {.w = mr_dev_weights_form(&w, false, false), .scale = 1}, b;
    mr_err err;

    a.w.tiles = put(d, NULL, (rows + MR_TILE) * cols * sizeof(uint16_t));
    a.x = put(d, NULL, n * cols * sizeof *a.x);
    a.halves = put(d, NULL, n * cols * sizeof *a.halves);
    a.y = put(d, NULL, n * rows * sizeof *a.y);
    b = a;
    b.w.in_rows = true;
    CHECK_OK(mr_choice_measure(c, d, &a, &b, n_toks, &err), err);
    d->calls->release(d, (void *)a.w.tiles);
    d->calls->release(d, (void *)a.x);
    d->calls->release(d, (void *)a.halves);
    d->calls->release(d, a.y);
}

static bool is_library(const mr_choice *c, const mr_mat *w) {
    return mr_choice_is_library(c, w->type, w->rows, w->cols);
}

TEST(what_was_measured_as_faster_is_taken_and_only_that) {
    const mr_mat one = {.type = MR_TYPE_BF16, .rows = 48, .cols = 64};
    mr_mat other = one;

    for (int i = 0; i < 2; i++) {
        mr_choice c = {0};
        twins.product_ms = 1;
        twins.matmul_ms = i == 0 ? 0.5 : 1.5;
        measure(&c, &twins.base, one.rows, one.cols);
        CHECK_I64(is_library(&c, &one), i == 0);
        const size_t n = twins.n_matmuls;
        measure(&c, &twins.base, one.rows, one.cols); /* is known */
        CHECK_I64(twins.n_matmuls, n);
        CHECK_I64(c.n, 1);
    }
    mr_choice c = {0};
    twins.matmul_ms = 0.5;
    measure(&c, &twins.base, one.rows, one.cols);
    other.cols = 72;
    CHECK(!is_library(&c, &other));
    other = one;
    other.type = MR_TYPE_F16;
    CHECK(!is_library(&c, &other));
}

TEST(what_the_library_refuses_is_ours_however_fast_it_would_be) {
    const mr_mat w = {.type = MR_TYPE_BF16, .rows = 48, .cols = 64};
    mr_choice c = {0};

    twins.product_ms = 1;
    twins.matmul_ms = 0.1;
    twins.refuses_tokens = 40; /* of 1, 5 and 40 */
    measure(&c, &twins.base, w.rows, w.cols);
    CHECK(!is_library(&c, &w));
    twins.refuses_tokens = 0;
    measure(&c, &twins.base, w.rows, w.cols); /* it is known */
    CHECK(!is_library(&c, &w));
    CHECK_I64(c.n, 1);
}

/* ---- inputs ---- */

static void check_halves(mr_device *d, mr_type type, const float *x, const uint16_t *want,
                         uint32_t n) {
    uint16_t got[16];
    float *from = put(d, x, n * sizeof *x);
    uint16_t *to = put(d, NULL, n * sizeof *to);
    const mr_feed a = {
        .kind = MR_FEED_SAME, .x = from, .halves = to, .half_type = type, .cols = n, .n = 1};

    d->calls->feed(d, &a);
    get(d, got, to, n * sizeof *to);
    for (uint32_t i = 0; i < n; i++) CHECK_I64(got[i], want[i]);
    d->calls->release(d, from);
    d->calls->release(d, to);
}

TEST(inputs_are_rounded_to_nearest_and_cut_to_what_f16_holds) {
    static const float x[] = {1, -2.5f, 0, 1 + 0x1p-11f, 1 + 0x3p-11f, 65504, 1e6f, -1e9f};
    static const uint16_t f16[] = {0x3c00, 0xc100, 0, 0x3c00, 0x3c02, 0x7bff, 0x7bff, 0xfbff};
    static const float y[] = {1, -2.5f, 0, 1 + 0x1p-8f, 1 + 0x3p-8f, 65536, 0x1p100f, -0x1p-100f};
    static const uint16_t bf16[] = {0x3f80, 0xc020, 0, 0x3f80, 0x3f82, 0x4780, 0x7180, 0x8d80};

    FOR_EACH_DEVICE(d) {
        check_halves(d, MR_TYPE_F16, x, f16, MR_COUNT(x));
        check_halves(d, MR_TYPE_BF16, y, bf16, MR_COUNT(y));
    }
    CHECK(isnan(mr_of_half(mr_half_from(NAN, MR_TYPE_F16))));
}

/* Codes of a token are the nearest ones under its scale, and a token that is not finite stays so,
 * alone. y is made of the same values, in the place of x. */
TEST(inputs_are_rounded_to_e4m3_with_a_scale_for_each_token) {
    enum { N = 5, WIDTH = 416 };
    static float x[N * WIDTH], y[N * WIDTH], scales[N];
    static uint8_t codes[N * WIDTH];
    uint64_t seed = 4;

    for (int i = 0; i < N * WIDTH; i++) x[i] = ldexpf(random_f32(&seed), i % 11 - 5);
    for (int i = 0; i < WIDTH; i++) x[WIDTH + i] = 0;
    x[3 * WIDTH + 400] = NAN;
    x[4 * WIDTH + 7] = -INFINITY;
    FOR_EACH_DEVICE(d) {
        float *at = put(d, x, sizeof x);
        const mr_feed a = {.kind = MR_FEED_SAME,
                           .x = at,
                           .y = at,
                           .codes = put(d, NULL, sizeof codes),
                           .code_scales = put(d, NULL, sizeof scales),
                           .cols = WIDTH,
                           .n = N};
        d->calls->feed(d, &a);
        get(d, y, at, sizeof y);
        get(d, codes, a.codes, sizeof codes);
        get(d, scales, a.code_scales, sizeof scales);
        assert_memory_equal(y, x, sizeof x);
        for (int t = 0; t < N; t++) {
            float most = 0;
            for (int i = 0; i < WIDTH; i++) most = mr_larger(fabsf(x[t * WIDTH + i]), most);
            const mr_e4m3_scale s = mr_e4m3_scale_of(most);
            CHECK(t < 3 ? scales[t] == s.scale : !isfinite(scales[t]));
            for (int i = 0; i < WIDTH; i++)
                CHECK_I64(codes[t * WIDTH + i],
                          t < 3 && s.inv > 0 ? mr_to_e4m3(x[t * WIDTH + i] * s.inv) : 0);
        }
        drop(d, at);
        drop(d, a.codes);
        drop(d, a.code_scales);
    }
}

/* ---- products ---- */

enum { ROWS = 136, COLS = 72, MOST_TOKENS = 70 };

static double half_value(uint16_t h, mr_type type) {
    return (double)twin_half(h, type);
}

static void check_product(mr_device *d, mr_type type, uint32_t n_tok, bool bias, bool adds) {
    static uint16_t w[ROWS * COLS], x[MOST_TOKENS * COLS];
    static float y[MOST_TOKENS * ROWS], got[MOST_TOKENS * ROWS], b[ROWS];
    const float scale = bias ? 1 : 0.25f;
    mr_product a = {.scale = scale, .adds = adds, .n_tok = n_tok};

    for (uint32_t i = 0; i < ROWS * COLS; i++) w[i] = mr_half_from(sinf((float)i * 0.7f), type);
    for (uint32_t i = 0; i < n_tok * COLS; i++) x[i] = mr_half_from(cosf((float)i * 1.3f), type);
    for (uint32_t i = 0; i < n_tok * ROWS; i++) y[i] = (float)(i % 13);
    for (uint32_t i = 0; i < ROWS; i++) b[i] = (float)i / 16;
    a.w = (mr_dev_mat){
        .tiles = put(d, w, sizeof w), .type = type, .rows = ROWS, .cols = COLS, .in_rows = true};
    a.halves = put(d, x, sizeof x);
    a.y = put(d, y, sizeof y);
    a.bias = bias ? put(d, b, sizeof b) : NULL;
    d->calls->matmul(d, &a);
    get(d, got, a.y, sizeof got);
    for (uint32_t t = 0; t < n_tok; t++)
        for (uint32_t r = 0; r < ROWS; r++) {
            const size_t at = (size_t)t * ROWS + r;
            double sum = bias ? (double)b[r] : 0, size = 1;
            for (uint32_t c = 0; c < COLS; c++) {
                const double part =
                    half_value(w[r * COLS + c], type) * half_value(x[t * COLS + c], type);
                sum += part;
                size += fabs(part);
            }
            CHECK_NEAR(got[at], sum * (double)scale + (adds ? (double)y[at] : 0), 1e-5 * size,
                       "product");
        }
    d->calls->release(d, (void *)a.w.tiles);
    d->calls->release(d, (void *)a.halves);
    d->calls->release(d, a.y);
    d->calls->release(d, (void *)a.bias);
}

/* ---- products of FP8 ---- */

enum { E_ROWS = 1104, E_COLS = 288 }; /* rows of more than one block of the kernel behind it */

typedef struct fp8 {
    mr_dev_mat tiles, rows; /* the same weights */
    uint8_t *codes;         /* of rows, on the host */
    float *x;               /* inputs [MOST_TOKENS, E_COLS] */
} fp8;

static fp8 fp8_put(mr_device *d) {
    const size_t n_tiles = E_ROWS / MR_TILE, of_tile = mr_e4m3_tile_bytes(E_COLS);
    const mr_mat w = {.type = MR_TYPE_F32,
                      .rows = E_ROWS,
                      .cols = E_COLS,
                      .row_bytes = E_COLS * sizeof(float),
                      .data = random_floats((size_t)E_ROWS * E_COLS, 1)};
    fp8 f = {mr_dev_weights_form(&w, true, false), mr_dev_weights_form(&w, true, true), NULL,
             random_floats((size_t)MOST_TOKENS * E_COLS, 2)};
    uint8_t *tiles = calloc(n_tiles, of_tile);

    f.codes = calloc(n_tiles, of_tile);
    for (uint32_t i = 0; i < n_tiles; i++) {
        mr_pack_e4m3(tiles + i * of_tile, &w, i);
        mr_pack_e4m3_rows(f.codes + i * f.rows.tile_bytes,
                          (float *)(void *)(f.codes + f.rows.scales_at) + (size_t)i * MR_TILE, &w,
                          i);
    }
    f.tiles.tiles = put(d, tiles, n_tiles * of_tile);
    f.rows.tiles = put(d, f.codes, n_tiles * of_tile);
    free(tiles);
    free((void *)w.data);
    return f;
}

static void fp8_drop(mr_device *d, fp8 *f) {
    drop(d, f->tiles.tiles);
    drop(d, f->rows.tiles);
    free(f->codes);
    free(f->x);
}

/* What a product of n tokens may read and write, and the inputs, rounded in both ways. */
static mr_product fp8_product(mr_device *d, const fp8 *f, uint32_t n, const float *y) {
    const size_t all = 2 * MR_PAD_ROWS;
    mr_dev_xblock *blocks = put(d, NULL, all / MR_TOKENS * (E_COLS / 32) * sizeof *blocks);
    uint8_t *codes = put(d, NULL, all * E_COLS);
    float *scales = put(d, NULL, all * sizeof *scales);
    mr_feed a = {.kind = MR_FEED_SAME,
                 .x = put(d, f->x, (size_t)n * E_COLS * sizeof *f->x),
                 .blocks = blocks,
                 .e4m3 = true,
                 .codes = codes,
                 .code_scales = scales,
                 .cols = E_COLS,
                 .n = n};
    mr_product p = {.blocks = blocks,
                    .codes = codes,
                    .code_scales = scales,
                    .y = put(d, NULL, all * E_ROWS * sizeof(float)),
                    .n_tok = n};

    d->calls->feed(d, &a);
    d->calls->copy_in(d, p.y, y, (size_t)n * E_ROWS * sizeof *y);
    MR_CHECK(d->calls->wait(d, NULL) == MR_OK);
    drop(d, a.x);
    return p;
}

static void fp8_product_drop(mr_device *d, const mr_product *p) {
    drop(d, p->blocks);
    drop(d, p->codes);
    drop(d, p->code_scales);
    drop(d, p->y);
}

/* Of the numbers as rounded, in f64; size: of its parts, without signs. */
static double fp8_sum(const fp8 *f, uint32_t row, const uint8_t *x, float x_scale, double *size) {
    float scale;
    double sum = 0;

    memcpy(&scale, f->codes + f->rows.scales_at + row * sizeof scale, sizeof scale);
    *size = 0;
    for (uint32_t c = 0; c < E_COLS; c++) {
        const double part = (double)mr_of_e4m3(f->codes[(size_t)row * E_COLS + c]) *
                            (double)mr_of_e4m3(x[c]) * (double)scale * (double)x_scale;
        sum += part;
        *size += fabs(part);
    }
    return sum;
}

static void check_fp8(mr_device *d, const fp8 *f, uint32_t n, bool bias, bool adds) {
    static float y[MOST_TOKENS * E_ROWS], got[MOST_TOKENS * E_ROWS], ours[MOST_TOKENS * E_ROWS];
    static float b[E_ROWS], x_scales[MOST_TOKENS];
    static uint8_t x[MOST_TOKENS * E_COLS];
    const size_t bytes = (size_t)n * E_ROWS * sizeof *y;

    for (size_t i = 0; i < MR_COUNT(y); i++) y[i] = (float)(i % 13);
    for (uint32_t i = 0; i < E_ROWS; i++) b[i] = (float)i / 16;
    mr_product p = fp8_product(d, f, n, y);
    get(d, x, p.codes, (size_t)n * E_COLS);
    get(d, x_scales, p.code_scales, n * sizeof *x_scales);
    p.bias = bias ? put(d, b, sizeof b) : NULL;
    p.scale = bias ? 1 : 0.25f;
    p.adds = adds;
    p.raw = adds ? put(d, NULL, (size_t)2 * MR_PAD_ROWS * E_ROWS * sizeof *p.raw) : p.y;
    p.w = f->rows;
    CHECK(d->calls->try_matmul(d, &p));
    get(d, got, p.y, bytes);
    p.w = f->tiles;
    d->calls->copy_in(d, p.y, y, bytes);
    d->calls->product(d, &p);
    get(d, ours, p.y, bytes);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t r = 0; r < E_ROWS; r++) {
            const size_t at = (size_t)t * E_ROWS + r;
            double size;
            const double sum = fp8_sum(f, r, x + (size_t)t * E_COLS, x_scales[t], &size);
            const double rest = bias ? (double)b[r] : 0, old = adds ? (double)y[at] : 0;
            /* A GPU may keep some 14 bits of a sum on the way. */
            CHECK_NEAR(got[at], (sum + rest) * (double)p.scale + old,
                       2e-4 * size + 1e-6 * (old + rest), "product of rows");
            /* Two ways to round the same numbers, each by 2^-4 of a part at most. */
            CHECK_NEAR(got[at], ours[at], 0.1 * size * (double)p.scale + 1e-5, "product of tiles");
        }
    if (adds) drop(d, p.raw);
    drop(d, p.bias);
    fp8_product_drop(d, &p);
}

TEST(a_product_of_fp8_rows_is_the_product_and_near_that_of_tiles) {
    static const uint32_t n_toks[] = {1, 3, 16, MOST_TOKENS};

    FOR_EACH_DEVICE(d) {
        if (d->code < 89) continue;
        fp8 f = fp8_put(d);
        for (size_t i = 0; i < MR_COUNT(n_toks); i++)
            for (int how = 0; how < 4; how++) check_fp8(d, &f, n_toks[i], how & 1, how & 2);
        fp8_drop(d, &f);
    }
    CHECK_I64(twins.n_reserved, 0);
}

TEST(a_product_of_rows_is_the_product) {
    static const uint32_t n_toks[] = {1, 3, 64, MOST_TOKENS, 3};

    FOR_EACH_DEVICE(d) {
        for (size_t i = 0; i < MR_COUNT(n_toks); i++)
            for (int how = 0; how < 4; how++)
                check_product(d, i % 2 ? MR_TYPE_BF16 : MR_TYPE_F16, n_toks[i], how & 1, how & 2);
    }
    CHECK_I64(twins.n_reserved, 0);
}

MR_TEST_MAIN
