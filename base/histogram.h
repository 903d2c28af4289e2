/* histogram.h - how often a number fell between fixed bounds: the histograms of /metrics.
 *
 * Values are whole numbers: microseconds for what is shown in seconds, else a count. One thread
 * writes, without a lock, a locked instruction or memory of its own; any thread reads. A reader
 * sees each counter as it was at some moment, not all of them at the same one, and none goes back.
 *
 * Bounds are inclusive. Those of requests, tokens and steps are vLLM's, so that a dashboard made
 * for one shows the other (vllm/v1/metrics/loggers.py). */
#ifndef MR_BASE_HISTOGRAM_H
#define MR_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MR_HISTOGRAM_BUCKETS 22
#define MR_HISTOGRAM_SECOND  1000000u /* microseconds */

typedef struct mr_buckets {
    uint32_t per_unit; /* shown is the value divided by it: 1, or MR_HISTOGRAM_SECOND */
    size_t n;
    uint64_t bounds[MR_HISTOGRAM_BUCKETS]; /* [n], ascending */
} mr_buckets;

extern const mr_buckets mr_buckets_first_token; /* time to the first token */
extern const mr_buckets mr_buckets_gap;         /* time between tokens */
extern const mr_buckets mr_buckets_request;     /* stages of a request */
extern const mr_buckets mr_buckets_step;        /* tokens of an engine step */
extern const mr_buckets mr_buckets_tokens;      /* tokens of a request */
extern const mr_buckets mr_buckets_wait;        /* time in a queue: to a day */
extern const mr_buckets mr_buckets_call;        /* a commit, an engine step: 0.5 ms to 30 s */

typedef struct mr_histogram {
    const mr_buckets *buckets;
    _Atomic uint64_t counts[MR_HISTOGRAM_BUCKETS + 1]; /* [buckets->n]: beyond the last bound */
    _Atomic uint64_t sum;
} mr_histogram;

void mr_histogram_init(mr_histogram *h, const mr_buckets *buckets); /* borrowed for good */
void mr_histogram_add(mr_histogram *h, uint64_t value);

#endif
