/* codec_openai.c - the body of an OpenAI request (a line of a batch file) as a job.
 *
 * A field that changes nothing about the answer is accepted and forgotten; one that would change it
 * and that we cannot honour is refused by name, because a batch of a million wrong answers is worse
 * than none. null means absent, as in OpenAI's API. Pure; any thread. */
#include <stdio.h>
#include <string.h>

#include "schemas/codec_request.h"

#define MAX_URL_SHOWN 48
#define MAX_COMPLETION_LOGPROBS 5 /* OpenAI's limit of the older endpoint */

/* {"type":"text"} asks for what we give anyway. */
static mr_status read_response_format(mr_reader *r, const mr_value *v, const mr_path *at,
                                      void *out) {
    (void)out;
    if (v->kind == MR_VALUE_MAP && v->n == 1 && !strcmp(v->as.members[0].key, "type") &&
        v->as.members[0].value.kind == MR_VALUE_TEXT &&
        !strcmp(v->as.members[0].value.as.text, "text"))
        return MR_OK;
    return mr_reader_fail(r, at, "unsupported", "only {\"type\":\"text\"} is supported");
}

static mr_status read_modalities(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    (void)out;
    if (v->kind == MR_VALUE_LIST && v->n == 1 && v->as.items[0].kind == MR_VALUE_TEXT &&
        !strcmp(v->as.items[0].as.text, "text"))
        return MR_OK;
    return mr_reader_fail(r, at, "unsupported", "only [\"text\"] is supported");
}

/* "none" and, without tools, "auto" ask for a plain answer. */
static mr_status read_tool_choice(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    (void)out;
    if (v->kind == MR_VALUE_TEXT && (!strcmp(v->as.text, "none") || !strcmp(v->as.text, "auto")))
        return MR_OK;
    return mr_reader_fail(r, at, "unsupported", "only \"none\" and \"auto\" are supported");
}

static mr_status read_best_of(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    int64_t n = 0;
    mr_status st = mr_read_int(r, v, at, 0, INT32_MAX, &n);

    (void)out;
    if (st == MR_OK && n > 1)
        return mr_reader_fail(r, at, "unsupported", "%lld candidates, at most 1", (long long)n);
    return st;
}

static mr_status read_suffix(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    (void)out;
    if (v->kind == MR_VALUE_TEXT && v->n == 0) return MR_OK;
    return mr_reader_fail(r, at, "unsupported", "is not supported");
}

/* The older endpoint says how many alternatives, not whether. */
static mr_status read_count_logprobs(mr_reader *r, const mr_value *v, const mr_path *at,
                                     void *out) {
    mr_job_spec *j = out;
    int64_t n = 0;
    mr_status st = mr_read_int(r, v, at, 0, MAX_COMPLETION_LOGPROBS, &n);

    j->params.logprobs = st == MR_OK;
    j->params.top_logprobs = (int)n;
    return st;
}

/* A text or a list of token ids; several prompts in one request are several jobs. */
static mr_status read_prompt(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    if (v->kind != MR_VALUE_LIST) return mr_input_read_prompt(r, v, at, out);
    if (v->n && (v->as.items[0].kind == MR_VALUE_TEXT || v->as.items[0].kind == MR_VALUE_LIST))
        return mr_reader_fail(r, at, "unsupported", "a list of prompts; make each a request");
    return mr_input_read_tokens(r, v, at, out);
}

static mr_status read_metadata(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;

    return mr_read_pairs(r, v, at, &j->metadata, &j->n_metadata);
}

#define CALL(name_, read_) {.name = name_, .kind = MR_FIELD_CALL, .read = read_}
#define IGNORED(name_) {.name = name_, .kind = MR_FIELD_IGNORED}
#define REFUSED(name_) {.name = name_, .kind = MR_FIELD_REFUSED}
/* clang-format off */
#define BOTH_ENDPOINTS                                                                      \
    {.name = "model", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_NAME, .hi = MR_JOB_MAX_NAME,  \
     .offset = offsetof(mr_job_spec, model)},                                               \
    CALL("metadata", read_metadata),                                                        \
    IGNORED("user"), IGNORED("stream"), IGNORED("stream_options"), IGNORED("store"),        \
    IGNORED("service_tier"), IGNORED("safety_identifier"), IGNORED("prompt_cache_key"),     \
    IGNORED("prompt_cache_retention")

static const mr_field chat_fields[] = {
    BOTH_ENDPOINTS,
    {.name = "messages", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED,
     .read = mr_input_read_messages},
    CALL("response_format", read_response_format),
    CALL("modalities", read_modalities),
    CALL("tool_choice", read_tool_choice),
    IGNORED("parallel_tool_calls"), /* without tools there is nothing to call */
    IGNORED("prediction"),          /* a hint about speed */
    REFUSED("tools"), REFUSED("functions"), REFUSED("function_call"), REFUSED("audio"),
    REFUSED("reasoning_effort"), REFUSED("verbosity"), REFUSED("web_search_options"),
    {.name = NULL},
};

static const mr_field completion_fields[] = {
    BOTH_ENDPOINTS,
    {.name = "prompt", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_prompt},
    CALL("logprobs", read_count_logprobs),
    CALL("best_of", read_best_of),
    CALL("suffix", read_suffix),
    REFUSED("echo"),
    {.name = NULL},
};
/* clang-format on */

static const mr_field *fields_of(const char *url) {
    if (!strcmp(url, "/v1/chat/completions")) return chat_fields;
    if (!strcmp(url, "/v1/completions")) return completion_fields;
    return NULL;
}

mr_status mr_codec_openai_decode(mr_job_spec *out, const char *url, const void *json, size_t n,
                                 mr_arena *arena, mr_codec_error *why) {
    static const mr_path url_path = {NULL, "url", 3};
    mr_codec_error unused;
    mr_reader r = {.arena = arena, .why = why ? why : &unused,
                   .max_values = MR_CODEC_MAX_JOB_VALUES, .null_is_absent = true};
    mr_field_set sets[] = {{.fields = fields_of(url), .out = out},
                           {.fields = mr_params_fields, .out = &out->params}};
    mr_value root;
    mr_status st;

    *r.why = (mr_codec_error){.format = MR_FORMAT_JSON};
    mr_codec_job_defaults(out);
    if (!sets[0].fields)
        return mr_reader_fail(&r, &url_path, "unsupported",
                              "\"%.*s\" is neither /v1/chat/completions nor /v1/completions",
                              MAX_URL_SHOWN, url);
    if (n > MR_JOB_MAX_BYTES)
        return mr_reader_fail(&r, NULL, "too_long", "the body has %zu bytes, at most %u", n,
                              MR_JOB_MAX_BYTES);
    if ((st = mr_value_read(&r, MR_FORMAT_JSON, json, n, &root)) != MR_OK) return st;
    if ((st = mr_fields_read(&r, &root, NULL, sets, MR_COUNT(sets))) != MR_OK) return st;
    return mr_params_check(&r, NULL, &out->params);
}
