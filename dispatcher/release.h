/* release.h - from window to work topic, as late as there is room: the deciding loop.
 *
 * Owns what workers report (placement) and asks the window for the next job of a model only when
 * somebody has room for it. Thread: loop. */
#ifndef MR_DISPATCHER_RELEASE_H
#define MR_DISPATCHER_RELEASE_H

#include "dispatcher/intake.h"
#include "dispatcher/placement.h"
#include "dispatcher/status.h"

typedef struct mr_release mr_release;

typedef struct mr_release_conf {
    const mr_names *names;
    mr_commit *commit;
    mr_window *window;
    mr_status_view *view;
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

/* Gives e->job.model its name; false: it is unknown, or the job is too large for a work record; why
 * is filled, until the next call. now_ms: monotonic. */
bool mr_release_vet(mr_release *r, mr_entry *e, mr_job_error *why, uint64_t now_ms);
void mr_release_heartbeat(mr_release *r, const mr_heartbeat *h, uint64_t now_ms);
/* Release while there is room. Call after anything that may have made room or brought work. */
void mr_release_run(mr_release *r, uint64_t now_ms);
/* Refuses waiting jobs whose model has turned out to be unknown; call about once a second. */
void mr_release_sweep(mr_release *r, uint64_t now_ms);
const mr_placement *mr_release_placement(const mr_release *r);

#endif
