/* metrics.h - a worker's numbers in Prometheus text, from one table; names as vLLM's behind our
 * prefix.
 *
 * What other modules count themselves (runner, stream, committer) is handed over when the text is
 * made. The engine thread's numbers are atomics and histograms of the runner that it alone writes;
 * it neither locks nor waits for a scrape. Thread: loop. */
#ifndef MR_WORKER_METRICS_H
#define MR_WORKER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/commit.h"
#include "base/otlp.h"
#include "base/process.h"
#include "worker/gpu.h"
#include "worker/job.h"
#include "worker/runner.h"
#include "worker/stream.h"

#define MR_N_STATUSES (MR_STATUS_EXPIRED + 1)

typedef enum mr_finish { /* vLLM's reasons */
    MR_FINISH_STOP,
    MR_FINISH_LENGTH,
    MR_FINISH_ABORT, /* cancelled or expired */
    MR_FINISH_ERROR,
    MR_FINISH_N
} mr_finish;

typedef struct mr_metrics {
    mr_histogram first_token, gap, e2e, queue, prefill, decode, inference, per_token;
    mr_histogram prompt_tokens, generation_tokens, max_tokens;
    uint64_t jobs[MR_N_STATUSES], jobs_dropped, records, duplicates, poisoned;
    uint64_t returns[MR_ATTEMPT_NO_FIT + 1]; /* jobs sent back, by outcome of the attempt */
    uint64_t finished[MR_FINISH_N];
    uint64_t wasted_tokens; /* computed again */
} mr_metrics;

typedef struct mr_metrics_input { /* state of the moment */
    const char *model;
    bool vllm;                     /* also under vLLM's names */
    const mr_runner_model *engine; /* NULL: the model is not loaded */
    const mr_runner_histograms *steps;
    mr_process *process;
    mr_gpu *gpu; /* NULL: none */
    mr_runner_stats runner;
    mr_stream_stats stream;
    mr_commit_stats commit;
    mr_otlp_stats spans;
    uint64_t jobs_in_hand, job_slots, partitions;
    bool suspects; /* a job runs alone, or waits to */
} mr_metrics_input;

void mr_metrics_init(mr_metrics *m);
/* A token was generated so long after the one before it. */
void mr_metrics_token(mr_metrics *m, uint64_t gap_ms);
/* A job has ended: status and stage times; or its attempt has, and it was sent back. */
void mr_metrics_job(mr_metrics *m, const mr_job *j);
/* malloc'd text, *len bytes; NULL: out of memory. */
char *mr_worker_metrics(const mr_metrics *m, const mr_metrics_input *in, size_t *len);
/* The table, for docs/METRICS.md. */
const mr_metric *mr_worker_rows(size_t *n);

#endif
