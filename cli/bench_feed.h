/* bench_feed.h - jobs of one size for a measurement: as fast as the brokers take them, or at a
 * rate.
 *
 * Job k has the id that mr_bench_id(k) makes, so who reads it anywhere on its way knows which it
 * is. The texts are made of words and differ, so that compression has about the work of real
 * prompts. Bounds: what the producer of base/kafka.h queues. Thread: loop. */
#ifndef MR_CLI_BENCH_FEED_H
#define MR_CLI_BENCH_FEED_H

#include <uv.h>

#include "base/kafka.h"
#include "millrace/job.h"

typedef struct mr_bench_feed mr_bench_feed;

typedef struct mr_bench_feed_conf {
    mr_kafka_conf kafka; /* texts must outlive the feed, as the next two */
    const char *topic;   /* of n_partitions, which take turns */
    const char *model;
    int32_t n_partitions;
    size_t bytes; /* of a record's value; at least MR_BENCH_MIN_BYTES */
} mr_bench_feed_conf;

#define MR_BENCH_MIN_BYTES 256

void mr_bench_id(char id[MR_JOB_ID_LEN + 1], uint64_t k);
/* Reads what mr_bench_id wrote; false: another id. */
bool mr_bench_number(const char *id, size_t len, uint64_t *k);

mr_status mr_bench_feed_open(mr_bench_feed **out, uv_loop_t *loop, const mr_bench_feed_conf *conf,
                             mr_err *err);
/* Jobs first .. first+n-1, per_s of them a second; 0: as fast as they are taken. */
void mr_bench_feed_start(mr_bench_feed *f, uint64_t first, uint64_t n, double per_s);
/* All of the last start are acknowledged. */
bool mr_bench_feed_done(const mr_bench_feed *f);
/* Records that the brokers refused, and why the last one was. */
uint64_t mr_bench_feed_failed(const mr_bench_feed *f, const char **why);
void mr_bench_feed_close(mr_bench_feed *f); /* NULL is allowed; handles close on the loop */

#endif
