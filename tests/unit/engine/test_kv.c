/* Goal: blocks are handed out all or none, never twice, and come back; addresses do not overlap.
 * Method: small pools; every value of every position is written with its own number and read back.
 */
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kv.h"
#include "engine/memory.h"
#include "tests/test.h"

TEST(take_is_all_or_none) {
    mr_kv kv;
    int32_t a[8], b[8];
    mr_err err;

    CHECK_OK(mr_kv_init(&kv, MR_KV_F16, 1, 1, 4, 8, &err), err);
    CHECK_OK(mr_kv_take(&kv, a, 5, &err), err);
    CHECK_I64(mr_kv_take(&kv, b, 4, &err), MR_ELIMIT);
    CHECK_ERR(err, "4 blocks wanted, 3 of 8 free");
    CHECK_I64(mr_kv_n_free(&kv), 3);
    CHECK_OK(mr_kv_take(&kv, b, 3, &err), err);
    CHECK_I64(mr_kv_n_free(&kv), 0);
    mr_kv_give(&kv, a, 5);
    CHECK_I64(mr_kv_n_free(&kv), 5);
    mr_kv_deinit(&kv);
}

TEST(a_block_has_one_owner) {
    enum { N = 64 };
    mr_kv kv;
    int32_t table[N];
    int owners[N] = {0};

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, N, NULL), MR_OK);
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

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, 16, NULL), MR_OK);
    CHECK_I64(mr_kv_take(&kv, first, 3, NULL), MR_OK);
    mr_kv_give(&kv, first, 3);
    CHECK_I64(mr_kv_take(&kv, again, 3, NULL), MR_OK);
    assert_memory_equal(first, again, sizeof first);
    CHECK_I64(first[0], 0); /* low blocks first: few pages are touched */
    mr_kv_deinit(&kv);
}

/* ---- known blocks ---- */

/* n blocks of tokens that differ by kind. */
static void make_tokens(int32_t *tokens, uint32_t n, int32_t kind) {
    for (uint32_t i = 0; i < n * MR_KV_BLOCK_LEN; i++) tokens[i] = kind * 1000 + (int32_t)i;
}

static void make_all_known(mr_kv *kv, uint64_t salt, const int32_t *tokens, int32_t *table,
                           uint32_t n) {
    for (uint32_t i = 0; i < n; i++) mr_kv_make_known(kv, salt, tokens, table, i);
}

TEST(a_known_beginning_is_found_again) {
    int32_t tokens[4 * MR_KV_BLOCK_LEN], table[4], found[4];
    mr_kv kv;

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, 8, NULL), MR_OK);
    make_tokens(tokens, 4, 1);
    CHECK_I64(mr_kv_take(&kv, table, 4, NULL), MR_OK);
    make_all_known(&kv, 5, tokens, table, 3); /* the fourth is not full yet */
    CHECK_I64(mr_kv_find(&kv, 5, tokens, 2, found), 2);
    assert_memory_equal(found, table, 2 * sizeof *table);
    mr_kv_give(&kv, found, 2);
    mr_kv_give(&kv, table, 4);
    CHECK_I64(mr_kv_n_free(&kv), 8);
    CHECK_I64(kv.n_idle, 3);
    CHECK_I64(mr_kv_find(&kv, 5, tokens, 4, found), 3);
    assert_memory_equal(found, table, 3 * sizeof *table);
    CHECK_I64(mr_kv_n_free(&kv), 5);
    CHECK_I64(mr_kv_find(&kv, 6, tokens, 4, found + 3), 0); /* another salt */
    mr_kv_give(&kv, found, 3);
    tokens[MR_KV_BLOCK_LEN + 7]++;
    CHECK_I64(mr_kv_find(&kv, 5, tokens, 4, found), 1); /* equal up to the second block */
    mr_kv_give(&kv, found, 1);
    /* The same tokens behind another beginning have other keys and values. */
    CHECK_I64(mr_kv_find(&kv, 5, tokens + 2 * MR_KV_BLOCK_LEN, 1, found), 0);
    mr_kv_deinit(&kv);
}

TEST(a_block_that_is_known_already_takes_the_place_of_an_equal_one) {
    int32_t tokens[2 * MR_KV_BLOCK_LEN], a[2], b[2];
    mr_kv kv;

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, 4, NULL), MR_OK);
    make_tokens(tokens, 2, 1);
    CHECK_I64(mr_kv_take(&kv, a, 2, NULL), MR_OK);
    CHECK_I64(mr_kv_take(&kv, b, 2, NULL), MR_OK);
    make_all_known(&kv, 0, tokens, a, 2);
    CHECK_I64(mr_kv_n_free(&kv), 0);
    make_all_known(&kv, 0, tokens, b, 2);
    assert_memory_equal(a, b, sizeof a);
    CHECK_I64(mr_kv_n_free(&kv), 2);
    mr_kv_give(&kv, a, 2);
    CHECK_I64(mr_kv_n_free(&kv), 2); /* b has them still */
    mr_kv_give(&kv, b, 2);
    CHECK_I64(mr_kv_n_free(&kv), 4);
    mr_kv_deinit(&kv);
}

TEST(the_longest_idle_is_forgotten_first_and_its_end_before_its_beginning) {
    int32_t tokens[3][2 * MR_KV_BLOCK_LEN], table[2], found[2];
    mr_kv kv;

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, 6, NULL), MR_OK);
    for (int k = 0; k < 3; k++) {
        make_tokens(tokens[k], 2, k + 1);
        CHECK_I64(mr_kv_take(&kv, table, 2, NULL), MR_OK);
        make_all_known(&kv, 0, tokens[k], table, 2);
        mr_kv_give(&kv, table, 2);
    }
    CHECK_I64(mr_kv_find(&kv, 0, tokens[0], 2, found), 2); /* used: now the youngest */
    mr_kv_give(&kv, found, 2);
    CHECK_I64(mr_kv_take(&kv, table, 1, NULL), MR_OK); /* nothing is empty */
    CHECK_I64(mr_kv_find(&kv, 0, tokens[1], 2, found), 1);
    mr_kv_give(&kv, found, 1);
    CHECK_I64(mr_kv_find(&kv, 0, tokens[0], 2, found), 2);
    mr_kv_give(&kv, found, 2);
    CHECK_I64(mr_kv_find(&kv, 0, tokens[2], 2, found), 2);
    mr_kv_give(&kv, found, 2);
    mr_kv_deinit(&kv);
}

/* What a block holds is kept beside it: a stamp that only its tokens, salt and predecessors give.
 */
TEST(nothing_is_ever_found_that_was_not_written_so) {
    enum { POOL = 24, LIVE = 6, MOST = 4, KINDS = 5 };
    struct {
        int32_t tokens[MOST * MR_KV_BLOCK_LEN], table[MOST];
        uint32_t n;
        uint64_t salt;
    } seqs[LIVE] = {0};
    uint64_t stamp[POOL] = {0};
    uint32_t x = 1, n_found = 0;
    mr_kv kv;

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, 1, 1, 2, POOL, NULL), MR_OK);
    for (int round = 0; round < 20000; round++) {
        const uint32_t at = (x = x * 1664525u + 1013904223u) >> 16;
        uint64_t want[MOST], chain;
        uint32_t i = at % LIVE, hit;

        mr_kv_give(&kv, seqs[i].table, seqs[i].n);
        seqs[i].n = 1 + at / LIVE % MOST;
        seqs[i].salt = chain = at / 64 % 2;
        for (uint32_t b = 0; b < seqs[i].n; b++) { /* each block one of a few kinds */
            const int32_t kind = (int32_t)((x = x * 1664525u + 1013904223u) >> 20) % KINDS;
            make_tokens(seqs[i].tokens + b * MR_KV_BLOCK_LEN, 1, kind);
            want[b] = chain = chain * 16 + (uint64_t)kind + 2;
        }
        hit = mr_kv_find(&kv, seqs[i].salt, seqs[i].tokens, seqs[i].n, seqs[i].table);
        for (uint32_t b = 0; b < hit; b++) CHECK(stamp[seqs[i].table[b]] == want[b]);
        n_found += hit;
        CHECK_I64(mr_kv_take(&kv, seqs[i].table + hit, seqs[i].n - hit, NULL), MR_OK);
        for (uint32_t b = hit; b < seqs[i].n; b++) {
            stamp[seqs[i].table[b]] = want[b];
            mr_kv_make_known(&kv, seqs[i].salt, seqs[i].tokens, seqs[i].table, b);
            CHECK(stamp[seqs[i].table[b]] == want[b]);
        }
    }
    CHECK(n_found > 1000);
    for (int i = 0; i < LIVE; i++) mr_kv_give(&kv, seqs[i].table, seqs[i].n);
    CHECK_I64(mr_kv_n_free(&kv), POOL);
    mr_kv_deinit(&kv);
}

/* Whole numbers up to 2048 are exact in f16. */
TEST(every_head_position_and_layer_has_its_own_place) {
    enum { LAYERS = 3, HEADS = 2, D = 3, BLOCKS = 2, LEN = BLOCKS * MR_KV_BLOCK_LEN };
    const mr_ops *ops = mr_ops_pick("ref");
    mr_kv kv;
    int32_t table[BLOCKS];
    mr_f16 scratch[D];

    CHECK_I64(mr_kv_init(&kv, MR_KV_F16, LAYERS, HEADS, D, BLOCKS, NULL), MR_OK);
    CHECK_I64(kv.bytes, 2 * 2 * LAYERS * HEADS * D * LEN);
    CHECK_I64(kv.bytes, mr_kv_bytes_for(MR_KV_F16, LAYERS, HEADS, D, BLOCKS));
    CHECK_I64(mr_kv_take(&kv, table, BLOCKS, NULL), MR_OK);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t p = 0; p < LEN; p++) {
            float k[HEADS * D], v[HEADS * D];
            for (uint32_t i = 0; i < HEADS * D; i++) {
                k[i] = (float)((l * LEN + p) * HEADS * D + i);
                v[i] = -k[i];
            }
            for (uint32_t h = 0; h < HEADS; h++)
                mr_kv_put(&kv, ops, l, table, p, h, k + h * D, v + h * D, scratch);
        }
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t p = 0; p < LEN; p++)
            for (uint32_t i = 0; i < HEADS * D; i++) {
                const mr_f16 *keys =
                    (const mr_f16 *)mr_kv_at(&kv, l, (size_t)table[p / MR_KV_BLOCK_LEN], i / D);
                const mr_f16 *values = keys + MR_KV_BLOCK_LEN * D;
                const size_t in = p % MR_KV_BLOCK_LEN;
                const float want = (float)((l * LEN + p) * HEADS * D + i);
                CHECK(mr_f16_to_f32(keys[(in / 16 * D + i % D) * 16 + in % 16]) == want);
                CHECK(mr_f16_to_f32(values[in * D + i % D]) == -want);
            }
    mr_kv_deinit(&kv);
}

/* What a half of a block of bytes holds of one position; keys: its values lie apart. */
static float byte_value(const uint8_t *half, size_t d_head, size_t in, size_t d, bool keys) {
    const mr_f16 *scales = (const mr_f16 *)(half + mr_kv_scales_at(d_head));
    const size_t at = keys ? (in / 16 * d_head + d) * 16 + in % 16 : in * d_head + d;

    return (float)((const int8_t *)half)[at] *
           mr_f16_to_f32(scales[d / MR_KV_GROUP * MR_KV_BLOCK_LEN + in]);
}

/* Half a step of 1/127 of the group's largest, and what the scale's own rounding adds. */
TEST(bytes_are_within_half_a_step) {
    enum { D = 70, LEN = MR_KV_BLOCK_LEN }; /* three groups, the last of six values */
    const size_t half = mr_kv_half(MR_KV_Q8_0, D);
    uint8_t *block = malloc(2 * half);
    float k[LEN][D], v[LEN][D];
    mr_f16 scratch[D];
    uint32_t random = 1;
    double worst = 0;

    for (size_t p = 0; p < LEN; p++) {
        for (size_t d = 0; d < D; d++) {
            random = random * 1664525u + 1013904223u;
            k[p][d] = (float)(int32_t)random * 0x1p-31f * (p % 5 == 4 ? 1e3f : 1);
            v[p][d] = p == 7 ? 0 : -3 * k[p][d];
        }
        mr_kv_write(block, MR_KV_Q8_0, mr_ops_pick("ref"), (uint32_t)p, k[p], v[p], D, scratch);
    }
    for (size_t p = 0; p < LEN; p++)
        for (size_t d = 0; d < D; d++) {
            float most_k = 0, most_v = 0;
            const size_t g = d / MR_KV_GROUP * MR_KV_GROUP;
            for (size_t i = g; i < g + MR_KV_GROUP && i < D; i++) {
                most_k = fmaxf(most_k, fabsf(k[p][i]));
                most_v = fmaxf(most_v, fabsf(v[p][i]));
            }
            const float off_k = fabsf(byte_value(block, D, p, d, true) - k[p][d]);
            const float off_v = fabsf(byte_value(block + half, D, p, d, false) - v[p][d]);
            worst = fmax(worst, off_k / most_k);
            CHECK(off_v <= most_v * (0.5f / 127 + 0x1p-11f));
        }
    CHECK(worst <= 0.5 / 127 + 0x1p-11 && worst > 0.4 / 127);
    free(block);
}

TEST(what_is_not_finite_spoils_its_group) {
    enum { D = 64 };
    const size_t half = mr_kv_half(MR_KV_Q8_0, D);
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    uint8_t *block = calloc(2, half);
    mr_f16 scratch[D];

    for (uint32_t p = 0; p < MR_COUNT(bad); p++) {
        float x[D] = {[40] = bad[p], [50] = 1};
        x[3] = 2;
        mr_kv_write(block, MR_KV_Q8_0, mr_ops_pick("ref"), p, x, x, D, scratch);
        CHECK(fabsf(byte_value(block, D, p, 3, true) - 2) < 2 * 0x1p-11f);
        for (size_t d = MR_KV_GROUP; d < D; d++) {
            CHECK(isnan(byte_value(block, D, p, d, true)));
            CHECK(isnan(byte_value(block + half, D, p, d, false)));
        }
    }
    free(block);
}

TEST(bytes_take_little_more_than_half) {
    const uint64_t f16 = mr_kv_bytes_for(MR_KV_F16, 22, 4, 64, 256);
    const uint64_t q8_0 = mr_kv_bytes_for(MR_KV_Q8_0, 22, 4, 64, 256);
    mr_kv_type type = MR_KV_F16;

    CHECK_I64(f16, 2ull * 2 * 22 * 4 * 64 * 256 * 32);
    CHECK_I64(q8_0 * 32, f16 * 17); /* 34 bytes for 32 values instead of 64 */
    CHECK(mr_kv_type_parse("q8_0", &type) && type == MR_KV_Q8_0);
    CHECK(!mr_kv_type_parse("q4_0", &type) && type == MR_KV_Q8_0);
    CHECK_STR(mr_kv_type_name(type), "q8_0");
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

TEST(lists_of_nodes_are_read) {
    CHECK_I64(mr_memory_nodes_of("0\n"), 1);
    CHECK_I64(mr_memory_nodes_of("0-1"), 3);
    CHECK_I64(mr_memory_nodes_of("0-1,4,6-7\n"), 0xd3);
    CHECK(mr_memory_nodes_of("63") == (uint64_t)1 << 63);
    CHECK_I64(mr_memory_nodes_of(""), 0);
    CHECK_I64(mr_memory_nodes_of("64"), 0);
    CHECK_I64(mr_memory_nodes_of("1-0"), 0);
    CHECK_I64(mr_memory_nodes_of("0-"), 0);
    CHECK_I64(mr_memory_nodes_of("0,"), 0);
    CHECK_I64(mr_memory_nodes_of("0 1"), 0);
    CHECK(mr_memory_nodes() < 2 || mr_memory_nodes() & 1);
}

/* What the kernel is asked for: of nodes that this machine lacks it takes those that there are. */
TEST(pages_are_dealt_out_to_several_nodes_only) {
    const size_t bytes = 1 << 20;
    uint8_t *p = mr_pages_map(bytes);
    int policy = -1;

    CHECK(!mr_pages_interleave(p, bytes, 0));
    CHECK(!mr_pages_interleave(p, bytes, 1));
    if (mr_pages_interleave(p, bytes, 3) &&
        syscall(SYS_get_mempolicy, &policy, NULL, 0, p, 2 /* MPOL_F_ADDR */) == 0)
        CHECK_I64(policy & 0xff, 3); /* MPOL_INTERLEAVE */
    else
        print_message("the kernel takes no policy for node 1, or has none\n");
    memset(p, 1, bytes);
    mr_pages_unmap(p, bytes);
}

MR_TEST_MAIN
