/* Goal: the CUDA backend, from file to logits, computes what the float64 program computed, and a
 * row's logits do not depend on how its prompt was cut, on its company, nor on the size of the GPU.
 *
 * Method: the backend on the device that is plain C (cuda_twin.h): loading, lists, layouts and
 * every kernel's index arithmetic are the GPU's own. What a GPU adds, tests/golden checks there. */
#include "engine/cuda/backend.h"
#include "engine/forward.h"
#include "engine/kv.h"
#include "tests/cuda_twin.h"
#include "tests/golden/expect.h"

enum { MAX_ROWS = 64, MAX_LEN = 512, N_BLOCKS = 40, N_VOCAB = 272 };

typedef struct world {
    twin t;
    mr_model *m;
    mr_pool *pool;
    mr_backend *b;
    mr_kv kv;
    float *logits; /* [MAX_ROWS, n_vocab] */
} world;

static void world_open(world *w, const char *model, uint32_t n_units, mr_kv_type kv_type) {
    char path[128];
    mr_err err;

    *w = (world){.t = twin_of(n_units)};
    snprintf(path, sizeof path, GOLDEN_DIR "%s.gguf", model);
    CHECK_OK(mr_model_open(&w->m, path, &err), err);
    CHECK_OK(mr_pool_open(&w->pool, 2, &err), err);
    const mr_hparams *hp = &w->m->hp;
    const mr_room room = {.max_rows = MAX_ROWS,
                          .max_head = MAX_ROWS,
                          .max_len = MAX_LEN,
                          .layers = {0, hp->n_layer},
                          .kv_type = kv_type};
    CHECK_OK(mr_cuda_backend_open(&w->b, &w->t.base, w->m, w->pool, &room, MR_GPU_QUANT_NONE,
                                  N_BLOCKS, &err),
             err);
    CHECK_OK(
        mr_kv_init_lists(&w->kv, kv_type, hp->n_layer, hp->n_kv_head, hp->d_head, N_BLOCKS, &err),
        err);
    w->logits = w->b->steps->reserve_logits(w->b, MAX_ROWS, &err);
    CHECK(w->logits != NULL);
}

static void world_close(world *w) {
    w->b->steps->close(w->b);
    CHECK_I64(w->t.n_reserved, 0);
    mr_kv_deinit(&w->kv);
    mr_pool_close(w->pool);
    mr_model_close(w->m);
}

static void run(world *w, const mr_row *rows, uint32_t n, uint32_t n_wanted) {
    mr_err err;

    CHECK_OK(mr_forward_run(w->b, w->m->hp.n_layer, rows, n, &err), err);
    if (n_wanted > 0) CHECK_OK(mr_forward_head(w->b, 0, n_wanted, w->logits, &err), err);
}

/* ---- against the float64 program ---- */

static void check_model(const char *name, mr_kv_type kv_type) {
    expect x = read_expect(name);
    int32_t table[N_BLOCKS];
    mr_row rows[MAX_ROWS];
    world w;

    world_open(&w, name, 132, kv_type);
    const uint32_t n = (uint32_t)x.n_prompt;
    CHECK(n <= MAX_ROWS);
    CHECK_I64(mr_kv_take(&w.kv, table, mr_kv_blocks_for(n), NULL), MR_OK);
    for (uint32_t i = 0; i < n; i++) rows[i] = (mr_row){x.prompt[i], i, table, true};
    run(&w, rows, n, n);
    for (uint32_t i = 0; i < n; i++) compare_logits(&x, i, w.logits + (size_t)i * N_VOCAB);
    if (kv_type == MR_KV_F16)
        check_expect(&x, name, "twin", mr_type_block(w.m->layers[0].wq.type) > 1);
    else
        check_kv_bytes(&x, name, "twin");
    world_close(&w);
    drop_expect(&x);
}

TEST(every_model_computes_what_the_float64_program_computed) {
    for (size_t i = 0; i < MR_COUNT(golden_models); i++) {
        check_model(golden_models[i], MR_KV_F16);
        check_model(golden_models[i], MR_KV_Q8_0);
    }
}

/* ---- invariance ---- */

#define N_PROMPT 50

static float all[N_PROMPT][N_VOCAB];

/* A prompt in chunks, beside another sequence that has a row of its own in each pass. */
static void check_chunks(const char *model, uint32_t n_units, uint32_t chunk, bool company,
                         mr_kv_type kv_type) {
    int32_t table[N_BLOCKS], other[N_BLOCKS];
    mr_row rows[MAX_ROWS];
    world w;

    world_open(&w, model, n_units, kv_type);
    CHECK_I64(mr_kv_take(&w.kv, other, 4, NULL), MR_OK);
    CHECK_I64(mr_kv_take(&w.kv, table, mr_kv_blocks_for(N_PROMPT), NULL), MR_OK);
    for (uint32_t done = 0, pass = 0; done < N_PROMPT; pass++) {
        uint32_t n = 0, first;
        if (company) rows[n++] = (mr_row){(int32_t)(3 + pass), pass, other, pass % 2 == 0};
        first = company && pass % 2 == 0;
        const uint32_t n_here = N_PROMPT - done < chunk ? N_PROMPT - done : chunk;
        for (uint32_t i = 0; i < n_here; i++)
            rows[n++] = (mr_row){(int32_t)(3 + (done + i) * 37 % 260), done + i, table, true};
        run(&w, rows, n, n_here + first);
        for (uint32_t i = 0; i < n_here; i++) {
            const float *got = w.logits + (size_t)(first + i) * N_VOCAB;
            if (chunk == N_PROMPT)
                memcpy(all[i], got, sizeof all[i]);
            else if (memcmp(all[done + i], got, sizeof all[i]) != 0)
                fail_msg("%s, kv %s, %u units, chunks of %u: other logits at position %u", model,
                         mr_kv_type_name(kv_type), n_units, chunk, done + i);
        }
        done += n_here;
    }
    world_close(&w);
}

TEST(chunks_company_and_the_size_of_the_device_change_nothing) {
    static const char *const models[] = {"llama_f32", "qwen2_f16", "qwen3_q8_0", "llama_k_quants"};
    for (size_t i = 0; i < 2 * MR_COUNT(models); i++) {
        const char *model = models[i / 2];
        const mr_kv_type kv_type = i % 2 ? MR_KV_Q8_0 : MR_KV_F16;
        check_chunks(model, 132, N_PROMPT, false, kv_type);
        check_chunks(model, 1, 33, true, kv_type);
        check_chunks(model, 132, 9, false, kv_type);
        check_chunks(model, 132, 1, true, kv_type);
    }
}

/* Of a pass whose rows nobody wants only keys and values stay; of the others, the wanted ones. */
TEST(rows_that_nobody_wants_change_nothing) {
    int32_t table[N_BLOCKS];
    mr_row rows[MAX_ROWS];
    world w;

    check_chunks("qwen2_f16", 132, N_PROMPT, false, MR_KV_F16);
    world_open(&w, "qwen2_f16", 132, MR_KV_F16);
    CHECK_I64(mr_kv_take(&w.kv, table, mr_kv_blocks_for(N_PROMPT), NULL), MR_OK);
    for (uint32_t i = 0; i < N_PROMPT; i++)
        rows[i] = (mr_row){(int32_t)(3 + i * 37 % 260), i, table, i == 30 || i > 47};
    run(&w, rows, 30, 0);
    run(&w, rows + 30, 20, 3);
    assert_memory_equal(w.logits, all[30], sizeof all[0]);
    assert_memory_equal(w.logits + N_VOCAB, all[48], 2 * sizeof all[0]);
    world_close(&w);
}

MR_TEST_MAIN
