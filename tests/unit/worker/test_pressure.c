/* Goal: out of memory, fewer jobs run at once; when it is over, all do again, and not at once.
 * Method: steps and seconds by hand, then a toy memory that holds a known number of jobs. */
#include "tests/test.h"

#include "worker/pressure.h"

TEST(a_step_without_memory_halves_what_ran) {
    mr_pressure p;

    mr_pressure_init(&p, 64);
    CHECK_I64(p.limit, 64);
    mr_pressure_oom(&p, 40, 1000);
    CHECK_I64(p.limit, 20);
    mr_pressure_oom(&p, 40, 1000); /* they run still: half of the limit */
    CHECK_I64(p.limit, 10);
    mr_pressure_oom(&p, 3, 1000);
    CHECK_I64(p.limit, 1);
}

TEST(without_memory_for_one_job_nobody_starts_for_a_second) {
    mr_pressure p;

    mr_pressure_init(&p, 8);
    mr_pressure_oom(&p, 8, 1000);
    mr_pressure_oom(&p, 1, 1000); /* each alone found none */
    CHECK_I64(p.limit, 0);
    mr_pressure_oom(&p, 1, 1500);
    mr_pressure_tick(&p, 2499);
    CHECK_I64(p.limit, 0);
    mr_pressure_tick(&p, 2500);
    CHECK_I64(p.limit, 1);
}

TEST(every_second_gives_a_sixteenth_back) {
    mr_pressure p;

    mr_pressure_init(&p, 64);
    mr_pressure_tick(&p, 500); /* nothing is missing */
    CHECK_I64(p.limit, 64);
    mr_pressure_oom(&p, 64, 1000);
    mr_pressure_tick(&p, 1999);
    CHECK_I64(p.limit, 32);
    mr_pressure_tick(&p, 2000);
    mr_pressure_tick(&p, 2500);
    CHECK_I64(p.limit, 36);
    mr_pressure_oom(&p, 36, 2600); /* counts from here again */
    mr_pressure_tick(&p, 3500);
    CHECK_I64(p.limit, 18);
    mr_pressure_tick(&p, 5700); /* three seconds in one */
    CHECK_I64(p.limit, 30);
    mr_pressure_tick(&p, 1000000000);
    CHECK_I64(p.limit, 64);
}

TEST(a_small_worker_gains_a_whole_job) {
    mr_pressure p;

    mr_pressure_init(&p, 3);
    mr_pressure_oom(&p, 3, 0);
    CHECK_I64(p.limit, 1);
    mr_pressure_tick(&p, 1000);
    CHECK_I64(p.limit, 2);
    mr_pressure_tick(&p, 2000);
    CHECK_I64(p.limit, 3);
    mr_pressure_init(&p, 1);
    mr_pressure_oom(&p, 1, 5);
    CHECK_I64(p.limit, 0);
    mr_pressure_tick(&p, 1005);
    CHECK_I64(p.limit, 1);
}

/* Memory for 20 jobs of 64 for a minute, then for all: it stays near 20, and comes back in 16 s. */
TEST(the_limit_finds_what_memory_holds) {
    const uint64_t over_ms = 60000;
    uint64_t steps = 0, failed = 0, back_ms = 0;
    mr_pressure p;

    mr_pressure_init(&p, 64);
    for (uint64_t now_ms = 0; now_ms < over_ms + 30000; now_ms += 50) {
        const uint32_t holds = now_ms < over_ms ? 20 : 64;
        mr_pressure_tick(&p, now_ms);
        if (now_ms < over_ms) steps++;
        if (p.limit > holds) {
            failed++;
            mr_pressure_oom(&p, p.limit, now_ms);
        }
        if (!back_ms && now_ms >= over_ms && p.limit == 64) back_ms = now_ms - over_ms;
        if (now_ms > 1000) CHECK(p.limit >= 8);
    }
    CHECK(failed * 40 < steps); /* one step in forty is tried in vain */
    CHECK(back_ms > 0 && back_ms <= 16000);
}

MR_TEST_MAIN
