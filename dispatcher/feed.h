/* feed.h - a topic that every dispatcher reads from its end on, all partitions, without a group:
 * heartbeats and cancels. Thread: loop. */
#ifndef MR_DISPATCHER_FEED_H
#define MR_DISPATCHER_FEED_H

#include "base/kafka.h"

/* Blocks for metadata at most timeout_ms. on_msg as in mr_kafka_consumer_conf. */
mr_status mr_feed_open(mr_kafka_consumer **out, uv_loop_t *loop, const mr_kafka_conf *conf,
                       const char *topic, int timeout_ms, void *owner,
                       void (*on_msg)(void *owner, const mr_kafka_msg *m), mr_err *err);

#endif
