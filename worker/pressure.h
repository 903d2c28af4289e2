/* pressure.h - how many jobs may run at a time, given that memory ran out.
 *
 * Additive increase, multiplicative decrease: each step that found no memory halves the limit, and
 * every second without one gives back a sixteenth of max_jobs (at least one job). So a storm is
 * over after a few steps, and full speed is back some 16 seconds behind its end. When not even one
 * job found memory the limit is 0, and after a second one job may try again. The limit bounds who
 * may start, not who runs: no job is ended for its sake.
 *
 * Pure: now_ms is a clock that does not go back. Fields are for reading. */
#ifndef MR_WORKER_PRESSURE_H
#define MR_WORKER_PRESSURE_H

#include <stdint.h>

#define MR_PRESSURE_RISE_MS    1000 /* between two increases */
#define MR_PRESSURE_RISE_STEPS 16   /* from nothing to max_jobs */

typedef struct mr_pressure {
    uint32_t max_jobs;
    uint32_t limit;      /* 0..max_jobs */
    uint64_t changed_ms; /* last decrease or increase */
} mr_pressure;

/* max_jobs: 1 or more. */
void mr_pressure_init(mr_pressure *p, uint32_t max_jobs);
/* A step of so many jobs (or the start of the last of them) found no memory: the limit is half of
 * them, or half of itself if that is less. Call it once per step, however often the step was tried;
 * and with 1 when in the end not one job found memory. */
void mr_pressure_oom(mr_pressure *p, uint32_t running, uint64_t now_ms);
/* Time has passed. Call it as often as you like. */
void mr_pressure_tick(mr_pressure *p, uint64_t now_ms);

#endif
