/* plant.h - a dispatcher, its workers and the Kafka between them, as far as order and time go.
 *
 * What decides is the real thing: window, policy, placement, delay and retry of the dispatcher,
 * scheduler and pressure of the worker. What carries out is simulated: Kafka is a latency (group
 * commits, fetches, heartbeats), an engine step takes STEP_BASE_US and ROW_US for each row, a
 * displaced job finds those of its KV blocks again that nobody was given meanwhile. Time is that
 * of sim.h; a seed decides everything. */
#ifndef MR_TESTS_SCHED_PLANT_H
#define MR_TESTS_SCHED_PLANT_H

#include "../sim/sim.h"
#include "dispatcher/delay.h"
#include "dispatcher/placement.h"
#include "dispatcher/policy.h"
#include "dispatcher/retry.h"
#include "worker/pressure.h"
#include "worker/sched.h"

#define PLANT_MAX_WORKERS 8

typedef struct plant plant;
typedef struct plant_worker plant_worker;

typedef struct plant_job plant_job;
struct plant_job {
    mr_entry e;
    plant *plant;
    mr_past past;
    mr_priority lane;        /* also where all jobs go through one lane */
    uint32_t prompt, answer; /* tokens, as they turn out */
    uint32_t faults;         /* attempts that will fail before one does not */
    plant_job *next;         /* in a partition */

    /* On a worker: */
    plant_worker *worker;
    uint32_t id, n_blocks;
    bool waits, seated;
    uint32_t made, computed, reached; /* tokens: of the answer, in the cache, ever in the cache */
    uint32_t kept_blocks;             /* of a displaced job, and how many were given away by then */
    uint64_t kept_until;

    uint64_t arrived_ms, started_ms, ended_ms; /* 0: not yet */
    uint64_t appended_ms;                      /* to the delay topic that it is in */
    int tier;                                  /* of that; -1: it is in none */
    uint32_t displaced;
    bool dead;
};

typedef struct plant_conf {
    unsigned n_workers;
    uint32_t seats, step_tokens, kv_tokens; /* of each worker */
    uint32_t max_preemptions;
    uint64_t max_wait_ms;
    const char *rules; /* "": none */
    bool fifo;         /* no lanes and no tenants: plain order of arrival */
    uint64_t oom_from_ms, oom_to_ms; /* no allocation succeeds in between */
    mr_retry_conf retry;
    void *owner;
    void (*on_release)(void *owner, plant_job *j); /* may be NULL, as the next */
    void (*on_rows)(void *owner, plant_job *j, uint32_t rows); /* computed for the first time */
} plant_conf;

struct plant {
    sim s;
    plant_conf conf;
    mr_window *window;
    mr_policy *policy;
    mr_placement *placement;
    mr_delay *delay;
    plant_worker *workers[PLANT_MAX_WORKERS];
    int64_t ends[2 * PLANT_MAX_WORKERS]; /* of the partitions of the work topic */
    struct plant_commit { /* a committer's group commit */
        uint64_t closes_ms, done_ms;
    } commit;
    struct plant_tier {       /* a partition of a delay topic */
        plant_job *first, *last;
        unsigned held; /* read and not gone on */
        bool paused;
    } tiers[MR_TIER_N];
    uint64_t armed_ms; /* when the delay's timer fires; UINT64_MAX: it is not armed */
    uint64_t n_released[MR_PRIORITY_N], n_early;
    uint64_t n_late, *late_ms; /* [cap_late] how late jobs that were due went on */
    uint64_t cap_late;
};

void plant_open(plant *p, const plant_conf *conf, uint64_t seed);
void plant_close(plant *p);
/* A record that reaches Kafka after_ms from now. cost_pct: estimate in percent of what it will
 * use. */
plant_job *plant_submit(plant *p, uint64_t after_ms, mr_priority lane, const char *tenant,
                        uint32_t prompt, uint32_t answer, uint32_t cost_pct);
/* As if it had been released long ago, and an attempt failed after_ms from now. */
plant_job *plant_submit_failed(plant *p, uint64_t after_ms, uint32_t prompt, uint32_t answer);
/* Until the time has come, or nothing happens any more. */
void plant_run(plant *p, uint64_t until_ms);

/* ---- between the two halves ---- */

/* Milliseconds from now until what is sent to Kafka now is visible. */
uint64_t plant_commit_ms(sim *s, struct plant_commit *c);
uint64_t plant_fetch_ms(sim *s);
plant_worker *plant_worker_open(plant *p, unsigned number);
void plant_worker_close(plant_worker *w);
const char *plant_worker_name(const plant_worker *w);
void plant_worker_take(plant_worker *w, plant_job *j); /* a work record */
unsigned plant_worker_of(int32_t partition); /* number of the worker that owns it */
void plant_heartbeat(plant *p, const mr_heartbeat *h);
void plant_ended(plant_job *j);
void plant_came_back(plant_job *j, mr_attempt_outcome outcome);

#endif
