/* trace.c - the client's part of a job's trace: which one it belongs to, and the span that sends
 * it.
 *
 * A job belongs to the trace that its spec names; else to the one of our environment (TRACEPARENT,
 * TRACESTATE: what a program that traces hands to those that it starts); else, for the part of all
 * jobs that the setting trace_ratio says, to a new one, whose id is the job's id.
 *
 * With a collector the job hangs below a span of ours, "send", which lasts until the brokers have
 * acknowledged it; its id is computed, so a job that is submitted again has the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "client/internal.h"
#include "schemas/codec.h"

static void read_environment(mr_client *c) {
    const char *parent = getenv("TRACEPARENT"), *state = getenv("TRACESTATE");
    mr_trace_context t;
    size_t n;

    if (!parent || !mr_trace_read(&t, parent, strlen(parent))) return;
    mr_trace_write(c->environment.parent, &t);
    n = state ? mr_trace_state_fit(state, strlen(state)) : 0;
    memcpy(c->environment_state, n ? state : "", n);
    if (n) c->environment.state = c->environment_state;
}

mr_status mr_client_trace_open(mr_client *c, mr_err *err) {
    char instance[MR_UUID_LEN + 1];
    const mr_otlp_conf conf = {.endpoint = c->settings.otlp_endpoint,
                               .headers = c->settings.otlp_headers,
                               .service = "millrace-client",
                               .instance = instance};

    mr_uuid_v7(instance, mr_clock_wall_ms());
    read_environment(c);
    c->trace_ratio = mr_trace_ratio(c->settings.trace_ratio);
    return mr_otlp_open(&c->otlp, &c->loop, &conf, err);
}

/* False: none. */
static bool choose(const mr_client *c, const mr_job_spec *j, mr_trace *out, mr_trace_context *t) {
    *out = j->trace.parent[0] ? j->trace : c->environment;
    if (mr_trace_read(t, out->parent, strlen(out->parent))) return true;
    *out = (mr_trace){.parent = ""};
    if (!mr_trace_chosen(j->job_id, c->trace_ratio) || !mr_trace_make(t, j->job_id)) return false;
    mr_trace_write(out->parent, t);
    return true;
}

void mr_client_trace_begin(mr_client *c, const mr_job_spec *j, mr_trace *out, mr_client_send *s) {
    mr_trace_context below;
    mr_span_job job;
    mr_trace_span sp;

    *s = (mr_client_send){.traced = false};
    if (!choose(c, j, out, &s->from) || !c->otlp) return;
    if (!mr_span_job_init(&job, out->parent, NULL, j->job_id)) return;
    mr_span_init(&sp, &job, "submit");
    below = s->from;
    memcpy(below.parent_id, sp.id, sizeof below.parent_id);
    mr_trace_write(out->parent, &below);
    s->traced = true;
    s->lane = j->priority;
    s->start_ms = mr_clock_wall_ms();
}

void mr_client_trace_end(mr_client *c, const mr_client_send *s, const char *job_id,
                         mr_status status) {
    const mr_span_job job = {.trace = s->from, .id = job_id};
    char topic[256], name[256 + 8];
    mr_trace_span own, sp;

    if (!s->traced) return;
    snprintf(topic, sizeof topic, "%s.jobs.%s", c->settings.topic_prefix,
             mr_priority_name(s->lane));
    snprintf(name, sizeof name, "send %s", topic);
    mr_span_init_job(&own, &job);
    mr_span_init(&sp, &job, "submit");
    sp.root = own.root; /* a trace that was made here begins with this span instead of the job's */
    memcpy(sp.parent, s->from.parent_id, sizeof sp.parent);
    sp.name = name;
    sp.kind = MR_SPAN_PRODUCER;
    sp.start_ms = s->start_ms;
    sp.end_ms = mr_clock_wall_ms();
    mr_span_text(&sp, "messaging.system", "kafka");
    mr_span_text(&sp, "messaging.operation.name", "send");
    mr_span_text(&sp, "messaging.operation.type", "send");
    mr_span_text(&sp, "messaging.destination.name", topic);
    mr_span_text(&sp, "millrace.job.id", job_id);
    sp.error = status == MR_OK ? NULL : mr_status_name(status);
    mr_span_text(&sp, "error.type", sp.error);
    mr_otlp_add(c->otlp, &sp);
}
