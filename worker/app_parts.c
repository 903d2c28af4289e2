/* app_parts.c - who is connected to whom: what the flow, the source of records and the stream tell
 * each other, and the order in which they are opened once a model is loaded. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/app_internal.h"
#include "worker/attempts.h"

#define CONNECT_TIMEOUT_MS 5000
#define WARM_MS            1000

typedef mr_app app;

/* ---- the flow's wiring ---- */

static mr_status on_record(void *owner, const mr_kafka_msg *m, bool pressing) {
    app *a = owner;
    return mr_flow_record(&a->flow, m, pressing);
}

static bool is_pressing(void *owner, const mr_kafka_msg *m) {
    (void)owner;
    return mr_flow_is_pressing(m);
}

static mr_status on_assign(void *owner, const mr_kafka_tp *tp, mr_err *err) {
    app *a = owner;
    return mr_commit_assign(a->commit, tp, err);
}

static void on_revoke(void *owner, const int32_t *partitions, size_t n, bool lost) {
    app *a = owner;
    mr_flow_revoke(&a->flow, a->work, partitions, n, lost || a->phase == MR_APP_CLOSED);
}

static void on_cancel(void *owner, const char *job_id) {
    app *a = owner;
    mr_flow_cancel(&a->flow, job_id);
}

static void on_claimed(void *owner, uint32_t slot, const mr_takeover *t) {
    app *a = owner;
    mr_flow_claimed(&a->flow, slot, t);
}

static void on_frame(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out) {
    app *a = owner;
    mr_flow_frame(&a->flow, slot, index, out);
}

static void on_stream_closed(void *owner, uint32_t slot, bool degraded) {
    app *a = owner;
    mr_flow_stream_closed(&a->flow, slot, degraded);
}

static void on_change(void *owner) {
    app *a = owner;
    if (a->heartbeat) mr_heartbeat_touch(a->heartbeat);
}

static void on_room(void *owner) {
    app *a = owner;

    if (a->phase == MR_APP_SERVING) mr_source_retry(a->source);
    if (mr_flow_idle(&a->flow)) mr_app_drained(a);
}

/* A note that is not delivered is not repeated: the next heartbeat says it again. */
static void on_note_delivered(void *owner, void *cookie, mr_status status, const char *err_text,
                              int32_t partition, int64_t offset) {
    app *a = owner;

    (void)cookie, (void)partition, (void)offset;
    if (status == MR_OK) {
        a->kafka_seen_ms = mr_clock_mono_ms();
    } else if (a->phase != MR_APP_CLOSED) {
        mr_log(MR_LOG_DEBUG, "app", "heartbeat or note not delivered", "err=" MR_Q,
               err_text ? err_text : mr_status_name(status));
    }
}

/* ---- opening ---- */

mr_status mr_app_find_topics(app *a, int32_t *n_control, mr_err *err) {
    static const char *const compact[] = {"cleanup.policy=compact", NULL};
    const int32_t n = (int32_t)a->s->topic_partitions;
    const mr_kafka_topic topics[] = {{a->work, n, NULL},
                                     {a->results, n, NULL},
                                     {a->dead, 1, NULL},
                                     {a->attempts, n, NULL},
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
    mr_attempts_note(a->notes, a->attempts, a->worker, a->model, j, outcome);
}

static mr_status open_flow(app *a, mr_err *err) {
    const mr_runner_model *m = mr_runner_get_model(a->runner);

    a->flow = (mr_flow){
        .max_jobs = (uint32_t)a->s->max_jobs,
        .max_deaths = (unsigned)a->s->max_deaths,
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
        .answers = {.model = a->model,
                    .worker = a->worker,
                    .results_topic = a->results,
                    .dead_topic = a->dead,
                    .attempts_topic = a->attempts,
                    .commit = a->commit},
        .spans = {.otlp = a->otlp,
                  .worker = a->worker,
                  .model = a->model,
                  .topic = a->work,
                  .group = a->group},
        .owner = a,
        .on_change = on_change,
        .on_room = on_room,
        .on_fatal = mr_app_fatal,
        .on_handed_back = on_handed_back,
    };
    return mr_flow_init(&a->flow, err);
}

static mr_status open_spans(app *a, mr_err *err) {
    const mr_otlp_conf conf = {.endpoint = a->s->otlp_endpoint,
                               .headers = a->s->otlp_headers,
                               .service = "millrace-worker",
                               .instance = a->worker};
    return mr_otlp_open(&a->otlp, &a->loop, &conf, err);
}

static mr_status open_stream(app *a, mr_err *err) {
    const mr_stream_conf conf = {.redis_url = a->s->redis_url,
                                 .client_name = a->client_id,
                                 .prefix = a->s->redis_prefix,
                                 .worker = a->worker,
                                 .model = a->model,
                                 .ttl_ms = (uint64_t)a->s->stream_ttl_s * 1000,
                                 .max_frames = a->s->stream_max_frames,
                                 .n_slots = mr_jobs_n(a->jobs),
                                 .n_vocab = mr_runner_get_model(a->runner)->n_vocab,
                                 .owner = a,
                                 .on_claimed = on_claimed,
                                 .frame = on_frame,
                                 .on_closed = on_stream_closed};

    return mr_stream_open(&a->stream, &a->loop, &conf, err);
}

static mr_status open_commit(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    const bool plain = strcmp(s->commit_mode, "plain") == 0;
    const mr_commit_conf conf = {
        .kafka = a->kafka,
        .transactional_id = plain ? NULL : a->transactional_id,
        .linger_ms = (uint32_t)s->commit_ms,
        .transaction_timeout_ms = (uint32_t)s->transaction_timeout_ms,
        .window = (size_t)s->commit_window,
        .owner = a,
        .on_fatal = mr_app_fatal,
    };
    mr_status st;

    if ((st = mr_commit_open(&a->commit, &a->loop, &conf, err)) != MR_OK) return st;
    mr_commit_warm(a->commit, a->results);
    return MR_OK;
}

static mr_status open_source(app *a, mr_err *err) {
    const mr_source_conf conf = {.kafka = a->kafka,
                                 .topic = a->work,
                                 .group = a->group,
                                 .instance_id = a->s->worker_id[0] ? a->worker : NULL,
                                 .assignor = a->s->assignor,
                                 .session_timeout_ms = (int)a->s->session_timeout_ms,
                                 .owner = a,
                                 .on_record = on_record,
                                 .is_pressing = is_pressing,
                                 .on_assign = on_assign,
                                 .on_revoke = on_revoke,
                                 .on_change = on_change,
                                 .on_fatal = mr_app_fatal};

    return mr_source_open(&a->source, &a->loop, &conf, err);
}

static mr_status open_notes(app *a, mr_err *err) {
    const mr_status st =
        mr_kafka_producer_open(&a->notes, &a->loop, &a->kafka, on_note_delivered, a, err);

    if (st == MR_OK) mr_kafka_warm(a->notes, a->workers, WARM_MS);
    return st;
}

static mr_status open_heartbeat(app *a, mr_err *err) {
    const mr_heartbeat_conf conf = {.producer = a->notes,
                                    .topic = a->workers,
                                    .worker = a->worker,
                                    .period_ms = (uint64_t)a->s->heartbeat_ms,
                                    .owner = a,
                                    .on_fill = mr_app_fill_heartbeat};

    return mr_heartbeat_open(&a->heartbeat, &a->loop, &conf, err);
}

/* Whatever records need comes before the source of records. */
mr_status mr_app_open_all(app *a, int32_t n_control, mr_err *err) {
    const mr_control_conf control = {
        .kafka = a->kafka, .topic = a->control_topic, .n_partitions = n_control, .owner = a,
        .on_cancel = on_cancel};
    mr_status st;

    if ((st = open_spans(a, err)) != MR_OK) return st;
    if ((st = open_stream(a, err)) != MR_OK) return st;
    if ((st = open_notes(a, err)) != MR_OK) return st;
    if ((st = open_commit(a, err)) != MR_OK) return st;
    if ((st = mr_control_open(&a->control, &a->loop, &control, err)) != MR_OK) return st;
    if ((st = open_flow(a, err)) != MR_OK) return st;
    if ((st = open_source(a, err)) != MR_OK) return st;
    mr_commit_use(a->commit, mr_source_consumer(a->source));
    return open_heartbeat(a, err);
}
