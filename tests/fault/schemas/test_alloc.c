/* Goal: settings and codecs that get no memory say so, leak nothing, and work again afterwards.
 * Method: fault.h; each allocation fails once, alone and with all that follow. */
#include "schemas/codec.h"
#include "schemas/settings.h"
#include "tests/fault/fault.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"

static const char job_json[] =
    "{\"job_id\":\"" ID "\",\"model\":\"demo\",\"tenant\":\"acme\",\"input\":{\"messages\":["
    "{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"Hello\"}]},"
    "\"params\":{\"max_tokens\":40,\"stop\":[\"a\",\"bc\"],\"logit_bias\":{\"42\":-100}},"
    "\"callback\":{\"url\":\"https://example.org/x\",\"secret_id\":\"s\"},\"metadata\":{\"doc\":\"17\"}}";

static mr_status load_settings(mr_err *err) {
    static const char yaml[] = "kafka_brokers: a:1,b:2\ndrain_ms: 100\nmodels: \"x,y\"\n";
    mr_settings s;
    const mr_status st = mr_settings_load_yaml(&s, MR_PROGRAM_WORKER, yaml, sizeof yaml - 1, err);

    if (st == MR_OK) mr_settings_free(&s);
    return st;
}

/* In and out again in both formats. */
static mr_status pass_job(mr_err *err) {
    mr_arena arena;
    mr_job_spec j, again;
    mr_codec_error why = {0};
    const void *bytes = NULL;
    size_t n = 0;

    mr_arena_init(&arena, 1 << 20);
    mr_status st = mr_codec_job_decode(&j, MR_FORMAT_JSON, job_json, sizeof job_json - 1, false,
                                       &arena, &why);
    for (int f = 0; st == MR_OK && f <= MR_FORMAT_MSGPACK; f++) {
        st = mr_codec_job_encode(&j, (mr_format)f, false, &arena, &bytes, &n);
        if (st != MR_OK)
            snprintf(why.message, sizeof why.message, "encode: %s", mr_status_name(st));
        else
            st = mr_codec_job_decode(&again, (mr_format)f, bytes, n, false, &arena, &why);
    }
    mr_arena_drop(&arena);
    return st == MR_OK ? st : mr_fail(err, st, "%s", why.message);
}

static mr_status pass_result(mr_err *err) {
    const mr_pair metadata[] = {{"doc", "17"}};
    mr_result r = {.job_id = ID, .model = "demo", .tenant = "acme", .finish_reason = "stop",
                   .text = "Hello", .text_len = 5, .worker = "w", .metadata = metadata,
                   .n_metadata = 1};
    mr_result back;
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;
    mr_status st = MR_OK;

    mr_arena_init(&arena, 1 << 20);
    for (int f = 0; st == MR_OK && f <= MR_FORMAT_MSGPACK; f++) {
        st = mr_codec_result_encode(&r, (mr_format)f, &arena, &bytes, &n);
        if (st != MR_OK)
            mr_fail(err, st, "encode");
        else
            st = mr_codec_result_decode(&back, (mr_format)f, bytes, n, &arena, err);
    }
    mr_arena_drop(&arena);
    return st;
}

/* As it comes back from a worker. */
static mr_status pass_history(mr_err *err) {
    const mr_past past[] = {{1, MR_ATTEMPT_FAULT, "w-1", "the step failed", 1},
                            {2, MR_ATTEMPT_OOM, "w-2", "no memory", 2}};
    mr_codec_error why = {0};
    mr_job_spec j, back;
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;

    mr_codec_job_defaults(&j);
    memcpy(j.job_id, ID, sizeof ID);
    j.input = MR_INPUT_PROMPT;
    j.prompt = "";
    j.idempotency_key = "k";
    j.attempt = 3;
    j.history = past;
    j.n_history = MR_COUNT(past);
    mr_arena_init(&arena, 1 << 20);
    mr_status st = mr_codec_job_encode(&j, MR_FORMAT_MSGPACK, true, &arena, &bytes, &n);
    if (st != MR_OK)
        snprintf(why.message, sizeof why.message, "encode: %s", mr_status_name(st));
    else
        st = mr_codec_job_decode(&back, MR_FORMAT_MSGPACK, bytes, n, true, &arena, &why);
    mr_arena_drop(&arena);
    return st == MR_OK ? st : mr_fail(err, st, "%s", why.message);
}

static mr_status pass_beat(mr_err *err) {
    const struct mr_beat_model models[] = {{"demo", 3}};
    const struct mr_beat_tenant tenants[] = {{"acme", 3, 1, 0, false}};
    const mr_beat b = {.dispatcher = "d", .models = models, .n_models = 1, .tenants = tenants,
                       .n_tenants = 1};
    mr_beat back;
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;

    mr_arena_init(&arena, 1 << 20);
    mr_status st = mr_codec_beat_encode(&b, &arena, &bytes, &n);
    if (st != MR_OK)
        mr_fail(err, st, "encode");
    else
        st = mr_codec_beat_decode(&back, bytes, n, &arena, err);
    mr_arena_drop(&arena);
    return st;
}

static mr_status pass_dead(mr_err *err) {
    const mr_dead d = {.cause = "poison", .message = "three deaths", .topic = "t", .job_id = ID,
                       .payload = "bytes", .payload_len = 5};
    mr_dead back;
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;

    mr_arena_init(&arena, 1 << 20);
    mr_status st = mr_codec_dead_encode(&d, &arena, &bytes, &n);
    if (st != MR_OK)
        mr_fail(err, st, "encode");
    else
        st = mr_codec_dead_decode(&back, bytes, n, &arena, err);
    mr_arena_drop(&arena);
    return st;
}

TEST(settings_without_memory) { CHECK(fault_each(load_settings, 1) > 10); }
TEST(a_job_without_memory) { CHECK(fault_each(pass_job, 1) > 1); }
TEST(a_past_without_memory) { CHECK(fault_each(pass_history, 1) > 0); }
TEST(a_beat_without_memory) { CHECK(fault_each(pass_beat, 1) > 0); }
TEST(a_result_without_memory) { CHECK(fault_each(pass_result, 1) > 1); }
TEST(a_dead_letter_without_memory) { CHECK(fault_each(pass_dead, 1) > 1); }

MR_TEST_MAIN
