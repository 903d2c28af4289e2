/* heartbeat.h - what room this worker has, told to the dispatchers over millrace.workers.
 *
 * Sent every period_ms, and sooner after a change, at most every MR_HEARTBEAT_MIN_MS. Owner:
 * caller. Thread: loop. */
#ifndef MR_WORKER_HEARTBEAT_H
#define MR_WORKER_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/kafka.h"
#include "millrace/job.h"

#define MR_HEARTBEAT_MIN_MS 20

typedef struct mr_heartbeats mr_heartbeats;

typedef struct mr_heartbeat_conf {
    mr_kafka_producer *producer; /* its delivery callback gets the cookie NULL */
    const char *topic, *worker;
    uint64_t period_ms;
    void *owner;
    /* Fill in all but sent_ms; parts may be borrowed until the next call. */
    void (*on_fill)(void *owner, mr_heartbeat *h);
} mr_heartbeat_conf;

mr_status mr_heartbeat_open(mr_heartbeats **out, uv_loop_t *loop, const mr_heartbeat_conf *conf,
                            mr_err *err);
/* Something changed: the next one comes soon. */
void mr_heartbeat_touch(mr_heartbeats *h);
/* From the next one on. */
void mr_heartbeat_set_period(mr_heartbeats *h, uint64_t period_ms);
void mr_heartbeat_send(mr_heartbeats *h);
void mr_heartbeat_close(mr_heartbeats *h); /* NULL is allowed; the timer closes on the loop */

#endif
