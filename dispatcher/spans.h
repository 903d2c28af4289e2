/* spans.h - what the dispatcher adds to a job's trace: the job itself, its waits, releases, its
 * end.
 *
 *     job        from the record in jobs.* to its result; reported with the committed result
 *       wait       from there, or from the end of the attempt before, until its turn has come
 *       send       of the work record, until it is committed
 *       done       from the committed result until Redis has it
 *       POST       one try to deliver its callback
 *
 * All times travel with the job, so whichever dispatcher reports a span reports the same; see
 * base/trace.h for the ids. Without a collector, or for a job that nobody traces, each call returns
 * at once. Thread: loop. */
#ifndef MR_DISPATCHER_SPANS_H
#define MR_DISPATCHER_SPANS_H

#include "base/otlp.h"
#include "dispatcher/names.h"
#include "dispatcher/webhook_call.h"
#include "dispatcher/window.h"

typedef struct mr_spans { /* borrowed; NULL stands for one without a collector */
    mr_otlp *otlp;        /* NULL: none */
    const mr_names *names;
    const char *topic_prefix;
} mr_spans;

/* Spans of this process are sent; for what is worth measuring only then. */
bool mr_spans_on(const mr_spans *s);
/* e was taken out of the window at turn_ms (wall clock) and is committed to its work topic. */
void mr_spans_released(const mr_spans *s, const mr_entry *e, uint64_t turn_ms, int64_t offset);
/* e ended while it waited. why->code NULL: no error. */
void mr_spans_ended(const mr_spans *s, const mr_entry *e, mr_job_status status,
                    const mr_job_error *why);
/* r is a committed result. */
void mr_spans_job(const mr_spans *s, const mr_result *r, const mr_trace *trace);
/* Redis has its end; it was read at read_ms (wall clock). */
void mr_spans_done(const mr_spans *s, const mr_result *r, const mr_trace *trace, uint64_t read_ms);
/* A try to deliver an event has ended. host: host:port. */
void mr_spans_called(const mr_spans *s, const mr_webhook *event, const char *host,
                     const mr_webhook_end *end);

#endif
