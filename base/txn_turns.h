/* txn_turns.h - of transactions that overlap, which may go on, and which must not.
 *
 * A committer has lanes: producers that work side by side. A batch is made as if all batches before
 * it were committed, for its offsets count what those finish. So three rules hold among the batches
 * that are under way:
 *
 *     the next batch is given     when the records of the one before it are with the brokers; so
 *                                 they stand in the topics in the order of the batches
 *     a batch sends its offsets   when the one before it is committed; a group's offsets of two
 *                                 transactions never cross
 *     a batch must be aborted     when the one before it was; then nothing new is given until that
 *                                 is done, for what comes back goes first
 *
 * Pure. Source: KIP-447; a group's coordinator lets the offsets win that were sent later, whichever
 * transaction ends first. */
#ifndef MR_BASE_TXN_TURNS_H
#define MR_BASE_TXN_TURNS_H

#include <stdbool.h>

#define MR_TXN_LANES 2

/* Of a batch that stands before its offsets. */
typedef enum mr_txn_turn {
    MR_TXN_WAIT,  /* the batch before it is not decided */
    MR_TXN_GO,    /* it is committed, or there was none */
    MR_TXN_DOOMED /* it was aborted */
} mr_txn_turn;

typedef struct mr_txn_turns {
    int n_lanes;
    int order[MR_TXN_LANES]; /* [n] lanes with a batch, oldest first */
    int n;
    mr_txn_turn turn[MR_TXN_LANES]; /* by lane */
    bool produced;                  /* the records of the newest are with the brokers */
    int last;                       /* lane that was given the newest batch ever */
} mr_txn_turns;

void mr_txn_turns_init(mr_txn_turns *t, int n_lanes);
/* The lane for the next batch, of those in usable (a bit per lane); -1: none now. Lanes take turns,
 * so that each rests when it has committed. */
int mr_txn_turns_next(const mr_txn_turns *t, unsigned usable);
/* A batch is given to the lane that next() named: WAIT or GO. */
mr_txn_turn mr_txn_turns_give(mr_txn_turns *t, int lane);
/* The records of its batch are with the brokers, as far as they will be. */
void mr_txn_turns_produced(mr_txn_turns *t, int lane);
/* Its batch was committed or aborted. Returns the lane whose turn has changed by that, -1: none. */
int mr_txn_turns_decided(mr_txn_turns *t, int lane, bool committed);
/* The lane of the oldest batch under way; -1: there is none. */
int mr_txn_turns_oldest(const mr_txn_turns *t);

#endif
