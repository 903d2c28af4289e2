/* latency.c - see latency.h. */
#include "cli/latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mr_latency_add(mr_latency *l, uint64_t ms) {
    l->ms[l->n++ % MR_LATENCY_KEEP] = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static int by_size(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

uint32_t mr_latency_percentile(const mr_latency *l, double p) {
    const size_t n = l->n < MR_LATENCY_KEEP ? l->n : MR_LATENCY_KEEP;
    uint32_t *sorted = n ? malloc(n * sizeof *sorted) : NULL;
    if (!sorted) return 0;
    memcpy(sorted, l->ms, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    size_t rank = (size_t)ceil(p / 100 * (double)n);
    rank = rank < 1 ? 1 : rank > n ? n : rank;
    const uint32_t ms = sorted[rank - 1];
    free(sorted);
    return ms;
}
