/* spans.c - see spans.h. Attribute names are those of OpenTelemetry's semantic conventions for
 * messaging, Kafka and generative AI, version 1.37; what they do not know is millrace.*.
 *
 * The times of a job are monotonic; what leaves the process is wall clock, by one look at both
 * clocks. */
#include "worker/spans.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "schemas/codec.h"

enum { WHICH_MAX = 256, LABEL_MAX = 300 };

typedef struct attempt {
    const mr_attempt_spans *s;
    const mr_job *j;
    mr_span_job job;
    const char *outcome, *error; /* error NULL: none */
    uint64_t wall_ms, mono_ms;   /* now */
    uint64_t ran_ms, end_ms;     /* monotonic: the engine had it, and had done with it; 0: never */
} attempt;

static uint64_t wall_of(const attempt *a, uint64_t mono_ms) {
    const uint64_t ago_ms = a->mono_ms > mono_ms ? a->mono_ms - mono_ms : 0;
    return a->wall_ms - ago_ms;
}

/* Unlike any other attempt's: another worker may have had the job under the same number. */
static void begin(const attempt *a, mr_trace_span *sp, const char *stage, const char *name,
                  uint64_t from_ms, uint64_t to_ms) {
    char which[WHICH_MAX];

    snprintf(which, sizeof which, "%s/%" PRIu32 "/%s", stage, a->j->attempt, a->s->worker);
    mr_span_init(sp, &a->job, which);
    sp->name = name;
    sp->start_ms = wall_of(a, from_ms);
    sp->end_ms = wall_of(a, to_ms);
    mr_span_text(sp, "millrace.job.id", a->j->spec.job_id);
}

static void below(mr_trace_span *sp, const mr_trace_span *parent) {
    memcpy(sp->parent, parent->id, sizeof sp->parent);
}

static void fail(mr_trace_span *sp, const char *code) {
    sp->error = code;
    mr_span_text(sp, "error.type", code);
}

static void add_process(const attempt *a, mr_trace_span *sp) {
    const mr_job *j = a->j;
    char name[LABEL_MAX], partition[16];

    snprintf(name, sizeof name, "process %s", a->s->topic);
    snprintf(partition, sizeof partition, "%d", (int)j->partition);
    begin(a, sp, "process", name, j->entered_ms[MR_JOB_DECODED], a->mono_ms);
    sp->kind = MR_SPAN_CONSUMER;
    mr_span_text(sp, "messaging.system", "kafka");
    mr_span_text(sp, "messaging.operation.name", "process");
    mr_span_text(sp, "messaging.operation.type", "process");
    mr_span_text(sp, "messaging.destination.name", a->s->topic);
    mr_span_text(sp, "messaging.destination.partition.id", partition);
    mr_span_number(sp, "messaging.kafka.offset", j->at.offset);
    mr_span_text(sp, "messaging.consumer.group.name", a->s->group);
    mr_span_number(sp, "millrace.attempt", j->attempt);
    mr_span_number(sp, "millrace.tries", j->spec.tries);
    mr_span_text(sp, "millrace.outcome", a->outcome);
    fail(sp, a->error);
    mr_otlp_add(a->s->otlp, sp);
}

static void add_stage(const attempt *a, const mr_trace_span *parent, const char *stage,
                      uint64_t from_ms, uint64_t to_ms) {
    mr_trace_span sp;

    begin(a, &sp, stage, stage, from_ms, to_ms);
    below(&sp, parent);
    mr_otlp_add(a->s->otlp, &sp);
}

static void add_decode(const attempt *a, const mr_trace_span *parent, uint64_t first_ms) {
    const mr_job *j = a->j;
    const uint32_t n =
        j->preemptions < MR_JOB_DISPLACED ? j->preemptions : (uint32_t)MR_JOB_DISPLACED;
    mr_trace_span sp;

    begin(a, &sp, "decode", "decode", first_ms, a->end_ms);
    below(&sp, parent);
    for (uint32_t i = 0; i < n; i++)
        mr_span_happened(&sp, "preempted", wall_of(a, j->displaced_ms[i]));
    mr_otlp_add(a->s->otlp, &sp);
}

static void add_inference(const attempt *a, const mr_trace_span *parent) {
    const mr_job *j = a->j;
    const char *operation = j->spec.input == MR_INPUT_MESSAGES ? "chat" : "text_completion";
    const char *model = j->spec.model && j->spec.model[0] ? j->spec.model : a->s->model;
    const uint64_t first_ms = j->first_token_ms ? j->first_token_ms : a->end_ms;
    char name[LABEL_MAX];
    mr_trace_span sp;

    snprintf(name, sizeof name, "%s %s", operation, model);
    begin(a, &sp, "inference", name, a->ran_ms, a->end_ms);
    below(&sp, parent);
    mr_span_text(&sp, "gen_ai.operation.name", operation);
    mr_span_text(&sp, "gen_ai.provider.name", "millrace");
    mr_span_text(&sp, "gen_ai.request.model", model);
    mr_span_text(&sp, "gen_ai.response.model", a->s->model);
    mr_span_number(&sp, "gen_ai.request.max_tokens", j->max_new);
    if (j->spec.params.has_seed)
        mr_span_number(&sp, "gen_ai.request.seed", (int64_t)j->spec.params.seed);
    mr_span_list(&sp, "gen_ai.response.finish_reasons", j->finish_reason);
    mr_span_number(&sp, "gen_ai.usage.input_tokens", (int64_t)j->n_tokens);
    mr_span_number(&sp, "gen_ai.usage.output_tokens", j->n_generated);
    mr_span_number(&sp, "millrace.cached_tokens", j->n_cached);
    mr_span_number(&sp, "millrace.taken_over_tokens", (int64_t)j->n_taken);
    mr_span_number(&sp, "millrace.preemptions", j->preemptions);
    fail(&sp, a->error);
    mr_otlp_add(a->s->otlp, &sp);
    add_stage(a, &sp, "prefill", a->ran_ms, first_ms);
    if (j->first_token_ms) add_decode(a, &sp, first_ms);
}

static void note_end(attempt *a, const char *outcome) {
    const mr_job *j = a->j;
    const bool ended = j->status != MR_STATUS_SUCCEEDED && j->status != MR_STATUS_CANCELLED;

    if (outcome) { /* left to another worker: nothing was wrong with it */
        a->outcome = outcome;
    } else if (j->back) {
        a->outcome = a->error = mr_attempt_outcome_name(j->outcome);
    } else {
        a->outcome = mr_job_status_name(j->status);
        a->error = ended ? j->error.code : NULL;
    }
}

void mr_attempt_spans_add(const mr_attempt_spans *s, const mr_job *j, const char *outcome) {
    attempt a = {.s = s, .j = j};
    const mr_trace *trace = &j->spec.trace;
    mr_trace_span process;

    if (!s->otlp || !trace->parent[0] || !j->spec.job_id[0]) return;
    if (!mr_span_job_init(&a.job, trace->parent, trace->state, j->spec.job_id)) return;
    note_end(&a, outcome);
    a.wall_ms = mr_clock_wall_ms();
    a.mono_ms = mr_clock_mono_ms();
    a.ran_ms = j->entered_ms[MR_JOB_RUNNING];
    a.end_ms = j->entered_ms[MR_JOB_FLUSHING] ? j->entered_ms[MR_JOB_FLUSHING] : a.mono_ms;
    add_process(&a, &process);
    add_stage(&a, &process, "queue", j->entered_ms[MR_JOB_DECODED], a.ran_ms ? a.ran_ms : a.end_ms);
    if (a.ran_ms) add_inference(&a, &process);
    if (!outcome) add_stage(&a, &process, "commit", a.end_ms, a.mono_ms);
}
