/* sched.h - which sequences take part in the next step, and with how many tokens.
 *
 * Pure: no clock, no I/O, no engine. The caller names jobs by small numbers (its slots), reports
 * what happened, and asks four questions: who loses its seat, who may start now, what is in the
 * next step, how many are there. No allocation after open. Thread: the engine's. */
#ifndef MR_WORKER_SCHED_H
#define MR_WORKER_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/job.h"

/* A waiting job lets at most so many later arrivals go first; then it is next whatever it costs. */
#define MR_SCHED_MAX_OVERTAKES 16

typedef struct mr_sched mr_sched;

typedef struct mr_sched_item {
    uint32_t id;
    uint32_t n_tokens;
} mr_sched_item;

typedef struct mr_sched_conf {
    uint32_t n_ids;         /* ids are 0..n_ids-1 */
    uint32_t max_running;   /* sequences at one time: the seats */
    uint32_t step_tokens;   /* rows of one step */
    uint32_t max_displaced; /* times that one job may lose its seat */
} mr_sched_conf;

/* step_tokens must be larger than max_running, so that prompts move on however many sequences
 * generate (MR_EINVAL). */
mr_status mr_sched_open(mr_sched **out, const mr_sched_conf *conf, mr_err *err);
void mr_sched_close(mr_sched *s);
/* Who starts from now on finds only so many seats, 0..max_running. Nobody loses one by it. */
void mr_sched_set_seats(mr_sched *s, uint32_t seats);

/* A job arrived. n_blocks: KV blocks that its sequence will need. */
void mr_sched_add(mr_sched *s, uint32_t id, mr_priority priority, uint32_t n_blocks);
/* A job of lane high waits for a seat or for KV blocks, and one of lane low loses its own to it:
 * the newest of those that may. That one waits again, at the place of its arrival; the caller drops
 * its sequence and asks again, with the blocks that are free by then. False: nobody waits so, it
 * has room now, or all who may be displaced together would not be enough. After that mr_sched_next
 * names the one for whom they left. */
bool mr_sched_displace(mr_sched *s, uint32_t free_blocks, uint32_t *id_out);
/* The waiting job to start now, given the free KV blocks. False: none (see mr_sched_blocked). The
 * caller starts it and calls mr_sched_start, or drops it; then asks again. */
bool mr_sched_next(mr_sched *s, uint32_t free_blocks, uint32_t *id_out);
/* It runs, with so many tokens to compute. */
void mr_sched_start(mr_sched *s, uint32_t id, uint32_t pending);
/* Fills items[max_running]; returns how many. Every running job whose prompt is through has one
 * token, prompts share what is left of step_tokens in order of priority and arrival. */
size_t mr_sched_plan(mr_sched *s, mr_sched_item *items);
/* After a step: tokens it has still to compute (1 after a sampled token). */
void mr_sched_computed(mr_sched *s, uint32_t id, uint32_t pending);
/* The job has ended, waiting or running. Unknown ids are ignored. */
void mr_sched_drop(mr_sched *s, uint32_t id);

uint32_t mr_sched_running(const mr_sched *s);
/* Seats that running jobs would leave to jobs of lane high. */
uint32_t mr_sched_displaceable(const mr_sched *s);
uint32_t mr_sched_waiting(const mr_sched *s);
/* Jobs that waited for KV blocks, not for a seat, when mr_sched_next was last asked. */
uint32_t mr_sched_blocked(const mr_sched *s);

#endif
