/* Goal: every field of a job arrives where it belongs, from JSON and from msgpack alike, and a job
 * survives being written and read again in both formats.
 * Method: full and minimal records are decoded and looked at field by field; encoders are compared
 * through decoders, byte by byte after the second round. */
#include "schemas/codec.h"
#include "tests/unit/schemas/transcode.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"

static const char full[] =
    "{\"job_id\":\"" ID "\",\"model\":\"demo\",\"tenant\":\"acme\","
    "\"input\":{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"H\\u00e9\"},"
    "{\"type\":\"text\",\"text\":\"llo\"}]}]},"
    "\"params\":{\"max_tokens\":40,\"temperature\":0.5,\"top_p\":0.25,\"min_p\":0.125,\"top_k\":7,"
    "\"repetition_penalty\":1.5,\"frequency_penalty\":-2,\"presence_penalty\":2,"
    "\"seed\":9223372036854775807,\"stop\":[\"a\",\"bc\"],\"stop_token_ids\":[0,2147483647],"
    "\"logit_bias\":{\"42\":-100,\"0\":0.5},\"logprobs\":true,\"top_logprobs\":20,"
    "\"ignore_eos\":true,\"n\":1},"
    "\"stream\":false,\"priority\":\"low\",\"deadline_ms\":604800000,\"max_attempts\":20,"
    "\"not_before_ms\":9223372036854775807,\"idempotency_key\":\"k/1 \\u00e9\","
    "\"replay_of\":\"01936f5e-8c00-7abc-8def-000000000000\","
    "\"callback\":{\"url\":\"https://example.org/x\",\"secret_id\":\"s\",\"events\":[\"failed\"]},"
    "\"metadata\":{\"doc\":\"17\",\"empty\":\"\"}}";

static mr_arena arena;

static void decode(mr_job_spec *j, mr_format f, const void *bytes, size_t n, bool internal) {
    mr_codec_error why;
    mr_status st = mr_codec_job_decode(j, f, bytes, n, internal, &arena, &why);

    if (st != MR_OK) fail_msg("%s: %s", why.code, why.message);
    CHECK_I64(why.format, f);
}

/* The same text in the asked format. */
static void decode_text(mr_job_spec *j, mr_format f, const char *json, bool internal) {
    msgpack_sbuffer packed;

    if (f == MR_FORMAT_JSON) {
        decode(j, f, json, strlen(json), internal);
        return;
    }
    to_msgpack(json, &packed);
    decode(j, f, packed.data, packed.size, internal);
    msgpack_sbuffer_destroy(&packed);
}

static void check_full(const mr_job_spec *j) {
    const mr_params *p = &j->params;

    CHECK_STR(j->job_id, ID);
    CHECK_STR(j->model, "demo");
    CHECK_STR(j->tenant, "acme");
    CHECK_I64(j->input, MR_INPUT_MESSAGES);
    CHECK_I64(j->n_messages, 2);
    CHECK_STR(j->messages[0].role, "system");
    CHECK_STR(j->messages[0].content, "be brief");
    CHECK_STR(j->messages[1].content, "H\xc3\xa9llo");
    CHECK_I64(j->messages[1].content_len, 6);
    CHECK_I64(p->max_tokens, 40);
    CHECK(p->temperature == 0.5f && p->top_p == 0.25f && p->min_p == 0.125f);
    CHECK_I64(p->top_k, 7);
    CHECK(p->repetition_penalty == 1.5f && p->frequency_penalty == -2 && p->presence_penalty == 2);
    CHECK(p->has_seed);
    CHECK_I64(p->seed, INT64_MAX);
    CHECK_I64(p->n_stop, 2);
    CHECK_STR(p->stop[1], "bc");
    CHECK_I64(p->n_stop_token_ids, 2);
    CHECK_I64(p->stop_token_ids[1], INT32_MAX);
    CHECK_I64(p->n_logit_bias, 2);
    CHECK_I64(p->logit_bias[0].token, 42);
    CHECK(p->logit_bias[0].bias == -100 && p->logit_bias[1].bias == 0.5f);
    CHECK(p->logprobs && p->ignore_eos);
    CHECK_I64(p->top_logprobs, 20);
    CHECK(!j->stream);
    CHECK_I64(j->priority, MR_PRIORITY_LOW);
    CHECK_I64(j->deadline_ms, MR_JOB_MAX_DEADLINE_MS);
    CHECK_I64(j->max_attempts, 20);
    CHECK_I64(j->not_before_ms, INT64_MAX);
    CHECK_STR(j->idempotency_key, "k/1 \xc3\xa9");
    CHECK_STR(j->replay_of, "01936f5e-8c00-7abc-8def-000000000000");
    CHECK_STR(j->callback.url, "https://example.org/x");
    CHECK_STR(j->callback.secret_id, "s");
    CHECK_I64(j->callback.n_events, 1);
    CHECK_STR(j->callback.events[0], "failed");
    CHECK_I64(j->n_metadata, 2);
    CHECK_STR(j->metadata[0].key, "doc");
    CHECK_STR(j->metadata[0].value, "17");
    CHECK_STR(j->metadata[1].value, "");
}

TEST(every_field_arrives_from_both_formats) {
    mr_job_spec j;

    decode_text(&j, MR_FORMAT_JSON, full, false);
    check_full(&j);
    decode_text(&j, MR_FORMAT_MSGPACK, full, false);
    check_full(&j);
    mr_arena_drop(&arena);
}

TEST(absent_fields_get_their_defaults) {
    static const char small[] = "{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"\"}}";

    for (int f = MR_FORMAT_JSON; f <= MR_FORMAT_MSGPACK; f++) {
        mr_job_spec j;

        decode_text(&j, (mr_format)f, small, false);
        CHECK_STR(j.model, "");
        CHECK_STR(j.tenant, "default");
        CHECK_I64(j.input, MR_INPUT_PROMPT);
        CHECK_I64(j.prompt_len, 0);
        CHECK(j.params.temperature == 1 && j.params.top_p == 1 && j.params.repetition_penalty == 1);
        CHECK(j.stream && !j.params.has_seed && !j.params.logprobs && !j.callback.url);
        CHECK_I64(j.priority, MR_PRIORITY_HIGH); /* what its topic says */
        CHECK_I64(j.deadline_ms + j.max_attempts + j.n_metadata + j.params.max_tokens, 0);
        CHECK(!j.not_before_ms && !j.idempotency_key && !j.replay_of[0]);
    }
    mr_arena_drop(&arena);
}

TEST(the_spellings_that_mean_the_same) {
    static const char other[] =
        "{\"job_id\":\"" ID "\",\"input\":{\"tokens\":[1,2.0,131071]},\"params\":{"
        "\"max_completion_tokens\":3.0,\"stop\":\"one\",\"top_k\":-1,\"temperature\":1}}";

    for (int f = MR_FORMAT_JSON; f <= MR_FORMAT_MSGPACK; f++) {
        mr_job_spec j;

        decode_text(&j, (mr_format)f, other, false);
        CHECK_I64(j.input, MR_INPUT_TOKENS);
        CHECK_I64(j.n_tokens, 3);
        CHECK_I64(j.tokens[1], 2);
        CHECK_I64(j.params.max_tokens, 3);
        CHECK_I64(j.params.n_stop, 1);
        CHECK_STR(j.params.stop[0], "one");
        CHECK_I64(j.params.top_k, 0);
    }
    mr_arena_drop(&arena);
}

/* From format a: write as b, read, compare; write again, compare the bytes. */
static void round_trip(const char *json, bool internal) {
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            mr_job_spec first, second;
            const void *once, *twice;
            size_t n_once, n_twice;

            decode_text(&first, (mr_format)a, json, internal);
            CHECK_I64(mr_codec_job_encode(&first, (mr_format)b, internal, &arena, &once, &n_once),
                      0);
            decode(&second, (mr_format)b, once, n_once, internal);
            CHECK_I64(
                mr_codec_job_encode(&second, (mr_format)b, internal, &arena, &twice, &n_twice), 0);
            CHECK_I64(n_once, n_twice);
            CHECK(memcmp(once, twice, n_once) == 0);
            if (json == full) check_full(&second);
            if (internal) {
                CHECK_I64(second.attempt, 3);
                CHECK_I64(second.received_ms, 1767225600000);
                CHECK_I64(second.expires_ms, 5);
                CHECK_I64(second.reply_format, MR_FORMAT_MSGPACK);
            }
        }
    mr_arena_drop(&arena);
}

TEST(a_job_survives_the_round_trip_in_all_combinations) {
    round_trip(full, false);
    round_trip("{\"job_id\":\"" ID
               "\",\"input\":{\"prompt\":\"a\\\"\\\\\\n\\u0001\\u007f\\ud83d\\ude00\"}}",
               false);
    round_trip("{\"job_id\":\"" ID "\",\"input\":{\"tokens\":[0,127,128,65536,2147483647]},"
               "\"params\":{\"temperature\":0.1,\"top_p\":0.3333333,\"min_p\":1e-20}}",
               false);
}

TEST(the_dispatchers_fields_travel_inside_only) {
    static const char internal[] =
        "{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"x\"},\"attempt\":3,"
        "\"received_ms\":1767225600000,\"expires_ms\":5,\"reply_format\":\"msgpack\"}";
    mr_codec_error why;
    mr_job_spec j;

    round_trip(internal, true);
    CHECK_I64(
        mr_codec_job_decode(&j, MR_FORMAT_JSON, internal, strlen(internal), false, &arena, &why),
        MR_EINVAL);
    CHECK_STR(why.code, "unknown_field");
    CHECK_STR(why.field, "attempt");
    mr_arena_drop(&arena);
    CHECK_I64(mr_codec_job_decode(&j, MR_FORMAT_JSON, full, strlen(full), true, &arena, &why),
              MR_EINVAL);
    CHECK_STR(why.code, "missing_field");
    mr_arena_drop(&arena);
}

#define INSIDE                                                                              \
    "{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"x\"},\"attempt\":3,"                         \
    "\"received_ms\":1767225600000,\"expires_ms\":5,\"reply_format\":\"msgpack\""

static const char travelled[] =
    INSIDE ",\"tries\":2,\"backoffs\":7,\"due_ms\":1767225700000,\"charged\":300,"
           "\"wasted_tokens\":40,"
           "\"need_tokens\":1200,\"key_held\":true,\"history\":["
           "{\"attempt\":1,\"outcome\":\"fault\",\"worker\":\"w-1\",\"message\":\"a\",\"time_ms\":8},"
           "{\"attempt\":2,\"outcome\":\"oom\",\"worker\":\"\",\"message\":\"\",\"time_ms\":0},"
           "{\"attempt\":3,\"outcome\":\"no_fit\",\"worker\":\"w-2\",\"message\":\"b\","
           "\"time_ms\":9}]}";

static void check_travelled(const mr_job_spec *j) {
    CHECK_I64(j->tries, 2);
    CHECK_I64(j->backoffs, 7);
    CHECK_I64(j->due_ms, 1767225700000);
    CHECK_I64(j->charged, 300);
    CHECK_I64(j->wasted_tokens, 40);
    CHECK_I64(j->need_tokens, 1200);
    CHECK(j->key_held);
    CHECK_I64(j->n_history, 3);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_I64(j->history[i].attempt, i + 1);
        CHECK_I64(j->history[i].outcome, MR_ATTEMPT_FAULT + i);
    }
    CHECK_STR(j->history[0].worker, "w-1");
    CHECK_STR(j->history[0].message, "a");
    CHECK_I64(j->history[2].time_ms, 9);
}

TEST(what_happened_to_a_job_travels_with_it) {
    mr_codec_error why;
    mr_job_spec j;

    round_trip(travelled, true);
    for (int f = 0; f < 2; f++) {
        decode_text(&j, (mr_format)f, travelled, true);
        check_travelled(&j);
    }
    CHECK_I64(mr_codec_job_decode(&j, MR_FORMAT_JSON, INSIDE ",\"history\":[]}",
                                  strlen(INSIDE ",\"history\":[]}"), true, &arena, &why), MR_OK);
    CHECK_I64(j.n_history, 0);
    mr_arena_drop(&arena);
}

/* What an earlier program wrote has none of it. */
TEST(a_record_without_a_past_has_none) {
    mr_job_spec j;

    for (int f = 0; f < 2; f++) {
        decode_text(&j, (mr_format)f, INSIDE "}", true);
        CHECK_I64(j.tries + j.backoffs + j.due_ms + j.charged + j.need_tokens + j.n_history, 0);
        CHECK_I64(j.wasted_tokens, 0);
        CHECK(!j.key_held && !j.idempotency_key && !j.replay_of[0] && !j.not_before_ms);
    }
    mr_arena_drop(&arena);
}

TEST(none_of_it_is_taken_from_outside) {
    static const char *const fields[] = {"tries", "backoffs", "due_ms", "charged", "wasted_tokens",
                                         "need_tokens", "key_held", "history", "attempt"};
    char json[256];
    mr_codec_error why;
    mr_job_spec j;

    for (size_t i = 0; i < MR_COUNT(fields); i++) {
        snprintf(json, sizeof json, "{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"x\"},\"%s\":1}",
                 fields[i]);
        CHECK_I64(mr_codec_job_decode(&j, MR_FORMAT_JSON, json, strlen(json), false, &arena, &why),
                  MR_EINVAL);
        CHECK_STR(why.code, "unknown_field");
        CHECK_STR(why.field, fields[i]);
    }
    mr_arena_drop(&arena);
}

TEST(a_past_that_is_broken_is_named) {
    static const struct {
        const char *history, *field;
    } cases[] = {
        {"{}", "history"},
        {"[{}]", "history[0].attempt"},
        {"[{\"attempt\":1,\"outcome\":\"drained\"}]", "history[0].outcome"},
        {"[{\"attempt\":1,\"outcome\":3}]", "history[0].outcome"},
        {"[{\"attempt\":1,\"outcome\":\"oom\",\"worker\":\"w\",\"time_ms\":1}]",
         "history[0].message"},
        {"[{\"attempt\":1,\"outcome\":\"oom\",\"wroker\":\"w\"}]", "history[0].wroker"},
    };
    char json[512];
    mr_codec_error why;
    mr_job_spec j;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        snprintf(json, sizeof json, INSIDE ",\"history\":%s}", cases[i].history);
        CHECK_I64(mr_codec_job_decode(&j, MR_FORMAT_JSON, json, strlen(json), true, &arena, &why),
                  MR_EINVAL);
        CHECK_STR(why.field, cases[i].field);
    }
    mr_arena_drop(&arena);
}

/* The oldest attempts go, and a long message loses its end, at a character's border. */
TEST(a_long_past_is_cut) {
    mr_past past[MR_JOB_MAX_HISTORY + 3];
    char message[MR_JOB_MAX_REASON + 8];
    mr_job_spec j, back;
    const void *bytes;
    size_t n;

    memset(message, 'm', sizeof message);
    memcpy(message + MR_JOB_MAX_REASON - 1, "\xc3\xa9z", 4);
    for (uint32_t i = 0; i < MR_COUNT(past); i++)
        past[i] = (mr_past){i + 1, MR_ATTEMPT_OOM, "w", message, i};
    mr_codec_job_defaults(&j);
    memcpy(j.job_id, ID, sizeof ID);
    j.input = MR_INPUT_PROMPT;
    j.prompt = "";
    j.attempt = 1;
    j.history = past;
    j.n_history = MR_COUNT(past);
    for (int f = 0; f < 2; f++) {
        CHECK_I64(mr_codec_job_encode(&j, (mr_format)f, true, &arena, &bytes, &n), MR_OK);
        decode(&back, (mr_format)f, bytes, n, true);
        CHECK_I64(back.n_history, MR_JOB_MAX_HISTORY);
        CHECK_I64(back.history[0].attempt, 4);
        CHECK_I64(back.history[MR_JOB_MAX_HISTORY - 1].attempt, MR_COUNT(past));
        CHECK_I64(strlen(back.history[0].message), MR_JOB_MAX_REASON - 1);
    }
    memset(message, '\xff', MR_JOB_MAX_REASON + 1); /* each bad byte becomes three */
    CHECK_I64(mr_codec_job_encode(&j, MR_FORMAT_JSON, true, &arena, &bytes, &n), MR_OK);
    decode(&back, MR_FORMAT_JSON, bytes, n, true);
    CHECK_I64(strlen(back.history[0].message), 3 * MR_JOB_MAX_REASON);
    mr_arena_drop(&arena);
}

TEST(text_is_made_well_formed_on_the_way_out) {
    mr_job_spec j, back;
    const void *bytes;
    size_t n;

    mr_codec_job_defaults(&j);
    memcpy(j.job_id, ID, sizeof ID);
    j.input = MR_INPUT_PROMPT;
    j.prompt = "a\xff\xc3z\xed\xa0\x80";
    j.prompt_len = strlen(j.prompt);
    for (int f = 0; f < 2; f++) {
        CHECK_I64(mr_codec_job_encode(&j, (mr_format)f, false, &arena, &bytes, &n), MR_OK);
        decode(&back, (mr_format)f, bytes, n, false);
        CHECK_STR(back.prompt, "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    }
    mr_arena_drop(&arena);
}

TEST(a_small_arena_is_an_error_of_its_own) {
    mr_codec_error why;
    mr_arena small;
    mr_job_spec j;

    for (size_t limit = 16; limit < 2048; limit += 48) {
        mr_arena_init(&small, limit);
        mr_status st =
            mr_codec_job_decode(&j, MR_FORMAT_JSON, full, strlen(full), false, &small, &why);
        CHECK(st == MR_ENOMEM);
        CHECK_STR(why.code, "no_memory");
        CHECK(why.has_job_id);
        mr_arena_drop(&small);
    }
}

TEST(content_types_and_first_bytes_tell_the_format) {
    static const struct {
        const char *type, *bytes;
        int format; /* -1: refused */
    } cases[] = {
        {"application/json", "\x81", 0},
        {"Application/JSON; charset=utf-8", "", 0},
        {" application/msgpack ", "{", 1},
        {"application/x-msgpack", "{", 1},
        {"application/vnd.msgpack;v=1", "{", 1},
        {"text/plain", "{", -1},
        {"application/jso", "{", -1},
        {"", "{}", 0},
        {"", " {}", 0},
        {"", "\n{}", 0},
        {"", "\x82", 1},
        {"", "[", 1},
        {";x", "{", 0},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_format f = MR_FORMAT_JSON;
        bool ok = mr_format_of(cases[i].type, strlen(cases[i].type), cases[i].bytes,
                               strlen(cases[i].bytes), &f);
        CHECK_I64(ok ? (int)f : -1, cases[i].format);
    }
    mr_format f;
    CHECK(mr_format_of(NULL, 0, "{", 1, &f) && f == MR_FORMAT_JSON);
    CHECK(mr_format_of(NULL, 0, NULL, 0, &f) && f == MR_FORMAT_JSON);
    CHECK_STR(mr_format_content_type(MR_FORMAT_JSON), "application/json");
    CHECK_STR(mr_format_content_type(MR_FORMAT_MSGPACK), "application/msgpack");
}

MR_TEST_MAIN
