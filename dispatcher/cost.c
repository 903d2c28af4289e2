/* cost.c - see cost.h. */
#include "dispatcher/cost.h"

enum {
    BYTES_PER_TOKEN = 4, /* English text under the usual vocabularies; settling corrects the rest */
    MESSAGE_TOKENS = 4   /* what a chat template puts around each */
};

static uint64_t prompt_tokens(const mr_job_spec *j) {
    uint64_t bytes = 0;
    if (j->input == MR_INPUT_TOKENS) return j->n_tokens;
    if (j->input == MR_INPUT_PROMPT) return (j->prompt_len + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    for (size_t i = 0; i < j->n_messages; i++) bytes += j->messages[i].content_len;
    return j->n_messages * MESSAGE_TOKENS + (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
}

uint32_t mr_cost(const mr_job_spec *j) {
    const uint64_t answer = j->params.max_tokens ? j->params.max_tokens : MR_COST_ANSWER;
    return (uint32_t)(prompt_tokens(j) + answer); /* a record has a mebibyte: it cannot overflow */
}
