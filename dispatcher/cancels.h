/* cancels.h - the control topic: every dispatcher reads all of it, without a group, and from some
 * way back, so that a cancel survives a restart. Thread: loop. */
#ifndef MR_DISPATCHER_CANCELS_H
#define MR_DISPATCHER_CANCELS_H

#include "base/kafka.h"

typedef struct mr_cancels mr_cancels;

typedef struct mr_cancels_conf {
    const mr_kafka_conf *kafka;
    const char *topic;
    int timeout_ms; /* for metadata, at open */
    void *owner;
    void (*on_cancel)(void *owner, const char *job_id);
    void (*on_fatal)(void *owner, const char *text); /* nothing more will come: stop */
} mr_cancels_conf;

/* Reads from the newest MR_RECENT_MAX records on, shared out among the partitions. Blocks for
 * metadata. */
mr_status mr_cancels_open(mr_cancels **out, uv_loop_t *loop, const mr_cancels_conf *conf,
                          mr_err *err);
/* All that stood there at the open has been read. */
bool mr_cancels_caught_up(const mr_cancels *c);
void mr_cancels_close(mr_cancels *c); /* NULL is allowed */

#endif
