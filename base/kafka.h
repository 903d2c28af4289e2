/* kafka.h - Kafka for one libuv loop: producer, consumer, topic admin, the embedded broker.
 *
 * The only file of ours that includes rdkafka.h is kafka*.c. librdkafka's own threads touch nothing
 * of ours but uv_async_send; every callback below runs on the loop thread, inside uv_run.
 * All text is UTF-8; a borrowed pointer in a callback is valid until the callback returns. */
#ifndef MR_BASE_KAFKA_H
#define MR_BASE_KAFKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "millrace/error.h"

#define MR_KAFKA_ANY_PARTITION (-1)
#define MR_KAFKA_OFFSET_BEGIN (-2)
#define MR_KAFKA_OFFSET_END (-1)
#define MR_KAFKA_OFFSET_TAIL(n) (-2000 - (n)) /* so many before the end; for mr_kafka_assign */

typedef struct mr_kafka_producer mr_kafka_producer;
typedef struct mr_kafka_consumer mr_kafka_consumer;
typedef struct mr_kafka_mock mr_kafka_mock;

/* What both clients need. brokers: host:port list. extra: properties handed to librdkafka as they are
 * (SASL, TLS), "key=value;key=value"; NULL: none. Borrowed while a client is opened. */
typedef struct mr_kafka_conf {
    const char *brokers;
    const char *client_id;
    const char *extra;
} mr_kafka_conf;

typedef struct mr_kafka_header {
    const char *name;
    const void *value;
    size_t len;
} mr_kafka_header;

typedef struct mr_kafka_tp { /* one partition of one topic */
    const char *topic;
    int32_t partition;
    int64_t offset; /* meaning depends on the call */
    const char *metadata; /* [metadata_len] of a committed offset; NULL: none */
    size_t metadata_len;
} mr_kafka_tp;

typedef struct mr_kafka_msg {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* -1: none */
    const void *key;      /* NULL: none */
    size_t key_len;
    const void *value; /* NULL: tombstone */
    size_t len;
    const mr_kafka_header *headers;
    size_t n_headers;
} mr_kafka_msg;

/* Value of a header, NULL when absent; *len is its length. The last of equal names counts. */
const void *mr_kafka_msg_header(const mr_kafka_msg *m, const char *name, size_t *len);

/* ---- producer: idempotent, acks=all ---- */

/* One call per message handed to send, in any order. status MR_OK: acknowledged by all in-sync
 * replicas, partition and offset are set. */
typedef void mr_kafka_on_delivery(void *owner, void *cookie, mr_status status, const char *err_text,
                                  int32_t partition, int64_t offset);

mr_status mr_kafka_producer_open(mr_kafka_producer **out, uv_loop_t *loop, const mr_kafka_conf *conf,
                                 mr_kafka_on_delivery *cb, void *owner, mr_err *err);
/* Copies key, value, headers. MR_ELIMIT: local queue full, try after a delivery. MR_EINVAL: message
 * too large or topic name bad. cookie comes back in the callback. */
mr_status mr_kafka_send(mr_kafka_producer *p, const char *topic, int32_t partition, const void *key,
                        size_t key_len, const void *value, size_t len, const mr_kafka_header *headers,
                        size_t n_headers, void *cookie, mr_err *err);
/* Learn now who leads the partitions of a topic: else its first record waits for librdkafka's next look,
 * up to a second. Blocks at most timeout_ms; a failure is no error, the record will wait. */
void mr_kafka_warm(mr_kafka_producer *p, const char *topic, int timeout_ms);
/* Handed to send and not yet reported. */
size_t mr_kafka_in_flight(const mr_kafka_producer *p);
/* Blocks: waits until everything is reported, at most timeout_ms; delivery callbacks run inside.
 * Only for shut-down and for the client. MR_ETIMEOUT: something is left. */
mr_status mr_kafka_flush(mr_kafka_producer *p, int timeout_ms);
/* Everything unreported gets its callback with MR_ECANCELED. Handles close on the loop: run it until
 * they are gone before uv_loop_close. NULL is allowed. */
void mr_kafka_producer_close(mr_kafka_producer *p);

/* ---- consumer ---- */

typedef struct mr_kafka_consumer_conf {
    mr_kafka_conf conn;
    const char *group;          /* NULL: no group, use mr_kafka_assign */
    const char *instance_id;    /* static membership; NULL: none */
    const char *strategy;       /* "cooperative-sticky", "range" or "auto"; NULL: auto, the former
                                   where librdkafka's is sound (2.10 and later) */
    const char *const *topics;  /* NULL-terminated; with a group. A name that starts with ^ is a regex */
    bool read_committed;
    int64_t reset_offset;       /* where a partition without a committed offset starts: BEGIN or END */
    int max_poll_interval_ms;   /* 0: 300,000 */
    int session_timeout_ms;     /* a member that was killed gives up its partitions after it; 0: 10,000 */
    int queued_max_kbytes;      /* per consumer; 0: 16,384. A queue that was full is looked after once a
                                   second: more than that does not come in a second */
    int queued_min_messages;    /* per partition, the same way; 0: 10,000 */
    void *owner;
    void (*on_msg)(void *owner, const mr_kafka_msg *m);
    /* Group only; NULL allowed. tp[].offset is the committed offset where consumption starts, or
     * BEGIN/END when there is none; tp[].metadata came with it, borrowed until the return. The
     * consumer (un)assigns by itself after the callback. Both also come, revoke as lost, when the
     * log of a partition begins anew because its topic was deleted and made again. */
    void (*on_assign)(void *owner, const mr_kafka_tp *tp, size_t n);
    void (*on_revoke)(void *owner, const mr_kafka_tp *tp, size_t n, bool lost);
    /* Connection trouble and the like: log it. fatal: nothing more will come; stop. */
    void (*on_error)(void *owner, mr_status status, const char *text, bool fatal);
    void (*on_eof)(void *owner, const char *topic, int32_t partition, int64_t offset); /* NULL allowed */
} mr_kafka_consumer_conf;

mr_status mr_kafka_consumer_open(mr_kafka_consumer **out, uv_loop_t *loop,
                                 const mr_kafka_consumer_conf *conf, mr_err *err);
/* Without a group: read exactly these, from tp[].offset (or BEGIN/END/TAIL). Replaces the former set. */
mr_status mr_kafka_assign(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err);
/* The consumer keeps its own set of paused partitions, so calls may repeat. A paused partition
 * delivers nothing (also not what librdkafka had fetched already: it comes after resume). A pause
 * ends with the assignment. MR_ENOTFOUND: pause of a partition that is not assigned. */
mr_status mr_kafka_pause(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err);
mr_status mr_kafka_resume(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err);
bool mr_kafka_paused(const mr_kafka_consumer *c, const char *topic, int32_t partition);
bool mr_kafka_any_paused(const mr_kafka_consumer *c);
/* The offset behind the last record of a partition, as of its last fetch; -1: not known. */
int64_t mr_kafka_end(const mr_kafka_consumer *c, const char *topic, int32_t partition);
/* While held the consumer delivers nothing of any partition and does not follow its group; what was
 * fetched ahead stays, where a pause throws it away. For moments (well below session_timeout_ms). */
void mr_kafka_hold(mr_kafka_consumer *c, bool hold);
/* Asynchronous; errors reach on_error. tp[].offset: the next offset to read. */
mr_status mr_kafka_commit(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err);
/* Blocks at most timeout_ms; for revocation and shut-down. */
mr_status mr_kafka_commit_sync(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, int timeout_ms,
                               mr_err *err);
/* Committed offsets of the group with their metadata: fills offset (negative: none) and metadata of
 * tp[n]; the texts live in *text, which the caller frees. A consumer that reads committed waits for
 * open transactions on them. Blocks at most timeout_ms. Any thread, while the consumer is open. */
mr_status mr_kafka_committed(mr_kafka_consumer *c, mr_kafka_tp *tp, size_t n, int timeout_ms,
                             char **text, mr_err *err);
/* Leaves the group (on_revoke runs inside for what is held) and closes; bounded by 10 s. */
void mr_kafka_consumer_close(mr_kafka_consumer *c);

/* ---- cluster (blocking; at start and in the client only) ---- */

typedef struct mr_kafka_topic { /* in: wanted topic; out of describe: what is there */
    const char *name;
    int32_t n_partitions;
    const char *const *config; /* "key=value", NULL-terminated; NULL: broker's defaults */
} mr_kafka_topic;

/* Creates what is missing (replication factor: broker's default); existing ones are left alone.
 * The embedded broker has no CreateTopics: there asking for metadata creates the topic. */
mr_status mr_kafka_ensure_topics(const mr_kafka_conf *conf, const mr_kafka_topic *topics, size_t n,
                                 int timeout_ms, mr_err *err);
/* Deletes every topic whose name is `prefix` or begins with it and a dot. */
mr_status mr_kafka_drop_topics(const mr_kafka_conf *conf, const char *prefix, int timeout_ms,
                               mr_err *err);
/* *n_out partitions of a topic. MR_ENOTFOUND: no such topic. MR_EUNAVAIL: no broker answered. */
mr_status mr_kafka_partitions(const mr_kafka_conf *conf, const char *topic, int timeout_ms,
                              int32_t *n_out, mr_err *err);
/* All partitions of a topic, each with the offset that its next record will get: tp[i] for partition i,
 * *n of them; tp[i].topic is the given pointer. MR_ELIMIT: more than cap partitions. */
mr_status mr_kafka_ends(const mr_kafka_conf *conf, const char *topic, int timeout_ms, mr_kafka_tp *tp,
                        size_t cap, size_t *n, mr_err *err);

/* ---- embedded broker: librdkafka's mock cluster, loopback only, nothing survives ---- */

mr_status mr_kafka_mock_open(mr_kafka_mock **out, int n_brokers, int default_partitions, mr_err *err);
/* n_partitions 0: default_partitions. An existing topic is left alone. Topics that a client asks for
 * without this get librdkafka's own four. */
mr_status mr_kafka_mock_topic(mr_kafka_mock *m, const char *topic, int32_t n_partitions, mr_err *err);
const char *mr_kafka_mock_brokers(const mr_kafka_mock *m); /* host:port list; borrowed until close */
void mr_kafka_mock_close(mr_kafka_mock *m);
/* For tests: next_errors[n] are answered to the next requests of api key (rd_kafka protocol number);
 * broker down/up; delay of every response. */
void mr_kafka_mock_fail_next(mr_kafka_mock *m, int api_key, const int *kafka_errors, size_t n);
void mr_kafka_mock_broker_up(mr_kafka_mock *m, bool up);
void mr_kafka_mock_delay(mr_kafka_mock *m, int rtt_ms);

const char *mr_kafka_version(void); /* "librdkafka 2.0.2" */

#endif
