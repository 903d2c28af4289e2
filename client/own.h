/* own.h - the jobs that a client submitted, and the results of those that have ended.
 *
 * Two generations of a hash table by job id: when the younger one is full the older one is
 * forgotten and they change places. So the last MR_OWN_MAX jobs are remembered (fewer when their
 * results have more than MR_OWN_MAX_BYTES together), and never more than twice as many. Pure. */
#ifndef MR_CLIENT_OWN_H
#define MR_CLIENT_OWN_H

#include <stdbool.h>
#include <stddef.h>

#include "millrace/job.h"

#define MR_OWN_MAX       32768
#define MR_OWN_MAX_BYTES (64u << 20)

typedef enum mr_own_state {
    MR_OWN_WAITING,
    MR_OWN_DONE,         /* bytes hold the result record */
    MR_OWN_NOT_SUBMITTED /* bytes hold the reason, terminated */
} mr_own_state;

typedef struct mr_own {
    char job_id[MR_JOB_ID_LEN + 1]; /* "": a free place */
    mr_own_state state;
    mr_format format;
    char *bytes; /* heap */
    size_t len;
} mr_own;

typedef struct mr_own_table {
    mr_own *places; /* [cap], a power of two, at most half full */
    size_t n, cap, n_bytes;
} mr_own_table;

typedef struct mr_own_jobs { /* zeroed: empty */
    mr_own_table young, old;
} mr_own_jobs;

/* NULL: not known, or forgotten. Valid until the next add. */
mr_own *mr_own_find(mr_own_jobs *own, const char *job_id);
/* Starts to wait for a job's result, also when it was known before. MR_ENOMEM. */
mr_status mr_own_add(mr_own_jobs *own, const char *job_id, mr_err *err);
/* Keeps a copy. Ignored unless the job is waited for; lost when there is no memory. */
void mr_own_finish(mr_own_jobs *own, mr_own *o, mr_own_state state, mr_format format,
                   const void *bytes, size_t len);
void mr_own_drop(mr_own_jobs *own);

#endif
