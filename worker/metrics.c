/* metrics.c - see metrics.h. A further number: a member of the view (most modules have a struct of
 * counters, which is one), its value in fill(), and a row.
 *
 * Rows with an asterisk in docs/METRICS.md are vLLM's; the setting metrics_compat shows them under
 * its names, too. Times come from job.c in whole milliseconds. */
#include "worker/metrics.h"

#include <string.h>

#define MS 1000 /* histograms of times count microseconds */

/* ---- counting ---- */

void mr_metrics_init(mr_metrics *m) {
    mr_histogram *const stages[] = {&m->e2e, &m->queue, &m->prefill, &m->decode, &m->inference};
    mr_histogram *const tokens[] = {&m->prompt_tokens, &m->generation_tokens, &m->max_tokens};

    *m = (mr_metrics){0};
    mr_histogram_init(&m->first_token, &mr_buckets_first_token);
    mr_histogram_init(&m->gap, &mr_buckets_gap);
    mr_histogram_init(&m->per_token, &mr_buckets_gap);
    for (size_t i = 0; i < MR_COUNT(stages); i++)
        mr_histogram_init(stages[i], &mr_buckets_request);
    for (size_t i = 0; i < MR_COUNT(tokens); i++)
        mr_histogram_init(tokens[i], &mr_buckets_tokens);
}

void mr_metrics_token(mr_metrics *m, uint64_t gap_ms) {
    mr_histogram_add(&m->gap, gap_ms * MS);
}

static mr_finish finish_of(const mr_job *j) {
    switch (j->status) {
    case MR_STATUS_SUCCEEDED:
        return strcmp(j->finish_reason, "length") == 0 ? MR_FINISH_LENGTH : MR_FINISH_STOP;
    case MR_STATUS_CANCELLED:
    case MR_STATUS_EXPIRED: return MR_FINISH_ABORT;
    case MR_STATUS_FAILED:
    case MR_STATUS_REJECTED: break;
    }
    return MR_FINISH_ERROR;
}

static void count_run(mr_metrics *m, const mr_job *j, const mr_job_times *t) {
    const uint32_t n_own = j->n_generated > j->n_taken ? j->n_generated - (uint32_t)j->n_taken : 0;

    mr_histogram_add(&m->queue, (uint64_t)t->queue_ms * MS);
    mr_histogram_add(&m->prefill, (uint64_t)t->prefill_ms * MS);
    mr_histogram_add(&m->inference, ((uint64_t)t->prefill_ms + t->decode_ms) * MS);
    mr_histogram_add(&m->prompt_tokens, j->n_tokens);
    mr_histogram_add(&m->generation_tokens, j->n_generated);
    mr_histogram_add(&m->max_tokens, j->max_new);
    if (!j->first_token_ms) return;
    mr_histogram_add(&m->first_token, (uint64_t)t->first_token_ms * MS);
    mr_histogram_add(&m->decode, (uint64_t)t->decode_ms * MS);
    if (n_own > 1) mr_histogram_add(&m->per_token, (uint64_t)t->decode_ms * MS / (n_own - 1));
}

void mr_metrics_job(mr_metrics *m, const mr_job *j) {
    const mr_job_times t = mr_job_times_of(j);

    if (j->back) {
        m->returns[j->outcome]++;
        return;
    }
    m->jobs[j->status]++;
    m->finished[finish_of(j)]++;
    mr_histogram_add(&m->e2e, (uint64_t)t.total_ms * MS);
    if (j->entered_ms[MR_JOB_RUNNING]) count_run(m, j, &t);
}

/* ---- the table ---- */

typedef struct view {
    mr_metrics m;
    mr_runner_stats runner;
    mr_stream_stats stream;
    mr_commit_stats commit;
    mr_otlp_stats spans;
    mr_process process;
    mr_gpu_stats gpu;
    const mr_histogram *step_tokens, *step_seconds;
    double kv_usage, step_s;
    uint64_t kv_tokens, jobs_in_hand, job_slots, partitions, prefilled;
    uint64_t none; /* what vLLM counts and we have not */
    bool loaded, suspects;
} view;

#define HEAD(name_, kind_, labels_, flags_, member, help_)                                         \
    {.name = name_, .kind = MR_METRIC_##kind_, .labels = labels_, .flags = flags_,                 \
     MR_METRIC_AT(view, member), .help = help_}
#define COUNTER(name, member, help)           HEAD(name, COUNTER, NULL, 0, member, help)
#define COUNTERS(name, labels, member, help)  HEAD(name, COUNTER, labels, 0, member, help)
#define GAUGE(name, member, help)             HEAD(name, GAUGE, NULL, 0, member, help)
#define HISTOGRAM(name, member, help)         HEAD(name, HISTOGRAM, NULL, 0, member, help)
#define GPU(name, member, help)               HEAD(name, GAUGE, NULL, MR_METRIC_GPU, member, help)
/* vLLM has it, too. */
#define V_COUNTER(name, member, help)   HEAD(name, COUNTER, NULL, MR_METRIC_VLLM, member, help)
#define V_GAUGE(name, member, help)     HEAD(name, GAUGE, NULL, MR_METRIC_VLLM, member, help)
#define V_HISTOGRAM(name, member, help) HEAD(name, HISTOGRAM, NULL, MR_METRIC_VLLM, member, help)
/* And had it under another name before. */
#define V_OLDER(name_, kind_, older_, member, help_)                                               \
    {.name = name_, .kind = MR_METRIC_##kind_, .flags = MR_METRIC_VLLM, .older = older_,           \
     MR_METRIC_AT(view, member), .help = help_}
/* Only vLLM has it, or means something else by it. */
#define FOREIGN(name, kind, labels, member, help)                                                  \
    HEAD(name, kind, labels, MR_METRIC_FOREIGN, member, help)
/* Another sample of the family above. */
#define MORE(labels_, member) {.labels = labels_, MR_METRIC_AT(view, member)}

static const mr_metric rows[] = {
    /* state */
    V_GAUGE("num_requests_running", runner.running, "Sequences in the batch."),
    V_GAUGE("num_requests_waiting", runner.waiting,
            "Jobs that wait for a seat or for KV blocks."),
    GAUGE("num_requests_blocked", runner.blocked, "Of these, jobs that wait for KV blocks."),
    FOREIGN("num_requests_waiting_by_reason", GAUGE, "reason=\"capacity\"", runner.waiting,
            "Jobs that wait for a seat or for KV blocks; nothing is deferred."),
    MORE("reason=\"deferred\"", none),
    V_OLDER("kv_cache_usage_perc", GAUGE, "gpu_cache_usage_perc", kv_usage,
            "Share of the KV cache that is set aside, 0 to 1."),
    GAUGE("kv_cache_tokens", kv_tokens, "Room of the KV cache in tokens."),
    GAUGE("running_limit", runner.limit, "Sequences that may run at one time, for want of memory."),
    GAUGE("jobs_in_hand", jobs_in_hand, "Jobs between their record and its answer."),
    GAUGE("job_slots", job_slots, "Jobs that can be in hand at one time."),
    GAUGE("partitions", partitions, "Partitions of the work topic that this worker reads."),
    GAUGE("suspects", suspects, "1 while a job that a worker died with runs alone or waits to."),
    GAUGE("model_loaded", loaded, "1 once the model can be used."),
    GAUGE("redis_up", stream.up, "1 while Redis is connected."),

    /* times of jobs that have ended */
    V_HISTOGRAM("time_to_first_token_seconds", m.first_token,
                "From the job's record to its first token."),
    V_OLDER("inter_token_latency_seconds", HISTOGRAM, "time_per_output_token_seconds", m.gap,
            "Between two tokens of a job."),
    V_HISTOGRAM("e2e_request_latency_seconds", m.e2e, "From the job's record to its end."),
    V_HISTOGRAM("request_queue_time_seconds", m.queue, "From the job's record to its start."),
    V_HISTOGRAM("request_prefill_time_seconds", m.prefill, "From its start to its first token."),
    V_HISTOGRAM("request_decode_time_seconds", m.decode, "From its first token to its end."),
    V_HISTOGRAM("request_inference_time_seconds", m.inference, "From its start to its end."),
    V_HISTOGRAM("request_time_per_output_token_seconds", m.per_token,
                "Decode time of a job, divided by its tokens behind the first."),

    /* tokens of jobs that have ended */
    V_HISTOGRAM("request_prompt_tokens", m.prompt_tokens, "Tokens of a job's prompt."),
    V_HISTOGRAM("request_generation_tokens", m.generation_tokens, "Tokens of a job's answer."),
    V_OLDER("request_params_max_tokens", HISTOGRAM, "request_max_num_generation_tokens",
            m.max_tokens, "Tokens that a job may make at most."),

    /* the engine's steps */
    V_HISTOGRAM("iteration_tokens_total", step_tokens,
                "Tokens of one engine step: a batch's rows, prompts included."),
    HISTOGRAM("engine_step_seconds", step_seconds, "Time of one engine step."),
    COUNTER("engine_steps_total", runner.steps, "Engine steps, failed ones included."),
    COUNTER("engine_busy_seconds_total", step_s, "Time inside engine steps."),
    COUNTER("engine_step_errors_total", runner.step_errors, "Engine steps that failed."),
    COUNTER("engine_out_of_memory_total", runner.ooms, "Steps and starts that found no memory."),
    V_COUNTER("num_preemptions_total", runner.preemptions,
              "Times that a job of lane low left its seat to one of lane high."),
    COUNTER("kv_swaps_total", runner.swaps,
            "Of these, those whose KV blocks were kept in host memory."),
    COUNTER("prompt_tokens_total", runner.prompt_tokens,
            "Tokens computed before a new one: prompts, and what was taken over or displaced."),
    FOREIGN("prompt_tokens_total", COUNTER, NULL, prefilled,
            "Tokens before a new one, those of the prefix cache included."),
    FOREIGN("prompt_tokens_by_source_total", COUNTER, "source=\"local_compute\"",
            runner.prompt_tokens, "Tokens before a new one, by where they came from."),
    MORE("source=\"local_cache_hit\"", runner.prefix_hits),
    MORE("source=\"external_kv_transfer\"", none),
    V_COUNTER("generation_tokens_total", runner.generated_tokens, "Tokens generated."),
    COUNTER("wasted_tokens_total", m.wasted_tokens,
            "Of both, tokens computed again after preemptions and by later attempts."),
    V_COUNTER("prefix_cache_queries_total", runner.prefix_queries,
              "Tokens of sequences that began, looked up in the prefix cache."),
    V_COUNTER("prefix_cache_hits_total", runner.prefix_hits, "Of these, tokens that were there."),

    /* jobs */
    {.name = "request_success_total", .kind = MR_METRIC_COUNTER, .flags = MR_METRIC_VLLM,
     .labels = "finished_reason=\"stop\"", MR_METRIC_AT(view, m.finished[MR_FINISH_STOP]),
     .help = "Jobs answered, by vLLM's reasons; abort: cancelled or expired."},
    MORE("finished_reason=\"length\"", m.finished[MR_FINISH_LENGTH]),
    MORE("finished_reason=\"abort\"", m.finished[MR_FINISH_ABORT]),
    MORE("finished_reason=\"error\"", m.finished[MR_FINISH_ERROR]),
    COUNTERS("jobs_total", "status=\"succeeded\"", m.jobs[MR_STATUS_SUCCEEDED],
             "Jobs whose answer is committed, by terminal status."),
    MORE("status=\"failed\"", m.jobs[MR_STATUS_FAILED]),
    MORE("status=\"rejected\"", m.jobs[MR_STATUS_REJECTED]),
    MORE("status=\"cancelled\"", m.jobs[MR_STATUS_CANCELLED]),
    MORE("status=\"expired\"", m.jobs[MR_STATUS_EXPIRED]),
    COUNTERS("job_returns_total", "outcome=\"fault\"", m.returns[MR_ATTEMPT_FAULT],
             "Jobs sent back for another attempt, by how this one ended."),
    MORE("outcome=\"oom\"", m.returns[MR_ATTEMPT_OOM]),
    MORE("outcome=\"no_fit\"", m.returns[MR_ATTEMPT_NO_FIT]),
    COUNTER("jobs_dropped_total", m.jobs_dropped,
            "Jobs given up without an answer because their partition or this worker went away."),
    COUNTER("job_duplicates_total", m.duplicates, "Records of a job that was in hand already."),
    COUNTER("records_total", m.records, "Work records taken."),
    COUNTER("jobs_poisoned_total", m.poisoned,
            "Jobs not run again because too many workers died with them."),

    /* token streams */
    COUNTER("stream_frames_total", stream.frames, "Token frames written to Redis."),
    COUNTER("stream_frames_dropped_total", stream.frames_dropped, "Token frames given up."),
    COUNTER("stream_calls_total", stream.calls, "Script calls with frames."),
    COUNTER("stream_errors_total", stream.errors, "Script calls that failed."),
    COUNTER("stream_claims_total", stream.claims, "Streams claimed."),
    COUNTER("stream_takeovers_total", stream.takeovers,
            "Jobs gone on with behind another worker."),
    COUNTER("stream_restarts_total", stream.restarts,
            "Streams that readers were told to restart."),
    COUNTER("stream_fenced_total", stream.fenced, "Streams that another worker took over."),
    GAUGE("stream_lag_frames", stream.lag_frames, "Frames made and not yet confirmed."),

    /* what it costs */
    GPU("gpu_memory_used_bytes", gpu.memory_used, "Memory of the GPU in use, by all programs."),
    GPU("gpu_memory_total_bytes", gpu.memory_total, "Memory of the GPU."),
    GPU("gpu_utilization_ratio", gpu.busy, "Share of the last moments with a kernel, 0 to 1."),
    GPU("gpu_temperature_celsius", gpu.celsius, "Temperature of the GPU."),
    GPU("gpu_power_watts", gpu.watts, "Power that the GPU draws."),
    MR_COMMIT_ROWS(view, commit),
    MR_OTLP_ROWS(view, spans),
    MR_PROCESS_ROWS(view, process),
};

static void fill(view *v, const mr_metrics *m, const mr_metrics_input *in) {
    *v = (view){
        .m = *m,
        .runner = in->runner,
        .stream = in->stream,
        .commit = in->commit,
        .spans = in->spans,
        .step_tokens = in->steps ? &in->steps->tokens : NULL,
        .step_seconds = in->steps ? &in->steps->took : NULL,
        .step_s = (double)in->runner.step_us / 1e6,
        .kv_tokens = in->engine ? in->engine->kv_tokens : 0,
        .jobs_in_hand = in->jobs_in_hand,
        .job_slots = in->job_slots,
        .partitions = in->partitions,
        .prefilled = in->runner.prompt_tokens + in->runner.prefix_hits,
        .loaded = in->engine != NULL,
        .suspects = in->suspects,
    };
    if (v->kv_tokens)
        v->kv_usage = 1 - (double)in->runner.kv_tokens_free / (double)v->kv_tokens;
    if (in->gpu) mr_gpu_read(in->gpu, &v->gpu);
    mr_process_read(in->process);
    v->process = *in->process;
}

char *mr_worker_metrics(const mr_metrics *m, const mr_metrics_input *in, size_t *len) {
    const mr_metric_style style = {.model = in->model, .vllm = in->vllm, .gpu = in->gpu != NULL};
    view v;

    fill(&v, m, in);
    return mr_metric_text(rows, MR_COUNT(rows), &v, &style, len);
}

const mr_metric *mr_worker_rows(size_t *n) {
    *n = MR_COUNT(rows);
    return rows;
}
