/* vitals.h - the numbers that a dispatcher tells of itself, in its beats and metrics: what went
 * through each lane and how fast, which models and tenants wait.
 *
 * What has left a lane is what entered it less what is still there, whichever way it left. Bound:
 * MR_VITALS_TENANTS tenants have a rate, those seen last. Pure: now_ms is monotonic. */
#ifndef MR_DISPATCHER_VITALS_H
#define MR_DISPATCHER_VITALS_H

#include "dispatcher/policy.h"
#include "dispatcher/window.h"

#define MR_VITALS_TENANTS (2 * MR_BEAT_MAX_TENANTS)

typedef struct mr_vitals mr_vitals;

/* Both are borrowed until close. */
mr_status mr_vitals_open(mr_vitals **out, const mr_window *window, mr_policy *policy, mr_err *err);
void mr_vitals_close(mr_vitals *v); /* NULL is allowed */

/* A job has entered this lane of the window. Returns its number there, from 1. */
uint64_t mr_vitals_entered(mr_vitals *v, mr_priority lane);
mr_beat_lane mr_vitals_lane(const mr_vitals *v, mr_priority lane, uint64_t now_ms);
/* Lanes, models and tenants of a beat; what it points to lives until the next call. Call at least
 * once a second: the rates come from it. */
void mr_vitals_fill(mr_vitals *v, mr_beat *b, uint64_t now_ms);

#endif
