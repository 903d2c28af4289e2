/* keys_table.h - idempotency keys in memory, each with the job that it stands for.
 *
 * A key goes by the name that its index record has (tenant, zero byte, key), and only a digest of
 * it is kept, under a secret that no tenant knows: see siphash.h. So a key takes 80 bytes and
 * its share of the hash, however long it is: a million keys 82 MB, measured. Memory grows in
 * doublings, and goes when the last key does.
 *
 * Bounds: `max` keys; then the one that is oldest by time gives way, of whichever partition. A key
 * that is older than the ttl is not found any more. Pure: now_ms (wall clock) is an argument. */
#ifndef MR_DISPATCHER_KEYS_TABLE_H
#define MR_DISPATCHER_KEYS_TABLE_H

#include "base/siphash.h"
#include "millrace/job.h"

typedef struct mr_keys_table mr_keys_table;

typedef struct mr_key_holder { /* the job that has a key */
    char job_id[MR_JOB_ID_LEN + 1];
    bool loaded;      /* read from the index, not put by us */
    bool pending;     /* put by us, and its index record is not committed yet */
    uint64_t time_ms; /* since when: wall clock */
} mr_key_holder;

typedef struct mr_keys_table_conf {
    int32_t n_partitions;
    size_t max; /* 1..2^31 */
    uint64_t ttl_ms;
    uint8_t secret[MR_SIPHASH_SECRET];
} mr_keys_table_conf;

mr_status mr_keys_table_open(mr_keys_table **out, const mr_keys_table_conf *conf, mr_err *err);
void mr_keys_table_close(mr_keys_table *t); /* NULL is allowed */

/* NULL: nobody. Borrowed until the next change. */
const mr_key_holder *mr_keys_table_find(const mr_keys_table *t, const void *name, size_t len,
                                        uint64_t now_ms);
/* The newest word on this key: a former holder is forgotten. Without memory the oldest key gives
 * way. MR_ENOMEM: there is not even one. */
mr_status mr_keys_table_put(mr_keys_table *t, int32_t partition, const void *name, size_t len,
                            const mr_key_holder *holder, uint64_t now_ms);
/* It is not pending any more, when this job still has the key. */
void mr_keys_table_keep(mr_keys_table *t, const void *name, size_t len, const char *job_id);
/* Nobody has the key any more. job_id: only when this job has it; NULL: whoever has. */
void mr_keys_table_drop(mr_keys_table *t, const void *name, size_t len, const char *job_id);
void mr_keys_table_drop_partition(mr_keys_table *t, int32_t partition);

size_t mr_keys_table_len(const mr_keys_table *t);
/* Keys that gave way before their time, since the start. */
uint64_t mr_keys_table_forgotten(const mr_keys_table *t);

#endif
