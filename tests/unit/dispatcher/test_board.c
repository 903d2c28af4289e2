/* Goal: the board sums up what is alive, keeps 15 minutes of it, and shows who has fallen silent.
 * Method: heartbeats and beats at chosen times; time is an argument. */
#include "dispatcher/board.h"

#include "tests/test.h"

static mr_board *board;
static mr_board_now now;

static void start(void) {
    board = calloc(1, sizeof *board);
    CHECK(board != NULL);
}

static void heartbeat(const char *name, uint32_t running, uint64_t at_ms, bool leaving) {
    const mr_heartbeat h = {.worker = name,
                            .model = "demo",
                            .running = running,
                            .free_slots = 16 - running,
                            .max_slots = 16,
                            .kv_tokens_free = 750,
                            .kv_tokens_total = 1000,
                            .tokens_per_s = 100,
                            .leaving = leaving};
    mr_board_heartbeat(board, &h, at_ms);
}

static void beat(const char *name, uint64_t waiting, uint64_t at_ms) {
    const struct mr_beat_tenant tenants[] = {
        {.name = "acme", .waiting = waiting, .weight = 2, .tokens_per_s = 5},
        {.name = name, .waiting = 1, .weight = 1, .limited = true}};
    mr_beat b = {.dispatcher = name,
                 .delayed = 3,
                 .parts = 8,
                 .paused_parts = 1,
                 .tenants = tenants,
                 .n_tenants = 2};
    b.lanes[MR_PRIORITY_LOW] = (mr_beat_lane){
        .waiting = waiting, .unread = 1000, .queued = 10, .per_s = 0.5f};
    mr_board_beat(board, &b, at_ms);
}

TEST(what_lives_is_summed_up) {
    start();
    heartbeat("a", 4, 1000, false);
    heartbeat("b", 8, 1000, false);
    beat("d1", 7, 1000);
    beat("d2", 5, 1000);
    mr_board_look(board, 1000, &now);
    CHECK_I64(now.n_workers * 10 + now.n_dispatchers, 22);
    CHECK_I64(now.sum.running, 12);
    CHECK_I64(now.sum.slots, 32);
    CHECK_I64(now.sum.kv * 100, 25);
    CHECK_I64(now.sum.tokens_per_s, 200);
    CHECK_I64(now.lanes[MR_PRIORITY_LOW].waiting, 12);
    CHECK_I64(now.lanes[MR_PRIORITY_LOW].unread, 2000);
    CHECK_I64(now.sum.lanes[MR_PRIORITY_LOW].jobs_per_s, 1);
    CHECK_I64(now.delayed * 100 + now.parts, 616);
    CHECK_I64(now.n_tenants, 3);
    CHECK_STR(now.tenants[0].name, "acme");
    CHECK_I64(now.tenants[0].waiting, 12);
    CHECK(now.tenants[1].limited);

    heartbeat("a", 4, 9000, false);
    mr_board_look(board, 9000, &now); /* the others are silent */
    CHECK_I64(now.n_workers * 10 + now.n_dispatchers, 10);
    CHECK_I64(mr_board_life(board->workers[1].seen_ms, 9000), MR_SILENT);
    CHECK_I64(mr_board_life(board->workers[1].seen_ms, 70000), MR_GONE);
    heartbeat("a", 0, 100000, true);
    CHECK_I64(mr_board_life(board->workers[0].seen_ms, 100000), MR_GONE);
    free(board);
}

TEST(samples_go_round) {
    start();
    uint64_t t = 1000;
    for (uint32_t i = 0; i < 400; i++, t += MR_BOARD_PERIOD_MS) {
        if (i != 390) heartbeat("a", i % 16, t, false);
        mr_board_tick(board, t);
        mr_board_tick(board, t + 1);
    }
    CHECK_I64(board->n_samples, 400);
    CHECK_I64(mr_board_first(board), 220);
    /* A sample is of the time before it. */
    CHECK_I64(board->samples[399 % MR_BOARD_SAMPLES].running, 398 % 16);
    CHECK_I64(board->workers[0].points[399 % MR_BOARD_SAMPLES].fill * 16, 398 % 16);
    CHECK_I64(board->samples[220 % MR_BOARD_SAMPLES].running, 219 % 16);
    t += 100 * MR_BOARD_PERIOD_MS; /* a long pause: one sample, and nobody is there */
    mr_board_tick(board, t);
    mr_board_tick(board, t + MR_BOARD_PERIOD_MS - 1);
    CHECK_I64(board->n_samples, 401);
    CHECK_I64(board->workers[0].points[400 % MR_BOARD_SAMPLES].fill, -1);
    CHECK_I64(board->samples[400 % MR_BOARD_SAMPLES].slots, 0);
    free(board);
}

/* Goal: what is over before the sample is taken shows all the same. */
TEST(use_is_a_mean) {
    start();
    mr_board_tick(board, 0);
    heartbeat("a", 0, 0, false);
    heartbeat("a", 16, 1000, false);
    heartbeat("a", 8, 2000, false);
    heartbeat("a", 0, 3000, false);
    mr_board_tick(board, MR_BOARD_PERIOD_MS);
    CHECK_I64(board->workers[0].points[1].fill * 1000, 300); /* 1 s of 16, 1 s of 8, in 5 s */
    CHECK_I64(board->samples[1].running * 100, 480);
    CHECK_I64(board->samples[1].kv * 100, 25);
    heartbeat("a", 0, 9000, false);
    mr_board_tick(board, 2 * MR_BOARD_PERIOD_MS);
    CHECK_I64(board->samples[2].running, 0);
    free(board);
}

TEST(rows_are_bounded_and_used_again) {
    char name[300];
    start();
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "w%d", i);
        heartbeat(name, 1, 1000, false);
        beat(name, 1, 1000);
    }
    mr_board_look(board, 1000, &now);
    CHECK_I64(now.n_workers, MR_BOARD_WORKERS);
    CHECK_I64(now.n_dispatchers, MR_BOARD_DISPATCHERS);
    CHECK_I64(now.n_tenants, MR_BOARD_TENANTS);
    heartbeat("late", 1, 1000 + MR_BOARD_GONE_MS + 1, false);
    mr_board_look(board, 1000 + MR_BOARD_GONE_MS + 1, &now);
    CHECK_I64(now.n_workers, 1);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    heartbeat(name, 1, 1, false); /* no name that we would show */
    heartbeat("", 1, 1, false);
    free(board);
}

MR_TEST_MAIN
