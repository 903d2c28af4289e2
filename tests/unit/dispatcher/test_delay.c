/* Goal: what is held comes out in order of time, never early, and anything can be taken out of the
 * middle; the hops of a wait are whole, descending and never past its end. Method: the heap against
 * a plain scan of an array, over random adds, removes and pops; tiers at and around each bound. */
#include "dispatcher/delay.h"

#include "tests/test.h"

static uint64_t seed = 1;

static uint32_t draw(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

TEST(in_order_of_time_and_then_of_arrival) {
    static const uint64_t ready[] = {30, 10, 20, 10, 40, 10};
    static const int order[] = {1, 3, 5, 2, 0, 4};
    mr_entry e[MR_COUNT(ready)] = {0};
    mr_delay *d = NULL;

    CHECK_I64(mr_delay_open(&d, NULL), MR_OK);
    CHECK(mr_delay_next_ms(d) == UINT64_MAX);
    for (size_t i = 0; i < MR_COUNT(ready); i++) {
        mr_delay_add(d, &e[i], ready[i]);
        CHECK_I64(e[i].place, MR_PLACE_DELAY);
    }
    CHECK_I64(mr_delay_len(d), MR_COUNT(ready));
    for (size_t i = 0; i < MR_COUNT(ready); i++) {
        const uint64_t next_ms = mr_delay_next_ms(d);
        CHECK_I64(next_ms, ready[order[i]]);
        CHECK(mr_delay_pop(d, next_ms - 1) == NULL); /* never early */
        CHECK(mr_delay_pop(d, next_ms) == &e[order[i]]);
        CHECK_I64(e[order[i]].place, MR_PLACE_NONE);
    }
    CHECK(mr_delay_pop(d, UINT64_MAX) == NULL);
    mr_delay_close(d);
    mr_delay_close(NULL);
}

enum { N = 300, STEPS = 200000 };

/* The one that must come out at now_ms; NULL: none. */
static mr_entry *expected(mr_entry *all, uint64_t now_ms) {
    mr_entry *best = NULL;
    for (size_t i = 0; i < N; i++) {
        mr_entry *e = &all[i];
        if (e->place != MR_PLACE_DELAY || e->ready_ms > now_ms) continue;
        if (!best || e->ready_ms < best->ready_ms ||
            (e->ready_ms == best->ready_ms && e->arrival < best->arrival))
            best = e;
    }
    return best;
}

TEST(against_a_plain_scan) {
    static mr_entry all[N];
    mr_delay *d = NULL;
    size_t held = 0;

    CHECK_I64(mr_delay_open(&d, NULL), MR_OK);
    for (int step = 0; step < STEPS; step++) {
        mr_entry *e = &all[draw(N)];
        const uint64_t now_ms = draw(1000);
        if (draw(8) == 0) {
            mr_entry *want = expected(all, now_ms);
            CHECK(mr_delay_pop(d, now_ms) == want);
            held -= want != NULL;
        } else if (e->place == MR_PLACE_NONE) {
            mr_delay_add(d, e, draw(1000));
            held++;
        } else if (draw(2)) {
            mr_delay_remove(d, e);
            CHECK_I64(e->place, MR_PLACE_NONE);
            held--;
        }
        CHECK_I64(mr_delay_len(d), held);
    }
    mr_delay_close(d);
}

TEST(the_longest_tier_that_fits) {
    CHECK_I64(mr_delay_tier(0), -1);
    CHECK_I64(mr_delay_tier(999), -1);
    for (int t = 0; t < MR_TIER_N; t++) {
        CHECK_I64(mr_delay_tier(mr_tier_ms[t]), t);
        CHECK_I64(mr_delay_tier(mr_tier_ms[t] - 1), t - 1);
    }
    CHECK_I64(mr_delay_tier(UINT64_MAX), MR_TIER_N - 1);
}

/* Any wait ends after hops that add up to no more than it, with less than a second left. */
TEST(hops_end_below_a_second) {
    for (int i = 0; i < 2000; i++) {
        const uint64_t wait_ms = (uint64_t)draw(30u * 24 * 3600) * 1000 + draw(1000);
        uint64_t left_ms = wait_ms;
        unsigned small = 0;
        for (int t; (t = mr_delay_tier(left_ms)) >= 0;) {
            left_ms -= mr_tier_ms[t];
            small += t < MR_TIER_N - 1;
        }
        CHECK(left_ms < 1000);
        CHECK(small <= 5 + 9 + 5 + 4); /* of all tiers but the longest */
    }
}

MR_TEST_MAIN
