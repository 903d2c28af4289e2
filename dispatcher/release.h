/* release.h - from window to work topic, as late as there is room: the deciding loop.
 *
 * Owns what workers report (placement) and asks the window for the next job of a model only when
 * somebody has room for one of its lane. A job whose turn it is, but not on this worker, is set
 * aside: one that needs more tokens than the free workers can hold until one that can has room; one
 * that its last worker had no memory for, MR_RELEASE_AVOID_MS at most for another one. Others go on
 * meanwhile. Thread: loop. */
#ifndef MR_DISPATCHER_RELEASE_H
#define MR_DISPATCHER_RELEASE_H

#include "base/histogram.h"
#include "dispatcher/intake.h"
#include "dispatcher/placement.h"
#include "dispatcher/policy.h"
#include "dispatcher/status.h"

#define MR_RELEASE_AVOID_MS  2000
#define MR_RELEASE_MAX_ASIDE 64 /* jobs; past them a job that finds no place holds up its model */

typedef struct mr_release mr_release;

typedef struct mr_release_counts {
    uint64_t lanes[MR_PRIORITY_N]; /* jobs released */
    /* Decisions: */
    uint64_t displacing; /* a running job has to make room */
    uint64_t cached;     /* where some of the job's beginning was known */
    uint64_t aside;      /* after the job had been set aside */
    uint64_t again;      /* the worker that had just failed it, for want of another */
    /* From a job's record, or the time that it asked for, to the first decision about it. */
    mr_histogram waited[MR_PRIORITY_N];
    mr_histogram handed_over;           /* from a decision to its commit in the work topic */
} mr_release_counts;

typedef struct mr_release_conf {
    const mr_names *names;
    mr_commit *commit;
    mr_window *window;
    mr_policy *policy;
    mr_status_view *view;
    const mr_spans *spans;     /* NULL: none */
    const char *default_model; /* "": the only one reported */
    const char *models;        /* comma-separated names that are known before a worker reports */
    uint64_t model_grace_ms, worker_timeout_ms;
    uint32_t lookahead;
} mr_release_conf;

mr_status mr_release_open(mr_release **out, const mr_release_conf *conf, uint64_t now_ms,
                          mr_err *err);
/* The committer must be closed before: it reports to what dies here. */
void mr_release_close(mr_release *r);
/* Changes these settings from now on. */
void mr_release_set(mr_release *r, uint64_t model_grace_ms, uint64_t worker_timeout_ms,
                    uint32_t lookahead);
/* intake and release know each other; set once before the loop runs. */
void mr_release_attach(mr_release *r, mr_intake *in);

/* Gives e->job.model its name; false: it is unknown, or the job is too large for a work record or
 * for every live worker; why is filled, until the next call. now_ms: monotonic. */
bool mr_release_vet(mr_release *r, mr_entry *e, mr_job_error *why, uint64_t now_ms);
void mr_release_heartbeat(mr_release *r, const mr_heartbeat *h, uint64_t now_ms);
/* So many dispatchers have jobs waiting. */
void mr_release_share(mr_release *r, size_t n_dispatchers);
/* Release while there is room. Call after anything that may have made room or brought work. */
void mr_release_run(mr_release *r, uint64_t now_ms);
/* Refuses waiting jobs whose model has turned out to be unknown; call about once a second. */
void mr_release_sweep(mr_release *r, uint64_t now_ms);
const mr_placement *mr_release_placement(const mr_release *r);
const mr_release_counts *mr_release_counters(const mr_release *r);
size_t mr_release_aside(const mr_release *r); /* jobs that are set aside now */

#endif
