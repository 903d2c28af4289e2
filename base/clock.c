/* clock.c - clock_gettime in the units that we use. */
#include "base/clock.h"

#include <time.h>

static uint64_t now_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t); /* cannot fail for these two clocks */
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

uint64_t mr_clock_mono_us(void) {
    return now_us(CLOCK_MONOTONIC);
}

uint64_t mr_clock_mono_ms(void) {
    return now_us(CLOCK_MONOTONIC) / 1000u;
}

uint64_t mr_clock_wall_ms(void) {
    return now_us(CLOCK_REALTIME) / 1000u;
}
