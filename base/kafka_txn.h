/* kafka_txn.h - what brings a committer's batches through: a producer, and a thread for its calls.
 *
 * One piece of work at a time: the loop gives it, the thread makes the blocking calls that
 * base/txn_plan.h asks for until the verdict is known, and wakes the loop. Between give and take
 * the work and all that it points to is the thread's.
 *
 * Private to kafka_commit.c, kafka_txn.c and kafka_txn_client.c. */
#ifndef MR_BASE_KAFKA_TXN_H
#define MR_BASE_KAFKA_TXN_H

#include <stdatomic.h>

#include "base/commit.h"
#include "base/kafka_internal.h"
#include "base/txn_plan.h"

#define MR_TXN_MAX_TOPICS 1024

/* ---- work ---- */

typedef struct mr_txn_topic { /* what is asked about a topic */
    const char *name;
    int32_t n_partitions; /* answer: 0: no such topic; -1: nobody could say */
} mr_txn_topic;

typedef struct mr_txn_record {
    mr_commit_record out;
    bool acked;       /* mode plain: it is there, from an earlier try */
    bool alone;       /* it must not share a record set: together they were too large */
    mr_status status; /* answer: MR_OK; MR_EINVAL: it will never be taken; else: ask again */
    int64_t offset;   /* answer */
    const char *why;  /* answer, static text */
} mr_txn_record;

typedef struct mr_txn_work { /* questions about topics, or a batch */
    mr_txn_topic *topics;
    size_t n_topics;
    mr_txn_record **records;
    size_t n_records;
    /* [n_tp] offsets with metadata as they shall be, and as they were committed last (offset
     * negative: never): what is read back tells the two apart. */
    mr_kafka_tp *after, *before;
    size_t n_tp;
    rd_kafka_consumer_group_metadata_t *group; /* NULL in mode plain */
    mr_txn_verdict verdict;                    /* answer; OPEN: the thread has ended */
    bool stale;                                /* answer: aborted because the group has changed */
} mr_txn_work;

/* ---- the calls, kafka_txn_client.c; the thread's ---- */

typedef struct mr_txn_client {
    rd_kafka_conf_t *conf;
    char *id; /* NULL: mode plain */
    uint32_t timeout_ms;
    atomic_bool stop;     /* a call that waits for records gives up */
    atomic_uint returned; /* calls that have */

    uv_mutex_t consumer_lock; /* held while the consumer is asked */
    mr_kafka_consumer *consumer;

    rd_kafka_t *rk;
    rd_kafka_topic_t *topics[MR_TXN_MAX_TOPICS]; /* known to rk: their records leave at once */
    size_t n_topics;
    mr_txn_call call;
    bool in_txn;
    uint64_t begun_ms; /* of the transaction */
    mr_err cause;      /* of the last outcome that was not OK */
} mr_txn_client;

mr_status mr_txn_client_open(mr_txn_client *t, const mr_commit_conf *conf, mr_err *err);
/* See mr_kafka_txn_use. Any thread. */
void mr_txn_client_use(mr_txn_client *t, mr_kafka_consumer *consumer);
/* w: the batch; for the calls of one. */
mr_txn_outcome mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w);
/* Answers w->topics: OK or MISCONFIGURED. */
mr_txn_outcome mr_txn_client_look_up(mr_txn_client *t, mr_txn_work *w);
void mr_txn_client_poll(mr_txn_client *t); /* now and then, when idle */
/* Ends the producer and the transaction that is open. No record is touched after it. */
void mr_txn_client_stop(mr_txn_client *t);
void mr_txn_client_close(mr_txn_client *t);

/* ---- the thread, kafka_txn.c; the loop's calls ---- */

typedef struct mr_kafka_txn mr_kafka_txn;

mr_status mr_kafka_txn_open(mr_kafka_txn **out, const mr_commit_conf *conf, uv_async_t *wake,
                            mr_err *err);
/* The consumer that is asked what is committed; NULL: none. Waits for a call on the former one,
 * some seconds at most. */
void mr_kafka_txn_use(mr_kafka_txn *t, mr_kafka_consumer *consumer);
/* One at a time. */
void mr_kafka_txn_give(mr_kafka_txn *t, mr_txn_work *w);
/* The answered work; NULL: not within timeout_ms. */
mr_txn_work *mr_kafka_txn_take(mr_kafka_txn *t, int timeout_ms);
/* Another number with every call that has returned. */
unsigned mr_kafka_txn_progress(mr_kafka_txn *t);
/* The thread has given up for good, and why. */
bool mr_kafka_txn_failed(mr_kafka_txn *t, mr_err *err);
/* Fills what the thread counts. */
void mr_kafka_txn_count(mr_kafka_txn *t, mr_commit_stats *s);
/* Ends the thread and frees t; an open transaction is aborted, work in hand comes back by *w (may
 * be NULL). False: a call did not return within MR_KAFKA_CLOSE_MS; t and its work stay with it. */
bool mr_kafka_txn_close(mr_kafka_txn *t, mr_txn_work **w);

#endif
