/* stream_redis.h - what stream.c says to Redis: two scripts, their arguments, their answers.
 *
 * claim   makes this worker the only writer of a job's stream, and returns what is there
 * frames  adds frames behind those that it knows to be there, if the stream is still its own
 *
 * Owner of the claim is who wrote the hash's field `claim` last; the numbers of attempts only order
 * what readers see. Thread: loop. */
#ifndef MR_WORKER_STREAM_REDIS_H
#define MR_WORKER_STREAM_REDIS_H

#include "base/arena.h"
#include "base/redis.h"
#include "base/uuid.h"
#include "worker/takeover.h"

#define MR_STREAM_BATCH 64 /* frames of one call */

typedef struct mr_stream_redis { /* what is the same for all jobs; texts are borrowed */
    mr_redis *redis;
    const char *prefix, *worker, *model;
    int64_t max_frames;
    uint64_t ttl_ms;
    int claim_script, frames_script;
} mr_stream_redis;

typedef struct mr_stream_claim {
    const char *job_id, *tenant;
    const char *claim; /* name of this claim, made up anew for each run of a job */
    uint32_t held;     /* attempt that this claim had before it lost the stream; 0: first time */
    uint32_t lowest;   /* number of the attempt, at least */
    bool streams, ran_before; /* streams: false: only the status is written */
} mr_stream_claim;

typedef struct mr_stream_frames {
    const char *job_id, *claim;
    uint32_t attempt;
    const char *previous; /* ID of the last entry that is known to be there; "": there is none */
    uint64_t first_index; /* of the tokens */
    bool restart;         /* frames[0] is a restart frame */
    const char *const *frames; /* [n <= MR_STREAM_BATCH], restart included */
    const size_t *lens;
    size_t n;
} mr_stream_frames;

typedef enum mr_claim_end {
    MR_CLAIM_HELD,   /* the stream is ours */
    MR_CLAIM_OVER,   /* the job has its terminal state: nothing may be written any more */
    MR_CLAIM_FENCED, /* a later claim has it */
    MR_CLAIM_ERROR,  /* text says what Redis said */
} mr_claim_end;

typedef struct mr_claim_reply { /* borrowed from the reply; entries from the arena */
    mr_claim_end end;
    uint32_t attempt;
    const char *last_id; /* "": the stream is empty */
    bool shown;          /* readers may have seen something */
    bool too_many;       /* entries: they were left out */
    const mr_takeover_entry *entries;
    size_t n_entries;
    const char *text;
} mr_claim_reply;

typedef enum mr_frames_end {
    MR_FRAMES_ADDED,
    MR_FRAMES_FENCED, /* a later claim has the stream */
    MR_FRAMES_LOST,   /* claim or entries are gone, or somebody wrote between: claim again */
    MR_FRAMES_ERROR,
} mr_frames_end;

/* Registers the scripts on the connection. */
mr_status mr_stream_redis_init(mr_stream_redis *r, mr_err *err);
/* Statuses as mr_redis_eval. */
mr_status mr_stream_redis_claim(const mr_stream_redis *r, const mr_stream_claim *c,
                                mr_redis_on_reply *cb, void *cookie);
mr_status mr_stream_redis_frames(const mr_stream_redis *r, const mr_stream_frames *f,
                                 mr_redis_on_reply *cb, void *cookie);
/* MR_ENOMEM: the arena is full. */
mr_status mr_stream_redis_claimed(mr_claim_reply *out, const mr_reply *r, mr_arena *arena);
/* *n_new: frames that were not there yet. */
mr_frames_end mr_stream_redis_added(const mr_reply *r, uint64_t *n_new);

#endif
