/* feed.h - a topic that every dispatcher reads from its end on, all partitions, without a group:
 * heartbeats, and the beats of other dispatchers. Thread: loop. */
#ifndef MR_DISPATCHER_FEED_H
#define MR_DISPATCHER_FEED_H

#include "base/kafka.h"

/* on_msg and on_error as in mr_kafka_consumer_conf. Blocks for metadata at most timeout_ms. */
typedef struct mr_feed_conf {
    const mr_kafka_conf *kafka;
    const char *topic;
    int timeout_ms;
    void *owner;
    void (*on_msg)(void *owner, const mr_kafka_msg *m);
    void (*on_error)(void *owner, mr_status status, const char *text, bool fatal);
} mr_feed_conf;

mr_status mr_feed_open(mr_kafka_consumer **out, uv_loop_t *loop, const mr_feed_conf *conf,
                       mr_err *err);

#endif
