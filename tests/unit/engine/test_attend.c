/* Goal: how a batch is cut into blocks, pieces and spans does not show in a bit; every row of the
 * batch gets its result, whatever the order in which pieces are done.
 *
 * Method: three sequences with contexts of one to five spans in one cache. Their last rows attend
 * in one plan or in several, with the numbers of threads that make pieces whole or split, pieces
 * done forwards or backwards; against one row at a time. Queries that are written when their block
 * is due, and not before. */
#include "engine/attend.h"
#include "engine/threads.h"
#include "tests/test.h"

enum {
    N_HEAD = 6,
    N_KV = 2,
    D_HEAD = 20,
    N_SEQ = 3,
    N_LAST = 19,
    N_BLOCKS = 80,
    WIDTH = N_HEAD * D_HEAD
};

static const mr_hparams hp = {
    .n_layer = 2, .n_head = N_HEAD, .n_kv_head = N_KV, .d_head = D_HEAD, .attn_scale = 0.25f};
static const uint32_t lens[N_SEQ] = {1203, 24, 513};

typedef struct world {
    const mr_ops *ops;
    mr_kv kv;
    int32_t tables[N_SEQ][N_BLOCKS];
    mr_row rows[N_SEQ * N_LAST];
    uint32_t live[N_SEQ * N_LAST];
    float q[N_SEQ * N_LAST * WIDTH], want[N_SEQ * N_LAST * WIDTH], got[N_SEQ * N_LAST * WIDTH];
    uint32_t state;
} world;

static world w;

static float random_value(void) {
    w.state = w.state * 1664525u + 1013904223u;
    return (float)(int32_t)w.state * 0x1p-30f;
}

/* The cache filled, and the last N_LAST rows of each sequence as a batch. */
static void world_init(const char *isa, mr_kv_type type) {
    float k[N_KV * D_HEAD], v[N_KV * D_HEAD];
    mr_f16 scratch[D_HEAD];
    uint32_t n = 0;

    w.ops = mr_ops_pick(isa);
    w.state = 1;
    CHECK_I64(mr_kv_init(&w.kv, type, hp.n_layer, N_KV, D_HEAD, N_BLOCKS, NULL), MR_OK);
    for (uint32_t s = 0; s < N_SEQ; s++) {
        CHECK_I64(mr_kv_take(&w.kv, w.tables[s], mr_kv_blocks_for(lens[s]), NULL), MR_OK);
        for (uint32_t pos = 0; pos < lens[s]; pos++) {
            for (size_t i = 0; i < MR_COUNT(k); i++) {
                k[i] = random_value();
                v[i] = random_value();
            }
            for (uint32_t h = 0; h < N_KV; h++)
                mr_kv_put(&w.kv, w.ops, 1, w.tables[s], pos, h, k + h * D_HEAD, v + h * D_HEAD,
                          scratch);
        }
        for (uint32_t i = 0; i < N_LAST; i++, n++) {
            w.rows[n] = (mr_row){.pos = lens[s] - N_LAST + i, .table = w.tables[s]};
            w.live[n] = n;
        }
    }
    for (size_t i = 0; i < MR_COUNT(w.q); i++) w.q[i] = random_value();
}

/* Rows first .. first + n in one plan. */
static uint32_t run(mr_attend *a, uint32_t first, uint32_t n, bool backwards, float *out) {
    char *scratch = malloc(mr_attend_scratch(&hp));

    mr_attend_plan(a, w.rows + first, w.live, n);
    mr_attend_arm(a);
    for (uint32_t i = 0; i < a->n_pieces; i++)
        mr_attend_piece(a, backwards ? a->n_pieces - 1 - i : i, 1, w.q + first * WIDTH,
                        out + first * WIDTH, scratch);
    free(scratch);
    return a->n_pieces;
}

static void init_attend(mr_attend *a, int n_threads) {
    mr_err err = {0};
    CHECK_OK(mr_attend_init(a, &hp, w.ops, &w.kv, MR_COUNT(w.rows), lens[0], n_threads, &err), err);
}

static void check_isa(const char *isa, mr_kv_type type) {
    static const uint32_t cuts[] = {1, 5, 16, 19, 57};
    static const int threads[] = {1, 2, 8, 64};
    mr_attend a;

    if (!mr_ops_pick(isa)) return;
    world_init(isa, type);
    init_attend(&a, 1);
    for (uint32_t i = 0; i < MR_COUNT(w.rows); i++)
        CHECK_I64(run(&a, i, 1, false, w.want), 1); /* one thread: a piece has all heads */
    mr_attend_deinit(&a);
    for (size_t t = 0; t < MR_COUNT(threads); t++)
        for (size_t c = 0; c < MR_COUNT(cuts); c++) {
            init_attend(&a, threads[t]);
            memset(w.got, 0xff, sizeof w.got);
            for (uint32_t i = 0; i < MR_COUNT(w.rows); i += cuts[c])
                run(&a, i,
                    i + cuts[c] > MR_COUNT(w.rows) ? (uint32_t)MR_COUNT(w.rows) - i : cuts[c],
                    c % 2 == 1, w.got);
            assert_memory_equal(w.got, w.want, sizeof w.got);
            mr_attend_deinit(&a);
        }
    mr_kv_deinit(&w.kv);
}

TEST(cuts_do_not_show) {
    check_isa("ref", MR_KV_F16);
    for (mr_kv_type type = MR_KV_F16; type <= MR_KV_Q8_0; type++) {
        check_isa("avx2", type);
        check_isa("avxvnni", type);
        check_isa("avx512", type);
    }
}

TEST(few_rows_with_much_to_read_are_split) {
    mr_attend a;

    world_init("ref", MR_KV_F16);
    init_attend(&a, 8);
    mr_attend_plan(&a, w.rows + N_LAST - 1, w.live, 1); /* five spans */
    CHECK_I64(a.n_blocks, 1);
    CHECK_I64(a.n_pieces, 2 * N_KV); /* of four spans and of one */
    mr_attend_plan(&a, w.rows, w.live,
                   MR_COUNT(w.rows)); /* three sequences, each two or three blocks */
    CHECK_I64(a.n_blocks, 7);
    for (uint32_t i = 0, at = 0; i < a.n_blocks; at += a.blocks[i++].n_rows) {
        CHECK_I64(a.blocks[i].first, at);
        CHECK(a.blocks[i].n_rows <= MR_ATTEND_ROWS);
        CHECK(a.blocks[i].pos / MR_ATTEND_ROWS ==
              (a.blocks[i].pos + a.blocks[i].n_rows - 1) / MR_ATTEND_ROWS);
    }
    mr_attend_plan(&a, w.rows, w.live, 0);
    CHECK_I64(a.n_pieces, 0);
    mr_attend_deinit(&a);
    init_attend(&a, 2);
    mr_attend_plan(&a, w.rows, w.live, MR_COUNT(w.rows));
    CHECK_I64(a.n_pieces, 7 * N_KV); /* neither so few nor so many */
    mr_attend_deinit(&a);
    mr_kv_deinit(&w.kv);
}

typedef struct late { /* queries of one row per sequence, each written when it is due */
    float q[N_SEQ * WIDTH];
    uint32_t n_calls[N_SEQ][N_KV];
} late;

static void on_due(void *arg, const mr_attend_block *b, uint32_t kv_head, void *scratch) {
    const size_t at = (size_t)kv_head * (WIDTH / N_KV), bytes = sizeof w.q[0] * WIDTH / N_KV;
    const uint32_t seq = b->first;
    late *l = arg;

    (void)scratch;
    memcpy(l->q + seq * WIDTH + at, w.q + (size_t)(seq * N_LAST + N_LAST - 1) * WIDTH + at, bytes);
    l->n_calls[seq][kv_head]++;
}

/* With n_threads 64 sequences of several spans are cut, and are nobody's turn. */
static void attend_late(int n_threads, const bool alone[N_SEQ]) {
    char *scratch = malloc(mr_attend_scratch(&hp));
    float got[N_SEQ * WIDTH];
    mr_row rows[N_SEQ];
    late l = {0};
    mr_attend a;

    init_attend(&a, n_threads);
    a.due = on_due;
    a.due_arg = &l;
    for (uint32_t s = 0; s < N_SEQ; s++) rows[s] = w.rows[s * N_LAST + N_LAST - 1];
    mr_attend_plan(&a, rows, w.live, N_SEQ);
    mr_attend_arm(&a);
    for (uint32_t i = 0; i < a.n_pieces; i++) mr_attend_piece(&a, i, 1, l.q, got, scratch);
    for (uint32_t s = 0; s < N_SEQ; s++) {
        const float *want = w.want + (size_t)(s * N_LAST + N_LAST - 1) * WIDTH;

        for (uint32_t h = 0; h < N_KV; h++) CHECK_I64(l.n_calls[s][h], alone[s]);
        if (alone[s]) assert_memory_equal(got + s * WIDTH, want, WIDTH * sizeof *got);
    }
    CHECK_I64(a.n_alone, alone[0] + alone[1] + alone[2]);
    mr_attend_deinit(&a);
    free(scratch);
}

TEST(a_block_that_is_alone_may_be_made_when_it_is_due) {
    mr_attend a;

    world_init("auto", MR_KV_F16);
    init_attend(&a, 1);
    for (uint32_t i = 0; i < MR_COUNT(w.rows); i++) run(&a, i, 1, false, w.want);
    mr_attend_plan(&a, w.rows, w.live, MR_COUNT(w.rows)); /* two blocks of each and more */
    CHECK_I64(a.n_alone, 0);
    mr_attend_deinit(&a);
    attend_late(1, (const bool[N_SEQ]){true, true, true});
    attend_late(64, (const bool[N_SEQ]){false, true, false});
    mr_kv_deinit(&w.kv);
}

typedef struct shared {
    mr_attend *a;
    char *scratch;
} shared;

static void on_piece(void *arg, uint32_t piece, int ith) {
    const shared *s = arg;
    mr_attend_piece(s->a, piece, 1, w.q, w.got, s->scratch + (size_t)ith * mr_attend_scratch(&hp));
}

/* For TSan above all: who joins must have seen what the others wrote. */
TEST(threads_share_the_pieces) {
    enum { THREADS = 4 };
    shared s = {.scratch = malloc(THREADS * mr_attend_scratch(&hp))};
    mr_pool *pool;
    mr_attend a;

    world_init("auto", MR_KV_F16);
    s.a = &a;
    CHECK_I64(mr_pool_open(&pool, THREADS, NULL), MR_OK);
    init_attend(&a, 1);
    for (uint32_t i = 0; i < MR_COUNT(w.rows); i++) run(&a, i, 1, false, w.want);
    mr_attend_deinit(&a);
    init_attend(&a, 64); /* splits */
    mr_attend_plan(&a, w.rows, w.live, MR_COUNT(w.rows));
    for (int round = 0; round < 20; round++) {
        memset(w.got, 0xff, sizeof w.got);
        mr_attend_arm(&a);
        mr_pool_run(pool, a.n_pieces, on_piece, &s);
        assert_memory_equal(w.got, w.want, sizeof w.got);
    }
    mr_attend_deinit(&a);
    mr_pool_close(pool);
    mr_kv_deinit(&w.kv);
    free(s.scratch);
}

MR_TEST_MAIN
