/* metrics.h - counters and histograms of a worker, and their Prometheus text.
 *
 * Pure: numbers in, text out. What other modules count themselves (runner, stream, committer) is
 * handed over when the text is made. Thread: loop. */
#ifndef MR_WORKER_METRICS_H
#define MR_WORKER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/commit.h"
#include "worker/job.h"
#include "worker/runner.h"
#include "worker/stream.h"

#define MR_HISTOGRAM_BUCKETS 16
#define MR_N_STATUSES        (MR_STATUS_EXPIRED + 1)

typedef struct mr_histogram {
    uint64_t counts[MR_HISTOGRAM_BUCKETS + 1]; /* the last: beyond the largest bound */
    uint64_t sum_ms;
} mr_histogram;

typedef struct mr_metrics {
    mr_histogram first_token, inter_token, e2e, queue, prefill, decode;
    uint64_t jobs[MR_N_STATUSES], jobs_dropped, records, duplicates, poisoned;
    uint64_t returns[MR_ATTEMPT_NO_FIT + 1]; /* jobs sent back, by outcome of the attempt */
} mr_metrics;

typedef struct mr_metrics_input { /* state of the moment */
    const char *model;
    const mr_runner_model *engine; /* NULL: the model is not loaded */
    mr_runner_stats runner;
    mr_stream_stats stream;
    mr_commit_stats commit;
    uint32_t jobs_in_hand, job_slots;
    size_t partitions;
    bool suspects; /* a job runs alone, or waits to */
} mr_metrics_input;

void mr_histogram_add(mr_histogram *h, uint64_t ms);
/* A token was generated so long after the one before it. */
void mr_metrics_token(mr_metrics *m, uint64_t gap_ms);
/* A job has ended: status and stage times; or its attempt has, and it was sent back. */
void mr_metrics_job(mr_metrics *m, const mr_job *j);
/* malloc'd text, *len bytes; NULL: out of memory. */
char *mr_metrics_text(const mr_metrics *m, const mr_metrics_input *in, size_t *len);

#endif
