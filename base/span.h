/* span.h - one span of a trace, and how OpenTelemetry's collectors read it.
 *
 * A span is built on the stack, written as JSON and forgotten. Everything it points to is borrowed
 * until it is written. It holds no prompt, no output, and no message of an error: only codes.
 * Pure; any thread. Source: opentelemetry-proto 1.3, trace.proto, and the JSON mapping that OTLP
 * 1.3 prescribes (ids in hex, 64-bit numbers as text, enums as numbers). */
#ifndef MR_BASE_SPAN_H
#define MR_BASE_SPAN_H

#include "base/trace.h"

#define MR_SPAN_ATTRS  24
#define MR_SPAN_EVENTS 8

typedef enum mr_span_kind { /* numbers of the protocol */
                            MR_SPAN_INTERNAL = 1,
                            MR_SPAN_CLIENT = 3,
                            MR_SPAN_PRODUCER = 4,
                            MR_SPAN_CONSUMER = 5
} mr_span_kind;

typedef struct mr_span_attr {
    const char *key;
    const char *text; /* NULL: a number */
    int64_t number;
    bool list; /* of this one text */
} mr_span_attr;

typedef struct mr_span_event {
    const char *name;
    uint64_t at_ms;
} mr_span_event;

typedef struct mr_span_job { /* what the spans of one job have in common; borrowed by all of them */
    mr_trace_context trace;
    const char *state; /* tracestate; NULL: none */
    const char *id;    /* of the job */
} mr_span_job;

typedef struct mr_trace_span {
    const mr_span_job *job;
    uint8_t id[MR_SPAN_ID], parent[MR_SPAN_ID];
    bool root; /* it has no parent */
    const char *name;
    mr_span_kind kind;
    uint64_t start_ms, end_ms; /* wall clock; an end before the start counts as the start */
    const char *error;         /* code of the error it ended with; NULL: none */
    mr_span_attr attrs[MR_SPAN_ATTRS];
    size_t n_attrs;
    mr_span_event events[MR_SPAN_EVENTS];
    size_t n_events;
} mr_trace_span;

/* False: it has no trace, or nobody wants to see it. */
bool mr_span_job_init(mr_span_job *j, const char *traceparent, const char *state,
                      const char *job_id);
/* The job's own span, below the one that made the job. */
void mr_span_init_job(mr_trace_span *s, const mr_span_job *j);
/* Another one, below the job's unless parent is changed. which: the stage, and what tells it from
 * others of this job, such as "wait/1"; at most 512 bytes. */
void mr_span_init(mr_trace_span *s, const mr_span_job *j, const char *which);

/* Each adds an attribute; what is empty (NULL, "") is left out. Beyond MR_SPAN_ATTRS: a bug. */
void mr_span_text(mr_trace_span *s, const char *key, const char *text);
void mr_span_list(mr_trace_span *s, const char *key, const char *text);
void mr_span_number(mr_trace_span *s, const char *key, int64_t number);
/* Beyond MR_SPAN_EVENTS it is left out. */
void mr_span_happened(mr_trace_span *s, const char *name, uint64_t at_ms);

/* A JSON object of s into buf[cap]: its length, 0 when it does not fit. Not terminated. */
size_t mr_span_write(const mr_trace_span *s, char *buf, size_t cap);
/* What stands before and behind the list of spans in a request of one process; terminated. Texts
 * are at most 256 bytes each. 0: it does not fit. */
size_t mr_span_head(char *buf, size_t cap, const char *service, const char *instance,
                    const char *version);
#define MR_SPAN_TAIL "]}]}]}"

#endif
