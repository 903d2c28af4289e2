/* Goal: a device draws the tokens that sample.c draws, and reports the same log probabilities, to
 * the bit: for rows of any shape, any parameters, and whatever changes the row; and it leaves the
 * row as it was.
 *
 * Method: thousands of random rows and parameters through mr_sampler_pick and through the kernel's
 * body as plain C (cuda_twin.h); where this machine has a GPU, through that too. Ties, equal rows,
 * banned ones, NaN and infinity are mixed in; vocabularies from one token to 151,936. The table of
 * ops is not ref: that one has better sums (sample.h). */
#include "tests/cuda_devices.h"

#include "engine/cuda/draws.h"
#include "engine/sample.h"
#include "tests/ops/ops_test.h"

enum { MAX_HISTORY = 300, MAX_EDITS = 2000, N_EOG = 3 };

typedef struct row { /* of logits, with what is asked for */
    float *z;
    mr_sampling p;
    mr_logit_bias bias[6];
    int32_t history[MAX_HISTORY];
    uint32_t n_history, n_prompt;
} row;

typedef struct bench { /* a vocabulary, here and on a device */
    mr_device *d;
    uint32_t n_vocab;
    int32_t eog[N_EOG];
    mr_sampler *sampler;
    mr_draws_list list;
    mr_draw draw;
    mr_edit edits[MAX_EDITS];
    void *draw_dev, *edits_dev, *logits_dev, *latest_dev, *out_dev;
} bench;

static twin twins = {
    .base = {.calls = &twin_calls, .name = "twin", .n_units = 4, .capability = 90, .code = 90},
    .free_bytes = 1u << 30};

static mr_device *device_at(size_t i) {
    return i == 0 ? &twins.base : the_gpu();
}

static void open_bench(bench *b, mr_device *d, uint32_t n_vocab) {
    const mr_ops *ops = mr_ops_pick("auto");
    const mr_device_calls *c = d->calls;
    mr_err err;

    *b = (bench){.d = d, .n_vocab = n_vocab};
    for (uint32_t i = 0; i < N_EOG; i++) b->eog[i] = (int32_t)(i * 7 % n_vocab);
    const size_t n_eog = n_vocab > 14 ? N_EOG : 1;
    CHECK_OK(mr_sampler_open(&b->sampler, ops, n_vocab, b->eog, n_eog, MAX_HISTORY, &err), err);
    CHECK_OK(mr_draws_init(&b->list, n_vocab, b->eog, n_eog, &err), err);
    CHECK_OK(c->reserve(d, &b->draw_dev, sizeof b->draw, "a test", &err), err);
    CHECK_OK(c->reserve(d, &b->edits_dev, sizeof b->edits, "a test", &err), err);
    CHECK_OK(c->reserve(d, &b->logits_dev, n_vocab * sizeof(float), "a test", &err), err);
    CHECK_OK(c->reserve(d, &b->latest_dev, 8 * sizeof(int32_t), "a test", &err), err);
    CHECK_OK(c->reserve(d, &b->out_dev, sizeof(mr_drawn), "a test", &err), err);
}

static void close_bench(bench *b) {
    void *const all[] = {b->draw_dev, b->edits_dev, b->logits_dev, b->latest_dev, b->out_dev};

    for (size_t i = 0; i < MR_COUNT(all); i++) b->d->calls->release(b->d, all[i]);
    mr_draws_deinit(&b->list);
    mr_sampler_close(b->sampler);
}

/* behind: the device alone knows the last token. */
static void draw_there(bench *b, const row *r, bool behind, mr_engine_out *out) {
    const mr_device_calls *c = b->d->calls;
    const mr_ask ask = {&r->p, r->history, r->n_history, r->n_prompt, 5, behind};
    const mr_draws a = {.draws = b->draw_dev,
                        .edits = b->edits_dev,
                        .logits = b->logits_dev,
                        .latest = b->latest_dev,
                        .out = b->out_dev,
                        .n_vocab = b->n_vocab,
                        .n = 1};
    int32_t latest[8] = {0};
    mr_drawn drawn;
    mr_err err;

    mr_draws_start(&b->list, &b->draw, b->edits, 0, MAX_EDITS);
    CHECK(mr_draws_add(&b->list, &ask));
    if (behind) latest[5] = r->history[r->n_history - 1];
    c->copy_in(b->d, b->draw_dev, &b->draw, sizeof b->draw);
    c->copy_in(b->d, b->edits_dev, b->edits, b->list.n_edits * sizeof b->edits[0]);
    c->copy_in(b->d, b->logits_dev, r->z, b->n_vocab * sizeof(float));
    c->copy_in(b->d, b->latest_dev, latest, sizeof latest);
    c->draw(b->d, &a);
    float *after = malloc(b->n_vocab * sizeof *after);
    c->copy_out(b->d, after, b->logits_dev, b->n_vocab * sizeof *after);
    c->copy_out(b->d, latest, b->latest_dev, sizeof latest);
    c->copy_out(b->d, &drawn, b->out_dev, sizeof drawn);
    CHECK_OK(c->wait(b->d, &err), err);
    assert_memory_equal(after, r->z, b->n_vocab * sizeof *after);
    free(after);
    if (drawn.token >= 0) CHECK_I64(latest[5], drawn.token);
    mr_drawn_read(&drawn, out);
}

static void check_row(bench *b, row *r, bool behind, const char *what) {
    mr_engine_out want, got;
    const mr_status st = mr_sampler_pick(b->sampler, &r->p, r->z, r->history, r->n_history,
                                         r->n_prompt, &want, NULL);

    draw_there(b, r, behind, &got);
    if (st != MR_OK) want.token = MR_ENGINE_SPOILED;
    if (got.token != want.token)
        fail_msg("%s: vocabulary %u, t %g, k %d, p %g, min_p %g, seed %llu: %d, not %d", what,
                 b->n_vocab, (double)r->p.temperature, r->p.top_k, (double)r->p.top_p,
                 (double)r->p.min_p, (unsigned long long)r->p.seed, got.token, want.token);
    assert_memory_equal(&got.logprob, &want.logprob, sizeof want.logprob);
    CHECK_I64(got.n_top, want.n_top);
    assert_memory_equal(got.top, want.top, (size_t)want.n_top * sizeof want.top[0]);
}

/* ---- random rows ---- */

static uint32_t below(uint64_t *seed, uint32_t n) {
    return random_u32(seed) % n;
}

/* Like a model's, flat, equal, of few values (ties), far apart, or with -inf and -0 in it. */
static void fill(float *z, uint32_t n, uint64_t *seed) {
    const uint32_t kind = below(seed, 7);
    const float spread = kind == 1 ? 0.01f : kind == 4 ? 60 : 4;

    for (uint32_t i = 0; i < n; i++) {
        const float v = (random_f32(seed) + random_f32(seed) + random_f32(seed)) * spread;
        z[i] = kind == 2 ? 1.5f : kind == 3 ? rintf(v) : v;
        if (kind == 5 && below(seed, 3) == 0) z[i] = -INFINITY;
        if (kind == 6) z[i] = below(seed, 2) ? 0.0f : -0.0f;
    }
    if (kind == 5) z[below(seed, n)] = -1;
}

static void choose_sampling(row *r, uint32_t n, uint64_t *seed) {
    static const float ps[] = {0.05f, 0.5f, 0.9f, 0.95f, 0.999f, 0.9999999f, 1, 1e-6f};
    const uint32_t ks[] = {1, 2, 20, 50, 1000, 1025, 3000, n - 1, n};
    mr_sampling *p = &r->p;

    *p = (mr_sampling){.seed = (uint64_t)random_u32(seed) << 32 | random_u32(seed)};
    p->temperature = below(seed, 8) == 0 ? 0 : 0.1f + (float)below(seed, 30) * 0.1f;
    if (below(seed, 2)) p->top_k = (int32_t)ks[below(seed, MR_COUNT(ks))];
    if (below(seed, 2)) p->top_p = ps[below(seed, MR_COUNT(ps))];
    if (below(seed, 4) == 0) p->min_p = (float)below(seed, 11) * 0.1f;
    if (below(seed, 3) == 0) p->logprobs = true;
    if (below(seed, 4) == 0) p->n_top_logprobs = (int)below(seed, MR_MAX_TOP_LOGPROBS + 1);
}

/* Tokens that repeat, and changes that hit the same ones. */
static void choose_changes(row *r, uint32_t n, uint64_t *seed) {
    mr_sampling *p = &r->p;
    const uint32_t ids = n < 40 ? n : 40;

    r->n_history = 1 + below(seed, MAX_HISTORY - 1);
    r->n_prompt = below(seed, r->n_history);
    for (uint32_t i = 0; i < r->n_history; i++) r->history[i] = (int32_t)below(seed, ids);
    if (below(seed, 2)) p->repetition_penalty = 0.5f + (float)below(seed, 4) * 0.5f;
    if (below(seed, 2)) p->frequency_penalty = (float)below(seed, 5) * 0.3f - 0.6f;
    if (below(seed, 2)) p->presence_penalty = (float)below(seed, 5) * 0.3f - 0.6f;
    p->bias = r->bias;
    p->n_bias = below(seed, MR_COUNT(r->bias) + 1);
    for (size_t i = 0; i < p->n_bias; i++)
        r->bias[i] = (mr_logit_bias){(int32_t)below(seed, ids), random_f32(seed) * 5};
    p->ban_eog = below(seed, 2);
}

static void check_vocabulary(mr_device *d, uint32_t n_vocab, uint32_t n_rows) {
    uint64_t seed = n_vocab;
    row r = {.z = malloc(n_vocab * sizeof(float))};
    bench b;

    open_bench(&b, d, n_vocab);
    for (uint32_t i = 0; i < n_rows; i++) {
        fill(r.z, n_vocab, &seed);
        choose_sampling(&r, n_vocab, &seed);
        r.n_history = r.n_prompt = 0;
        if (i % 3 == 0) choose_changes(&r, n_vocab, &seed);
        check_row(&b, &r, i % 6 == 0 && r.n_prompt < r.n_history, "random");
    }
    close_bench(&b);
    free(r.z);
}

TEST(random_rows_and_parameters) {
    static const uint32_t cases[][2] = {{1, 50},     {2, 100},    {31, 400},    {1000, 700},
                                        {1024, 200}, {5003, 500}, {32000, 100}, {151936, 40}};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < MR_COUNT(cases) && device_at(k); i++)
            check_vocabulary(device_at(k), cases[i][0], cases[i][1]);
}

/* ---- rows that are no good ---- */

static void check_bad(bench *b, row *r, uint32_t at, float value) {
    const float good = r->z[at];

    r->z[at] = value;
    for (int t = 0; t < 2; t++) {
        r->p = (mr_sampling){.temperature = (float)t, .logprobs = true};
        check_row(b, r, false, "bad");
    }
    r->z[at] = good;
}

TEST(what_is_not_finite_or_not_allowed_is_said) {
    enum { N = 3000 };
    static const float bad[] = {NAN, -NAN, INFINITY};

    for (size_t k = 0; k < 2 && device_at(k); k++) {
        row r = {.z = random_floats(N, 7)};
        bench b;
        open_bench(&b, device_at(k), N);
        for (size_t i = 0; i < MR_COUNT(bad); i++)
            for (uint32_t at = 0; at < N; at += 1499) check_bad(&b, &r, at, bad[i]);
        for (uint32_t i = 0; i < N; i++) r.z[i] = -INFINITY;
        check_bad(&b, &r, 5, -INFINITY);
        r.z[b.eog[1]] = 2;
        r.p = (mr_sampling){.ban_eog = true};
        check_row(&b, &r, false, "all banned");
        r.p = (mr_sampling){0};
        check_row(&b, &r, false, "one left");
        close_bench(&b);
        free(r.z);
    }
}

/* ---- the list of changes ---- */

TEST(changes_that_find_no_room_are_not_begun) {
    const mr_sampling p = {.repetition_penalty = 2};
    int32_t history[20];
    mr_draw draws[2];
    mr_edit edits[16];
    mr_draws_list l;
    mr_err err;

    for (int32_t i = 0; i < 20; i++) history[i] = i % 5;
    CHECK_OK(mr_draws_init(&l, 100, NULL, 0, &err), err);
    mr_draws_start(&l, draws, edits, 0, MR_COUNT(edits));
    CHECK(mr_draws_add(&l, &(mr_ask){&p, history, 10, 4, 0, false}));
    CHECK_I64(l.n_edits, 5);     /* five tokens */
    CHECK_I64(edits[0].seen, 1); /* position 5 */
    CHECK_I64(edits[4].seen, 2); /* positions 4 and 9 */
    CHECK(!mr_draws_add(&l, &(mr_ask){&p, history, 20, 4, 1, false}));
    CHECK_I64(l.n, 1);
    mr_draws_deinit(&l);
}

MR_TEST_MAIN
