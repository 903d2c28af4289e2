/* latency.h - durations and their percentiles, over the last MR_LATENCY_KEEP samples. */
#ifndef MR_CLI_LATENCY_H
#define MR_CLI_LATENCY_H

#include <stddef.h>
#include <stdint.h>

#define MR_LATENCY_KEEP 16384

typedef struct mr_latency {
    uint32_t ms[MR_LATENCY_KEEP]; /* a ring */
    size_t n;                     /* samples ever added */
} mr_latency;

void mr_latency_add(mr_latency *l, uint64_t ms);
/* p of 0..100, nearest rank; 0 without samples. Sorts a copy: not for every sample. */
uint32_t mr_latency_percentile(const mr_latency *l, double p);

#endif
