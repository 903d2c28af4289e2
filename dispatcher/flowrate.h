/* flowrate.h - how fast a counter has grown over the last minute.
 *
 * Keeps what the counter was at times a second or more apart; the rate is its growth since the
 * oldest of these that is at most MR_FLOWRATE_MS old, so a change is told in full after that time.
 * Pure: now_ms is any clock that does not go back. */
#ifndef MR_DISPATCHER_FLOWRATE_H
#define MR_DISPATCHER_FLOWRATE_H

#include <stddef.h>
#include <stdint.h>

#define MR_FLOWRATE_MS     60000
#define MR_FLOWRATE_POINTS 61

typedef struct mr_flowrate { /* zeroed: nothing is known */
    struct {
        uint64_t at_ms, total;
    } points[MR_FLOWRATE_POINTS];
    size_t newest, n;
} mr_flowrate;

/* The counter says total now. Call about every second, or more often. */
void mr_flowrate_note(mr_flowrate *f, uint64_t total, uint64_t now_ms);
/* Per second, with total being what the counter says now. 0 until a second has passed since the
 * first note, and while the counter is below what it was. */
double mr_flowrate_per_s(const mr_flowrate *f, uint64_t total, uint64_t now_ms);

#endif
