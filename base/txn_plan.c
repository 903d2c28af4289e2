/* txn_plan.c - a table: one row per call, one column per outcome, an answer in each cell.
 *
 * Two rules make the table.
 *  - Before COMMIT is called nothing of a batch can become visible, so whatever goes wrong there
 *    decides it: aborted.
 *  - From the call of COMMIT on only its OK, or a READ behind an INIT, decides. The request may
 *    have arrived although the answer is an error, and a late one could even end the next
 *    transaction of this producer; so the producer is given up, also where the library would let
 *    it abort.
 *
 * A call that is answered "retriable" is made again at most MR_TXN_MAX_RETRIES times where the
 * coordinator's time-out ends the transaction anyway, and for ever where there is none: brokers may
 * be away for any time. Pauses double from PAUSE_FIRST_MS to PAUSE_MOST_MS, by the retries of a
 * call and by the batches and producers that failed in a row. */
#include "base/txn_plan.h"

#include "millrace/error.h"

#define PAUSE_FIRST_MS 50u
#define PAUSE_MOST_MS  5000u
#define N_CALLS        (MR_TXN_FATAL + 1)
#define N_OUTCOMES     (MR_TXN_MISCONFIGURED + 1)

typedef enum answer {
    NEVER,    /* the call cannot end so: a bug in who asks */
    GO_ON,    /* the next call of the usual order */
    AGAIN,    /* the same call, for ever */
    AGAIN_N,  /* the same call; after MR_TXN_MAX_RETRIES as GIVE_UP */
    UNDO,     /* the batch is aborted: ABORT */
    UNDO_OWN, /* the same, by no fault of the brokers: no pause before the next batch */
    GIVE_UP,  /* REBUILD; a batch is aborted, or in doubt when COMMIT was called */
    IS_THERE, /* the batch is committed */
    IS_NOT,   /* the batch is aborted */
    END       /* FATAL */
} answer;

/* clang-format off */
static const answer table[N_CALLS][N_OUTCOMES] = {
    [MR_TXN_REBUILD] = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = AGAIN,
                        [MR_TXN_DEAD] = AGAIN,         [MR_TXN_FENCED] = END,
                        [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_INIT]    = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = AGAIN,
                        [MR_TXN_ABORTABLE] = GIVE_UP,  [MR_TXN_DEAD] = GIVE_UP,
                        [MR_TXN_FENCED] = END,         [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_READ]    = {[MR_TXN_PRESENT] = IS_THERE,   [MR_TXN_ABSENT] = IS_NOT,
                        [MR_TXN_RETRIABLE] = AGAIN,    [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_BEGIN]   = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = AGAIN_N,
                        [MR_TXN_ABORTABLE] = GIVE_UP,  [MR_TXN_DEAD] = GIVE_UP,
                        [MR_TXN_FENCED] = END,         [MR_TXN_MISCONFIGURED] = END},
    /* never again: what was handed over would be there twice */
    [MR_TXN_PRODUCE] = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = UNDO,
                        [MR_TXN_ABORTABLE] = UNDO,     [MR_TXN_STALE] = UNDO_OWN,
                        [MR_TXN_REFUSED] = UNDO_OWN,   [MR_TXN_DEAD] = GIVE_UP,
                        [MR_TXN_FENCED] = END,         [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_OFFSETS] = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = AGAIN_N,
                        [MR_TXN_ABORTABLE] = UNDO,     [MR_TXN_STALE] = UNDO_OWN,
                        [MR_TXN_DEAD] = GIVE_UP,       [MR_TXN_FENCED] = END,
                        [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_COMMIT]  = {[MR_TXN_OK] = IS_THERE,        [MR_TXN_RETRIABLE] = AGAIN_N,
                        [MR_TXN_ABORTABLE] = GIVE_UP,  [MR_TXN_STALE] = GIVE_UP,
                        [MR_TXN_REFUSED] = GIVE_UP,    [MR_TXN_UNKNOWN] = GIVE_UP,
                        [MR_TXN_DEAD] = GIVE_UP,       [MR_TXN_FENCED] = END,
                        [MR_TXN_MISCONFIGURED] = END},
    [MR_TXN_ABORT]   = {[MR_TXN_OK] = GO_ON,           [MR_TXN_RETRIABLE] = AGAIN_N,
                        [MR_TXN_ABORTABLE] = GIVE_UP,  [MR_TXN_UNKNOWN] = GIVE_UP,
                        [MR_TXN_DEAD] = GIVE_UP,       [MR_TXN_FENCED] = END,
                        [MR_TXN_MISCONFIGURED] = END},
    /* MR_TXN_IDLE waits for a batch and MR_TXN_FATAL for the end: neither is a call */
};
/* clang-format on */

static uint32_t pause_for(uint32_t times) {
    uint32_t ms = times > 0 ? PAUSE_FIRST_MS : 0;
    while (times-- > 1 && ms < PAUSE_MOST_MS) ms *= 2;
    return ms < PAUSE_MOST_MS ? ms : PAUSE_MOST_MS;
}

static void go(mr_txn_plan *p, mr_txn_call call) {
    p->retries = 0;
    p->call = call;
    p->pause_ms = call == MR_TXN_REBUILD || call == MR_TXN_BEGIN ? pause_for(p->failures) : 0;
}

static void try_again(mr_txn_plan *p) {
    p->pause_ms = pause_for(++p->retries);
}

static void go_on(mr_txn_plan *p) {
    static const mr_txn_call next[N_CALLS] = {
        [MR_TXN_REBUILD] = MR_TXN_INIT,    [MR_TXN_BEGIN] = MR_TXN_PRODUCE,
        [MR_TXN_PRODUCE] = MR_TXN_OFFSETS, [MR_TXN_OFFSETS] = MR_TXN_COMMIT,
        [MR_TXN_ABORT] = MR_TXN_IDLE,
    };
    if (p->call == MR_TXN_INIT)
        go(p, p->in_doubt ? MR_TXN_READ : MR_TXN_IDLE);
    else
        go(p, next[p->call]);
}

static mr_txn_verdict decide(mr_txn_plan *p, mr_txn_call next, mr_txn_verdict verdict) {
    const bool had_batch = p->has_batch;
    p->has_batch = p->in_doubt = false;
    go(p, next);
    return had_batch ? verdict : MR_TXN_OPEN;
}

static mr_txn_verdict give_up(mr_txn_plan *p) {
    p->failures++;
    if (!p->in_doubt) return decide(p, MR_TXN_REBUILD, MR_TXN_ABORTED);
    go(p, MR_TXN_REBUILD);
    return MR_TXN_OPEN;
}

void mr_txn_plan_init(mr_txn_plan *p) {
    *p = (mr_txn_plan){.call = MR_TXN_REBUILD};
}

void mr_txn_plan_batch(mr_txn_plan *p) {
    MR_CHECK(p->call == MR_TXN_IDLE && !p->has_batch);
    p->has_batch = true;
    go(p, MR_TXN_BEGIN);
}

mr_txn_verdict mr_txn_plan_next(mr_txn_plan *p, mr_txn_outcome outcome) {
    MR_CHECK((unsigned)p->call < N_CALLS && (unsigned)outcome < N_OUTCOMES);
    const answer a = table[p->call][outcome];
    MR_CHECK(a != NEVER);
    if (p->call == MR_TXN_COMMIT) p->in_doubt = true; /* it was called */
    switch (a) {
    case GO_ON:
        go_on(p);
        return MR_TXN_OPEN;
    case AGAIN_N:
        if (p->retries == MR_TXN_MAX_RETRIES) return give_up(p);
        try_again(p);
        return MR_TXN_OPEN;
    case AGAIN:
        try_again(p);
        return MR_TXN_OPEN;
    case UNDO:
        p->failures++;
        return decide(p, MR_TXN_ABORT, MR_TXN_ABORTED);
    case UNDO_OWN:
        return decide(p, MR_TXN_ABORT, MR_TXN_ABORTED);
    case GIVE_UP:
        return give_up(p);
    case IS_THERE:
        p->failures = 0;
        return decide(p, MR_TXN_IDLE, MR_TXN_COMMITTED);
    case IS_NOT:
        return decide(p, MR_TXN_IDLE, MR_TXN_ABORTED);
    default:
        go(p, MR_TXN_FATAL);
        return MR_TXN_OPEN;
    }
}

const char *mr_txn_call_name(mr_txn_call c) {
    static const char *const names[N_CALLS] = {
        [MR_TXN_REBUILD] = "rebuild", [MR_TXN_INIT] = "init",       [MR_TXN_READ] = "read",
        [MR_TXN_IDLE] = "idle",       [MR_TXN_BEGIN] = "begin",     [MR_TXN_PRODUCE] = "produce",
        [MR_TXN_OFFSETS] = "offsets", [MR_TXN_COMMIT] = "commit",   [MR_TXN_ABORT] = "abort",
        [MR_TXN_FATAL] = "fatal",
    };
    return (unsigned)c < N_CALLS ? names[c] : "?";
}

const char *mr_txn_outcome_name(mr_txn_outcome o) {
    static const char *const names[N_OUTCOMES] = {
        [MR_TXN_OK] = "ok",
        [MR_TXN_PRESENT] = "present",
        [MR_TXN_ABSENT] = "absent",
        [MR_TXN_RETRIABLE] = "retriable",
        [MR_TXN_ABORTABLE] = "abortable",
        [MR_TXN_STALE] = "stale",
        [MR_TXN_REFUSED] = "refused",
        [MR_TXN_UNKNOWN] = "unknown",
        [MR_TXN_DEAD] = "dead",
        [MR_TXN_FENCED] = "fenced",
        [MR_TXN_MISCONFIGURED] = "misconfigured",
    };
    return (unsigned)o < N_OUTCOMES ? names[o] : "?";
}
