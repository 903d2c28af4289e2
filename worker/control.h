/* control.h - cancel requests from millrace.control: every worker reads all partitions from the
 * end.
 *
 * Owner: caller. Thread: loop. */
#ifndef MR_WORKER_CONTROL_H
#define MR_WORKER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/kafka.h"

typedef struct mr_control mr_control;

typedef struct mr_control_conf {
    mr_kafka_conf kafka;
    const char *topic;
    int32_t n_partitions;
    void *owner;
    void (*on_cancel)(void *owner, const char *job_id);
} mr_control_conf;

mr_status mr_control_open(mr_control **out, uv_loop_t *loop, const mr_control_conf *conf,
                          mr_err *err);
/* True when the job was cancelled and the request is not forgotten yet. */
bool mr_control_cancelled(const mr_control *c, const char *job_id);
void mr_control_close(mr_control *c); /* NULL is allowed */

#endif
