/* Goal: every variant multiplies every type of weights within MR_MATMUL_TOL of ref, and what it
 * writes for one (row, token) is the same bits in any batch, any range and any instruction set.
 *
 * Method: odd shapes; against ref as a fraction of sum |w| |x|; then each (row, token) alone
 * against the same one in a batch, and avx2 against avx512. Inputs and outputs are allocated to the
 * byte. */
#include "tests/ops/ops_test.h"

typedef struct shape {
    mr_type type;
    uint32_t rows, cols;
} shape;

static const shape shapes[] = {
    {MR_TYPE_F32, 7, 1},     {MR_TYPE_F32, 21, 37},    {MR_TYPE_F32, 18, 1030},
    {MR_TYPE_F16, 5, 15},    {MR_TYPE_F16, 19, 100},   {MR_TYPE_F16, 33, 1025},
    {MR_TYPE_BF16, 6, 17},   {MR_TYPE_BF16, 35, 530},  {MR_TYPE_Q8_0, 1, 32},
    {MR_TYPE_Q8_0, 37, 288}, {MR_TYPE_Q8_0, 17, 1056}, {MR_TYPE_Q4_0, 3, 64},
    {MR_TYPE_Q4_0, 23, 544}, {MR_TYPE_Q4_K, 2, 256},   {MR_TYPE_Q4_K, 21, 768},
    {MR_TYPE_Q5_K, 19, 512}, {MR_TYPE_Q6_K, 22, 1280}, {MR_TYPE_F16, 16, 8192},
};
static const size_t batches[] = {1, 2, 3, 5, 6, 7, 17, 33};
#define MAX_BATCH 33

typedef struct problem {
    mr_mat w;
    uint8_t *data;
    float *x; /* [MAX_BATCH, cols] */
} problem;

/* Weights and inputs are mostly of one sign, the hard case for the order of sums. */
static void problem_init(problem *p, const shape *s, uint64_t seed) {
    const size_t row_bytes = mr_type_row_bytes(s->type, s->cols);
    float *row = random_floats(s->cols, seed);

    p->w = (mr_mat){.type = s->type, .rows = s->rows, .cols = s->cols, .row_bytes = row_bytes};
    p->data = malloc(row_bytes * s->rows);
    p->w.data = p->data;
    p->x = random_floats((size_t)MAX_BATCH * s->cols, seed + 1);
    for (uint32_t r = 0; r < s->rows; r++) {
        for (uint32_t c = 0; c < s->cols; c++) row[c] = random_f32(&seed) + 1;
        CHECK_I64(mr_quantize_row(p->data + r * row_bytes, row, s->type, s->cols), MR_OK);
    }
    for (size_t i = 0; i < (size_t)MAX_BATCH * s->cols; i++) p->x[i] += 1;
    free(row);
}

static void problem_deinit(problem *p) {
    free(p->data);
    free(p->x);
}

/* y[n_tok][rows] of exactly that size, of rows r0..r1; the rest stays NaN. */
static float *multiply(const mr_ops *o, const problem *p, uint32_t r0, uint32_t r1, const float *x,
                       size_t n_tok) {
    const size_t n = n_tok * p->w.rows;
    float *y = malloc(n * sizeof *y);
    void *scratch = alloc64(mr_matmul_scratch(p->w.cols));

    for (size_t i = 0; i < n; i++) y[i] = NAN;
    o->matmul(y, p->w.rows, &p->w, r0, r1, x, p->w.cols, n_tok, scratch);
    free(scratch);
    return y;
}

TEST(matmul_is_near_ref) {
    const mr_ops *ref = mr_ops_pick("ref");
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        problem p;
        problem_init(&p, &shapes[k], k);
        float *want = multiply(ref, &p, 0, p.w.rows, p.x, MAX_BATCH);
        float *w = malloc(p.w.cols * sizeof *w);
        FOR_EACH_OPS(o) {
            float *got = multiply(o, &p, 0, p.w.rows, p.x, MAX_BATCH);
            for (uint32_t r = 0; r < p.w.rows; r++) {
                ref->dequant(w, p.data + r * p.w.row_bytes, p.w.type, p.w.cols);
                for (size_t t = 0; t < MAX_BATCH; t++) {
                    double size = 0;
                    for (uint32_t c = 0; c < p.w.cols; c++)
                        size += fabs((double)w[c] * p.x[t * p.w.cols + c]);
                    CHECK_NEAR(got[t * p.w.rows + r], want[t * p.w.rows + r], MR_MATMUL_TOL * size,
                               o->name);
                }
            }
            free(got);
        }
        free(w);
        free(want);
        problem_deinit(&p);
    }
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
            else
                assert_memory_equal(&got[t * rows + r], &all[(t0 + t) * rows + r], sizeof *got);
        }
    }
    free(got);
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
                check_range(o, &p, rows / 3, rows - rows / 4, t0, n, all);
                check_range(o, &p, rows / 2, rows / 2 + 1, t0 / 2, n, all);
                check_range(o, &p, rows, rows, 0, n, all);
            }
            free(all);
        }
        problem_deinit(&p);
    }
}

TEST(avx2_and_avx512_agree_to_the_bit) {
    const mr_ops *a = mr_ops_pick("avx2"), *b = mr_ops_pick("avx512");
    if (!a || !b) skip();
    for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        for (size_t i = 0; i < MR_COUNT(batches); i++) {
            problem p;
            problem_init(&p, &shapes[k], 200 + k);
            float *ya = multiply(a, &p, 0, p.w.rows, p.x, batches[i]);
            float *yb = multiply(b, &p, 0, p.w.rows, p.x, batches[i]);
            assert_memory_equal(ya, yb, batches[i] * p.w.rows * sizeof *ya);
            free(ya);
            free(yb);
            problem_deinit(&p);
        }
    }
}

TEST(pick_knows_its_names) {
    CHECK_STR(mr_ops_pick("ref")->name, "ref");
    CHECK(mr_ops_pick(NULL) == mr_ops_pick("auto"));
    CHECK(mr_ops_pick(NULL) != NULL);
    CHECK(mr_ops_pick("sse9") == NULL);
}

MR_TEST_MAIN
