/* bare.h - the least that any program does that moves records from topic to topic exactly once.
 *
 * librdkafka and nothing of ours around it: read committed records, write each with its id as key
 * and two headers to the same partition of another topic, offsets and records in one transaction of
 * at most as many records as our committer puts into one. It is committed once nothing more is
 * there and commit_ms have passed since its first record. No decoding, no choice: the limit that a
 * dispatcher on the same broker is measured against, in jobs a second and in how late they are. */
#ifndef MR_BENCH_BARE_H
#define MR_BENCH_BARE_H

#include <stdint.h>

#include "millrace/error.h"

#define MR_BARE_BATCH 4096 /* records of a transaction, as base/kafka_batch.c */
/* Header of each record: when the one it was made of came, by the broker's clock (int64_t, ms). */
#define MR_BARE_CAME "came"

typedef struct mr_bare_conf {
    const char *brokers, *extra; /* extra: librdkafka properties, "key=value;..."; "": none */
    const char *from, *to;       /* topics with the same number of partitions */
    const char *group;           /* also the transactional.id */
    const char *id_mark;         /* 36 bytes behind this text in a value are the key */
    uint64_t n;                  /* records, then it is done */
    uint32_t commit_ms;
} mr_bare_conf;

/* Blocks until n records are committed. Thread: any. */
mr_status mr_bare_run(const mr_bare_conf *conf, mr_err *err);

#endif
