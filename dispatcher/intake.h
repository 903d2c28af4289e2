/* intake.h - the way in: every record of the topics that a dispatcher reads gets a fate, and the
 * fate becomes visible in the transaction that commits the record's offset.
 *
 *   jobs.*    decoded and vetted; then to keyed when it has an idempotency key, to a delay topic
 *             when it is not due, or into the window
 *   keyed     its key is new: index record and job go on together; or the same job once more: no
 *             answer; or another job's: rejected
 *   attempts  a job that came back: retried later, at once, or dead; one that goes on: as below
 *   delay.*   held here until it is due or its time in that topic is over; then another hop, or to
 *             ready
 *   ready.*   into the window
 *
 * What is undecodable becomes a rejected result, or, when not even a job id can be read, a dead
 * letter. A cancel or a deadline ends a job wherever it is held. A partition with too many waiting
 * jobs is paused alone; since each topic whose jobs wait for their turn has those of one lane, no lane
 * holds up another. Thread: loop. */
#ifndef MR_DISPATCHER_INTAKE_H
#define MR_DISPATCHER_INTAKE_H

#include "base/commit.h"
#include "dispatcher/keys.h"
#include "dispatcher/member.h"
#include "dispatcher/names.h"
#include "dispatcher/policy.h"
#include "dispatcher/retry.h"
#include "dispatcher/spans.h"
#include "dispatcher/window.h"

typedef struct mr_intake mr_intake;

#define MR_INTAKE_OUTCOMES 3 /* fault, oom, no_fit: mr_attempt_outcome from MR_ATTEMPT_FAULT on */

typedef struct mr_intake_counts {
    uint64_t received[MR_PRIORITY_N];       /* records of jobs.* */
    uint64_t attempts, notes;               /* records of attempts: jobs, notes for people */
    uint64_t delayed[MR_TIER_N], keyed;     /* records of delay.*, of keyed */
    uint64_t ready;                         /* records of ready.* */
    uint64_t retries[MR_INTAKE_OUTCOMES];   /* jobs that came back, by outcome */
    uint64_t hops[MR_TIER_N], to_keyed;     /* records sent on */
    uint64_t to_ready[MR_PRIORITY_N];
    uint64_t new_keys, repeats, duplicates; /* answers of the index */
    uint64_t limited;                       /* rejected by a tenant's rate or backlog */
    uint64_t dead;                          /* dead letters */
    uint64_t released, rejected, failed, cancelled, expired;
} mr_intake_counts;

typedef struct mr_intake_conf {
    mr_member_conf member;
    const mr_names *names;
    mr_commit *commit; /* its consumer is the one that is opened here */
    mr_window *window;
    mr_policy *policy;
    mr_keys *keys;
    int32_t n_keyed; /* partitions of keyed */
    mr_retry_conf retry;
    int64_t window_jobs, window_bytes;
    const mr_spans *spans; /* NULL: none */
    double trace_ratio; /* part of the jobs without a trace that get one, 0..1 */
    void *owner;
    /* A new entry may enter the window: give it its model, or say why not (fill code, field and
     * message of why and return false). */
    bool (*vet)(void *owner, mr_entry *e, mr_job_error *why);
    void (*on_queued)(void *owner, mr_entry *e);       /* it has entered the window */
    void (*on_waits)(void *owner, const mr_entry *e);  /* and is not released in the same turn */
    void (*on_delayed)(void *owner, const mr_entry *e); /* a wait has begun; job.due_ms: its end */
    void (*on_fatal)(void *owner, const char *text);    /* nothing more will come: stop */
} mr_intake_conf;

mr_status mr_intake_open(mr_intake **out, uv_loop_t *loop, const mr_intake_conf *conf, mr_err *err);
/* Leaves the group. The committer must be flushed and closed before: it reports to entries that die
 * here. Its handle closes on the loop. */
void mr_intake_close(mr_intake *in);

/* An entry taken out of the window is handed to the committer: it makes room for another. */
void mr_intake_sent(mr_intake *in, mr_entry *e);
/* It is committed to its work topic; e is freed. */
void mr_intake_released(mr_intake *in, mr_entry *e);
/* Somebody else will do it, its partition was revoked; e is freed. */
void mr_intake_drop(mr_intake *in, mr_entry *e);
/* An entry taken out of the window ends here, with a terminal record; e is freed. */
void mr_intake_refuse(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why);
/* Ends the job if it is held; if it is not here yet, its cancel is remembered, see recent.h. */
void mr_intake_cancel(mr_intake *in, const char *job_id);
/* A job that is held here, or on its way, names this model. Looks at all of them. */
bool mr_intake_waits_for(const mr_intake *in, const char *model);
/* mr_keys_ask answers for this partition of keyed now. */
void mr_intake_keys_loaded(mr_intake *in, int32_t partition);
/* Change the bounds and waits of conf from now on. */
void mr_intake_set_window(mr_intake *in, int64_t jobs, int64_t bytes);
void mr_intake_set_retry(mr_intake *in, const mr_retry_conf *retry);
/* End what has expired by now_ms (wall clock), go on with what is due, try refused records again,
 * resume what was paused and has room again. Cheap when there is nothing to do. */
void mr_intake_tick(mr_intake *in, uint64_t now_ms);
/* Tells of those that have come and wait, takes more records where something has gone. Each turn of
 * the loop, behind the release; cheap when there is nothing to do. */
void mr_intake_flow(mr_intake *in);

const mr_intake_counts *mr_intake_counters(const mr_intake *in);
size_t mr_intake_bytes(const mr_intake *in);
size_t mr_intake_held(const mr_intake *in); /* jobs that are not due */
/* Partitions that are ours, and *paused of them. */
size_t mr_intake_parts(const mr_intake *in, size_t *paused);
/* Records of a lane's partitions that have no fate yet, read or not; of a paused partition as of
 * some seconds ago. */
uint64_t mr_intake_lag(const mr_intake *in, mr_priority lane);
/* Those of them that were not read yet. */
uint64_t mr_intake_unread(const mr_intake *in, mr_priority lane);
bool mr_intake_assigned(const mr_intake *in); /* has had its first assignment */

#endif
