/* Goal: both clocks run, in the same units.
 * Method: readings compared with each other and with a known year. */
#include "base/clock.h"

#include "../../test.h"

TEST(clocks_run) {
    const uint64_t us = mr_clock_mono_us(), ms = mr_clock_mono_ms(), later_us = mr_clock_mono_us();
    CHECK(us / 1000 <= ms && ms <= later_us / 1000);
    CHECK(mr_clock_wall_ms() > 1600000000000u);
}

MR_TEST_MAIN
