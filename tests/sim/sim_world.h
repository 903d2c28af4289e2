/* sim_world.h - what all processes of a world share, and what a process is.
 *
 * A process is a set of functions over its own memory; tick is called every SIM_TICK_MS while it
 * is not paused. kill takes its memory away at any moment: what it sent is still on its way. */
#ifndef MR_TESTS_SIM_WORLD_H
#define MR_TESTS_SIM_WORLD_H

#include "dispatcher/placement.h"
#include "sim_consumer.h"
#include "sim_redis.h"

#define SIM_MAX_TOKENS  12
#define SIM_MAX_DEATHS  3 /* of processes with one job; then it is not run again */
#define SIM_DISPATCHER_N 2
#define SIM_WORKER_N     3
#define SIM_PROCESSES    (SIM_DISPATCHER_N + SIM_WORKER_N)

typedef enum sim_kind { SIM_JOB_GOOD, SIM_JOB_MALFORMED, SIM_JOB_POISON } sim_kind;

typedef struct sim_job {
    sim_kind kind;
    bool streams;
    uint32_t n_tokens; /* of its answer */
    uint32_t dies_at;  /* POISON: the token that kills the process */
    uint32_t killed;   /* POISON: so many processes */
    uint32_t ran;      /* processes that had it marked and did not end it in good order */
} sim_job;

typedef struct sim_world sim_world;

typedef struct sim_dispatcher sim_dispatcher;
sim_dispatcher *sim_dispatcher_start(sim_world *w, int number);
void sim_dispatcher_tick(sim_dispatcher *d);
void sim_dispatcher_heard(sim_dispatcher *d, const mr_heartbeat *h);
void sim_dispatcher_kill(sim_dispatcher *d);
sim_consumer *sim_dispatcher_consumer(sim_dispatcher *d);

typedef struct sim_worker sim_worker;
sim_worker *sim_worker_start(sim_world *w, int number);
void sim_worker_tick(sim_worker *k);
void sim_worker_kill(sim_worker *k);
sim_consumer *sim_worker_consumer(sim_worker *k);
bool sim_worker_died(const sim_worker *k); /* of a job */

typedef struct sim_process {
    int number; /* below SIM_DISPATCHER_N: a dispatcher */
    sim_dispatcher *dispatcher;
    sim_worker *worker;
    uint64_t paused_until;
    uint64_t starts_at; /* when it is not there; 0: never */
    uint64_t ends_at;   /* 0: by itself */
} sim_process;

struct sim_world {
    sim s;
    sim_kafka *kafka;
    sim_redis *redis;
    sim_job jobs[SIM_MAX_JOBS];
    int n_jobs;
    int odd_worker; /* shows tokens as other text than the others do; -1: none */
    uint64_t n_claims;
    sim_process processes[2 * SIM_PROCESSES]; /* each with a place for one it has replaced */
};

/* What a job's token number i is, and the text of a token as this worker shows it. */
int32_t sim_token(int job, uint32_t i);
size_t sim_token_text(int32_t token, bool odd, char text[8]);
uint64_t sim_hash(const char *text, size_t n);
#define SIM_VOCAB 1000

#endif
