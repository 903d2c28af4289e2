/* follower.h - tells Redis about every result that is committed: `done` on the stream, the end in
 * the status hash.
 *
 * Reads millrace.results as one consumer group of all dispatchers, committed records only, so
 * `done` implies durable. A record's offset is committed once Redis has it; while Redis is away the
 * partitions are paused and Kafka keeps what is to be told. What a job used is told to its tenant's
 * account on the way, in the dispatcher that reads it: with several, accounts are right in sum.
 * Thread: loop. */
#ifndef MR_DISPATCHER_FOLLOWER_H
#define MR_DISPATCHER_FOLLOWER_H

#include "dispatcher/member.h"
#include "dispatcher/spans.h"
#include "dispatcher/status.h"

typedef struct mr_follower mr_follower;

typedef struct mr_follower_conf {
    mr_member_conf member;
    const char *topic;
    mr_status_view *view;
    const mr_spans *spans; /* NULL: none */
    void *owner;
    /* A job that a tenant was charged so many tokens for has ended; r has what it used. */
    void (*on_charged)(void *owner, const mr_result *r, mr_priority lane, uint32_t charged);
    void (*on_fatal)(void *owner, const char *text); /* nothing more will come: stop */
} mr_follower_conf;

mr_status mr_follower_open(mr_follower **out, uv_loop_t *loop, const mr_follower_conf *conf,
                           mr_err *err);
/* Leaves the group, commits what Redis has. */
void mr_follower_close(mr_follower *f);
/* Redis is back: send what waits. */
void mr_follower_kick(mr_follower *f);
/* Results told so far, and results that Redis has not confirmed. */
uint64_t mr_follower_told(const mr_follower *f);
size_t mr_follower_pending(const mr_follower *f);

#endif
