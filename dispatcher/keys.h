/* keys.h - which job has which idempotency key: the same tenant and key mean the same job.
 *
 * The authority is the compacted topic <prefix>.keys: key `<tenant>\0<idempotency key>`, value
 * {"job_id","time_ms"}. A job with a key is first sent on to <prefix>.keyed, to the partition that
 * its key hashes to. Who owns that partition has read the same partition of the index up to its
 * end, and decides alone: new, then index record and job become visible in one transaction; or
 * taken. Hence both topics have the same number of partitions, and it must not change while keys
 * live.
 *
 * "Its end" is the high watermark at the time of the assignment, markers of unfinished transactions
 * included: what an earlier owner committed late is behind none of it.
 *
 * Bounds: MR_KEYS_MAX keys in memory, the oldest are forgotten first; keys older than the ttl are
 * forgotten, too. See keys_table.h for what a key costs. Measured on two cores, 16 partitions: the
 * index of 100,000 keys is read in 1.2 s, that of a million in 9 s. Thread: loop. */
#ifndef MR_DISPATCHER_KEYS_H
#define MR_DISPATCHER_KEYS_H

#include <uv.h>

#include "base/arena.h"
#include "base/kafka.h"
#include "millrace/job.h"

#define MR_KEYS_MAX            1000000
#define MR_KEYS_MAX_PARTITIONS 4096

typedef struct mr_keys mr_keys;

typedef struct mr_keys_conf {
    const mr_kafka_conf *kafka; /* kafka and topic: borrowed until close */
    const char *topic;          /* the index */
    int32_t n_partitions;       /* as mr_keys_partitions says */
    uint64_t ttl_ms;
    bool plain; /* a commit is no transaction, see mr_keys_ask */
    void *owner;
    void (*on_loaded)(void *owner, int32_t partition); /* mr_keys_ask answers now */
    void (*on_fatal)(void *owner, const char *text);
} mr_keys_conf;

typedef enum mr_keys_answer {
    MR_KEYS_NEW,     /* nobody has it: put() it together with the job */
    MR_KEYS_SAME,    /* this very job has it: it was sent twice */
    MR_KEYS_TAKEN,   /* another job has it: its id is in other */
    MR_KEYS_PENDING, /* another job will have it, unless its commit fails: ask again soon */
    MR_KEYS_LOADING  /* not known yet: ask again after on_loaded */
} mr_keys_answer;

/* *n: partitions of both topics. MR_EINVAL: they differ, or are more than MR_KEYS_MAX_PARTITIONS;
 * the text says what to do. Blocks, as mr_kafka_partitions. */
mr_status mr_keys_partitions(const mr_kafka_conf *kafka, const char *keyed, const char *keys,
                             int timeout_ms, int32_t *n, mr_err *err);

mr_status mr_keys_open(mr_keys **out, uv_loop_t *loop, const mr_keys_conf *conf, mr_err *err);
void mr_keys_close(mr_keys *k); /* not from its callbacks; NULL is allowed */
/* Partitions of <prefix>.keyed, and so of the index, that we own from now on, or no more. To be
 * called when their committed offsets are known, not earlier: by then what the former owner had
 * committed is below the end of the index. */
mr_status mr_keys_assign(mr_keys *k, const int32_t *partitions, size_t n, mr_err *err);
void mr_keys_revoke(mr_keys *k, const int32_t *partitions, size_t n);

/* now_ms: wall clock. With plain commits a crash may have let the index record through and not the
 * job: then a job that the index has from earlier is NEW, not SAME. */
mr_keys_answer mr_keys_ask(mr_keys *k, int32_t partition, const mr_job_spec *j, uint64_t now_ms,
                           char other[MR_JOB_ID_LEN + 1]);
/* j is about to have its key. MR_ENOMEM: no. Then: keep it when its index record is committed, or
 * take it back when it will not be. Nobody is told of a holder that might still vanish: answers to
 * others may overtake its commit. */
mr_status mr_keys_put(mr_keys *k, int32_t partition, const mr_job_spec *j, uint64_t now_ms);
void mr_keys_keep(mr_keys *k, int32_t partition, const mr_job_spec *j);
void mr_keys_take_back(mr_keys *k, int32_t partition, const mr_job_spec *j);

/* Of n partitions the one where a tenant's key is decided. */
int32_t mr_keys_partition(const mr_job_spec *j, int32_t n);
/* Key and value of its index record, in the arena. */
mr_status mr_keys_record(const mr_job_spec *j, uint64_t now_ms, mr_arena *arena, const void **key,
                         size_t *key_len, const void **value, size_t *len);
size_t mr_keys_len(const mr_keys *k);
size_t mr_keys_loading(const mr_keys *k); /* partitions that cannot answer yet */
/* Keys forgotten before their time for want of room, since the start. */
uint64_t mr_keys_forgotten(const mr_keys *k);

#endif
