/* Goal: each sampling step does what its definition says, ties and seeds are decided the same way
 * everywhere, and bad numbers are refused by name.
 * Method: small rows of logits whose distribution is known; frequencies over many token indices
 * against it; the generator against the known answers of its paper's test vectors. */
#include <math.h>

#include "engine/sample.h"
#include "tests/test.h"

#define MAX_VOCAB   5000
#define MAX_HISTORY 64

static mr_sampler *sampler;
static const mr_ops *ops;
static float logits[MAX_VOCAB];

static const int32_t eog[] = {2, 5};

static void open_sampler(uint32_t n_vocab) {
    mr_err err;
    mr_sampler_close(sampler);
    if (!ops) ops = mr_ops_pick("auto");
    CHECK_OK(mr_sampler_open(&sampler, ops, n_vocab, eog, MR_COUNT(eog), MAX_HISTORY, &err), err);
}

static void set(size_t n, const float *values) {
    open_sampler((uint32_t)n);
    memcpy(logits, values, n * sizeof *values);
}
#define SET(...) set(sizeof((float[]){__VA_ARGS__}) / sizeof(float), (float[]){__VA_ARGS__})

static int32_t pick(const mr_sampling *p) {
    mr_engine_out out;
    mr_err err;
    CHECK_OK(mr_sampler_pick(sampler, p, logits, NULL, 0, 0, &out, &err), err);
    return out.token;
}

/* How often each of the first tokens comes in n draws: the index of the token is the seed here. */
static void count(mr_sampling p, int n, int *counts, size_t n_vocab) {
    memset(counts, 0, n_vocab * sizeof *counts);
    for (int i = 0; i < n; i++) {
        p.seed = (uint64_t)i;
        counts[pick(&p)]++;
    }
}

TEST(philox_gives_the_known_answers) {
    static const uint32_t cases[][10] = {
        /* counter, key, output: Random123's vectors */
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    uint32_t out[4];

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_philox(cases[i], cases[i] + 4, out);
        assert_memory_equal(out, cases[i] + 6, sizeof out);
    }
}

TEST(greedy_takes_the_lowest_id_of_a_tie) {
    SET(1, 3, 0, 3, 2, 0);
    CHECK_I64(pick(&(mr_sampling){0}), 1);
}

TEST(temperature_gives_the_softmax) {
    enum { N = 20000 };
    int counts[4];

    SET(0, logf(2), logf(3), logf(4), -INFINITY, -INFINITY);
    count((mr_sampling){.temperature = 1}, N, counts, 4);
    for (int i = 0; i < 4; i++) /* 5 standard deviations */
        CHECK(abs(counts[i] - N * (i + 1) / 10) < 5 * sqrt(N * 0.25));
    count((mr_sampling){.temperature = 0.5f}, N, counts, 4); /* weights are squared */
    for (int i = 0; i < 4; i++)
        CHECK(abs(counts[i] - N * (i + 1) * (i + 1) / 30) < 5 * sqrt(N * 0.25));
}

TEST(top_k_keeps_k_and_the_lowest_ids_of_a_tie) {
    int counts[8];

    SET(1, 2, 2, 1, 2, 0, 0, 0);
    count((mr_sampling){.temperature = 1, .top_k = 2}, 500, counts, 8);
    CHECK(counts[1] > 150 && counts[2] > 150);
    CHECK_I64(counts[1] + counts[2], 500);
}

TEST(top_p_keeps_the_fewest_that_reach_p) {
    int counts[6];

    SET(logf(1), logf(4), logf(2), logf(3), -INFINITY, -INFINITY); /* 10, 40, 20, 30 percent */
    count((mr_sampling){.temperature = 1, .top_p = 0.65f}, 500, counts, 6);
    CHECK(counts[1] > 200 && counts[3] > 150); /* 40 + 30 reach 65 */
    CHECK_I64(counts[1] + counts[3], 500);
    count((mr_sampling){.temperature = 1, .top_p = 0.75f}, 500, counts, 6);
    CHECK(counts[2] > 50);
    CHECK_I64(counts[0], 0);
    count((mr_sampling){.temperature = 1, .top_p = 1e-6f}, 50, counts, 6);
    CHECK_I64(counts[1], 50); /* one is always left */
}

TEST(top_p_counts_what_top_k_left) {
    int counts[6];

    SET(logf(1), logf(4), logf(2), logf(3), -INFINITY, -INFINITY);
    /* 40 of 70 is 57 percent: alone it reaches 0.5 after top_k, not before */
    count((mr_sampling){.temperature = 1, .top_k = 2, .top_p = 0.5f}, 200, counts, 6);
    CHECK_I64(counts[1], 200);
    count((mr_sampling){.temperature = 1, .top_p = 0.5f}, 200, counts, 6);
    CHECK(counts[3] > 30);
}

TEST(min_p_is_a_share_of_the_likeliest) {
    int counts[6];

    SET(logf(1), logf(4), logf(2), logf(3), -INFINITY, -INFINITY);
    count((mr_sampling){.temperature = 1, .min_p = 0.6f}, 500, counts, 6);
    CHECK(counts[3] > 100);
    CHECK_I64(counts[1] + counts[3], 500);
    count((mr_sampling){.temperature = 1, .min_p = 0.6f, .top_p = 0.9999f}, 500, counts, 6);
    CHECK(counts[3] > 100);
    CHECK_I64(counts[1] + counts[3], 500);
    count((mr_sampling){.temperature = 1, .min_p = 1}, 50, counts, 6);
    CHECK_I64(counts[1], 50);
}

/* Same draw through the heap and through the row: a filter that drops nothing changes nothing much,
 * and the nucleus of a large flat row is right although a first cut removed most candidates. */
TEST(top_p_of_a_large_row_is_the_sorted_prefix) {
    double sum = 0, at = 0;
    size_t n_kept = 0;
    static double weight[MAX_VOCAB];

    open_sampler(MAX_VOCAB);
    for (size_t i = 0; i < MAX_VOCAB; i++) { /* falling with i * 7919 mod n, a permutation */
        const size_t rank = i * 7919 % MAX_VOCAB;
        logits[i] = -(float)rank * 0.01f;
        weight[rank] = exp((double)logits[i]);
        sum += weight[rank];
    }
    while (at < 0.9 * sum) at += weight[n_kept++];
    size_t largest = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        const int32_t id = pick(&(mr_sampling){.temperature = 1, .top_p = 0.9f, .seed = seed});
        const size_t rank = (size_t)id * 7919 % MAX_VOCAB;
        if (rank > largest) largest = rank;
    }
    CHECK(largest < n_kept);
    CHECK(largest + 30 > n_kept); /* the tail of the nucleus is reached too */
}

static float random_logit(uint32_t *state, float spread) {
    float sum = 0;

    for (int i = 0; i < 6; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(int32_t)*state * 0x1p-31f;
    }
    return sum * spread;
}

static int falling(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Of a row of any shape: equal, flat, like a model's, one token far above all. */
TEST(top_p_is_right_for_rows_of_any_shape) {
    static const float spreads[] = {0, 0.1f, 2, 30}, ps[] = {0.05f, 0.5f, 0.9f, 0.999f};
    static float sorted[MAX_VOCAB];

    open_sampler(MAX_VOCAB);
    for (size_t k = 0; k < MR_COUNT(spreads) * MR_COUNT(ps); k++) {
        const float top_p = ps[k % MR_COUNT(ps)];
        uint32_t draws = (uint32_t)k;
        double sum = 0, at = 0;
        size_t n_kept = 0, n_last = 0;

        for (size_t i = 0; i < MAX_VOCAB; i++)
            sorted[i] = logits[i] = random_logit(&draws, spreads[k / MR_COUNT(ps)]);
        qsort(sorted, MAX_VOCAB, sizeof *sorted, falling);
        for (size_t i = 0; i < MAX_VOCAB; i++) sum += exp((double)sorted[i]);
        while (at < (double)top_p * sum) at += exp((double)sorted[n_kept++]);
        const float least = sorted[n_kept < MAX_VOCAB ? n_kept : n_kept - 1]; /* one for rounding */
        for (uint64_t seed = 0; seed < 2000; seed++) {
            const int32_t id = pick(&(mr_sampling){.temperature = 1, .top_p = top_p, .seed = seed});
            CHECK(logits[id] >= least);
            if (spreads[k / MR_COUNT(ps)] == 0) CHECK((size_t)id <= n_kept); /* a tie: low ids */
            n_last += logits[id] <= sorted[n_kept / 2];
        }
        if (spreads[k / MR_COUNT(ps)] < 1)
            CHECK(n_last > 500); /* the lower half is drawn as well */
    }
}

/* 5000 tokens are several runs of the op that sums up the row. */
TEST(every_part_of_a_large_row_is_drawn_from) {
    enum { N = 20000, PART = 500 };
    int parts[MAX_VOCAB / PART] = {0};

    open_sampler(MAX_VOCAB);
    for (size_t i = 0; i < MAX_VOCAB; i++) logits[i] = 3;
    for (int i = 0; i < N; i++)
        parts[pick(&(mr_sampling){.temperature = 1, .seed = (uint64_t)i}) / PART]++;
    for (size_t i = 0; i < MR_COUNT(parts); i++) /* 5 standard deviations */
        CHECK(abs(parts[i] - N * PART / MAX_VOCAB) < 5 * sqrt(N * 0.1));
}

TEST(all_variants_draw_the_same_tokens) {
    static const char *const isas[] = {"avx2", "avxvnni", "avx512", "amx"};
    static const mr_sampling ps[] = {{.temperature = 1},
                                     {.temperature = 0.7f, .top_p = 0.95f},
                                     {.temperature = 1.5f, .top_k = 50, .top_p = 0.9f},
                                     {.temperature = 1, .min_p = 0.01f, .logprobs = true}};
    static mr_engine_out want[MR_COUNT(ps)][200];
    const mr_ops *first = NULL, *usual = ops;
    uint32_t draws = 1;

    for (size_t i = 0; i < MAX_VOCAB; i++) logits[i] = random_logit(&draws, 2);
    for (size_t v = 0; v < MR_COUNT(isas); v++) {
        if (!(ops = mr_ops_pick(isas[v]))) continue;
        open_sampler(MAX_VOCAB);
        for (size_t k = 0; k < MR_COUNT(ps); k++)
            for (uint64_t seed = 0; seed < 200; seed++) {
                mr_sampling p = ps[k];
                mr_engine_out out;
                p.seed = seed;
                CHECK_I64(mr_sampler_pick(sampler, &p, logits, NULL, 0, 0, &out, NULL), MR_OK);
                if (!first) want[k][seed] = out;
                CHECK_I64(out.token, want[k][seed].token);
                CHECK(out.logprob == want[k][seed].logprob);
            }
        first = ops;
    }
    ops = usual;
}

TEST(penalties_and_bias_in_their_order) {
    const int32_t history[] = {0, 1, 1, 3}; /* prompt: 0; output: 1 1 3 */
    mr_engine_out out;
    mr_err err;

    SET(4, 4, 3.5f, -1, 3, 0);
    const mr_sampling rep = {.repetition_penalty = 2}; /* 2, 2, 3.5, -2, 3, 0 */
    CHECK_OK(mr_sampler_pick(sampler, &rep, logits, history, 4, 1, &out, &err), err);
    CHECK_I64(out.token, 2);
    const mr_sampling freq = {.frequency_penalty = 0.3f}; /* 4, 3.4, 3.5, -1.3, 3, 0 */
    CHECK_OK(mr_sampler_pick(sampler, &freq, logits, history, 4, 1, &out, &err), err);
    CHECK_I64(out.token, 0); /* the prompt does not count */
    const mr_sampling all = {.frequency_penalty =
                                 0.3f, /* all in the output: 3.1, 2.8, 3.5, -1.9, 3, 0 */
                             .presence_penalty = 0.6f,
                             .bias = (mr_logit_bias[]){{4, 0.6f}, {4, 0.1f}}, /* 3.7: both count */
                             .n_bias = 2};
    CHECK_OK(mr_sampler_pick(sampler, &all, logits, history, 4, 0, &out, &err), err);
    CHECK_I64(out.token, 4);
    CHECK(logits[0] == 4 && logits[1] == 4 && logits[4] == 3); /* the row is as before */
}

TEST(banned_tokens_stay_banned) {
    int counts[6];

    SET(0, 0, 9, 0, 0, 9);
    count(
        (mr_sampling){
            .temperature = 1, .ban_eog = true, .bias = (mr_logit_bias[]){{2, 50}}, .n_bias = 1},
        400, counts, 6);
    CHECK_I64(counts[2] + counts[5], 0);
    CHECK(counts[0] > 0 && counts[1] > 0 && counts[3] > 0 && counts[4] > 0);
    CHECK(logits[2] == 9 && logits[5] == 9);
}

TEST(a_draw_depends_on_seed_and_index_only) {
    const mr_sampling p = {.temperature = 1, .seed = 77};
    const int32_t a[] = {0, 1, 2, 3}, b[] = {5, 5, 5, 5, 5, 5};
    mr_engine_out x, y;
    int n_equal = 0;

    open_sampler(1000);
    memset(logits, 0, sizeof logits);
    CHECK_I64(mr_sampler_pick(sampler, &p, logits, a, 4, 1, &x, NULL), MR_OK); /* index 3 each */
    CHECK_I64(mr_sampler_pick(sampler, &p, logits, b, 6, 3, &y, NULL), MR_OK);
    CHECK_I64(x.token, y.token);
    for (uint32_t n = 0; n < 6; n++) {
        CHECK_I64(mr_sampler_pick(sampler, &p, logits, b, n, 0, &y, NULL), MR_OK);
        n_equal += y.token == x.token;
    }
    CHECK_I64(n_equal, 1); /* other indices, other numbers: 1 in 1000 would repeat */
}

TEST(log_probabilities_are_of_the_raw_row) {
    mr_engine_out out;
    const mr_sampling p = {.temperature = 3,
                           .top_k = 1,
                           .logprobs = true,
                           .n_top_logprobs = 3,
                           .bias = (mr_logit_bias[]){{0, 100}},
                           .n_bias = 1};

    SET(logf(1), logf(4), logf(2), logf(2), logf(1), -INFINITY);
    CHECK_I64(mr_sampler_pick(sampler, &p, logits, NULL, 0, 0, &out, NULL), MR_OK);
    CHECK_I64(out.token, 0); /* by the bias */
    CHECK(fabsf(out.logprob - logf(0.1f)) < 1e-6f);
    CHECK_I64(out.n_top, 3);
    CHECK_I64(out.top[0].token, 1);
    CHECK_I64(out.top[1].token, 2); /* of a tie the lowest id first */
    CHECK_I64(out.top[2].token, 3);
    CHECK(fabsf(out.top[0].logprob - logf(0.4f)) < 1e-6f);
    CHECK(fabsf(out.top[2].logprob - logf(0.2f)) < 1e-6f);
}

TEST(bad_logits_are_an_error_and_leave_no_trace) {
    static const float bad[] = {NAN, INFINITY};
    mr_engine_out out;
    mr_err err;

    for (size_t i = 0; i < MR_COUNT(bad); i++)
        for (int t = 0; t < 2; t++) {
            SET(1, 2, 3, 4, 5, 6);
            logits[3] = bad[i];
            const mr_sampling p = {.temperature = (float)t, .logprobs = true};
            CHECK_I64(mr_sampler_pick(sampler, &p, logits, NULL, 0, 0, &out, &err), MR_EINTERNAL);
            CHECK_ERR(err, "not finite");
            logits[3] = 4;
            CHECK_I64(mr_sampler_pick(sampler, &p, logits, NULL, 0, 0, &out, &err), MR_OK);
        }
    SET(-INFINITY, -INFINITY, 0, -INFINITY, -INFINITY, 0);
    CHECK_I64(
        mr_sampler_pick(sampler, &(mr_sampling){.ban_eog = true}, logits, NULL, 0, 0, &out, &err),
        MR_EINTERNAL);
    CHECK_ERR(err, "no token");
    CHECK(logits[2] == 0); /* undone also here */
}

TEST(each_parameter_is_checked_by_name) {
    const mr_logit_bias high = {100, 1}, low = {-1, 1}, nan = {1, NAN};
    const struct {
        mr_sampling p;
        const char *says;
    } cases[] = {
        {{.temperature = -1}, "temperature: -1 is not in 0..100"},
        {{.temperature = NAN}, "temperature"},
        {{.temperature = INFINITY}, "temperature"},
        {{.top_p = -0.5f}, "top_p: -0.5"},
        {{.min_p = 1.5f}, "min_p: 1.5 is not in 0..1"},
        {{.top_k = -3}, "top_k: -3"},
        {{.repetition_penalty = -1}, "repetition_penalty"},
        {{.repetition_penalty = 1e-20f}, "repetition_penalty"},
        {{.frequency_penalty = 1e9f}, "frequency_penalty"},
        {{.presence_penalty = NAN}, "presence_penalty"},
        {{.n_top_logprobs = 21}, "top_logprobs: 21 is not in 0..20"},
        {{.n_bias = 301}, "logit_bias: 301 entries, at most 300"},
        {{.n_bias = 1, .bias = &high}, "logit_bias: token 100 is not in 0..99"},
        {{.n_bias = 1, .bias = &low}, "logit_bias: token -1"},
        {{.n_bias = 1, .bias = &nan}, "for token 1"},
    };
    mr_err err;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_I64(mr_sampling_check(&cases[i].p, 100, &err), MR_EINVAL);
        CHECK_ERR(err, cases[i].says);
    }
    CHECK_I64(mr_sampling_check(
                  &(mr_sampling){.temperature = 2, .top_p = 1, .repetition_penalty = 1}, 100, NULL),
              MR_OK);
    mr_sampler_close(sampler);
    sampler = NULL;
}

MR_TEST_MAIN
