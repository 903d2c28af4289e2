/* simd_rows.h - the ops on one row of activations: norm, rotation, gate, sum, conversion. */

/* The sum of squares is in f64: 16 sums of exact products, written so that the compiler makes
 * vectors of it. */
static void simd_rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
    double sum[LANES] = {0}, total = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) sum[j] += (double)x[i + (size_t)j] * x[i + (size_t)j];
    for (int j = 0; i + (size_t)j < n; j++) sum[j] += (double)x[i + (size_t)j] * x[i + (size_t)j];
    for (int j = 0; j < LANES; j++) total += sum[j];

    const vec inv = v_set1((float)(1 / sqrt(total / (double)n + eps)));
    for (i = 0; i + LANES <= n; i += LANES)
        v_store(y + i, v_mul(v_mul(v_load(x + i), inv), v_load(w + i)));
    if (i < n)
        v_store_n(y + i, v_mul(v_mul(v_load_n(x + i, n - i), inv), v_load_n(w + i, n - i)), n - i);
}

/* Pairs (a[i], b[i]), n of them, at most 16. */
INLINE void rotate_halves(float *a, float *b, const float *cos, const float *sin, size_t n) {
    const vec va = v_load_n(a, n), vb = v_load_n(b, n), c = v_load_n(cos, n), s = v_load_n(sin, n);
    v_store_n(a, v_fms(va, c, v_mul(vb, s)), n);
    v_store_n(b, v_fma(vb, c, v_mul(va, s)), n);
}

/* Pairs (x[2i], x[2i + 1]), n of them, at most 8. */
INLINE void rotate_pairs(float *x, const float *cos, const float *sin, size_t n) {
    const vec v = v_load_n(x, 2 * n), c = v_load_pairs_n(cos, n), s = v_load_pairs_n(sin, n);
    v_store_n(x, v_fmaddsub(v, c, v_mul(v_swap_pairs(v), s)), 2 * n);
}

static void simd_rope(float *x, const float *cos, const float *sin, size_t n_rot, int neox) {
    const size_t half = n_rot / 2, step = neox ? LANES : LANES / 2;
    for (size_t i = 0; i < half; i += step) {
        const size_t n = half - i < step ? half - i : step;
        if (neox)
            rotate_halves(x + i, x + half + i, cos + i, sin + i, n);
        else
            rotate_pairs(x + 2 * i, cos + i, sin + i, n);
    }
}

INLINE vec silu_mul(vec gate, vec up) {
    const vec one = v_set1(1);
    return v_mul(v_div(gate, v_add(one, v_exp(v_sub(v_zero(), gate)))), up);
}

static void simd_silu_mul(float *y, const float *gate, const float *up, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, silu_mul(v_load(gate + i), v_load(up + i)));
    if (i < n)
        v_store_n(y + i, silu_mul(v_load_n(gate + i, n - i), v_load_n(up + i, n - i)), n - i);
}

static void simd_add(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(y + i, v_add(v_load(y + i), v_load(x + i)));
    if (i < n) v_store_n(y + i, v_add(v_load_n(y + i, n - i), v_load_n(x + i, n - i)), n - i);
}

static void simd_to_f16(mr_f16 *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store_f16(y + i, v_load(x + i));
    if (i < n) v_store_f16_n(y + i, v_load_n(x + i, n - i), n - i);
}
