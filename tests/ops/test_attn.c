/* Goal: attention of every variant is within MR_ATTN_TOL of ref, and a head's bits do not depend on
 * the range of heads, on where the cache's blocks lie or how long they are, nor on the instruction
 * set.
 *
 * Method: head sizes, group ratios and lengths around the edges of vectors, pieces and blocks;
 * against ref; each head alone against all at once; the same keys laid out in other blocks. */
#include "tests/ops/ops_test.h"

typedef struct layout {
    uint32_t n_head, n_kv_head, d_head, len, block_len;
} layout;

typedef struct problem {
    layout s;
    float *q;
    mr_f16 *k, *v;
    int32_t *table;
    float v_max;
} problem;

static const layout layouts[] = {
    {1, 1, 16, 1, 16},    {4, 4, 64, 17, 16},   {8, 2, 64, 64, 16},   {6, 2, 80, 65, 32},
    {5, 1, 96, 130, 16},  {7, 1, 128, 63, 8},   {8, 1, 128, 300, 64}, {4, 2, 256, 33, 16},
    {3, 3, 20, 5, 4},     {14, 2, 64, 200, 16}, {2, 1, 7, 70, 1},     {9, 3, 128, 2, 16},
    {8, 4, 64, 1027, 32}, {2, 1, 33, 129, 100},
};

/* Value d of position i of a head depends on the seed and on (head, i, d) only, so that two layouts
 * of the cache can hold the same content. Unused places hold NaN: reading one shows. */
static void problem_init(problem *p, const layout *s, uint64_t seed, bool shuffled) {
    const uint32_t n_used = (s->len + s->block_len - 1) / s->block_len, n_blocks = n_used + 3;
    const size_t n = (size_t)n_blocks * s->n_kv_head * s->block_len * s->d_head;

    *p = (problem){.s = *s};
    p->q = random_floats((size_t)s->n_head * s->d_head, seed);
    p->k = malloc(n * sizeof *p->k);
    p->v = malloc(n * sizeof *p->v);
    p->table = malloc(n_used * sizeof *p->table);
    for (size_t i = 0; i < n; i++) p->k[i] = p->v[i] = 0x7e00;
    for (uint32_t b = 0; b < n_used; b++)
        p->table[b] = (int32_t)(shuffled ? n_blocks - 1 - b : b + 1);
    for (uint32_t i = 0; i < s->len; i++) {
        for (uint32_t h = 0; h < s->n_kv_head; h++) {
            uint64_t rng = seed + 1 + ((uint64_t)i * 64 + h) * 7919;
            const size_t block = (size_t)p->table[i / s->block_len] * s->n_kv_head + h;
            const size_t at = (block * s->block_len + i % s->block_len) * s->d_head;
            random_u32(&rng);
            for (uint32_t d = 0; d < s->d_head; d++) {
                const float v = random_f32(&rng);
                p->k[at + d] = mr_f32_to_f16(random_f32(&rng));
                p->v[at + d] = mr_f32_to_f16(v);
                p->v_max = fmaxf(p->v_max, fabsf(v));
            }
        }
    }
}

static void problem_deinit(problem *p) {
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->table);
}

static float *attend(const mr_ops *o, const problem *p, uint32_t h0, uint32_t h1, float scale) {
    const size_t n = (size_t)p->s.n_head * p->s.d_head;
    float *out = malloc(n * sizeof *out),
          *scratch = malloc(mr_attn_scratch(p->s.len) * sizeof *out);

    for (size_t i = 0; i < n; i++) out[i] = NAN;
    o->attn(&(mr_attn_args){.out = out,
                            .q = p->q,
                            .k = p->k,
                            .v = p->v,
                            .table = p->table,
                            .len = p->s.len,
                            .block_len = p->s.block_len,
                            .n_head = p->s.n_head,
                            .n_kv_head = p->s.n_kv_head,
                            .d_head = p->s.d_head,
                            .h0 = h0,
                            .h1 = h1,
                            .scale = scale,
                            .scratch = scratch});
    free(scratch);
    return out;
}

static float usual_scale(const layout *s) {
    return 1 / sqrtf((float)s->d_head);
}

TEST(attention_is_near_ref) {
    for (size_t k = 0; k < MR_COUNT(layouts); k++) {
        problem p;
        problem_init(&p, &layouts[k], k, false);
        float *want = attend(mr_ops_pick("ref"), &p, 0, p.s.n_head, usual_scale(&p.s));
        FOR_EACH_OPS(o) {
            float *got = attend(o, &p, 0, p.s.n_head, usual_scale(&p.s));
            for (size_t i = 0; i < (size_t)p.s.n_head * p.s.d_head; i++)
                CHECK_NEAR(got[i], want[i], MR_ATTN_TOL * p.v_max, o->name);
            free(got);
        }
        free(want);
        problem_deinit(&p);
    }
}

/* A large scale makes one position win and drives the weights of others below the least float. */
TEST(attention_survives_peaked_scores) {
    for (size_t k = 0; k < MR_COUNT(layouts); k++) {
        problem p;
        problem_init(&p, &layouts[k], 50 + k, true);
        float *want = attend(mr_ops_pick("ref"), &p, 0, p.s.n_head, 4);
        FOR_EACH_OPS(o) {
            float *got = attend(o, &p, 0, p.s.n_head, 4);
            for (size_t i = 0; i < (size_t)p.s.n_head * p.s.d_head; i++) /* scores reach 500 */
                CHECK_NEAR(got[i], want[i], 20 * MR_ATTN_TOL * p.v_max, o->name);
            free(got);
        }
        free(want);
        problem_deinit(&p);
    }
}

TEST(a_head_has_the_same_bits_in_any_range) {
    for (size_t k = 0; k < MR_COUNT(layouts); k++) {
        const layout *s = &layouts[k];
        const size_t head_bytes = s->d_head * sizeof(float);
        problem p;
        problem_init(&p, s, 100 + k, false);
        FOR_EACH_OPS(o) {
            float *all = attend(o, &p, 0, s->n_head, usual_scale(s));
            for (uint32_t h0 = 0; h0 < s->n_head; h0++) {
                for (uint32_t h1 = h0 + 1; h1 <= s->n_head && h1 <= h0 + 5; h1++) {
                    float *got = attend(o, &p, h0, h1, usual_scale(s));
                    assert_memory_equal(got + h0 * s->d_head, all + h0 * s->d_head,
                                        (h1 - h0) * head_bytes);
                    for (uint32_t h = 0; h < s->n_head; h++)
                        if (h < h0 || h >= h1) CHECK(isnan(got[h * s->d_head]));
                    free(got);
                }
            }
            free(all);
        }
        problem_deinit(&p);
    }
}

TEST(blocks_do_not_show) {
    static const uint32_t block_lens[] = {1, 16, 48, 4096};
    for (size_t k = 0; k < MR_COUNT(layouts); k++) {
        FOR_EACH_OPS(o) {
            problem p;
            problem_init(&p, &layouts[k], 150 + k, false);
            const size_t bytes = (size_t)p.s.n_head * p.s.d_head * sizeof(float);
            float *want = attend(o, &p, 0, p.s.n_head, usual_scale(&p.s));
            problem_deinit(&p);
            for (size_t b = 0; b < MR_COUNT(block_lens); b++) {
                layout s = layouts[k];
                s.block_len = block_lens[b];
                if ((uint64_t)s.block_len * s.d_head > 65536 * 4)
                    continue; /* keep the test small */
                problem_init(&p, &s, 150 + k, true);
                float *got = attend(o, &p, 0, s.n_head, usual_scale(&s));
                assert_memory_equal(got, want, bytes);
                free(got);
                problem_deinit(&p);
            }
            free(want);
        }
    }
}

TEST(avx2_and_avx512_agree_to_the_bit) {
    const mr_ops *a = mr_ops_pick("avx2"), *b = mr_ops_pick("avx512");
    if (!a || !b) skip();
    for (size_t k = 0; k < MR_COUNT(layouts); k++) {
        problem p;
        problem_init(&p, &layouts[k], 200 + k, false);
        float *ya = attend(a, &p, 0, p.s.n_head, usual_scale(&p.s));
        float *yb = attend(b, &p, 0, p.s.n_head, usual_scale(&p.s));
        assert_memory_equal(ya, yb, (size_t)p.s.n_head * p.s.d_head * sizeof *ya);
        free(ya);
        free(yb);
        problem_deinit(&p);
    }
}

MR_TEST_MAIN
