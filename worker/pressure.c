/* pressure.c - the limit of running jobs: additive increase, multiplicative decrease.
 *
 * Half of what ran, not half of what might have run: with 4 jobs of 64 running out of memory, a
 * limit of 32 would change nothing. */
#include "worker/pressure.h"

#include "millrace/error.h"

void mr_pressure_init(mr_pressure *p, uint32_t max_jobs) {
    MR_CHECK(max_jobs > 0);
    *p = (mr_pressure){.max_jobs = max_jobs, .limit = max_jobs};
}

void mr_pressure_oom(mr_pressure *p, uint32_t running, uint64_t now_ms) {
    const uint32_t had = running < p->limit ? running : p->limit;

    p->limit = had / 2;
    p->changed_ms = now_ms;
}

void mr_pressure_tick(mr_pressure *p, uint64_t now_ms) {
    const uint32_t by =
        p->max_jobs > MR_PRESSURE_RISE_STEPS ? p->max_jobs / MR_PRESSURE_RISE_STEPS : 1;

    while (p->limit < p->max_jobs && now_ms - p->changed_ms >= MR_PRESSURE_RISE_MS) {
        p->limit = p->max_jobs - p->limit > by ? p->limit + by : p->max_jobs;
        p->changed_ms += MR_PRESSURE_RISE_MS;
    }
}
