/* member.h - a member of a consumer group: how it joins, and how it pauses one of its partitions.
 * What intake and follower have in common. Thread: loop. */
#ifndef MR_DISPATCHER_MEMBER_H
#define MR_DISPATCHER_MEMBER_H

#include "base/kafka.h"
#include "base/parts.h"

typedef struct mr_member_conf { /* borrowed while a consumer is opened */
    const mr_kafka_conf *kafka;
    const char *group;
    const char *instance_id; /* static membership; NULL: none */
    const char *assignor;    /* NULL: auto */
    int session_timeout_ms;  /* 0: default */
} mr_member_conf;

/* Reads committed records of topics (NULL-terminated), from the beginning where nothing was
 * committed. Callbacks and their owner are left to fill in. */
mr_kafka_consumer_conf mr_member_consumer(const mr_member_conf *m, const char *const *topics);

/* Pause or resume the partition of a row; calls may repeat, a row that is not assigned is left
 * alone. A failure is logged: the next call tries again. */
void mr_member_pause(mr_kafka_consumer *c, const mr_parts *p, int part, bool paused);
bool mr_member_paused(const mr_kafka_consumer *c, const mr_parts *p, int part);

#endif
