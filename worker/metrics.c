/* metrics.c - Prometheus text format 0.0.4; names as vLLM's behind our prefix, so that dashboards
 * fit.
 *
 * Times are kept in whole milliseconds and shown in seconds. One table of bounds serves all
 * histograms: from a token's gap to a night's batch. */
#include "worker/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t bounds_ms[MR_HISTOGRAM_BUCKETS] = {
    1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 1800000};

void mr_histogram_add(mr_histogram *h, uint64_t ms) {
    size_t i = 0;

    while (i < MR_HISTOGRAM_BUCKETS && ms > bounds_ms[i]) i++;
    h->counts[i]++;
    h->sum_ms += ms;
}

void mr_metrics_token(mr_metrics *m, uint64_t gap_ms) {
    mr_histogram_add(&m->inter_token, gap_ms);
}

void mr_metrics_job(mr_metrics *m, const mr_job *j) {
    const mr_job_times t = mr_job_times_of(j);

    if (j->back) {
        m->returns[j->outcome]++;
        return;
    }
    m->jobs[j->status]++;
    mr_histogram_add(&m->e2e, t.total_ms);
    if (!j->entered_ms[MR_JOB_RUNNING]) return;
    mr_histogram_add(&m->queue, t.queue_ms);
    mr_histogram_add(&m->prefill, t.prefill_ms);
    if (!j->first_token_ms) return;
    mr_histogram_add(&m->first_token, t.first_token_ms);
    mr_histogram_add(&m->decode, t.decode_ms);
}

/* ---- text ---- */

typedef struct writer {
    FILE *f;
    const char *model;
} writer;

static void head(writer *w, const char *name, const char *type, const char *help) {
    fprintf(w->f, "# HELP millrace_%s %s\n# TYPE millrace_%s %s\n", name, help, name, type);
}

static void gauge(writer *w, const char *name, double value, const char *help) {
    head(w, name, "gauge", help);
    fprintf(w->f, "millrace_%s{model_name=\"%s\"} %.17g\n", name, w->model, value);
}

static void counter(writer *w, const char *name, uint64_t value, const char *help) {
    head(w, name, "counter", help);
    fprintf(w->f, "millrace_%s{model_name=\"%s\"} %" PRIu64 "\n", name, w->model, value);
}

static void histogram(writer *w, const char *name, const mr_histogram *h, const char *help) {
    uint64_t n = 0;

    head(w, name, "histogram", help);
    for (size_t i = 0; i < MR_HISTOGRAM_BUCKETS; i++) {
        n += h->counts[i];
        fprintf(w->f, "millrace_%s_bucket{model_name=\"%s\",le=\"%g\"} %" PRIu64 "\n", name,
                w->model, (double)bounds_ms[i] / 1000, n);
    }
    n += h->counts[MR_HISTOGRAM_BUCKETS];
    fprintf(w->f, "millrace_%s_bucket{model_name=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, w->model,
            n);
    fprintf(w->f, "millrace_%s_sum{model_name=\"%s\"} %.3f\n", name, w->model,
            (double)h->sum_ms / 1000);
    fprintf(w->f, "millrace_%s_count{model_name=\"%s\"} %" PRIu64 "\n", name, w->model, n);
}

static void write_jobs(writer *w, const mr_metrics *m, const mr_metrics_input *in) {
    head(w, "jobs_total", "counter", "Jobs answered, by terminal status.");
    for (int s = 0; s < MR_N_STATUSES; s++)
        fprintf(w->f, "millrace_jobs_total{model_name=\"%s\",status=\"%s\"} %" PRIu64 "\n",
                w->model, mr_job_status_name((mr_job_status)s), m->jobs[s]);
    head(w, "job_returns_total", "counter",
         "Jobs sent back for another attempt, by how this one ended.");
    for (unsigned o = MR_ATTEMPT_FAULT; o <= MR_ATTEMPT_NO_FIT; o++)
        fprintf(w->f, "millrace_job_returns_total{model_name=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                w->model, mr_attempt_outcome_name(o), m->returns[o]);
    counter(w, "jobs_dropped_total", m->jobs_dropped,
            "Jobs given up without an answer because their partition or this worker went away.");
    counter(w, "job_duplicates_total", m->duplicates, "Records of a job that was in hand already.");
    counter(w, "records_total", m->records, "Work records taken.");
    counter(w, "jobs_poisoned_total", m->poisoned,
            "Jobs not run again because too many workers died with them.");
    gauge(w, "suspects", in->suspects ? 1 : 0,
          "1 while a job that a worker died with runs alone or waits to.");
    gauge(w, "jobs_in_hand", in->jobs_in_hand, "Jobs between their record and its answer.");
    gauge(w, "job_slots", in->job_slots, "Jobs that can be in hand at one time.");
    gauge(w, "partitions", (double)in->partitions, "Partitions of the work topic owned.");
}

static void write_commit(writer *w, const mr_commit_stats *c) {
    counter(w, "commit_records_total", c->records, "Records committed.");
    counter(w, "commit_batches_total", c->batches, "Batches of records and offsets committed.");
    counter(w, "commit_aborts_total", c->aborts, "Batches that were aborted and formed anew.");
    counter(w, "commit_rebuilds_total", c->rebuilds, "Producers made after one failed for good.");
    counter(w, "commit_unknown_total", c->unknown, "Commits whose outcome had to be looked up.");
    gauge(w, "commit_waiting_records", (double)c->waiting, "Records that are not committed yet.");
    gauge(w, "commit_unfinished_offsets", (double)c->unfinished, "Offsets taken, not finished.");
    gauge(w, "commit_last_batch_seconds", (double)c->last_batch_us / 1e6,
          "Time that the newest batch took.");
}

static void write_engine(writer *w, const mr_metrics_input *in) {
    const mr_runner_stats *r = &in->runner;
    const uint64_t kv = in->engine ? in->engine->kv_tokens : 0;

    gauge(w, "model_loaded", in->engine ? 1 : 0, "1 once the model can be used.");
    gauge(w, "num_requests_running", r->running, "Sequences in the batch.");
    gauge(w, "num_requests_waiting", r->waiting, "Jobs that wait for a seat or for KV blocks.");
    gauge(w, "num_requests_blocked", r->blocked, "Of these, jobs that wait for KV blocks.");
    gauge(w, "kv_cache_usage_perc", kv ? 1 - (double)r->kv_tokens_free / (double)kv : 0,
          "Share of the KV cache that is set aside, 0 to 1.");
    gauge(w, "kv_cache_tokens", (double)kv, "Room of the KV cache in tokens.");
    gauge(w, "running_limit", r->limit, "Sequences that may start, for want of memory.");
    counter(w, "num_preemptions_total", r->preemptions,
            "Times that a job of lane low left its seat to one of lane high.");
    counter(w, "engine_out_of_memory_total", r->ooms, "Steps and starts that found no memory.");
    counter(w, "prompt_tokens_total", r->prompt_tokens,
            "Tokens computed before a new one: prompts, and what was taken over or displaced.");
    counter(w, "generation_tokens_total", r->generated_tokens, "Tokens generated.");
    counter(w, "engine_steps_total", r->steps, "Forward passes.");
    counter(w, "engine_step_errors_total", r->step_errors, "Forward passes that failed.");
    head(w, "engine_step_seconds_total", "counter", "Time inside forward passes.");
    fprintf(w->f, "millrace_engine_step_seconds_total{model_name=\"%s\"} %.6f\n", w->model,
            (double)r->step_us / 1e6);
}

static void write_stream(writer *w, const mr_stream_stats *s) {
    gauge(w, "redis_up", s->up ? 1 : 0, "1 while Redis is connected.");
    counter(w, "stream_frames_total", s->frames, "Token frames written to Redis.");
    counter(w, "stream_frames_dropped_total", s->frames_dropped, "Token frames given up.");
    counter(w, "stream_calls_total", s->calls, "Script calls with frames.");
    counter(w, "stream_errors_total", s->errors, "Script calls that failed.");
    counter(w, "stream_claims_total", s->claims, "Streams claimed.");
    counter(w, "stream_takeovers_total", s->takeovers, "Jobs gone on with behind another worker.");
    counter(w, "stream_restarts_total", s->restarts, "Streams that readers were told to restart.");
    counter(w, "stream_fenced_total", s->fenced, "Streams that another worker took over.");
    gauge(w, "stream_lag_frames", (double)s->lag_frames, "Frames made and not yet confirmed.");
}

static void write_times(writer *w, const mr_metrics *m) {
    histogram(w, "time_to_first_token_seconds", &m->first_token,
              "From the job's record to its first token.");
    histogram(w, "inter_token_latency_seconds", &m->inter_token, "Between two tokens of a job.");
    histogram(w, "e2e_request_latency_seconds", &m->e2e, "From the job's record to its end.");
    histogram(w, "request_queue_time_seconds", &m->queue, "From the job's record to its start.");
    histogram(w, "request_prefill_time_seconds", &m->prefill, "From its start to its first token.");
    histogram(w, "request_decode_time_seconds", &m->decode, "From its first token to its end.");
}

char *mr_metrics_text(const mr_metrics *m, const mr_metrics_input *in, size_t *len) {
    char *text = NULL;
    writer w = {.model = in->model};
    bool failed;

    w.f = open_memstream(&text, len);
    if (!w.f) return NULL;
    write_jobs(&w, m, in);
    write_commit(&w, &in->commit);
    write_engine(&w, in);
    write_stream(&w, &in->stream);
    write_times(&w, m);
    failed = ferror(w.f) != 0;
    if (fclose(w.f) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
