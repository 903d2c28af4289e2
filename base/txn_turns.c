/* txn_turns.c - see txn_turns.h. The batches under way stand in one short line. */
#include "base/txn_turns.h"

#include "millrace/error.h"

void mr_txn_turns_init(mr_txn_turns *t, int n_lanes) {
    MR_CHECK(n_lanes >= 1 && n_lanes <= MR_TXN_LANES);
    *t = (mr_txn_turns){.n_lanes = n_lanes, .last = n_lanes - 1};
}

static int place_of(const mr_txn_turns *t, int lane) {
    for (int i = 0; i < t->n; i++)
        if (t->order[i] == lane) return i;
    return -1;
}

int mr_txn_turns_oldest(const mr_txn_turns *t) {
    return t->n > 0 ? t->order[0] : -1;
}

static bool may_give(const mr_txn_turns *t) {
    if (t->n == 0) return true;
    return t->produced && t->turn[t->order[t->n - 1]] != MR_TXN_DOOMED;
}

int mr_txn_turns_next(const mr_txn_turns *t, unsigned usable) {
    for (int i = 1; i <= t->n_lanes && may_give(t); i++) {
        const int lane = (t->last + i) % t->n_lanes;
        if (usable >> lane & 1 && place_of(t, lane) < 0) return lane;
    }
    return -1;
}

mr_txn_turn mr_txn_turns_give(mr_txn_turns *t, int lane) {
    MR_CHECK(may_give(t) && place_of(t, lane) < 0);
    t->turn[lane] = t->n == 0 ? MR_TXN_GO : MR_TXN_WAIT;
    t->order[t->n++] = lane;
    t->produced = false;
    t->last = lane;
    return t->turn[lane];
}

void mr_txn_turns_produced(mr_txn_turns *t, int lane) {
    if (t->n > 0 && t->order[t->n - 1] == lane) t->produced = true;
}

int mr_txn_turns_decided(mr_txn_turns *t, int lane, bool committed) {
    const int at = place_of(t, lane);

    MR_CHECK(at >= 0 && !(committed && t->turn[lane] != MR_TXN_GO));
    t->n--;
    for (int i = at; i < t->n; i++) t->order[i] = t->order[i + 1];
    if (at == t->n) { /* it was the newest; the one before it had produced */
        t->produced = true;
        return -1;
    }
    t->turn[t->order[at]] = committed ? MR_TXN_GO : MR_TXN_DOOMED;
    return t->order[at];
}
