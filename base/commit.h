/* commit.h - outputs and offsets of one consumer, committed together.
 *
 * Every few milliseconds all that has ended since goes out as one batch: the records, and for each
 * partition the watermark with its bitmap and marks. Mode exactly-once: the batch is one Kafka
 * transaction, bound to the consumer's generation, so a zombie commits nothing, and a batch whose
 * outcome is unknown is looked up before anything is sent again. Mode plain: records first, offsets
 * when all are acknowledged; a crash between the two repeats the records.
 *
 * Calls that block are made by a thread of its own; the loop hands batches over and hears of them.
 * A batch that did not get through is sent again, however long the brokers are away; records of a
 * partition that was revoked meanwhile are left out and reported MR_ECANCELED.
 *
 * Owner: caller, open to close. Thread: loop; callbacks too, never inside send or mark.
 * Limits: MR_COMMIT_MAX_RECORDS and MR_COMMIT_MAX_BYTES waiting, then send says MR_ELIMIT. */
#ifndef MR_BASE_COMMIT_H
#define MR_BASE_COMMIT_H

#include <uv.h>

#include "base/kafka.h"
#include "base/metric.h"
#include "base/parts.h"

#define MR_COMMIT_MAX_RECORDS 16384
#define MR_COMMIT_RESERVE     2048        /* of them kept for who cannot stop at once; see full() */
#define MR_COMMIT_MAX_BYTES   (64u << 20) /* of keys, values and headers */
#define MR_COMMIT_RESERVE_BYTES (32u << 20) /* on top of them, for the same */
#define MR_COMMIT_MAX_HEADERS 12

typedef struct mr_commit mr_commit;

typedef struct mr_commit_record { /* all of it is copied */
    const char *topic;
    int32_t partition; /* or MR_KAFKA_ANY_PARTITION */
    const void *key;   /* NULL: none */
    size_t key_len;
    const void *value;
    size_t len;
    const mr_kafka_header *headers;
    size_t n_headers;
} mr_commit_record;

typedef struct mr_commit_conf {
    mr_kafka_conf kafka;          /* texts are copied */
    const char *transactional_id; /* NULL: mode plain */
    uint32_t linger_ms;           /* a batch leaves so long after its first item, 1..1000 */
    uint32_t transaction_timeout_ms;
    size_t window; /* offsets a partition may run ahead of its oldest unfinished one */
    void *owner;
    /* The process must end: it commits no more. text names cause and, if one helps, the setting. */
    void (*on_fatal)(void *owner, mr_status status, const char *text);
} mr_commit_conf;

typedef struct mr_commit_stats {
    uint64_t records, batches, aborts, rebuilds, unknown, found_committed, retries;
    size_t waiting, waiting_bytes; /* records not yet decided */
    size_t unfinished;             /* offsets begun, not finished */
    uint64_t last_batch_us;        /* from leaving the loop to its verdict */
    mr_histogram took;             /* the same of all batches */
} mr_commit_stats;

/* Rows of a view that has an mr_commit_stats as this member; see metric.h. */
#define MR_COMMIT_ROWS(view, member)                                                               \
    {.name = "commit_records_total", .kind = MR_METRIC_COUNTER,                                    \
     MR_METRIC_AT(view, member.records), .help = "Records committed."},                            \
    {.name = "commit_batches_total", .kind = MR_METRIC_COUNTER,                                    \
     MR_METRIC_AT(view, member.batches), .help = "Batches of records and offsets committed."},     \
    {.name = "commit_aborts_total", .kind = MR_METRIC_COUNTER, MR_METRIC_AT(view, member.aborts),  \
     .help = "Batches that were aborted and formed anew."},                                        \
    {.name = "commit_rebuilds_total", .kind = MR_METRIC_COUNTER,                                   \
     MR_METRIC_AT(view, member.rebuilds), .help = "Producers made after one failed for good."},    \
    {.name = "commit_unknown_total", .kind = MR_METRIC_COUNTER,                                    \
     MR_METRIC_AT(view, member.unknown), .help = "Commits whose outcome had to be looked up."},    \
    {.name = "commit_waiting_records", .kind = MR_METRIC_GAUGE,                                    \
     MR_METRIC_AT(view, member.waiting), .help = "Records that are not committed yet."},           \
    {.name = "commit_unfinished_offsets", .kind = MR_METRIC_GAUGE,                                 \
     MR_METRIC_AT(view, member.unfinished), .help = "Offsets read that are not finished."},        \
    {.name = "commit_seconds", .kind = MR_METRIC_HISTOGRAM, MR_METRIC_AT(view, member.took),       \
     .help = "From handing over a batch to knowing that it is committed."}

/* How an item ended. MR_OK: committed; offset: of its (first) record. MR_ECANCELED: its partition
 * was revoked, or the committer was closed: somebody else does the job again. MR_EINVAL: the
 * brokers will never take a record of it (too large): the offset is NOT finished, send something
 * else for the same origin, soon: its partition waits for that. MR_ENOTFOUND: there is no such topic
 * or partition now: the same, but nothing waits. */
typedef void mr_commit_done(void *owner, void *arg, mr_status status, const char *why,
                            int64_t offset);

mr_status mr_commit_open(mr_commit **out, uv_loop_t *loop, const mr_commit_conf *conf, mr_err *err);
/* The consumer whose offsets are committed; NULL: none any more (close it after this). */
void mr_commit_use(mr_commit *c, mr_kafka_consumer *consumer);
/* The rows of the partitions: for find, begin, origin, full, deaths ... ; finish, mark and unmark
 * go through the calls below. */
mr_parts *mr_commit_parts(mr_commit *c);

/* For the consumer's on_assign and on_revoke. assign logs metadata that it refuses. revoke: flush
 * before it, unless the partition is lost; items of it that wait are reported MR_ECANCELED. */
mr_status mr_commit_assign(mr_commit *c, const mr_kafka_tp *tp, mr_err *err);
void mr_commit_revoke(mr_commit *c, const char *topic, int32_t partition);

/* The record(s) that answer the input at `at`: they become visible together with its offset, all or
 * nothing. n_records 0: it needs no answer. MR_ELIMIT: full, done will not be called. MR_EINVAL: a
 * record is larger than a record may be, or its topic name is bad: the same. MR_ECANCELED: the
 * partition was revoked since. */
mr_status mr_commit_send(mr_commit *c, mr_origin at, const mr_commit_record *records,
                         size_t n_records, mr_commit_done *done, void *owner, void *arg,
                         mr_err *err);
/* The job at `at` is about to run: done(MR_OK) once a commit says so. MR_ELIMIT: too many marks,
 * or full. MR_EINVAL: not pending, or its partition was revoked since. */
mr_status mr_commit_mark(mr_commit *c, mr_origin at, mr_commit_done *done, void *owner, void *arg);
/* It stopped in good order and is left to another owner. began: see offsets.h. */
void mr_commit_unmark(mr_commit *c, mr_origin at, bool began);

/* There is no memory to give an offset that was begun its answer: it stays open, so the process must
 * end in good order, and who starts next does it. Calls on_fatal with MR_ENOMEM, inside. what: one
 * word or two for the text. */
void mr_commit_lost(mr_commit *c, const char *what);

/* Bring nothing more that can wait; and: what stopped should not begin again. */
bool mr_commit_full(const mr_commit *c);
bool mr_commit_busy(const mr_commit *c);
/* Blocks at most timeout_ms until all that was sent, marked or unmarked so far is decided; done
 * callbacks run inside. For revocation and shut-down. MR_ETIMEOUT: something is left. */
mr_status mr_commit_flush(mr_commit *c, int timeout_ms);
/* A topic that records will soon go to: known beforehand, the first of them does not wait. */
void mr_commit_warm(mr_commit *c, const char *topic);
mr_commit_stats mr_commit_get_stats(const mr_commit *c);
/* What is not decided is reported MR_ECANCELED inside; an open transaction is aborted. Joins the
 * thread, bounded by 10 s. Handles close on the loop. NULL is allowed. */
void mr_commit_close(mr_commit *c);

#endif
