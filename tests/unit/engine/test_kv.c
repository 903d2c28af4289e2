/* Goal: blocks are handed out all or none, never twice, and come back; addresses do not overlap.
 * Method: small pools; every value of every position is written with its own number and read back.
 */
#include "engine/kv.h"
#include "engine/memory.h"
#include "tests/test.h"

TEST(take_is_all_or_none) {
    mr_kv kv;
    int32_t a[8], b[8];
    mr_err err;

    CHECK_OK(mr_kv_init(&kv, 1, 1, 4, 8, &err), err);
    CHECK_OK(mr_kv_take(&kv, a, 5, &err), err);
    CHECK_I64(mr_kv_take(&kv, b, 4, &err), MR_ELIMIT);
    CHECK_ERR(err, "4 blocks wanted, 3 of 8 free");
    CHECK_I64(kv.n_free, 3);
    CHECK_OK(mr_kv_take(&kv, b, 3, &err), err);
    CHECK_I64(kv.n_free, 0);
    mr_kv_give(&kv, a, 5);
    CHECK_I64(kv.n_free, 5);
    mr_kv_deinit(&kv);
}

TEST(a_block_has_one_owner) {
    enum { N = 64 };
    mr_kv kv;
    int32_t table[N];
    int owners[N] = {0};

    CHECK_I64(mr_kv_init(&kv, 1, 1, 2, N, NULL), MR_OK);
    CHECK_I64(mr_kv_take(&kv, table, N, NULL), MR_OK);
    for (int round = 0; round < 100; round++) { /* give and take parts in changing order */
        const uint32_t from = (uint32_t)(round * 7 % N), n = (uint32_t)(round % 5 + 1);
        const uint32_t m = from + n > N ? N - from : n;
        mr_kv_give(&kv, table + from, m);
        CHECK_I64(mr_kv_take(&kv, table + from, m, NULL), MR_OK);
    }
    for (int i = 0; i < N; i++) {
        CHECK(table[i] >= 0 && table[i] < N);
        owners[table[i]]++;
    }
    for (int i = 0; i < N; i++) CHECK_I64(owners[i], 1);
    mr_kv_deinit(&kv);
}

TEST(a_drop_and_an_add_reuse_the_same_blocks_in_order) {
    mr_kv kv;
    int32_t first[3], again[3];

    CHECK_I64(mr_kv_init(&kv, 1, 1, 2, 16, NULL), MR_OK);
    CHECK_I64(mr_kv_take(&kv, first, 3, NULL), MR_OK);
    mr_kv_give(&kv, first, 3);
    CHECK_I64(mr_kv_take(&kv, again, 3, NULL), MR_OK);
    assert_memory_equal(first, again, sizeof first);
    CHECK_I64(first[0], 0); /* low blocks first: few pages are touched */
    mr_kv_deinit(&kv);
}

/* Whole numbers up to 2048 are exact in f16. */
TEST(every_head_position_and_layer_has_its_own_place) {
    enum { LAYERS = 3, HEADS = 2, D = 3, BLOCKS = 2, LEN = BLOCKS * MR_KV_BLOCK_LEN };
    const mr_ops *ops = mr_ops_pick("ref");
    mr_kv kv;
    int32_t table[BLOCKS];
    mr_f16 scratch[D];

    CHECK_I64(mr_kv_init(&kv, LAYERS, HEADS, D, BLOCKS, NULL), MR_OK);
    CHECK_I64(kv.bytes, 2 * 2 * LAYERS * HEADS * D * LEN);
    CHECK_I64(kv.bytes, mr_kv_bytes_for(LAYERS, HEADS, D, BLOCKS));
    CHECK_I64(mr_kv_take(&kv, table, BLOCKS, NULL), MR_OK);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t p = 0; p < LEN; p++) {
            float k[HEADS * D], v[HEADS * D];
            for (uint32_t i = 0; i < HEADS * D; i++) {
                k[i] = (float)((l * LEN + p) * HEADS * D + i);
                v[i] = -k[i];
            }
            mr_kv_put(&kv, ops, l, table, p, k, v, scratch);
        }
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t p = 0; p < LEN; p++)
            for (uint32_t i = 0; i < HEADS * D; i++) {
                const size_t at = mr_kv_at(&kv, table, p, i / D), in = p % MR_KV_BLOCK_LEN;
                const float want = (float)((l * LEN + p) * HEADS * D + i);
                CHECK(mr_f16_to_f32(mr_kv_k(&kv, l)[at + i % D * MR_KV_BLOCK_LEN + in]) == want);
                CHECK(mr_f16_to_f32(mr_kv_v(&kv, l)[at + in * D + i % D]) == -want);
            }
    mr_kv_deinit(&kv);
}

TEST(blocks_for_rounds_up) {
    CHECK_I64(mr_kv_blocks_for(0), 0);
    CHECK_I64(mr_kv_blocks_for(1), 1);
    CHECK_I64(mr_kv_blocks_for(MR_KV_BLOCK_LEN), 1);
    CHECK_I64(mr_kv_blocks_for(MR_KV_BLOCK_LEN + 1), 2);
}

TEST(available_memory_is_a_plausible_number) {
    const uint64_t bytes = mr_memory_available();

    CHECK(bytes > 16u << 20); /* or this test could not run */
}

MR_TEST_MAIN
