/* Goal: a suspect runs alone, everybody's turn comes, and the job that kills its workers is found
 * with few deaths of the others. Method: small cases; then a model of a worker that starts, ends
 * and kills jobs at random and restores what the marks would say after each death. */
#include "tests/test.h"

#include "worker/suspects.h"

#define N 24

static mr_suspects *open_suspects(void) {
    mr_suspects *s = NULL;
    mr_err err = {0};

    CHECK_OK(mr_suspects_open(&s, N, &err), err);
    return s;
}

static void check_next(mr_suspects *s, int wanted) {
    uint32_t id = 0;
    const bool found = mr_suspects_next(s, &id);

    CHECK_I64(found ? (int)id : -1, wanted);
}

TEST(without_suspects_all_start_in_order_of_arrival) {
    mr_suspects *s = open_suspects();

    mr_suspects_add(s, 5, 0);
    mr_suspects_add(s, 2, 0);
    check_next(s, 5);
    check_next(s, 2);
    check_next(s, -1);
    mr_suspects_add(s, 1, 0);
    check_next(s, 1);
    CHECK(!mr_suspects_busy(s));
    mr_suspects_close(s);
}

TEST(a_suspect_waits_for_what_runs_and_lets_nobody_else_start) {
    mr_suspects *s = open_suspects();

    mr_suspects_add(s, 0, 0);
    check_next(s, 0);
    mr_suspects_add(s, 1, 0);
    mr_suspects_add(s, 2, 1);
    CHECK(mr_suspects_busy(s));
    check_next(s, -1); /* 0 runs */
    mr_suspects_drop(s, 0);
    check_next(s, 2); /* before 1, which came earlier */
    check_next(s, -1);
    mr_suspects_drop(s, 2);
    CHECK(!mr_suspects_busy(s));
    check_next(s, 1);
    mr_suspects_close(s);
}

TEST(suspects_run_one_at_a_time_those_with_few_deaths_first) {
    mr_suspects *s = open_suspects();

    mr_suspects_add(s, 0, 2);
    mr_suspects_add(s, 1, 1);
    mr_suspects_add(s, 2, 1);
    check_next(s, 1);
    check_next(s, -1);
    mr_suspects_drop(s, 1);
    check_next(s, 2);
    mr_suspects_drop(s, 2);
    check_next(s, 0);
    mr_suspects_close(s);
}

TEST(one_that_could_not_start_waits_where_it_was) {
    mr_suspects *s = open_suspects();

    mr_suspects_add(s, 3, 0);
    mr_suspects_add(s, 4, 0);
    check_next(s, 3);
    mr_suspects_wait(s, 3);
    CHECK(mr_suspects_waits(s, 3));
    check_next(s, 3);
    CHECK(!mr_suspects_waits(s, 3));
    mr_suspects_close(s);
}

TEST(a_suspect_that_leaves_while_it_waits_holds_up_nobody) {
    mr_suspects *s = open_suspects();

    mr_suspects_add(s, 0, 0);
    check_next(s, 0);
    mr_suspects_add(s, 1, 3);
    mr_suspects_add(s, 2, 0);
    check_next(s, -1);
    mr_suspects_drop(s, 1);
    mr_suspects_drop(s, 1); /* may repeat */
    check_next(s, 2);
    mr_suspects_close(s);
}

/* ---- the model ---- */

typedef struct world {
    uint64_t random;
    bool done[N], running[N];
    unsigned deaths[N];
    uint32_t poison; /* kills its worker whenever it has run for a while */
    unsigned n_workers;
} world;

static uint32_t draw(world *w, uint32_t below) {
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

static uint32_t n_running(const world *w) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < N; i++) n += w->running[i];
    return n;
}

/* One process, from its start to its death (true) or until all has ended. */
static bool live(world *w, unsigned max_deaths) {
    mr_suspects *s = open_suspects();
    uint32_t id, died;

    w->n_workers++;
    for (uint32_t i = 0; i < N; i++) {
        if (w->deaths[i] >= max_deaths) w->done[i] = true; /* the dead letter */
        if (!w->done[i]) mr_suspects_add(s, i, w->deaths[i]);
    }
    for (;;) {
        while (mr_suspects_next(s, &id)) {
            w->running[id] = true;
            if (w->deaths[id] > 0) CHECK_I64(n_running(w), 1);
            for (uint32_t i = 0; i < N; i++) CHECK(!w->running[i] || i == id || !w->deaths[i]);
        }
        if (n_running(w) == 0) break; /* nobody may be left waiting */
        do id = draw(w, N);
        while (!w->running[id]);
        if (w->running[w->poison] && (id == w->poison || draw(w, 4) == 0)) break;
        w->running[id] = false;
        w->done[id] = true;
        mr_suspects_drop(s, id);
    }
    died = n_running(w);
    for (uint32_t i = 0; i < N; i++) {
        w->deaths[i] += w->running[i];
        w->running[i] = false;
    }
    mr_suspects_close(s);
    return died > 0;
}

TEST(the_job_that_kills_is_found_and_all_others_end) {
    for (uint32_t seed = 1; seed <= 300; seed++) {
        const unsigned max_deaths = 1 + seed % 4;
        world w = {.random = seed, .poison = seed % N};

        while (live(&w, max_deaths)) CHECK(w.n_workers < 2 * N);
        for (uint32_t i = 0; i < N; i++) {
            CHECK(w.done[i]);
            CHECK(w.deaths[i] == (i == w.poison ? max_deaths : w.deaths[i]));
            if (max_deaths > 1) CHECK(i == w.poison || w.deaths[i] <= 1);
        }
        CHECK_I64(w.n_workers, max_deaths + 1);
    }
}

MR_TEST_MAIN
