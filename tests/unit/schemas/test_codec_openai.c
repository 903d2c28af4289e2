/* Goal: an OpenAI body becomes the job that answers it; what we cannot honour is refused by name.
 * Method: one full body per endpoint is looked at field by field; a table of bodies with the field
 * that each must be refused for, and one of bodies that must pass unchanged. */
#include "schemas/codec.h"
#include "tests/test.h"

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define MSG "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static mr_arena arena;

TEST(a_chat_body) {
    static const char body[] =
        "{\"model\":\"demo\",\"messages\":[{\"role\":\"developer\",\"content\":\"brief\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":\"c\",\"refusal\":null,"
        "\"tool_calls\":[]}],\"max_completion_tokens\":9,\"temperature\":0,\"seed\":5,"
        "\"stop\":null,\"logprobs\":true,\"top_logprobs\":2,\"n\":1,\"top_k\":3,"
        "\"metadata\":{\"k\":\"v\"},\"stream\":true}";
    mr_codec_error why;
    mr_job_spec j;
    mr_status st = mr_codec_openai_decode(&j, CHAT, body, strlen(body), &arena, &why);

    if (st != MR_OK) fail_msg("%s", why.message);
    CHECK_STR(j.job_id, "");
    CHECK_STR(j.model, "demo");
    CHECK_I64(j.n_messages, 3);
    CHECK_STR(j.messages[0].role, "system");
    CHECK_STR(j.messages[1].content, "ab");
    CHECK_STR(j.messages[2].role, "assistant");
    CHECK_I64(j.params.max_tokens, 9);
    CHECK(j.params.temperature == 0 && j.params.top_p == 1);
    CHECK_I64(j.params.seed, 5);
    CHECK_I64(j.params.top_logprobs, 2);
    CHECK_I64(j.params.top_k, 3);
    CHECK_I64(j.n_metadata, 1);
    CHECK_STR(j.tenant, "default");
    mr_arena_drop(&arena);
}

TEST(a_completion_body) {
    static const char text[] = "{\"model\":\"d\",\"prompt\":\"Once\",\"logprobs\":5,\"best_of\":1,"
                               "\"echo\":false,\"suffix\":\"\",\"max_tokens\":4}";
    static const char ids[] = "{\"prompt\":[5,6,7],\"logprobs\":null}";
    mr_codec_error why;
    mr_job_spec j;

    CHECK_I64(mr_codec_openai_decode(&j, TEXT, text, strlen(text), &arena, &why), MR_OK);
    CHECK_I64(j.input, MR_INPUT_PROMPT);
    CHECK_STR(j.prompt, "Once");
    CHECK(j.params.logprobs);
    CHECK_I64(j.params.top_logprobs, 5);
    CHECK_I64(mr_codec_openai_decode(&j, TEXT, ids, strlen(ids), &arena, &why), MR_OK);
    CHECK_I64(j.input, MR_INPUT_TOKENS);
    CHECK_I64(j.n_tokens, 3);
    CHECK(!j.params.logprobs);
    mr_arena_drop(&arena);
}

TEST(what_changes_nothing_is_accepted) {
    static const char *const extra[] = {
        "\"user\":\"u\"", "\"stream\":false", "\"stream_options\":{\"include_usage\":true}",
        "\"store\":true", "\"service_tier\":\"auto\"", "\"safety_identifier\":\"x\"",
        "\"prompt_cache_key\":\"x\"", "\"response_format\":{\"type\":\"text\"}",
        "\"modalities\":[\"text\"]", "\"tools\":[]", "\"tools\":null", "\"tool_choice\":\"none\"",
        "\"parallel_tool_calls\":true", "\"prediction\":{\"type\":\"content\"}", "\"n\":null",
        "\"reasoning_effort\":null", "\"max_tokens\":null", "\"logit_bias\":null",
    };
    char body[256];

    for (size_t i = 0; i < MR_COUNT(extra); i++) {
        mr_codec_error why;
        mr_job_spec j;

        snprintf(body, sizeof body, "{\"model\":\"m\"," MSG ",%s}", extra[i]);
        if (mr_codec_openai_decode(&j, CHAT, body, strlen(body), &arena, &why) != MR_OK)
            fail_msg("%s: %s", extra[i], why.message);
    }
    mr_arena_drop(&arena);
}

TEST(what_would_change_the_answer_is_refused_by_name) {
    static const struct {
        const char *url, *body, *code, *field;
    } cases[] = {
        {"/v1/embeddings", "{}", "unsupported", "url"},
        {CHAT, "{" MSG ",\"n\":2}", "unsupported", "n"},
        {CHAT, "{" MSG ",\"tools\":[{\"type\":\"function\"}]}", "unsupported", "tools"},
        {CHAT, "{" MSG ",\"tool_choice\":\"required\"}", "unsupported", "tool_choice"},
        {CHAT, "{" MSG ",\"functions\":[1]}", "unsupported", "functions"},
        {CHAT, "{" MSG ",\"response_format\":{\"type\":\"json_object\"}}", "unsupported",
         "response_format"},
        {CHAT, "{" MSG ",\"modalities\":[\"text\",\"audio\"]}", "unsupported", "modalities"},
        {CHAT, "{" MSG ",\"reasoning_effort\":\"low\"}", "unsupported", "reasoning_effort"},
        {CHAT, "{" MSG ",\"web_search_options\":{\"a\":1}}", "unsupported", "web_search_options"},
        {CHAT, "{" MSG ",\"prompt\":\"x\"}", "unknown_field", "prompt"},
        {CHAT, "{" MSG ",\"temprature\":1}", "unknown_field", "temprature"},
        {CHAT, "{" MSG ",\"temperature\":3}", "out_of_range", "temperature"},
        {CHAT, "{" MSG ",\"max_tokens\":1,\"max_completion_tokens\":1}", "conflict",
         "max_completion_tokens"},
        {CHAT, "{" MSG ",\"top_logprobs\":1}", "conflict", "top_logprobs"},
        {CHAT, "{\"model\":\"m\"}", "missing_field", "messages"},
        {CHAT, "{\"messages\":null}", "missing_field", "messages"},
        {CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{}]}]}",
         "unsupported", "messages[0].tool_calls"},
        {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}",
         "unsupported", "messages[0].content[0]"},
        {TEXT, "{\"prompt\":[\"a\",\"b\"]}", "unsupported", "prompt"},
        {TEXT, "{\"prompt\":[[1],[2]]}", "unsupported", "prompt"},
        {TEXT, "{\"prompt\":\"x\",\"best_of\":3}", "unsupported", "best_of"},
        {TEXT, "{\"prompt\":\"x\",\"echo\":true}", "unsupported", "echo"},
        {TEXT, "{\"prompt\":\"x\",\"suffix\":\"y\"}", "unsupported", "suffix"},
        {TEXT, "{\"prompt\":\"x\",\"logprobs\":6}", "out_of_range", "logprobs"},
        {TEXT, "{}", "missing_field", "prompt"},
        {TEXT, "nonsense", "malformed", ""},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_codec_error why;
        mr_job_spec j;
        mr_status st = mr_codec_openai_decode(&j, cases[i].url, cases[i].body,
                                              strlen(cases[i].body), &arena, &why);
        if (st == MR_OK) fail_msg("%s: accepted", cases[i].body);
        if (strcmp(why.code, cases[i].code) || strcmp(why.field, cases[i].field))
            fail_msg("%s: %s at %s (%s)", cases[i].body, why.code, why.field, why.message);
    }
    mr_arena_drop(&arena);
}

MR_TEST_MAIN
