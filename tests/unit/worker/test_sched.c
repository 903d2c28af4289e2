/* Goal: each step serves everybody who generates, prompts move on in order within the budget, no
 * job waits for ever, and one of lane high has its seat at once, as long as lane low has one.
 * Method: small cases read off by hand, then thousands of random steps in which the promises are
 * checked after each. */
#include "tests/test.h"

#include "worker/sched.h"

#define MAX_RUNNING 4
#define STEP_TOKENS 16
#define MAX_DISPLACED 2

static mr_sched *open_sched(uint32_t n_ids) {
    const mr_sched_conf conf = {.n_ids = n_ids,
                                .max_running = MAX_RUNNING,
                                .step_tokens = STEP_TOKENS,
                                .max_displaced = MAX_DISPLACED};
    mr_sched *s = NULL;
    mr_err err = {0};

    CHECK_OK(mr_sched_open(&s, &conf, &err), err);
    return s;
}

static void run(mr_sched *s, uint32_t id, uint32_t pending) {
    mr_sched_add(s, id, MR_PRIORITY_NORMAL, 1);
    mr_sched_start(s, id, pending);
}

TEST(sched_wants_room_for_prompts_beside_all_who_generate) {
    const mr_sched_conf conf = {.n_ids = 8, .max_running = 16, .step_tokens = 16};
    mr_sched *s = NULL;
    mr_err err = {0};

    CHECK_I64(mr_sched_open(&s, &conf, &err), MR_EINVAL);
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

/* ---- seats and displacing ---- */

static void run_as(mr_sched *s, uint32_t id, mr_priority priority, uint32_t n_blocks) {
    mr_sched_add(s, id, priority, n_blocks);
    mr_sched_start(s, id, 1);
}

TEST(seats_bound_who_starts_not_who_runs) {
    mr_sched *s = open_sched(8);
    uint32_t id = 0;

    for (uint32_t i = 0; i < 3; i++) run(s, i, 1);
    mr_sched_set_seats(s, 2);
    mr_sched_add(s, 5, MR_PRIORITY_NORMAL, 1);
    CHECK(!mr_sched_next(s, 100, &id));
    mr_sched_drop(s, 0);
    CHECK(!mr_sched_next(s, 100, &id)); /* two run still */
    mr_sched_drop(s, 1);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 5);
    mr_sched_close(s);
}

TEST(the_newest_low_job_leaves_for_a_high_one) {
    mr_sched *s = open_sched(8);
    uint32_t id = 99;

    run_as(s, 0, MR_PRIORITY_LOW, 1);
    run_as(s, 1, MR_PRIORITY_NORMAL, 1);
    run_as(s, 2, MR_PRIORITY_LOW, 1);
    run_as(s, 3, MR_PRIORITY_HIGH, 1);
    CHECK_I64(mr_sched_displaceable(s), 2);
    mr_sched_add(s, 4, MR_PRIORITY_LOW, 1);
    mr_sched_add(s, 5, MR_PRIORITY_NORMAL, 1);
    CHECK(!mr_sched_displace(s, 100, &id)); /* for neither of these */
    mr_sched_add(s, 6, MR_PRIORITY_HIGH, 1);
    CHECK(mr_sched_displace(s, 100, &id));
    CHECK_I64(id, 2);
    CHECK(!mr_sched_displace(s, 100, &id)); /* it has room now */
    CHECK_I64(mr_sched_running(s), 3);
    CHECK_I64(mr_sched_waiting(s), 4);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 6);
    mr_sched_start(s, 6, 1);
    CHECK(!mr_sched_displace(s, 100, &id)); /* nobody high waits any more */
    mr_sched_drop(s, 6);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 5); /* the lane first, */
    mr_sched_start(s, 5, 1);
    mr_sched_drop(s, 5);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 2); /* then arrival: before 4 */
    mr_sched_close(s);
}

TEST(as_many_leave_as_have_the_blocks_and_nobody_in_vain) {
    mr_sched *s = open_sched(8);
    uint32_t id = 99;

    run_as(s, 0, MR_PRIORITY_LOW, 10);
    run_as(s, 1, MR_PRIORITY_LOW, 10);
    run_as(s, 2, MR_PRIORITY_NORMAL, 10);
    mr_sched_add(s, 3, MR_PRIORITY_HIGH, 24);
    CHECK(!mr_sched_displace(s, 3, &id)); /* 23 at most */
    mr_sched_add(s, 4, MR_PRIORITY_HIGH, 23);
    CHECK(mr_sched_displace(s, 3, &id)); /* helps the second of them */
    CHECK_I64(id, 1);
    CHECK(mr_sched_displace(s, 13, &id));
    CHECK_I64(id, 0);
    CHECK(!mr_sched_displace(s, 23, &id));
    CHECK(mr_sched_next(s, 23, &id)); /* though 0 and 1 would fit, too */
    CHECK_I64(id, 4);
    mr_sched_close(s);
}

/* A job that has been passed over too often holds all others back, but not one for whom another has
 * just left. */
TEST(who_left_has_left_for_the_high_job) {
    mr_sched *s = open_sched(16);
    uint32_t id = 0;

    mr_sched_add(s, 7, MR_PRIORITY_LOW, 50); /* too big for now */
    for (int i = 0; i < MR_SCHED_MAX_OVERTAKES; i++) {
        run_as(s, 1, MR_PRIORITY_NORMAL, 1);
        mr_sched_drop(s, 1);
    }
    for (uint32_t i = 0; i < MAX_RUNNING; i++) run_as(s, i, MR_PRIORITY_LOW, 1);
    mr_sched_add(s, 8, MR_PRIORITY_HIGH, 1);
    CHECK(mr_sched_displace(s, 0, &id));
    CHECK_I64(id, 3);
    CHECK(mr_sched_next(s, 1, &id));
    CHECK_I64(id, 8);
    mr_sched_drop(s, 8); /* cancelled: its heritage is nobody's */
    CHECK(!mr_sched_next(s, 1, &id));
    mr_sched_close(s);
}

TEST(a_job_is_displaced_a_bounded_number_of_times) {
    mr_sched *s = open_sched(8);
    uint32_t id = 0;

    for (uint32_t i = 0; i < MAX_RUNNING; i++) run_as(s, i, MR_PRIORITY_LOW, 1);
    for (int i = 0; i < MAX_RUNNING * MAX_DISPLACED; i++) {
        CHECK_I64(mr_sched_displaceable(s), MAX_RUNNING - i / MAX_DISPLACED);
        mr_sched_add(s, 7, MR_PRIORITY_HIGH, 1);
        CHECK(mr_sched_displace(s, 100, &id));
        CHECK_I64(id, MAX_RUNNING - 1 - i / MAX_DISPLACED);
        CHECK(mr_sched_next(s, 100, &id));
        CHECK_I64(id, 7);
        mr_sched_start(s, 7, 1);
        mr_sched_drop(s, 7);
        CHECK(mr_sched_next(s, 100, &id));
        mr_sched_start(s, id, 1);
    }
    CHECK_I64(mr_sched_displaceable(s), 0);
    mr_sched_add(s, 7, MR_PRIORITY_HIGH, 1);
    CHECK(!mr_sched_displace(s, 100, &id));
    mr_sched_close(s);
}

/* When memory is short more run than have seats: that many must leave before the high one gains. */
TEST(with_fewer_seats_more_must_leave) {
    mr_sched *s = open_sched(8);
    uint32_t id = 0, n = 0;

    for (uint32_t i = 0; i < MAX_RUNNING; i++) run_as(s, i, MR_PRIORITY_LOW, 1);
    mr_sched_set_seats(s, 2);
    CHECK_I64(mr_sched_displaceable(s), 2);
    mr_sched_add(s, 7, MR_PRIORITY_HIGH, 1);
    while (mr_sched_displace(s, 100, &id)) n++;
    CHECK_I64(n, 3);
    CHECK(mr_sched_next(s, 100, &id));
    CHECK_I64(id, 7);
    mr_sched_close(s);
}

/* A model of the outside: what each job still has to compute. */
typedef struct world {
    bool in[32], running[32];
    uint32_t pending[32], left[32], blocks[32], displaced[32], free_blocks;
    mr_priority lane[32];
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

static void displace(mr_sched *s, world *w) {
    uint32_t id;

    while (mr_sched_displace(s, w->free_blocks, &id)) {
        CHECK(w->running[id] && w->lane[id] == MR_PRIORITY_LOW);
        CHECK(w->displaced[id]++ < MAX_DISPLACED);
        w->running[id] = false;
        w->free_blocks += w->blocks[id];
        w->pending[id] += 3; /* it computes again what it had */
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
            w.lane[id] = (mr_priority)((rng >> 20) % MR_PRIORITY_N);
            w.displaced[id] = 0;
            mr_sched_add(s, id, w.lane[id], w.blocks[id]);
        } else if ((rng >> 24) % 8 == 0) { /* cancelled, wherever it is */
            mr_sched_drop(s, id);
            if (w.running[id]) w.free_blocks += w.blocks[id];
            w.in[id] = w.running[id] = false;
            ended++;
        }
        displace(s, &w);
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
