/* status.h - what Redis shows of a job: the status hash while it waits, hash and `done` at its end.
 *
 * A view, never the authority: what Redis does not take while a job waits is dropped. The end of a
 * job comes from a committed record, see follower.h. Thread: loop. */
#ifndef MR_DISPATCHER_STATUS_H
#define MR_DISPATCHER_STATUS_H

#include "base/redis.h"
#include "millrace/job.h"

typedef struct mr_status_view mr_status_view;

typedef struct mr_status_conf {
    const char *redis_url, *redis_prefix;
    const char *dispatcher; /* id, for whom to ask about a ticket */
    int64_t ttl_s;
    void *owner;
    void (*on_up)(void *owner); /* Redis is there (again) */
    /* Each state that is to be shown of a job, whether or not Redis is there; NULL allowed. state is
     * static text. */
    void (*on_job)(void *owner, const char *job_id, const char *model, const char *tenant,
                   const char *state);
} mr_status_conf;

mr_status mr_status_open(mr_status_view **out, uv_loop_t *loop, const mr_status_conf *conf,
                         mr_err *err);
void mr_status_close(mr_status_view *v);
void mr_status_set_ttl(mr_status_view *v, int64_t ttl_s);
bool mr_status_up(const mr_status_view *v);

typedef struct mr_status_wait {
    const char *state; /* "queued", "delayed" or "released" */
    mr_priority lane;  /* queued: its lane, and its number among all that entered this lane */
    uint64_t ticket;   /* of this dispatcher, from 1 */
    uint64_t due_ms;   /* delayed: wall clock */
} mr_status_wait;

/* What a job waits for now. It is not shown when a worker has already claimed this turn of it. */
void mr_status_waiting(mr_status_view *v, const mr_job_spec *j, const mr_status_wait *w);
/* Terminal state, and the `done` frame with the job's trace, in one script call.
 * done(owner, arg, st): MR_OK: Redis has it (or holds something newer); MR_EUNAVAIL, MR_ELIMIT: it
 * has not, try again; MR_EINVAL: it never will. Returns MR_OK when done will be called. */
mr_status mr_status_end(mr_status_view *v, const mr_result *r, const mr_trace *trace,
                        int32_t partition, int64_t offset,
                        void (*done)(void *owner, void *arg, mr_status st), void *owner, void *arg);

#endif
