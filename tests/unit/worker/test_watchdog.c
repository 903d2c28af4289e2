/* Goal: a step that lasts too long is found, one that does not is not, and only ticks count.
 * Method: ticks by hand. */
#include "tests/test.h"

#include "worker/watchdog.h"

#define LIMIT_MS (5 * MR_WATCHDOG_TICK_MS)

TEST(a_step_that_outlasts_the_limit_is_found) {
    mr_watchdog w = {0};

    for (int i = 0; i < 5; i++) CHECK(!mr_watchdog_tick(&w, 77, LIMIT_MS));
    CHECK(mr_watchdog_tick(&w, 77, LIMIT_MS));
    CHECK(mr_watchdog_tick(&w, 77, LIMIT_MS));
}

TEST(steps_that_follow_each_other_are_not_one_long_step) {
    mr_watchdog w = {0};

    for (uint64_t i = 1; i < 100; i++) {
        CHECK(!mr_watchdog_tick(&w, 10 * i, LIMIT_MS));
        CHECK(!mr_watchdog_tick(&w, 10 * i, LIMIT_MS));
    }
    for (int i = 0; i < 100; i++) CHECK(!mr_watchdog_tick(&w, 0, LIMIT_MS)); /* idle */
}

TEST(a_pause_starts_the_count_anew) {
    mr_watchdog w = {0};

    for (int i = 0; i < 4; i++) CHECK(!mr_watchdog_tick(&w, 77, LIMIT_MS));
    CHECK(!mr_watchdog_tick(&w, 0, LIMIT_MS));
    for (int i = 0; i < 5; i++) CHECK(!mr_watchdog_tick(&w, 78, LIMIT_MS));
    CHECK(mr_watchdog_tick(&w, 78, LIMIT_MS));
}

/* A process that was stopped for an hour sees one tick more, however late it is. */
TEST(time_without_ticks_does_not_count) {
    mr_watchdog w = {0};

    CHECK(!mr_watchdog_tick(&w, 1000, LIMIT_MS));
    CHECK(!mr_watchdog_tick(&w, 1000, LIMIT_MS)); /* the stop lies before this one */
    CHECK(!mr_watchdog_tick(&w, 3601000, LIMIT_MS));
}

MR_TEST_MAIN
