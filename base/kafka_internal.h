/* kafka_internal.h - what the files kafka*.c share: configuration, error mapping, waking the loop.
 *
 * Nothing outside kafka*.c includes this file, or rdkafka.h. */
#ifndef MR_BASE_KAFKA_INTERNAL_H
#define MR_BASE_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "base/kafka.h"

#define MR_KAFKA_CLOSE_MS      10000     /* no close takes longer */
#define MR_KAFKA_TICK_MS       1000      /* safety timer, should a wake-up ever get lost */
#define MR_KAFKA_MESSAGE_BYTES "1048576" /* Kafka's own default limit of a record batch */

/* ---- kafka.c ---- */

/* Properties of both clients, the caller's own ones, then conf->extra, which wins. */
typedef struct mr_kafka_prop {
    const char *name, *value;
} mr_kafka_prop;
mr_status mr_kafka_conf_new(rd_kafka_conf_t **out, const mr_kafka_conf *conf,
                            const mr_kafka_prop *props, size_t n_props, mr_err *err);
/* Takes over rk_conf, also on failure. */
mr_status mr_kafka_client_new(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *rk_conf,
                              mr_err *err);
mr_status mr_kafka_status(rd_kafka_resp_err_t e);
bool mr_kafka_topic_ok(const char *topic);
/* mr_err from a librdkafka error object, which is freed. */
mr_status mr_kafka_fail_error(rd_kafka_error_t *error, const char *what, mr_err *err);
/* *out is NULL for none; else the caller's until producev takes it. */
mr_status mr_kafka_headers_new(rd_kafka_headers_t **out, const mr_kafka_header *headers, size_t n,
                               mr_err *err);

/* ---- kafka_offsets.c and kafka_assign.c, for the committer ---- */

/* A copy with offsets and metadata; to be destroyed. NULL: no memory for metadata. */
rd_kafka_topic_partition_list_t *mr_kafka_list_of(const mr_kafka_tp *tp, size_t n);
/* What binds a transaction to the group as it is now; NULL: the group does not count us in. To be
 * destroyed. Loop. */
rd_kafka_consumer_group_metadata_t *mr_kafka_generation(const mr_kafka_consumer *c);
/* False inside a cooperative rebalance, where librdkafka may lose the assignment over a commit. */
bool mr_kafka_may_commit(const mr_kafka_consumer *c);

/* ---- kafka_tsan.c ---- */
void mr_kafka_tsan_link(void);

/* ---- waking the loop, kafka.c ---- */

/* How librdkafka's threads reach the loop: its queue's callback does one uv_async_send and nothing
 * else. It fires when the queue turns from empty to non-empty, so serve() must empty the queue or
 * say true to be called again on the next turn. */
typedef struct mr_kafka_wake {
    uv_async_t async;
    uv_timer_t tick;
    int n_open; /* handles whose close callback has not run */
    rd_kafka_queue_t *queue;
    bool (*serve)(void *owner);
    void (*gone)(void *owner);
    void *owner;
} mr_kafka_wake;

/* queue: watched until unwatch. On failure nothing is left behind. */
mr_status mr_kafka_wake_open(mr_kafka_wake *w, uv_loop_t *loop, rd_kafka_queue_t *queue,
                             bool (*serve)(void *owner), void *owner, mr_err *err);
/* Another queue takes the place of the former (whose client is gone), or NULL: none for now. */
void mr_kafka_wake_watch(mr_kafka_wake *w, rd_kafka_queue_t *queue);
/* gone() is called from the loop when both handles are closed; it may free w. The queue must have
 * been unwatched (watch NULL) before. */
void mr_kafka_wake_close(mr_kafka_wake *w, void (*gone)(void *owner));

#endif
