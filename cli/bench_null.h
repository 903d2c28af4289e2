/* bench_null.h - a worker without an engine, so that a measurement shows everything but the engine.
 *
 * It says hello like a worker (heartbeats with partitions, positions and free slots), takes work
 * records in a group and answers each with a short result; result and offset become visible in one
 * transaction, as with a worker. Or it only says hello, with room for everything, and takes
 * nothing: then a dispatcher releases as fast as it can. Thread: loop. */
#ifndef MR_CLI_BENCH_NULL_H
#define MR_CLI_BENCH_NULL_H

#include <uv.h>

#include "base/kafka.h"

typedef struct mr_bench_null mr_bench_null;

#define MR_BENCH_MAX_SLOTS 8192

typedef struct mr_bench_null_conf { /* texts must outlive it */
    mr_kafka_conf kafka;
    const char *model, *worker;
    const char *workers_topic, *work_topic, *results_topic;
    const char *group;    /* also its transactional.id; NULL: only say hello */
    int32_t n_partitions; /* of the work topic */
    uint32_t slots;       /* at most MR_BENCH_MAX_SLOTS */
    double answers_per_s; /* 0: at once */
    uint32_t commit_ms;
} mr_bench_null_conf;

mr_status mr_bench_null_open(mr_bench_null **out, uv_loop_t *loop, const mr_bench_null_conf *conf,
                             mr_err *err);
/* Takes nothing more, and says good-bye. */
void mr_bench_null_leave(mr_bench_null *w);
/* Why it can no longer go on; NULL: it can. */
const char *mr_bench_null_failed(const mr_bench_null *w);
void mr_bench_null_close(mr_bench_null *w); /* NULL is allowed; handles close on the loop */

#endif
