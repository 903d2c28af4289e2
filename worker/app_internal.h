/* app_internal.h - the worker's state, shared by app.c (phases), app_parts.c (who is connected to
 * whom) and app_report.c (what it tells of itself). */
#ifndef MR_WORKER_APP_INTERNAL_H
#define MR_WORKER_APP_INTERNAL_H

#include <uv.h>

#include "base/commit.h"
#include "base/kafka.h"
#include "base/probes.h"
#include "base/notify.h"
#include "schemas/settings.h"
#include "worker/control.h"
#include "worker/flow.h"
#include "worker/heartbeat.h"
#include "worker/job.h"
#include "worker/metrics.h"
#include "worker/runner.h"
#include "worker/source.h"
#include "worker/stream.h"
#include "worker/watchdog.h"

#define MR_APP_TOPIC_BYTES 249 /* Kafka's limit for a name */

typedef enum mr_app_phase {
    MR_APP_LOADING,
    MR_APP_CONNECTING,
    MR_APP_SERVING,
    MR_APP_DRAINING,
    MR_APP_STOPPING,
    MR_APP_CLOSED
} mr_app_phase;

typedef struct mr_app {
    mr_settings *s;
    int argc;
    char *const *argv;
    uv_loop_t loop;
    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t timer;  /* the next thing of the phase */
    uv_timer_t limit;  /* the process ends when it fires */
    uv_timer_t ticker; /* every MR_WATCHDOG_TICK_MS */
    mr_app_phase phase;
    int exit_code, connect_tries;
    struct { /* the look-up of topics; written by a thread of uv's pool while it is under way */
        uv_work_t work;
        mr_status status;
        int32_t n_control; /* partitions of the control topic */
        mr_err err;
    } look_up;
    bool engine_ready, engine_stopped, engine_stuck;
    mr_watchdog watchdog;
    mr_notify notify; /* the service manager, if there is one */
    uint64_t kafka_seen_ms; /* monotonic: a heartbeat was acknowledged */

    char worker[MR_JOB_MAX_NAME * 2 + 1], model[MR_JOB_MAX_NAME + 1], label[MR_JOB_MAX_NAME + 1];
    char work[MR_APP_TOPIC_BYTES + 1], results[MR_APP_TOPIC_BYTES + 1];
    char workers[MR_APP_TOPIC_BYTES + 1], control_topic[MR_APP_TOPIC_BYTES + 1];
    char dead[MR_APP_TOPIC_BYTES + 1], attempts[MR_APP_TOPIC_BYTES + 1];
    char group[MR_APP_TOPIC_BYTES + 1], transactional_id[2 * MR_APP_TOPIC_BYTES];
    char client_id[160];
    mr_kafka_conf kafka;

    mr_jobs *jobs;
    mr_probes *probes;
    mr_runner *runner;
    mr_kafka_producer *notes; /* heartbeats and attempts: nobody waits for them */
    mr_commit *commit;
    mr_stream *stream;
    mr_control *control;
    mr_source *source;
    mr_heartbeats *heartbeat;
    mr_otlp *otlp;
    mr_flow flow;
    mr_metrics metrics;
    mr_process process;
    mr_gpu *gpu; /* NULL: none, or nobody who knows how it is doing */

    struct mr_heartbeat_part parts[MR_SOURCE_MAX_PARTS];
    uint64_t rate_from_ms, rate_tokens;
    float tokens_per_s;
} mr_app;

/* ---- app.c ---- */

/* Nothing more can be done here: the process stops. May be the on_fatal of any part. */
void mr_app_fatal(void *app, mr_status status, const char *text);
/* Nothing is in hand any more; while draining that is what was waited for. */
void mr_app_drained(mr_app *a);

/* ---- app_parts.c ---- */

/* Looks topics up, or makes them; blocks. A thread of uv's pool. */
mr_status mr_app_find_topics(mr_app *a, int32_t *n_control, mr_err *err);
/* All but the runner, which has its model. What was opened when it fails is left to close. */
mr_status mr_app_open_all(mr_app *a, int32_t n_control, mr_err *err);

/* ---- app_report.c ---- */

/* mr_heartbeat_conf.on_fill. */
void mr_app_fill_heartbeat(void *app, mr_heartbeat *h);
/* mr_probes_conf.*. */
const char *mr_app_not_live(void *app);
const char *mr_app_not_started(void *app);
const char *mr_app_not_ready(void *app);
char *mr_app_metrics_text(void *app, size_t *len);
void mr_app_log_model(const mr_app *a);
/* The model is loaded: from now on the metrics show its GPU, if it has one. */
void mr_app_watch_gpu(mr_app *a);

#endif
