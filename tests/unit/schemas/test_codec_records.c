/* Goal: results, frames, heartbeats, dead letters and cancels say again what they were given; a
 * newer writer's extra fields are skipped; a broken record is named.
 * Method: encode, decode, compare field by field (results in both formats); hand-written JSON for
 * what our writers never produce. */
#include <math.h>

#include "schemas/codec.h"
#include "tests/test.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"

static mr_arena arena;
static mr_err err;

TEST(a_result_in_both_formats) {
    static const mr_token_logprob tops[] = {{7, "a", -0.25f, NULL, 0},
                                            {8, "\xef\xbf\xbd", -1.5f, NULL, 0}};
    static const mr_token_logprob logprobs[] = {{7, "a", -0.25f, tops, 2},
                                                {9, "", -INFINITY, NULL, 0}};
    static const mr_pair metadata[] = {{"k", "v"}};
    const mr_result in = {.job_id = ID, .model = "demo", .tenant = "acme",
                          .status = MR_STATUS_FAILED, .finish_reason = "length",
                          .text = "a\0\"\n\xc3\xa9", .text_len = 6, .prompt_tokens = 3,
                          .completion_tokens = 2, .cached_tokens = 1, .logprobs = logprobs,
                          .n_logprobs = 2, .error = {"engine_error", "params.seed", "one line"},
                          .attempt = 4, .worker = "w-1", .stream_degraded = true, .received_ms = 11,
                          .finished_ms = 22, .queue_ms = 1, .prefill_ms = 2, .decode_ms = 3,
                          .first_token_ms = 4, .metadata = metadata, .n_metadata = 1};

    for (int f = 0; f < 2; f++) {
        const void *bytes;
        mr_result out;
        size_t n;

        CHECK_I64(mr_codec_result_encode(&in, (mr_format)f, &arena, &bytes, &n), MR_OK);
        CHECK_OK(mr_codec_result_decode(&out, (mr_format)f, bytes, n, &arena, &err), err);
        CHECK_STR(out.job_id, ID);
        CHECK_STR(out.model, "demo");
        CHECK_STR(out.tenant, "acme");
        CHECK_I64(out.status, MR_STATUS_FAILED);
        CHECK_STR(out.finish_reason, "length");
        CHECK_I64(out.text_len, 6);
        CHECK(memcmp(out.text, in.text, 6) == 0);
        CHECK_I64(out.prompt_tokens * 100 + out.completion_tokens * 10 + out.cached_tokens, 321);
        CHECK_I64(out.n_logprobs, 2);
        CHECK_I64(out.logprobs[0].n_top, 2);
        CHECK_I64(out.logprobs[0].top[1].token, 8);
        CHECK_STR(out.logprobs[0].top[1].text, "\xef\xbf\xbd");
        CHECK(out.logprobs[0].top[1].logprob == -1.5f);
        CHECK(isfinite(out.logprobs[1].logprob) && out.logprobs[1].logprob < -1e30f);
        CHECK_STR(out.error.code, "engine_error");
        CHECK_STR(out.error.field, "params.seed");
        CHECK_STR(out.error.message, "one line");
        CHECK_I64(out.attempt, 4);
        CHECK_STR(out.worker, "w-1");
        CHECK(out.stream_degraded);
        CHECK_I64(out.received_ms * 100 + out.finished_ms, 1122);
        CHECK_I64(out.queue_ms * 1000 + out.prefill_ms * 100 + out.decode_ms * 10 +
                      out.first_token_ms,
                  1234);
        CHECK_STR(out.metadata[0].value, "v");
    }
    mr_arena_drop(&arena);
}

TEST(a_result_without_an_error_has_none) {
    static const char json[] =
        "{\"job_id\":\"" ID "\",\"status\":\"cancelled\",\"from\":\"the future\"}";
    mr_result r;

    CHECK_OK(mr_codec_result_decode(&r, MR_FORMAT_JSON, json, strlen(json), &arena, &err), err);
    CHECK_I64(r.status, MR_STATUS_CANCELLED);
    CHECK(!r.error.code && !r.logprobs && r.text && !r.text_len && r.worker && r.model);
    CHECK_I64(mr_codec_result_decode(&r, MR_FORMAT_JSON, "{\"status\":\"ok\"}", 15, &arena, &err),
              MR_EINVAL);
    CHECK_ERR(err, "result: status: \"ok\" is not one of");
    mr_arena_drop(&arena);
}

static void frame_round_trip(const mr_frame *in, mr_frame *out, const char *expected) {
    char buf[512];
    size_t n = 0, exact = 0;

    CHECK_I64(mr_codec_frame_encode(in, buf, sizeof buf, &n), MR_OK);
    CHECK_STR(buf, expected);
    CHECK_I64(n, strlen(expected));
    CHECK_OK(mr_codec_frame_decode(out, buf, n, &arena, &err), err);
    /* The border of the buffer: n bytes and the terminator. */
    char *tight = malloc(n + 1);
    CHECK_I64(mr_codec_frame_encode(in, tight, n + 1, &exact), MR_OK);
    CHECK_I64(mr_codec_frame_encode(in, tight, n, &exact), MR_ELIMIT);
    CHECK_I64(exact, n);
    CHECK_I64(mr_codec_frame_encode(in, NULL, 0, &exact), MR_ELIMIT);
    CHECK_I64(exact, n);
    free(tight);
}

TEST(frames) {
    mr_frame in = {.type = MR_FRAME_TOKEN, .job_id = ID, .attempt = 1, .index = 5, .token = 42,
                   .text = "\"\x01\xff", .text_len = 3};
    mr_frame out;

    frame_round_trip(&in, &out,
                     "{\"type\":\"token\",\"job_id\":\"" ID
                     "\",\"attempt\":1,\"index\":5,\"token\":42,"
                     "\"text\":\"\\\"\\u0001\xef\xbf\xbd\"}");
    CHECK_I64(out.type, MR_FRAME_TOKEN);
    CHECK_I64(out.index, 5);
    CHECK_I64(out.token, 42);
    CHECK_STR(out.text, "\"\x01\xef\xbf\xbd");
    CHECK_I64(out.text_len, 5);
    in.text = NULL; /* held back */
    in.text_len = 0;
    frame_round_trip(&in, &out,
                     "{\"type\":\"token\",\"job_id\":\"" ID
                     "\",\"attempt\":1,\"index\":5,\"token\":42,"
                     "\"text\":\"\"}");

    in = (mr_frame){.type = MR_FRAME_RESTART, .job_id = ID, .attempt = 2};
    frame_round_trip(&in, &out,
                     "{\"type\":\"restart\",\"job_id\":\"" ID "\",\"attempt\":2,\"index\":0}");
    CHECK_I64(out.type, MR_FRAME_RESTART);

    in = (mr_frame){.type = MR_FRAME_DONE, .job_id = ID, .attempt = 1, .index = 17,
                    .status = MR_STATUS_FAILED, .finish_reason = "stop",
                    .error = {"engine_error", "", "bad"}};
    frame_round_trip(&in, &out,
                     "{\"type\":\"done\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":17,"
                     "\"status\":\"failed\",\"finish_reason\":\"stop\","
                     "\"error\":{\"code\":\"engine_error\",\"field\":\"\",\"message\":\"bad\"}}");
    CHECK_I64(out.status, MR_STATUS_FAILED);
    CHECK_STR(out.finish_reason, "stop");
    CHECK_STR(out.error.message, "bad");
    mr_arena_drop(&arena);
}

TEST(frames_that_lack_something) {
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{}", "frame: type: is missing"},
        {"{\"type\":\"token\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":0,\"text\":\"\"}",
         "frame: token: is missing"},
        {"{\"type\":\"token\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":0,\"token\":1}",
         "frame: text: is missing"},
        {"{\"type\":\"done\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":0}",
         "frame: status: is missing"},
        {"{\"type\":\"token\",\"job_id\":\"" ID "\",\"attempt\":-1,\"index\":0}",
         "frame: attempt: -1 is outside"},
        {"{\"type\":\"pause\"}", "frame: type: \"pause\" is not one of"},
    };
    mr_frame fr;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_I64(mr_codec_frame_decode(&fr, cases[i].json, strlen(cases[i].json), &arena, &err),
                  MR_EINVAL);
        CHECK_ERR(err, cases[i].says);
    }
    mr_arena_drop(&arena);
}

TEST(heartbeats) {
    static const struct mr_heartbeat_part parts[] = {{0, 1234}, {7, INT64_MAX}};
    const mr_heartbeat in = {.worker = "host-4711", .model = "demo", .sent_ms = 1767225600000,
                             .leaving = true, .parts = parts, .n_parts = 2, .free_slots = 3,
                             .max_slots = 16, .running = 12, .waiting = 1, .kv_tokens_free = 8192,
                             .kv_tokens_total = 65536, .n_ctx = 1024, .pressure = 0.1f,
                             .tokens_per_s = 410.53f};
    static const char newer[] = "{\"worker\":\"w\",\"model\":\"m\",\"sent_ms\":1,\"parts\":[],"
                                "\"slots\":{\"free\":1,\"max\":2},\"prefixes\":[\"x\"]}";
    const void *bytes;
    mr_heartbeat out;
    size_t n;

    CHECK_I64(mr_codec_heartbeat_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_heartbeat_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.worker, "host-4711");
    CHECK_STR(out.model, "demo");
    CHECK_I64(out.sent_ms, 1767225600000);
    CHECK(out.leaving);
    CHECK_I64(out.n_parts, 2);
    CHECK_I64(out.parts[1].partition, 7);
    CHECK_I64(out.parts[1].position, INT64_MAX);
    CHECK_I64(out.free_slots * 10000 + out.max_slots * 100 + out.running, 31612);
    CHECK_I64(out.waiting, 1);
    CHECK_I64(out.kv_tokens_free, 8192);
    CHECK_I64(out.kv_tokens_total, 65536);
    CHECK_I64(out.n_ctx, 1024);
    CHECK(out.pressure == 0.1f && out.tokens_per_s == 410.53f);

    CHECK_OK(mr_codec_heartbeat_decode(&out, newer, strlen(newer), &arena, &err), err);
    CHECK_I64(out.free_slots, 1);
    CHECK_I64(mr_codec_heartbeat_decode(&out, "{\"worker\":\"w\"}", 14, &arena, &err), MR_EINVAL);
    CHECK_ERR(err, "heartbeat: model: is missing");
    mr_arena_drop(&arena);
}

TEST(dead_letters) {
    mr_dead in = {.cause = "malformed",
                  .message = "byte 3",
                  .topic = "millrace.jobs.low",
                  .partition = 2,
                  .offset = 99,
                  .time_ms = 5,
                  .payload = "\0\xff{",
                  .payload_len = 3};
    const void *bytes;
    mr_dead out;
    size_t n;

    CHECK_I64(mr_codec_dead_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_dead_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.cause, "malformed");
    CHECK_STR(out.message, "byte 3");
    CHECK_STR(out.topic, "millrace.jobs.low");
    CHECK_I64(out.partition, 2);
    CHECK_I64(out.offset, 99);
    CHECK_I64(out.time_ms, 5);
    CHECK(!out.job_id);
    CHECK_I64(out.payload_len, 3);
    CHECK(memcmp(out.payload, in.payload, 3) == 0);

    in.job_id = ID;
    in.payload_len = 0;
    CHECK_I64(mr_codec_dead_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_dead_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.job_id, ID);
    CHECK_I64(out.payload_len, 0);

    static const char bad[] = "{\"cause\":\"x\",\"origin\":{\"topic\":\"t\",\"partition\":0,"
                              "\"offset\":0},\"payload_b64\":\"@@@@\"}";
    CHECK_I64(mr_codec_dead_decode(&out, bad, strlen(bad), &arena, &err), MR_EINVAL);
    CHECK_ERR(err, "dead letter: payload_b64: is not base64");
    mr_arena_drop(&arena);
}

TEST(cancels) {
    char id[MR_JOB_ID_LEN + 1];
    const void *bytes;
    size_t n;

    CHECK_I64(mr_codec_cancel_encode(ID, &arena, &bytes, &n), MR_OK);
    CHECK_STR((const char *)bytes, "{\"type\":\"cancel\",\"job_id\":\"" ID "\"}");
    CHECK_OK(mr_codec_cancel_decode(id, bytes, n, &err), err);
    CHECK_STR(id, ID);
    CHECK_I64(mr_codec_cancel_decode(id, "{\"type\":\"pause\"}", 16, &err), MR_EINVAL);
    CHECK_ERR(err, "control record: type: \"pause\" is not one of: cancel");
    CHECK_I64(mr_codec_cancel_decode(id, "{\"type\":\"cancel\"}", 17, &err), MR_EINVAL);
    CHECK_ERR(err, "job_id: is missing");
    mr_arena_drop(&arena);
}

/* The shortest decimal that reads back as the same float; never "-0", never beyond the finite. */
TEST(numbers_read_back_exactly) {
    static const float numbers[] = {0,        -0.0f, 0.1f,    1e-45f, 3.4028235e38f,
                                    16777216, 0.7f,  1.0f / 3};
    mr_heartbeat in = {.worker = "w", .model = "m"}, out;
    const void *bytes;
    size_t n;

    for (size_t i = 0; i < MR_COUNT(numbers); i++) {
        in.tokens_per_s = numbers[i];
        CHECK_I64(mr_codec_heartbeat_encode(&in, &arena, &bytes, &n), MR_OK);
        CHECK(!strstr(bytes, "-0"));
        CHECK_OK(mr_codec_heartbeat_decode(&out, bytes, n, &arena, &err), err);
        CHECK(out.tokens_per_s == numbers[i]);
    }
    in.tokens_per_s = 0.1f;
    CHECK_I64(mr_codec_heartbeat_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK(strstr(bytes, "\"tokens_per_s\":0.1}"));
    in.tokens_per_s = NAN;
    CHECK_I64(mr_codec_heartbeat_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK(strstr(bytes, "\"tokens_per_s\":0}"));
    mr_arena_drop(&arena);
}

MR_TEST_MAIN
