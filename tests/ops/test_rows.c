/* Goal: the ops on one row are within their bounds of ref in every variant, and agree to the bit
 * between instruction sets.
 *
 * Method: lengths 1 to 70 and a long one; inputs allocated to the byte; silu over its whole range.
 */
#include "tests/ops/ops_test.h"

#define MAX_LEN 70

static double max_abs(const float *x, size_t n) {
    double max = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, fabs(x[i]));
    return max;
}

static void check_row(const mr_ops *o, const float *got, const float *want, size_t n, double tol) {
    const double bound = tol * max_abs(want, n);
    for (size_t i = 0; i < n; i++) CHECK_NEAR(got[i], want[i], bound, o->name);
}

static float *copy_of(const float *x, size_t n) {
    float *y = malloc(n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static void run_rmsnorm(const mr_ops *o, float *y, size_t n) {
    float *w = random_floats(n, 2);
    o->rmsnorm(y, y, w, n, 1e-5f); /* in place */
    free(w);
}

static void run_add(const mr_ops *o, float *y, size_t n) {
    float *x = random_floats(n, 3);
    o->add(y, x, n);
    free(x);
}

static void run_silu(const mr_ops *o, float *y, size_t n) {
    float *up = random_floats(n, 4);
    o->silu_mul(y, y, up, n);
    free(up);
}

static void run_rope(const mr_ops *o, float *y, size_t n, int neox) {
    const size_t half = n / 2;
    float *c = malloc(half * sizeof *c + 1), *s = malloc(half * sizeof *s + 1);
    for (size_t i = 0; i < half; i++) {
        c[i] = cosf((float)(i + 1));
        s[i] = sinf((float)(i + 1));
    }
    o->rope(y, c, s, half * 2, neox);
    free(c);
    free(s);
}

static void run_rope_pairs(const mr_ops *o, float *y, size_t n) {
    run_rope(o, y, n, 0);
}

static void run_rope_neox(const mr_ops *o, float *y, size_t n) {
    run_rope(o, y, n, 1);
}

static const struct row_op {
    void (*run)(const mr_ops *, float *, size_t);
    double tol;
} row_ops[] = {
    {run_rmsnorm, MR_NORM_TOL},   {run_add, 0},
    {run_silu, MR_SILU_TOL},      {run_rope_pairs, MR_ROPE_TOL},
    {run_rope_neox, MR_ROPE_TOL},
};

static void check_len(const struct row_op *op, size_t n) {
    float *x = random_floats(n, n), *want = copy_of(x, n), *bits = NULL;

    op->run(mr_ops_pick("ref"), want, n);
    FOR_EACH_OPS(o) {
        float *got = copy_of(x, n);
        op->run(o, got, n);
        check_row(o, got, want, n, op->tol);
        if (strcmp(o->name, "avx2") == 0) bits = copy_of(got, n);
        if (strcmp(o->name, "ref") != 0) assert_memory_equal(got, bits, n * sizeof *got);
        free(got);
    }
    free(x);
    free(want);
    free(bits);
}

TEST(row_ops_are_near_ref_and_the_same_in_all_instruction_sets) {
    for (size_t k = 0; k < MR_COUNT(row_ops); k++) {
        for (size_t n = 1; n <= MAX_LEN; n++) check_len(&row_ops[k], n);
        check_len(&row_ops[k], 8192 + 5);
    }
}

TEST(rope_rotates_a_pair_and_leaves_the_rest) {
    static const float cos1[] = {0, 1}, sin1[] = {1, 0}; /* a quarter turn, and none */
    FOR_EACH_OPS(o) {
        float a[] = {1, 2, 3, 4, 5}, b[] = {1, 2, 3, 4, 5};
        o->rope(a, cos1, sin1, 4, 0); /* pairs (1, 2), (3, 4) */
        CHECK(a[0] == -2 && a[1] == 1 && a[2] == 3 && a[3] == 4 && a[4] == 5);
        o->rope(b, cos1, sin1, 4, 1); /* pairs (1, 3), (2, 4) */
        CHECK(b[0] == -3 && b[1] == 2 && b[2] == 1 && b[3] == 4 && b[4] == 5);
    }
}

/* ---- rows of logits ---- */

TEST(the_largest_is_found_and_what_is_not_a_number_as_well) {
    FOR_EACH_OPS(o) {
        for (size_t n = 1; n <= MAX_LEN; n++) {
            float *x = random_floats(n, n), want = -INFINITY;
            for (size_t i = 0; i < n; i++) want = fmaxf(want, x[i] -= 10); /* all below 0 */
            CHECK(o->largest(x, n) == want);
            x[n / 2] = -INFINITY; /* a banned token */
            CHECK(n == 1 ? o->largest(x, n) == -INFINITY : isfinite(o->largest(x, n)));
            x[n - 1] = INFINITY;
            CHECK(isnan(o->largest(x, n)));
            x[n - 1] = NAN;
            CHECK(isnan(o->largest(x, n)));
            free(x);
        }
    }
}

static void check_exp_sums(size_t n, float scale) {
    const size_t n_runs = (n + MR_EXP_RUN - 1) / MR_EXP_RUN;
    float *x = random_floats(n, n), *want = malloc(n_runs * sizeof *want), *bits = NULL;
    const float top = mr_ops_pick("ref")->largest(x, n);

    if (n > 3) x[n / 3] = -INFINITY;
    mr_ops_pick("ref")->exp_sums(want, x, n, top, scale);
    FOR_EACH_OPS(o) {
        float *got = malloc(n_runs * sizeof *got);
        o->exp_sums(got, x, n, top, scale);
        for (size_t i = 0; i < n_runs; i++)
            CHECK_NEAR(got[i], want[i], MR_EXP_SUM_TOL * want[i], o->name);
        if (strcmp(o->name, "ref") != 0 && !bits) bits = copy_of(got, n_runs);
        if (strcmp(o->name, "ref") != 0) assert_memory_equal(got, bits, n_runs * sizeof *got);
        free(got);
    }
    free(x);
    free(want);
    free(bits);
}

TEST(sums_of_exponentials_are_near_ref_and_the_same_in_all_instruction_sets) {
    for (size_t n = 1; n <= MAX_LEN; n++) check_exp_sums(n, 1);
    for (size_t n = MR_EXP_RUN - 1; n <= MR_EXP_RUN + 1; n++) check_exp_sums(n, 0.5f);
    check_exp_sums(5 * MR_EXP_RUN + 17, 3);
}

/* silu alone, so the bound is on each value rather than on the largest of a row. */
TEST(silu_holds_over_its_whole_range) {
    enum { N = 1 << 16 };
    static float gate[N], up[N], got[N];
    for (int i = 0; i < N; i++) {
        gate[i] = ((float)i / (N - 1) - 0.5f) * 240;
        up[i] = 1;
    }
    FOR_EACH_OPS(o) {
        double worst = 0;
        o->silu_mul(got, gate, up, N);
        for (int i = 0; i < N; i++) {
            const double want = gate[i] / (1 + exp(-(double)gate[i]));
            if (gate[i] < -86) /* e^-gate is held below the largest float */
                CHECK_NEAR(got[i], want, 1e-35, o->name);
            else
                worst = fmax(worst, fabs(got[i] - want) / fmax(fabs(want), 1e-37));
        }
        CHECK_NEAR(worst, 0, 4e-7, o->name);
    }
}

TEST(silu_keeps_what_is_not_a_number) {
    FOR_EACH_OPS(o) {
        float gate[] = {NAN, 1, INFINITY}, up[] = {1, NAN, 1}, y[3];
        o->silu_mul(y, gate, up, 3);
        CHECK(isnan(y[0]));
        CHECK(isnan(y[1]));
        CHECK(y[2] == INFINITY);
    }
}

MR_TEST_MAIN
