/* bench_reader.h - what has become visible in a topic of a measurement: each job once, and how
 * late.
 *
 * Reads committed records without a group, and tells jobs by their key (mr_bench_id). Times are the
 * broker's where both topics have message.timestamp.type=LogAppendTime; "seen" is when a reader on
 * this machine had the record. Thread: loop. */
#ifndef MR_CLI_BENCH_READER_H
#define MR_CLI_BENCH_READER_H

#include <uv.h>

#include "base/kafka.h"
#include "cli/latency.h"

typedef struct mr_bench_reader mr_bench_reader;

typedef enum mr_bench_record { MR_BENCH_BARE, MR_BENCH_WORK, MR_BENCH_RESULT } mr_bench_record;

typedef struct mr_bench_seen {
    uint64_t n, twice, strange; /* different jobs; seen again; none of ours */
    int64_t first_ms, last_ms;  /* broker's time of the first and the newest record */
    mr_latency append, seen;    /* from the append of the job */
} mr_bench_seen;

/* Jobs first .. first+n-1, from the present end of the topic on. Blocks for a moment. */
mr_status mr_bench_reader_open(mr_bench_reader **out, uv_loop_t *loop, const mr_kafka_conf *kafka,
                               const char *topic, mr_bench_record kind, uint64_t first, uint64_t n,
                               mr_err *err);
const mr_bench_seen *mr_bench_reader_seen(const mr_bench_reader *r); /* until close */
void mr_bench_reader_close(mr_bench_reader *r);                      /* NULL is allowed */

#endif
