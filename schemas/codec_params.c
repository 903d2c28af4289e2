/* codec_params.c - sampling parameters: OpenAI's names and ranges, and the usual ones beside them.
 *
 * One table for jobs and for OpenAI's bodies. n is known so that it gets a clear answer: one job,
 * one text. Pure; any thread. */
#include <string.h>

#include "schemas/codec_request.h"

#define MAX_PENALTY 2
#define MAX_TEMPERATURE 2
#define MAX_REPETITION 10
#define MAX_BIAS 100
#define MAX_TOKEN_DIGITS 10 /* of INT32_MAX */

static mr_status read_n(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    int64_t n = 0;
    mr_status st = mr_read_int(r, v, at, 1, INT32_MAX, &n);

    (void)out;
    if (st == MR_OK && n != 1)
        return mr_reader_fail(r, at, "unsupported", "%lld texts of one job, at most 1",
                              (long long)n);
    return st;
}

/* A text, or a list of them. */
static mr_status read_stop(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    static const mr_field limits = {.lo = 1, .hi = MR_JOB_MAX_STOP_BYTES};
    const bool is_list = v->kind != MR_VALUE_TEXT;
    const size_t n = is_list ? v->n : 1;
    mr_params *p = out;
    const char **stops;
    mr_status st = MR_OK;

    if (is_list && (st = mr_read_list(r, v, at, 0, MR_JOB_MAX_STOPS)) != MR_OK) return st;
    if (!(stops = mr_arena_calloc(r->arena, n, sizeof *stops))) return mr_reader_no_memory(r, at);
    for (size_t i = 0; i < n && st == MR_OK; i++) {
        const mr_path here = {at, NULL, i};
        st = is_list ? mr_read_text(r, &v->as.items[i], &here, &limits, &stops[i])
                     : mr_read_text(r, v, at, &limits, &stops[i]);
    }
    p->stop = stops;
    p->n_stop = n;
    return st;
}

static mr_status read_stop_token_ids(mr_reader *r, const mr_value *v, const mr_path *at,
                                     void *out) {
    mr_params *p = out;
    mr_status st = mr_read_list(r, v, at, 0, MR_JOB_MAX_STOP_TOKENS);
    int32_t *ids;

    if (st != MR_OK) return st;
    if (!(ids = mr_arena_calloc(r->arena, v->n, sizeof *ids))) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        int64_t id = 0;
        if ((st = mr_read_int(r, &v->as.items[i], &here, 0, INT32_MAX, &id)) != MR_OK) return st;
        ids[i] = (int32_t)id;
    }
    p->stop_token_ids = ids;
    p->n_stop_token_ids = v->n;
    return MR_OK;
}

/* "42" -> 42. Only one spelling per token, so that equal keys are equal tokens. */
static bool token_of(const char *key, int32_t *token) {
    int64_t x = 0;
    size_t n = strlen(key);

    if (n == 0 || n > MAX_TOKEN_DIGITS || (n > 1 && key[0] == '0')) return false;
    for (size_t i = 0; i < n; i++) {
        if (key[i] < '0' || key[i] > '9') return false;
        x = x * 10 + (key[i] - '0');
    }
    *token = (int32_t)x;
    return x <= INT32_MAX;
}

static mr_status read_logit_bias(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    static const mr_field limits = {.lo = -MAX_BIAS, .hi = MAX_BIAS};
    mr_params *p = out;
    mr_bias *bias;

    if (v->kind != MR_VALUE_MAP)
        return mr_reader_fail(r, at, "bad_type", "is not a map of token ids to numbers");
    if (v->n > MR_JOB_MAX_LOGIT_BIAS)
        return mr_reader_fail(r, at, "too_many", "%u members, at most %d", v->n,
                              MR_JOB_MAX_LOGIT_BIAS);
    if (!(bias = mr_arena_calloc(r->arena, v->n, sizeof *bias))) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_member *m = &v->as.members[i];
        const mr_path here = {at, m->key, strlen(m->key)};
        mr_status st;

        if (!token_of(m->key, &bias[i].token))
            return mr_reader_fail(r, &here, "out_of_range", "key is not a token id, 0..%d",
                                  INT32_MAX);
        if ((st = mr_read_f32(r, &m->value, &here, &limits, &bias[i].bias)) != MR_OK) return st;
    }
    p->logit_bias = bias;
    p->n_logit_bias = v->n;
    return MR_OK;
}

/* -1 is how some clients say "off"; we say 0. */
static mr_status read_top_k(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    int64_t k = 0;
    mr_status st = mr_read_int(r, v, at, -1, INT32_MAX, &k);

    ((mr_params *)out)->top_k = k < 0 ? 0 : (int32_t)k;
    return st;
}

static mr_status read_seed(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_params *p = out;
    int64_t seed = 0;
    mr_status st = mr_read_int(r, v, at, 0, INT64_MAX, &seed);

    p->seed = (uint64_t)seed;
    p->has_seed = st == MR_OK;
    return st;
}

#define NUM(field_, kind_, lo_, hi_, flags_)                                                 \
    {.name = #field_, .kind = MR_FIELD_##kind_, .offset = offsetof(mr_params, field_),       \
     .lo = lo_, .hi = hi_, .flags = flags_}
#define CALL(field_, read_) {.name = #field_, .kind = MR_FIELD_CALL, .read = read_}

const mr_field mr_params_fields[] = {
    NUM(max_tokens, U32, 1, MR_JOB_MAX_NEW_TOKENS, 0),
    {.name = "max_completion_tokens",
     .kind = MR_FIELD_U32,
     .offset = offsetof(mr_params, max_tokens),
     .lo = 1,
     .hi = MR_JOB_MAX_NEW_TOKENS,
     .alias_of = "max_tokens"},
    NUM(temperature, F32, 0, MAX_TEMPERATURE, 0),
    NUM(top_p, F32, 0, 1, MR_FIELD_ABOVE),
    NUM(min_p, F32, 0, 1, 0),
    CALL(top_k, read_top_k),
    NUM(repetition_penalty, F32, 0, MAX_REPETITION, MR_FIELD_ABOVE),
    NUM(frequency_penalty, F32, -MAX_PENALTY, MAX_PENALTY, 0),
    NUM(presence_penalty, F32, -MAX_PENALTY, MAX_PENALTY, 0),
    CALL(seed, read_seed),
    CALL(stop, read_stop),
    CALL(stop_token_ids, read_stop_token_ids),
    CALL(logit_bias, read_logit_bias),
    {.name = "logprobs", .kind = MR_FIELD_BOOL, .offset = offsetof(mr_params, logprobs)},
    NUM(top_logprobs, I32, 0, MR_JOB_MAX_TOP_LOGPROBS, 0),
    {.name = "ignore_eos", .kind = MR_FIELD_BOOL, .offset = offsetof(mr_params, ignore_eos)},
    CALL(n, read_n),
    {.name = NULL},
};

mr_status mr_params_check(mr_reader *r, const mr_path *at, const mr_params *p) {
    const mr_path here = {at, "top_logprobs", strlen("top_logprobs")};

    if (p->top_logprobs > 0 && !p->logprobs)
        return mr_reader_fail(r, &here, "conflict", "%d, but \"logprobs\" is not true",
                              p->top_logprobs);
    return MR_OK;
}
