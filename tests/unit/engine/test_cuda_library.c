/* Goal: products go to the vendor's library where it is clearly faster, and nowhere else; what it
 * is given is rounded as it should be, and what it gives back is the product.
 * Method: times in, decision out; the measuring on the device that is plain C (cuda_twin.h), whose
 * products take as long as the test says; products of that device and, where this machine has them,
 * of a GPU and cuBLASLt, against sums in f64 of the numbers as rounded. */
#include "tests/cuda_devices.h"

#include "engine/cuda/choice.h"
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

static twin twins = {.base = {.calls = &twin_calls, .name = "twin", .n_units = 1},
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
    mr_product a = {.scale = 1};
    mr_err err;

    a.w = (mr_dev_mat){.type = w.type,
                       .rows = rows,
                       .cols = cols,
                       .tile_bytes = sizeof(uint16_t) * MR_TILE * cols};
    a.w.tiles = put(d, NULL, (rows + MR_TILE) * cols * sizeof(uint16_t));
    a.x = put(d, NULL, n * cols * sizeof *a.x);
    a.halves = put(d, NULL, n * cols * sizeof *a.halves);
    a.y = put(d, NULL, n * rows * sizeof *a.y);
    CHECK_OK(mr_choice_measure(c, d, &a, n_toks, &err), err);
    d->calls->release(d, (void *)a.w.tiles);
    d->calls->release(d, (void *)a.x);
    d->calls->release(d, (void *)a.halves);
    d->calls->release(d, a.y);
}

TEST(what_was_measured_as_faster_is_taken_and_only_that) {
    const mr_mat one = {.type = MR_TYPE_BF16, .rows = 48, .cols = 64};
    mr_mat other = one;

    for (int i = 0; i < 2; i++) {
        mr_choice c = {0};
        twins.product_ms = 1;
        twins.matmul_ms = i == 0 ? 0.5 : 1.5;
        measure(&c, &twins.base, one.rows, one.cols);
        CHECK_I64(mr_choice_is_library(&c, &one), i == 0);
        const size_t n = twins.n_matmuls;
        measure(&c, &twins.base, one.rows, one.cols); /* is known */
        CHECK_I64(twins.n_matmuls, n);
        CHECK_I64(c.n, 1);
    }
    mr_choice c = {0};
    twins.matmul_ms = 0.5;
    measure(&c, &twins.base, one.rows, one.cols);
    other.cols = 72;
    CHECK(!mr_choice_is_library(&c, &other));
    other = one;
    other.type = MR_TYPE_F16;
    CHECK(!mr_choice_is_library(&c, &other));
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
