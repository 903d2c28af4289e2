/* window.h - the jobs that wait to be released: who is next.
 *
 * Per model, in this order:
 *   lanes      take turns by weight (high 8, normal 3, low 1; smooth weighted round robin), so a
 *              higher lane runs ahead and the lowest still moves;
 *   tenants    inside a lane share by weight in tokens: who has had the least goes next;
 *   age        inside a tenant at least every MR_AGE_TURNth job is its oldest, if that has waited
 *              for max_wait_ms, so none waits for ever behind deadlines;
 *   deadline   then the earliest, then arrival.
 *
 * Age counts for nothing between tenants: all of them move in any case, and under a backlog all
 * jobs are old, so who has most or longest jobs would take what is the others'.
 *
 * A tenant is charged the estimate of a job when it is taken out, and the difference when its use
 * is known (settle). A tenant that was away does not save up: it comes back level with the others.
 * One that has used up its rate is passed over until it may go on.
 * Source: start-time fair queueing (Goyal et al. 1996), the packet length being tokens.
 *
 * Pure: no clock, no I/O; now_ms is any clock that does not go back. Entries are the caller's; the
 * window links and unlinks them. Only push allocates. Bounds: MR_MAX_MODELS models; MR_MAX_TENANTS
 * tenants that wait in one lane of a model have an account of their own, those beyond share one. */
#ifndef MR_DISPATCHER_WINDOW_H
#define MR_DISPATCHER_WINDOW_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/parts.h"
#include "millrace/job.h"

#define MR_MAX_MODELS    64
#define MR_MAX_TENANTS   4096
#define MR_AGE_TURN      8
#define MR_TENANT_OTHERS "" /* the account that tenants share; none has this name */

#define MR_LANE_BIT(lane) (1u << (lane))
#define MR_LANES_ALL      (MR_LANE_BIT(MR_PRIORITY_N) - 1)

typedef enum mr_entry_place { MR_PLACE_NONE, MR_PLACE_WINDOW, MR_PLACE_DELAY } mr_entry_place;

typedef struct mr_entry mr_entry;
struct mr_entry {                  /* one accepted job, from decode until its fate is durable */
    mr_entry *all_prev, *all_next; /* owner's list of all entries, waiting or on the way */
    mr_entry *id_prev, *id_next;   /* owner's chain of entries with like job ids */
    mr_entry *untold_prev, *untold_next; /* owner's list of those */
    mr_arena arena;                /* holds everything job points to */
    mr_job_spec job;
    mr_priority lane;
    mr_origin at; /* at.part -1: that partition was revoked */
    size_t bytes; /* of memory, arena and all */
    uint32_t cost;        /* tokens it will probably use: prompt and answer; at least 1 */
    mr_entry_place place; /* who has linked it: window, delay, or nobody */
    unsigned from;        /* owner's: kind of its topic, see names.h */
    bool at_home;         /* owner's: its topic is one where only its lane waits for its turn */
    bool cancelled;       /* ends with the owner's next tick */
    bool counted;         /* in the backlog of its tenant */
    bool sent;            /* on its way to Kafka, or it was and failed */
    bool untold;          /* its wait began in this turn of the loop and is not shown yet */
    uint64_t ticket;      /* owner's: its number among all that entered its lane */
    const char *why;      /* it was taken out: the rule that decided, a word for the log */
    int32_t work_partition; /* while being released */

    /* The window's and the delay's own. */
    struct mr_flow *flow;
    mr_heap_node by_deadline, by_age;
    uint64_t arrival, queued_ms, ready_ms;
};

typedef struct mr_window mr_window;

typedef struct mr_window_conf {
    uint64_t max_wait_ms; /* 0: no bound */
    void *owner;
    /* Share of a tenant, 1..1000; NULL: all have 1. Asked each time that it is charged. */
    uint32_t (*weight)(void *owner, const char *tenant);
    /* From when on the tenant may have more; now_ms or earlier: at once. NULL: no rates. The
     * same at the same time. Asked again at that time, and each second: rules change, and what was
     * not used is given back. */
    uint64_t (*ready_ms)(void *owner, const char *tenant, uint64_t now_ms);
} mr_window_conf;

mr_status mr_window_open(mr_window **out, const mr_window_conf *conf, mr_err *err);
void mr_window_close(mr_window *w); /* entries are not freed */
void mr_window_set_max_wait(mr_window *w, uint64_t max_wait_ms);

/* MR_ELIMIT: MR_MAX_MODELS different models wait already. MR_ENOMEM: no memory; the same. */
mr_status mr_window_push(mr_window *w, mr_entry *e, uint64_t now_ms);
/* What was taken out and could not be released comes back to its place; its charge is taken back.
 * Before the next push. */
void mr_window_unpop(mr_window *w, mr_entry *e);
/* Takes the next job of a model out, of the lanes whose bits are set; NULL: none may go now. */
mr_entry *mr_window_pop(mr_window *w, const char *model, unsigned lanes, uint64_t now_ms);
void mr_window_remove(mr_window *w, mr_entry *e);
/* A released job has used so many tokens, where `charged` were taken: corrects its tenant's
 * account, if it is still kept. */
void mr_window_settle(mr_window *w, const char *model, mr_priority lane, const char *tenant,
                      uint32_t charged, uint32_t used);
/* Jobs wait, whether or not they may go. */
bool mr_window_has(const mr_window *w, const char *model);
bool mr_window_has_lane(const mr_window *w, const char *model, mr_priority lane);
size_t mr_window_len(const mr_window *w, mr_priority lane);
/* Models with waiting jobs, in turn: i from 0; NULL behind the last. Borrowed until the next
 * change. */
const char *mr_window_model(const mr_window *w, size_t i);
size_t mr_window_model_len(const mr_window *w, size_t i);

#endif
