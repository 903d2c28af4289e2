/* loop.h - what the tests of this folder share: run a uv loop until something is true.
 *
 * Every wait has a limit; a test that would hang fails instead. */
#ifndef MR_TESTS_NET_LOOP_H
#define MR_TESTS_NET_LOOP_H

#include <stdbool.h>
#include <uv.h>

#include "base/clock.h"

static void on_loop_tick(uv_timer_t *t) {
    (void)t; /* only wakes the loop, so that the condition is looked at */
}

/* True when cond(arg) became true within ms. cond NULL: just run the loop for ms. */
static bool run_until(uv_loop_t *loop, bool (*cond)(void *arg), void *arg, int ms) {
    const uint64_t until = mr_clock_mono_ms() + (uint64_t)ms;
    bool ok = false;
    uv_timer_t tick;
    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_loop_tick, 5, 5);
    while (!(ok = cond && cond(arg)) && mr_clock_mono_ms() < until) uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return ok;
}

/* Lets closing handles go; 0 when the loop ended with nothing left. */
static int close_loop(uv_loop_t *loop) {
    const uint64_t until = mr_clock_mono_ms() + 120000;
    while (uv_run(loop, UV_RUN_NOWAIT) && mr_clock_mono_ms() < until) uv_sleep(1);
    return uv_loop_close(loop);
}

#endif
