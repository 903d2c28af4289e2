/* Goal: what a sequence generates depends on its tokens, parameters and seed, and on nothing else.
 * Method: run a job alone on one thread and keep each row of logits. Then run it among 31 others,
 * with its prompt cut into chunks, with other numbers of threads, in small passes, from the middle
 * as a worker that takes over would, and behind a prefix that another job has left in the cache;
 * with keys and values as f16 and as bytes.
 * The logits must be equal byte by byte, and so must the tokens. */
#include "tests/golden/golden.h"

#define N_PROMPT 70 /* three blocks of the KV cache; more than a chunk of 64 */
#define N_NEW    12
#define N_OTHERS 31
#define N_VOCAB  272

typedef struct trace { /* what one job did */
    float logits[N_PROMPT + N_NEW][N_VOCAB];
    int32_t tokens[N_NEW];
    uint32_t seq; /* of the job that is watched */
    size_t n_rows;
} trace;

static const struct {
    const char *name, *kv_type;
} models[] = {
    {"llama_f32", "f16"},      {"qwen2_f16", "f16"},  {"qwen3_q8_0", "f16"},
    {"llama_k_quants", "f16"}, {"llama_f32", "q8_0"}, {"qwen3_q8_0", "q8_0"},
};
static const char *kv_type; /* of the model at work */

/* Random enough to be moved by a last bit: hot, with every filter and penalty at work. */
static const mr_sampling sampled = {.temperature = 1.3f,
                                    .top_k = 200,
                                    .top_p = 0.98f,
                                    .min_p = 0.001f,
                                    .repetition_penalty = 1.1f,
                                    .frequency_penalty = 0.2f,
                                    .presence_penalty = 0.1f,
                                    .seed = 20240607};

static void keep_row(void *owner, uint32_t seq, uint32_t pos, const float *logits) {
    trace *t = owner;

    if (seq != t->seq || pos >= N_PROMPT + N_NEW) return;
    memcpy(t->logits[pos], logits, sizeof t->logits[pos]);
    t->n_rows++;
}

static void make_prompt(int32_t *tokens, size_t n, uint32_t salt) {
    uint32_t x = salt * 2654435761u + 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        tokens[i] = (int32_t)(3 + (x >> 16) % (N_VOCAB - 3));
    }
}

/* The job alone, its prompt in chunks. */
static void run_alone(trace *t, const char *model, mr_engine_options opt, uint32_t chunk) {
    int32_t prompt[N_PROMPT];

    opt.kv_type = kv_type;
    mr_engine *e = golden_open(model, opt);
    memset(t, 0, sizeof *t);
    make_prompt(prompt, N_PROMPT, 0);
    t->seq = golden_add(e, prompt, N_PROMPT, 0, N_NEW, &sampled);
    mr_engine_watch_rows(e, keep_row, t);
    for (size_t n = 0; n < N_NEW;) {
        const uint32_t left = mr_engine_pending(e, t->seq);
        const int32_t token = golden_step(e, t->seq, left < chunk ? left : chunk);
        if (token >= 0) t->tokens[n++] = token;
    }
    mr_engine_close(e);
}

static void check_same(const trace *got, const trace *want, const char *model, const char *how) {
    for (size_t pos = 0; pos < N_PROMPT + N_NEW - 1; pos++) /* the last token is never computed */
        if (memcmp(got->logits[pos], want->logits[pos], sizeof got->logits[pos]) != 0)
            fail_msg("%s, %s: other logits at position %zu", model, how, pos);
    if (memcmp(got->tokens, want->tokens, sizeof got->tokens) != 0)
        fail_msg("%s, %s: other tokens", model, how);
}

static trace alone, other; /* too large for the stack */

/* Calls check for every instruction set of this machine, with `alone` filled in. The reference is
 * slow and has one way of doing things: one model is enough. */
static void for_each(void (*check)(const char *model, const char *isa)) {
    for (size_t i = 0; i < MR_COUNT(golden_isas); i++)
        for (size_t m = 0; m < (i == 0 ? 1 : MR_COUNT(models)) && golden_has(golden_isas[i]); m++) {
            kv_type = models[m].kv_type;
            run_alone(&alone, models[m].name,
                      (mr_engine_options){.isa = golden_isas[i], .n_threads = 1, .max_seqs = 1},
                      512);
            CHECK_I64(alone.n_rows, N_PROMPT + N_NEW - 1);
            check(models[m].name, golden_isas[i]);
        }
}

static void check_chunks(const char *model, const char *isa) {
    static const uint32_t chunks[] = {1, 7, 64};

    for (size_t i = 0; i < MR_COUNT(chunks); i++) {
        run_alone(&other, model, (mr_engine_options){.isa = isa, .n_threads = 2, .max_seqs = 4},
                  chunks[i]);
        check_same(&other, &alone, model, "in chunks");
    }
}

TEST(chunks_of_the_prompt_change_nothing) {
    for_each(check_chunks);
}

static void check_threads(const char *model, const char *isa) {
    for (int n = 2; n <= 3; n++) {
        run_alone(&other, model, (mr_engine_options){.isa = isa, .n_threads = n, .max_seqs = 1},
                  512);
        check_same(&other, &alone, model, "with more threads");
    }
}

TEST(threads_change_nothing) {
    for_each(check_threads);
}

/* In this model, wider than the others, one thread has larger pieces of a product than two have. */
TEST(larger_pieces_change_nothing) {
    static const char model[] = "../../models/demo";

    kv_type = "f16";
    for (size_t i = 1; i < MR_COUNT(golden_isas); i++) {
        if (!golden_has(golden_isas[i])) continue;
        run_alone(&alone, model, (mr_engine_options){.isa = golden_isas[i], .n_threads = 1}, 16);
        run_alone(&other, model, (mr_engine_options){.isa = golden_isas[i], .n_threads = 2}, 16);
        check_same(&other, &alone, model, "in larger pieces");
    }
}

/* Others start before, with and after the job, have prompts of other lengths, and end meanwhile. */
static void check_company(const char *model, const char *isa) {
    mr_engine *e = golden_open(
        model, (mr_engine_options){.isa = isa, .n_threads = 2, .max_seqs = 32, .kv_type = kv_type});
    uint32_t seqs[N_OTHERS + 1], n_seqs = 0;
    int32_t prompt[N_PROMPT];
    mr_engine_item items[N_OTHERS + 1];
    mr_engine_out outs[N_OTHERS + 1];
    size_t n_made = 0;
    mr_err err;

    memset(&other, 0, sizeof other);
    other.seq = UINT32_MAX;
    mr_engine_watch_rows(e, keep_row, &other);
    for (uint32_t round = 0; n_made < N_NEW; round++) {
        for (uint32_t k = 0; k < 8 && n_seqs < N_OTHERS; k++, n_seqs++) {
            make_prompt(prompt, 1 + (n_seqs * 13) % N_PROMPT, n_seqs + 1);
            seqs[n_seqs] =
                golden_add(e, prompt, 1 + (n_seqs * 13) % N_PROMPT, 0, 4 + n_seqs % 12, &sampled);
        }
        if (round == 1) { /* in the middle of the others' slots and blocks */
            make_prompt(prompt, N_PROMPT, 0);
            other.seq = golden_add(e, prompt, N_PROMPT, 0, N_NEW, &sampled);
        }
        size_t n = 0;
        for (uint32_t i = 0; i < n_seqs; i++) {
            const uint32_t left = mr_engine_pending(e, seqs[i]);
            if (left > 0) items[n++] = (mr_engine_item){seqs[i], left < 9 ? left : 9};
        }
        const uint32_t left = round > 0 ? mr_engine_pending(e, other.seq) : 0;
        if (left > 0) items[n++] = (mr_engine_item){other.seq, left < 33 ? left : 33};
        CHECK_OK(mr_engine_step(e, items, n, outs, &err), err);
        if (left > 0 && outs[n - 1].token >= 0) other.tokens[n_made++] = outs[n - 1].token;
    }
    check_same(&other, &alone, model, "among 31 others");
    mr_engine_close(e);
}

TEST(company_changes_nothing) {
    for_each(check_company);
}

/* Another worker has generated the first tokens; here they come back as part of the prompt. */
static void check_continued(const char *model, const char *isa) {
    int32_t tokens[N_PROMPT + N_NEW];

    make_prompt(tokens, N_PROMPT, 0);
    memcpy(tokens + N_PROMPT, alone.tokens, sizeof alone.tokens);
    for (size_t done = 1; done < N_NEW; done += 5) {
        mr_engine *e =
            golden_open(model, (mr_engine_options){.isa = isa, .n_threads = 2, .kv_type = kv_type});

        other = alone; /* only what the second half computes is compared */
        memset(other.tokens + done, 0, (N_NEW - done) * sizeof *other.tokens);
        other.seq = golden_add(e, tokens, N_PROMPT + done, done, N_NEW - done, &sampled);
        mr_engine_watch_rows(e, keep_row, &other);
        for (size_t n = done; n < N_NEW; n++)
            other.tokens[n] = golden_step(e, other.seq, mr_engine_pending(e, other.seq));
        check_same(&other, &alone, model, "continued");
        mr_engine_close(e);
    }
}

TEST(a_continued_job_goes_on_as_if_nothing_had_happened) {
    for_each(check_continued);
}

/* The job on an engine that has other sequences by now; what it finds in the cache is not computed,
 * so its rows are not seen. */
static void run_behind(mr_engine *e, uint32_t n_cached, const char *model, const char *how) {
    int32_t prompt[N_PROMPT];

    make_prompt(prompt, N_PROMPT, 0);
    memset(&other, 0, sizeof other);
    other.seq = golden_add(e, prompt, N_PROMPT, 0, N_NEW, &sampled);
    CHECK_I64(mr_engine_cached(e, other.seq), n_cached);
    CHECK_I64(mr_engine_pending(e, other.seq), N_PROMPT - n_cached);
    memcpy(other.logits, alone.logits, n_cached * sizeof *other.logits);
    mr_engine_watch_rows(e, keep_row, &other);
    for (size_t n = 0; n < N_NEW; n++)
        other.tokens[n] = golden_step(e, other.seq, mr_engine_pending(e, other.seq));
    mr_engine_watch_rows(e, NULL, NULL);
    CHECK_I64(other.n_rows, N_PROMPT + N_NEW - 1 - n_cached);
    check_same(&other, &alone, model, how);
    mr_engine_drop(e, other.seq);
}

static void check_cached(const char *model, const char *isa) {
    mr_engine *e = golden_open(
        model, (mr_engine_options){.isa = isa, .n_threads = 2, .max_seqs = 4, .kv_type = kv_type});
    const mr_sampling greedy = {0};
    int32_t prompt[N_PROMPT];

    make_prompt(prompt, N_PROMPT, 0);
    prompt[40]++; /* another job with the same first block */
    const uint32_t similar = golden_add(e, prompt, N_PROMPT, 0, N_NEW, &greedy);
    golden_step(e, similar, N_PROMPT);
    run_behind(e, 32, model, "behind a block of a job that still runs");
    run_behind(e, 64, model, "behind blocks that it left itself");
    mr_engine_drop(e, similar);
    run_behind(e, 64, model, "behind blocks of jobs that are gone");
    mr_engine_close(e);
}

TEST(a_prefix_from_the_cache_changes_nothing) {
    for_each(check_cached);
}

/* The seed matters; without this the tests above could pass on a sampler that ignores it. */
TEST(another_seed_gives_other_tokens) {
    mr_engine *e = golden_open("llama_f32", (mr_engine_options){.n_threads = 1});
    int32_t prompt[N_PROMPT];
    size_t n_other = 0;

    run_alone(&alone, "llama_f32", (mr_engine_options){.n_threads = 1}, 512);
    make_prompt(prompt, N_PROMPT, 0);
    mr_sampling s = sampled;
    s.seed++;
    const uint32_t seq = golden_add(e, prompt, N_PROMPT, 0, N_NEW, &s);
    for (size_t n = 0; n < N_NEW; n++)
        n_other += golden_step(e, seq, mr_engine_pending(e, seq)) != alone.tokens[n];
    CHECK(n_other > 0);
    mr_engine_close(e);
}

MR_TEST_MAIN
