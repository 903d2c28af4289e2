/* retry.h - what follows an attempt that did not end its job.
 *
 *   fault    (engine error)   uses up an attempt; waits base * 2^(tries-1), at most max, plus
 * jitter; with max_attempts used up it is dead oom      (no memory now)  uses up none; waits from
 * 250 ms to 30 s, doubling, plus jitter; another worker first; after max_backoffs it is dead no_fit
 * (too large for   uses up none; at once to a worker that is large enough; with none it is that
 * worker)    refused, with the numbers
 *
 * Jitter only adds: a retry is never early. Pure: clock and random number are arguments. */
#ifndef MR_DISPATCHER_RETRY_H
#define MR_DISPATCHER_RETRY_H

#include "millrace/job.h"

typedef struct mr_retry_conf {
    uint32_t max_attempts; /* of jobs that do not say */
    uint64_t base_ms, max_ms;
    uint32_t max_backoffs;
} mr_retry_conf;

typedef enum mr_retry_verdict { MR_RETRY_LATER, MR_RETRY_DEAD } mr_retry_verdict;

typedef struct mr_retry {
    mr_retry_verdict verdict;
    uint64_t due_ms;   /* LATER: wall clock; 0: at once */
    const char *cause; /* DEAD: "attempts_exhausted", "out_of_memory" */
    char message[512]; /* DEAD: one line with numbers, worker and the last attempt's reason */
} mr_retry;

/* The last entry of j->history is the attempt that came back. Counts it into j->tries or
 * j->backoffs (saturating) before it decides. random: any. */
mr_retry mr_retry_decide(const mr_retry_conf *conf, mr_job_spec *j, uint64_t now_ms,
                         uint32_t random);

#endif
