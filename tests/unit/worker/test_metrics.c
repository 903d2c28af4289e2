/* Goal: jobs are counted once, under the right status and reason, with the times and tokens of
 * their stages. Method: end some jobs, and look for the lines. What a line is: test_metric.c. */
#include "tests/test.h"

#include "worker/metrics.h"

static mr_process process;

static char *text_of(const mr_metrics *m, mr_metrics_input in) {
    size_t len = 0;
    char *text;

    in.model = "demo";
    in.process = &process;
    text = mr_worker_metrics(m, &in, &len);
    CHECK(text != NULL);
    return text;
}

static mr_job a_job(mr_job_status status, const char *finish_reason) {
    mr_job j = {.status = status, .finish_reason = finish_reason};

    j.entered_ms[MR_JOB_DECODED] = 10;
    j.entered_ms[MR_JOB_FLUSHING] = 11;
    return j;
}

static mr_job a_job_that_ran(const char *finish_reason) {
    mr_job j = a_job(MR_STATUS_SUCCEEDED, finish_reason);

    j.entered_ms[MR_JOB_RUNNING] = 20;
    j.first_token_ms = 30;
    j.entered_ms[MR_JOB_FLUSHING] = 90;
    j.n_tokens = 7;
    j.n_generated = 4;
    j.max_new = 64;
    return j;
}

#define LINE(name, labels, value) "\nmillrace_" name "{model_name=\"demo\"" labels "} " value "\n"

TEST(jobs_are_counted_by_status_and_timed_by_stage) {
    const mr_runner_model model = {.kv_tokens = 1000};
    const mr_job stopped = a_job_that_ran("stop"), full = a_job_that_ran("length");
    const mr_job refused = a_job(MR_STATUS_REJECTED, "");
    const mr_job cancelled = a_job(MR_STATUS_CANCELLED, "");
    mr_metrics m;
    char *text;

    mr_metrics_init(&m);
    mr_metrics_job(&m, &stopped);
    mr_metrics_job(&m, &full);
    mr_metrics_job(&m, &refused);
    mr_metrics_job(&m, &cancelled);
    mr_metrics_token(&m, 20);
    text = text_of(&m, (mr_metrics_input){.engine = &model,
                                          .runner = {.running = 2, .kv_tokens_free = 250}});
    CHECK(strstr(text, LINE("jobs_total", ",status=\"succeeded\"", "2")));
    CHECK(strstr(text, LINE("jobs_total", ",status=\"rejected\"", "1")));
    CHECK(strstr(text, LINE("jobs_total", ",status=\"expired\"", "0")));
    CHECK(strstr(text, LINE("request_success_total", ",finished_reason=\"stop\"", "1")));
    CHECK(strstr(text, LINE("request_success_total", ",finished_reason=\"length\"", "1")));
    CHECK(strstr(text, LINE("request_success_total", ",finished_reason=\"abort\"", "1")));
    CHECK(strstr(text, LINE("request_success_total", ",finished_reason=\"error\"", "1")));
    CHECK(strstr(text, LINE("num_requests_running", "", "2")));
    CHECK(strstr(text, LINE("kv_cache_usage_perc", "", "0.75")));
    CHECK(strstr(text, LINE("time_to_first_token_seconds_sum", "", "0.04")));
    CHECK(strstr(text, LINE("time_to_first_token_seconds_bucket", ",le=\"0.02\"", "2")));
    CHECK(strstr(text, LINE("request_queue_time_seconds_sum", "", "0.02")));
    CHECK(strstr(text, LINE("request_prefill_time_seconds_sum", "", "0.02")));
    CHECK(strstr(text, LINE("request_decode_time_seconds_sum", "", "0.12")));
    CHECK(strstr(text, LINE("request_inference_time_seconds_sum", "", "0.14")));
    CHECK(strstr(text, LINE("request_time_per_output_token_seconds_sum", "", "0.04")));
    CHECK(strstr(text, LINE("request_prompt_tokens_sum", "", "14")));
    CHECK(strstr(text, LINE("request_generation_tokens_count", "", "2")));
    CHECK(strstr(text, LINE("request_params_max_tokens_sum", "", "128")));
    CHECK(strstr(text, LINE("e2e_request_latency_seconds_count", "", "4")));
    CHECK(strstr(text, LINE("inter_token_latency_seconds_sum", "", "0.02")));
    free(text);
}

TEST(a_job_that_goes_back_is_no_answer) {
    mr_job j = a_job_that_ran("");
    mr_metrics m;
    char *text;

    mr_metrics_init(&m);
    j.back = true;
    j.outcome = MR_ATTEMPT_OOM;
    mr_metrics_job(&m, &j);
    text = text_of(&m, (mr_metrics_input){.vllm = true});
    CHECK(strstr(text, LINE("job_returns_total", ",outcome=\"oom\"", "1")));
    CHECK(strstr(text, LINE("e2e_request_latency_seconds_count", "", "0")));
    CHECK(strstr(text, "\nvllm:e2e_request_latency_seconds_count"
                       "{model_name=\"demo\",engine=\"0\"} 0\n"));
    free(text);
}

MR_TEST_MAIN
