/* txn_plan.h - which call of a transactional producer follows which outcome.
 *
 * The order of checks after an error decides whether a record can be doubled or lost, so it stands
 * here, apart from the thread that makes the calls, where a simulator can try all of it:
 *
 *     fatal               the producer is gone: REBUILD
 *     requires an abort   ABORT, then the batch again
 *     retriable           the same call again, after a pause
 *     EndTxn timed out    or failed: the outcome is unknown: REBUILD with the same
 *                         transactional.id, which fences the old one and ends its transaction one
 *                         way or the other; then READ what was committed; what is there is done,
 *                         the rest goes again
 *     fenced by another process with the same id: FATAL, two of us must not fight
 *
 * Pure. One plan per committer. Source: KIP-98, KIP-447; librdkafka's transactional API. */
#ifndef MR_BASE_TXN_PLAN_H
#define MR_BASE_TXN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#define MR_TXN_MAX_RETRIES 10u /* of BEGIN, OFFSETS, COMMIT, ABORT; the others are tried for ever */

typedef enum mr_txn_call {
    MR_TXN_REBUILD, /* (destroy and) make the producer, same transactional.id */
    MR_TXN_INIT,    /* init_transactions: fences predecessors, ends what they left open */
    MR_TXN_READ,    /* read the committed offsets of the batch: is it there? */
    MR_TXN_IDLE,    /* nothing to do until a batch comes */
    MR_TXN_BEGIN,
    MR_TXN_PRODUCE, /* hand over all records, wait until each is acknowledged or failed */
    MR_TXN_OFFSETS, /* send offsets with the group's metadata */
    MR_TXN_COMMIT,
    MR_TXN_ABORT,
    MR_TXN_FATAL    /* the process must end */
} mr_txn_call;

typedef enum mr_txn_outcome {
    MR_TXN_OK,
    MR_TXN_PRESENT,     /* READ: the batch had been committed */
    MR_TXN_ABSENT,      /* READ: it had not */
    MR_TXN_RETRIABLE,   /* the call may be made again */
    MR_TXN_ABORTABLE,   /* the transaction must be aborted */
    MR_TXN_STALE,       /* abortable, because the group's generation or member has changed */
    MR_TXN_REFUSED,     /* PRODUCE: at least one record will never be taken; abortable */
    MR_TXN_UNKNOWN,     /* COMMIT or ABORT timed out: nobody knows */
    MR_TXN_DEAD,        /* fatal to the producer, not to us */
    MR_TXN_FENCED,      /* another process took the transactional.id */
    MR_TXN_MISCONFIGURED /* not allowed, not supported, a limit that a setting breaks */
} mr_txn_outcome;

typedef enum mr_txn_verdict { /* on the batch in hand */
    MR_TXN_OPEN,      /* not decided yet */
    MR_TXN_COMMITTED, /* visible, once */
    MR_TXN_ABORTED    /* not visible, and never will be: send it again, less what is refused */
} mr_txn_verdict;

typedef struct mr_txn_plan { /* all zero but call = MR_TXN_REBUILD: the start */
    mr_txn_call call;  /* to be made now */
    bool has_batch;    /* its verdict is open */
    bool in_doubt;     /* a COMMIT of it may have worked */
    uint32_t retries;  /* of this call in a row */
    uint32_t failures; /* batches and producers that failed in a row */
    uint32_t pause_ms; /* before it */
} mr_txn_plan;

void mr_txn_plan_init(mr_txn_plan *p);
/* A batch is handed over; call must be MR_TXN_IDLE. */
void mr_txn_plan_batch(mr_txn_plan *p);
/* p->call was made and ended so: says what that means for the batch, as soon as it is certain, and
 * sets the next call. A batch gets one verdict other than OPEN, or none when the call is FATAL. */
mr_txn_verdict mr_txn_plan_next(mr_txn_plan *p, mr_txn_outcome outcome);

const char *mr_txn_call_name(mr_txn_call c);
const char *mr_txn_outcome_name(mr_txn_outcome o);

#endif
