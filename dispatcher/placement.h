/* placement.h - which worker gets the next job, as far as heartbeats and our own releases tell.
 *
 * A worker's room is its free slots plus the lookahead, less what was released to its partitions
 * and not yet taken: what is unacknowledged, and what lies between its position and the newest
 * offset that we know (less the markers that transactions leave there). What waits in the worker
 * beyond the jobs that it keeps ready takes from the lookahead. Several dispatchers share the room:
 * each has on the way at most its part of free slots and lookahead, and at least one. A job of lane
 * high may also go where running jobs would make room for it (displaceable). A worker that is
 * silent for longer than the timeout has no room; neither has one that is leaving. What we think is
 * on the way to a worker that has been idle for as long as the timeout does not exist (a topic made
 * anew, a log that was cut), and is forgotten.
 *
 * Among workers that can hold the job and did not just fail it: those with at least half the room
 * of the roomiest; of these the one with the longest cached beginning; then the least loaded; then
 * in turns. A high job looks first for a free slot, then for one that would be made free. The
 * worker to avoid is passed over as long as another one that could hold the job is alive, with or
 * without room.
 *
 * Pure: now_ms is an argument. Bounds: MR_MAX_MODELS models, MR_MAX_WORKERS workers, MR_MAX_PARTS
 * partitions each. With all rows taken the model gives way whose workers have been gone for
 * longest, unless jobs wait for it or are on their way to it. A worker that is silent or leaving
 * gives its row to the next new one. */
#ifndef MR_DISPATCHER_PLACEMENT_H
#define MR_DISPATCHER_PLACEMENT_H

#include "millrace/job.h"

#define MR_MAX_WORKERS 1024
#define MR_MAX_PARTS   1024 /* partitions of one work topic */

typedef struct mr_placement mr_placement;

typedef struct mr_ask { /* a job, as far as its place depends on it; borrowed */
    const char *model;
    mr_priority lane;
    uint32_t need_tokens;   /* 0: not known */
    const char *avoid;      /* worker that just had no memory for it; NULL: none */
    const uint64_t *prefix; /* [n_prefix] see prefix.h */
    size_t n_prefix;
} mr_ask;

typedef struct mr_place {
    int32_t partition;  /* of the work topic of the model; -1: nobody has room for it */
    const char *worker; /* borrowed until the next report */
    int64_t room;       /* that it had */
    size_t cached;      /* leading digests that it has */
    bool displaces;     /* a running job will have to make room */
} mr_place;

mr_status mr_placement_open(mr_placement **out, uint32_t lookahead, uint64_t timeout_ms,
                            mr_err *err);
void mr_placement_close(mr_placement *p);
/* Asked before a model gives way: do jobs wait for it? NULL, as at first: nobody is asked. */
void mr_placement_ask(mr_placement *p, bool (*waits)(void *owner, const char *model), void *owner);
void mr_placement_set(mr_placement *p, uint32_t lookahead, uint64_t timeout_ms); /* as open */
/* So many dispatchers share the workers. */
void mr_placement_share(mr_placement *p, size_t n_dispatchers);

/* A heartbeat arrived at now_ms (monotonic). MR_ELIMIT: too many workers that live, or models that
 * have some or are waited for; it is ignored.
 * MR_EINVAL: a partition outside 0..MR_MAX_PARTS-1, or a position below 0. */
mr_status mr_placement_report(mr_placement *p, const mr_heartbeat *h, uint64_t now_ms);
/* Lanes (bits, see window.h) of the model that somebody has room for now; 0: none. */
unsigned mr_placement_lanes(const mr_placement *p, const char *model, uint64_t now_ms);
/* Where to release this job. Counts it as on the way until released() or failed(). */
mr_place mr_placement_take(mr_placement *p, const mr_ask *ask, uint64_t now_ms);
/* The release was acknowledged at this offset. */
void mr_placement_released(mr_placement *p, const char *model, int32_t partition, int64_t offset);
void mr_placement_failed(mr_placement *p, const char *model, int32_t partition);

/* Tokens that the largest live worker of the model can hold for one job; 0: no live worker. */
uint32_t mr_placement_largest(const mr_placement *p, const char *model, uint64_t now_ms);
/* True once a worker has reported this model, also if it is silent now, until it gives way. */
bool mr_placement_knows(const mr_placement *p, const char *model);
/* The only model reported so far; NULL: none, or several. */
const char *mr_placement_only_model(const mr_placement *p);
/* Names of reported models, comma-separated, into buf. */
void mr_placement_models(const mr_placement *p, char *buf, size_t cap);
size_t mr_placement_live(const mr_placement *p, uint64_t now_ms);
/* Room over all live workers of all models. */
size_t mr_placement_room(const mr_placement *p, uint64_t now_ms);

#endif
