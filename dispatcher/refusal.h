/* refusal.h - what the dispatcher itself answers to a record: a terminal record, a dead letter,
 * both, or nothing.
 *
 * The answer becomes visible together with the offset of its record. One that the brokers refuse
 * (too large for its topic) is replaced at once by a short one, that says what became of the job
 * and why no more. If that is not taken either (no such topic, no room) it is tried again until it
 * is: a record never goes without its answer. Limit: one answer per open offset, see offsets.h.
 * Thread: loop. */
#ifndef MR_DISPATCHER_REFUSAL_H
#define MR_DISPATCHER_REFUSAL_H

#include "base/commit.h"
#include "dispatcher/names.h"

#define MR_REFUSAL_RETRY_MS 1000

typedef struct mr_refusals mr_refusals;

mr_status mr_refusals_open(mr_refusals **out, mr_commit *commit, const mr_names *names,
                           mr_err *err);
/* The committer must be closed before: it reports to what dies here. NULL is allowed. */
void mr_refusals_close(mr_refusals *a);

/* r and trace are copied. */
void mr_refusals_result(mr_refusals *a, mr_origin at, const mr_result *r, mr_format format,
                        const mr_trace *trace);
/* m is no job: its bytes become a dead letter. */
void mr_refusals_dead(mr_refusals *a, mr_origin at, const mr_kafka_msg *m, const char *cause,
                      const char *message);
/* m is a job that has failed for good: r, and a dead letter of its bytes with the message of r, all
 * or nothing. */
void mr_refusals_failed(mr_refusals *a, mr_origin at, const mr_kafka_msg *m, const mr_result *r,
                        mr_format format, const mr_trace *trace);
/* The record needs no answer. */
void mr_refusals_none(mr_refusals *a, mr_origin at);
/* Tries again what is not taken yet, every MR_REFUSAL_RETRY_MS. now_ms: monotonic. */
void mr_refusals_tick(mr_refusals *a, uint64_t now_ms);

#endif
