/* Goal: no worker is given more than it has room for, silent and leaving ones get nothing, and room
 * comes back as positions move; of those with room each job gets the right one. Method: heartbeats
 * by hand; and random simulations of workers that take, displace and finish jobs of one dispatcher
 * or several, in which no queue behind a worker may grow beyond its bound. */
#include "dispatcher/placement.h"

#include "dispatcher/window.h"
#include "tests/test.h"

enum { A_TURN_MS = 100 }; /* of a partition, in placement.c */

typedef struct mr_heartbeat_part part;

static mr_place place(mr_placement *p, const mr_ask *ask, uint64_t now_ms) {
    return mr_placement_take(p, ask, now_ms);
}

static int32_t take(mr_placement *p, const char *model, uint64_t now_ms) {
    const mr_ask ask = {.model = model, .lane = MR_PRIORITY_NORMAL};
    return place(p, &ask, now_ms).partition;
}

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
    CHECK_I64(take(p, "m", 0), -1); /* nobody has reported */
    beat(p, "w", "m", 3, parts, 2, 0);
    int32_t taken[5];
    int on_0 = 0;
    for (int i = 0; i < 5; i++) {
        taken[i] = take(p, "m", (uint64_t)i * A_TURN_MS);
        CHECK(taken[i] == 0 || taken[i] == 1);
        on_0 += taken[i] == 0;
    }
    CHECK(on_0 == 2 || on_0 == 3); /* spread over its partitions */
    CHECK_I64(take(p, "m", 4 * A_TURN_MS), -1);
    CHECK_I64(take(p, "other", 4 * A_TURN_MS), -1);

    int64_t next[2] = {100, 50};
    for (int i = 0; i < 5; i++) mr_placement_released(p, "m", taken[i], next[taken[i]]++);
    CHECK_I64(take(p, "m", 4 * A_TURN_MS), -1); /* acknowledged, but not yet taken */
    const part moved[] = {{0, next[0]}, {1, next[1]}};
    beat(p, "w", "m", 0, moved, 2, 5 * A_TURN_MS); /* it has them now and no slot is free */
    CHECK_I64(mr_placement_room(p, 5 * A_TURN_MS), 2);
    mr_placement_close(p);
}

TEST(a_partition_keeps_its_turn_for_some_transactions) {
    mr_placement *p = NULL;
    const part both[] = {{0, 0}, {1, 0}}, rest[] = {{1, 0}};
    CHECK_I64(mr_placement_open(&p, 1000, 5000, NULL), MR_OK);
    beat(p, "w", "m", 0, both, 2, 0);
    const int32_t first = take(p, "m", A_TURN_MS), second = 1 - first;
    for (uint64_t t = A_TURN_MS; t < 2 * A_TURN_MS; t++) CHECK_I64(take(p, "m", t), first);
    for (uint64_t t = 2 * A_TURN_MS; t < 3 * A_TURN_MS; t++) CHECK_I64(take(p, "m", t), second);
    mr_placement_close(p);

    CHECK_I64(mr_placement_open(&p, 1000, 5000, NULL), MR_OK);
    beat(p, "w", "m", 0, both, 1, 0);
    CHECK_I64(take(p, "m", 1), 0);
    beat(p, "w", "m", 0, rest, 1, 2); /* it lost it */
    CHECK_I64(take(p, "m", 2), 1);
    mr_placement_close(p);
}

TEST(what_piles_up_in_a_worker_takes_from_the_lookahead) {
    enum { SLOTS = 16, READY = 4 }; /* it keeps 2 + 16 / 8 ready */
    const int64_t rooms[] = {3, 2, 1, 0, 0};
    const part parts[] = {{0, 0}};
    mr_placement *p = NULL;
    mr_heartbeat h = {.worker = "w",
                      .model = "m",
                      .parts = parts,
                      .n_parts = 1,
                      .max_slots = SLOTS,
                      .running = SLOTS,
                      .displaceable = 5};
    CHECK_I64(mr_placement_open(&p, 3, 5000, NULL), MR_OK);
    for (uint32_t i = 0; i < MR_COUNT(rooms); i++) {
        h.waiting = READY + i;
        CHECK_I64(mr_placement_report(p, &h, 0), MR_OK);
        CHECK_I64(mr_placement_room(p, 0), rooms[i]);
        CHECK(mr_placement_lanes(p, "m", 0) & MR_LANE_BIT(MR_PRIORITY_HIGH));
    }
    h.free_slots = 2; /* then they are on their way to a seat */
    CHECK_I64(mr_placement_report(p, &h, 0), MR_OK);
    CHECK_I64(mr_placement_room(p, 0), 5);
    mr_placement_close(p);
}

TEST(silent_and_leaving_workers_get_nothing) {
    mr_placement *p = NULL;
    const part parts[] = {{0, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "w", "m", 4, parts, 1, 1000);
    CHECK_I64(mr_placement_live(p, 6000), 1);
    CHECK_I64(mr_placement_live(p, 6001), 0);
    CHECK_I64(take(p, "m", 6001), -1);
    beat(p, "w", "m", 4, parts, 1, 7000);
    CHECK_I64(take(p, "m", 7000), 0);
    const mr_heartbeat leaving = {.worker = "w",
                                  .model = "m",
                                  .parts = parts,
                                  .n_parts = 1,
                                  .free_slots = 4,
                                  .leaving = true};
    CHECK_I64(mr_placement_report(p, &leaving, 7001), MR_OK);
    CHECK_I64(take(p, "m", 7001), -1);
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
    CHECK_I64(take(p, "m", 2000), -1);
    CHECK_I64(mr_placement_report(p, &idle, 6999), MR_OK);
    CHECK_I64(take(p, "m", 6999), -1);
    CHECK_I64(mr_placement_report(p, &idle, 7000), MR_OK);
    CHECK_I64(mr_placement_room(p, 7000), 4);
    CHECK_I64(take(p, "m", 7000), 0);
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
        CHECK_I64(take(p, "m", 0), 0);
        mr_placement_released(p, "m", 0, off);
    }
    for (uint64_t t = 0; t < 20000; t += 500) {
        beat(p, "w", "m", 2, parts, 1, t);
        CHECK_I64(take(p, "m", t), -1);
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
        CHECK_I64(take(p, "m", 0), 0);
        mr_placement_released(p, "m", 0, off);
    }
    CHECK_I64(mr_placement_room(p, 0), 5);
    beat(p, "w", "m", 8, one_taken, 1, 0);
    CHECK_I64(mr_placement_room(p, 0), 6);
    beat(p, "w", "m", 8, all_taken, 1, 0);
    CHECK_I64(mr_placement_room(p, 0), 8);
    CHECK_I64(take(p, "m", 0), 0);
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

static bool is_waited_for(void *owner, const char *model) {
    return strcmp(owner, model) == 0;
}

/* 64 models, each with a worker of the same name: m0 heard of at 0, m1 at 1 and so on. */
static mr_placement *full_of_models(void) {
    mr_placement *p = NULL;
    char name[16];
    CHECK_I64(mr_placement_open(&p, 0, 1000, NULL), MR_OK);
    for (int i = 0; i < MR_MAX_MODELS; i++) {
        const part parts[] = {{0, 5}};
        snprintf(name, sizeof name, "m%d", i);
        beat(p, name, name, 1, parts, 1, (uint64_t)i);
    }
    return p;
}

TEST(a_new_model_takes_the_place_of_the_one_that_is_gone_for_longest) {
    mr_placement *p = full_of_models();
    const part parts[] = {{0, 0}};
    const mr_heartbeat h = {.worker = "new",
                            .model = "new",
                            .parts = parts,
                            .n_parts = 1,
                            .free_slots = 1,
                            .max_slots = 2};
    mr_placement_ask(p, is_waited_for, "m1");
    CHECK_I64(take(p, "m0", 0), 0);
    CHECK_I64(mr_placement_report(p, &h, 1002), MR_ELIMIT); /* m2 lives */
    CHECK_I64(mr_placement_report(p, &h, 1003), MR_OK);
    CHECK(mr_placement_knows(p, "m0")); /* a release of its is on the way */
    CHECK(mr_placement_knows(p, "m1")); /* a job waits for it */
    CHECK(!mr_placement_knows(p, "m2"));
    CHECK_I64(take(p, "new", 1003), 0);
    mr_placement_set(p, 0, 100000); /* who is back is not taken for a worker of the new one */
    CHECK_I64(mr_placement_largest(p, "new", 1003), UINT32_MAX);
    CHECK_I64(mr_placement_room(p, 1003), MR_MAX_MODELS - 2);
    mr_placement_released(p, "m0", 0, 5);
    mr_placement_failed(p, "new", 0);
    mr_placement_close(p);
}

TEST(a_leaving_model_gives_way_at_once) {
    mr_placement *p = full_of_models();
    const mr_heartbeat leaving = {.worker = "m9", .model = "m9", .leaving = true},
                       h = {.worker = "new", .model = "new"};
    CHECK_I64(mr_placement_report(p, &h, 100), MR_ELIMIT);
    CHECK_I64(mr_placement_report(p, &leaving, 100), MR_OK);
    CHECK_I64(mr_placement_report(p, &h, 100), MR_OK);
    CHECK(mr_placement_knows(p, "m8") && !mr_placement_knows(p, "m9"));
    mr_placement_close(p);
}

TEST(a_worker_whose_row_was_given_away_loses_nothing) {
    mr_placement *p = NULL;
    char id[16];
    const part parts[] = {{0, 0}};
    CHECK_I64(mr_placement_open(&p, 2, 1000, NULL), MR_OK);
    beat(p, "old", "m", 1, parts, 1, 0);
    CHECK_I64(take(p, "m", 0), 0);
    mr_placement_released(p, "m", 0, 0);
    for (int i = 0; i < MR_MAX_WORKERS; i++) { /* the first has its row */
        snprintf(id, sizeof id, "w%d", i);
        beat(p, id, "m", 0, NULL, 0, 1001);
    }
    CHECK_I64(mr_placement_live(p, 1001), MR_MAX_WORKERS);
    const mr_heartbeat back = {.worker = "old",
                               .model = "m",
                               .parts = parts,
                               .n_parts = 1,
                               .free_slots = 1,
                               .max_slots = 2};
    CHECK_I64(mr_placement_report(p, &back, 1002), MR_ELIMIT); /* all of them live */
    CHECK_I64(mr_placement_report(p, &back, 2002), MR_OK);
    CHECK_I64(mr_placement_room(p, 2002), 2); /* of three one is taken */
    mr_placement_close(p);
}

TEST(the_roomiest_worker_is_taken) {
    mr_placement *p = NULL;
    const part a[] = {{0, 0}}, b[] = {{1, 0}};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    beat(p, "a", "m", 1, a, 1, 0);
    beat(p, "b", "m", 3, b, 1, 0);
    CHECK_I64(take(p, "m", 0), 1);
    CHECK_I64(take(p, "m", 0), 1);
    int rest[2] = {0, 0};
    for (int32_t t; (t = take(p, "m", 0)) >= 0;) rest[t]++;
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
        const int32_t t = take(p, "m", (uint64_t)i * A_TURN_MS);
        mr_placement_released(p, "m", t, i / 2);
    }
    beat(p, "a", "m", 4, none, 1, 4 * A_TURN_MS); /* partition 1 went to b, with two jobs */
    beat(p, "b", "m", 4, one, 1, 4 * A_TURN_MS);
    CHECK_I64(mr_placement_room(p, 4 * A_TURN_MS), 2 + 2);
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

/* ---- which worker ---- */

/* A worker that owns the partition of its number and has slots - free_slots jobs. */
static mr_heartbeat worker(const char *id, const part *own, uint32_t free_slots, uint32_t slots) {
    return (mr_heartbeat){.worker = id,
                          .model = "m",
                          .parts = own,
                          .n_parts = 1,
                          .free_slots = free_slots,
                          .max_slots = slots,
                          .running = slots - free_slots};
}

static void report(mr_placement *p, const mr_heartbeat *h, uint64_t now_ms) {
    CHECK_I64(mr_placement_report(p, h, now_ms), MR_OK);
}

static const part part_0 = {0, 0}, part_1 = {1, 0}, part_2 = {2, 0};

TEST(equals_take_turns) {
    mr_placement *p = NULL;
    const mr_heartbeat a = worker("a", &part_0, 4, 4), b = worker("b", &part_1, 4, 4),
                       c = worker("c", &part_2, 4, 4);
    int32_t seen[6];
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    for (uint64_t t = 0; t < 6; t++) { /* each job is through before the next one comes */
        report(p, &a, t);
        report(p, &b, t);
        report(p, &c, t);
        seen[t] = take(p, "m", t);
        mr_placement_failed(p, "m", seen[t]);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(seen[i] != seen[(i + 1) % 3]);
        CHECK_I64(seen[i + 3], seen[i]);
    }
    mr_placement_close(p);
}

/* Six of eight slots free is less to do than eight of sixteen, and more than half the room. */
TEST(the_least_loaded_of_those_near_the_roomiest) {
    mr_placement *p = NULL;
    const mr_heartbeat small = worker("small", &part_0, 6, 8),
                       large = worker("large", &part_1, 8, 16),
                       tiny = worker("tiny", &part_2, 3, 3); /* idle, but less than half the room */
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    report(p, &small, 0);
    report(p, &large, 0);
    report(p, &tiny, 0);
    CHECK_I64(take(p, "m", 0), 0);
    mr_placement_close(p);
}

TEST(a_cached_beginning_counts_among_those_near_the_roomiest) {
    mr_placement *p = NULL;
    const uint64_t of_a[] = {11, 12}, of_b[] = {99, 11}, job[] = {11, 12, 13};
    mr_heartbeat a = worker("a", &part_0, 4, 8), b = worker("b", &part_1, 8, 8);
    const mr_ask ask = {.model = "m", .lane = MR_PRIORITY_LOW, .prefix = job, .n_prefix = 3};
    a.prefixes = of_a;
    a.n_prefixes = 2;
    b.prefixes = of_b;
    b.n_prefixes = 2;
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    report(p, &b, 0); /* whoever is looked at first */
    report(p, &a, 0);
    mr_place got = place(p, &ask, 0);
    CHECK_STR(got.worker, "a");
    CHECK_I64(got.cached, 2);
    CHECK_I64(got.room, 4);
    got = place(p, &ask, 0); /* now a has three, less than half of b's eight */
    CHECK_STR(got.worker, "b");
    CHECK_I64(got.cached, 1);
    CHECK_I64(got.room, 8);
    b.n_prefixes = a.n_prefixes = 0; /* evicted: the newest heartbeat counts */
    report(p, &a, 0);
    report(p, &b, 0);
    CHECK_I64(place(p, &ask, 0).cached, 0);
    mr_placement_close(p);
}

TEST(a_high_job_goes_where_it_starts_first) {
    mr_placement *p = NULL;
    const mr_ask high = {.model = "m", .lane = MR_PRIORITY_HIGH};
    mr_heartbeat full = worker("full", &part_0, 0, 16), one = worker("one", &part_1, 1, 16);
    full.displaceable = 5;
    CHECK_I64(mr_placement_open(&p, 2, 5000, NULL), MR_OK);
    report(p, &one, 0); /* whoever is looked at first */
    report(p, &full, 0);
    mr_place got = place(p, &high, 0); /* "full" has more room, but no slot that is free */
    CHECK_STR(got.worker, "one");
    CHECK(!got.displaces);
    for (int i = 0; i < 5; i++) { /* then where others make room, rather than in a queue */
        got = place(p, &high, 0);
        CHECK_STR(got.worker, "full");
        CHECK(got.displaces);
    }
    for (int i = 0; i < 4; i++) {
        got = place(p, &high, 0);
        CHECK(got.partition >= 0 && !got.displaces);
    }
    CHECK_I64(place(p, &high, 0).partition, -1);
    mr_placement_close(p);
}

TEST(only_high_jobs_displace) {
    mr_placement *p = NULL;
    mr_heartbeat full = worker("full", &part_0, 0, 4);
    const mr_ask high = {.model = "m", .lane = MR_PRIORITY_HIGH},
                 low = {.model = "m", .lane = MR_PRIORITY_LOW};
    full.displaceable = 2;
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    CHECK_I64(mr_placement_lanes(p, "m", 0), 0); /* nobody has reported */
    report(p, &full, 0);
    CHECK_I64(mr_placement_lanes(p, "m", 0), MR_LANE_BIT(MR_PRIORITY_HIGH));
    CHECK_I64(mr_placement_lanes(p, "other", 0), 0);
    CHECK_I64(take(p, "m", 0), -1);
    CHECK(place(p, &high, 0).displaces && place(p, &high, 0).displaces);
    CHECK_I64(mr_placement_lanes(p, "m", 0), 0);
    full.free_slots = 4;
    report(p, &full, 0);
    CHECK_I64(mr_placement_lanes(p, "m", 0), MR_LANES_ALL);
    CHECK_I64(mr_placement_lanes(p, "m", 5001), 0); /* silent */
    full.free_slots = 0;
    mr_placement_set(p, 3, 5000); /* two are on the way */
    report(p, &full, 0);
    const mr_place queued = place(p, &low, 0); /* behind those who run */
    CHECK(queued.partition >= 0 && !queued.displaces);
    mr_placement_close(p);
}

TEST(an_avoided_worker_is_the_last_resort) {
    mr_placement *p = NULL;
    const part nowhere = {0, 0};
    mr_heartbeat a = worker("a", &part_0, 4, 4), b = worker("b", &part_1, 1, 4);
    mr_ask ask = {.model = "m", .lane = MR_PRIORITY_NORMAL, .avoid = "a"};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    report(p, &a, 0);
    CHECK_STR(place(p, &ask, 0).worker, "a"); /* there is nobody else */
    report(p, &b, 0);
    CHECK_STR(place(p, &ask, 0).worker, "b");
    CHECK_I64(place(p, &ask, 0).partition, -1); /* b has no room: the caller may wait for it */
    b.leaving = true;
    b.parts = &nowhere;
    b.n_parts = 0;
    report(p, &b, 0);
    CHECK_STR(place(p, &ask, 0).worker, "a");
    b.leaving = false;
    b.n_ctx = 100; /* alive, but too small for this job: nobody to wait for */
    report(p, &b, 0);
    ask.need_tokens = 200;
    CHECK_STR(place(p, &ask, 0).worker, "a");
    mr_placement_close(p);
}

TEST(a_job_goes_where_it_fits) {
    mr_placement *p = NULL;
    mr_heartbeat small = worker("small", &part_0, 4, 4), large = worker("large", &part_1, 1, 4);
    mr_ask ask = {.model = "m", .lane = MR_PRIORITY_NORMAL, .need_tokens = 1000};
    small.n_ctx = 4096;
    small.kv_tokens_total = 999; /* the smaller one counts */
    large.n_ctx = 1000;
    large.kv_tokens_total = 8192;
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    CHECK_I64(mr_placement_largest(p, "m", 0), 0);
    report(p, &small, 0);
    CHECK_I64(mr_placement_largest(p, "m", 0), 999);
    CHECK_I64(place(p, &ask, 0).partition, -1);
    report(p, &large, 0);
    CHECK_I64(mr_placement_largest(p, "m", 0), 1000);
    CHECK_STR(place(p, &ask, 0).worker, "large");
    CHECK_I64(place(p, &ask, 0).partition, -1);
    report(p, &small, 5001);
    CHECK_I64(mr_placement_largest(p, "m", 5001), 999); /* the large one is silent */
    small.n_ctx = 0;                                    /* one that does not tell holds anything */
    small.kv_tokens_total = 0;
    report(p, &small, 5001);
    CHECK_STR(place(p, &ask, 5001).worker, "small");
    mr_placement_close(p);
}

/* ---- several dispatchers ---- */

TEST(dispatchers_have_their_part_and_at_least_one) {
    static const struct {
        uint32_t free_slots, lookahead;
        size_t n_dispatchers, each;
    } cases[] = {{8, 0, 2, 4}, {7, 0, 2, 3}, {6, 2, 3, 2},
                 {1, 0, 2, 1}, {0, 0, 2, 0}, {1, 0, 5, 1}};
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_placement *p = NULL;
        const mr_heartbeat w = worker("w", &part_0, cases[i].free_slots, 8);
        size_t n = 0;
        CHECK_I64(mr_placement_open(&p, cases[i].lookahead, 5000, NULL), MR_OK);
        mr_placement_share(p, cases[i].n_dispatchers);
        report(p, &w, 0);
        for (int32_t t; (t = take(p, "m", 0)) >= 0; n++)
            mr_placement_released(p, "m", t, (int64_t)n);
        CHECK_I64(n, cases[i].each);
        mr_placement_share(p, 1); /* the others have left: all of it */
        while (take(p, "m", 0) >= 0) n++;
        CHECK_I64(n, cases[i].free_slots + cases[i].lookahead);
        mr_placement_close(p);
    }
}

/* Taken by the worker, they are its load and ours no more. */
TEST(our_part_comes_back_with_the_position) {
    mr_placement *p = NULL;
    part own = {0, 0};
    CHECK_I64(mr_placement_open(&p, 0, 5000, NULL), MR_OK);
    mr_placement_share(p, 2);
    beat(p, "w", "m", 8, &own, 1, 0);
    for (int64_t i = 0; i < 4; i++) {
        CHECK_I64(take(p, "m", 0), 0);
        mr_placement_released(p, "m", 0, 3 * i); /* records of others lie between */
    }
    CHECK_I64(take(p, "m", 0), -1);
    own.position = 4; /* two of ours, two of others */
    beat(p, "w", "m", 4, &own, 1, 1);
    CHECK_I64(take(p, "m", 1), -1); /* two of ours are our half of four */
    own.position = 10;
    beat(p, "w", "m", 4, &own, 1, 2);
    CHECK_I64(take(p, "m", 2), 0);
    CHECK_I64(take(p, "m", 2), 0);
    CHECK_I64(take(p, "m", 2), -1);
    mr_placement_close(p);
}

/* ---- random worlds ---- */

enum { WORKERS = 5, SLOTS = 8, LOOKAHEAD = 2 };

typedef struct sim_worker {
    int64_t end, position;
    int high, other; /* running */
    int n_high_way, n_way;
} sim_worker;

static void sim_report(mr_placement *p, uint32_t i, const sim_worker *w) {
    char id[8];
    const part own = {(int32_t)i, w->position};
    snprintf(id, sizeof id, "w%u", i);
    mr_heartbeat h = worker(id, &own, (uint32_t)(SLOTS - w->high - w->other), SLOTS);
    h.displaceable = (uint32_t)w->other;
    report(p, &h, 0);
}

/* Takes what fits; a high one puts another out, who waits elsewhere. */
static void sim_take(sim_worker *w) {
    while (w->n_high_way > 0 && (w->high + w->other < SLOTS || w->other > 0)) {
        w->other -= w->high + w->other == SLOTS;
        w->high++;
        w->n_high_way--;
        w->n_way--;
        w->position++;
    }
    while (w->n_way > w->n_high_way && w->high + w->other < SLOTS) {
        w->other++;
        w->n_way--;
        w->position++;
    }
}

static void sim_release(mr_placement *p, sim_worker *sim, bool high) {
    const mr_ask ask = {.model = "m", .lane = high ? MR_PRIORITY_HIGH : MR_PRIORITY_LOW};
    const mr_place got = place(p, &ask, 0);
    if (got.partition < 0) return;
    sim_worker *w = &sim[got.partition];
    mr_placement_released(p, "m", got.partition, w->end++);
    w->n_way++;
    w->n_high_way += high;
}

/* What others released while high jobs came may stand behind them, so the bound is that of all. */
static void sim_check(const sim_worker *w, bool any_high, uint64_t seed) {
    const int in_all = w->n_way + w->high + w->other, bound = SLOTS + LOOKAHEAD;
    if (in_all - (any_high ? w->n_high_way : 0) > bound ||
        w->n_way > bound + (any_high ? SLOTS : 0))
        fail_msg("seed %llu: %d on the way, %d of them high, %d run", (unsigned long long)seed,
                 w->n_way, w->n_high_way, w->high + w->other);
}

static void simulate(uint64_t seed, bool any_high) {
    sim_worker sim[WORKERS] = {{0, 0, 0, 0, 0, 0}};
    mr_placement *p = NULL;
    uint64_t rng = seed;
    CHECK_I64(mr_placement_open(&p, LOOKAHEAD, 1000000, NULL), MR_OK);
    for (int step = 0; step < 400; step++) {
        sim_worker *w = &sim[random_below(&rng, WORKERS)];
        switch (random_below(&rng, 4)) {
        case 0:
            sim_report(p, (uint32_t)(w - sim), w);
            break;
        case 1:
            sim_take(w);
            break;
        case 2: /* finish something */
            if (w->other > 0)
                w->other--;
            else if (w->high > 0)
                w->high--;
            break;
        default:
            sim_release(p, sim, any_high && random_below(&rng, 3) == 0);
            break;
        }
        for (int i = 0; i < WORKERS; i++) sim_check(&sim[i], any_high, seed);
    }
    mr_placement_close(p);
}

TEST(simulated_workers_are_never_overfilled) {
    for (uint64_t seed = 1; seed <= 300; seed++) simulate(seed, false);
}

TEST(high_jobs_come_on_top_of_that_by_what_they_displace) {
    for (uint64_t seed = 1; seed <= 300; seed++) simulate(seed, true);
}

/* Two dispatchers and one worker: with reports to both at random times there is never more on the
 * way than slots and lookahead, and at a standstill never more than room and one. */
TEST(two_dispatchers_do_not_overfill_a_worker) {
    for (uint64_t seed = 1; seed <= 300; seed++) {
        mr_placement *p[2] = {NULL};
        sim_worker w = {0, 0, 0, 0, 0, 0};
        uint64_t rng = seed;
        for (int i = 0; i < 2; i++) {
            CHECK_I64(mr_placement_open(&p[i], LOOKAHEAD, 1000000, NULL), MR_OK);
            mr_placement_share(p[i], 2);
            sim_report(p[i], 0, &w);
        }
        for (int step = 0; step < 400; step++) {
            switch (random_below(&rng, 4)) {
            case 0:
                sim_report(p[0], 0, &w);
                sim_report(p[1], 0, &w);
                break;
            case 1:
                sim_take(&w);
                break;
            case 2:
                w.other -= w.other > 0;
                break;
            default:
                sim_release(p[random_below(&rng, 2)], &w, false);
                break;
            }
            CHECK(w.n_way <= SLOTS + LOOKAHEAD + 1);
        }
        while (w.n_way > 0) { /* all quiet: each knows all */
            w.other = 0;
            sim_take(&w);
        }
        const int room = SLOTS - w.other + LOOKAHEAD;
        sim_report(p[0], 0, &w);
        sim_report(p[1], 0, &w);
        for (int i = 0; i < 2 * (SLOTS + LOOKAHEAD); i++) sim_release(p[i % 2], &w, false);
        CHECK(w.n_way >= room - 1 && w.n_way <= room + 1);
        mr_placement_close(p[0]);
        mr_placement_close(p[1]);
    }
}

MR_TEST_MAIN
