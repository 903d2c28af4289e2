/* Goal: the rate is the growth over the last minute, from the first second on and whatever the time
 * between calls. Method: counters that grow in known ways. */
#include "dispatcher/flowrate.h"

#include "millrace/error.h"
#include "tests/test.h"

static double grow(mr_flowrate *f, uint64_t *total, uint64_t *now_ms, uint64_t for_ms,
                   uint64_t step_ms, uint64_t per_step) {
    for (const uint64_t end = *now_ms + for_ms; *now_ms < end;) {
        *now_ms += step_ms;
        *total += per_step;
        mr_flowrate_note(f, *total, *now_ms);
    }
    return mr_flowrate_per_s(f, *total, *now_ms);
}

static void check_near(double got, double want) {
    if (got < want * 0.98 - 0.01 || got > want * 1.02 + 0.01) fail_msg("%g, not %g", got, want);
}

TEST(nothing_is_known_at_first) {
    mr_flowrate f = {.n = 0};
    CHECK(mr_flowrate_per_s(&f, 5, 1000) == 0);
    mr_flowrate_note(&f, 5, 1000);
    CHECK(mr_flowrate_per_s(&f, 50, 1999) == 0);
    check_near(mr_flowrate_per_s(&f, 25, 2000), 20);
}

TEST(a_steady_counter_has_its_rate_at_all_times) {
    const uint64_t steps[] = {20, 500, 700, 1000, 5000};
    for (size_t i = 0; i < MR_COUNT(steps); i++) {
        mr_flowrate f = {.n = 0};
        uint64_t total = 1000, now_ms = 77;
        mr_flowrate_note(&f, total, now_ms);
        for (int k = 0; k < 40; k++)
            check_near(grow(&f, &total, &now_ms, 5000, steps[i], 3), 3000.0 / (double)steps[i]);
    }
}

/* After a change the rate moves in proportion, and has arrived after a minute. */
TEST(a_change_is_told_within_a_minute) {
    mr_flowrate f = {.n = 0};
    uint64_t total = 0, now_ms = 0;
    mr_flowrate_note(&f, total, now_ms);
    check_near(grow(&f, &total, &now_ms, 200000, 500, 50), 100);
    check_near(grow(&f, &total, &now_ms, 30000, 500, 0), 50);
    check_near(grow(&f, &total, &now_ms, 31000, 500, 0), 0);
    check_near(grow(&f, &total, &now_ms, 61000, 500, 1), 2);
}

TEST(a_counter_that_begins_anew) {
    mr_flowrate f = {.n = 0};
    mr_flowrate_note(&f, 1000, 0);
    CHECK(mr_flowrate_per_s(&f, 10, 5000) == 0);
    mr_flowrate_note(&f, 10, 200000); /* nobody called for minutes */
    mr_flowrate_note(&f, 20, 201000);
    check_near(mr_flowrate_per_s(&f, 20, 201000), 10);
}

MR_TEST_MAIN
