/* watchdog.h - an engine step that does not come back.
 *
 * Time is counted in ticks of the loop, not read from a clock: a process that was stopped, or whose
 * machine slept, has had no ticks meanwhile, and its step is not late. Pure. */
#ifndef MR_WORKER_WATCHDOG_H
#define MR_WORKER_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#define MR_WATCHDOG_TICK_MS 200

typedef struct mr_watchdog { /* all zero: the start */
    uint64_t step;
    uint32_t ticks;
} mr_watchdog;

/* Every MR_WATCHDOG_TICK_MS. step names the one under way (the time of its begin; 0: none). True:
 * it has been under way for limit_ms of ticks. */
bool mr_watchdog_tick(mr_watchdog *w, uint64_t step, uint64_t limit_ms);

#endif
