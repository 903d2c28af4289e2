/* Goal: the text is what a Prometheus scraper reads, with the right numbers. Method: count some
 * events, look for the lines, and check the shape of every line. */
#include "tests/test.h"

#include "worker/metrics.h"

#define GAP "millrace_inter_token_latency_seconds"

TEST(buckets_are_cumulative_and_inclusive) {
    mr_metrics m = {0};
    const mr_metrics_input in = {.model = "demo"};
    size_t len = 0;
    char *text;

    mr_metrics_token(&m, 5);
    mr_metrics_token(&m, 6);
    mr_metrics_token(&m, 10000000);
    text = mr_metrics_text(&m, &in, &len);
    CHECK(text != NULL);
    CHECK_I64(strlen(text), len);
    CHECK(strstr(text, GAP "_bucket{model_name=\"demo\",le=\"0.001\"} 0\n"));
    CHECK(strstr(text, GAP "_bucket{model_name=\"demo\",le=\"0.005\"} 1\n"));
    CHECK(strstr(text, GAP "_bucket{model_name=\"demo\",le=\"1800\"} 2\n"));
    CHECK(strstr(text, GAP "_bucket{model_name=\"demo\",le=\"+Inf\"} 3\n"));
    CHECK(strstr(text, GAP "_sum{model_name=\"demo\"} 10000.011\n"));
    CHECK(strstr(text, GAP "_count{model_name=\"demo\"} 3\n"));
    free(text);
}

TEST(jobs_are_counted_by_status_and_timed_by_stage) {
    mr_metrics m = {0};
    const mr_runner_model model = {.kv_tokens = 1000};
    const mr_metrics_input in = {.model = "demo",
                                 .engine = &model,
                                 .runner = {.running = 2, .kv_tokens_free = 250}};
    mr_job ran = {.status = MR_STATUS_SUCCEEDED, .first_token_ms = 30};
    mr_job refused = {.status = MR_STATUS_REJECTED};
    size_t len = 0;
    char *text;

    ran.entered_ms[MR_JOB_DECODED] = 10;
    ran.entered_ms[MR_JOB_RUNNING] = 20;
    ran.entered_ms[MR_JOB_FLUSHING] = 90;
    refused.entered_ms[MR_JOB_DECODED] = 10;
    refused.entered_ms[MR_JOB_FLUSHING] = 11;
    mr_metrics_job(&m, &ran);
    mr_metrics_job(&m, &refused);
    text = mr_metrics_text(&m, &in, &len);
    CHECK(text != NULL);
    CHECK(strstr(text, "millrace_jobs_total{model_name=\"demo\",status=\"succeeded\"} 1\n"));
    CHECK(strstr(text, "millrace_jobs_total{model_name=\"demo\",status=\"rejected\"} 1\n"));
    CHECK(strstr(text, "millrace_jobs_total{model_name=\"demo\",status=\"expired\"} 0\n"));
    CHECK(strstr(text, "millrace_num_requests_running{model_name=\"demo\"} 2\n"));
    CHECK(strstr(text, "millrace_kv_cache_usage_perc{model_name=\"demo\"} 0.75\n"));
    CHECK(strstr(text, "millrace_time_to_first_token_seconds_sum{model_name=\"demo\"} 0.020\n"));
    CHECK(strstr(text, "millrace_time_to_first_token_seconds_count{model_name=\"demo\"} 1\n"));
    CHECK(strstr(text, "millrace_e2e_request_latency_seconds_count{model_name=\"demo\"} 2\n"));
    free(text);
}

TEST(every_line_is_a_comment_or_a_sample) {
    const mr_metrics m = {0};
    const mr_metrics_input in = {.model = "demo"};
    size_t len = 0;
    char *text = mr_metrics_text(&m, &in, &len), *save = NULL;
    int samples = 0;

    CHECK(text != NULL);
    CHECK(text[len - 1] == '\n');
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (line[0] == '#') {
            CHECK(strncmp(line, "# HELP millrace_", 16) == 0 ||
                  strncmp(line, "# TYPE millrace_", 16) == 0);
            continue;
        }
        CHECK(strncmp(line, "millrace_", 9) == 0);
        CHECK(strstr(line, "{model_name=\"demo\"") != NULL);
        CHECK(strstr(line, "} ") != NULL);
        samples++;
    }
    CHECK(samples > 100);
    free(text);
}

MR_TEST_MAIN
