/* spans.c - see spans.h. Attribute names are those of OpenTelemetry's semantic conventions for
 * messaging, Kafka and generative AI, version 1.37; what they do not know is millrace.*. */
#include "dispatcher/spans.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "dispatcher/history.h"
#include "schemas/codec.h"

enum { WHICH_MAX = 64, TOPIC_MAX = 320 };

bool mr_spans_on(const mr_spans *s) {
    return s && s->otlp;
}

static bool wanted(const mr_spans *s, mr_span_job *j, const mr_trace *trace, const char *job_id) {
    return mr_spans_on(s) && trace->parent[0] &&
           mr_span_job_init(j, trace->parent, trace->state, job_id);
}

/* An end that is no error of anybody's: it was asked for. */
static const char *error_of(mr_job_status status, const mr_job_error *why) {
    return status == MR_STATUS_SUCCEEDED || status == MR_STATUS_CANCELLED ? NULL : why->code;
}

static void fail(mr_trace_span *sp, const char *code) {
    sp->error = code;
    mr_span_text(sp, "error.type", code);
}

/* ---- waits ---- */

/* Since when it waits for this attempt. */
static uint64_t waits_since(const mr_job_spec *j) {
    const mr_past *last = mr_history_last(j);
    return last ? last->time_ms : j->received_ms;
}

static void add_wait(const mr_spans *s, const mr_span_job *job, const mr_entry *e, uint64_t end_ms,
                     mr_job_status status, const mr_job_error *why) {
    const mr_job_spec *j = &e->job;
    char which[WHICH_MAX];
    mr_trace_span sp;

    snprintf(which, sizeof which, "wait/%" PRIu32, j->attempt);
    mr_span_init(&sp, job, which);
    sp.name = "wait";
    sp.start_ms = waits_since(j);
    sp.end_ms = end_ms;
    mr_span_text(&sp, "millrace.job.id", j->job_id);
    mr_span_text(&sp, "millrace.lane", mr_priority_name(e->lane));
    mr_span_text(&sp, "millrace.tenant", j->tenant);
    mr_span_text(&sp, "gen_ai.request.model", j->model);
    mr_span_number(&sp, "millrace.attempt", j->attempt);
    mr_span_text(&sp, "millrace.release.reason", e->why);
    if (j->due_ms) mr_span_happened(&sp, "due", j->due_ms);
    if (why) mr_span_text(&sp, "millrace.status", mr_job_status_name(status));
    if (why) fail(&sp, error_of(status, why));
    mr_otlp_add(s->otlp, &sp);
}

static void add_send(const mr_spans *s, const mr_span_job *job, const mr_entry *e, uint64_t turn_ms,
                     int64_t offset) {
    const mr_job_spec *j = &e->job;
    char which[WHICH_MAX], topic[MR_NAME_MAX], name[TOPIC_MAX], partition[16];
    mr_trace_span sp;

    snprintf(which, sizeof which, "send/%" PRIu32, j->attempt);
    mr_names_work(s->names, j->model, topic);
    snprintf(name, sizeof name, "send %s", topic);
    snprintf(partition, sizeof partition, "%d", (int)e->work_partition);
    mr_span_init(&sp, job, which);
    sp.name = name;
    sp.kind = MR_SPAN_PRODUCER;
    sp.start_ms = turn_ms;
    sp.end_ms = mr_clock_wall_ms();
    mr_span_text(&sp, "messaging.system", "kafka");
    mr_span_text(&sp, "messaging.operation.name", "send");
    mr_span_text(&sp, "messaging.operation.type", "send");
    mr_span_text(&sp, "messaging.destination.name", topic);
    mr_span_text(&sp, "messaging.destination.partition.id", partition);
    if (offset >= 0) mr_span_number(&sp, "messaging.kafka.offset", offset);
    mr_span_text(&sp, "messaging.kafka.message.key", j->job_id);
    mr_span_text(&sp, "millrace.job.id", j->job_id);
    mr_span_number(&sp, "millrace.attempt", j->attempt);
    mr_otlp_add(s->otlp, &sp);
}

void mr_spans_released(const mr_spans *s, const mr_entry *e, uint64_t turn_ms, int64_t offset) {
    mr_span_job job;

    if (!wanted(s, &job, &e->job.trace, e->job.job_id)) return;
    add_wait(s, &job, e, turn_ms, MR_STATUS_SUCCEEDED, NULL);
    add_send(s, &job, e, turn_ms, offset);
}

void mr_spans_ended(const mr_spans *s, const mr_entry *e, mr_job_status status,
                    const mr_job_error *why) {
    mr_span_job job;

    if (!wanted(s, &job, &e->job.trace, e->job.job_id)) return;
    add_wait(s, &job, e, mr_clock_wall_ms(), status, why);
}

/* ---- results ---- */

void mr_spans_job(const mr_spans *s, const mr_result *r, const mr_trace *trace) {
    char destination[TOPIC_MAX], name[TOPIC_MAX + 16];
    mr_span_job job;
    mr_trace_span sp;

    if (!wanted(s, &job, trace, r->job_id)) return;
    snprintf(destination, sizeof destination, "%s.jobs.{lane}", s->topic_prefix);
    snprintf(name, sizeof name, "process %s", destination);
    mr_span_init_job(&sp, &job);
    sp.name = name;
    sp.kind = MR_SPAN_CONSUMER;
    sp.start_ms = r->received_ms;
    sp.end_ms = r->finished_ms;
    mr_span_text(&sp, "messaging.system", "kafka");
    mr_span_text(&sp, "messaging.operation.name", "process");
    mr_span_text(&sp, "messaging.operation.type", "process");
    mr_span_text(&sp, "messaging.destination.template", destination);
    mr_span_text(&sp, "millrace.job.id", r->job_id);
    mr_span_text(&sp, "millrace.tenant", r->tenant);
    mr_span_text(&sp, "millrace.model", r->model);
    mr_span_text(&sp, "millrace.status", mr_job_status_name(r->status));
    mr_span_text(&sp, "millrace.finish_reason", r->finish_reason);
    mr_span_number(&sp, "millrace.tries", r->tries);
    mr_span_number(&sp, "millrace.preemptions", r->preemptions);
    fail(&sp, error_of(r->status, &r->error));
    mr_otlp_add(s->otlp, &sp);
}

void mr_spans_done(const mr_spans *s, const mr_result *r, const mr_trace *trace, uint64_t read_ms) {
    mr_span_job job;
    mr_trace_span sp;

    if (!wanted(s, &job, trace, r->job_id)) return;
    mr_span_init(&sp, &job, "done");
    sp.name = "done";
    sp.start_ms = read_ms;
    sp.end_ms = mr_clock_wall_ms();
    mr_span_text(&sp, "millrace.job.id", r->job_id);
    mr_otlp_add(s->otlp, &sp);
}

/* ---- callbacks ---- */

void mr_spans_called(const mr_spans *s, const mr_webhook *event, const char *host,
                     const mr_webhook_end *end) {
    char which[WHICH_MAX], code[16];
    mr_span_job job;
    mr_trace_span sp;

    if (!wanted(s, &job, &event->trace, event->job_id)) return;
    const uint64_t now_ms = mr_clock_wall_ms();
    snprintf(which, sizeof which, "webhook/%" PRIu32, event->tries + 1);
    snprintf(code, sizeof code, "%d", (int)end->outcome.code);
    mr_span_init(&sp, &job, which);
    sp.name = "POST";
    sp.kind = MR_SPAN_CLIENT;
    sp.start_ms = now_ms - end->took_ms;
    sp.end_ms = now_ms;
    mr_span_text(&sp, "http.request.method", "POST");
    mr_span_text(&sp, "server.address", host);
    mr_span_text(&sp, "millrace.job.id", event->job_id);
    mr_span_number(&sp, "http.request.resend_count", event->tries);
    if (end->outcome.code) mr_span_number(&sp, "http.response.status_code", end->outcome.code);
    if (end->why[0]) fail(&sp, end->outcome.code ? code : "no_answer");
    mr_otlp_add(s->otlp, &sp);
}
