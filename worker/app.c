/* app.c - phases of the worker, and who is connected to whom.
 *
 *     LOADING     the engine thread maps the model; probes answer already
 *     CONNECTING  topics are looked up, again every CONNECT_RETRY_MS while no broker answers
 *     SERVING     jobs come and go
 *     DRAINING    a signal came: nothing new is taken, what is in hand is finished within drain_ms
 *     STOPPING    the rest is given up without a record (somebody else will run it); the engine
 *                 thread ends; then all is closed in the order of close_all, and the loop runs dry
 *
 * A second signal goes from DRAINING to STOPPING at once. An engine thread that does not come back
 * from its step cannot be joined: after a limit the process exits without it.
 *
 * The look-up of topics blocks the loop for some seconds at worst, while no job is in hand. */
#include "worker/app.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/attempts.h"
#include "worker/commit.h"
#include "worker/control.h"
#include "worker/flow.h"
#include "worker/heartbeat.h"
#include "worker/job.h"
#include "worker/metrics.h"
#include "worker/probes.h"
#include "worker/result.h"
#include "worker/runner.h"
#include "worker/source.h"
#include "worker/stream.h"

#define CONNECT_TRIES      60
#define CONNECT_RETRY_MS   1000
#define CONNECT_TIMEOUT_MS 5000
#define COMMIT_TIMEOUT_MS  3000
#define FLUSH_TIMEOUT_MS   3000
#define STEP_LIMIT_MS      60000 /* a step that takes longer: /livez says no */
#define STOP_LIMIT_MS      30000 /* the engine thread has so long to end its last step */
#define STOP_NOW_LIMIT_MS  2000  /* after a second signal */
#define RATE_WINDOW_MS     1000
#define TOPIC_BYTES        249 /* Kafka's limit for a name */
#define EXIT_FORCED        75
#define EXIT_CONFIG        78

typedef enum phase { LOADING, CONNECTING, SERVING, DRAINING, STOPPING, CLOSED } phase;

typedef struct app {
    const mr_settings *s;
    uv_loop_t loop;
    uv_signal_t sigterm, sigint;
    uv_timer_t timer;    /* the next thing of the phase */
    uv_timer_t watchdog; /* STOPPING */
    phase phase;
    int exit_code, connect_tries;
    bool engine_ready, engine_stopped;

    char worker[MR_JOB_MAX_NAME * 2 + 1], model[MR_JOB_MAX_NAME + 1], label[MR_JOB_MAX_NAME + 1];
    char work[TOPIC_BYTES + 1], results[TOPIC_BYTES + 1], workers[TOPIC_BYTES + 1];
    char control_topic[TOPIC_BYTES + 1], dead[TOPIC_BYTES + 1], group[TOPIC_BYTES + 1];
    char attempts[TOPIC_BYTES + 1];
    char client_id[160];
    mr_kafka_conf kafka;

    mr_jobs *jobs;
    mr_probes *probes;
    mr_runner *runner;
    mr_commit *commit;
    mr_stream *stream;
    mr_control *control;
    mr_source *source;
    mr_heartbeats *heartbeat;
    mr_flow flow;
    mr_metrics metrics;

    struct mr_heartbeat_part parts[MR_COMMIT_MAX_PARTS];
    uint64_t rate_from_ms, rate_tokens;
    float tokens_per_s;
} app;

/* ---- stopping ---- */

static void close_all(app *a);

static void on_watchdog(uv_timer_t *timer) {
    (void)timer;
    mr_log(MR_LOG_ERROR, "app", "the engine thread does not end: leaving without it", NULL);
    _exit(EXIT_FORCED);
}

/* Its own turn of the loop: callbacks of the modules must be off the stack. */
static void on_stopping(uv_timer_t *timer) {
    app *a = timer->data;

    if (!a->engine_stopped || a->phase != STOPPING) return;
    a->phase = CLOSED;
    close_all(a);
}

static void stop_now(app *a, uint64_t limit_ms, mr_attempt_outcome why) {
    uv_timer_start(&a->watchdog, on_watchdog, limit_ms, 0);
    if (a->phase >= STOPPING) return;
    a->phase = STOPPING;
    if (a->source) mr_source_stop(a->source);
    if (a->flow.jobs) mr_flow_abandon(&a->flow, why);
    mr_runner_stop(a->runner); /* its MR_EVENT_STOPPED goes on */
    uv_timer_start(&a->timer, on_stopping, 0, 0);
}

static void on_drain_over(uv_timer_t *timer) {
    app *a = timer->data;
    const uint32_t left = mr_jobs_n(a->jobs) - mr_jobs_n_free(a->jobs);

    if (left > 0)
        mr_log(MR_LOG_WARN, "app", "drain time is over: jobs are left to another worker",
               "jobs=%u drain_ms=%" PRId64, (unsigned)left, a->s->drain_ms);
    stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_DRAINED);
}

static void drain(app *a) {
    if (a->phase != SERVING) {
        stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_STOPPED);
        return;
    }
    a->phase = DRAINING;
    mr_source_stop(a->source);
    mr_heartbeat_touch(a->heartbeat);
    uv_timer_start(&a->timer, on_drain_over, mr_flow_idle(&a->flow) ? 0 : (uint64_t)a->s->drain_ms,
                   0);
}

static void on_signal(uv_signal_t *handle, int signum) {
    app *a = handle->data;

    if (a->phase >= DRAINING) {
        mr_log(MR_LOG_WARN, "app", "second signal: ending now", "signal=%d", signum);
        a->exit_code = EXIT_FORCED;
        stop_now(a, STOP_NOW_LIMIT_MS, MR_ATTEMPT_STOPPED);
        return;
    }
    mr_log(MR_LOG_INFO, "app", "signal: finishing what is in hand", "signal=%d jobs=%u", signum,
           (unsigned)(mr_jobs_n(a->jobs) - mr_jobs_n_free(a->jobs)));
    drain(a);
}

static void on_fatal(void *owner, mr_status status, const char *text) {
    app *a = owner;

    if (a->phase >= STOPPING) return;
    mr_log(MR_LOG_ERROR, "app", "cannot go on", "status=%s err=" MR_Q, mr_status_name(status),
           text);
    a->exit_code = mr_status_exit_code(status);
    stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_STOPPED);
}

/* ---- the flow's wiring ---- */

static mr_status on_record(void *owner, const mr_kafka_msg *m) {
    app *a = owner;
    return mr_flow_record(&a->flow, m);
}

static mr_status on_assign(void *owner, int32_t partition, int64_t next, mr_err *err) {
    app *a = owner;
    return mr_commit_assign(a->commit, partition, next, err);
}

static void on_revoke(void *owner, const int32_t *partitions, size_t n, bool lost) {
    app *a = owner;

    if (!lost) mr_commit_now(a->commit, COMMIT_TIMEOUT_MS);
    mr_flow_revoke(&a->flow, partitions, n);
    for (size_t i = 0; i < n; i++) mr_commit_revoke(a->commit, partitions[i]);
}

static void on_cancel(void *owner, const char *job_id) {
    app *a = owner;
    mr_flow_cancel(&a->flow, job_id);
}

static void on_stream_closed(void *owner, uint32_t slot, bool degraded) {
    app *a = owner;
    mr_flow_stream_closed(&a->flow, slot, degraded);
}

static void on_acknowledged(void *owner, mr_job *j) {
    app *a = owner;
    mr_flow_acknowledged(&a->flow, j);
}

static void on_change(void *owner) {
    app *a = owner;
    if (a->heartbeat) mr_heartbeat_touch(a->heartbeat);
}

static void on_room(void *owner) {
    app *a = owner;

    if (a->phase == SERVING) mr_source_retry(a->source);
    if (a->phase == DRAINING && mr_flow_idle(&a->flow))
        uv_timer_start(&a->timer, on_drain_over, 0, 0);
}

static float tokens_per_s(app *a) {
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

static void on_fill(void *owner, mr_heartbeat *h) {
    app *a = owner;
    const mr_runner_model *m = mr_runner_get_model(a->runner);
    const mr_runner_stats r = mr_runner_get_stats(a->runner);
    const uint32_t active = a->flow.n_active, max_jobs = a->flow.max_jobs;

    *h = (mr_heartbeat){
        .worker = a->worker,
        .model = a->model,
        .leaving = a->phase >= DRAINING,
        .parts = a->parts,
        .n_parts = mr_source_positions(a->source, a->parts, MR_COMMIT_MAX_PARTS),
        .free_slots = a->phase == SERVING && active < max_jobs ? max_jobs - active : 0,
        .max_slots = max_jobs,
        .running = r.running < active ? r.running : active,
        .kv_tokens_free = r.kv_tokens_free,
        .kv_tokens_total = m->kv_tokens,
        .n_ctx = m->n_ctx,
        .pressure = active ? (float)(r.blocked < active ? r.blocked : active) / (float)active : 0,
        .tokens_per_s = tokens_per_s(a),
    };
    h->waiting = active - h->running;
}

/* ---- probes ---- */

static const char *not_live(void *owner) {
    app *a = owner;
    const uint64_t began_ms = mr_runner_get_stats(a->runner).step_began_ms;

    if (began_ms && mr_clock_mono_ms() > began_ms + STEP_LIMIT_MS)
        return "the engine has not finished a step for 60 s";
    return NULL;
}

static const char *not_started(void *owner) {
    const app *a = owner;
    return a->engine_ready ? NULL : "the model is being loaded";
}

static const char *not_ready(void *owner) {
    const app *a = owner;

    if (a->phase == LOADING) return "the model is being loaded";
    if (a->phase == CONNECTING) return "waiting for kafka";
    if (a->phase >= DRAINING) return "stopping";
    if (!mr_source_assigned(a->source)) return "no partitions assigned yet";
    return not_live(owner);
}

static char *metrics_text(void *owner, size_t *len) {
    app *a = owner;
    mr_metrics_input in = {
        .model = a->label,
        .engine = a->engine_ready ? mr_runner_get_model(a->runner) : NULL,
        .runner = mr_runner_get_stats(a->runner),
        .jobs_in_hand = mr_jobs_n(a->jobs) - mr_jobs_n_free(a->jobs),
        .job_slots = mr_jobs_n(a->jobs),
    };

    if (a->stream) in.stream = mr_stream_get_stats(a->stream);
    if (a->commit) in.commit = mr_commit_get_stats(a->commit);
    if (a->source) in.partitions = mr_source_n_parts(a->source);
    return mr_metrics_text(&a->metrics, &in, len);
}

/* ---- opening ---- */

static mr_status find_topics(app *a, int32_t *n_control, mr_err *err) {
    static const char *const compact[] = {"cleanup.policy=compact", NULL};
    const int32_t n = (int32_t)a->s->topic_partitions;
    const mr_kafka_topic topics[] = {{a->work, n, NULL},
                                     {a->results, n, NULL},
                                     {a->dead, 1, NULL},
                                     {a->attempts, 1, NULL},
                                     {a->control_topic, 1, NULL},
                                     {a->workers, 1, compact}};
    mr_status st = MR_OK;

    if (a->s->create_topics)
        st = mr_kafka_ensure_topics(&a->kafka, topics, MR_COUNT(topics), CONNECT_TIMEOUT_MS, err);
    if (st != MR_OK) return st;
    return mr_kafka_partitions(&a->kafka, a->control_topic, CONNECT_TIMEOUT_MS, n_control, err);
}

static void on_handed_back(void *owner, const mr_job *j, mr_attempt_outcome outcome) {
    app *a = owner;
    mr_attempts_note(mr_commit_producer(a->commit), a->attempts, a->worker, a->model, j, outcome);
}

static void fill_flow(app *a) {
    const mr_runner_model *m = mr_runner_get_model(a->runner);

    a->flow = (mr_flow){
        .model = a->model,
        .worker = a->worker,
        .dead_topic = a->dead,
        .max_jobs = (uint32_t)a->s->max_jobs,
        .limits = {.model = a->model,
                   .tokenizer = m->tokenizer,
                   .chat = m->chat,
                   .chat_missing = m->chat_missing,
                   .n_ctx = m->n_ctx,
                   .n_vocab = m->n_vocab,
                   .kv_tokens = m->kv_tokens,
                   .default_max_tokens = (uint32_t)a->s->default_max_tokens},
        .jobs = a->jobs,
        .runner = a->runner,
        .stream = a->stream,
        .commit = a->commit,
        .control = a->control,
        .metrics = &a->metrics,
        .owner = a,
        .on_change = on_change,
        .on_room = on_room,
        .on_fatal = on_fatal,
        .on_handed_back = on_handed_back,
    };
}

static mr_status open_stream(app *a, mr_err *err) {
    const mr_stream_conf conf = {.redis_url = a->s->redis_url,
                                 .client_name = a->client_id,
                                 .prefix = a->s->redis_prefix,
                                 .worker = a->worker,
                                 .model = a->model,
                                 .ttl_ms = (uint64_t)a->s->stream_ttl_s * 1000,
                                 .max_frames = a->s->stream_max_frames,
                                 .buffer_bytes = (size_t)a->s->stream_buffer_kb * 1024,
                                 .n_slots = mr_jobs_n(a->jobs),
                                 .owner = a,
                                 .on_closed = on_stream_closed};

    return mr_stream_open(&a->stream, &a->loop, &conf, err);
}

static mr_status open_commit(app *a, mr_err *err) {
    const mr_commit_conf conf = {.kafka = a->kafka,
                                 .results_topic = a->results,
                                 .work_topic = a->work,
                                 .model = a->model,
                                 .worker = a->worker,
                                 .window = (size_t)a->s->commit_window,
                                 .owner = a,
                                 .on_done = on_acknowledged,
                                 .on_fatal = on_fatal};

    return mr_commit_open(&a->commit, &a->loop, &conf, err);
}

static mr_status open_source(app *a, mr_err *err) {
    const mr_source_conf conf = {.kafka = a->kafka,
                                 .topic = a->work,
                                 .group = a->group,
                                 .owner = a,
                                 .on_record = on_record,
                                 .on_assign = on_assign,
                                 .on_revoke = on_revoke,
                                 .on_change = on_change,
                                 .on_fatal = on_fatal};

    return mr_source_open(&a->source, &a->loop, &conf, err);
}

/* Whatever records need comes before the source of records. */
static mr_status open_all(app *a, int32_t n_control, mr_err *err) {
    const mr_control_conf control = {
        .kafka = a->kafka, .topic = a->control_topic, .n_partitions = n_control, .owner = a,
        .on_cancel = on_cancel};
    mr_heartbeat_conf heartbeat = {.topic = a->workers,
                                   .worker = a->worker,
                                   .period_ms = (uint64_t)a->s->heartbeat_ms,
                                   .owner = a,
                                   .on_fill = on_fill};
    mr_status st;

    if ((st = open_stream(a, err)) != MR_OK) return st;
    if ((st = open_commit(a, err)) != MR_OK) return st;
    if ((st = mr_control_open(&a->control, &a->loop, &control, err)) != MR_OK) return st;
    fill_flow(a);
    if ((st = open_source(a, err)) != MR_OK) return st;
    mr_commit_use(a->commit, mr_source_consumer(a->source));
    heartbeat.producer = mr_commit_producer(a->commit);
    return mr_heartbeat_open(&a->heartbeat, &a->loop, &heartbeat, err);
}

static void on_connect(uv_timer_t *timer) {
    app *a = timer->data;
    int32_t n_control = 0;
    mr_err err = {0};
    mr_status st = find_topics(a, &n_control, &err);

    if (st == MR_EUNAVAIL || st == MR_ETIMEOUT || st == MR_ENOTFOUND) {
        if (++a->connect_tries < CONNECT_TRIES) {
            mr_log(MR_LOG_WARN, "app", "kafka is not ready, will try again",
                   "tries=%d of=%d err=" MR_Q, a->connect_tries, CONNECT_TRIES, err.text);
            uv_timer_start(&a->timer, on_connect, CONNECT_RETRY_MS, 0);
            return;
        }
    }
    if (st == MR_OK) st = open_all(a, n_control, &err);
    if (st != MR_OK) {
        on_fatal(a, st, err.text);
        return;
    }
    a->phase = SERVING;
    a->rate_from_ms = mr_clock_mono_ms();
    mr_log(MR_LOG_INFO, "app", "serving", "topic=%s group=%s brokers=" MR_Q " redis_prefix=%s",
           a->work, a->group, a->s->kafka_brokers, a->s->redis_prefix);
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The setting; else the file's name without its ending: what an owner sees and can change, where
 * the name inside the file is often a sentence. */
static void name_model(app *a) {
    if (a->s->model_name[0]) {
        snprintf(a->model, sizeof a->model, "%s", a->s->model_name);
    } else {
        char *dot;
        mr_fit_name(a->model, file_name(a->s->model_path));
        dot = strrchr(a->model, '.');
        if (dot && strcmp(dot, ".gguf") == 0) *dot = 0;
    }
    mr_fit_name(a->label, a->model);
    mr_work_topic(a->work, sizeof a->work, a->s->topic_prefix, a->model);
    snprintf(a->group, sizeof a->group, "%s.%s", a->s->worker_group, a->label);
}

static void log_model(const app *a) {
    const mr_runner_model *m = mr_runner_get_model(a->runner);

    mr_log(MR_LOG_INFO, "app", "model loaded",
           "model=%s file=" MR_Q " parameters=%" PRIu64 " weight_bytes=%" PRIu64
           " isa=%s threads=%d kv_bytes=%zu kv_tokens=%" PRIu64
           " n_ctx=%u max_jobs=%" PRId64 " tokenizer=%s chat_template=%s",
           a->label, file_name(a->s->model_path), m->n_params, m->weight_bytes, m->isa,
           m->n_threads, m->kv_bytes, m->kv_tokens, (unsigned)m->n_ctx, a->s->max_jobs,
           m->tokenizer_kind, m->chat_name);
}

static void on_event(void *owner, const mr_event *ev) {
    app *a = owner;

    if (ev->kind == MR_EVENT_STOPPED) {
        a->engine_stopped = true;
        if (a->phase == STOPPING) uv_timer_start(&a->timer, on_stopping, 0, 0);
    } else if (ev->kind != MR_EVENT_READY) {
        mr_flow_event(&a->flow, ev);
    } else if (ev->status != MR_OK) {
        on_fatal(a, ev->status, ev->text);
    } else {
        a->engine_ready = true;
        name_model(a);
        log_model(a);
        if (a->phase != LOADING) return; /* a signal came first */
        a->phase = CONNECTING;
        uv_timer_start(&a->timer, on_connect, 0, 0);
    }
}

static void on_idle(void *owner) {
    app *a = owner;
    if (a->stream) mr_stream_flush(a->stream);
}

/* ---- closing ---- */

/* The producer last of all that speaks Kafka, because the others send through it: the source's
 * final commit and the heartbeat that says `leaving`. */
static void close_all(app *a) {
    if (a->heartbeat) mr_heartbeat_send(a->heartbeat);
    mr_heartbeat_close(a->heartbeat);
    a->heartbeat = NULL;
    mr_control_close(a->control);
    mr_source_close(a->source); /* revokes, so commits */
    if (a->commit) mr_commit_use(a->commit, NULL);
    mr_stream_close(a->stream);
    a->stream = NULL;
    mr_commit_close(a->commit, FLUSH_TIMEOUT_MS);
    mr_runner_close(a->runner);
    mr_probes_close(a->probes);
    uv_close((uv_handle_t *)&a->sigterm, NULL);
    uv_close((uv_handle_t *)&a->sigint, NULL);
    uv_close((uv_handle_t *)&a->timer, NULL);
    uv_close((uv_handle_t *)&a->watchdog, NULL);
}

/* ---- the beginning and the end ---- */

static mr_status name_all(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    char host[65] = "worker";

    gethostname(host, sizeof host - 1);
    if (s->worker_id[0]) {
        snprintf(a->worker, sizeof a->worker, "%s", s->worker_id);
    } else {
        snprintf(a->worker, sizeof a->worker, "%s-%ld", host, (long)getpid());
    }
    snprintf(a->client_id, sizeof a->client_id, "millrace-worker-%s", a->worker);
    snprintf(a->results, sizeof a->results, "%s.results", s->topic_prefix);
    snprintf(a->workers, sizeof a->workers, "%s.workers", s->topic_prefix);
    snprintf(a->control_topic, sizeof a->control_topic, "%s.control", s->topic_prefix);
    snprintf(a->dead, sizeof a->dead, "%s.dead", s->topic_prefix);
    snprintf(a->attempts, sizeof a->attempts, "%s.attempts", s->topic_prefix);
    a->kafka = (mr_kafka_conf){s->kafka_brokers, a->client_id, s->kafka_extra};
    if (!s->model_path[0])
        return mr_fail(err, MR_EINVAL, "model_path is not set: say --model-path FILE.gguf");
    return MR_OK;
}

static mr_status open_runner(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    const mr_runner_conf conf = {.model_path = s->model_path,
                                 .chat_template = s->chat_template,
                                 .isa = s->isa,
                                 .device = s->device,
                                 .gpu_memory = (float)s->gpu_memory_percent / 100,
                                 .n_threads = (int)s->threads,
                                 .n_ctx = (uint32_t)s->n_ctx,
                                 .kv_tokens = (uint32_t)s->kv_tokens,
                                 .max_jobs = (uint32_t)s->max_jobs,
                                 .max_step_tokens = (uint32_t)s->max_step_tokens,
                                 .n_slots = mr_jobs_n(a->jobs),
                                 .owner = a,
                                 .on_event = on_event,
                                 .on_idle = on_idle};

    return mr_runner_open(&a->runner, &a->loop, &conf, err);
}

static mr_status open_first(app *a, mr_err *err) {
    const mr_probes_conf probes = {.listen = a->s->worker_listen,
                                   .owner = a,
                                   .not_live = not_live,
                                   .not_ready = not_ready,
                                   .not_started = not_started,
                                   .metrics = metrics_text};
    mr_status st;

    if ((st = name_all(a, err)) != MR_OK) return st;
    st = mr_jobs_open(&a->jobs, MR_FLOW_SLOTS((uint32_t)a->s->max_jobs), err);
    if (st != MR_OK) return st;
    if (a->s->worker_listen[0] &&
        (st = mr_probes_open(&a->probes, &a->loop, &probes, err)) != MR_OK)
        return st;
    if (a->probes)
        mr_log(MR_LOG_INFO, "app", "probes and metrics", "port=%d", mr_probes_port(a->probes));
    return open_runner(a, err);
}

static void init_handles(app *a) {
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    uv_timer_init(&a->loop, &a->timer);
    uv_timer_init(&a->loop, &a->watchdog);
    a->sigterm.data = a->sigint.data = a->timer.data = a->watchdog.data = a;
    uv_signal_start(&a->sigterm, on_signal, SIGTERM);
    uv_signal_start(&a->sigint, on_signal, SIGINT);
}

int mr_app_run(const mr_settings *s) {
    app *a = calloc(1, sizeof *a);
    mr_err err = {0};
    mr_status st;
    int code;

    if (!a) return mr_status_exit_code(MR_ENOMEM);
    a->s = s;
    MR_CHECK(uv_loop_init(&a->loop) == 0);
    init_handles(a);
    if ((st = open_first(a, &err)) != MR_OK) { /* no runner: nothing to wait for */
        mr_log(MR_LOG_ERROR, "app", "cannot start", "err=" MR_Q, err.text);
        a->exit_code = st == MR_EINVAL ? EXIT_CONFIG : mr_status_exit_code(st);
        close_all(a);
    }
    uv_run(&a->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&a->loop) != 0) {
        mr_log(MR_LOG_ERROR, "app", "a handle was left open", NULL);
        a->exit_code = mr_status_exit_code(MR_EINTERNAL);
    }
    code = a->exit_code;
    mr_log(MR_LOG_INFO, "app", "stopped", "worker=%s exit=%d", a->worker, code);
    mr_jobs_close(a->jobs);
    free(a);
    return code;
}
