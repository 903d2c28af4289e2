/* app.c - phases of the worker. Who is connected to whom: app_parts.c.
 *
 *     LOADING     the engine thread maps the model; probes answer already
 *     CONNECTING  topics are looked up, again every CONNECT_RETRY_MS while no broker answers
 *     SERVING     jobs come and go
 *     DRAINING    a signal came: nothing new is taken, what is in hand is finished within drain_ms
 *     STOPPING    the rest is handed over without a record (somebody else will run it); the engine
 *                 thread ends; then all is closed in the order of close_all, and the loop runs dry
 *
 * A second signal goes from DRAINING to STOPPING at once. An engine thread that does not come back
 * from its step cannot be joined: while stopping the process exits without it after a limit; while
 * serving the watchdog ends the process, and the marks in Kafka say which jobs were in that step.
 *
 * The look-up of topics blocks for some seconds while no broker answers, so a thread of uv's pool
 * does it: the probes answer meanwhile. */
#include "worker/app.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/app_internal.h"
#include "worker/result.h"

#define CONNECT_TRIES      60
#define CONNECT_RETRY_MS   1000
#define FLUSH_TIMEOUT_MS   3000
#define STUCK_GRACE_MS     1000  /* /livez says so, then the process ends */
#define STOP_LIMIT_MS      30000 /* the engine thread has so long to end its last step */
#define STOP_NOW_LIMIT_MS  2000  /* after a second signal */
#define EXIT_FORCED        75
#define EXIT_CONFIG        78

typedef mr_app app;

/* ---- stopping ---- */

static void close_all(app *a);

static void on_stop_limit(uv_timer_t *timer) {
    (void)timer;
    mr_log(MR_LOG_ERROR, "app", "the engine thread does not end: leaving without it", NULL);
    _exit(EXIT_FORCED);
}

/* What has ended is committed; the jobs of the stuck step keep their marks. */
static void on_stuck_over(uv_timer_t *timer) {
    app *a = timer->data;

    if (a->commit) mr_commit_flush(a->commit, FLUSH_TIMEOUT_MS);
    _exit(EXIT_FORCED);
}

static void on_stuck(app *a) {
    a->engine_stuck = true;
    a->flow.stopped = true;
    mr_log(MR_LOG_ERROR, "app", "an engine step does not end: the process does, to start again",
           "limit_ms=%" PRId64 " jobs=%u", a->s->step_timeout_ms, (unsigned)a->flow.n_active);
    mr_source_stop(a->source);
    uv_timer_start(&a->limit, on_stuck_over, STUCK_GRACE_MS, 0);
}

static void on_tick(uv_timer_t *timer) {
    app *a = timer->data;
    const bool serves = a->phase == MR_APP_SERVING || a->phase == MR_APP_DRAINING;

    mr_notify_alive(&a->notify, mr_clock_mono_ms());
    if (!serves || a->engine_stuck) return;
    if (mr_watchdog_tick(&a->watchdog, mr_runner_get_stats(a->runner).step_began_ms,
                         (uint64_t)a->s->step_timeout_ms)) {
        on_stuck(a);
    } else {
        mr_flow_tick(&a->flow);
    }
}

/* Its own turn of the loop: callbacks of the modules must be off the stack. */
static void on_stopping(uv_timer_t *timer) {
    app *a = timer->data;

    if (!a->engine_stopped || a->phase != MR_APP_STOPPING) return;
    a->phase = MR_APP_CLOSED;
    close_all(a);
}

static void stop_now(app *a, uint64_t limit_ms, mr_attempt_outcome why) {
    uv_timer_start(&a->limit, on_stop_limit, limit_ms, 0);
    if (a->phase >= MR_APP_STOPPING) return;
    mr_notify_stopping(&a->notify);
    a->phase = MR_APP_STOPPING;
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

void mr_app_drained(app *a) {
    if (a->phase == MR_APP_DRAINING) uv_timer_start(&a->timer, on_drain_over, 0, 0);
}

static void drain(app *a) {
    if (a->phase != MR_APP_SERVING) {
        stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_STOPPED);
        return;
    }
    a->phase = MR_APP_DRAINING;
    mr_notify_stopping(&a->notify);
    mr_source_stop(a->source);
    mr_heartbeat_touch(a->heartbeat);
    uv_timer_start(&a->timer, on_drain_over, mr_flow_idle(&a->flow) ? 0 : (uint64_t)a->s->drain_ms,
                   0);
}

static void on_signal(uv_signal_t *handle, int signum) {
    app *a = handle->data;

    if (a->phase >= MR_APP_DRAINING) {
        mr_log(MR_LOG_WARN, "app", "second signal: ending now", "signal=%d", signum);
        a->exit_code = EXIT_FORCED;
        stop_now(a, STOP_NOW_LIMIT_MS, MR_ATTEMPT_STOPPED);
        return;
    }
    mr_log(MR_LOG_INFO, "app", "signal: finishing what is in hand", "signal=%d jobs=%u", signum,
           (unsigned)(mr_jobs_n(a->jobs) - mr_jobs_n_free(a->jobs)));
    drain(a);
}

/* Settings that others keep a copy of; the rest is read from a->s whenever it is needed. */
static void apply_settings(app *a) {
    mr_log_setup(a->s->log_level, strcmp(a->s->log_format, "json") == 0);
    a->flow.limits.default_max_tokens = (uint32_t)a->s->default_max_tokens;
    if (a->heartbeat) mr_heartbeat_set_period(a->heartbeat, (uint64_t)a->s->heartbeat_ms);
    if (a->stream) mr_stream_set_ttl(a->stream, (uint64_t)a->s->stream_ttl_s * 1000);
}

static void on_setting_changed(void *owner, const char *name, bool applied) {
    (void)owner;
    mr_log(MR_LOG_INFO, "app",
           applied ? "setting changed" : "setting takes effect at the next start", "name=%s", name);
}

static void on_reload(uv_signal_t *handle, int signum) {
    app *a = handle->data;
    mr_err err = {0};

    (void)signum;
    if (mr_settings_reload(a->s, MR_PROGRAM_WORKER, a->argc, a->argv, on_setting_changed, a,
                           &err) != MR_OK) {
        mr_log(MR_LOG_ERROR, "app", "settings not read again: nothing has changed", "err=" MR_Q,
               err.text);
        return;
    }
    apply_settings(a);
}

void mr_app_fatal(void *owner, mr_status status, const char *text) {
    app *a = owner;

    if (a->phase >= MR_APP_STOPPING) return;
    mr_log(MR_LOG_ERROR, "app", "cannot go on", "status=%s err=" MR_Q, mr_status_name(status),
           text);
    a->exit_code = mr_status_exit_code(status);
    stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_STOPPED);
}

/* Its jobs go on elsewhere, or here behind the next start: none of them did it. */
static void on_lost(app *a, const char *text) {
    if (a->phase >= MR_APP_STOPPING) return;
    mr_log(MR_LOG_ERROR, "app", "the device is lost: ending, to start again", "jobs=%u err=" MR_Q,
           (unsigned)a->flow.n_active, text);
    a->exit_code = EXIT_FORCED;
    stop_now(a, STOP_LIMIT_MS, MR_ATTEMPT_STOPPED);
}

/* ---- opening ---- */

static void on_connect(uv_timer_t *timer);

/* A thread of uv's pool: it blocks for some seconds while no broker answers. */
static void look_up(uv_work_t *work) {
    app *a = work->data;

    a->look_up.err = (mr_err){0};
    a->look_up.status = mr_app_find_topics(a, &a->look_up.n_control, &a->look_up.err);
}

static void on_looked_up(uv_work_t *work, int cancelled) {
    app *a = work->data;
    mr_err err = a->look_up.err;
    mr_status st = a->look_up.status;

    (void)cancelled; /* nobody does */
    if (a->phase != MR_APP_CONNECTING) return; /* a signal came first */
    if (st == MR_EUNAVAIL || st == MR_ETIMEOUT || st == MR_ENOTFOUND) {
        if (++a->connect_tries < CONNECT_TRIES) {
            mr_log(MR_LOG_WARN, "app", "kafka is not ready, will try again",
                   "tries=%d of=%d err=" MR_Q, a->connect_tries, CONNECT_TRIES, err.text);
            uv_timer_start(&a->timer, on_connect, CONNECT_RETRY_MS, 0);
            return;
        }
    }
    if (st == MR_OK) st = mr_app_open_all(a, a->look_up.n_control, &err);
    if (st != MR_OK) {
        mr_app_fatal(a, st, err.text);
        return;
    }
    a->phase = MR_APP_SERVING;
    a->rate_from_ms = a->kafka_seen_ms = mr_clock_mono_ms();
    mr_notify_ready(&a->notify);
    mr_log(MR_LOG_INFO, "app", "serving",
           "topic=%s group=%s commit_mode=%s brokers=" MR_Q " redis_prefix=%s", a->work, a->group,
           a->s->commit_mode, a->s->kafka_brokers, a->s->redis_prefix);
}

static void on_connect(uv_timer_t *timer) {
    app *a = timer->data;

    a->look_up.work.data = a;
    MR_CHECK(uv_queue_work(&a->loop, &a->look_up.work, look_up, on_looked_up) == 0);
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

static void on_event(void *owner, const mr_event *ev) {
    app *a = owner;

    if (ev->kind == MR_EVENT_STOPPED) {
        a->engine_stopped = true;
        if (a->phase == MR_APP_STOPPING) uv_timer_start(&a->timer, on_stopping, 0, 0);
    } else if (ev->kind == MR_EVENT_LOST) {
        on_lost(a, ev->text);
    } else if (ev->kind != MR_EVENT_READY) {
        mr_flow_event(&a->flow, ev);
    } else if (ev->status != MR_OK) {
        mr_app_fatal(a, ev->status, ev->text);
    } else {
        a->engine_ready = true;
        name_model(a);
        mr_app_log_model(a);
        mr_app_watch_gpu(a);
        if (a->phase != MR_APP_LOADING) return; /* a signal came first */
        a->phase = MR_APP_CONNECTING;
        uv_timer_start(&a->timer, on_connect, 0, 0);
    }
}

static void on_idle(void *owner) {
    app *a = owner;
    if (a->stream) mr_stream_flush(a->stream);
}

/* ---- closing ---- */

/* All jobs were handed over before, which is committed here, while we are still in the group; so
 * whoever gets the partitions finds what has ended, and no job that counts as one more death. */
static void close_kafka(app *a) {
    if (a->source && mr_commit_flush(a->commit, FLUSH_TIMEOUT_MS) != MR_OK)
        mr_log(MR_LOG_WARN, "app", "not all was committed before the end: jobs may run again",
               "waiting=%zu", mr_commit_get_stats(a->commit).waiting);
    if (a->commit) mr_commit_use(a->commit, NULL);
    mr_source_close(a->source);
    a->source = NULL;
    mr_commit_close(a->commit);
    a->commit = NULL;
    if (a->notes) mr_kafka_flush(a->notes, FLUSH_TIMEOUT_MS);
    mr_kafka_producer_close(a->notes);
}

static void close_all(app *a) {
    if (a->heartbeat) mr_heartbeat_send(a->heartbeat); /* says `leaving` */
    mr_heartbeat_close(a->heartbeat);
    a->heartbeat = NULL;
    mr_control_close(a->control);
    close_kafka(a);
    mr_stream_close(a->stream);
    a->stream = NULL;
    mr_otlp_close(a->otlp); /* nobody has a span to tell any more */
    a->otlp = a->flow.spans.otlp = NULL;
    mr_runner_close(a->runner);
    mr_probes_close(a->probes);
    mr_gpu_close(a->gpu);
    a->gpu = NULL;
    uv_close((uv_handle_t *)&a->sigterm, NULL);
    uv_close((uv_handle_t *)&a->sigint, NULL);
    uv_close((uv_handle_t *)&a->sighup, NULL);
    uv_close((uv_handle_t *)&a->timer, NULL);
    uv_close((uv_handle_t *)&a->limit, NULL);
    uv_close((uv_handle_t *)&a->ticker, NULL);
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
    snprintf(a->transactional_id, sizeof a->transactional_id, "%s.worker.%s", s->topic_prefix,
             a->worker);
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
                                 .gpu_layers = (uint32_t)s->gpu_layers,
                                 .tensor_parallel = (uint32_t)s->tensor_parallel,
                                 .gpu_quant = s->gpu_quant,
                                 .swap_bytes = (uint64_t)s->gpu_swap_mb << 20,
                                 .gpu_memory = (float)s->gpu_memory_percent / 100,
                                 .host_sampling = !s->gpu_sampling,
                                 .no_graphs = !s->gpu_graphs,
                                 .not_reproducible = !s->reproducible,
                                 .n_threads = (int)s->threads,
                                 .n_ctx = (uint32_t)s->n_ctx,
                                 .kv_tokens = (uint32_t)s->kv_tokens,
                                 .kv_type = s->kv_type,
                                 .repack_cache = s->repack_cache,
                                 .max_jobs = (uint32_t)s->max_jobs,
                                 .max_step_tokens = (uint32_t)s->max_step_tokens,
                                 .max_preemptions = (uint32_t)s->max_preemptions,
                                 .n_slots = mr_jobs_n(a->jobs),
                                 .owner = a,
                                 .on_event = on_event,
                                 .on_idle = on_idle};

    return mr_runner_open(&a->runner, &a->loop, &conf, err);
}

static mr_status open_first(app *a, mr_err *err) {
    const mr_probes_conf probes = {.listen = a->s->worker_listen,
                                   .owner = a,
                                   .not_live = mr_app_not_live,
                                   .not_ready = mr_app_not_ready,
                                   .not_started = mr_app_not_started,
                                   .metrics = mr_app_metrics_text};
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

/* A manager with a wrong address is told nothing; that is no reason not to work. */
static void open_notify(app *a) {
    mr_err err = {0};

    if (mr_notify_init(&a->notify, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "app", "the service manager is told nothing", "err=" MR_Q, err.text);
}

static void init_handles(app *a) {
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    uv_signal_init(&a->loop, &a->sighup);
    uv_timer_init(&a->loop, &a->timer);
    uv_timer_init(&a->loop, &a->limit);
    uv_timer_init(&a->loop, &a->ticker);
    a->sigterm.data = a->sigint.data = a->sighup.data = a;
    a->timer.data = a->limit.data = a->ticker.data = a;
    uv_signal_start(&a->sigterm, on_signal, SIGTERM);
    uv_signal_start(&a->sigint, on_signal, SIGINT);
    uv_signal_start(&a->sighup, on_reload, SIGHUP);
    uv_timer_start(&a->ticker, on_tick, MR_WATCHDOG_TICK_MS, MR_WATCHDOG_TICK_MS);
}

int mr_app_run(mr_settings *s, int argc, char *const *argv) {
    app *a = calloc(1, sizeof *a);
    mr_err err = {0};
    mr_status st;
    int code;

    if (!a) return mr_status_exit_code(MR_ENOMEM);
    a->s = s;
    a->argc = argc;
    a->argv = argv;
    MR_CHECK(uv_loop_init(&a->loop) == 0);
    mr_metrics_init(&a->metrics);
    init_handles(a);
    open_notify(a);
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
    mr_flow_deinit(&a->flow);
    mr_jobs_close(a->jobs);
    free(a);
    return code;
}
