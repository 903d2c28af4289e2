/* roll.h - the jobs that this dispatcher had to do with last: those released and not known to have
 * ended, those that wait, those that have ended; for the page, which shows them.
 *
 * A view of MR_ROLL_JOBS jobs. A new one takes the place of one that has ended, then of one that
 * waits, then of one that runs, each time of the one that was heard of longest ago. Pure. */
#ifndef MR_DISPATCHER_ROLL_H
#define MR_DISPATCHER_ROLL_H

#include "millrace/job.h"

#define MR_ROLL_JOBS 512

typedef enum mr_roll_kind {                   /* in the order of a list */
                            MR_ROLL_RELEASED, /* to a worker; running, for all that is known here */
                            MR_ROLL_WAITS,
                            MR_ROLL_ENDED
} mr_roll_kind;

typedef struct mr_roll_job {
    char job_id[MR_JOB_ID_LEN + 1];
    char model[MR_JOB_MAX_NAME + 1], tenant[MR_JOB_MAX_NAME + 1];
    const char *state; /* static: queued, delayed, released, or a terminal one */
} mr_roll_job;

typedef struct mr_roll { /* zeroed: empty */
    size_t n;
    uint64_t n_heard;
    uint64_t hash[MR_ROLL_JOBS]; /* of the id */
    uint64_t rank[MR_ROLL_JOBS]; /* smaller: nearer to the head of a list; see roll.c */
    mr_roll_job jobs[MR_ROLL_JOBS];
} mr_roll;

/* state: a static text. */
void mr_roll_note(mr_roll *r, const char *job_id, const char *model, const char *tenant,
                  const char *state, mr_roll_kind kind);
/* Somebody else has told that a job in the list has ended. */
void mr_roll_end(mr_roll *r, const char *job_id, const char *state);
const mr_roll_job *mr_roll_find(const mr_roll *r, const char *job_id); /* NULL: not in the list */
/* Fills out[cap] with those of the roll: released, waiting, ended; the latest first. Returns how
 * many. */
size_t mr_roll_list(const mr_roll *r, const mr_roll_job **out, size_t cap);

#endif
