/* intake.h - the way in: records of the three lane topics become entries of the window, or an
 * answer.
 *
 * Every record gets a fate, committed together with its offset: released as a work record, refused
 * with a terminal record, or, when not even a job id can be read, a dead letter. Until then it
 * waits. A partition with too many waiting jobs is paused alone. Thread: loop. */
#ifndef MR_DISPATCHER_INTAKE_H
#define MR_DISPATCHER_INTAKE_H

#include "base/commit.h"
#include "dispatcher/member.h"
#include "dispatcher/names.h"
#include "dispatcher/window.h"

typedef struct mr_intake mr_intake;

typedef struct mr_intake_counts {
    uint64_t received[MR_PRIORITY_N], rejected, dead, released, cancelled, expired;
} mr_intake_counts;

typedef struct mr_intake_conf {
    mr_member_conf member;
    const mr_names *names;
    mr_commit *commit; /* its consumer is the one that is opened here */
    mr_window *window;
    int64_t window_jobs, window_bytes;
    void *owner;
    /* A new entry may enter the window: give it its model, or say why not (fill code, field and
     * message of why and return false). */
    bool (*vet)(void *owner, mr_entry *e, mr_job_error *why);
    void (*on_queued)(void *owner, const mr_entry *e);
    void (*on_fatal)(void *owner, const char *text); /* nothing more will come: stop */
} mr_intake_conf;

mr_status mr_intake_open(mr_intake **out, uv_loop_t *loop, const mr_intake_conf *conf, mr_err *err);
/* Leaves the group. The committer must be flushed and closed before: it reports to entries that die
 * here. */
void mr_intake_close(mr_intake *in);

/* An entry taken out of the window is committed to its work topic; e is freed. */
void mr_intake_released(mr_intake *in, mr_entry *e);
/* Somebody else will do it, its partition was revoked; e is freed. */
void mr_intake_drop(mr_intake *in, mr_entry *e);
/* An entry taken out of the window ends here, with a terminal record; e is freed. */
void mr_intake_refuse(mr_intake *in, mr_entry *e, mr_job_status status, const mr_job_error *why);
/* Ends the job if it waits; if it is not here yet, its cancel is remembered, see recent.h. */
void mr_intake_cancel(mr_intake *in, const char *job_id);
/* Changes the bounds of conf from now on. */
void mr_intake_set_window(mr_intake *in, int64_t jobs, int64_t bytes);
/* End what has expired by now_ms (wall clock), try refused answers again, resume what was paused
 * and has room again. Cheap when there is nothing to do. */
void mr_intake_tick(mr_intake *in, uint64_t now_ms);

const mr_intake_counts *mr_intake_counters(const mr_intake *in);
size_t mr_intake_bytes(const mr_intake *in);
bool mr_intake_assigned(const mr_intake *in); /* has had its first assignment */

#endif
