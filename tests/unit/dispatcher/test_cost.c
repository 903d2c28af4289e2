/* Goal: a job's cost is its prompt and its answer, for each kind of input, and never 0. Method: one
 * job of each kind, with numbers known beforehand. */
#include "dispatcher/cost.h"

#include "tests/test.h"

TEST(each_kind_of_input) {
    const mr_message messages[] = {{"system", "12345678", 8}, {"user", "123", 3}};
    mr_job_spec j = {.input = MR_INPUT_TOKENS, .n_tokens = 1000, .params.max_tokens = 24};
    CHECK_I64(mr_cost(&j), 1024);
    j.input = MR_INPUT_PROMPT;
    j.prompt_len = 401;
    CHECK_I64(mr_cost(&j), 101 + 24);
    j.input = MR_INPUT_MESSAGES;
    j.messages = messages;
    j.n_messages = 2;
    CHECK_I64(mr_cost(&j), 2 * 4 + 3 + 24);
}

TEST(without_max_tokens) {
    mr_job_spec j = {.input = MR_INPUT_PROMPT};
    CHECK_I64(mr_cost(&j), MR_COST_ANSWER);
    j.params.max_tokens = 1;
    CHECK_I64(mr_cost(&j), 1); /* an empty prompt */
}

MR_TEST_MAIN
