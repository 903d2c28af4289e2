/* Goal: each step serves everybody who generates, prompts move on in order within the budget, and
 * no job waits for ever. Method: small cases read off by hand, then thousands of random steps in
 * which the promises are checked after each. */
#include "tests/test.h"

#include "worker/sched.h"

#define MAX_RUNNING 4
#define STEP_TOKENS 16

static mr_sched *open_sched(uint32_t n_ids) {
    mr_sched *s = NULL;
    mr_err err = {0};

    CHECK_OK(mr_sched_open(&s, n_ids, MAX_RUNNING, STEP_TOKENS, &err), err);
    return s;
}

static void run(mr_sched *s, uint32_t id, uint32_t pending) {
    mr_sched_add(s, id, MR_PRIORITY_NORMAL, 1);
    mr_sched_start(s, id, pending);
}

TEST(sched_wants_room_for_prompts_beside_all_who_generate) {
    mr_sched *s = NULL;
    mr_err err = {0};

    CHECK_I64(mr_sched_open(&s, 8, 16, 16, &err), MR_EINVAL);
    CHECK(s == NULL);
    CHECK_ERR(err, "max_step_tokens 16");
    CHECK_ERR(err, "max_jobs 16");
}

TEST(a_long_prompt_gets_what_the_others_leave) {
    mr_sched *s = open_sched(8);
    mr_sched_item items[MAX_RUNNING];

    run(s, 0, 1000); /* first come, but long */
    run(s, 1, 1);
    run(s, 2, 1);
    CHECK_I64(mr_sched_plan(s, items), 3);
    CHECK_I64(items[0].id, 1);
    CHECK_I64(items[0].n_tokens, 1);
    CHECK_I64(items[1].id, 2);
    CHECK_I64(items[2].id, 0);
    CHECK_I64(items[2].n_tokens, STEP_TOKENS - 2);
    mr_sched_computed(s, 0, 1000 - (STEP_TOKENS - 2));
    mr_sched_drop(s, 1);
    mr_sched_drop(s, 2);
    CHECK_I64(mr_sched_plan(s, items), 1);
    CHECK_I64(items[0].n_tokens, STEP_TOKENS);
    mr_sched_close(s);
}

TEST(prompts_share_a_step_in_order_of_priority_then_arrival) {
    mr_sched *s = open_sched(8);
    mr_sched_item items[MAX_RUNNING];

    run(s, 3, 10);
    run(s, 1, 10);
    mr_sched_add(s, 5, MR_PRIORITY_HIGH, 1);
    mr_sched_start(s, 5, 4);
    CHECK_I64(mr_sched_plan(s, items), 3);
    CHECK_I64(items[0].id, 5);
    CHECK_I64(items[0].n_tokens, 4);
    CHECK_I64(items[1].id, 3);
    CHECK_I64(items[1].n_tokens, 10);
    CHECK_I64(items[2].id, 1);
    CHECK_I64(items[2].n_tokens, 2);
    mr_sched_close(s);
}

TEST(nobody_starts_without_a_seat_or_blocks) {
    mr_sched *s = open_sched(8);
    uint32_t id = 99;

    CHECK(!mr_sched_next(s, 100, &id));
    mr_sched_add(s, 0, MR_PRIORITY_NORMAL, 5);
    CHECK(!mr_sched_next(s, 4, &id));
    CHECK_I64(mr_sched_blocked(s), 1);
    CHECK(mr_sched_next(s, 5, &id));
    CHECK_I64(id, 0);
    CHECK_I64(mr_sched_blocked(s), 0);
    mr_sched_drop(s, 0);
    for (uint32_t i = 1; i <= MAX_RUNNING; i++) run(s, i, 1);
    mr_sched_add(s, 0, MR_PRIORITY_HIGH, 1);
    CHECK(!mr_sched_next(s, 100, &id)); /* no seat */
    CHECK_I64(mr_sched_blocked(s), 0);
    CHECK_I64(mr_sched_waiting(s), 1);
    mr_sched_drop(s, 2);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 0);
    mr_sched_close(s);
}

TEST(a_big_job_is_passed_over_a_bounded_number_of_times) {
    mr_sched *s = open_sched(8);
    uint32_t id = 0;

    mr_sched_add(s, 7, MR_PRIORITY_NORMAL, 50); /* too big for now */
    for (int i = 0; i < MR_SCHED_MAX_OVERTAKES; i++) {
        mr_sched_add(s, 1, MR_PRIORITY_NORMAL, 1);
        CHECK(mr_sched_next(s, 10, &id));
        CHECK_I64(id, 1);
        mr_sched_start(s, 1, 1);
        mr_sched_drop(s, 1);
    }
    mr_sched_add(s, 1, MR_PRIORITY_HIGH, 1);
    CHECK(!mr_sched_next(s, 10, &id)); /* now all wait for it */
    CHECK_I64(mr_sched_blocked(s), 2);
    CHECK(mr_sched_next(s, 50, &id));
    CHECK_I64(id, 7);
    mr_sched_close(s);
}

TEST(a_low_priority_is_passed_over_a_bounded_number_of_times) {
    mr_sched *s = open_sched(8);
    uint32_t id = 0;
    int before = 0;

    mr_sched_add(s, 7, MR_PRIORITY_LOW, 1);
    for (;;) {
        mr_sched_add(s, 1, MR_PRIORITY_HIGH, 1);
        CHECK(mr_sched_next(s, 10, &id));
        if (id == 7) break;
        mr_sched_start(s, 1, 1);
        mr_sched_drop(s, 1);
        before++;
        CHECK(before <= MR_SCHED_MAX_OVERTAKES);
    }
    CHECK_I64(before, MR_SCHED_MAX_OVERTAKES);
    mr_sched_close(s);
}

/* A model of the outside: what each job still has to compute. */
typedef struct world {
    bool in[32], running[32];
    uint32_t pending[32], left[32], blocks[32], free_blocks;
} world;

static void check_plan(mr_sched *s, world *w) {
    mr_sched_item items[MAX_RUNNING];
    const size_t n = mr_sched_plan(s, items);
    bool seen[32] = {false};
    uint32_t rows = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t id = items[i].id;
        CHECK(id < 32 && w->running[id] && !seen[id]);
        CHECK(items[i].n_tokens >= 1 && items[i].n_tokens <= w->pending[id]);
        seen[id] = true;
        rows += items[i].n_tokens;
    }
    CHECK(rows <= STEP_TOKENS);
    CHECK(mr_sched_running(s) == 0 || rows > 0);
    for (uint32_t id = 0; id < 32; id++) {
        if (w->running[id] && w->pending[id] == 1) CHECK(seen[id]);
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = items[i].id;
        w->pending[id] -= items[i].n_tokens;
        if (w->pending[id] == 0) { /* a token was sampled */
            w->pending[id] = 1;
            w->left[id]--;
        }
        if (w->left[id] == 0) {
            mr_sched_drop(s, id);
            w->free_blocks += w->blocks[id];
            w->in[id] = w->running[id] = false;
        } else {
            mr_sched_computed(s, id, w->pending[id]);
        }
    }
}

TEST(promises_hold_in_random_traffic) {
    mr_sched *s = open_sched(32);
    world w = {.free_blocks = 40};
    uint32_t rng = 12345, ended = 0;

    for (int round = 0; round < 20000; round++) {
        uint32_t id;
        rng = rng * 1664525u + 1013904223u;
        id = (rng >> 16) % 32;
        if (!w.in[id]) {
            w.in[id] = true;
            w.pending[id] = 1 + (rng >> 8) % 60;
            w.left[id] = 1 + (rng >> 4) % 9;
            w.blocks[id] = 1 + (rng >> 12) % 40;
            mr_sched_add(s, id, (mr_priority)((rng >> 20) % MR_PRIORITY_N), w.blocks[id]);
        } else if ((rng >> 24) % 8 == 0) { /* cancelled, wherever it is */
            mr_sched_drop(s, id);
            if (w.running[id]) w.free_blocks += w.blocks[id];
            w.in[id] = w.running[id] = false;
            ended++;
        }
        while (mr_sched_next(s, w.free_blocks, &id)) {
            CHECK(w.in[id] && !w.running[id] && w.blocks[id] <= w.free_blocks);
            w.free_blocks -= w.blocks[id];
            w.running[id] = true;
            mr_sched_start(s, id, w.pending[id]);
        }
        check_plan(s, &w);
    }
    CHECK(ended > 0);
    for (int round = 0; round < 5000; round++) { /* what is left ends without new jobs */
        uint32_t id;
        while (mr_sched_next(s, w.free_blocks, &id)) {
            w.free_blocks -= w.blocks[id];
            w.running[id] = true;
            mr_sched_start(s, id, w.pending[id]);
        }
        check_plan(s, &w);
    }
    CHECK_I64(mr_sched_running(s) + mr_sched_waiting(s), 0);
    CHECK_I64(w.free_blocks, 40);
    mr_sched_close(s);
}

MR_TEST_MAIN
