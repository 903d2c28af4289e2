/* sim_kafka.h - brokers: logs with transactions, a coordinator of producers, groups.
 *
 * Each function is what the brokers do at the moment when a request arrives; losing or delaying
 * requests and answers is the business of the callers. Kept from Kafka is what delivery depends on:
 *
 *  - A transaction ends in two steps: the coordinator decides, then a marker per partition is
 *    written, at different times. Markers take an offset. Read-committed readers stop before the
 *    first record whose marker is missing, and do not see aborted ones.
 *  - Offsets sent with a transaction are pending until its marker; a reader of committed offsets is
 *    told to come again meanwhile.
 *  - Each init of a transactional id raises its epoch; requests of an older epoch are refused. The
 *    coordinator does the same with a transaction that takes too long.
 *  - A group's generation grows when all members have joined again or have been given up; commits
 *    of another generation, or of somebody who is no member, are refused.
 *
 * Topics are ranges of one table of partitions. */
#ifndef MR_TESTS_SIM_KAFKA_H
#define MR_TESTS_SIM_KAFKA_H

#include "base/txn_plan.h"
#include "sim.h"

enum { /* partitions */
    SIM_JOBS,
    SIM_N_JOBS = 3,
    SIM_WORK = SIM_JOBS + SIM_N_JOBS,
    SIM_N_WORK = 5,
    SIM_RESULTS = SIM_WORK + SIM_N_WORK,
    SIM_N_RESULTS = 2,
    SIM_DEAD = SIM_RESULTS + SIM_N_RESULTS,
    SIM_N_TP
};

typedef enum sim_group { SIM_DISPATCHERS, SIM_WORKERS, SIM_N_GROUPS } sim_group;

#define SIM_SESSION_MS     1500
#define SIM_TRANSACTION_MS 2500
#define SIM_MAX_MEMBERS    512 /* that ever were, per group */
#define SIM_MAX_PRODUCERS  16 /* transactional ids */
#define SIM_ANY_GENERATION UINT32_MAX

typedef enum sim_status { SIM_SUCCEEDED, SIM_REJECTED, SIM_POISONED } sim_status;

typedef struct sim_record {
    int job;
    sim_status status; /* of a result */
    uint64_t text;     /* of a result: hash */
    uint32_t n_tokens;
    bool degraded;
} sim_record;

typedef struct sim_offset { /* of one partition, with its metadata */
    int tp;
    int64_t offset; /* negative: none */
    const char *text;
} sim_offset;

typedef struct sim_put { /* a record to be appended */
    int tp;
    sim_record r;
    int64_t offset; /* answer */
} sim_put;

typedef struct sim_kafka sim_kafka;

sim_kafka *sim_kafka_open(sim *s); /* in the world's arena */
void sim_kafka_away(sim_kafka *k, uint64_t ms);
bool sim_kafka_up(const sim_kafka *k);

/* Appends without a transaction. */
void sim_kafka_put(sim_kafka *k, int tp, const sim_record *r);
/* The first visible record at *offset or behind it, and its offset. False: none yet. */
bool sim_kafka_fetch(const sim_kafka *k, int tp, int64_t *offset, sim_record *out);

/* ---- transactions ----
 *
 * FENCED: the epoch is an old one. RETRIABLE: the transaction before is being ended. */

mr_txn_outcome sim_kafka_init_producer(sim_kafka *k, int id, uint32_t *epoch);
mr_txn_outcome sim_kafka_append(sim_kafka *k, int id, uint32_t epoch, sim_put *puts, size_t n);
/* STALE: another generation, or no member; not with SIM_ANY_GENERATION. */
mr_txn_outcome sim_kafka_add_offsets(sim_kafka *k, int id, uint32_t epoch, sim_group g, int member,
                                     uint32_t generation, const sim_offset *offsets, size_t n);
mr_txn_outcome sim_kafka_commit_txn(sim_kafka *k, int id, uint32_t epoch);
/* The epoch grows with it, as librdkafka does when records failed: late ones of it are refused. */
mr_txn_outcome sim_kafka_abort_txn(sim_kafka *k, int id, uint32_t *epoch);
/* What the group has committed; false: offsets are pending, come again. */
bool sim_kafka_committed(const sim_kafka *k, sim_group g, sim_offset *offsets, size_t n);

/* ---- groups ---- */

typedef enum sim_membership { SIM_MEMBER, SIM_REBALANCE, SIM_UNKNOWN } sim_membership;

int sim_kafka_join(sim_kafka *k, sim_group g, int member); /* -1: a new one; returns its number */
void sim_kafka_leave(sim_kafka *k, sim_group g, int member);
sim_membership sim_kafka_heartbeat(sim_kafka *k, sim_group g, int member);
/* Whom the group has settled on since that member joined: bit per partition. False: not yet. */
bool sim_kafka_sync(const sim_kafka *k, sim_group g, int member, uint32_t *generation,
                    uint32_t *partitions);
/* Somebody wants all to join again. */
void sim_kafka_unsettle(sim_kafka *k, sim_group g);

#endif
