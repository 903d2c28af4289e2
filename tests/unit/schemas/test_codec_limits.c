/* Goal: every limit of job.h holds exactly, and what breaks it is told with code, field, limit and
 * value, in both formats alike.
 * Method: a table of records with the error that each must give (none: it must be accepted). Long
 * texts and lists are written as <n*piece> and expanded. Each case runs as JSON and as msgpack. */
#include "schemas/codec.h"
#include "tests/unit/schemas/transcode.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"
#define P "\"input\":{\"prompt\":\"x\"}" /* the shortest input */
#define JOB "{\"job_id\":\"" ID "\","
#define PARAMS JOB P ",\"params\":{"

typedef struct limit_case {
    const char *json;
    const char *code; /* NULL: accepted */
    const char *field;
    const char *says; /* part of the message */
} limit_case;

/* <3*ab> becomes ababab; '#' in a piece becomes the running number. */
static char *expand(const char *text) {
    static char out[4 << 20];
    size_t n = 0;

    while (*text) {
        const char *star, *end;
        if (*text != '<' || !(star = strchr(text, '*')) || !(end = strchr(star, '>'))) {
            out[n++] = *text++;
            continue;
        }
        for (long i = 0, times = atol(text + 1); i < times; i++)
            for (const char *c = star + 1; c < end; c++)
                if (*c == '#')
                    n += (size_t)sprintf(out + n, "%ld", i);
                else
                    out[n++] = *c;
        text = end + 1;
    }
    out[n] = '\0';
    return out;
}

static void check(const limit_case *c, mr_format f, const void *bytes, size_t n) {
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;
    mr_status st;

    mr_arena_init(&arena, 0);
    st = mr_codec_job_decode(&j, f, bytes, n, false, &arena, &why);
    mr_arena_drop(&arena);
    if (!c->code) {
        if (st != MR_OK) fail_msg("%.80s: %s", c->json, why.message);
        return;
    }
    if (st == MR_OK) fail_msg("%.120s: accepted as %s", c->json, mr_format_content_type(f));
    if (strcmp(why.code, c->code) || strcmp(why.field, c->field) || !strstr(why.message, c->says))
        fail_msg("%.120s: %s at %s: \"%s\"; expected %s at %s: \"%s\"", c->json, why.code,
                 why.field, why.message, c->code, c->field, c->says);
    CHECK_I64(st, strcmp(c->code, "unsupported") ? MR_EINVAL : MR_EUNSUPPORTED);
    if (why.field[0]) CHECK(strncmp(why.message, why.field, strlen(why.field)) == 0);
}

static void check_all(const limit_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *json = expand(cases[i].json);
        msgpack_sbuffer packed;

        check(&cases[i], MR_FORMAT_JSON, json, strlen(json));
        to_msgpack(json, &packed);
        check(&cases[i], MR_FORMAT_MSGPACK, packed.data, packed.size);
        msgpack_sbuffer_destroy(&packed);
    }
}

TEST(top_level_fields) {
    static const limit_case cases[] = {
        {"{" P "}", "missing_field", "job_id", "is missing"},
        {"{\"job_id\":\"x\"," P "}", "malformed", "job_id", "not a UUID of 36"},
        {"{\"job_id\":\"<37*a>\"," P "}", "too_long", "job_id", "37 bytes, at most 36"},
        {"{\"job_id\":7," P "}", "bad_type", "job_id", "is a number, not a text"},
        {"{\"job_id\":null," P "}", "bad_type", "job_id", "is null, not a text; leave it out"},
        {JOB P ",\"model\":\"<64*m>\"}", NULL, "", ""},
        {JOB P ",\"model\":\"<65*m>\"}", "too_long", "model", "65 bytes, at most 64"},
        {JOB P ",\"model\":\"a\\nb\"}", "malformed", "model", "byte 1 is a control character"},
        {JOB P ",\"tenant\":\"<64*t>\"}", NULL, "", ""},
        {JOB P ",\"tenant\":\"<65*t>\"}", "too_long", "tenant", "65 bytes, at most 64"},
        {JOB P ",\"tenant\":\"\"}", "out_of_range", "tenant", "0 bytes, at least 1"},
        {JOB P ",\"tenant\":\"a\\u0000b\"}", "malformed", "tenant", "zero byte"},
        {JOB P ",\"stream\":1}", "bad_type", "stream", "is a number, not true or false"},
        {JOB P ",\"stream\":\"true\"}", "bad_type", "stream", "is a text"},
        {JOB P ",\"priority\":\"urgent\"}", "out_of_range", "priority",
         "\"urgent\" is not one of: high, normal, low"},
        {JOB P ",\"deadline_ms\":604800000}", NULL, "", ""},
        {JOB P ",\"deadline_ms\":604800001}", "out_of_range", "deadline_ms",
         "604800001 is outside 0..604800000"},
        {JOB P ",\"deadline_ms\":-1}", "out_of_range", "deadline_ms", "-1 is outside"},
        {JOB P ",\"deadline_ms\":1.5}", "bad_type", "deadline_ms", "1.5 is not a whole number"},
        {JOB P ",\"deadline_ms\":1e300}", "out_of_range", "deadline_ms", "1e+300 is outside"},
        {JOB P ",\"max_attempts\":20}", NULL, "", ""},
        {JOB P ",\"max_attempts\":21}", "out_of_range", "max_attempts", "21 is outside 0..20"},
        {JOB P ",\"not_before_ms\":0}", NULL, "", ""},
        {JOB P ",\"not_before_ms\":-1}", "out_of_range", "not_before_ms", "-1 is outside"},
        {JOB P ",\"not_before_ms\":\"+10m\"}", "bad_type", "not_before_ms", "is a text"},
        {JOB P ",\"idempotency_key\":\"<128*k>\"}", NULL, "", ""},
        {JOB P ",\"idempotency_key\":\"<129*k>\"}", "too_long", "idempotency_key",
         "129 bytes, at most 128"},
        {JOB P ",\"idempotency_key\":\"\"}", "out_of_range", "idempotency_key",
         "0 bytes, at least 1"},
        {JOB P ",\"idempotency_key\":\"a\\u0000b\"}", "malformed", "idempotency_key", "zero byte"},
        {JOB P ",\"idempotency_key\":\"a\\tb\"}", "malformed", "idempotency_key",
         "byte 1 is a control character"},
        {JOB P ",\"replay_of\":\"x\"}", "malformed", "replay_of", "not a UUID of 36"},
        {JOB P ",\"mdoel\":\"x\"}", "unknown_field", "mdoel", "did you mean \"model\"?"},
        {JOB P ",\"temperature\":1}", "unknown_field", "temperature",
         "did you mean \"params.temperature\"?"},
        {"{\"job_id\":\"" ID "\",\"prompt\":\"x\"}", "unknown_field", "prompt",
         "did you mean \"input.prompt\"?"},
        {JOB P ",\"zzzzzzzzzzzz\":1}", "unknown_field", "zzzzzzzzzzzz", "unknown field"},
        {JOB P ",\"a\\nb\":1}", "unknown_field", "a?b", "unknown field"},
    };
    check_all(cases, MR_COUNT(cases));
}

TEST(input) {
    static const limit_case cases[] = {
        {"{\"job_id\":\"" ID "\"}", "missing_field", "input", "is missing"},
        {JOB "\"input\":{}}", "missing_field", "input", "give one of"},
        {JOB "\"input\":\"x\"}", "bad_type", "input", "is a text, not a map"},
        {JOB "\"input\":{\"prompt\":\"x\",\"tokens\":[1]}}", "conflict", "input", "exactly one"},
        {JOB "\"input\":{\"promt\":\"x\"}}", "unknown_field", "input.promt", "\"prompt\""},
        {JOB "\"input\":{\"prompt\":\"a\\u0000b\"}}", "malformed", "input.prompt", "zero byte"},
        {JOB "\"input\":{\"prompt\":7}}", "bad_type", "input.prompt", "is a number, not a text"},
        {JOB "\"input\":{\"tokens\":[]}}", "out_of_range", "input.tokens", "0 items, at least 1"},
        {JOB "\"input\":{\"tokens\":[0<131071*,1>]}}", NULL, "", ""},
        {JOB "\"input\":{\"tokens\":[0<131072*,1>]}}", "too_many", "input.tokens",
         "131073 items, at most 131072"},
        {JOB "\"input\":{\"tokens\":[1,2147483647]}}", NULL, "", ""},
        {JOB "\"input\":{\"tokens\":[1,2147483648]}}", "out_of_range", "input.tokens[1]",
         "2147483648 is outside 0..2147483647"},
        {JOB "\"input\":{\"tokens\":[-1]}}", "out_of_range", "input.tokens[0]", "-1 is outside"},
        {JOB "\"input\":{\"messages\":[]}}", "out_of_range", "input.messages", "0 items"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"\"}"
             "<255*,{\"role\":\"user\",\"content\":\"\"}>]}}", NULL, "", ""},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"\"}"
             "<256*,{\"role\":\"user\",\"content\":\"\"}>]}}",
         "too_many", "input.messages", "257 items, at most 256"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\"}]}}", "missing_field",
         "input.messages[0].content", "is missing"},
        {JOB "\"input\":{\"messages\":[{\"content\":\"x\"}]}}", "missing_field",
         "input.messages[0].role", "is missing"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"usr\",\"content\":\"\"}]}}", "out_of_range",
         "input.messages[0].role", "\"usr\" is not one of: system, user"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":5}]}}", "bad_type",
         "input.messages[0].content", "is a number"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":"
             "[{\"type\":\"image_url\",\"image_url\":{}}]}]}}",
         "unsupported", "input.messages[0].content[0]", "only parts of type \"text\""},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}}",
         "missing_field", "input.messages[0].content[0].text", "is missing"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"\",\"name\":\"bob\"}]}}",
         "unsupported", "input.messages[0].name", "is not supported"},
        {JOB "\"input\":{\"messages\":[{\"role\":\"user\",\"contents\":\"\"}]}}", "unknown_field",
         "input.messages[0].contents", "\"content\""},
    };
    check_all(cases, MR_COUNT(cases));
}

TEST(params) {
    static const limit_case cases[] = {
        {PARAMS "\"max_tokens\":131072}}", NULL, "", ""},
        {PARAMS "\"max_tokens\":131073}}", "out_of_range", "params.max_tokens",
         "131073 is outside 1..131072"},
        {PARAMS "\"max_tokens\":0}}", "out_of_range", "params.max_tokens", "0 is outside 1.."},
        {PARAMS "\"max_tokens\":1,\"max_completion_tokens\":1}}", "conflict",
         "params.max_completion_tokens", "another name of \"max_tokens\""},
        {PARAMS "\"temperature\":2}}", NULL, "", ""},
        {PARAMS "\"temperature\":2.001}}", "out_of_range", "params.temperature",
         "2.001 is outside 0..2"},
        {PARAMS "\"temperature\":-0.1}}", "out_of_range", "params.temperature", "-0.1 is outside"},
        {PARAMS "\"temperature\":\"1\"}}", "bad_type", "params.temperature",
         "is a text, not a number"},
        {PARAMS "\"temprature\":1}}", "unknown_field", "params.temprature", "\"temperature\""},
        {PARAMS "\"top_p\":1}}", NULL, "", ""},
        {PARAMS "\"top_p\":0}}", "out_of_range", "params.top_p", "0 is outside more than 0..1"},
        {PARAMS "\"top_p\":1e-60}}", "out_of_range", "params.top_p",
         "1e-60 is outside more than 0"},
        {PARAMS "\"top_p\":1.5}}", "out_of_range", "params.top_p", "1.5 is outside"},
        {PARAMS "\"min_p\":0}}", NULL, "", ""},
        {PARAMS "\"min_p\":1.01}}", "out_of_range", "params.min_p", "1.01 is outside 0..1"},
        {PARAMS "\"top_k\":2147483647}}", NULL, "", ""},
        {PARAMS "\"top_k\":-2}}", "out_of_range", "params.top_k", "-2 is outside -1.."},
        {PARAMS "\"repetition_penalty\":10}}", NULL, "", ""},
        {PARAMS "\"repetition_penalty\":0}}", "out_of_range", "params.repetition_penalty", "0 is"},
        {PARAMS "\"repetition_penalty\":10.5}}", "out_of_range", "params.repetition_penalty",
         "10.5"},
        {PARAMS "\"frequency_penalty\":-2,\"presence_penalty\":-2}}", NULL, "", ""},
        {PARAMS "\"frequency_penalty\":2.5}}", "out_of_range", "params.frequency_penalty", "-2..2"},
        {PARAMS "\"presence_penalty\":-2.5}}", "out_of_range", "params.presence_penalty", "-2..2"},
        {PARAMS "\"seed\":0}}", NULL, "", ""},
        {PARAMS "\"seed\":-1}}", "out_of_range", "params.seed",
         "-1 is outside 0..9223372036854775807"},
        {PARAMS "\"stop\":[\"a\"<15*,\"b\">]}}", NULL, "", ""},
        {PARAMS "\"stop\":[\"a\"<16*,\"b\">]}}", "too_many", "params.stop", "17 items, at most 16"},
        {PARAMS "\"stop\":[\"<256*a>\"]}}", NULL, "", ""},
        {PARAMS "\"stop\":[\"x\",\"<257*a>\"]}}", "too_long", "params.stop[1]",
         "257 bytes, at most 256"},
        {PARAMS "\"stop\":\"\"}}", "out_of_range", "params.stop", "0 bytes, at least 1"},
        {PARAMS "\"stop\":7}}", "bad_type", "params.stop", "is a number, not a list"},
        {PARAMS "\"stop_token_ids\":[0<15*,1>]}}", NULL, "", ""},
        {PARAMS "\"stop_token_ids\":[0<16*,1>]}}", "too_many", "params.stop_token_ids", "17 items"},
        {PARAMS "\"stop_token_ids\":[-1]}}", "out_of_range", "params.stop_token_ids[0]", "-1"},
        {PARAMS "\"logit_bias\":{\"x0\":1}}}", "out_of_range", "params.logit_bias.x0",
         "not a token id"},
        {PARAMS "\"logit_bias\":{\"00\":1}}}", "out_of_range", "params.logit_bias.00",
         "not a token"},
        {PARAMS "\"logit_bias\":{\"2147483647\":100}}}", NULL, "", ""},
        {PARAMS "\"logit_bias\":{\"2147483648\":1}}}", "out_of_range",
         "params.logit_bias.2147483648", "not a token id"},
        {PARAMS "\"logit_bias\":{\"1\":100.5}}}", "out_of_range", "params.logit_bias.1",
         "-100..100"},
        {PARAMS "\"logit_bias\":{<299*\"#\":1,>\"999\":1}}}", NULL, "", ""},
        {PARAMS "\"logit_bias\":{<300*\"#\":1,>\"999\":1}}}", "too_many", "params.logit_bias",
         "301 members, at most 300"},
        {PARAMS "\"logit_bias\":[1]}}", "bad_type", "params.logit_bias", "not a map"},
        {PARAMS "\"logprobs\":true,\"top_logprobs\":20}}", NULL, "", ""},
        {PARAMS "\"logprobs\":true,\"top_logprobs\":21}}", "out_of_range", "params.top_logprobs",
         "21 is outside 0..20"},
        {PARAMS "\"top_logprobs\":1}}", "conflict", "params.top_logprobs",
         "\"logprobs\" is not true"},
        {PARAMS "\"logprobs\":3}}", "bad_type", "params.logprobs", "not true or false"},
        {PARAMS "\"n\":1}}", NULL, "", ""},
        {PARAMS "\"n\":2}}", "unsupported", "params.n", "2 texts of one job, at most 1"},
        {PARAMS "\"ignore_eos\":0}}", "bad_type", "params.ignore_eos", "not true or false"},
    };
    check_all(cases, MR_COUNT(cases));
}

TEST(callback_and_metadata) {
    static const limit_case cases[] = {
        {JOB P ",\"callback\":{}}", "missing_field", "callback.url", "is missing"},
        {JOB P ",\"callback\":{\"url\":\"ftp://x\"}}", "out_of_range", "callback.url", "http://"},
        {JOB P ",\"callback\":{\"url\":\"http://a b\"}}", "malformed", "callback.url", "blank"},
        {JOB P ",\"callback\":{\"url\":\"http://<2041*a>\"}}", NULL, "", ""},
        {JOB P ",\"callback\":{\"url\":\"http://<2042*a>\"}}", "too_long", "callback.url",
         "2049 bytes, at most 2048"},
        {JOB P ",\"callback\":{\"url\":\"http://a\",\"secret_id\":\"<65*a>\"}}", "too_long",
         "callback.secret_id", "65 bytes, at most 64"},
        {JOB P ",\"callback\":{\"url\":\"http://a\",\"events\":[\"done\"]}}", "out_of_range",
         "callback.events[0]", "\"done\" is not one of: succeeded"},
        {JOB P ",\"callback\":{\"url\":\"http://a\",\"events\":[\"failed\"<5*,\"failed\">]}}",
         "too_many", "callback.events", "6 items, at most 5"},
        {JOB P ",\"metadata\":{<15*\"k#\":\"v\",>\"k\":\"v\"}}", NULL, "", ""},
        {JOB P ",\"metadata\":{<16*\"k#\":\"v\",>\"k\":\"v\"}}", "too_many", "metadata",
         "17 members, at most 16"},
        {JOB P ",\"metadata\":{\"<64*k>\":\"<512*v>\"}}", NULL, "", ""},
        {JOB P ",\"metadata\":{\"<65*k>\":\"v\"}}", "too_long",
         "metadata.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
         "key of 65 bytes, at most 64"},
        {JOB P ",\"metadata\":{\"k\":\"<513*v>\"}}", "too_long", "metadata.k",
         "513 bytes, at most 512"},
        {JOB P ",\"metadata\":{\"\":\"v\"}}", "out_of_range", "metadata", "a key is empty"},
        {JOB P ",\"metadata\":{\"k\":1}}", "bad_type", "metadata.k", "is a number, not a text"},
        {JOB P ",\"metadata\":[]}", "bad_type", "metadata", "not a map of texts"},
    };
    check_all(cases, MR_COUNT(cases));
}

TEST(a_record_as_large_as_allowed_and_one_byte_more) {
    const char head[] = JOB "\"input\":{\"prompt\":\"", tail[] = "\"}}";
    const size_t room = MR_JOB_MAX_BYTES - strlen(head) - strlen(tail);
    static char json[MR_JOB_MAX_BYTES + 2];
    const limit_case fits = {"1 MiB", NULL, "", ""};
    const limit_case larger = {"1 MiB + 1", "too_long", "", "1048577 bytes, at most 1048576"};

    strcpy(json, head);
    memset(json + strlen(head), 'x', room);
    strcpy(json + strlen(head) + room, tail);
    check(&fits, MR_FORMAT_JSON, json, MR_JOB_MAX_BYTES);
    json[MR_JOB_MAX_BYTES] = ' ';
    check(&larger, MR_FORMAT_JSON, json, MR_JOB_MAX_BYTES + 1);
}

MR_TEST_MAIN
