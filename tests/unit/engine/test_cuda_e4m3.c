/* Goal: FP8 numbers are e4m3's, rounded to nearest even; weights and inputs are the nearest such
 * numbers under their scales; and products of them are right, and the same bits in any cut.
 * Method: all codes and all borders between them; then the kernels' bodies as plain C
 * (cuda_twin.h), and on a GPU if there is one, against sums in f64 of the numbers as decoded. */
#include "tests/cuda_devices.h"

#include "engine/cuda/pack_e4m3.h"
#include "engine/quant.h"
#include "tests/ops/ops_test.h"

/* ---- numbers ---- */

static double value_of(int code) { /* by the definition */
    const int exponent = code >> 3 & 15, rest = code & 7;
    const double size = exponent == 0 ? rest / 512.0 : ldexp(1 + rest / 8.0, exponent - 7);

    return code & 0x80 ? -size : size;
}

TEST(every_code_is_the_number_that_it_should_be) {
    for (int code = 0; code < 256; code++) {
        const float v = mr_of_e4m3((uint8_t)code);
        if ((code & 0x7f) == 0x7f) {
            CHECK(isnan(v));
            continue;
        }
        CHECK((double)v == value_of(code));
        CHECK((signbit(v) != 0) == (code >= 0x80));
        CHECK_I64(mr_to_e4m3(v), code);
        CHECK_I64(mr_twin_e4m3((uint32_t)code << 16, 2) == value_of(code), 1);
    }
    CHECK((double)mr_of_e4m3(0x7e) == 448);
    CHECK((double)mr_of_e4m3(1) == 0x1p-9);
}

TEST(between_two_numbers_the_nearer_one_is_taken_or_the_even_one) {
    for (int code = 0; code < 0x7e; code++) {
        const float middle = (float)((value_of(code) + value_of(code + 1)) / 2);
        const int even = code % 2 == 0 ? code : code + 1;
        CHECK_I64(mr_to_e4m3(middle), even);
        CHECK_I64(mr_to_e4m3(nextafterf(middle, 0)), code);
        CHECK_I64(mr_to_e4m3(nextafterf(middle, INFINITY)), code + 1);
        CHECK_I64(mr_to_e4m3(-middle), even | 0x80);
        CHECK_I64(mr_to_e4m3(nextafterf(-middle, 0)), code | 0x80);
    }
}

TEST(what_is_too_large_is_the_largest_and_nan_stays) {
    static const float large[] = {448, 449, 464, 480, 1e30f, INFINITY};

    for (size_t i = 0; i < MR_COUNT(large); i++) {
        CHECK_I64(mr_to_e4m3(large[i]), 0x7e);
        CHECK_I64(mr_to_e4m3(-large[i]), 0xfe);
    }
    CHECK_I64(mr_to_e4m3(NAN) & 0x7f, 0x7f);
    CHECK_I64(mr_to_e4m3(-NAN) & 0x7f, 0x7f);
    CHECK_I64(mr_to_e4m3(1e-30f), 0);
    CHECK_I64(mr_to_e4m3(-0.0f), 0x80);
}

/* ---- weights ---- */

typedef struct shape {
    mr_type type;
    uint32_t rows, cols;
} shape;

static const shape shapes[] = {{MR_TYPE_F32, 7, 32},    {MR_TYPE_F16, 50, 1056},
                               {MR_TYPE_BF16, 33, 160}, {MR_TYPE_Q8_0, 100, 224},
                               {MR_TYPE_Q4_K, 19, 256}, {MR_TYPE_Q6_K, 130, 1280}};
#define MAX_BATCH 70

typedef struct problem {
    mr_mat w;
    uint8_t *data, *tiles;
    size_t tile_bytes, n_tiles;
    float *x;         /* [MAX_BATCH, cols] */
    double *got, *in; /* weights [rows, cols] and inputs [MAX_BATCH, cols] as they are multiplied */
} problem;

static float tile_value(const problem *p, uint32_t row, uint32_t col) {
    const uint8_t *tile = p->tiles + row / MR_TILE * p->tile_bytes;
    const uint32_t r = row % MR_TILE;
    const uint8_t code = tile[col / 32 * 512 + col % 32 / 4 * 64 + 4 * r + col % 4];
    float scale;

    memcpy(&scale, tile + mr_e4m3_scales_at(p->w.cols) + (col / 128 * MR_TILE + r) * 4, 4);
    return mr_of_e4m3(code) * scale;
}

static void problem_init(problem *p, const shape *s, uint64_t seed) {
    const size_t row_bytes = mr_type_row_bytes(s->type, s->cols);
    float *row = random_floats(s->cols, seed);

    p->w = (mr_mat){.type = s->type, .rows = s->rows, .cols = s->cols, .row_bytes = row_bytes};
    p->w.data = p->data = malloc(row_bytes * s->rows);
    p->x = random_floats((size_t)MAX_BATCH * s->cols, seed + 1);
    for (uint32_t r = 0; r < s->rows; r++) {
        for (uint32_t c = 0; c < s->cols; c++)
            row[c] = r % 5 == 4 ? 0 : ldexpf(random_f32(&seed), (int)(c / 128 % 3 * 3));
        CHECK_I64(mr_quantize_row(p->data + r * row_bytes, row, s->type, s->cols), MR_OK);
    }
    for (uint32_t c = 0; c < s->cols; c++) p->x[3 * s->cols + c] = 0; /* a token of zeros */
    p->tile_bytes = mr_e4m3_tile_bytes(s->cols);
    p->n_tiles = (s->rows + MR_TILE - 1) / MR_TILE;
    p->tiles = calloc(p->n_tiles, p->tile_bytes);
    for (uint32_t i = 0; i < p->n_tiles; i++) mr_pack_e4m3(p->tiles + i * p->tile_bytes, &p->w, i);
    p->got = malloc((size_t)s->rows * s->cols * sizeof *p->got);
    for (uint32_t r = 0; r < s->rows; r++)
        for (uint32_t c = 0; c < s->cols; c++)
            p->got[(size_t)r * s->cols + c] = (double)tile_value(p, r, c);
    p->in = malloc((size_t)MAX_BATCH * s->cols * sizeof *p->in);
    free(row);
}

static void problem_deinit(problem *p) {
    free(p->in);
    free(p->got);
    free(p->tiles);
    free(p->x);
    free(p->data);
}

static float largest_of(const float *x, uint32_t n) {
    float most = 0;
    for (uint32_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

/* Half a step: 2^-4 of the number, or of the smallest normal one. */
static void check_near(const float *want, const double *got, uint32_t n, const char *what) {
    const double scale = (double)largest_of(want, n) / 448;

    for (uint32_t i = 0; i < n; i++) {
        const double size = fabs((double)want[i]);
        const double step = fmax(size, scale * 0x1p-6) * 0x1.00001p-4;
        if (fabs(got[i] - (double)want[i]) > step)
            fail_msg("%s %u: %g became %g", what, i, (double)want[i], got[i]);
    }
}

TEST(weights_of_any_type_become_the_nearest_numbers) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        const uint32_t cols = shapes[k].cols;
        float *row = malloc(cols * sizeof *row);
        problem p;

        problem_init(&p, &shapes[k], 7 * k);
        for (uint32_t r = 0; r < p.w.rows; r++) {
            mr_dequantize_row(row, p.data + r * p.w.row_bytes, p.w.type, cols);
            for (uint32_t c = 0; c < cols; c += 128)
                check_near(row + c, p.got + (size_t)r * cols + c, mr_least(128, cols - c),
                           "weight");
        }
        problem_deinit(&p);
        free(row);
    }
}

/* The same with one scale for a row: what is small beside its largest has fewer bits left. */
TEST(weights_in_rows_are_the_nearest_under_the_scale_of_their_row) {
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        const uint32_t cols = shapes[k].cols;
        float *row = malloc(cols * sizeof *row), scales[MR_TILE];
        double *got = malloc(cols * sizeof *got);
        uint8_t *codes = malloc(mr_e4m3_rows_bytes(cols));
        problem p;

        problem_init(&p, &shapes[k], 7 * k);
        for (uint32_t r = 0; r < p.w.rows; r++) {
            if (r % MR_TILE == 0) {
                memset(codes, 0, mr_e4m3_rows_bytes(cols));
                mr_pack_e4m3_rows(codes, scales, &p.w, r / MR_TILE);
            }
            mr_dequantize_row(row, p.data + r * p.w.row_bytes, p.w.type, cols);
            for (uint32_t c = 0; c < cols; c++)
                got[c] = (double)mr_of_e4m3(codes[(size_t)(r % MR_TILE) * cols + c]) *
                         (double)scales[r % MR_TILE];
            check_near(row, got, cols, "weight in a row");
        }
        problem_deinit(&p);
        free(codes);
        free(got);
        free(row);
    }
}

/* ---- products ---- */

static twin twins = {.base = {.calls = &twin_calls, .name = "twin", .n_units = 1},
                     .free_bytes = 1u << 30};

/* The twin, then a GPU that can do it, if there is one. */
static mr_device *device_at(size_t i) {
    if (i == 0) return &twins.base;
    return the_gpu() && the_gpu()->code >= 89 ? the_gpu() : NULL;
}

static size_t n_padded(uint32_t n) {
    return (n + MR_PAD_ROWS - 1) / MR_PAD_ROWS * MR_PAD_ROWS;
}

/* Inputs as the device rounds them; also decoded, into p->in. */
static mr_dev_xblock *round_on(mr_device *d, problem *p, uint32_t t0, uint32_t n) {
    const uint32_t cols = p->w.cols, n_groups = cols / 32;
    const size_t bytes = n_padded(n) / MR_TOKENS * n_groups * sizeof(mr_dev_xblock);
    mr_dev_xblock *blocks = put(d, NULL, bytes), *host = malloc(bytes);
    float *x = put(d, p->x + (size_t)t0 * cols, (size_t)n * cols * sizeof *x);
    const mr_feed a = {
        .kind = MR_FEED_SAME, .x = x, .blocks = blocks, .e4m3 = true, .cols = cols, .n = n};

    d->calls->feed(d, &a);
    get(d, host, blocks, bytes);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t c = 0; c < cols; c++) {
            const mr_dev_xblock *b = &host[t / MR_TOKENS * n_groups + c / 32];
            const uint8_t code = (uint8_t)b->q[t % MR_TOKENS][MR_PLACE(c % 32)];
            p->in[(size_t)t * cols + c] =
                (double)mr_of_e4m3(code) * (double)b->scale[t % MR_TOKENS];
        }
    d->calls->release(d, x);
    free(host);
    return blocks;
}

static float *multiply(mr_device *d, problem *p, uint32_t t0, uint32_t n, uint32_t n_units) {
    const size_t n_y = (size_t)n * p->w.rows;
    const uint32_t units = d->n_units;
    float *y = malloc(n_y * sizeof *y);
    mr_product a = {.w = {put(d, p->tiles, p->n_tiles * p->tile_bytes), MR_DEV_E4M3, p->w.rows,
                          p->w.cols, p->tile_bytes, mr_e4m3_scales_at(p->w.cols), false},
                    .blocks = round_on(d, p, t0, n),
                    .scale = 1,
                    .n_tok = n};

    a.y = put(d, NULL, n_y * sizeof *y);
    d->n_units = n_units;
    d->calls->product(d, &a);
    d->n_units = units;
    get(d, y, a.y, n_y * sizeof *y);
    d->calls->release(d, (void *)a.w.tiles);
    d->calls->release(d, (void *)a.blocks);
    d->calls->release(d, a.y);
    return y;
}

static void check_sums(const problem *p, const float *y, uint32_t n) {
    const uint32_t rows = p->w.rows, cols = p->w.cols;

    for (uint32_t t = 0; t < n; t++)
        for (uint32_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (uint32_t c = 0; c < cols; c++) {
                const double part = p->got[(size_t)r * cols + c] * p->in[(size_t)t * cols + c];
                sum += part;
                size += fabs(part);
            }
            /* A GPU's mma may keep some 14 bits of a block's sum. */
            CHECK_NEAR(y[(size_t)t * rows + r], sum, 2e-4 * size, "product");
        }
}

static const struct cut {
    uint32_t t0, n, n_units; /* n_units 1: large blocks, many: small ones */
} cuts[] = {{0, MAX_BATCH, 1}, {0, MAX_BATCH, 100000}, {3, 1, 1}, {60, 8, 1},
            {11, 9, 1},        {20, 33, 9999}};

TEST(products_are_right_and_the_same_bits_in_every_cut) {
    FOR_EACH_DEVICE(d) for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        float *all = NULL;
        problem p;

        problem_init(&p, &shapes[k], k);
        for (size_t i = 0; i < MR_COUNT(cuts); i++) {
            const struct cut *c = &cuts[i];
            float *y = multiply(d, &p, c->t0, c->n, c->n_units);
            if (i == 0) {
                all = y;
                check_sums(&p, y, c->n);
                for (uint32_t t = 0; t < c->n; t++)
                    for (uint32_t at = 0; at < p.w.cols; at += 128)
                        check_near(p.x + (size_t)t * p.w.cols + at,
                                   p.in + (size_t)t * p.w.cols + at, mr_least(128, p.w.cols - at),
                                   "input");
                continue;
            }
            assert_memory_equal(y, all + (size_t)c->t0 * p.w.rows,
                                (size_t)c->n * p.w.rows * sizeof *y);
            free(y);
        }
        free(all);
        problem_deinit(&p);
    }
}

/* Of a token with a number that is not finite nothing finite comes; others do not notice. */
TEST(what_is_not_finite_stays_with_its_token) {
    problem p;

    problem_init(&p, &shapes[1], 3);
    float *before = multiply(&twins.base, &p, 0, 9, 1);
    p.x[5 * p.w.cols + 130] = INFINITY;
    p.x[6 * p.w.cols + 3] = NAN;
    float *after = multiply(&twins.base, &p, 0, 9, 1);
    for (uint32_t t = 0; t < 9; t++)
        for (uint32_t r = 0; r < p.w.rows; r++) {
            const size_t at = (size_t)t * p.w.rows + r;
            if (t == 5 || t == 6)
                CHECK(!isfinite(after[at]));
            else
                CHECK(memcmp(&after[at], &before[at], sizeof *after) == 0);
        }
    free(before);
    free(after);
    problem_deinit(&p);
}

MR_TEST_MAIN
