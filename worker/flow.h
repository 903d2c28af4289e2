/* flow.h - one job's way through the worker, from its record to its acknowledged answer.
 *
 *     record > decode > admit > [engine thread] > stream > answer > free slot
 *
 * Each function is one station, called by the module that has something to say: source, control,
 * runner, stream, commit. Owner: caller. Thread: loop. */
#ifndef MR_WORKER_FLOW_H
#define MR_WORKER_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/admit.h"
#include "worker/commit.h"
#include "worker/control.h"
#include "worker/job.h"
#include "worker/metrics.h"
#include "worker/runner.h"
#include "worker/stream.h"

/* Jobs taken beyond max_jobs, so that a seat that becomes free is filled in the very next step also
 * when jobs are short. What lies behind them stays in Kafka, where the dispatcher counts it as not
 * taken. */
#define MR_FLOW_AHEAD(max_jobs) (2 + (max_jobs) / 8)
/* Slots of the job table: who generates or waits, and as many again on their way to Kafka. */
#define MR_FLOW_SLOTS(max_jobs) (2 * ((max_jobs) + MR_FLOW_AHEAD(max_jobs)))

typedef struct mr_flow { /* all borrowed */
    const char *model, *worker, *dead_topic;
    uint32_t max_jobs;
    mr_admit_limits limits;
    mr_jobs *jobs;
    mr_runner *runner;
    mr_stream *stream;
    mr_commit *commit;
    const mr_control *control;
    mr_metrics *metrics;
    void *owner;
    void (*on_change)(void *owner); /* a job came or went */
    void (*on_room)(void *owner);   /* a slot is free again */
    void (*on_fatal)(void *owner, mr_status status, const char *text);
    /* j goes to another worker without an answer from this one. */
    void (*on_handed_back)(void *owner, const mr_job *j, mr_attempt_outcome outcome);

    uint32_t n_active; /* jobs that the engine thread has or will have */
} mr_flow;

/* See mr_source_conf.on_record. */
mr_status mr_flow_record(mr_flow *f, const mr_kafka_msg *m);
void mr_flow_cancel(mr_flow *f, const char *job_id);
void mr_flow_event(mr_flow *f, const mr_event *ev);
void mr_flow_stream_closed(mr_flow *f, uint32_t slot, bool degraded);
void mr_flow_acknowledged(mr_flow *f, mr_job *j);
/* These partitions belong to somebody else now: their jobs end without a record. */
void mr_flow_revoke(mr_flow *f, const int32_t *partitions, size_t n);
/* The same for all jobs in hand: the worker is about to end. */
void mr_flow_abandon(mr_flow *f, mr_attempt_outcome outcome);
bool mr_flow_idle(const mr_flow *f);

#endif
