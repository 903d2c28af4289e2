/* recent.h - the ids that were cancelled of late, for jobs that are read after their cancel.
 *
 * A cancel may come while its job still waits in Kafka, behind a full window. The newest
 * MR_RECENT_MAX ids are kept; the oldest is forgotten first. Pure. */
#ifndef MR_DISPATCHER_RECENT_H
#define MR_DISPATCHER_RECENT_H

#include "millrace/job.h"

#define MR_RECENT_MAX 16384

typedef struct mr_recent mr_recent;

mr_status mr_recent_open(mr_recent **out, mr_err *err);
void mr_recent_close(mr_recent *r); /* NULL is allowed */
void mr_recent_add(mr_recent *r, const char *job_id);
bool mr_recent_has(const mr_recent *r, const char *job_id);
/* Spreads job ids over tables whose size is a power of two. */
uint32_t mr_recent_hash(const char *job_id);

#endif
