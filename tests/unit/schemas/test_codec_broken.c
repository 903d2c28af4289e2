/* Goal: bytes that are no record are refused before memory is spent on them, with the place where
 * they break, and the job is still recognised when its id can be read.
 * Method: hand-written bytes for each way to break; the arena's use is measured. */
#include "base/arena.h"
#include "schemas/codec.h"
#include "tests/test.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"
#define ID2 "01936f5e-8c00-7abc-8def-0123456789ac"
#define MP_ID "\xa6job_id\xd9\x24" ID /* a msgpack pair */

typedef struct broken {
    const char *bytes;
    size_t n;
    const char *code, *field, *says;
    bool has_job_id;
} broken;

#define BYTES(text) text, sizeof(text) - 1

static void check_all(mr_format f, const broken *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const broken *c = &cases[i];
        mr_codec_error why;
        mr_job_spec j;
        mr_arena arena;

        mr_arena_init(&arena, 64 << 10);
        if (mr_codec_job_decode(&j, f, c->bytes, c->n, false, &arena, &why) == MR_OK)
            fail_msg("case %zu: accepted", i);
        mr_arena_drop(&arena);
        if (strcmp(why.code, c->code) || strcmp(why.field, c->field) ||
            !strstr(why.message, c->says))
            fail_msg("case %zu: %s at %s: \"%s\"; expected %s at %s: \"%s\"", i, why.code,
                     why.field, why.message, c->code, c->field, c->says);
        CHECK_I64(why.has_job_id, c->has_job_id);
        CHECK_STR(why.job_id, c->has_job_id ? ID : "");
    }
}

TEST(broken_json) {
    static const broken cases[] = {
        {BYTES(""), "malformed", "", "empty", false},
        {BYTES("{"), "malformed", "", "cut off at byte 1", false},
        {BYTES("[]"), "bad_type", "", "not a map", false},
        {BYTES("7"), "malformed", "", "not JSON", false},
        {BYTES("{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"secret"), "malformed",
         "input.prompt", "at byte", true},
        {BYTES("{\"job_id\":\"" ID "\"} x"), "malformed", "", "follows the record", true},
        {BYTES("{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"\xff\"}}"), "malformed",
         "input.prompt", "not UTF-8", true},
        {BYTES("{\"job_id\":\"" ID "\",\"input\":{\"prompt\":\"a\",\"prompt\":\"b\"}}"),
         "duplicate_field", "input.prompt", "is there twice", true},
        {BYTES("{\"job_id\":\"" ID "\",\"params\":{\"seed\":18446744073709551615}}"),
         "out_of_range", "params.seed", "neither 64 bits", true},
        {BYTES("{\"job_id\":\"" ID "\",\"params\":{\"top_p\":1e999}}"), "out_of_range",
         "params.top_p", "neither 64 bits nor a double", true},
        {BYTES("{\"job_id\":\"" ID "\",\"params\":{\"top_p\":NaN}}"), "malformed", "params.top_p",
         "not JSON", true},
        {BYTES("{\"a\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]],\"job_id\":\"" ID "\"}"), "malformed",
         "a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]", "nested deeper than 16", true},
        {BYTES("{\"job_id\":\"" ID "\",\"a\\u0000\":1}"), "malformed", "a\\u0000", "zero byte",
         true},
        {BYTES("{\"job_id\":\"" ID "\" \"model\":\"m\"}"), "malformed", "job_id", "not JSON", true},
        /* whose is it? two answers are none */
        {BYTES("{\"job_id\":\"" ID "\",\"job_id\":\"" ID2 "\"}"), "duplicate_field", "job_id",
         "twice", false},
        {BYTES("{\"x\":{\"job_id\":\"" ID "\"}}"), "unknown_field", "x", "unknown", false},
        {BYTES("{\"x\":\"job_id\",\"y\":\"" ID "\"}"), "unknown_field", "x", "unknown", false},
        {BYTES("{\"job_id\":\"not an id\",\"x\":1}"), "malformed", "job_id", "UUID", false},
    };
    check_all(MR_FORMAT_JSON, cases, MR_COUNT(cases));
}

TEST(broken_msgpack) {
    static const broken cases[] = {
        {BYTES(""), "malformed", "", "empty", false},
        {BYTES("\x90"), "bad_type", "", "not a map", false},
        {BYTES("\xc0"), "bad_type", "", "not a map", false},
        {BYTES("\x81"), "malformed", "", "announces 2 items, 0 bytes left", false},
        {BYTES("\xdf\x02\x00\x00\x00"), "malformed", "", "announces 67108864 items", false},
        {BYTES("\x82" MP_ID "\xa5input\xdd\x02\x00\x00\x00"), "malformed", "input",
         "announces 33554432 items, 0 bytes left", true},
        {BYTES("\x82" MP_ID "\xa5input\xdb\xff\xff\xff\xffx"), "malformed", "input", "cut off",
         true},
        {BYTES("\x81" MP_ID "\xc0"), "malformed", "", "1 bytes behind the record", true},
        {BYTES("\x82" MP_ID "\xa1x\xc1"), "malformed", "x", "is 0xc1", true},
        {BYTES("\x82" MP_ID "\x01\x02"), "malformed", "", "key 2 is not a msgpack str", true},
        {BYTES("\x82" MP_ID "\xc4\x01x\x02"), "malformed", "", "key 2 is not a msgpack str", true},
        {BYTES("\x82" MP_ID "\xa2x\0\x02"), "malformed", "", "key 2 holds a zero byte", true},
        {BYTES("\x82" MP_ID "\xa5model\xc4\x01x"), "bad_type", "model", "is msgpack bin", true},
        {BYTES("\x82" MP_ID "\xa5model\xd6\x01xxxx"), "bad_type", "model", "extension", true},
        {BYTES("\x82" MP_ID "\xa5model\xa1\xff"), "malformed", "model", "not UTF-8 at its byte 0",
         true},
        {BYTES("\x82" MP_ID "\xa5model\xa4x\xed\xa0\x80"), "malformed", "model",
         "not UTF-8 at its byte 1", true},
        {BYTES("\x82" MP_ID "\xa5model\xa2\xc0\x80"), "malformed", "model", "not UTF-8", true},
        {BYTES("\x82" MP_ID "\xa1x\xca\x7f\x80\x00\x00"), "out_of_range", "x", "finite", true},
        {BYTES("\x82" MP_ID "\xa1x\xcb\x7f\xf8\0\0\0\0\0\0"), "out_of_range", "x", "finite", true},
        {BYTES("\x83" MP_ID "\xa5model\xa1x\xa5model\xa1x"), "duplicate_field", "model", "twice",
         true},
        {BYTES(
             "\x82\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x90" MP_ID),
         "malformed", "x[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]", "deeper than 16", true},
        {BYTES("\x82" MP_ID "\xa6params\x81\xa4seed\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
         "out_of_range", "params.seed", "1.8446744073709552e+19 is outside", true},
        {BYTES("\x82" MP_ID "\xa6params\x81\xa4seed\xd3\x80\0\0\0\0\0\0\0"), "out_of_range",
         "params.seed", "-9223372036854775808 is outside", true},
        {BYTES("\x81" MP_ID), "missing_field", "input", "missing", true},
    };
    check_all(MR_FORMAT_MSGPACK, cases, MR_COUNT(cases));
}

/* Every prefix of a good record is refused; none reads past its end (the sanitizer sees). */
TEST(every_cut_is_noticed) {
    static const char json[] =
        "{\"job_id\":\"" ID "\",\"model\":\"m\",\"input\":{\"tokens\":[1,-0.5]}}";
    static const char packed[] =
        "\x83" MP_ID "\xa5model\xa1m\xa5input\x81\xa6tokens\x94\x01\xcd\x01\x02"
        "\xcb\x3f\xf0\0\0\0\0\0\0\xd3\0\0\0\0\0\0\0\x05";
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;

    mr_arena_init(&arena, 0);
    CHECK_I64(
        mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, packed, sizeof packed - 1, false, &arena, &why),
        0);
    CHECK_I64(j.tokens[1] + j.tokens[2] + j.tokens[3], 258 + 1 + 5);
    for (size_t n = 0; n < sizeof json - 1; n++) {
        char *exact = malloc(n + 1);
        memcpy(exact, json, n);
        CHECK(mr_codec_job_decode(&j, MR_FORMAT_JSON, exact, n, false, &arena, &why) == MR_EINVAL);
        CHECK_I64(why.has_job_id, n >= strlen("{\"job_id\":\"" ID "\""));
        free(exact);
    }
    for (size_t n = 0; n < sizeof packed - 1; n++) {
        char *exact = malloc(n + 1);
        memcpy(exact, packed, n);
        CHECK(mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, exact, n, false, &arena, &why) ==
              MR_EINVAL);
        CHECK_I64(why.has_job_id, n >= strlen("\x83" MP_ID));
        free(exact);
    }
    mr_arena_drop(&arena);
}

TEST(tenant_and_model_are_found_too) {
    static const char json[] =
        "{\"tenant\":\"acme\",\"job_id\":\"" ID "\",\"model\":\"demo\",\"x\":1";
    static const char packed[] = "\x84\xa6tenant\xa4" "acme" MP_ID "\xa5model\xa4" "demo";
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;

    mr_arena_init(&arena, 0);
    for (int f = 0; f < 2; f++) {
        const char *bytes = f == MR_FORMAT_JSON ? json : packed;
        const size_t n = f == MR_FORMAT_JSON ? sizeof json - 1 : sizeof packed - 1;
        CHECK(mr_codec_job_decode(&j, (mr_format)f, bytes, n, false, &arena, &why) == MR_EINVAL);
        CHECK(why.has_job_id);
        CHECK_STR(why.tenant, "acme");
        CHECK_STR(why.model, "demo");
        CHECK_I64(why.format, f);
    }
    CHECK(mr_codec_job_decode(&j, MR_FORMAT_JSON, "{", 1, false, &arena, NULL) == MR_EINVAL);
    mr_arena_drop(&arena);
}

/* A list of lists, each announcing as many items as bytes remain, asks for no memory at all. */
TEST(a_bomb_costs_nothing) {
    static unsigned char bomb[1 << 20];
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;

    memset(bomb, 0xc0, sizeof bomb);
    memcpy(bomb, "\x81\xa1x", 3);
    for (size_t i = 0; i < 14; i++) {
        const size_t left = sizeof bomb - 3 - 5 * (i + 1);
        unsigned char *p = bomb + 3 + 5 * i;
        p[0] = 0xdd;
        for (size_t b = 0; b < 4; b++) p[1 + b] = (unsigned char)(left >> 8 * (3 - b));
    }
    mr_arena_init(&arena, 0);
    CHECK(mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, bomb, sizeof bomb, false, &arena, &why) ==
          MR_EINVAL);
    CHECK_STR(why.code, "too_many");
    CHECK_I64(arena.used, 0);
    mr_arena_drop(&arena);
}

TEST(too_many_members_or_values) {
    static char json[1 << 20];
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;
    size_t n = 1;

    mr_arena_init(&arena, 0);
    json[0] = '{';
    for (int i = 0; i <= 512; i++) n += (size_t)sprintf(json + n, "%s\"k%d\":0", i ? "," : "", i);
    json[n++] = '}';
    CHECK(mr_codec_job_decode(&j, MR_FORMAT_JSON, json, n, false, &arena, &why) == MR_EINVAL);
    CHECK_STR(why.message, "513 members, at most 512");

    n = (size_t)sprintf(json, "{\"input\":{\"tokens\":[0");
    for (int i = 0; i < 300000; i++) n += (size_t)sprintf(json + n, ",0");
    n += (size_t)sprintf(json + n, "]}}");
    CHECK(mr_codec_job_decode(&j, MR_FORMAT_JSON, json, n, false, &arena, &why) == MR_EINVAL);
    CHECK_STR(why.code, "too_many");
    CHECK(strstr(why.message, "more than 262144 values"));
    mr_arena_drop(&arena);
}

/* Errors go to logs and other people; what the user wrote does not. */
TEST(no_error_quotes_a_prompt) {
    static const char *const cases[] = {
        "{\"input\":{\"prompt\":\"secret\\q\"}}",
        "{\"input\":{\"prompt\":\"secret\" \"secret\"}}",
        "{\"input\":{\"prompt\":\"secret",
        "{\"input\":{\"prompt\":\"secret\\u0000\"}}",
        "{\"input\":{\"prompt\":{\"text\":secret}}}",
        "{\"input\":{\"messages\":[{\"role\":\"user\",\"content\":[\"secret\"]}]}}",
        "{\"input\":{\"tokens\":\"secret\"}}",
        "{\"input\":{\"prompt\":\"x\"},\"params\":{\"stop\":[\"secret\\u0000\"]}}",
    };
    mr_codec_error why;
    mr_job_spec j;
    mr_arena arena;

    mr_arena_init(&arena, 0);
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK(mr_codec_job_decode(&j, MR_FORMAT_JSON, cases[i], strlen(cases[i]), false, &arena,
                                  &why));
        if (strstr(why.message, "secret") || strstr(why.field, "secret"))
            fail_msg("%s", why.message);
    }
    mr_arena_drop(&arena);
}

MR_TEST_MAIN
