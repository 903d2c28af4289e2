/* admit.c - three kinds of input, one array of token ids.
 *
 * Messages go through the model's chat template; what came from the user is marked opaque, so text
 * that looks like a control token stays text. A prompt is the user's own raw text for the model:
 * there control tokens are recognised, as every other server does; who puts foreign text into a job
 * uses messages. Token ids are taken as they are.
 *
 * Nothing is tokenized further than the context: the encoder only counts what lies beyond. Thread:
 * loop; a record is at most MR_JOB_MAX_BYTES, so encoding it is a matter of milliseconds. */
#include "worker/admit.h"

#include <stdio.h>
#include <string.h>

#define EXTRA_TOKENS 8 /* BOS, EOS and a leading space beside one token per byte */

static mr_status refuse(mr_refusal *why, const char *code, const char *field) {
    why->code = code;
    snprintf(why->field, sizeof why->field, "%s", field);
    return MR_EINVAL;
}

/* Only what the job itself is too large for is its fault. */
static mr_status refuse_memory(const mr_job *j, mr_refusal *why) {
    if (!j->arena.full) {
        snprintf(why->message, sizeof why->message, "no memory to prepare the job");
        return MR_ENOMEM;
    }
    snprintf(why->message, sizeof why->message, "the job needs more than %u bytes of memory",
             (unsigned)MR_JOB_ARENA_BYTES);
    return refuse(why, "too_large", "input");
}

static mr_status refuse_length(mr_refusal *why, const char *field, size_t n, uint32_t n_ctx) {
    snprintf(why->message, sizeof why->message,
             "%s has %zu tokens; the context holds %u, prompt and answer together", field, n,
             (unsigned)n_ctx);
    why->need_tokens = n < UINT32_MAX ? (uint32_t)n + 1 : UINT32_MAX;
    return refuse(why, "context_exceeded", "input");
}

static const char *input_field(const mr_job_spec *spec) {
    if (spec->input == MR_INPUT_MESSAGES) return "input.messages";
    return spec->input == MR_INPUT_PROMPT ? "input.prompt" : "input.tokens";
}

static mr_status encode(mr_job *j, const mr_admit_limits *m, mr_str text, const mr_encode_opt *opt,
                        mr_refusal *why) {
    const size_t most = text.len + EXTRA_TOKENS;
    const size_t cap = most < m->n_ctx ? most : m->n_ctx;
    const char *field = input_field(&j->spec);
    int32_t *ids = mr_arena_alloc(&j->arena, cap * sizeof *ids);
    mr_err err = {0};
    mr_status st;

    if (!ids) return refuse_memory(j, why);
    st = mr_tokenizer_encode(m->tokenizer, text.ptr, text.len, opt, ids, cap, &j->n_tokens, &err);
    if (st == MR_ENOMEM) return refuse_memory(j, why);
    if (st == MR_ELIMIT) return refuse_length(why, field, j->n_tokens, m->n_ctx);
    if (st != MR_OK) {
        snprintf(why->message, sizeof why->message, "%s: %s", field, err.text);
        return refuse(why, "not_encodable", field);
    }
    j->tokens = ids;
    return MR_OK;
}

static mr_status encode_messages(mr_job *j, const mr_admit_limits *m, mr_refusal *why) {
    const mr_job_spec *spec = &j->spec;
    mr_chat_message *msgs;
    mr_encode_opt opt = {.parse_special = true};
    mr_span *spans = NULL;
    mr_str text = {0};
    bool has_bos = false;
    mr_err err = {0};
    mr_status st;

    if (!m->chat) {
        snprintf(why->message, sizeof why->message,
                 "this model cannot take messages (%s): send input.prompt",
                 m->chat_missing ? m->chat_missing : "no chat template");
        return refuse(why, "no_chat_template", "input.messages");
    }
    msgs = mr_arena_calloc(&j->arena, spec->n_messages, sizeof *msgs);
    if (!msgs) return refuse_memory(j, why);
    for (size_t i = 0; i < spec->n_messages; i++)
        msgs[i] = (mr_chat_message){.role = spec->messages[i].role,
                                    .content = spec->messages[i].content,
                                    .content_len = spec->messages[i].content_len};
    st = mr_template_render(m->chat, m->tokenizer, msgs, spec->n_messages, &j->arena, &text, &spans,
                            &opt.n_opaque, &has_bos, &err);
    if (st == MR_ENOMEM) return refuse_memory(j, why);
    if (st != MR_OK) {
        snprintf(why->message, sizeof why->message, "input.messages: %s", err.text);
        return refuse(why, "bad_messages", "input.messages");
    }
    opt.add_special = !has_bos;
    opt.opaque = spans;
    return encode(j, m, text, &opt, why);
}

static mr_status check_ids(const mr_admit_limits *m, const char *field, size_t i, int32_t id,
                           mr_refusal *why) {
    char where[sizeof why->field];

    if (id >= 0 && (uint32_t)id < m->n_vocab) return MR_OK;
    snprintf(where, sizeof where, "%s[%zu]", field, i);
    snprintf(why->message, sizeof why->message, "%s is %ld; the vocabulary is 0..%u", where,
             (long)id, (unsigned)(m->n_vocab - 1));
    return refuse(why, "token_out_of_range", where);
}

static mr_status take_tokens(mr_job *j, const mr_admit_limits *m, mr_refusal *why) {
    const mr_job_spec *spec = &j->spec;

    if (spec->n_tokens > m->n_ctx)
        return refuse_length(why, "input.tokens", spec->n_tokens, m->n_ctx);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (check_ids(m, "input.tokens", i, spec->tokens[i], why) != MR_OK) return MR_EINVAL;
    }
    j->tokens = spec->tokens;
    j->n_tokens = spec->n_tokens;
    return MR_OK;
}

static mr_status check_params(const mr_job *j, const mr_admit_limits *m, mr_refusal *why) {
    const mr_params *p = &j->spec.params;

    for (size_t i = 0; i < p->n_stop_token_ids; i++) {
        if (check_ids(m, "params.stop_token_ids", i, p->stop_token_ids[i], why) != MR_OK)
            return MR_EINVAL;
    }
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        if (check_ids(m, "params.logit_bias", i, p->logit_bias[i].token, why) != MR_OK)
            return MR_EINVAL;
    }
    return MR_OK;
}

mr_status mr_admit(mr_job *j, const mr_admit_limits *m, mr_refusal *why) {
    const mr_job_spec *spec = &j->spec;
    const uint64_t room = m->kv_tokens < m->n_ctx ? m->kv_tokens : m->n_ctx;
    const uint32_t wanted =
        spec->params.max_tokens ? spec->params.max_tokens : m->default_max_tokens;
    mr_status st;

    *why = (mr_refusal){0};
    if (spec->model && *spec->model && strcmp(spec->model, m->model) != 0) {
        snprintf(why->message, sizeof why->message, "this worker runs model %s, not %s", m->model,
                 spec->model);
        return refuse(why, "unknown_model", "model");
    }
    if (check_params(j, m, why) != MR_OK) return MR_EINVAL;
    if (spec->input == MR_INPUT_MESSAGES) {
        st = encode_messages(j, m, why);
    } else if (spec->input == MR_INPUT_PROMPT) {
        const mr_encode_opt opt = {.add_special = true, .parse_special = true};
        st = encode(j, m, (mr_str){spec->prompt, spec->prompt_len}, &opt, why);
    } else {
        st = take_tokens(j, m, why);
    }
    if (st != MR_OK) return st;
    if (j->n_tokens == 0) {
        snprintf(why->message, sizeof why->message, "%s is empty: there is nothing to go on from",
                 input_field(spec));
        return refuse(why, "empty_prompt", "input");
    }
    if (j->n_tokens >= room)
        return refuse_length(why, input_field(spec), j->n_tokens, (uint32_t)room);
    j->max_new = wanted < room - j->n_tokens ? wanted : (uint32_t)(room - j->n_tokens);
    j->seed = spec->params.has_seed ? spec->params.seed : mr_job_seed(spec->job_id);
    return MR_OK;
}

bool mr_admit_starts_line(const mr_job_spec *spec) {
    if (spec->input == MR_INPUT_MESSAGES) return true;
    if (spec->input == MR_INPUT_TOKENS) return false;
    return spec->prompt_len > 0 && spec->prompt[spec->prompt_len - 1] == '\n';
}
