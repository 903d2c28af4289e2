/* Goal: of batches that overlap none commits that counts on one which did not, none is given while
 * an aborted one is not back, and none waits for nothing. Method: every history of up to STEPS
 * steps is walked: a batch is given to any usable lane, hands over its records, goes wrong at any
 * time, commits when it may. Beside it stands what the brokers would have: which batches, by their
 * number, are committed and which are aborted. */
#include "base/txn_turns.h"

#include <stdint.h>
#include <string.h>

#include "../../test.h"
#include "millrace/error.h"

#define STEPS 11

typedef struct world {
    mr_txn_turns t;
    int number[MR_TXN_LANES]; /* of the batch in the lane; 0: none */
    bool produced[MR_TXN_LANES];
    mr_txn_turn told[MR_TXN_LANES];
    uint32_t committed, aborted; /* a bit per number */
    int n;                       /* given so far */
} world;

static unsigned long n_walked;

static uint32_t before(int number) {
    return (1u << number) - 1;
}

/* All batches before this one are decided, and none of those that it counts on was aborted: that
 * are those which were under way when it was given. */
static uint32_t counts_on[STEPS + 2];

static void check(const world *w) {
    int oldest = 0, waiting = 0;
    for (int i = 0; i < MR_TXN_LANES; i++) {
        if (w->number[i] && (!oldest || w->number[i] < oldest)) oldest = w->number[i];
        waiting += w->number[i] && w->told[i] == MR_TXN_WAIT;
        if (w->number[i] && w->told[i] == MR_TXN_GO)
            CHECK_I64(counts_on[w->number[i]] & ~w->committed, 0);
        if (w->number[i] && w->told[i] == MR_TXN_DOOMED)
            CHECK(counts_on[w->number[i]] & w->aborted);
    }
    const int lane = mr_txn_turns_oldest(&w->t);
    CHECK_I64(lane < 0 ? 0 : w->number[lane], oldest);
    if (lane >= 0) CHECK(w->told[lane] != MR_TXN_WAIT); /* somebody can always go on */
    CHECK(waiting <= 1);
}

static void walk(const world *w, int left);

static void give(world w, unsigned usable, int left) {
    const int lane = mr_txn_turns_next(&w.t, usable);
    if (lane < 0) return;
    CHECK((usable >> lane & 1) && w.number[lane] == 0);
    w.number[lane] = ++w.n;
    counts_on[w.n] = 0;
    for (int i = 0; i < MR_TXN_LANES; i++) {
        if (i == lane || !w.number[i]) continue;
        CHECK(w.produced[i] && w.told[i] != MR_TXN_DOOMED);
        counts_on[w.n] |= 1u << w.number[i];
    }
    w.produced[lane] = false;
    w.told[lane] = mr_txn_turns_give(&w.t, lane);
    walk(&w, left);
}

static void decide(world w, int lane, bool committed, int left) {
    const int number = w.number[lane];
    if (committed) CHECK_I64(before(number) & ~(w.committed | w.aborted), 1);
    *(committed ? &w.committed : &w.aborted) |= 1u << number;
    w.number[lane] = 0;
    const int changed = mr_txn_turns_decided(&w.t, lane, committed);
    if (changed >= 0) {
        CHECK(w.number[changed] > number && w.told[changed] == MR_TXN_WAIT);
        w.told[changed] = committed ? MR_TXN_GO : MR_TXN_DOOMED;
    }
    walk(&w, left);
}

static void produce(world w, int lane, int left) {
    w.produced[lane] = true;
    mr_txn_turns_produced(&w.t, lane);
    walk(&w, left);
}

static void walk(const world *w, int left) {
    uint32_t mine[STEPS + 2];
    n_walked++;
    check(w);
    if (left-- == 0) return;
    memcpy(mine, counts_on, sizeof mine);
    for (unsigned usable = 1; usable < 1u << w->t.n_lanes; usable++) {
        give(*w, usable, left);
        memcpy(counts_on, mine, sizeof mine);
    }
    for (int i = 0; i < w->t.n_lanes; i++) {
        if (!w->number[i]) continue;
        if (!w->produced[i]) produce(*w, i, left);
        memcpy(counts_on, mine, sizeof mine);
        decide(*w, i, false, left);
        memcpy(counts_on, mine, sizeof mine);
        if (w->produced[i] && w->told[i] == MR_TXN_GO) decide(*w, i, true, left);
        memcpy(counts_on, mine, sizeof mine);
    }
}

TEST(no_history_breaks_a_rule) {
    for (int n_lanes = 1; n_lanes <= MR_TXN_LANES; n_lanes++) {
        world w = {.n = 0};
        mr_txn_turns_init(&w.t, n_lanes);
        walk(&w, STEPS);
    }
    printf("%lu states\n", n_walked);
}

TEST(one_lane_never_waits) {
    mr_txn_turns t;
    mr_txn_turns_init(&t, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_I64(mr_txn_turns_next(&t, 1), 0);
        CHECK_I64(mr_txn_turns_give(&t, 0), MR_TXN_GO);
        mr_txn_turns_produced(&t, 0);
        CHECK_I64(mr_txn_turns_next(&t, 1), -1);
        CHECK_I64(mr_txn_turns_decided(&t, 0, i == 1), -1);
    }
}

TEST(lanes_take_turns) {
    mr_txn_turns t;
    mr_txn_turns_init(&t, 2);
    for (int i = 0; i < 4; i++) {
        CHECK_I64(mr_txn_turns_next(&t, 3), i % 2);
        mr_txn_turns_give(&t, i % 2);
        mr_txn_turns_produced(&t, i % 2);
        CHECK_I64(mr_txn_turns_decided(&t, i % 2, true), -1);
    }
    CHECK_I64(mr_txn_turns_next(&t, 2), 1); /* the other one is not ready */
    CHECK_I64(mr_txn_turns_next(&t, 0), -1);
}

TEST(an_abort_takes_the_next_with_it) {
    mr_txn_turns t;
    mr_txn_turns_init(&t, 2);
    CHECK_I64(mr_txn_turns_give(&t, 0), MR_TXN_GO);
    CHECK_I64(mr_txn_turns_next(&t, 2), -1); /* its records come first */
    mr_txn_turns_produced(&t, 0);
    CHECK_I64(mr_txn_turns_next(&t, 2), 1);
    CHECK_I64(mr_txn_turns_give(&t, 1), MR_TXN_WAIT);
    CHECK_I64(mr_txn_turns_decided(&t, 0, false), 1);
    mr_txn_turns_produced(&t, 1);
    CHECK_I64(mr_txn_turns_next(&t, 3), -1); /* it has to come back first */
    CHECK_I64(mr_txn_turns_decided(&t, 1, false), -1);
    CHECK_I64(mr_txn_turns_next(&t, 3), 0);
}

MR_TEST_MAIN
