/* progress.h - how far each assigned partition of one consumer is finished, paused and committed.
 *
 * A row per partition, found by index while it is assigned; the epoch of a row grows with every
 * assignment, so an answer that comes late, for a partition that was lost meanwhile, finds nobody.
 * Whatever order records end in, no offset is committed that lies behind an unfinished one.
 * Owner: the module that owns the consumer. Thread: loop. */
#ifndef MR_DISPATCHER_PROGRESS_H
#define MR_DISPATCHER_PROGRESS_H

#include "base/kafka.h"

#define MR_PROGRESS_WINDOW                                                                         \
    65536 /* offsets a partition may run ahead of its oldest unfinished one */

typedef struct mr_progress mr_progress;

typedef struct mr_origin { /* one record that was begun */
    int part;
    uint32_t epoch;
    int64_t offset;
} mr_origin;

mr_status mr_progress_open(mr_progress **out, mr_err *err);
void mr_progress_close(mr_progress *p);

/* Row of a newly assigned partition, or -1 when memory is out. offset: where consumption starts, or
 * below 0 when that shows with the first record. */
int mr_progress_assign(mr_progress *p, const char *topic, int32_t partition, int64_t offset);
void mr_progress_revoke(mr_progress *p, int part);
int mr_progress_find(const mr_progress *p, const char *topic, int32_t partition); /* -1: none */
int mr_progress_count(const mr_progress *p); /* rows 0..n-1; some may be unassigned */
bool mr_progress_assigned(const mr_progress *p, int part);
const char *mr_progress_topic(const mr_progress *p, int part);
int32_t mr_progress_partition(const mr_progress *p, int part);

/* A record was delivered. MR_EINVAL: seen and finished before, skip it. */
mr_status mr_progress_begin(mr_progress *p, int part, int64_t offset, mr_origin *out);
/* The origin of a record begun under the present assignment, from what an entry remembers. */
mr_origin mr_progress_origin(const mr_progress *p, int part, int64_t offset);
/* False: the partition was revoked since. */
bool mr_progress_finish(mr_progress *p, mr_origin at);
/* The partition must take no more records until older ones are finished. */
bool mr_progress_full(const mr_progress *p, int part);

/* The offset to commit now; -1: nothing to commit. */
int64_t mr_progress_next(const mr_progress *p, int part);

/* Pause or resume when the wish differs from the state. */
void mr_progress_set_paused(mr_progress *p, mr_kafka_consumer *c, int part, bool paused);
/* Commits what moved since the last commit. sync: for revocation and shut-down, blocks at most 5 s.
 */
void mr_progress_commit(mr_progress *p, mr_kafka_consumer *c, bool sync);
/* The consumer reported an error: a commit may not have arrived, so all is committed once more,
 * with the next sync commit or some seconds later. */
void mr_progress_doubt(mr_progress *p);

#endif
