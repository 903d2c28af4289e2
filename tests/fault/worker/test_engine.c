/* Goal: an engine without memory, with a fault or without its device costs time, never a token: who
 * can run runs on as if nothing had been, who cannot is told so once, and a lost device ends
 * nobody. Method: the runner over an engine that fails on demand (engine_faults.h); what is made is
 * compared with an undisturbed run. */
#include "tests/fault/worker/engine_faults.h"
#include "tests/unit/worker/runner_bench.h"

#define N_NEW 40

static seen alone[SLOTS];

static void start_all(bench *b) {
    for (uint32_t i = 0; i < SLOTS; i++) start(b, i, 10 + 7 * i, N_NEW, &free_running);
}

static void end_all(bench *b) {
    for (uint32_t i = 0; i < SLOTS; i++) run_until(b, &b->slots[i].ended);
}

static void open_faulty(bench *b, const char *path) {
    memset(&engine_faults, 0, sizeof engine_faults);
    open_bench(b, path, 0, 64);
    start_all(b);
    end_all(b);
    memcpy(alone, b->slots, sizeof alone);
}

static void check_same(const bench *b, uint32_t slot) {
    const seen *s = &b->slots[slot];

    CHECK_I64(s->end, MR_END_LENGTH);
    CHECK(memcmp(s->tokens, alone[slot].tokens, sizeof s->tokens) == 0);
    CHECK_I64(s->text_len, alone[slot].text_len);
    CHECK(memcmp(s->text, alone[slot].text, s->text_len) == 0);
}

/* Until the limit is this; the runner publishes it after each turn. */
static void wait_limit(bench *b, uint32_t limit) {
    const uint64_t began_ms = mr_clock_mono_ms();

    while (mr_runner_get_stats(b->r).limit != limit) {
        CHECK(mr_clock_mono_ms() - began_ms < PATIENCE_MS);
        usleep(1000);
    }
}

TEST(steps_that_find_no_memory_get_smaller_and_nobody_ends) {
    const char *path = tiny_model();
    mr_runner_stats stats;
    bench b;

    open_faulty(&b, path);
    engine_faults.most_seqs = 1;
    engine_faults.most_rows = 5; /* prompts in crumbs */
    start_all(&b);
    end_all(&b);
    for (uint32_t i = 0; i < SLOTS; i++) check_same(&b, i);
    stats = mr_runner_get_stats(b.r);
    CHECK(stats.ooms > 0);
    CHECK(stats.limit < SEATS);
    engine_faults.most_seqs = engine_faults.most_rows = 0;
    wait_limit(&b, SEATS); /* also while it is idle */
    close_bench(&b);
    unlink(path);
}

/* Who runs when memory becomes short runs on, in smaller steps: the runner does not find out anew
 * at every step that they do not fit together. */
TEST(steps_stay_small_while_memory_is_short) {
    const char *path = tiny_model();
    mr_runner_stats before, after;
    bench b;

    open_faulty(&b, path);
    for (uint32_t i = 0; i < SEATS; i++) start(&b, i, 10 + 7 * i, MAX_NEW, &free_running);
    run_until(&b, &b.slots[SEATS - 1].started);
    engine_faults.most_seqs = 2;
    before = mr_runner_get_stats(b.r);
    const uint64_t began_ms = mr_clock_mono_ms();
    for (uint32_t i = 0; i < SEATS; i++) run_until(&b, &b.slots[i].ended);
    const uint64_t seconds = (mr_clock_mono_ms() - began_ms) / 1000;
    after = mr_runner_get_stats(b.r);
    for (uint32_t i = 0; i < SEATS; i++) {
        CHECK_I64(b.slots[i].n_tokens, MAX_NEW);
        CHECK(memcmp(b.slots[i].tokens, alone[i].tokens, N_NEW * sizeof(int32_t)) == 0);
    }
    CHECK(after.steps - before.steps > MAX_NEW); /* two for each token of all */
    CHECK(after.step_errors - before.step_errors < 5 + 2 * seconds); /* each second it tries more */
    close_bench(&b);
    unlink(path);
}

TEST(without_any_memory_all_are_told_and_later_ones_run) {
    const char *path = tiny_model();
    mr_runner_stats stats;
    bench b;

    open_faulty(&b, path);
    engine_faults.no_memory = true;
    start_all(&b);
    run_until(&b, &b.slots[0].ended);
    stats = mr_runner_get_stats(b.r);
    end_all(&b);
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK_I64(b.slots[i].end, MR_END_NO_MEMORY);
        CHECK_I64(b.slots[i].n_tokens, 0);
        CHECK_STR(b.slots[i].why, "no memory for a step");
    }
    wait_limit(&b, 0); /* for a second nobody tries */
    CHECK(stats.step_errors < 200);
    engine_faults.no_memory = false;
    start_all(&b);
    end_all(&b);
    for (uint32_t i = 0; i < SLOTS; i++) check_same(&b, i);
    close_bench(&b);
    unlink(path);
}

TEST(without_memory_to_start_one_waits_for_another_to_end) {
    const char *path = tiny_model();
    bench b;

    open_faulty(&b, path);
    start(&b, 0, 10, MAX_NEW, &free_running);
    run_until(&b, &b.slots[0].started);
    engine_faults.no_add = true;
    start(&b, 1, 17, N_NEW, &free_running);
    run_until(&b, &b.slots[0].ended);
    CHECK_I64(b.slots[0].end, MR_END_LENGTH);
    run_until(&b, &b.slots[1].ended); /* nobody runs, and it found none alone */
    CHECK_I64(b.slots[1].end, MR_END_NO_MEMORY);
    CHECK_STR(b.slots[1].why, "no memory for a sequence");
    engine_faults.no_add = false;
    start(&b, 1, 17, N_NEW, &free_running);
    run_until(&b, &b.slots[1].ended);
    check_same(&b, 1);
    close_bench(&b);
    unlink(path);
}

TEST(a_fault_ends_the_job_that_has_it_and_no_other) {
    const char *path = tiny_model();
    static const int32_t bad[] = {7, 8, 9};
    const mr_work w = {.slot = 5,
                       .tokens = bad,
                       .n_tokens = 3,
                       .max_new = 10,
                       .params = &free_running,
                       .priority = MR_PRIORITY_HIGH};
    mr_err err = {0};
    bench b;

    open_faulty(&b, path);
    engine_faults.bad_token = bad[0];
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (i != 5) start(&b, i, 10 + 7 * i, N_NEW, &free_running);
    }
    b.slots[5] = (seen){0};
    CHECK_OK(mr_runner_start(b.r, &w, &err), err);
    end_all(&b);
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (i != 5) check_same(&b, i);
    }
    CHECK_I64(b.slots[5].end, MR_END_FAILED);
    CHECK_STR(b.slots[5].why, "a sequence that always fails");
    CHECK_I64(mr_runner_get_stats(b.r).limit, SEATS); /* that was not memory */
    close_bench(&b);
    unlink(path);
}

/* The jobs have their end from the stop alone, as in any other. */
TEST(a_lost_device_is_said_and_ends_nobody) {
    const char *path = tiny_model();
    bench b;

    open_faulty(&b, path);
    start_all(&b);
    run_until(&b, &b.slots[0].started);
    engine_faults.lost = true;
    run_until_bool(&b, &b.lost);
    for (uint32_t i = 0; i < SLOTS; i++)
        CHECK(!b.slots[i].ended || b.slots[i].end == MR_END_LENGTH);
    run_until(&b, &b.slots[0].started);
    if (b.slots[11].ended) start(&b, 11, 10, N_NEW, &free_running); /* the loop may be late */
    mr_runner_cancel(b.r, 10);
    mr_runner_stop(b.r);
    run_until_bool(&b, &b.stopped);
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK_I64(b.slots[i].ended, 1);
        CHECK(b.slots[i].end == MR_END_CANCELLED || b.slots[i].end == MR_END_LENGTH);
    }
    close_bench(&b);
    unlink(path);
}

MR_TEST_MAIN
