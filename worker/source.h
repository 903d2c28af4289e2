/* source.h - work records in, one partition at a time held back when there is no room.
 *
 * Owner: caller. Thread: loop. */
#ifndef MR_WORKER_SOURCE_H
#define MR_WORKER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/kafka.h"
#include "millrace/job.h"

#define MR_SOURCE_MAX_PARTS 4096 /* partitions of a work topic */

typedef struct mr_source mr_source;

typedef struct mr_source_conf {
    mr_kafka_conf kafka;
    const char *topic, *group;
    const char *instance_id; /* static membership; NULL: none */
    const char *assignor;    /* see mr_kafka_consumer_conf.strategy */
    int session_timeout_ms;
    void *owner;
    /* A record of an assigned partition. MR_OK: taken, for good. MR_ELIMIT: no room; the source
     * keeps it, pauses the partition, and offers it again at mr_source_retry. pressing: it, or one
     * behind it that it keeps waiting, is. */
    mr_status (*on_record)(void *owner, const mr_kafka_msg *m, bool pressing);
    /* This record, for which there is no room, should not wait for it. Asked once. */
    bool (*is_pressing)(void *owner, const mr_kafka_msg *m);
    /* A partition comes (its offset: the first one, negative when not known) or goes. */
    mr_status (*on_assign)(void *owner, const mr_kafka_tp *tp, mr_err *err);
    void (*on_revoke)(void *owner, const int32_t *partitions, size_t n, bool lost);
    void (*on_change)(void *owner); /* positions or partitions are others now */
    void (*on_fatal)(void *owner, mr_status status, const char *text);
} mr_source_conf;

mr_status mr_source_open(mr_source **out, uv_loop_t *loop, const mr_source_conf *conf, mr_err *err);
mr_kafka_consumer *mr_source_consumer(const mr_source *s);
/* There may be room again: offer what was held back, resume what can be resumed. */
void mr_source_retry(mr_source *s);
/* Take nothing any more; the group is kept until close. */
void mr_source_stop(mr_source *s);
/* True once the group has given an answer, be it no partition. */
bool mr_source_assigned(const mr_source *s);
size_t mr_source_n_parts(const mr_source *s);
/* Partitions with a known position, at most cap; returns how many. */
size_t mr_source_positions(const mr_source *s, struct mr_heartbeat_part *out, size_t cap);
/* Leaves the group: on_revoke comes for what is held. NULL is allowed. */
void mr_source_close(mr_source *s);

#endif
