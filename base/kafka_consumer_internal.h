/* kafka_consumer_internal.h - what the files of the consumer share: kafka_consumer.c, its life;
 * kafka_assign.c; kafka_pause.c; kafka_offsets.c. */
#ifndef MR_BASE_KAFKA_CONSUMER_INTERNAL_H
#define MR_BASE_KAFKA_CONSUMER_INTERNAL_H

#include "base/kafka_internal.h"
#include "base/past.h"

#define MR_KAFKA_MAX_HEADERS 128

struct mr_kafka_consumer {
    mr_kafka_wake wake;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    mr_kafka_consumer_conf conf;              /* callbacks and owner; its texts are not kept */
    rd_kafka_topic_partition_list_t *held;    /* what the owner was told to have */
    rd_kafka_topic_partition_list_t *paused;  /* of held */
    rd_kafka_topic_partition_list_t *waiting; /* assigned by the group, committed offset unknown */
    uint64_t retry_ms;                        /* when to ask again for them */
    mr_past past;                             /* of held, with a group */
    const rd_kafka_topic_partition_list_t *assigning; /* inside on_assign: not yet librdkafka's */
    bool rebalancing;                                 /* inside on_rebalance */
    int depth;                                        /* > 0: inside a callback of ours */
    bool held_up, closing;
    mr_kafka_header headers[MR_KAFKA_MAX_HEADERS];
};

/* ---- kafka_consumer.c ---- */

/* The owner hears it; without on_error it is logged. */
void mr_kafka_tell_error(mr_kafka_consumer *c, mr_status st, const char *text, bool fatal);
/* Tells of a call that failed, in either of librdkafka's two ways; error is freed. */
void mr_kafka_check_group(mr_kafka_consumer *c, const char *what, rd_kafka_error_t *error,
                          rd_kafka_resp_err_t e);

/* ---- kafka_assign.c ---- */

/* Of `from`, those of `what`; both may be one. */
void mr_kafka_list_drop(rd_kafka_topic_partition_list_t *from,
                        const rd_kafka_topic_partition_list_t *what);
/* Takes c->waiting, when their committed offsets are known. */
void mr_kafka_try_assign(mr_kafka_consumer *c);
void mr_kafka_on_rebalance(mr_kafka_consumer *c, rd_kafka_event_t *ev);
/* The log of a held partition is another one, of which `offset` comes next: its owner hears that the
 * partition is lost and comes again, as what it knows of its offsets is void. */
void mr_kafka_begin_anew(mr_kafka_consumer *c, const char *topic, int32_t partition,
                         int64_t offset);

/* ---- kafka_pause.c ---- */

/* Partitions of list that the owner paused before librdkafka knew them. */
void mr_kafka_pause_early(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list);
/* Before the partitions of list go. */
void mr_kafka_end_pauses(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list);

#endif
