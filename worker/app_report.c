/* app_report.c - what the worker tells of itself: heartbeat, probes, metrics, its first log lines.
 *
 * Ready means that it gets on with jobs: the model is there, partitions are assigned, and Kafka
 * takes what it is given. Live means that a new start would not help. */
#include "worker/app_internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define RATE_WINDOW_MS 1000
#define KAFKA_LATE_MS  5000 /* unanswered for so long: away */

/* ---- heartbeat ---- */

static float tokens_per_s(mr_app *a) {
    const uint64_t now_ms = mr_clock_mono_ms();
    const uint64_t tokens = mr_runner_get_stats(a->runner).generated_tokens;

    if (now_ms - a->rate_from_ms >= RATE_WINDOW_MS) {
        const float span_s = (float)(now_ms - a->rate_from_ms) / 1000;
        a->tokens_per_s = (float)(tokens - a->rate_tokens) / span_s;
        a->rate_from_ms = now_ms;
        a->rate_tokens = tokens;
    }
    return a->tokens_per_s;
}

static bool takes_more(const mr_app *a) {
    return a->phase == MR_APP_SERVING && !a->engine_stuck;
}

/* Other workers first, while a suspect has this one to itself, or memory is short. */
static uint32_t free_slots(const mr_app *a, const mr_runner_stats *r) {
    const uint32_t active = a->flow.n_active;

    if (!takes_more(a) || active >= r->limit) return 0;
    return mr_suspects_busy(a->flow.suspects) ? 0 : r->limit - active;
}

void mr_app_fill_heartbeat(void *app, mr_heartbeat *h) {
    mr_app *a = app;
    const mr_runner_model *m = mr_runner_get_model(a->runner);
    const mr_runner_stats r = mr_runner_get_stats(a->runner);
    const uint32_t active = a->flow.n_active;

    *h = (mr_heartbeat){
        .worker = a->worker,
        .model = a->model,
        .leaving = a->phase >= MR_APP_DRAINING,
        .parts = a->parts,
        .n_parts = mr_source_positions(a->source, a->parts, MR_SOURCE_MAX_PARTS),
        .free_slots = free_slots(a, &r),
        .max_slots = a->flow.max_jobs,
        .running = r.running < active ? r.running : active,
        .kv_tokens_free = r.kv_tokens_free,
        .kv_tokens_total = m->kv_tokens,
        .n_ctx = m->n_ctx,
        .displaceable = takes_more(a) ? r.displaceable : 0,
        .pressure = 1 - (float)r.limit / (float)a->flow.max_jobs,
        .tokens_per_s = tokens_per_s(a),
        .prefixes = a->flow.prefixes.list,
        .n_prefixes = a->flow.prefixes.n,
    };
    h->waiting = active - h->running;
}

/* ---- probes ---- */

const char *mr_app_not_live(void *app) {
    const mr_app *a = app;
    return a->engine_stuck ? "an engine step does not end" : NULL;
}

const char *mr_app_not_started(void *app) {
    const mr_app *a = app;
    return a->engine_ready ? NULL : "the model is being loaded";
}

static bool kafka_is_late(const mr_app *a) {
    const uint64_t now_ms = mr_clock_mono_ms();
    const uint64_t beat_ms = (uint64_t)a->s->heartbeat_ms;

    return now_ms > a->kafka_seen_ms + beat_ms + KAFKA_LATE_MS ||
           mr_flow_commit_wait_ms(&a->flow, now_ms) > KAFKA_LATE_MS;
}

const char *mr_app_not_ready(void *app) {
    const mr_app *a = app;

    if (a->phase == MR_APP_LOADING) return "the model is being loaded";
    if (a->phase == MR_APP_CONNECTING) return "waiting for kafka";
    if (a->phase >= MR_APP_DRAINING) return "stopping";
    if (!mr_source_assigned(a->source)) return "no partitions assigned yet";
    if (kafka_is_late(a)) return "kafka is away: nothing new starts";
    return mr_app_not_live(app);
}

char *mr_app_metrics_text(void *app, size_t *len) {
    mr_app *a = app;
    mr_metrics_input in = {
        .model = a->label,
        .vllm = strcmp(a->s->metrics_compat, "vllm") == 0,
        .process = &a->process,
        .gpu = a->gpu,
        .engine = a->engine_ready ? mr_runner_get_model(a->runner) : NULL,
        .runner = mr_runner_get_stats(a->runner),
        .steps = mr_runner_get_histograms(a->runner),
        .jobs_in_hand = mr_jobs_n(a->jobs) - mr_jobs_n_free(a->jobs),
        .job_slots = mr_jobs_n(a->jobs),
    };

    if (a->stream) in.stream = mr_stream_get_stats(a->stream);
    if (a->commit) in.commit = mr_commit_get_stats(a->commit);
    in.spans = mr_otlp_get_stats(a->otlp);
    if (a->source) in.partitions = mr_source_n_parts(a->source);
    if (a->flow.suspects) in.suspects = mr_suspects_busy(a->flow.suspects);
    return mr_worker_metrics(&a->metrics, &in, len);
}

void mr_app_watch_gpu(mr_app *a) {
    const char *pci = mr_runner_get_model(a->runner)->pci;
    mr_err err = {0};

    if (pci && mr_gpu_open(&a->gpu, pci, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "app", "metrics without the GPU", "err=" MR_Q, err.text);
}

/* ---- log ---- */

void mr_app_log_model(const mr_app *a) {
    const mr_runner_model *m = mr_runner_get_model(a->runner);
    const char *slash = strrchr(a->s->model_path, '/');

    mr_log(MR_LOG_INFO, "app", "model loaded",
           "model=%s file=" MR_Q " parameters=%" PRIu64 " weight_bytes=%" PRIu64
           " device=" MR_Q " isa=%s threads=%d kv_type=%s kv_bytes=%zu kv_tokens=%" PRIu64
           " n_ctx=%u max_jobs=%" PRId64 " tokenizer=%s chat_template=%s",
           a->label, slash ? slash + 1 : a->s->model_path, m->n_params, m->weight_bytes, m->device,
           m->isa, m->n_threads, m->kv_type, m->kv_bytes, m->kv_tokens, (unsigned)m->n_ctx,
           a->s->max_jobs, m->tokenizer_kind, m->chat_name);
    if (m->no_gpu) mr_log(MR_LOG_INFO, "app", "no GPU is used", "why=" MR_Q, m->no_gpu);
}
