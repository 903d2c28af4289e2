/* flow_internal.h - what the two files of the flow share: flow.c, up to the engine, and flow_run.c,
 * from there to the end. */
#ifndef MR_WORKER_FLOW_INTERNAL_H
#define MR_WORKER_FLOW_INTERNAL_H

#include "worker/flow.h"

/* Behind the tokens of an earlier attempt; else it is made again, token by token: frames carry no
 * logprobs. */
bool mr_flow_goes_on(const mr_job *j);
/* The job has ended as mr_job_end noted: its frames first, then its answer. */
void mr_flow_flush(mr_flow *f, mr_job *j, uint64_t now_ms);
/* This attempt has ended, the job has not: another one goes on behind its frames. */
void mr_flow_send_back(mr_flow *f, mr_job *j, mr_attempt_outcome outcome, const char *why);
/* Gives the slot back, unless somebody has the job still: who that is calls again. Never starts
 * another job, so it may be called from everywhere. */
void mr_flow_drop(mr_flow *f, mr_job *j);
/* The same for a job that somebody else will answer. */
void mr_flow_give_up(mr_flow *f, mr_job *j);
/* Slots or seats may have come free: others may start or come. Never from within mr_flow_record. */
void mr_flow_move_on(mr_flow *f);
/* The engine ends the job within a step, if it has it. */
void mr_flow_cancel_in_engine(mr_flow *f, mr_job *j);
/* What readers were shown counts as made: the job ends before it was made again. */
void mr_flow_adopt_taken(mr_flow *f, mr_job *j);
void mr_flow_end_cancelled(mr_job *j);

#endif
