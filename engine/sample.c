/* sample.c - penalties, filters and the draw.
 *
 * Order, that of the engines people compare with:
 *   1. repetition penalty (prompt and output), frequency and presence penalty (output)
 *   2. logit bias; then ban_eog, which nothing can lift
 *   3. temperature (below MIN_TEMPERATURE: greedy, and the rest is skipped)
 *   4. top_k, then top_p over what top_k left, then min_p
 *   5. one draw by inverse distribution function
 * Log probabilities come from the raw logits, before 1.
 *
 * Steps 1 and 2 touch few tokens, so they are made in the caller's row and undone after: no copy of
 * a vocabulary of 150,000. Nothing sorts the vocabulary. top_k is a heap of k. top_p first drops
 * what cannot be in it (tokens below (1 - p) / n_vocab add up to less than 1 - p), then finds by
 * levels of probability where p is reached, and only the tokens of that level come in order, from a
 * heap. What is left is drawn from best first, by the same search for where a sum is reached;
 * without a filter tokens come in order of id.
 *
 * Passes over the whole row, the largest and the sum of all weights, are ops (ops.h); weights of
 * single tokens are whole numbers of units (sample_math.h), which a device adds up to the same sums
 * (cuda/draw.h). The two agree to 1e-6, which a draw from a sum of one by weights of the other
 * takes into account by having an end.
 *
 * Randomness is a pure function of (seed, index of the token): a sequence that another worker goes
 * on with draws the same numbers.
 *
 * Sources: Keskar 2019 (repetition penalty), Holtzman 2019 (top_p), Nguyen 2024 (min_p), Salmon
 * 2011 (Philox). Limits: history as given at open, MR_MAX_LOGIT_BIAS, MR_MAX_TOP_LOGPROBS. */
#include "engine/sample.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/sample_math.h"

#define MIN_TEMPERATURE 1e-5f /* logits over less than this leave one token in f32 anyway */
#define MAX_TEMPERATURE 100.0f
#define MAX_PENALTY     100.0f
#define MIN_REPETITION  0.01f /* dividing by less could pass the range of f32 */
#define N_LEVELS        512
#define LEVELS_PER_UNIT 16 /* of logit / temperature: the last level begins at e^-32 */
#define MAX_BIAS        10000.0f

typedef struct edit { /* a logit before it was changed */
    int32_t id;
    float old;
} edit;

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct mr_sampler {
    const mr_ops *ops;
    uint32_t n_vocab, max_history, max_edits, n_edits;
    const int32_t *eog;
    size_t n_eog;
    edit *edits;     /* [max_edits] */
    uint32_t *count; /* [n_vocab], all 0 between picks; pages of unused tokens stay untouched */
    candidate *cand; /* [n_vocab] */
    size_t count_bytes, cand_bytes;
    float *runs; /* [n_vocab / MR_EXP_RUN, rounded up] */
    uint64_t level[N_LEVELS];
};

/* ---- generator ---- */

void mr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio and sqrt(3) - 1, the paper's Weyl constants */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Uniform in 0 .. 2^53 - 1. */
static uint64_t uniform(uint64_t seed, uint64_t index) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), 0, 0};
    uint32_t r[4];

    mr_philox(counter, key, r);
    return ((uint64_t)r[1] << 32 | r[0]) >> 11;
}

mr_pick mr_pick_of(const mr_sampling *p, uint32_t n_vocab, uint32_t index) {
    const float t = p->temperature;
    const bool by_k = p->top_k > 0 && (uint32_t)p->top_k < n_vocab;
    const bool by_p = p->top_p > 0 && p->top_p < 1;

    return (mr_pick){.t = t,
                     .inv_t = t < MIN_TEMPERATURE ? 0 : 1 / t,
                     .below = p->min_p > 0 ? t * logf(p->min_p) : -INFINITY,
                     .top_k = by_k ? (uint32_t)p->top_k : 0,
                     .top_p = by_p ? (double)p->top_p : 0,
                     .u = uniform(p->seed, index)};
}

/* ---- sums ---- */

static size_t n_runs(size_t n) {
    return (n + MR_EXP_RUN - 1) / MR_EXP_RUN;
}

/* Sum of all weights; those of the runs stay in s->runs. */
static double sum_weights(mr_sampler *s, const float *z, float top, float inv_t) {
    double sum = 0;

    s->ops->exp_sums(s->runs, z, s->n_vocab, top, inv_t);
    for (size_t i = 0; i < n_runs(s->n_vocab); i++) sum += (double)s->runs[i];
    return sum;
}

/* ---- heaps of candidates ---- */

static inline bool better(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restores the heap below i. Root: the best candidate, or the worst. */
static void sift(candidate *h, size_t n, size_t i, bool worst_first) {
    const candidate moving = h[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(h[child + 1], h[child]) != worst_first) child++;
        if (better(h[child], moving) == worst_first) break;
        h[i] = h[child];
    }
    h[i] = moving;
}

static void heapify(candidate *h, size_t n, bool worst_first) {
    for (size_t i = n / 2; i-- > 0;) sift(h, n, i, worst_first);
}

/* The k best of the row, best first. k <= n. */
static size_t take_top_k(candidate *h, const float *z, size_t n, size_t k) {
    for (size_t i = 0; i < k; i++) h[i] = (candidate){z[i], (int32_t)i};
    heapify(h, k, true);
    for (size_t i = k; i < n; i++) {
        if (!(z[i] > h[0].logit)) continue; /* equal: the lower id is in already */
        h[0] = (candidate){z[i], (int32_t)i};
        sift(h, k, 0, true);
    }
    for (size_t left = k; left > 1; left--) { /* the worst to the end, again and again */
        const candidate worst = h[0];
        h[0] = h[left - 1];
        h[left - 1] = worst;
        sift(h, left - 1, 0, true);
    }
    return k;
}

static size_t gather(candidate *h, const float *z, size_t n, float floor) {
    size_t m = 0;

    for (size_t i = 0; i < n; i++)
        if (z[i] >= floor) h[m++] = (candidate){z[i], (int32_t)i};
    return m;
}

/* The fewest best candidates whose weight reaches goal, best first, moved to the front. */
static size_t take_best(candidate *h, size_t m, float top, float inv_t, uint64_t goal) {
    size_t left = m;
    uint64_t sum = 0;

    heapify(h, m, false);
    while (left > 0 && sum < goal) {
        const candidate best = h[0];
        sum += mr_weight(best.logit, top, inv_t);
        h[0] = h[--left];
        h[left] = best;
        if (left > 0) sift(h, left, 0, false);
    }
    for (size_t i = left, j = m - 1; i < j; i++, j--) { /* the taken ones lie worst first */
        const candidate c = h[i];
        h[i] = h[j];
        h[j] = c;
    }
    memmove(h, h + left, (m - left) * sizeof *h);
    return m - left;
}

static int level_of(candidate c, float top, float inv_t) {
    const float below = (top - c.logit) * inv_t * LEVELS_PER_UNIT;

    return below < N_LEVELS - 1 ? (int)below : N_LEVELS - 1;
}

/* The same set out of many candidates, the last one taken at its end: whole levels of probability
 * while they stay below the goal, and of the level that reaches it the best. */
static size_t take_mass(mr_sampler *s, size_t m, float top, float inv_t, uint64_t goal) {
    candidate *h = s->cand;
    uint64_t sum = 0;
    size_t n_in = 0, n_at;
    int at = 0;

    memset(s->level, 0, sizeof s->level);
    for (size_t i = 0; i < m; i++)
        s->level[level_of(h[i], top, inv_t)] += mr_weight(h[i].logit, top, inv_t);
    while (at < N_LEVELS - 1 && sum + s->level[at] < goal) sum += s->level[at++];
    for (size_t i = 0; i < m; i++) { /* those above the level to the front, in their order */
        const candidate c = h[i];

        if (level_of(c, top, inv_t) >= at) continue;
        h[i] = h[n_in];
        h[n_in++] = c;
    }
    n_at = n_in;
    for (size_t i = n_in; i < m; i++) {
        const candidate c = h[i];

        if (level_of(c, top, inv_t) != at) continue;
        h[i] = h[n_at];
        h[n_at++] = c;
    }
    if (n_at == n_in) return n_in; /* all of them together do not reach it */
    return n_in + take_best(h + n_in, n_at - n_in, top, inv_t, goal - sum);
}

mr_status mr_sampler_open(mr_sampler **out, const mr_ops *ops, uint32_t n_vocab, const int32_t *eog,
                          size_t n_eog, uint32_t max_history, mr_err *err) {
    mr_sampler *s = calloc(1, sizeof *s);

    *out = NULL;
    if (!s) return mr_fail(err, MR_ENOMEM, "sampler: out of memory");
    s->ops = ops;
    s->n_vocab = n_vocab;
    s->eog = eog;
    s->n_eog = n_eog;
    s->max_history = max_history;
    /* Distinct tokens of the history, then the biases, then the banned. */
    s->max_edits =
        (max_history < n_vocab ? max_history : n_vocab) + MR_MAX_LOGIT_BIAS + (uint32_t)n_eog;
    s->edits = malloc(s->max_edits * sizeof *s->edits);
    s->count_bytes = n_vocab * sizeof *s->count;
    s->cand_bytes = n_vocab * sizeof *s->cand;
    s->count = mr_pages_map(s->count_bytes);
    s->cand = mr_pages_map(s->cand_bytes);
    s->runs = malloc(n_runs(n_vocab) * sizeof *s->runs);
    if (!s->edits || !s->count || !s->cand || !s->runs) {
        mr_sampler_close(s);
        return mr_fail(err, MR_ENOMEM, "sampler: no memory for a vocabulary of %u", n_vocab);
    }
    *out = s;
    return MR_OK;
}

void mr_sampler_close(mr_sampler *s) {
    if (!s) return;
    free(s->runs);
    free(s->edits);
    mr_pages_unmap(s->count, s->count_bytes);
    mr_pages_unmap(s->cand, s->cand_bytes);
    free(s);
}

mr_status mr_sampling_check(const mr_sampling *p, uint32_t n_vocab, mr_err *err) {
    const struct {
        const char *name;
        float value, lo, hi;
    } number[] = {
        {"temperature", p->temperature, 0, MAX_TEMPERATURE},
        {"top_p", p->top_p, 0, FLT_MAX},
        {"min_p", p->min_p, 0, 1},
        {"repetition_penalty", p->repetition_penalty, 0, MAX_PENALTY},
        {"frequency_penalty", p->frequency_penalty, -MAX_PENALTY, MAX_PENALTY},
        {"presence_penalty", p->presence_penalty, -MAX_PENALTY, MAX_PENALTY},
    };

    for (size_t i = 0; i < MR_COUNT(number); i++) /* written so that NaN fails too */
        if (!(number[i].value >= number[i].lo && number[i].value <= number[i].hi))
            return mr_fail(err, MR_EINVAL, "%s: %g is not in %g..%g", number[i].name,
                           (double)number[i].value, (double)number[i].lo, (double)number[i].hi);
    if (p->repetition_penalty > 0 && p->repetition_penalty < MIN_REPETITION)
        return mr_fail(err, MR_EINVAL, "repetition_penalty: %g is below %g (0: off)",
                       (double)p->repetition_penalty, (double)MIN_REPETITION);
    if (p->top_k < 0) return mr_fail(err, MR_EINVAL, "top_k: %d is below 0", p->top_k);
    if (p->n_top_logprobs < 0 || p->n_top_logprobs > MR_MAX_TOP_LOGPROBS)
        return mr_fail(err, MR_EINVAL, "top_logprobs: %d is not in 0..%d", p->n_top_logprobs,
                       MR_MAX_TOP_LOGPROBS);
    if (p->n_bias > MR_MAX_LOGIT_BIAS)
        return mr_fail(err, MR_EINVAL, "logit_bias: %zu entries, at most %d", p->n_bias,
                       MR_MAX_LOGIT_BIAS);
    for (size_t i = 0; i < p->n_bias; i++) {
        const mr_logit_bias b = p->bias[i];

        if (b.token < 0 || (uint32_t)b.token >= n_vocab)
            return mr_fail(err, MR_EINVAL, "logit_bias: token %d is not in 0..%u", b.token,
                           n_vocab - 1);
        if (!(b.bias >= -MAX_BIAS && b.bias <= MAX_BIAS))
            return mr_fail(err, MR_EINVAL, "logit_bias: %g for token %d is not in %g..%g",
                           (double)b.bias, b.token, (double)-MAX_BIAS, (double)MAX_BIAS);
    }
    return MR_OK;
}

/* ---- steps 1 and 2 ---- */

static void change(mr_sampler *s, float *z, int32_t id, float value) {
    MR_CHECK(s->n_edits < s->max_edits);
    s->edits[s->n_edits++] = (edit){id, z[id]};
    z[id] = value;
}

static void undo(mr_sampler *s, float *z) {
    while (s->n_edits > 0) { /* last first: a token may have been changed twice */
        const edit e = s->edits[--s->n_edits];
        z[e.id] = e.old;
    }
}

static void penalize(mr_sampler *s, const mr_sampling *p, float *z, const int32_t *history,
                     uint32_t n, uint32_t n_prompt) {
    const float rep = p->repetition_penalty > 0 ? p->repetition_penalty : 1;
    const uint32_t first = rep != 1 ? 0 : n_prompt; /* the others do not look at the prompt */

    if (rep == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0) return;
    for (uint32_t i = n_prompt; i < n; i++) s->count[history[i]]++;
    for (uint32_t i = first; i < n; i++) {
        const int32_t id = history[i];
        const uint32_t seen = s->count[id];
        float value = z[id];

        if (seen == UINT32_MAX) continue; /* done at an earlier occurrence */
        s->count[id] = UINT32_MAX;
        value = mr_penalized(value, rep, p->frequency_penalty, p->presence_penalty, seen);
        change(s, z, id, value);
    }
    for (uint32_t i = first; i < n; i++) s->count[history[i]] = 0;
}

static void adjust(mr_sampler *s, const mr_sampling *p, float *z, const int32_t *history,
                   uint32_t n, uint32_t n_prompt) {
    penalize(s, p, z, history, n, n_prompt);
    for (size_t i = 0; i < p->n_bias; i++)
        change(s, z, p->bias[i].token, z[p->bias[i].token] + p->bias[i].bias);
    if (p->ban_eog)
        for (size_t i = 0; i < s->n_eog; i++) change(s, z, s->eog[i], -INFINITY);
}

/* ---- steps 3 to 5 ---- */

/* Lowest id of the largest logit; -1: one is NaN or +inf, or all are -inf. */
static int32_t find_best(const mr_sampler *s, const float *z) {
    const float most = s->ops->largest(z, s->n_vocab);
    int32_t i = 0;

    if (isnan(most) || most == -INFINITY) return -1;
    while (z[i] != most) i++;
    return i;
}

static uint64_t sum_of(const candidate *h, size_t m, float top, float inv_t) {
    uint64_t sum = 0;

    for (size_t i = 0; i < m; i++) sum += mr_weight(h[i].logit, top, inv_t);
    return sum;
}

/* Of m candidates, the best first: the one that the part u of their sum falls into. */
static int32_t draw(mr_sampler *s, size_t m, float top, const mr_pick *p) {
    const uint64_t part = mr_part_of(sum_of(s->cand, m, top, p->inv_t), p->u);

    return s->cand[take_mass(s, m, top, p->inv_t, part + 1) - 1].id;
}

/* Without a filter: the run of the row that u falls into, then a token of the run. */
static int32_t draw_any(mr_sampler *s, const float *z, int32_t best, const mr_pick *p) {
    const float top = z[best];
    const double goal = (double)p->u * 0x1p-53 * sum_weights(s, z, top, p->inv_t);
    int32_t last = best;
    uint64_t sum = 0;
    double at = 0;
    size_t run = 0;

    while (run + 1 < n_runs(s->n_vocab) && at + (double)s->runs[run] <= goal)
        at += (double)s->runs[run++];
    const uint64_t left = mr_goal_of(goal - at);
    for (size_t i = run * MR_EXP_RUN; i < s->n_vocab && i < (run + 1) * MR_EXP_RUN; i++) {
        const uint64_t w = mr_weight(z[i], top, p->inv_t);

        if (w == 0) continue;
        last = (int32_t)i;
        if ((sum += w) >= left) break;
    }
    return last; /* at the latest the last of the run, if the op's sum is above ours */
}

static size_t drop_below(candidate *h, size_t m, float floor) {
    size_t n = 0;

    for (size_t i = 0; i < m; i++)
        if (h[i].logit >= floor) h[n++] = h[i];
    return n;
}

static int32_t choose(mr_sampler *s, const mr_pick *p, const float *z, int32_t best) {
    const size_t n = s->n_vocab;
    const float top = z[best], inv_t = p->inv_t;
    size_t m;

    if (!p->top_k && !(p->top_p > 0) && p->below == -INFINITY) return draw_any(s, z, best, p);
    if (p->top_k) {
        m = take_top_k(s->cand, z, n, p->top_k);
        if (p->top_p > 0) {
            const double sum = (double)sum_of(s->cand, m, top, inv_t) / (double)MR_UNITS;
            m = take_mass(s, m, top, inv_t, mr_goal_of(sum * p->top_p));
        }
    } else if (p->top_p > 0) {
        const double sum = sum_weights(s, z, top, inv_t);
        m = gather(s->cand, z, n, mr_floor_of(top, p->t, p->top_p, sum, s->n_vocab));
        m = take_mass(s, m, top, inv_t, mr_goal_of(sum * p->top_p));
    } else {
        m = gather(s->cand, z, n, top + p->below);
    }
    if (p->below > -INFINITY) m = drop_below(s->cand, m, top + p->below);
    return draw(s, m, top, p);
}

/* ---- log probabilities ---- */

void mr_logprobs_of(mr_engine_out *out, float top, double sum) {
    const double lse = (double)top + log(sum);

    out->logprob = (float)((double)out->logprob - lse);
    for (int i = 0; i < out->n_top; i++)
        out->top[i].logprob = (float)((double)out->top[i].logprob - lse);
}

static void report(mr_sampler *s, const mr_sampling *p, const float *z, int32_t best,
                   mr_engine_out *out) {
    const size_t n = s->n_vocab;
    const int want = (size_t)p->n_top_logprobs < n ? p->n_top_logprobs : (int)n;

    out->logprob = z[out->token]; /* logits until the list is complete */
    for (size_t i = 0; want > 0 && i < n; i++) {
        int at = out->n_top;

        if (at == want && !(z[i] > out->top[want - 1].logprob)) continue;
        if (at == want) at--;
        for (; at > 0 && z[i] > out->top[at - 1].logprob; at--) out->top[at] = out->top[at - 1];
        out->top[at] = (mr_top_logprob){(int32_t)i, z[i]};
        if (out->n_top < want) out->n_top++;
    }
    mr_logprobs_of(out, z[best], sum_weights(s, z, z[best], 1));
}

mr_status mr_sampler_pick(mr_sampler *s, const mr_sampling *p, float *logits,
                          const int32_t *history, uint32_t n_history, uint32_t n_prompt,
                          mr_engine_out *out, mr_err *err) {
    const int32_t raw_best = find_best(s, logits);

    MR_CHECK(n_history <= s->max_history && n_prompt <= n_history);
    out->token = -1;
    out->logprob = 0;
    out->n_top = 0;
    if (raw_best < 0) return mr_fail(err, MR_EINTERNAL, "logits: not finite");
    adjust(s, p, logits, history, n_history, n_prompt);
    const int32_t best = s->n_edits ? find_best(s, logits) : raw_best;
    if (best >= 0) {
        const mr_pick pick = mr_pick_of(p, s->n_vocab, n_history - n_prompt);
        out->token = pick.inv_t > 0 ? choose(s, &pick, logits, best) : best;
    }
    undo(s, logits);
    if (best < 0) return mr_fail(err, MR_EINTERNAL, "logits: the parameters allow no token");
    if (p->logprobs || p->n_top_logprobs > 0) report(s, p, logits, raw_best, out);
    return MR_OK;
}
