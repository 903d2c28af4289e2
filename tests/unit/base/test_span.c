/* Goal: a span is written as OTLP's JSON has it, whole or not at all, and its ids make one tree.
 *
 * Method: the text of spans compared with what the protocol's JSON mapping says (ids in hex, nanoseconds and
 * integers as text, enums as numbers); then the same span into every buffer that is too small. That a whole
 * request is valid is tested with a collector in tests/integration/test_traces.py. */
#include "base/span.h"

#include "tests/test.h"

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define JOB    "0193e5a0-7c1b-7aaa-8000-0123456789ab"

static mr_span_job a_job(const char *state) {
    mr_span_job j;
    CHECK(mr_span_job_init(&j, PARENT, state, JOB));
    return j;
}

static const char *text_of(const mr_trace_span *s) {
    static char text[4096];
    const size_t n = mr_span_write(s, text, sizeof text - 1);
    CHECK(n > 0);
    text[n] = '\0';
    return text;
}

TEST(only_what_is_sampled_is_wanted) {
    mr_span_job j;

    CHECK(!mr_span_job_init(&j, "", NULL, JOB));
    CHECK(!mr_span_job_init(&j, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", NULL, JOB));
    CHECK(!mr_span_job_init(&j, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02", NULL, JOB));
    CHECK(mr_span_job_init(&j, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", NULL, JOB));
}

TEST(a_span_in_full) {
    const mr_span_job j = a_job("rojo=\"1\"");
    mr_trace_span s;
    char id[17], wanted[2048];

    mr_span_init_job(&s, &j);
    mr_trace_hex(id, s.id, MR_SPAN_ID);
    s.name = "process \"x\"\n";
    s.kind = MR_SPAN_CONSUMER;
    s.start_ms = 1767225600000;
    s.end_ms = 1767225600900;
    s.error = "engine_error";
    mr_span_text(&s, "messaging.system", "kafka");
    mr_span_text(&s, "left.out", "");
    mr_span_text(&s, "left.out", NULL);
    mr_span_number(&s, "messaging.kafka.offset", -3);
    mr_span_list(&s, "gen_ai.response.finish_reasons", "stop");
    mr_span_happened(&s, "due", 1767225600100);
    snprintf(wanted, sizeof wanted,
             "{\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanId\":\"%s\","
             "\"parentSpanId\":\"00f067aa0ba902b7\",\"traceState\":\"rojo=\\u00221\\u0022\",\"flags\":1,"
             "\"name\":\"process \\u0022x\\u0022\\u000a\",\"kind\":5,"
             "\"startTimeUnixNano\":\"1767225600000000000\",\"endTimeUnixNano\":\"1767225600900000000\","
             "\"attributes\":[{\"key\":\"messaging.system\",\"value\":{\"stringValue\":\"kafka\"}},"
             "{\"key\":\"messaging.kafka.offset\",\"value\":{\"intValue\":\"-3\"}},"
             "{\"key\":\"gen_ai.response.finish_reasons\",\"value\":{\"arrayValue\":{\"values\":["
             "{\"stringValue\":\"stop\"}]}}}],"
             "\"events\":[{\"timeUnixNano\":\"1767225600100000000\",\"name\":\"due\"}],"
             "\"status\":{\"code\":2,\"message\":\"engine_error\"}}",
             id);
    CHECK_STR(text_of(&s), wanted);
}

TEST(what_does_not_fit_is_not_written) {
    const mr_span_job j = a_job(NULL);
    mr_trace_span s;
    char buf[1024];

    mr_span_init(&s, &j, "wait/1");
    s.name = "wait";
    mr_span_number(&s, "millrace.attempt", 1);
    const size_t n = mr_span_write(&s, buf, sizeof buf);
    CHECK(n > 0);
    for (size_t cap = 0; cap < n; cap++) {
        memset(buf, '#', sizeof buf);
        CHECK_I64(mr_span_write(&s, buf, cap), 0);
        CHECK(buf[cap] == '#');
    }
    CHECK_I64(mr_span_write(&s, buf, n), n);
}

TEST(spans_hang_below_the_job_and_the_job_below_its_producer) {
    const mr_span_job j = a_job(NULL);
    mr_span_job own = a_job(NULL);
    mr_trace_span job, one, two, again;

    mr_span_init_job(&job, &j);
    mr_span_init(&one, &j, "process/1/w");
    mr_span_init(&two, &j, "process/2/w");
    mr_span_init(&again, &j, "process/1/w");
    CHECK(!job.root);
    assert_memory_equal(job.parent, j.trace.parent_id, MR_SPAN_ID);
    assert_memory_equal(one.parent, job.id, MR_SPAN_ID);
    assert_memory_equal(two.parent, job.id, MR_SPAN_ID);
    assert_memory_equal(one.id, again.id, MR_SPAN_ID);
    CHECK(memcmp(one.id, two.id, MR_SPAN_ID) != 0);
    CHECK(mr_trace_make(&own.trace, JOB));
    mr_span_init_job(&job, &own);
    CHECK(job.root);
    job.name = "first";
    CHECK(!strstr(text_of(&job), "parentSpanId"));
}

TEST(a_clock_that_went_back_makes_no_negative_span) {
    const mr_span_job j = a_job(NULL);
    mr_trace_span s;

    mr_span_init(&s, &j, "x");
    s.name = "x";
    s.start_ms = 2000;
    s.end_ms = 1000;
    CHECK(strstr(text_of(&s), "\"startTimeUnixNano\":\"2000000000\",\"endTimeUnixNano\":\"2000000000\""));
}

TEST(the_head_says_who_we_are) {
    char buf[1024];

    CHECK(mr_span_head(buf, sizeof buf, "millrace-worker", "w-1", "1.2") > 0);
    CHECK(strstr(buf, "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"millrace-worker\"}}"));
    CHECK(strstr(buf, "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"w-1\"}}"));
    CHECK_I64(mr_span_head(buf, 64, "millrace-worker", "w-1", "1.2"), 0);
}

MR_TEST_MAIN
