/* Goal: what the model cannot do is refused with field, limit and value; the rest becomes tokens.
 * Method: a tokenizer and template of a tiny model, one spec per rule. */
#include "tests/unit/worker/tiny.h"

#include "worker/admit.h"

typedef struct desk { /* an admission desk */
    mr_model *model;
    mr_tokenizer *tokenizer;
    mr_jobs *jobs;
    mr_job *j;
    mr_admit_limits limits;
    mr_refusal why;
} desk;

static void open_desk(desk *d) {
    const char *path = tiny_model();
    mr_err err = {0};

    memset(d, 0, sizeof *d);
    CHECK_OK(mr_model_open(&d->model, path, &err), err);
    CHECK_OK(mr_tokenizer_open(&d->tokenizer, d->model->gguf, &err), err);
    CHECK_OK(mr_jobs_open(&d->jobs, 1, &err), err);
    d->j = mr_jobs_take(d->jobs);
    snprintf(d->j->spec.job_id, sizeof d->j->spec.job_id, "0193b7a0-0000-7000-8000-00000000000a");
    d->limits = (mr_admit_limits){.model = "tiny",
                                  .tokenizer = d->tokenizer,
                                  .chat_missing = "the file has none",
                                  .n_ctx = 64,
                                  .n_vocab = mr_tokenizer_n_vocab(d->tokenizer),
                                  .kv_tokens = 1000,
                                  .default_max_tokens = 16};
    unlink(path);
}

static void close_desk(desk *d) {
    mr_jobs_close(d->jobs);
    mr_tokenizer_close(d->tokenizer);
    mr_model_close(d->model);
}

static void set_prompt(desk *d, const char *text) {
    d->j->spec.input = MR_INPUT_PROMPT;
    d->j->spec.prompt = text;
    d->j->spec.prompt_len = strlen(text);
}

static void check_refused(desk *d, const char *code, const char *field, const char *part) {
    CHECK_I64(mr_admit(d->j, &d->limits, &d->why), MR_EINVAL);
    CHECK_STR(d->why.code, code);
    CHECK_STR(d->why.field, field);
    if (!strstr(d->why.message, part)) fail_msg("\"%s\" lacks \"%s\"", d->why.message, part);
}

TEST(a_prompt_becomes_tokens) {
    desk d;

    open_desk(&d);
    set_prompt(&d, "hello");
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    CHECK(d.j->n_tokens > 1 && d.j->n_tokens < 20);
    CHECK_I64(d.j->tokens[0], mr_tokenizer_bos(d.tokenizer));
    CHECK_I64(d.j->max_new, 16);
    CHECK(d.j->seed == mr_job_seed(d.j->spec.job_id));
    d.j->spec.params.has_seed = true;
    d.j->spec.params.seed = 5;
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    CHECK_I64(d.j->seed, 5);
    close_desk(&d);
}

TEST(max_tokens_is_lowered_to_what_the_context_leaves) {
    desk d;
    static const int32_t ids[60] = {1};

    open_desk(&d);
    d.j->spec.input = MR_INPUT_TOKENS;
    d.j->spec.tokens = ids;
    d.j->spec.n_tokens = 60;
    d.j->spec.params.max_tokens = 1000;
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    CHECK_I64(d.j->max_new, 4);
    d.limits.kv_tokens = 62; /* a small cache counts as much */
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    CHECK_I64(d.j->max_new, 2);
    close_desk(&d);
}

TEST(a_prompt_longer_than_the_context_is_refused_with_its_length) {
    desk d;
    static char text[5000];
    static const int32_t ids[65] = {1};

    open_desk(&d);
    memset(text, 'q', sizeof text - 1);
    set_prompt(&d, text);
    check_refused(&d, "context_exceeded", "input", "holds 64");
    d.j->spec.input = MR_INPUT_TOKENS;
    d.j->spec.tokens = ids;
    d.j->spec.n_tokens = 65;
    check_refused(&d, "context_exceeded", "input", "65 tokens");
    d.j->spec.n_tokens = 64; /* fits, but leaves no room for an answer */
    check_refused(&d, "context_exceeded", "input", "64 tokens");
    d.j->spec.n_tokens = 0;
    check_refused(&d, "empty_prompt", "input", "empty");
    close_desk(&d);
}

TEST(ids_outside_the_vocabulary_are_refused_by_place) {
    desk d;
    const int32_t ids[3] = {1, 2, 512}, negative = -1;
    const mr_bias bias = {.token = 9999, .bias = 1};

    open_desk(&d);
    d.j->spec.input = MR_INPUT_TOKENS;
    d.j->spec.tokens = ids;
    d.j->spec.n_tokens = 3;
    check_refused(&d, "token_out_of_range", "input.tokens[2]", "512");
    d.j->spec.n_tokens = 2;
    d.j->spec.params.stop_token_ids = &negative;
    d.j->spec.params.n_stop_token_ids = 1;
    check_refused(&d, "token_out_of_range", "params.stop_token_ids[0]", "-1");
    d.j->spec.params.n_stop_token_ids = 0;
    d.j->spec.params.logit_bias = &bias;
    d.j->spec.params.n_logit_bias = 1;
    check_refused(&d, "token_out_of_range", "params.logit_bias[0]", "9999");
    close_desk(&d);
}

TEST(messages_need_a_template) {
    desk d;
    const mr_message msg = {.role = "user", .content = "hi", .content_len = 2};
    const mr_template *chatml = NULL;

    open_desk(&d);
    d.j->spec.input = MR_INPUT_MESSAGES;
    d.j->spec.messages = &msg;
    d.j->spec.n_messages = 1;
    check_refused(&d, "no_chat_template", "input.messages", "the file has none");
    CHECK_I64(mr_template_pick(&chatml, d.model->gguf, "chatml", NULL), MR_OK);
    d.limits.chat = chatml;
    d.limits.n_ctx = 256;
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    CHECK(d.j->n_tokens > 5);
    CHECK(mr_admit_starts_line(&d.j->spec));
    close_desk(&d);
}

TEST(another_model_is_refused) {
    desk d;

    open_desk(&d);
    set_prompt(&d, "hello");
    d.j->spec.model = "huge";
    check_refused(&d, "unknown_model", "model", "runs model tiny, not huge");
    d.j->spec.model = "tiny";
    CHECK_I64(mr_admit(d.j, &d.limits, &d.why), MR_OK);
    close_desk(&d);
}

MR_TEST_MAIN
