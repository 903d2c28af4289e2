/* flow.h - one job's way through the worker, from its record to its committed answer.
 *
 *     record > decode > admit > turn > mark > claim > [engine thread] > stream > answer > free slot
 *
 * Turn: see suspects.h. Mark: Kafka knows that the job runs, so that a job which kills its worker
 * is found. Claim: the job's stream in Redis is ours, with what an earlier worker left in it. Each
 * function is one station, called by the module that has something to say: source, control, runner,
 * stream, committer. Owner: caller. Thread: loop. */
#ifndef MR_WORKER_FLOW_H
#define MR_WORKER_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/admit.h"
#include "worker/answer.h"
#include "worker/control.h"
#include "worker/job.h"
#include "worker/metrics.h"
#include "worker/prefixes.h"
#include "worker/runner.h"
#include "worker/spans.h"
#include "worker/stream.h"
#include "worker/suspects.h"

/* Slots of the job table: who generates or waits, and as many again on their way to Kafka. */
#define MR_FLOW_SLOTS(max_jobs) (2 * ((max_jobs) + MR_WORKER_AHEAD(max_jobs)))
/* The loop stands still so long at worst while what has ended is committed before partitions go. */
#define MR_FLOW_FLUSH_MS 3000

typedef struct mr_flow {
    /* Borrowed; set by the owner. */
    uint32_t max_jobs;
    unsigned max_deaths; /* of processes with a job; then it is not run again */
    mr_admit_limits limits;
    mr_jobs *jobs;
    mr_runner *runner;
    mr_stream *stream;
    mr_commit *commit;
    const mr_control *control;
    mr_metrics *metrics;
    mr_answers answers; /* but for owner and its callbacks */
    mr_attempt_spans spans;
    void *owner;
    void (*on_change)(void *owner); /* a job came or went */
    void (*on_room)(void *owner);   /* a slot or a seat is free again */
    void (*on_fatal)(void *owner, mr_status status, const char *text);
    /* j goes to another worker without an answer from this one. */
    void (*on_handed_back)(void *owner, const mr_job *j, mr_attempt_outcome outcome);

    /* The flow's own. */
    mr_suspects *suspects;
    uint32_t n_active; /* jobs that run or are about to */
    mr_prefixes prefixes;
    bool stopped;      /* nothing starts any more */
} mr_flow;

/* Sets up the flow's own part; the rest has been filled in. */
mr_status mr_flow_init(mr_flow *f, mr_err *err);
void mr_flow_deinit(mr_flow *f); /* all zero is allowed */

/* See mr_source_conf. */
mr_status mr_flow_record(mr_flow *f, const mr_kafka_msg *m, bool pressing);
bool mr_flow_is_pressing(const mr_kafka_msg *m);
void mr_flow_cancel(mr_flow *f, const char *job_id);
void mr_flow_event(mr_flow *f, const mr_event *ev);
/* See mr_stream_conf. */
void mr_flow_claimed(mr_flow *f, uint32_t slot, const mr_takeover *t);
void mr_flow_frame(mr_flow *f, uint32_t slot, uint64_t index, mr_stream_frame *out);
void mr_flow_stream_closed(mr_flow *f, uint32_t slot, bool degraded);
/* Now and then: what waits is looked at, whether it can go on or its deadline has passed. */
void mr_flow_tick(mr_flow *f);
/* These partitions go to somebody else. Their jobs end without a record; what has ended before is
 * committed first, and what runs is handed over in good order, unless they are lost already. */
void mr_flow_revoke(mr_flow *f, const char *topic, const int32_t *partitions, size_t n, bool lost);
/* All jobs in hand are handed over: the worker is about to end. */
void mr_flow_abandon(mr_flow *f, mr_attempt_outcome outcome);
bool mr_flow_idle(const mr_flow *f);
/* How long the job that waits longest for the committer has waited. */
uint64_t mr_flow_commit_wait_ms(const mr_flow *f, uint64_t now_ms);

#endif
