/* expect.h - what make.py's float64 program computed of a tiny model, and how near is near enough.
 */
#ifndef MR_TESTS_EXPECT_H
#define MR_TESTS_EXPECT_H

#include <math.h>

#include "tests/golden/golden.h"

/* Of max |logit| of the row. Where an f32 value lies near the border of two f16 values, a cached
 * key or value can differ from the float64 program's by 2^-11 of itself; this is what that may cost
 * after two layers. The f32 sums alone stay below 1e-5. */
#define TOL 3e-4

/* The same for quantized weights, where an input near the border of two numbers of 8 bits can
 * differ by 1/127 of the largest of its block: a visible jump in so small a model, also for the
 * tokens that attend to that one. Rows that meet no border stay within TOL, and a third must. */
#define TOL_ROUNDED 4e-2

/* Against a program that does not round inputs: what 8 bits cost. Measured 3.8e-2 to 4.7e-2 (Q8_0,
 * Q4_0) and 7.0e-2 (Q4_K with Q5_K and Q6_K). Most of it is attention's, as these weights are drawn
 * to make scores of one row differ by several units: half a step of 1/127 in every input moves a
 * score by a few hundredths. */
#define TOL_EXACT 1e-1

/* Against the first program, with keys and values as bytes: measured 1.0e-2 to 6.1e-2. */
#define TOL_KV_BYTES 8e-2

/* The same for weights and inputs rounded to 8 significant bits, as AMX does with quantized weights
 * (cpu/amx_short.h). */
#define TOL_SHORT 4e-2

typedef struct expect {
    int32_t n_prompt, n_generated, n_vocab;
    int32_t *prompt, *generated;
    float *logits, *exact;     /* [n_prompt, n_vocab]: inputs rounded as the engine does, or not */
    double worst, worst_exact; /* largest errors seen */
    int32_t n_near;            /* rows within TOL */
} expect;

static inline expect read_expect(const char *name) {
    char path[128];
    expect x = {0};

    snprintf(path, sizeof path, GOLDEN_DIR "%s.expect", name);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    CHECK_I64(fread(&x.n_prompt, sizeof(int32_t), 3, f), 3);
    const size_t n = (size_t)x.n_prompt, m = (size_t)x.n_generated, rows = n * (size_t)x.n_vocab;
    x.prompt = malloc(n * sizeof *x.prompt);
    x.generated = malloc(m * sizeof *x.generated);
    x.logits = malloc(rows * sizeof *x.logits);
    x.exact = malloc(rows * sizeof *x.exact);
    CHECK(x.prompt && x.generated && x.logits && x.exact);
    CHECK_I64(fread(x.prompt, sizeof *x.prompt, n, f), n);
    CHECK_I64(fread(x.generated, sizeof *x.generated, m, f), m);
    CHECK_I64(fread(x.logits, sizeof *x.logits, rows, f), rows);
    CHECK_I64(fread(x.exact, sizeof *x.exact, rows, f), rows);
    fclose(f);
    return x;
}

static inline void drop_expect(expect *x) {
    free(x->prompt);
    free(x->generated);
    free(x->logits);
    free(x->exact);
}

/* Largest difference as a fraction of the largest logit. */
static inline double distance(const float *got, const float *want, int32_t n) {
    double largest = 0, off = 0;

    for (int32_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)want[i]));
        off = fmax(off, fabs((double)want[i] - (double)got[i]));
        if (!isfinite(got[i])) off = INFINITY;
    }
    return off / largest;
}

/* A row of logits at a position of the prompt. */
static inline void compare_logits(expect *x, uint32_t pos, const float *logits) {
    const size_t at = (size_t)pos * (size_t)x->n_vocab;

    if (pos >= (uint32_t)x->n_prompt) return;
    const double off = distance(logits, x->logits + at, x->n_vocab);
    x->n_near += off <= TOL;
    x->worst = fmax(x->worst, off);
    x->worst_exact = fmax(x->worst_exact, distance(logits, x->exact + at, x->n_vocab));
}

/* All rows have been compared: prints how near they were. rounded: the weights are quantized. */
static inline void check_expect(const expect *x, const char *name, const char *isa, bool rounded) {
    print_message("%s %s: %.1e of max |logit| (%d of %d rows within %g); with exact inputs %.1e\n",
                  name, isa, x->worst, x->n_near, x->n_prompt, TOL, x->worst_exact);
    const bool is_short = rounded && strcmp(isa, "amx") == 0;
    const bool is_near = x->worst <= (rounded ? TOL_ROUNDED : TOL) && x->n_near >= x->n_prompt / 3;
    if (x->worst_exact > (is_short ? TOL_SHORT : TOL_EXACT) || !(is_short || is_near))
        fail_msg("%s with %s: off by too much", name, isa);
}

/* The same, of a cache of bytes: it is at work, and costs no more than was measured. */
static inline void check_kv_bytes(const expect *x, const char *name, const char *isa) {
    print_message("%s %s, kv q8_0: %.1e of max |logit|\n", name, isa, x->worst);
    CHECK(x->worst > TOL);
    CHECK(x->worst < TOL_KV_BYTES);
}

/* For mr_engine_watch_rows; owner: an expect. */
static inline void compare_row(void *owner, uint32_t seq, uint32_t pos, const float *logits) {
    (void)seq;
    compare_logits(owner, pos, logits);
}

#endif
