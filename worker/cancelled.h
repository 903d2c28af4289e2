/* cancelled.h - the ids that were cancelled of late, for jobs that arrive after their cancel.
 *
 * A ring: the oldest is forgotten first. Pure. Owner: who calls init. */
#ifndef MR_WORKER_CANCELLED_H
#define MR_WORKER_CANCELLED_H

#include <stdbool.h>
#include <stddef.h>

#include "millrace/job.h"

#define MR_CANCELLED_MAX 4096

typedef struct mr_cancelled {
    char (*ids)[MR_JOB_ID_LEN + 1]; /* [MR_CANCELLED_MAX] */
    size_t n, next;
} mr_cancelled;

mr_status mr_cancelled_init(mr_cancelled *c, mr_err *err);
void mr_cancelled_deinit(mr_cancelled *c);
void mr_cancelled_add(mr_cancelled *c, const char *job_id);
bool mr_cancelled_has(const mr_cancelled *c, const char *job_id);

#endif
