/* commit.h - results to Kafka, then the offsets of the jobs that they answer.
 *
 * An offset counts as finished only when the record that answers its job has been acknowledged, so
 * a job is lost by nobody's crash: at worst it runs again. Owner: caller. Thread: loop. */
#ifndef MR_WORKER_COMMIT_H
#define MR_WORKER_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/kafka.h"
#include "worker/job.h"

#define MR_COMMIT_MS         100  /* a moved watermark is committed within this time */
#define MR_COMMIT_MAX_PARTS  4096 /* partitions of a work topic */
#define MR_COMMIT_MAX_TRIES  20   /* of one record; then the producer is held to be broken */
#define MR_COMMIT_BACKOFF_MS 5000 /* longest pause between two tries */

typedef struct mr_commit mr_commit;

typedef struct mr_commit_conf {
    mr_kafka_conf kafka;
    const char *results_topic; /* of records that name no topic of their own */
    const char *work_topic;
    const char *model, *worker;
    size_t window; /* offsets a partition may run ahead of its oldest unfinished one */
    void *owner;
    /* The record of j is acknowledged and its offset finished: the slot may be freed. */
    void (*on_done)(void *owner, mr_job *j);
    void (*on_fatal)(void *owner, mr_status status, const char *text);
} mr_commit_conf;

typedef struct mr_commit_stats {
    uint64_t records, retries, commits;
    size_t unfinished; /* offsets begun, not finished */
} mr_commit_stats;

mr_status mr_commit_open(mr_commit **out, uv_loop_t *loop, const mr_commit_conf *conf, mr_err *err);
/* The consumer that watermarks are committed through; NULL: none any more. */
void mr_commit_use(mr_commit *c, mr_kafka_consumer *consumer);
/* For records that nobody waits for (heartbeats): cookie is NULL there. */
mr_kafka_producer *mr_commit_producer(const mr_commit *c);

/* A partition is ours from now on. next: first offset that will come; negative: not known yet. */
mr_status mr_commit_assign(mr_commit *c, int32_t partition, int64_t next, mr_err *err);
/* Not ours any more; what was finished must have been committed before (mr_commit_now). */
void mr_commit_revoke(mr_commit *c, int32_t partition);
/* A record was delivered. MR_ELIMIT: the window is full, hold it back. MR_EINVAL: it is known, skip
 * it. *epoch tells the partition's jobs from those of an earlier time that it was ours. */
mr_status mr_commit_begin(mr_commit *c, int32_t partition, int64_t offset, uint32_t *epoch);
/* The record is done with; ignored when the partition has another epoch by now. */
void mr_commit_finish(mr_commit *c, int32_t partition, uint32_t epoch, int64_t offset);

/* Produce j->record, a result keyed by its id or what record_topic names; on_done follows. The job
 * stays where it is until then. */
void mr_commit_send(mr_commit *c, mr_job *j);
/* Commit all watermarks and wait for it, at most timeout_ms. */
void mr_commit_now(mr_commit *c, int timeout_ms);
mr_commit_stats mr_commit_get_stats(const mr_commit *c);
/* Waits at most timeout_ms for records under way; on_done is not called any more. Handles close on
 * the loop. NULL is allowed. */
void mr_commit_close(mr_commit *c, int timeout_ms);

#endif
