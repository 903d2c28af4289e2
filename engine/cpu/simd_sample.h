/* simd_sample.h - the two passes over a row of logits that sampling cannot do without. */

/* Values i .. i + 16 of x[n]; behind the end -inf, which changes neither. */
INLINE vec logits_at(const float *x, size_t i, size_t n) {
    float last[LANES];

    if (n - i >= LANES) return v_load(x + i);
    for (size_t j = 0; j < LANES; j++) last[j] = i + j < n ? x[i + j] : -INFINITY;
    return v_load(last);
}

/* NaN and +inf are found by a product with 0 that is not 0; -inf, a banned token, is none of them.
 */
static float simd_largest(const float *x, size_t n) {
    const vec least = v_set1(-FLT_MAX);
    vec most = v_set1(-INFINITY), bad = v_zero();

    for (size_t i = 0; i < n; i += LANES) {
        const vec v = logits_at(x, i, n);

        most = v_max(v, most);
        bad = v_fma(v_max(least, v), v_zero(), bad);
    }
    return v_sum(bad) == 0 ? v_reduce_max(most) : NAN;
}

static float exp_sum_of(const float *x, size_t n, float top, float scale) {
    vec sum = v_zero();

    for (size_t i = 0; i < n; i += LANES)
        sum = v_add(sum, v_exp(v_mul(v_sub(logits_at(x, i, n), v_set1(top)), v_set1(scale))));
    return v_sum(sum);
}

static void simd_exp_sums(float *sums, const float *x, size_t n, float top, float scale) {
    for (size_t i = 0; i < n; i += MR_EXP_RUN)
        *sums++ = exp_sum_of(x + i, n - i < MR_EXP_RUN ? n - i : MR_EXP_RUN, top, scale);
}
