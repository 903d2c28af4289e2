/* Goal: dispatchers hear of each other, and each knows at all times how many have jobs waiting; who
 * leaves or falls silent counts no more; noise stops nobody. Method: two of them and beats by hand
 * on the embedded broker. */
#include "dispatcher/peers.h"

#include "base/clock.h"
#include "rig.h"

enum { PERIOD_MS = 50 };

typedef struct self { /* one dispatcher */
    mr_peers *peers;
    uint64_t waiting;
    size_t share, n_told;
} self;

static self a, b;
static mr_kafka_producer *producer;
static reader beats;

static void on_fill(void *owner, mr_beat *beat) {
    const self *s = owner;
    beat->lanes[MR_PRIORITY_LOW].waiting = s->waiting;
    beat->delayed = 7;
}

static void on_share(void *owner, size_t n) {
    self *s = owner;
    s->share = n;
    s->n_told++;
}

static void on_fatal(void *owner, const char *text) {
    (void)owner;
    fail_msg("fatal: %s", text);
}

static void self_open(self *s, const char *id) {
    const mr_peers_conf conf = {.kafka = &kafka,
                                .topic = names.dispatchers,
                                .dispatcher = id,
                                .period_ms = PERIOD_MS,
                                .timeout_ms = WAIT_MS,
                                .owner = s,
                                .on_fill = on_fill,
                                .on_share = on_share,
                                .on_fatal = on_fatal};
    *s = (self){.share = 1};
    CHECK_OK(mr_peers_open(&s->peers, &loop, &conf, &err), err);
}

typedef struct wish {
    const self *s;
    size_t share, live;
} wish;

static bool is_so(void *arg) {
    const wish *w = arg;
    return w->s->share == w->share && mr_peers_live(w->s->peers) == w->live;
}

static void wait_share(const self *s, size_t share, size_t live) {
    wish w = {s, share, live};
    if (!run_until(&loop, is_so, &w, WAIT_MS))
        fail_msg("share %zu of %zu live ones, not %zu of %zu", s->share, mr_peers_live(s->peers),
                 share, live);
}

static void send_beat(const char *id, uint64_t waiting, bool leaving) {
    mr_beat beat = {.dispatcher = id, .sent_ms = mr_clock_wall_ms(), .leaving = leaving};
    mr_arena arena;
    const void *bytes;
    size_t n;
    beat.lanes[MR_PRIORITY_HIGH].waiting = waiting;
    mr_arena_init(&arena, 0);
    CHECK_I64(mr_codec_beat_encode(&beat, &arena, &bytes, &n), MR_OK);
    produce(producer, names.dispatchers, NULL, bytes, n);
    mr_arena_drop(&arena);
}

TEST(two_hear_of_each_other) {
    rig_open(1, 1);
    CHECK_OK(mr_kafka_mock_topic(mock, names.dispatchers, 1, &err), err);
    producer = producer_open();
    reader_open(&beats, names.dispatchers, 1);
    self_open(&a, "a");
    self_open(&b, "b");
    wait_share(&a, 1, 1); /* it lives, and has nothing */
    wait_share(&b, 1, 1);
    CHECK_I64(a.n_told, 0);
    b.waiting = 3;
    wait_share(&a, 2, 1);
    wait_share(&b, 1, 1); /* one that has nothing itself still counts itself */
    b.waiting = 0;
    wait_share(&a, 1, 1);
    CHECK_I64(a.n_told, 2);
}

TEST(a_beat_says_what_was_filled_in) {
    mr_arena arena;
    mr_beat beat;
    b.waiting = 5;
    read_n(&beats, beats.n + 10);
    const seen *s = NULL; /* the newest of b */
    for (size_t i = 0; i < beats.n; i++)
        if (beats.all[i].key && strcmp(beats.all[i].key, "b") == 0) s = &beats.all[i];
    CHECK(s != NULL);
    mr_arena_init(&arena, 0);
    CHECK_OK(mr_codec_beat_decode(&beat, s->value, s->len, &arena, &err), err);
    CHECK_STR(beat.dispatcher, "b");
    CHECK(beat.sent_ms + WAIT_MS > mr_clock_wall_ms() && !beat.leaving);
    CHECK_I64(beat.delayed, 7);
    CHECK_I64(beat.lanes[MR_PRIORITY_LOW].waiting, 5);
    mr_arena_drop(&arena);
    b.waiting = 0;
}

TEST(who_falls_silent_is_gone) {
    const uint64_t begin_ms = mr_clock_mono_ms();
    wait_share(&a, 1, 1);
    send_beat("silent", 9, false);
    wait_share(&a, 2, 2);
    wait_share(&a, 1, 1);
    CHECK(mr_clock_mono_ms() - begin_ms >= MR_PEER_LEAST_MS);
    mr_peers_set_period(a.peers, 2 * MR_PEER_LEAST_MS); /* four of these are a longer patience */
    run_until(&loop, NULL, NULL, 2 * PERIOD_MS);
    send_beat("slow", 9, false);
    wait_share(&a, 2, 2);
    run_until(&loop, NULL, NULL, MR_PEER_LEAST_MS + 200);
    CHECK_I64(a.share, 2);
    send_beat("slow", 9, true);
    wait_share(&a, 1, 1);
    mr_peers_set_period(a.peers, PERIOD_MS);
}

/* From here on both have so much patience that nobody is gone by silence; they beat as seldom. */
TEST(noise_and_ones_own_echo) {
    mr_peers_set_period(a.peers, WAIT_MS);
    mr_peers_set_period(b.peers, WAIT_MS);
    produce(producer, names.dispatchers, NULL, "{}", 2);
    produce(producer, names.dispatchers, NULL, "[1,", 3);
    produce(producer, names.dispatchers, NULL, NULL, 0);
    send_beat("a", 9, false);
    send_beat("a", 0, false); /* what b, which takes them for a's, is to believe */
    send_beat("someone", 1, false);
    wait_share(&a, 2, 2);
    wait_share(&b, 2, 2);
    send_beat("someone", 1, true);
    wait_share(&a, 1, 1);
    wait_share(&b, 1, 1);
}

TEST(no_more_than_fit_the_table) {
    char id[16];
    for (int i = 0; i < MR_MAX_PEERS + 20; i++) {
        snprintf(id, sizeof id, "d%d", i);
        send_beat(id, 1, false);
    }
    wait_share(&a, MR_MAX_PEERS, MR_MAX_PEERS); /* b, and one less of these; with itself as many */
    for (int i = 0; i < MR_MAX_PEERS + 20; i++) {
        snprintf(id, sizeof id, "d%d", i);
        send_beat(id, 1, true);
    }
    wait_share(&a, 1, 1);
}

TEST(who_leaves_says_so) {
    send_beat("b", 1, false);
    wait_share(&a, 2, 1);
    mr_peers_close(b.peers);
    wait_share(&a, 1, 0);
    mr_peers_close(a.peers);
    mr_peers_close(NULL);
    producer_close(producer);
    reader_close(&beats);
    rig_close();
}

MR_TEST_MAIN_SHARED
