/* Goal: what is owed survives a trip through Kafka, body byte for byte; the header says what the
 * job said; the event that is sent has no text of the job unless that is asked for. Method: encode,
 * decode, compare; broken headers. */
#include "schemas/webhook.h"

#include "../../test.h"

#define JOB "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"

static mr_arena arena;
static mr_err err;

static void start(void) {
    mr_arena_init(&arena, 16 << 20);
}

TEST(what_is_owed_comes_back_the_same) {
    static const char body[] = "{\"a\":\"\\u0000 \\\" \xc3\xa4 </script>\"}\n";
    const mr_webhook in = {.job_id = JOB,
                           .status = MR_STATUS_FAILED,
                           .tenant = "t",
                           .url = "https://a/?b=\"c",
                           .secret_id = "s",
                           .body = body,
                           .body_len = sizeof body - 1,
                           .tries = 3,
                           .put_off = 2,
                           .due_ms = 99,
                           .created_ms = 98,
                           .forced = true};
    const void *bytes;
    mr_webhook out;
    size_t n;

    start();
    CHECK_I64(mr_codec_webhook_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_webhook_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.job_id, in.job_id);
    CHECK_I64(out.status, in.status);
    CHECK_STR(out.url, in.url);
    CHECK_STR(out.tenant, "t");
    CHECK_STR(out.secret_id, "s");
    CHECK_I64(out.body_len, in.body_len);
    CHECK(!memcmp(out.body, in.body, in.body_len));
    CHECK(out.tries == 3 && out.put_off == 2 && out.due_ms == 99 && out.created_ms == 98 &&
          out.forced);
    CHECK_I64(mr_codec_webhook_decode(&out, "{\"job_id\":\"x\"}", 14, &arena, &err), MR_EINVAL);
    mr_arena_drop(&arena);
}

TEST(a_try_comes_back_the_same) {
    const mr_delivery in = {.job_id = JOB,
                            .id = "msg",
                            .event = MR_STATUS_EXPIRED,
                            .tenant = "t",
                            .host = "a.example:443",
                            .outcome = MR_DELIVERY_FAILED,
                            .tries = 2,
                            .code = 503,
                            .took_ms = 12,
                            .why = "no",
                            .time_ms = 7,
                            .due_ms = 8};
    const void *bytes;
    mr_delivery out;
    size_t n;

    start();
    CHECK_I64(mr_codec_delivery_encode(&in, &arena, &bytes, &n), MR_OK);
    CHECK_OK(mr_codec_delivery_decode(&out, bytes, n, &arena, &err), err);
    CHECK_STR(out.host, in.host);
    CHECK_STR(out.why, "no");
    CHECK(out.event == in.event && out.outcome == in.outcome && out.code == 503 && out.due_ms == 8);
    CHECK_STR(mr_delivery_outcome_name(out.outcome), "failed");
    mr_arena_drop(&arena);
}

static void check_header(const mr_callback *c, const char *text) {
    char out[MR_CALLBACK_TEXT];
    mr_callback back;
    const size_t n = mr_callback_write(out, c);
    CHECK_STR(out, text);
    CHECK(mr_callback_read(&back, out, n, &arena));
    CHECK_STR(back.url, c->url);
    CHECK_I64(back.n_events, c->n_events);
    CHECK((back.secret_id == NULL) == (c->secret_id == NULL));
    if (c->secret_id) CHECK_STR(back.secret_id, c->secret_id);
    for (unsigned s = 0; s <= MR_STATUS_EXPIRED; s++)
        CHECK_I64(mr_callback_wants(&back, (mr_job_status)s),
                  mr_callback_wants(c, (mr_job_status)s));
}

TEST(the_header_says_what_the_job_said) {
    const char *const events[] = {"failed", "rejected"};
    mr_callback c = {.url = "https://a.example/x"};
    start();
    check_header(&c, "* https://a.example/x ");
    c.secret_id = "with a blank";
    c.events = events;
    c.n_events = 2;
    check_header(&c, "failed,rejected https://a.example/x with a blank");
    CHECK(mr_callback_wants(&c, MR_STATUS_FAILED) && !mr_callback_wants(&c, MR_STATUS_SUCCEEDED));
    mr_arena_drop(&arena);
}

TEST(broken_headers_are_none) {
    static const char *const bad[] = {
        "", "*", "* ", "*  ", "* https://a.example/x", "a,b,c,d,e,f u s"};
    char out[MR_CALLBACK_TEXT];
    mr_callback c = {.url = NULL};
    start();
    CHECK_I64(mr_callback_write(out, &c), 0);
    CHECK(!mr_callback_wants(&c, MR_STATUS_FAILED));
    CHECK(!mr_callback_read(&c, NULL, 0, &arena));
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        CHECK(!mr_callback_read(&c, bad[i], strlen(bad[i]), &arena));
        CHECK(!c.url);
    }
    CHECK(!mr_callback_read(&c, "* u\0 s", 6, &arena));
    mr_arena_drop(&arena);
}

TEST(an_event_has_no_text_unless_it_is_asked_for) {
    mr_result r = {.job_id = JOB,
                   .model = "m",
                   .tenant = "t",
                   .finish_reason = "stop",
                   .text = "very private",
                   .text_len = 12,
                   .worker = "w",
                   .prompt_tokens = 3,
                   .completion_tokens = 4,
                   .finished_ms = 1767225600900};
    const char *body;
    size_t n;

    start();
    CHECK_I64(mr_webhook_body(&r, "millrace.results", 3, 99, false, &arena, &body, &n), MR_OK);
    CHECK(!strstr(body, "private"));
    CHECK(strstr(
        body, "{\"type\":\"job.succeeded\",\"timestamp\":\"2026-01-01T00:00:00.900Z\",\"data\":{"));
    CHECK(strstr(body,
                 "\"result_at\":{\"topic\":\"millrace.results\",\"partition\":3,\"offset\":99}"));
    CHECK(strstr(body, "\"total_tokens\":7"));
    CHECK_I64(mr_webhook_body(&r, "millrace.results", 3, 99, true, &arena, &body, &n), MR_OK);
    CHECK(strstr(body, "\"result\":{") && strstr(body, "\"text\":\"very private\""));
    r.text_len = MR_WEBHOOK_MAX_BODY;
    r.text = mr_arena_calloc(&arena, 1, r.text_len);
    CHECK_I64(mr_webhook_body(&r, "millrace.results", 3, 99, true, &arena, &body, &n), MR_ELIMIT);
    mr_arena_drop(&arena);
}

MR_TEST_MAIN
