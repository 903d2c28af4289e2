/* watchdog.c - the same step, tick after tick. */
#include "worker/watchdog.h"

bool mr_watchdog_tick(mr_watchdog *w, uint64_t step, uint64_t limit_ms) {
    if (step == 0 || step != w->step) {
        *w = (mr_watchdog){.step = step};
        return false;
    }
    if (w->ticks < UINT32_MAX) w->ticks++;
    return (uint64_t)w->ticks * MR_WATCHDOG_TICK_MS >= limit_ms;
}
