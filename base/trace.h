/* trace.h - W3C trace context: the text that says which trace a job belongs to, and span ids.
 *
 * What travels is the text itself, unchanged: it names the span that made the job, and all spans of
 * ours hang below that one. Their ids are computed, never sent: a span id is a digest of the trace
 * id and of what the span stands for (job, stage, attempt, ...). So a process knows the id of a
 * parent that another one reports, and a span that is reported twice, after a crash, has the same
 * id both times.
 *
 * A job whose producer said nothing may be given a trace of its own: its id is the job's id, and
 * its first span is the job's. Pure; any thread. Source: W3C Trace Context, levels 1 and 2. */
#ifndef MR_BASE_TRACE_H
#define MR_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_TRACE_ID      16
#define MR_SPAN_ID       8
#define MR_TRACE_TEXT    55  /* bytes of a traceparent that is passed on */
#define MR_TRACE_MAX     512 /* bytes of a traceparent that is read: later ones may have more */
#define MR_TRACE_STATE   512 /* bytes of a tracestate that is passed on */
#define MR_TRACE_SAMPLED 1   /* bit of flags: somebody wants to see this trace */

typedef struct mr_trace_context {
    uint8_t trace_id[MR_TRACE_ID];
    uint8_t parent_id[MR_SPAN_ID]; /* the span that made the job */
    uint8_t flags;
} mr_trace_context;

/* False: it is not one, and is to be treated as if it were not there. Of a later version only what
 * this one knows is taken. text may be NULL. */
bool mr_trace_read(mr_trace_context *out, const void *text, size_t len);
/* Version 00, terminated. */
void mr_trace_write(char out[MR_TRACE_TEXT + 1], const mr_trace_context *t);
/* How many bytes of a tracestate may be passed on: all, or whole entries from its front when it is
 * longer than MR_TRACE_STATE. 0: it is none, or malformed. text may be NULL. */
size_t mr_trace_state_fit(const void *text, size_t len);

/* The id of a span of this trace: of the same trace id and name always the same, never zero. name:
 * what it stands for, unlike any other of the trace; at most 1 KiB, the rest does not count. */
void mr_trace_span_id(uint8_t out[MR_SPAN_ID], const mr_trace_context *t, const char *name);
/* The id of the job's own span, below which all others are. */
void mr_trace_job_span(uint8_t out[MR_SPAN_ID], const mr_trace_context *t, const char *job_id);

/* A trace for a job that came without one: its id is the job's id, it is sampled, and it begins
 * with the job's span. False: job_id is not a UUID, or all zeros. */
bool mr_trace_make(mr_trace_context *out, const char *job_id);
/* Whether this job is among the part of all that is to be traced, 0..1; told by its id alone. */
bool mr_trace_chosen(const char *job_id, double ratio);
/* A text of a ratio, 0..1 with a decimal point; negative: it is none. */
double mr_trace_ratio(const char *text);

/* Lower-case digits, 2 * n of them, and a terminator. */
void mr_trace_hex(char *out, const uint8_t *bytes, size_t n);

#endif
