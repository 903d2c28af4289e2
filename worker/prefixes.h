/* prefixes.h - beginnings of jobs that this worker has computed, newest first.
 *
 * What the prefix cache still has of them only the engine thread knows; this is what the
 * dispatchers are told, so that a job goes where its beginning probably is. Pure. Owner: caller,
 * all zero at first. Bound: MR_HEARTBEAT_MAX_PREFIXES digests; those not seen for longest go. */
#ifndef MR_WORKER_PREFIXES_H
#define MR_WORKER_PREFIXES_H

#include "millrace/job.h"

typedef struct mr_prefixes {
    uint64_t list[MR_HEARTBEAT_MAX_PREFIXES]; /* [n] each once */
    size_t n;
} mr_prefixes;

/* A job with this input starts (prefix.h). Of its digests those of the shortest beginnings count as
 * the newest, because most jobs share them. */
void mr_prefixes_add(mr_prefixes *p, const mr_job_spec *spec);

#endif
