/* spans.h - what a worker adds to a job's trace: one attempt, and what took its time.
 *
 *     process       from the record in the work topic until the attempt's end is committed
 *       queue         until the engine has a seat for it
 *       chat, text_completion   the engine's part
 *         prefill       until its first token
 *         decode        until its last; says when a more important job took its seat
 *       commit        from there until Kafka has the answer
 *
 * Below the span of the job, so attempts stand side by side. Reported when the attempt is over:
 * its end is committed, or the job is left to another worker. See base/trace.h for the ids.
 * Without a collector, or for a job that nobody traces, each call returns at once. Thread: loop. */
#ifndef MR_WORKER_SPANS_H
#define MR_WORKER_SPANS_H

#include "base/otlp.h"
#include "worker/job.h"

typedef struct mr_attempt_spans { /* borrowed */
    mr_otlp *otlp;                /* NULL: no collector */
    const char *worker, *model, *topic, *group;
} mr_attempt_spans;

/* The attempt of j is over; outcome is how, when it is not j's own end: a word, see
 * mr_attempt_outcome_name. NULL: it is. */
void mr_attempt_spans_add(const mr_attempt_spans *s, const mr_job *j, const char *outcome);

#endif
