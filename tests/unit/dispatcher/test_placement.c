/* Goal: no worker is given more than it has room for, silent and leaving ones get nothing, and room
 * comes back as positions move. Method: heartbeats by hand; and a random simulation of workers that
 * take and finish jobs, in which no queue behind a worker may grow beyond its slots and the
 * lookahead. */
#include "dispatcher/placement.h"

#include "dispatcher/window.h"
#include "tests/test.h"

typedef struct mr_heartbeat_part part;

static void beat(mr_placement *p, const char *id, const char *model, uint32_t free_slots,
                 const part *parts, size_t n, uint64_t now_ms) {
    const mr_heartbeat h = {.worker = id,
                            .model = model,
                            .parts = parts,
                            .n_parts = n,
                            .free_slots = free_slots,
                            .max_slots = 16};
    CHECK_I64(mr_placement_report(p, &h, now_ms), MR_OK);
}

TEST(room_is_free_slots_and_lookahead) {
    mr_placement *p = NULL;
    const part parts[] = {{0, 100}, {1, 50}};
    CHECK_I64(mr_placement_open(&p, 2, 5000, NULL), MR_OK);
    CHECK_I64(mr_placement_take(p, "m", 0), -1); /* nobody has reported */
    beat(p, "w", "m", 3, parts, 2, 0);
    int32_t taken[5];
    int on_0 = 0;
    for (int i = 0; i < 5; i++) {
        taken[i] = mr_placement_take(p, "m", 0);
        CHECK(taken[i] == 0 || taken[i] == 1);
        on_0 += taken[i] == 0;
    }
    CHECK(on_0 == 2 || on_0 == 3); /* spread over its partitions */
    CHECK_I64(mr_placement_take(p, "m", 0), -1);
    CHECK_I64(mr_placement_take(p, "other", 0), -1);

    int64_t next[2] = {100, 50};
    for (int i = 0; i < 5; i++) mr_placement_released(p, "m", taken[i], next[taken[i]]++);
    CHECK_I64(mr_placement_take(p, "m", 0), -1); /* acknowledged, but not yet taken */
    const part moved[] = {{0, next[0]}, {1, next[1]}};
    beat(p, "w", "m", 0, moved, 2, 10); /* it has them now and no slot is free */
    CHECK_I64(mr_placement_room(p, 10), 2);
    mr_placement_close(p);
}

TEST(silent_and_leaving_workers_get_nothing) {
    mr_placement *p = NULL;
    const part parts[] = {{0, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "w", "m", 4, parts, 1, 1000);
    CHECK_I64(mr_placement_live(p, 6000), 1);
    CHECK_I64(mr_placement_live(p, 6001), 0);
    CHECK_I64(mr_placement_take(p, "m", 6001), -1);
    beat(p, "w", "m", 4, parts, 1, 7000);
    CHECK_I64(mr_placement_take(p, "m", 7000), 0);
    const mr_heartbeat leaving = {.worker = "w",
                                  .model = "m",
                                  .parts = parts,
                                  .n_parts = 1,
                                  .free_slots = 4,
                                  .leaving = true};
    CHECK_I64(mr_placement_report(p, &leaving, 7001), MR_OK);
    CHECK_I64(mr_placement_take(p, "m", 7001), -1);
    CHECK(mr_placement_knows(p, "m"));
    mr_placement_failed(p, "m", 0);
    mr_placement_close(p);
}

/* A topic that was made anew starts at offset 0; a worker that idles there has nothing before it.
 */
TEST(an_idle_worker_has_nothing_on_the_way) {
    mr_placement *p = NULL;
    const part old[] = {{0, 1000}}, anew[] = {{0, 0}};
    const mr_heartbeat idle = {
        .worker = "w", .model = "m", .parts = anew, .n_parts = 1, .free_slots = 4, .max_slots = 4};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "w", "m", 4, old, 1, 0);
    CHECK_I64(mr_placement_report(p, &idle, 1000), MR_OK); /* moved: perhaps a new owner's start */
    CHECK_I64(mr_placement_report(p, &idle, 2000), MR_OK);
    CHECK_I64(mr_placement_take(p, "m", 2000), -1);
    CHECK_I64(mr_placement_report(p, &idle, 6999), MR_OK);
    CHECK_I64(mr_placement_take(p, "m", 6999), -1);
    CHECK_I64(mr_placement_report(p, &idle, 7000), MR_OK);
    CHECK_I64(mr_placement_room(p, 7000), 4);
    CHECK_I64(mr_placement_take(p, "m", 7000), 0);
    mr_placement_released(p, "m", 0, 0);
    CHECK_I64(mr_placement_room(p, 7000), 3);
    mr_placement_close(p);
}

/* A worker that does not idle keeps its backlog, however long its position stands still. */
TEST(a_busy_worker_keeps_its_backlog) {
    mr_placement *p = NULL;
    const part parts[] = {{0, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 1000, NULL), MR_OK);
    beat(p, "w", "m", 2, parts, 1, 0);
    for (int64_t off = 0; off < 2; off++) {
        CHECK_I64(mr_placement_take(p, "m", 0), 0);
        mr_placement_released(p, "m", 0, off);
    }
    for (uint64_t t = 0; t < 20000; t += 500) {
        beat(p, "w", "m", 2, parts, 1, t);
        CHECK_I64(mr_placement_take(p, "m", t), -1);
    }
    mr_placement_close(p);
}

/* Records that are committed one by one lie two offsets apart; only they take room. */
TEST(markers_of_transactions_take_no_room) {
    mr_placement *p = NULL;
    const part start[] = {{0, 0}}, one_taken[] = {{0, 1}}, all_taken[] = {{0, 5}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "w", "m", 8, start, 1, 0);
    for (int64_t off = 0; off <= 4; off += 2) {
        CHECK_I64(mr_placement_take(p, "m", 0), 0);
        mr_placement_released(p, "m", 0, off);
    }
    CHECK_I64(mr_placement_room(p, 0), 5);
    beat(p, "w", "m", 8, one_taken, 1, 0);
    CHECK_I64(mr_placement_room(p, 0), 6);
    beat(p, "w", "m", 8, all_taken, 1, 0);
    CHECK_I64(mr_placement_room(p, 0), 8);
    CHECK_I64(mr_placement_take(p, "m", 0), 0);
    mr_placement_released(p, "m", 0, 6); /* behind the marker of the one before */
    CHECK_I64(mr_placement_room(p, 0), 7);
    mr_placement_close(p);
}

TEST(nonsense_in_a_heartbeat) {
    mr_placement *p = NULL;
    part many[MR_MAX_PARTS];
    const part bad[] = {{-1, 0}}, wide[] = {{MR_MAX_PARTS, 0}}, before[] = {{0, -1}};
    const part *const all[] = {bad, wide, before};
    CHECK_I64(mr_placement_open(&p, 2, 5000, NULL), MR_OK);
    for (size_t i = 0; i < MR_COUNT(all); i++) {
        const mr_heartbeat h = {.worker = "w", .model = "m", .parts = all[i], .n_parts = 1};
        CHECK_I64(mr_placement_report(p, &h, 0), MR_EINVAL);
    }
    CHECK(!mr_placement_knows(p, "m")); /* refused before it leaves a trace */
    const mr_heartbeat nameless = {.worker = "w", .model = ""},
                       nobody = {.worker = "", .model = "m"};
    CHECK_I64(mr_placement_report(p, &nameless, 0), MR_ELIMIT);
    CHECK_I64(mr_placement_report(p, &nobody, 0), MR_ELIMIT);
    for (int32_t i = 0; i < MR_MAX_PARTS; i++) many[i] = (part){i, INT64_MAX};
    beat(p, "w", "m", 4, many, MR_MAX_PARTS, 0);
    for (int32_t i = 0; i < MR_MAX_PARTS; i++) many[i] = (part){i, 0};
    beat(p, "w", "m", UINT32_MAX, many, MR_MAX_PARTS, 0); /* what is on the way has no sum */
    CHECK_I64(mr_placement_room(p, 0), 0);
    mr_placement_close(p);
}

TEST(rows_of_models_long_gone_are_used_again) {
    mr_placement *p = NULL;
    char name[16];
    CHECK_I64(mr_placement_open(&p, 0, 1000, NULL), MR_OK);
    for (int i = 0; i < MR_MAX_MODELS; i++) {
        const part parts[] = {{0, 5}};
        snprintf(name, sizeof name, "m%d", i);
        beat(p, name, name, 1, parts, 1, 0);
    }
    const part parts[] = {{0, 0}};
    const mr_heartbeat h = {.worker = "new",
                            .model = "new",
                            .parts = parts,
                            .n_parts = 1,
                            .free_slots = 1,
                            .max_slots = 2};
    CHECK_I64(mr_placement_take(p, "m0", 0), 0);
    CHECK_I64(mr_placement_report(p, &h, 100000), MR_ELIMIT);
    CHECK_I64(mr_placement_report(p, &h, 100001), MR_OK);
    CHECK(mr_placement_knows(p, "m0")); /* a release of its is on the way */
    CHECK(!mr_placement_knows(p, "m1"));
    CHECK_I64(mr_placement_take(p, "new", 100001), 0);
    mr_placement_released(p, "m0", 0, 5);
    mr_placement_failed(p, "new", 0);
    mr_placement_close(p);
}

TEST(the_roomiest_worker_is_taken) {
    mr_placement *p = NULL;
    const part a[] = {{0, 0}}, b[] = {{1, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "a", "m", 1, a, 1, 0);
    beat(p, "b", "m", 3, b, 1, 0);
    CHECK_I64(mr_placement_take(p, "m", 0), 1);
    CHECK_I64(mr_placement_take(p, "m", 0), 1);
    int rest[2] = {0, 0};
    for (int32_t t; (t = mr_placement_take(p, "m", 0)) >= 0;) rest[t]++;
    CHECK_I64(rest[0], 1);
    CHECK_I64(rest[1], 1);
    mr_placement_close(p);
}

TEST(a_moved_partition_takes_its_backlog_along) {
    mr_placement *p = NULL;
    const part both[] = {{0, 0}, {1, 0}}, none[] = {{0, 0}}, one[] = {{1, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "a", "m", 4, both, 2, 0);
    for (int i = 0; i < 4; i++) {
        const int32_t t = mr_placement_take(p, "m", 0);
        mr_placement_released(p, "m", t, i / 2);
    }
    beat(p, "a", "m", 4, none, 1, 1); /* partition 1 went to b, with two jobs */
    beat(p, "b", "m", 4, one, 1, 1);
    CHECK_I64(mr_placement_room(p, 1), 2 + 2);
    mr_placement_close(p);
}

TEST(bad_reports) {
    mr_placement *p = NULL;
    const part wide[] = {{MR_MAX_PARTS, 0}}, negative[] = {{-1, 0}};
    mr_heartbeat h = {.worker = "w", .model = "m", .parts = wide, .n_parts = 1};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    CHECK_I64(mr_placement_report(p, &h, 0), MR_EINVAL);
    h.parts = negative;
    CHECK_I64(mr_placement_report(p, &h, 0), MR_EINVAL);
    char long_name[200];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    h.n_parts = 0;
    h.model = long_name;
    CHECK_I64(mr_placement_report(p, &h, 0), MR_ELIMIT);
    mr_placement_close(p);
}

static uint32_t random_below(uint64_t *state, uint32_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

TEST(simulated_workers_are_never_overfilled) {
    enum { WORKERS = 5, SLOTS = 8, LOOKAHEAD = 2 };
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct {
            int64_t end, position;
            int running;
        } sim[WORKERS] = {{0, 0, 0}};
        mr_placement *p = NULL;
        uint64_t rng = seed;
        CHECK_I64(mr_placement_open(&p, LOOKAHEAD, 1000000, NULL), MR_OK);
        for (int step = 0; step < 400; step++) {
            const uint32_t w = random_below(&rng, WORKERS);
            char id[8];
            snprintf(id, sizeof id, "w%u", w);
            switch (random_below(&rng, 4)) {
            case 0: { /* report */
                const part parts[] = {{(int32_t)w, sim[w].position}};
                beat(p, id, "m", (uint32_t)(SLOTS - sim[w].running), parts, 1, 0);
                break;
            }
            case 1: /* take from the topic */
                while (sim[w].position < sim[w].end && sim[w].running < SLOTS) {
                    sim[w].position++;
                    sim[w].running++;
                }
                break;
            case 2: /* finish something */
                if (sim[w].running > 0) sim[w].running--;
                break;
            default: { /* release one */
                const int32_t t = mr_placement_take(p, "m", 0);
                if (t >= 0) mr_placement_released(p, "m", t, sim[t].end++);
                break;
            }
            }
            for (int i = 0; i < WORKERS; i++)
                CHECK(sim[i].end - sim[i].position + sim[i].running <= SLOTS + LOOKAHEAD);
        }
        mr_placement_close(p);
    }
}

MR_TEST_MAIN
