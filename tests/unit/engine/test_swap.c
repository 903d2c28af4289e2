/* Goal: what is put into swap comes out into the blocks that it is asked for, for the same tokens
 * only; room is given back whatever happens; and swapping is chosen where it is cheaper.
 * Method: a backend whose cache is an array of bytes. */
#include "engine/swap.h"

#include "engine/ops.h"
#include "tests/test.h"

enum { N_BLOCK = 16, BLOCK_BYTES = 64, N_SLOTS = 5, N_TOKENS = 200 };

static uint8_t cache[N_BLOCK][BLOCK_BYTES], host[N_SLOTS][BLOCK_BYTES];
static int32_t tokens[N_TOKENS];
static uint32_t n_loads;

static void save(mr_backend *b, int32_t block, void *to) {
    (void)b;
    memcpy(to, cache[block], BLOCK_BYTES);
}

static void load(mr_backend *b, int32_t block, const void *from) {
    (void)b;
    n_loads++;
    memcpy(cache[block], from, BLOCK_BYTES);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    (void)b;
    (void)err;
    return MR_OK;
}

static void *reserve_swap(mr_backend *b, size_t bytes, mr_err *err) {
    (void)b;
    (void)err;
    CHECK_I64(bytes, sizeof host);
    return host;
}

static const mr_steps steps = {
    .save = save, .load = load, .settle = settle, .reserve_swap = reserve_swap};
static mr_backend backend = {
    .steps = &steps, .name = "fake", .max_rows = 1, .block_bytes = BLOCK_BYTES};

static void fill(uint8_t salt) {
    for (int i = 0; i < N_BLOCK; i++) memset(cache[i], salt + i, BLOCK_BYTES);
}

static mr_swap open_swap(void) {
    mr_swap s;
    mr_err err;

    for (int i = 0; i < N_TOKENS; i++) tokens[i] = i * 7;
    fill(1);
    CHECK_OK(mr_swap_open(&s, &backend, sizeof host + 1, &err), err);
    CHECK_I64(s.n_free, N_SLOTS);
    s.token_us = 0;
    n_loads = 0;
    return s;
}

TEST(blocks_come_back_to_other_places) {
    const int32_t from[] = {3, 9, 4}, to[] = {7, 0, 12};
    mr_swap s = open_swap();

    const int32_t parked = mr_swap_put(&s, from, tokens, 2 * MR_KV_BLOCK_LEN + 1);
    CHECK(parked != MR_SWAP_NONE);
    CHECK_I64(s.n_free, N_SLOTS - 3);
    fill(100);
    CHECK_I64(mr_swap_take(&s, parked, to, tokens, N_TOKENS, 0), 2 * MR_KV_BLOCK_LEN + 1);
    for (int i = 0; i < 3; i++) CHECK_I64(cache[to[i]][5], 1 + from[i]);
    CHECK_I64(cache[1][5], 101);
    CHECK_I64(s.n_free, N_SLOTS);
    mr_swap_close(&s);
}

TEST(what_the_cache_still_has_is_not_copied) {
    const int32_t from[] = {3, 9, 4}, to[] = {3, 9, 12};
    mr_swap s = open_swap();

    const int32_t parked = mr_swap_put(&s, from, tokens, 3 * MR_KV_BLOCK_LEN);
    CHECK_I64(mr_swap_take(&s, parked, to, tokens, N_TOKENS, 2), 3 * MR_KV_BLOCK_LEN);
    CHECK_I64(n_loads, 1);
    CHECK_I64(cache[12][0], 1 + 4);
    mr_swap_close(&s);
}

TEST(other_tokens_get_nothing) {
    const int32_t table[] = {3, 9};
    mr_swap s = open_swap();

    int32_t parked = mr_swap_put(&s, table, tokens, 40);
    tokens[39]++;
    CHECK_I64(mr_swap_take(&s, parked, table, tokens, N_TOKENS, 0), 0);
    parked = mr_swap_put(&s, table, tokens, 40);
    CHECK_I64(mr_swap_take(&s, parked, table, tokens, 39, 0), 0); /* fewer than it had */
    CHECK_I64(n_loads, 0);
    CHECK_I64(s.n_free, N_SLOTS);
    mr_swap_close(&s);
}

TEST(room_is_bounded_and_given_back) {
    const int32_t table[] = {3, 9, 4};
    int32_t parked[N_SLOTS];
    mr_swap s = open_swap();

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N_SLOTS; i++) parked[i] = mr_swap_put(&s, table, tokens, 1 + i);
        CHECK_I64(mr_swap_put(&s, table, tokens, 1), MR_SWAP_NONE);
        for (int i = 0; i < N_SLOTS; i++) mr_swap_drop(&s, parked[(i * 3 + round) % N_SLOTS]);
        CHECK_I64(s.n_free, N_SLOTS);
    }
    mr_swap_drop(&s, MR_SWAP_NONE);
    parked[0] = mr_swap_put(&s, table, tokens, 3 * MR_KV_BLOCK_LEN);
    CHECK_I64(mr_swap_put(&s, table, tokens, 3 * MR_KV_BLOCK_LEN), MR_SWAP_NONE);
    mr_swap_drop(&s, parked[0]);
    CHECK_I64(s.n_free, N_SLOTS);
    mr_swap_close(&s);
}

TEST(the_cheaper_way_is_taken) {
    const int32_t table[] = {3};
    mr_swap s = open_swap();

    s.block_us = 100;
    CHECK(mr_swap_pays(&s, 1, 1)); /* nobody knows yet what a token costs */
    mr_swap_note_step(&s, 63, 63000000);
    CHECK(s.token_us == 0); /* too few rows to say */
    mr_swap_note_step(&s, 100, 1000);
    CHECK(s.token_us == 10);
    CHECK(mr_swap_pays(&s, 1, 11));
    CHECK(!mr_swap_pays(&s, 1, 10));
    CHECK(!mr_swap_pays(&s, 2, 11));
    CHECK_I64(mr_swap_put(&s, table, tokens, 10), MR_SWAP_NONE);
    const int32_t parked = mr_swap_put(&s, table, tokens, 11);
    CHECK(parked != MR_SWAP_NONE);
    mr_swap_drop(&s, parked);
    mr_swap_note_step(&s, 64, 64 * 18); /* an eighth of the difference */
    CHECK(s.token_us == 11);
    mr_swap_close(&s);
}

TEST(less_than_a_block_is_refused) {
    mr_swap s;
    mr_err err;

    CHECK_I64(mr_swap_open(&s, &backend, BLOCK_BYTES - 1, &err), MR_EINVAL);
    CHECK_ERR(err, "63 are less than one block's 64");
}

MR_TEST_MAIN
