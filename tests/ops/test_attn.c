/* Goal: attention of every variant is within MR_ATTN_TOL of a plain f64 softmax, and the bits of a
 * (row, head) do not depend on its company, on how spans are put together, on where the cache's
 * blocks lie, nor on the instruction set.
 *
 * Method: head sizes, group ratios and positions around the edges of tiles, blocks and spans; rows
 * together against each alone; all spans at once against one by one and joined; the same keys laid
 * out in other blocks; all with a cache of f16 and with one of bytes. Places that nobody may use
 * hold NaN. */
#include "tests/ops/ops_test.h"

typedef struct layout {
    uint32_t n_head, n_kv_head, d_head, pos, n_rows;
} layout;

typedef struct problem {
    layout s;
    uint32_t group, n_spans;
    mr_kv_type type;
    size_t block_bytes;
    float *q;
    uint8_t *kv;
    int32_t *table;
    float v_max;
} problem;

enum { MAX_D = 256 };

static const layout layouts[] = {
    {1, 1, 16, 0, 1},    {4, 4, 64, 16, 1},    {8, 2, 64, 63, 1},   {6, 2, 80, 64, 3},
    {5, 1, 96, 128, 2},  {7, 1, 128, 62, 1},   {8, 1, 128, 299, 5}, {4, 2, 256, 32, 2},
    {3, 3, 20, 4, 12},   {14, 2, 64, 199, 16}, {2, 1, 7, 69, 1},    {9, 3, 128, 1, 4},
    {8, 4, 64, 1026, 1}, {2, 1, 33, 128, 16},  {4, 4, 64, 0, 16},   {32, 4, 64, 240, 16},
    {12, 4, 32, 255, 1}, {12, 4, 32, 256, 1},  {16, 1, 48, 511, 1}, {5, 5, 24, 752, 16},
};

/* Keys and values of position i of a head depend on the seed and on (head, i) only, so that two
 * layouts of the cache can hold the same content. */
static void fill_position(problem *p, uint64_t seed, uint32_t i, uint32_t h) {
    uint64_t rng = seed + 1 + ((uint64_t)i * 64 + h) * 7919;
    float k[MAX_D], v[MAX_D];
    mr_f16 scratch[MAX_D];
    uint8_t *block = p->kv + (size_t)p->table[i / MR_KV_BLOCK_LEN] * p->block_bytes +
                     2 * h * mr_kv_half(p->type, p->s.d_head);

    random_u32(&rng);
    for (uint32_t d = 0; d < p->s.d_head; d++) {
        v[d] = random_f32(&rng);
        k[d] = random_f32(&rng);
        p->v_max = fmaxf(p->v_max, fabsf(v[d]));
    }
    mr_kv_write(block, p->type, mr_ops_pick("ref"), i % MR_KV_BLOCK_LEN, k, v, p->s.d_head,
                scratch);
}

static void problem_init(problem *p, const layout *s, mr_kv_type type, uint64_t seed,
                         bool shuffled) {
    const uint32_t len = s->pos + s->n_rows;
    const uint32_t n_used = (len + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN, n_blocks = n_used + 3;

    *p = (problem){.s = *s, .group = s->n_head / s->n_kv_head, .type = type};
    p->block_bytes = 2 * s->n_kv_head * mr_kv_half(type, s->d_head);
    p->n_spans = (len - 1) / MR_ATTN_SPAN + 1;
    p->q = random_floats((size_t)s->n_rows * s->n_head * s->d_head, seed);
    p->kv = malloc(n_blocks * p->block_bytes);
    p->table = malloc(n_used * sizeof *p->table);
    memset(p->kv, 0x7e, n_blocks * p->block_bytes); /* an f16, or a scale, of 0x7e7e is NaN */
    for (uint32_t b = 0; b < n_used; b++)
        p->table[b] = (int32_t)(shuffled ? n_blocks - 1 - b : b + 1);
    for (uint32_t i = 0; i < len; i++)
        for (uint32_t h = 0; h < s->n_kv_head; h++) fill_position(p, seed, i, h);
}

static void problem_deinit(problem *p) {
    free(p->q);
    free(p->kv);
    free(p->table);
}

static size_t out_bytes(const problem *p) {
    return (size_t)p->s.n_rows * p->s.n_head * p->s.d_head * sizeof(float);
}

/* Problem k: each layout with each type of cache. */
#define N_PROBLEMS (2 * MR_COUNT(layouts))

static void problem_of(problem *p, size_t k, uint64_t seed, bool shuffled) {
    problem_init(p, &layouts[k / 2], k % 2 ? MR_KV_Q8_0 : MR_KV_F16, seed, shuffled);
}

typedef enum manner { TOGETHER, APART, IN_STEPS } manner;

/* Rows r0 .. r0 + n_rows: all spans into one record, each by itself, or each into its own record.
 */
static void attend_rows(const mr_ops *o, const problem *p, float *out, uint32_t r0, uint32_t n_rows,
                        manner how, float scale) {
    const layout *s = &p->s;
    const size_t record = MR_ATTN_RECORD(s->d_head), row_values = (size_t)s->n_head * s->d_head;
    const uint32_t n_queries = n_rows * p->group;
    const uint32_t n_spans = (s->pos + r0 + n_rows - 1) / MR_ATTN_SPAN + 1;
    const size_t part_bytes = n_queries * record * sizeof(float);
    float *parts = malloc(n_spans * part_bytes);
    float *scratch = malloc(mr_attn_scratch(n_rows, p->group, s->d_head) * sizeof *scratch);
    mr_attn_args a = {.q = p->q + r0 * row_values,
                      .block_bytes = p->block_bytes,
                      .kv_type = p->type,
                      .table = p->table,
                      .pos = s->pos + r0,
                      .n_rows = n_rows,
                      .n_head = s->n_head,
                      .n_kv_head = s->n_kv_head,
                      .d_head = s->d_head,
                      .scale = scale,
                      .scratch = scratch};

    for (a.kv_head = 0; a.kv_head < s->n_kv_head; a.kv_head++) {
        const uint32_t n_parts = how == TOGETHER ? 1 : n_spans;
        const uint32_t n_calls = how == APART ? n_spans : 1;
        a.kv = p->kv + 2 * a.kv_head * mr_kv_half(p->type, s->d_head);
        for (uint32_t i = n_calls; i-- > 0;) { /* whoever comes last */
            a.span0 = i;
            a.span1 = how == APART ? i + 1 : n_spans;
            a.step = how == IN_STEPS ? n_queries * record : 0;
            a.part = parts + i * n_queries * record;
            o->attn(&a);
        }
        for (uint32_t i = 0; i < n_queries; i++) {
            const size_t head =
                (r0 + i / p->group) * (size_t)s->n_head + a.kv_head * p->group + i % p->group;
            o->attn_join(out + head * s->d_head, parts + i * record, n_parts, n_queries * record,
                         s->d_head);
        }
    }
    free(parts);
    free(scratch);
}

static float *attend(const mr_ops *o, const problem *p, float scale) {
    float *out = malloc(out_bytes(p));

    attend_rows(o, p, out, 0, p->s.n_rows, TOGETHER, scale);
    return out;
}

static float usual_scale(const layout *s) {
    return 1 / sqrtf((float)s->d_head);
}

/* ---- against f64 ---- */

/* Value d of position i as the cache has it. */
static double cached(const problem *p, uint32_t kv_head, uint32_t i, uint32_t d, bool key) {
    const size_t d_head = p->s.d_head, half = mr_kv_half(p->type, d_head);
    const uint8_t *at = p->kv + (size_t)p->table[i / MR_KV_BLOCK_LEN] * p->block_bytes +
                        (2 * kv_head + (key ? 0 : 1)) * half;
    const size_t in = i % MR_KV_BLOCK_LEN;
    const size_t n = key ? (in / 16 * d_head + d) * 16 + in % 16 : in * d_head + d;
    const mr_f16 *scales = (const mr_f16 *)(at + mr_kv_scales_at(d_head));

    if (p->type == MR_KV_F16) return mr_f16_to_f32(((const mr_f16 *)at)[n]);
    return ((const int8_t *)at)[n] *
           (double)mr_f16_to_f32(scales[d / MR_KV_GROUP * MR_KV_BLOCK_LEN + in]);
}

static void plain_head(const problem *p, uint32_t row, uint32_t head, float scale, double *out) {
    const uint32_t d_head = p->s.d_head, len = p->s.pos + row + 1, kv_head = head / p->group;
    const float *q = p->q + ((size_t)row * p->s.n_head + head) * d_head;
    double *score = malloc(len * sizeof *score), max = -INFINITY, total = 0;

    for (uint32_t i = 0; i < len; i++) {
        score[i] = 0;
        for (uint32_t d = 0; d < d_head; d++) score[i] += q[d] * cached(p, kv_head, i, d, true);
        score[i] *= scale;
        max = fmax(max, score[i]);
    }
    for (uint32_t i = 0; i < len; i++) total += exp(score[i] - max);
    for (uint32_t d = 0; d < d_head; d++) out[d] = 0;
    for (uint32_t i = 0; i < len; i++)
        for (uint32_t d = 0; d < d_head; d++)
            out[d] += exp(score[i] - max) / total * cached(p, kv_head, i, d, false);
    free(score);
}

static void check_near(const problem *p, float scale, double tol) {
    double *want = malloc(p->s.d_head * sizeof *want);

    FOR_EACH_OPS(o) {
        float *got = attend(o, p, scale);
        for (uint32_t r = 0; r < p->s.n_rows; r++)
            for (uint32_t h = 0; h < p->s.n_head; h++) {
                const float *at = got + ((size_t)r * p->s.n_head + h) * p->s.d_head;
                plain_head(p, r, h, scale, want);
                for (uint32_t d = 0; d < p->s.d_head; d++)
                    CHECK_NEAR(at[d], want[d], tol * p->v_max, o->name);
            }
        free(got);
    }
    free(want);
}

TEST(attention_is_near_a_plain_softmax) {
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        problem p;
        problem_of(&p, k, k, false);
        check_near(&p, usual_scale(&p.s), MR_ATTN_TOL);
        problem_deinit(&p);
    }
}

/* A large scale makes one position win and drives the weights of others below the least float. */
TEST(attention_survives_peaked_scores) {
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        problem p;
        problem_of(&p, k, 50 + k, false);
        check_near(&p, 4, 20 * MR_ATTN_TOL); /* scores reach 500 */
        problem_deinit(&p);
    }
}

/* ---- the same bits ---- */

TEST(a_row_has_the_same_bits_alone_and_in_a_block) {
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        problem p;
        problem_of(&p, k, 100 + k, false);
        FOR_EACH_OPS(o) {
            float *all = attend(o, &p, usual_scale(&p.s)), *got = malloc(out_bytes(&p));
            for (uint32_t step = 1; step < p.s.n_rows; step += 2) {
                for (uint32_t r = 0; r < p.s.n_rows; r += step) {
                    const uint32_t left = p.s.n_rows - r;
                    attend_rows(o, &p, got, r, left < step ? left : step, TOGETHER,
                                usual_scale(&p.s));
                }
                assert_memory_equal(got, all, out_bytes(&p));
            }
            free(got);
            free(all);
        }
        problem_deinit(&p);
    }
}

TEST(spans_joined_have_the_same_bits_as_all_at_once) {
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        problem p;
        problem_of(&p, k, 150 + k, false);
        FOR_EACH_OPS(o) {
            float *all = attend(o, &p, usual_scale(&p.s)), *got = malloc(out_bytes(&p));
            for (manner how = APART; how <= IN_STEPS; how++) {
                memset(got, 0xff, out_bytes(&p));
                attend_rows(o, &p, got, 0, p.s.n_rows, how, usual_scale(&p.s));
                assert_memory_equal(got, all, out_bytes(&p));
            }
            free(got);
            free(all);
        }
        problem_deinit(&p);
    }
}

TEST(it_does_not_show_where_blocks_lie) {
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        FOR_EACH_OPS(o) {
            problem p, other;
            problem_of(&p, k, 200 + k, false);
            problem_of(&other, k, 200 + k, true);
            float *want = attend(o, &p, usual_scale(&p.s));
            float *got = attend(o, &other, usual_scale(&p.s));
            assert_memory_equal(got, want, out_bytes(&p));
            free(got);
            free(want);
            problem_deinit(&other);
            problem_deinit(&p);
        }
    }
}

TEST(avx2_and_avx512_agree_to_the_bit) {
    const mr_ops *a = mr_ops_pick("avx2"), *b = mr_ops_pick("avx512");
    if (!a || !b) skip();
    for (size_t k = 0; k < N_PROBLEMS; k++) {
        problem p;
        problem_of(&p, k, 250 + k, false);
        float *ya = attend(a, &p, usual_scale(&p.s));
        float *yb = attend(b, &p, usual_scale(&p.s));
        assert_memory_equal(ya, yb, out_bytes(&p));
        free(ya);
        free(yb);
        problem_deinit(&p);
    }
}

MR_TEST_MAIN
