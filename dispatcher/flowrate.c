/* flowrate.c - see flowrate.h. */
#include "dispatcher/flowrate.h"

enum { STEP_MS = 1000 };

void mr_flowrate_note(mr_flowrate *f, uint64_t total, uint64_t now_ms) {
    if (f->n > 0 && now_ms - f->points[f->newest].at_ms < STEP_MS) return;
    f->newest = (f->newest + 1) % MR_FLOWRATE_POINTS;
    f->points[f->newest].at_ms = now_ms;
    f->points[f->newest].total = total;
    if (f->n < MR_FLOWRATE_POINTS) f->n++;
}

double mr_flowrate_per_s(const mr_flowrate *f, uint64_t total, uint64_t now_ms) {
    for (size_t i = f->n; i > 0; i--) { /* from the oldest on */
        const size_t at = (f->newest + MR_FLOWRATE_POINTS + 1 - i) % MR_FLOWRATE_POINTS;
        const uint64_t age_ms = now_ms - f->points[at].at_ms;
        if (age_ms > MR_FLOWRATE_MS && i > 1) continue;
        if (age_ms < STEP_MS || total < f->points[at].total) return 0;
        return (double)(total - f->points[at].total) * 1000 / (double)age_ms;
    }
    return 0;
}
