/* schema_examples.c - one line per record that our encoders write: "<schema> <JSON>".
 *
 * tests/integration/schemas.sh checks each line against schemas/<schema>.schema.json, so that the
 * schemas and the code cannot drift apart. Small records and full ones of every kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schemas/codec.h"
#include "schemas/webhook.h"

#define ID "01936f5e-8c00-7abc-8def-0123456789ab"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define FRAME_BYTES 4096

static mr_arena arena;

static void show(const char *schema, mr_status st, const void *bytes, size_t n) {
    if (st != MR_OK) {
        fprintf(stderr, "schema_examples: %s: %s\n", schema, mr_status_name(st));
        exit(1);
    }
    printf("%s %.*s\n", schema, (int)n, (const char *)bytes);
}

static void show_job(const mr_job_spec *j, bool internal) {
    const void *bytes = NULL;
    size_t n = 0;
    mr_status st = mr_codec_job_encode(j, MR_FORMAT_JSON, internal, &arena, &bytes, &n);

    show("job", st, bytes, n);
}

static void show_jobs(void) {
    static const mr_message messages[] = {{"system", "Be brief.", 9}, {"user", "H\xc3\xa9?\n", 5}};
    static const int32_t tokens[] = {1, 2, 131071};
    static const char *const stops[] = {"\n\n", "END"};
    static const int32_t stop_ids[] = {0, 2};
    static const mr_bias bias[] = {{42, -100}, {7, 0.5f}};
    static const char *const events[] = {"succeeded", "failed"};
    static const mr_pair metadata[] = {{"doc", "17"}, {"empty", ""}};
    static const mr_past history[] = {
        {1, MR_ATTEMPT_FAULT, "host-4711", "the step failed", 1767225601000},
        {2, MR_ATTEMPT_OOM, "host-4711", "no memory for 16 rows", 1767225602000},
        {3, MR_ATTEMPT_NO_FIT, "host-4712", "1200 tokens, at most 1024", 1767225603000}};
    mr_job_spec j;

    mr_codec_job_defaults(&j);
    memcpy(j.job_id, ID, sizeof ID);
    j.input = MR_INPUT_PROMPT;
    j.prompt = "Once upon a time";
    j.prompt_len = strlen(j.prompt);
    show_job(&j, false);
    j.input = MR_INPUT_TOKENS;
    j.tokens = tokens;
    j.n_tokens = MR_COUNT(tokens);
    j.deadline_ms = 600000;
    j.max_attempts = 3;
    show_job(&j, false);
    j.input = MR_INPUT_MESSAGES;
    j.messages = messages;
    j.n_messages = MR_COUNT(messages);
    j.model = "demo";
    j.tenant = "acme";
    j.params = (mr_params){.max_tokens = 40, .temperature = 0.7f, .top_p = 0.9f, .min_p = 0.05f,
                           .top_k = 40, .repetition_penalty = 1.1f, .frequency_penalty = -2,
                           .presence_penalty = 2, .has_seed = true, .seed = INT64_MAX,
                           .stop = stops, .n_stop = 2, .stop_token_ids = stop_ids,
                           .n_stop_token_ids = 2, .logit_bias = bias, .n_logit_bias = 2,
                           .logprobs = true, .top_logprobs = 20, .ignore_eos = true};
    j.stream = false;
    j.priority = MR_PRIORITY_HIGH;
    j.callback = (mr_callback){"https://example.org/hook", "main", events, 2};
    j.metadata = metadata;
    j.n_metadata = MR_COUNT(metadata);
    show_job(&j, false);
    j.not_before_ms = 1767225700000;
    j.idempotency_key = "order-17";
    memcpy(j.replay_of, ID, sizeof ID);
    show_job(&j, false);
    j.attempt = 1;
    j.received_ms = 1767225600000;
    j.expires_ms = 1767226200000;
    j.reply_format = MR_FORMAT_MSGPACK;
    show_job(&j, true);
    j.tries = 2;
    j.backoffs = 1;
    j.due_ms = 1767225700000;
    j.charged = 300;
    j.wasted_tokens = 40;
    j.need_tokens = 1200;
    j.key_held = true;
    j.history = history;
    j.n_history = MR_COUNT(history);
    show_job(&j, true);
}

static void show_result(const mr_result *r) {
    const void *bytes = NULL;
    size_t n = 0;
    mr_status st = mr_codec_result_encode(r, MR_FORMAT_JSON, &arena, &bytes, &n);

    show("result", st, bytes, n);
}

static void show_results(void) {
    static const mr_token_logprob tops[] = {{42, "Hel", -0.1f, NULL, 0},
                                            {43, "Hol", -2.5f, NULL, 0}};
    static const mr_token_logprob logprobs[] = {{42, "Hel", -0.1f, tops, 2}, {9, "lo", 0, NULL, 0}};
    static const mr_pair metadata[] = {{"doc", "17"}};
    mr_result r = {.job_id = ID, .model = "demo", .tenant = "default",
                   .status = MR_STATUS_SUCCEEDED, .finish_reason = "stop", .text = "Hello",
                   .text_len = 5, .prompt_tokens = 120, .completion_tokens = 2, .attempt = 1,
                   .worker = "host-4711", .received_ms = 1767225600000,
                   .finished_ms = 1767225600900, .queue_ms = 100, .prefill_ms = 90,
                   .decode_ms = 700, .first_token_ms = 200};

    show_result(&r);
    r.logprobs = logprobs;
    r.n_logprobs = MR_COUNT(logprobs);
    r.metadata = metadata;
    r.n_metadata = MR_COUNT(metadata);
    r.stream_degraded = true;
    show_result(&r);
    r = (mr_result){
        .job_id = ID,
        .model = "",
        .tenant = "",
        .status = MR_STATUS_REJECTED,
        .finish_reason = "",
        .text = "",
        .worker = "dispatcher-1",
        .error = {.code = "unknown_field",
                  .field = "params.temprature",
                  .message = "params.temprature: unknown field"}};
    show_result(&r);
    r.error = (mr_job_error){.code = "rate_limited", .field = "tenant",
                             .message = "tenant acme: 50 jobs per second", .retry_after_ms = 1200};
    r.duplicate_of = ID;
    show_result(&r);
    for (int s = MR_STATUS_CANCELLED; s <= MR_STATUS_EXPIRED; s++) {
        r.status = (mr_job_status)s;
        show_result(&r);
    }
}

static void show_frame(const mr_frame *fr) {
    char buf[FRAME_BYTES];
    size_t n = 0;
    mr_status st = mr_codec_frame_encode(fr, buf, sizeof buf, &n);

    show("frame", st, buf, n);
}

static void show_frames(void) {
    mr_frame fr = {.type = MR_FRAME_TOKEN, .job_id = ID, .attempt = 1, .token = 42, .text = "Hel",
                   .text_len = 3};

    show_frame(&fr);
    fr.traceparent = TRACE;
    show_frame(&fr);
    fr = (mr_frame){.type = MR_FRAME_RESTART, .job_id = ID, .attempt = 2, .traceparent = TRACE};
    show_frame(&fr);
    fr = (mr_frame){.type = MR_FRAME_DONE, .job_id = ID, .attempt = 1, .index = 17,
                    .status = MR_STATUS_SUCCEEDED, .finish_reason = "stop"};
    show_frame(&fr);
    fr.status = MR_STATUS_FAILED;
    fr.finish_reason = "";
    fr.error = (mr_job_error){.code = "engine_error", .field = "", .message = "the step failed"};
    fr.traceparent = TRACE;
    show_frame(&fr);
}

static void show_heartbeats(void) {
    static const struct mr_heartbeat_part parts[] = {{0, 1234}, {3, 0}};
    static const uint64_t prefixes[] = {0, UINT64_MAX, 0x0123456789abcdef};
    const mr_heartbeat h = {.worker = "host-4711", .model = "demo", .sent_ms = 1767225600000,
                            .parts = parts, .n_parts = MR_COUNT(parts), .free_slots = 3,
                            .max_slots = 16, .running = 12, .waiting = 1, .kv_tokens_free = 8192,
                            .kv_tokens_total = 65536, .n_ctx = 1024, .displaceable = 2,
                            .pressure = 0.25f, .tokens_per_s = 410.5f, .prefixes = prefixes,
                            .n_prefixes = MR_COUNT(prefixes)};
    const mr_heartbeat bye = {.worker = "host-4711", .model = "demo", .leaving = true};
    const void *bytes = NULL;
    size_t n = 0;

    mr_status st = mr_codec_heartbeat_encode(&h, &arena, &bytes, &n);
    show("heartbeat", st, bytes, n);
    st = mr_codec_heartbeat_encode(&bye, &arena, &bytes, &n);
    show("heartbeat", st, bytes, n);
}

static void show_beats(void) {
    static const struct mr_beat_model models[] = {{"demo", 3}};
    static const struct mr_beat_tenant tenants[] = {{"acme", 3, 4, 120.5f, true}};
    const mr_beat b = {.dispatcher = "host-42", .sent_ms = 1767225600000,
                       .lanes = {{0, 0, 5, 5, 0.1f}, {2, 410, 90, 88, 1.5f}, {1, 0, 1, 0, 0}}, .delayed = 7,
                       .parts = 24, .paused_parts = 1, .models = models, .n_models = 1,
                       .tenants = tenants, .n_tenants = 1};
    const mr_beat bye = {.dispatcher = "host-42", .leaving = true};
    const void *bytes = NULL;
    size_t n = 0;
    mr_status st = mr_codec_beat_encode(&b, &arena, &bytes, &n);

    show("beat", st, bytes, n);
    st = mr_codec_beat_encode(&bye, &arena, &bytes, &n);
    show("beat", st, bytes, n);
}

static void show_attempts(void) {
    const mr_attempt a = {.job_id = ID, .attempt = 1, .outcome = MR_ATTEMPT_DRAINED,
                          .worker = "host-4711", .model = "demo", .completion_tokens = 17,
                          .time_ms = 1767225600000};
    const void *bytes = NULL;
    size_t n = 0;

    const mr_status st = mr_codec_attempt_encode(&a, &arena, &bytes, &n);
    show("attempt", st, bytes, n);
}

static void show_dead_letters(void) {
    mr_dead d = {.cause = "malformed", .message = "is not JSON at byte 1",
                 .topic = "millrace.jobs.normal", .partition = 2, .offset = 99,
                 .time_ms = 1767225600000, .payload = "{\0x", .payload_len = 3};
    const void *bytes = NULL;
    size_t n = 0;
    mr_status st = mr_codec_dead_encode(&d, &arena, &bytes, &n);

    show("dead", st, bytes, n);
    d.job_id = ID;
    d.payload_len = 0;
    d.replay = ID;
    st = mr_codec_dead_encode(&d, &arena, &bytes, &n);
    show("dead", st, bytes, n);
    st = mr_codec_key_encode(ID, 1767225600000, &arena, &bytes, &n);
    show("key", st, bytes, n);
    st = mr_codec_cancel_encode(ID, &arena, &bytes, &n);
    show("control", st, bytes, n);
}

static void show_webhooks(void) {
    const mr_webhook w = {.job_id = ID, .status = MR_STATUS_SUCCEEDED, .tenant = "acme",
                          .url = "https://acme.example/hooks", .secret_id = "main", .body = "{}",
                          .body_len = 2, .tries = 2, .put_off = 1, .due_ms = 1767225600000,
                          .created_ms = 1767225600000, .forced = true};
    const mr_delivery d = {.job_id = ID, .id = "msg_" ID "_succeeded", .event = MR_STATUS_SUCCEEDED,
                           .tenant = "acme", .host = "acme.example:443",
                           .outcome = MR_DELIVERY_FAILED, .tries = 2, .code = 503, .took_ms = 12,
                           .why = "the receiver has answered 503", .time_ms = 1767225600000,
                           .due_ms = 1767225605000};
    const mr_result r = {.job_id = ID, .model = "demo", .tenant = "acme", .finish_reason = "",
                         .status = MR_STATUS_FAILED, .text = "", .worker = "",
                         .error = {.code = "poison", .field = "", .message = "no"},
                         .finished_ms = 1767225600900};
    const void *bytes = NULL;
    const char *body = NULL;
    size_t n = 0;

    mr_status st = mr_codec_webhook_encode(&w, &arena, &bytes, &n);
    show("webhook", st, bytes, n);
    st = mr_codec_delivery_encode(&d, &arena, &bytes, &n);
    show("delivery", st, bytes, n);
    for (int full = 0; full < 2; full++) {
        st = mr_webhook_body(&r, "millrace.results", 3, 99, full, &arena, &body, &n);
        show("event", st, body, n);
    }
}

int main(void) {
    mr_arena_init(&arena, 0);
    show_jobs();
    show_results();
    show_frames();
    show_heartbeats();
    show_beats();
    show_attempts();
    show_dead_letters();
    show_webhooks();
    mr_arena_drop(&arena);
    return 0;
}
