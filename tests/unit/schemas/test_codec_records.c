/* Goal: results, frames, heartbeats, beats, notes, dead letters and cancels say again what they were given; a
 * newer writer's extra fields are skipped; a broken record is named.
 * Method: encode, decode, compare field by field (results in both formats); hand-written JSON for
 * what our writers never produce. */
#include <math.h>

#include "schemas/codec.h"
#include "schemas/headers.h"
#include "tests/test.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"
#define OTHER_ID "01936f5e-8c00-7abc-8def-000000000000"

#define HEARTBEAT                                                                           \
    "{\"worker\":\"w\",\"model\":\"m\",\"sent_ms\":1,\"parts\":[],\"slots\":{\"free\":1,\"max\":2},"

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
                          .completion_tokens = 2, .cached_tokens = 1, .wasted_tokens = 6,
                          .logprobs = logprobs, .n_logprobs = 2,
                          .error = {"engine_error", "params.seed", "one line", 77},
                          .duplicate_of = OTHER_ID, .attempt = 4, .tries = 2, .preemptions = 5,
                          .worker = "w-1", .stream_degraded = true, .received_ms = 11,
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
        CHECK_I64(out.wasted_tokens, 6);
        CHECK_I64(out.n_logprobs, 2);
        CHECK_I64(out.logprobs[0].n_top, 2);
        CHECK_I64(out.logprobs[0].top[1].token, 8);
        CHECK_STR(out.logprobs[0].top[1].text, "\xef\xbf\xbd");
        CHECK(out.logprobs[0].top[1].logprob == -1.5f);
        CHECK(isfinite(out.logprobs[1].logprob) && out.logprobs[1].logprob < -1e30f);
        CHECK_STR(out.error.code, "engine_error");
        CHECK_STR(out.error.field, "params.seed");
        CHECK_STR(out.error.message, "one line");
        CHECK_I64(out.error.retry_after_ms, 77);
        CHECK_STR(out.duplicate_of, OTHER_ID);
        CHECK_I64(out.tries * 10 + out.preemptions, 25);
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
    CHECK(!r.duplicate_of && !r.tries && !r.preemptions && !r.error.retry_after_ms);
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
                    .error = {"engine_error", "", "bad", 0}};
    frame_round_trip(&in, &out,
                     "{\"type\":\"done\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":17,"
                     "\"status\":\"failed\",\"finish_reason\":\"stop\","
                     "\"error\":{\"code\":\"engine_error\",\"field\":\"\",\"message\":\"bad\"}}");
    CHECK_I64(out.status, MR_STATUS_FAILED);
    CHECK_STR(out.finish_reason, "stop");
    CHECK_STR(out.error.message, "bad");
    mr_arena_drop(&arena);
}

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

TEST(frames_of_a_job_with_a_trace_say_it_last) {
    mr_frame in = {.type = MR_FRAME_TOKEN, .job_id = ID, .attempt = 1, .index = 5, .token = 42,
                   .text = "a", .text_len = 1, .traceparent = TRACE};
    mr_frame out;

    frame_round_trip(&in, &out,
                     "{\"type\":\"token\",\"job_id\":\"" ID
                     "\",\"attempt\":1,\"index\":5,\"token\":42,\"text\":\"a\","
                     "\"traceparent\":\"" TRACE "\"}");
    CHECK_STR(out.traceparent, TRACE);
    in = (mr_frame){
        .type = MR_FRAME_RESTART, .job_id = ID, .attempt = 2, .traceparent = TRACE};
    frame_round_trip(&in, &out,
                     "{\"type\":\"restart\",\"job_id\":\"" ID "\",\"attempt\":2,\"index\":0,"
                     "\"traceparent\":\"" TRACE "\"}");
    CHECK_STR(out.traceparent, TRACE);
    in = (mr_frame){.type = MR_FRAME_DONE, .job_id = ID, .attempt = 1, .index = 17,
                    .status = MR_STATUS_FAILED, .finish_reason = "stop",
                    .error = {"engine_error", "", "bad", 0}, .traceparent = TRACE};
    frame_round_trip(&in, &out,
                     "{\"type\":\"done\",\"job_id\":\"" ID "\",\"attempt\":1,\"index\":17,"
                     "\"status\":\"failed\",\"finish_reason\":\"stop\","
                     "\"error\":{\"code\":\"engine_error\",\"field\":\"\",\"message\":\"bad\"},"
                     "\"traceparent\":\"" TRACE "\"}");
    CHECK_STR(out.traceparent, TRACE);
    mr_arena_drop(&arena);
}

/* Nor is a frame lost for one that is malformed. */
TEST(a_frame_without_a_trace_has_none) {
    static const char *const ends[] = {"}", ",\"traceparent\":\"\"}", ",\"traceparent\":\"00-1\"}",
                                       ",\"traceparent\":\"" TRACE "0\"}"};
    mr_frame fr;

    for (size_t i = 0; i < MR_COUNT(ends); i++) {
        char json[512];
        const int n = snprintf(json, sizeof json,
                               "{\"type\":\"restart\",\"job_id\":\"" ID
                               "\",\"attempt\":2,\"index\":0%s", ends[i]);
        CHECK_OK(mr_codec_frame_decode(&fr, json, (size_t)n, &arena, &err), err);
        CHECK(!fr.traceparent);
    }
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
    static const uint64_t prefixes[] = {0, UINT64_MAX, 0xfedcba9876543210};
    const mr_heartbeat in = {.worker = "host-4711", .model = "demo", .sent_ms = 1767225600000,
                             .leaving = true, .parts = parts, .n_parts = 2, .free_slots = 3,
                             .max_slots = 16, .running = 12, .waiting = 1, .kv_tokens_free = 8192,
                             .kv_tokens_total = 65536, .n_ctx = 1024, .displaceable = 4,
                             .pressure = 0.1f, .tokens_per_s = 410.53f, .prefixes = prefixes,
                             .n_prefixes = 3};
    static const char newer[] = "{\"worker\":\"w\",\"model\":\"m\",\"sent_ms\":1,\"parts\":[],"
                                "\"slots\":{\"free\":1,\"max\":2},\"from\":[\"x\"]}";
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
    CHECK_I64(out.displaceable, 4);
    CHECK(strstr(bytes, "\"fedcba9876543210\""));
    CHECK_I64(out.n_prefixes, 3);
    CHECK(!memcmp(out.prefixes, prefixes, sizeof prefixes));

    CHECK_OK(mr_codec_heartbeat_decode(&out, newer, strlen(newer), &arena, &err), err);
    CHECK_I64(out.free_slots, 1);
    CHECK_I64(out.displaceable + out.n_prefixes, 0);
    CHECK_I64(mr_codec_heartbeat_decode(&out, "{\"worker\":\"w\"}", 14, &arena, &err), MR_EINVAL);
    CHECK_ERR(err, "heartbeat: model: is missing");
    mr_arena_drop(&arena);
}

/* A digest has its 16 digits, all of them, and a heartbeat has room for so many. */
TEST(digests_that_are_none) {
    static const char *const bad[] = {"0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF",
                                      "0123456789abcde\\u0000", "0123456789abcde ", ""};
    char json[4096];
    mr_heartbeat out;

    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        snprintf(json, sizeof json, HEARTBEAT "\"prefixes\":[\"0000000000000000\",\"%s\"]}", bad[i]);
        CHECK_I64(mr_codec_heartbeat_decode(&out, json, strlen(json), &arena, &err), MR_EINVAL);
        CHECK_ERR(err, "heartbeat: prefixes[1]: is not 16 lower-case hex digits");
    }
    for (int n = MR_HEARTBEAT_MAX_PREFIXES; n <= MR_HEARTBEAT_MAX_PREFIXES + 1; n++) {
        int len = snprintf(json, sizeof json, HEARTBEAT "\"prefixes\":[");
        for (int i = 0; i < n; i++)
            len += snprintf(json + len, sizeof json - (size_t)len, "%s\"%016x\"", i ? "," : "", i);
        len += snprintf(json + len, sizeof json - (size_t)len, "]}");
        CHECK_I64(mr_codec_heartbeat_decode(&out, json, (size_t)len, &arena, &err),
                  n == MR_HEARTBEAT_MAX_PREFIXES ? MR_OK : MR_EINVAL);
    }
    CHECK_ERR(err, "prefixes: 65 items, at most 64");
    mr_arena_drop(&arena);
}

TEST(beats) {
    static const struct mr_beat_model models[] = {{"demo", 3}, {"m", 0}};
    static const struct mr_beat_tenant tenants[] = {{"acme", 3, 4, 120.5f, true},
                                                    {"default", 0, 1, 0, false}};
    const mr_beat in = {.dispatcher = "d-1", .sent_ms = 1767225600000, .leaving = true,
                        .lanes = {{1, 10, 2, 3, 0.5f}, {4, 0, 5, 6, 1.5f}, {7, 11, 8, INT64_MAX, 2.5f}},
                        .delayed = 9, .paused_parts = 1, .parts = 24, .models = models,
                        .n_models = 2, .tenants = tenants, .n_tenants = 2};
    static const char small[] = "{\"dispatcher\":\"d\",\"sent_ms\":1,\"lanes\":{},\"later\":[7]}";
    const void *bytes;
    mr_beat out;
    size_t n;

    CHECK_I64(mr_codec_beat_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_beat_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.dispatcher, "d-1");
    CHECK_I64(out.sent_ms, 1767225600000);
    CHECK(out.leaving);
    for (int i = 0; i < MR_PRIORITY_N; i++) {
        CHECK_I64(out.lanes[i].waiting, in.lanes[i].waiting);
        CHECK_I64(out.lanes[i].unread, in.lanes[i].unread);
        CHECK_I64(out.lanes[i].queued, in.lanes[i].queued);
        CHECK_I64(out.lanes[i].left, in.lanes[i].left);
        CHECK(out.lanes[i].per_s == in.lanes[i].per_s);
    }
    CHECK_I64(out.delayed * 1000 + out.paused_parts * 100 + out.parts, 9124);
    CHECK_I64(out.n_models, 2);
    CHECK_STR(out.models[1].name, "m");
    CHECK_I64(out.models[0].waiting, 3);
    CHECK_I64(out.n_tenants, 2);
    CHECK_STR(out.tenants[0].name, "acme");
    CHECK_I64(out.tenants[0].waiting * 10 + out.tenants[0].weight, 34);
    CHECK(out.tenants[0].tokens_per_s == 120.5f && out.tenants[0].limited);
    CHECK(!out.tenants[1].limited);

    CHECK_OK(mr_codec_beat_decode(&out, small, strlen(small), &arena, &err), err);
    CHECK_I64(out.lanes[MR_PRIORITY_LOW].waiting + out.n_models + out.n_tenants + out.parts, 0);
    CHECK_I64(mr_codec_beat_decode(&out, "{\"dispatcher\":\"\"}", 17, &arena, &err), MR_EINVAL);
    CHECK_ERR(err, "beat: dispatcher: 0 bytes, at least 1");
    CHECK_I64(mr_codec_beat_decode(&out, "{\"dispatcher\":\"d\",\"sent_ms\":1}", 30, &arena, &err),
              MR_EINVAL);
    CHECK_ERR(err, "beat: lanes: is missing");
    mr_arena_drop(&arena);
}

TEST(notes_have_names_that_comebacks_do_not) {
    mr_attempt a = {.job_id = ID, .attempt = 1, .worker = "w", .model = "m"}, back;
    char json[512];
    const void *bytes;
    size_t n;

    for (unsigned o = MR_ATTEMPT_DRAINED; o <= MR_ATTEMPT_NO_FIT + 1; o++) {
        snprintf(json, sizeof json,
                 "{\"job_id\":\"" ID "\",\"attempt\":1,\"outcome\":\"%s\",\"worker\":\"w\","
                 "\"model\":\"m\",\"time_ms\":0}", mr_attempt_outcome_name(o));
        CHECK_I64(mr_codec_attempt_decode(&back, json, strlen(json), &arena, &err),
                  o < MR_ATTEMPT_FAULT ? MR_OK : MR_EINVAL);
        if (o >= MR_ATTEMPT_FAULT) continue;
        a.outcome = o;
        CHECK_I64(mr_codec_attempt_encode(&a, &arena, &bytes, &n), MR_OK);
        CHECK_OK(mr_codec_attempt_decode(&back, bytes, n, &arena, &err), err);
        CHECK_I64(back.outcome, o);
    }
    mr_arena_drop(&arena);
}

TEST(what_was_charged_travels_in_a_header) {
    static const struct {
        const char *value;
        int lane; /* -1: refused */
        uint32_t tokens;
    } cases[] = {{"high 1", 0, 1},          {"normal 4294967295", 1, UINT32_MAX},
                 {"low 0", 2, 0},           {"low 4294967296", -1, 0},
                 {"low 99999999999999999999999", -1, 0},
                 {"low", -1, 0},            {"low ", -1, 0},
                 {" 5", -1, 0},             {"lower 5", -1, 0},
                 {"low  5", -1, 0},         {"low -5", -1, 0},
                 {"low 5 ", -1, 0},         {"", -1, 0}};
    const mr_result r = {.job_id = ID};
    mr_result_headers h;
    mr_priority lane = MR_PRIORITY_N;
    uint32_t tokens = 0;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const bool ok = mr_charged_read(cases[i].value, strlen(cases[i].value), &lane, &tokens);
        CHECK_I64(ok ? (int)lane : -1, cases[i].lane);
        if (ok) CHECK_I64(tokens, cases[i].tokens);
    }
    CHECK(!mr_charged_read(NULL, 0, &lane, &tokens));

    const mr_trace trace = {.parent = TRACE};
    mr_result_headers_init(&h, &r, MR_FORMAT_JSON, "w", &trace);
    const size_t n = h.n;
    mr_result_headers_charge(&h, MR_PRIORITY_HIGH, 0);
    CHECK_I64(h.n, n);
    mr_result_headers_charge(&h, MR_PRIORITY_NORMAL, UINT32_MAX);
    CHECK_I64(h.n, n + 1);
    CHECK_STR(h.list[n].name, MR_HEADER_CHARGED);
    CHECK(mr_charged_read(h.list[n].value, h.list[n].len, &lane, &tokens));
    CHECK_I64(lane, MR_PRIORITY_NORMAL);
    CHECK_I64(tokens, UINT32_MAX);
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

    CHECK(!out.replay);

    in.job_id = ID;
    in.replay = OTHER_ID;
    in.payload_len = 0;
    CHECK_I64(mr_codec_dead_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_dead_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.job_id, ID);
    CHECK_STR(out.replay, OTHER_ID);
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
