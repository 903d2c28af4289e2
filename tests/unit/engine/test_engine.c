/* Goal: the engine's contract around the numbers: limits are named, slots and blocks come back, a
 * step is all or nothing, one spoiled sequence hurts nobody, and a step allocates nothing. Method:
 * a tiny golden model; a copy of it with NaN as the embedding of one token; a counter behind
 * malloc. That the numbers are right is the business of tests/golden. */
#include <math.h>
#include <stdatomic.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "engine/template.h"
#include "tests/golden/golden.h"

#define MODEL   "llama_f32"
#define N_VOCAB 272
#define N_CTX   256 /* of the file */

static const mr_sampling greedy;
static const int32_t prompt[] = {1, 20, 30, 40, 50, 60, 70, 80};
#define N_PROMPT MR_COUNT(prompt)

/* ---- a counter behind malloc ---- */

static atomic_long n_allocations;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#endif

#ifdef HAVE_SANITIZER
/* Of the sanitizers' runtime; gcc does not ship the header. */
extern int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                     void (*)(const volatile void *));

static void on_malloc(const volatile void *p, size_t n) {
    (void)p;
    (void)n;
    atomic_fetch_add(&n_allocations, 1);
}
static void on_free(const volatile void *p) {
    (void)p;
}
static void count_allocations(void) {
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}
#else
extern void *__libc_malloc(size_t n), *__libc_calloc(size_t n, size_t size),
    *__libc_realloc(void *p, size_t n);

void *malloc(size_t n) {
    atomic_fetch_add(&n_allocations, 1);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&n_allocations, 1);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    atomic_fetch_add(&n_allocations, 1);
    return __libc_realloc(p, n);
}
static void count_allocations(void) {}
#endif

/* ---- options ---- */

static mr_status open_with(mr_engine_options opt, mr_err *err) {
    mr_engine *e = (mr_engine *)err; /* must become NULL */
    if (!opt.model_path) opt.model_path = GOLDEN_DIR MODEL ".gguf";
    const mr_status st = mr_engine_open(&e, &opt, err);
    CHECK((st == MR_OK) == (e != NULL));
    mr_engine_close(e);
    return st;
}

TEST(by_default_every_seat_has_room_for_a_whole_sequence) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.n_ctx = 23, .max_seqs = 4}); /* not whole blocks */
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t seq;
        mr_err err = {0};
        CHECK_OK(mr_engine_add(e, prompt, N_PROMPT, 0, 23 - N_PROMPT, 0, &greedy, &seq, &err), err);
    }
    mr_engine_close(e);
}

TEST(options_out_of_range_are_named) {
    mr_err err;

    CHECK_I64(open_with((mr_engine_options){.n_ctx = N_CTX + 1}, &err), MR_EINVAL);
    CHECK_ERR(err, "n_ctx: 257 is not in 1..256");
    CHECK_I64(open_with((mr_engine_options){.max_seqs = 5000}, &err), MR_EINVAL);
    CHECK_ERR(err, "max_seqs: 5000");
    CHECK_I64(open_with((mr_engine_options){.max_step_tokens = 100000}, &err), MR_EINVAL);
    CHECK_ERR(err, "max_step_tokens: 100000");
    CHECK_I64(open_with((mr_engine_options){.n_threads = -1}, &err), MR_EINVAL);
    CHECK_ERR(err, "n_threads: -1");
    CHECK_I64(open_with((mr_engine_options){.isa = "mmx"}, &err), MR_EUNSUPPORTED);
    CHECK_ERR(err, "\"mmx\"");
    CHECK(open_with((mr_engine_options){.chat_template = "no-such-template"}, &err) != MR_OK);
    CHECK_ERR(err, "no-such-template");
    CHECK(open_with((mr_engine_options){.model_path = "no/such/file.gguf"}, &err) != MR_OK);
    CHECK_ERR(err, "no/such/file.gguf");
}

TEST(what_cannot_fit_is_refused_with_the_numbers) {
    mr_err err;

    CHECK_I64(open_with((mr_engine_options){.kv_tokens = INT32_MAX}, &err), MR_ENOMEM);
    CHECK_ERR(err, "of KV cache (kv_tokens 2147483647)");
    CHECK_ERR(err, "MiB are available");
}

TEST(defaults_follow_the_model) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){0});
    const char *why = NULL;

    CHECK_I64(mr_engine_n_ctx(e), N_CTX);
    CHECK_I64(mr_engine_max_seqs(e), 32);
    CHECK_I64(mr_engine_max_step_tokens(e), 512);
    CHECK_I64(mr_engine_n_vocab(e), N_VOCAB);
    CHECK_I64(mr_engine_kv_blocks_total(e), 32 * N_CTX / mr_engine_block_len(e));
    CHECK_I64(mr_engine_blocks_for(e, mr_engine_block_len(e) + 1), 2);
    CHECK(mr_engine_template(e, &why) == NULL && why && *why); /* the file has none */
    mr_engine_close(e);
}

/* ---- sequences ---- */

TEST(add_names_what_is_wrong) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_seqs = 2, .kv_tokens = 128});
    const int32_t high[] = {5, N_VOCAB}, low[] = {-1};
    uint32_t seq, other;
    mr_err err;

    CHECK_I64(mr_engine_add(e, prompt, 0, 0, 4, 0, &greedy, &seq, &err), MR_EINVAL);
    CHECK_ERR(err, "no tokens");
    CHECK_I64(mr_engine_add(e, prompt, N_PROMPT, 0, N_CTX - N_PROMPT + 1, 0, &greedy, &seq, &err),
              MR_EINVAL);
    CHECK_ERR(err, "8 tokens + 249 new ones pass the context of 256");
    CHECK_I64(mr_engine_add(e, prompt, N_PROMPT, 0, SIZE_MAX, 0, &greedy, &seq, &err), MR_EINVAL);
    CHECK_I64(mr_engine_add(e, prompt, N_PROMPT, 9, 4, 0, &greedy, &seq, &err), MR_EINVAL);
    CHECK_ERR(err, "n_generated: 9 of only 8");
    CHECK_I64(mr_engine_add(e, high, 2, 0, 4, 0, &greedy, &seq, &err), MR_EINVAL);
    CHECK_ERR(err, "token 1 of the prompt: 272 is not in 0..271");
    CHECK_I64(mr_engine_add(e, low, 1, 0, 4, 0, &greedy, &seq, &err), MR_EINVAL);
    CHECK_I64(mr_engine_add(e, prompt, 1, 0, 4, 0, &(mr_sampling){.min_p = 2}, &seq, &err), MR_EINVAL);
    CHECK_ERR(err, "min_p");
    CHECK_I64(mr_engine_add(e, prompt, 8, 0, 128, 0, &greedy, &seq, &err), MR_EINVAL); /* for good */
    CHECK_ERR(err, "need 5 KV blocks, and there are 4 in all");

    CHECK_OK(mr_engine_add(e, prompt, N_PROMPT, 0, 80, 0, &greedy, &seq, &err), err); /* 3 blocks */
    CHECK_I64(mr_engine_kv_blocks_free(e), 1);
    CHECK_I64(mr_engine_add(e, prompt, N_PROMPT, 0, 30, 0, &greedy, &other, &err),
              MR_ELIMIT); /* now */
    CHECK_ERR(err, "2 blocks wanted, 1 of 4 free");
    CHECK_OK(mr_engine_add(e, prompt, N_PROMPT, 0, 24, 0, &greedy, &other, &err), err);
    CHECK(other != seq);
    CHECK_I64(mr_engine_add(e, prompt, 1, 0, 1, 0, &greedy, &other, &err), MR_ELIMIT);
    CHECK_ERR(err, "all 2 are in use");
    mr_engine_drop(e, seq);
    CHECK_I64(mr_engine_kv_blocks_free(e), 3);
    CHECK_OK(mr_engine_add(e, prompt, 1, 0, 1, 0, &greedy, &seq, &err), err);
    mr_engine_close(e);
}

TEST(a_sequence_goes_through_its_prompt_and_stops_at_max_new) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){0});
    const uint32_t seq = golden_add(e, prompt, N_PROMPT, 0, 3, &greedy);

    CHECK_I64(mr_engine_pending(e, seq), N_PROMPT);
    CHECK_I64(golden_step(e, seq, 5), -1);
    CHECK(mr_engine_logits(e, seq) == NULL);
    CHECK_I64(mr_engine_pending(e, seq), 3);
    for (int i = 0; i < 3; i++) {
        const int32_t token = golden_step(e, seq, mr_engine_pending(e, seq));
        const float *logits = mr_engine_logits(e, seq);

        CHECK(token >= 0 && logits != NULL);
        for (int k = 0; k < N_VOCAB; k++) CHECK(logits[k] <= logits[token]);
        CHECK_I64(mr_engine_pending(e, seq), i < 2 ? 1 : 0);
    }
    mr_engine_close(e);
}

TEST(max_new_of_zero_computes_and_samples_nothing) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){0});
    const uint32_t seq = golden_add(e, prompt, N_PROMPT, 0, 0, &greedy);

    CHECK_I64(golden_step(e, seq, N_PROMPT), -1);
    CHECK(mr_engine_logits(e, seq) != NULL);
    CHECK_I64(mr_engine_pending(e, seq), 0);
    mr_engine_close(e);
}

TEST(a_wrong_step_is_refused_and_changes_nothing) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_step_tokens = 10, .max_seqs = 4});
    const uint32_t a = golden_add(e, prompt, N_PROMPT, 0, 4, &greedy);
    const uint32_t b = golden_add(e, prompt, N_PROMPT, 0, 4, &greedy);
    mr_engine_out outs[4];
    mr_err err;
    const struct {
        mr_engine_item items[2];
        const char *says;
    } cases[] = {
        {{{a, 1}, {3, 1}}, "no sequence 3"},       {{{a, 1}, {99, 1}}, "no sequence 99"},
        {{{a, 1}, {a, 1}}, "sequence 0 twice"},    {{{a, 1}, {b, 9}}, "9 tokens of sequence 1"},
        {{{a, 1}, {b, 0}}, "which has 8 pending"}, {{{a, 8}, {b, 8}}, "max_step_tokens 10"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_I64(mr_engine_step(e, cases[i].items, 2, outs, &err), MR_EINVAL);
        CHECK_ERR(err, cases[i].says);
        CHECK_I64(mr_engine_pending(e, a), N_PROMPT);
    }
    CHECK_OK(mr_engine_step(e, NULL, 0, outs, &err), err);
    mr_engine_close(e);
}

/* ---- prefixes ---- */

static uint32_t add_salted(mr_engine *e, const int32_t *tokens, size_t n, uint64_t salt) {
    uint32_t seq = UINT32_MAX;
    mr_err err = {0};

    CHECK_OK(mr_engine_add(e, tokens, n, 0, 4, salt, &greedy, &seq, &err), err);
    return seq;
}

/* Four blocks of the cache; 100 tokens and what is generated need all of them. */
TEST(prefixes_are_shared_among_equal_salts_only) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_seqs = 4, .kv_tokens = 8 * 32});
    int32_t tokens[100];

    for (int32_t i = 0; i < 100; i++) tokens[i] = 10 + i;
    uint32_t seq = add_salted(e, tokens, 100, 7);
    CHECK_I64(mr_engine_cached(e, seq), 0);
    golden_step(e, seq, 70);
    uint32_t same = add_salted(e, tokens, 100, 7), other = add_salted(e, tokens, 33, 8);
    CHECK_I64(mr_engine_cached(e, same), 64); /* what is computed so far */
    CHECK_I64(mr_engine_pending(e, same), 36);
    CHECK_I64(mr_engine_cached(e, other), 0);
    CHECK_I64(mr_engine_kv_blocks_free(e), 8 - 4 - 2 - 2);
    mr_engine_drop(e, other);
    other = add_salted(e, tokens, 64, 7); /* whole blocks, but the last token is computed */
    CHECK_I64(mr_engine_cached(e, other), 32);
    mr_engine_drop(e, other);
    mr_engine_drop(e, same);
    mr_engine_drop(e, seq);
    CHECK_I64(mr_engine_kv_blocks_free(e), 8);
    mr_engine_close(e);
}

TEST(equal_prompts_that_run_together_end_up_in_the_same_blocks) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_seqs = 4, .kv_tokens = 8 * 32});
    int32_t tokens[100];
    mr_engine_out outs[2];
    mr_err err = {0};

    for (int32_t i = 0; i < 100; i++) tokens[i] = 10 + i;
    const uint32_t a = add_salted(e, tokens, 100, 0), b = add_salted(e, tokens, 100, 0);
    CHECK_I64(mr_engine_kv_blocks_free(e), 0);
    const mr_engine_item items[] = {{a, 100}, {b, 100}};
    CHECK_OK(mr_engine_step(e, items, 2, outs, &err), err);
    CHECK_I64(mr_engine_kv_blocks_free(e), 3);
    for (int i = 0; i < 3; i++)
        CHECK_I64(golden_step(e, a, mr_engine_pending(e, a)),
                  golden_step(e, b, mr_engine_pending(e, b)));
    mr_engine_drop(e, a);
    mr_engine_drop(e, b);
    CHECK_I64(mr_engine_kv_blocks_free(e), 8);
    mr_engine_close(e);
}

TEST(a_prefix_makes_room_when_blocks_run_out) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_seqs = 1, .kv_tokens = 4 * 32});
    int32_t tokens[100];

    for (int round = 0; round < 3; round++) { /* each forgets all of the one before */
        for (int32_t i = 0; i < 100; i++) tokens[i] = 10 + round + i;
        const uint32_t seq = add_salted(e, tokens, 100, 0);
        CHECK_I64(mr_engine_cached(e, seq), 0);
        golden_step(e, seq, 100);
        mr_engine_drop(e, seq);
        CHECK_I64(mr_engine_kv_blocks_free(e), 4);
    }
    const uint32_t seq = add_salted(e, tokens, 100, 0);
    CHECK_I64(mr_engine_cached(e, seq), 96);
    mr_engine_close(e);
}

TEST(no_prefix_cache_keeps_nothing) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.max_seqs = 1, .no_prefix_cache = true});
    int32_t tokens[100];

    for (int32_t i = 0; i < 100; i++) tokens[i] = 10 + i;
    for (int round = 0; round < 2; round++) {
        const uint32_t seq = add_salted(e, tokens, 100, 0);
        CHECK_I64(mr_engine_cached(e, seq), 0);
        golden_step(e, seq, 100);
        mr_engine_drop(e, seq);
    }
    mr_engine_close(e);
}

/* ---- one bad job hurts nobody else ---- */

#define BAD_TOKEN 200

/* A copy of the model in which one token's embedding is not a number. */
static void spoil_model(char *path) {
    mr_gguf *g;
    mr_err err;

    CHECK_OK(mr_gguf_open(&g, GOLDEN_DIR MODEL ".gguf", &err), err);
    const mr_gguf_tensor *t = mr_gguf_find_tensor(g, "token_embd.weight");
    const size_t n = mr_gguf_file_bytes(g);
    const size_t at = t->file_offset + BAD_TOKEN * t->dims[0] * sizeof(float);
    mr_gguf_close(g);

    FILE *in = fopen(GOLDEN_DIR MODEL ".gguf", "rb");
    char *bytes = malloc(n);
    const float bad = NAN;
    CHECK(in && bytes && fread(bytes, 1, n, in) == n);
    fclose(in);
    memcpy(bytes + at, &bad, sizeof bad);
    const int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_I64(write(fd, bytes, n), n);
    close(fd);
    free(bytes);
}

TEST(a_spoiled_sequence_is_named_and_the_others_go_on) {
    char path[] = "/tmp/millrace-test-XXXXXX";
    const int32_t bad_prompt[] = {1, BAD_TOKEN, 30};
    mr_engine *e, *reference = golden_open(MODEL, (mr_engine_options){0});
    mr_engine_out outs[2];
    mr_err err;

    spoil_model(path);
    CHECK_OK(mr_engine_open(&e, &(mr_engine_options){.model_path = path, .n_threads = 2}, &err),
             err);
    unlink(path); /* the mapping keeps it */
    const uint32_t good = golden_add(e, prompt, N_PROMPT, 0, 4, &greedy);
    const uint32_t bad = golden_add(e, bad_prompt, 3, 0, 4, &greedy);
    const mr_engine_item items[] = {{bad, 3}, {good, N_PROMPT}};

    CHECK_I64(mr_engine_step(e, items, 2, outs, &err), MR_EINTERNAL);
    CHECK_ERR(err, "a logit is not finite");
    CHECK_I64(outs[0].token, MR_ENGINE_SPOILED);
    CHECK_I64(mr_engine_pending(e, good), N_PROMPT); /* nobody has moved */
    CHECK_I64(mr_engine_pending(e, bad), 3);
    mr_engine_drop(e, bad);

    const uint32_t same = golden_add(reference, prompt, N_PROMPT, 0, 4, &greedy);
    for (int i = 0; i < 4; i++)
        CHECK_I64(golden_step(e, good, mr_engine_pending(e, good)),
                  golden_step(reference, same, mr_engine_pending(reference, same)));
    mr_engine_close(e);
    mr_engine_close(reference);
}

/* Blocks that held another sequence's values, NaN among them, must not show through. */
TEST(a_reused_block_shows_nothing_of_its_last_owner) {
    char path[] = "/tmp/millrace-test-XXXXXX";
    const mr_engine_options opt = {.model_path = path, .max_seqs = 1, .kv_tokens = 64, .n_ctx = 64};
    int32_t bad_prompt[40];
    float before[N_VOCAB];
    mr_engine_out out;
    mr_engine *e;
    mr_err err;

    spoil_model(path);
    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    unlink(path);
    uint32_t seq = golden_add(e, prompt, N_PROMPT, 0, 1, &greedy);
    golden_step(e, seq, N_PROMPT);
    memcpy(before, mr_engine_logits(e, seq), sizeof before);
    mr_engine_drop(e, seq);

    for (size_t i = 0; i < MR_COUNT(bad_prompt); i++) bad_prompt[i] = BAD_TOKEN;
    seq = golden_add(e, bad_prompt, MR_COUNT(bad_prompt), 0, 1, &greedy);
    CHECK_I64(mr_engine_step(e, &(mr_engine_item){seq, MR_COUNT(bad_prompt)}, 1, &out, &err),
              MR_EINTERNAL);
    mr_engine_drop(e, seq);

    seq = golden_add(e, prompt, N_PROMPT, 0, 1, &greedy);
    golden_step(e, seq, N_PROMPT);
    assert_memory_equal(before, mr_engine_logits(e, seq), sizeof before);
    mr_engine_close(e);
}

/* ---- memory ---- */

TEST(a_step_allocates_nothing) {
    mr_engine *e = golden_open(MODEL, (mr_engine_options){.n_threads = 2, .max_seqs = 8});
    const mr_sampling hard = {.temperature = 1,
                              .top_k = 40,
                              .top_p = 0.9f,
                              .min_p = 0.01f,
                              .repetition_penalty = 1.2f,
                              .logprobs = true,
                              .n_top_logprobs = 5,
                              .ban_eog = true};
    mr_engine_item items[8];
    mr_engine_out outs[8];
    mr_err err;

    count_allocations();
    void *volatile probe = malloc(1); /* volatile: or the pair is optimized away */
    free(probe);
    CHECK(atomic_load(&n_allocations) > 0);
    for (uint32_t i = 0; i < 8; i++)
        items[i] = (mr_engine_item){golden_add(e, prompt, N_PROMPT, 0, 20, &hard), N_PROMPT};
    long before = 0;
    for (int k = 0; k < 20; k++) {
        if (k == 1) before = atomic_load(&n_allocations); /* threads start meanwhile: not counted */
        CHECK_OK(mr_engine_step(e, items, 8, outs, &err), err);
        for (uint32_t i = 0; i < 8; i++) {
            items[i].n_tokens = 1;
            CHECK(outs[i].token >= 0 && outs[i].n_top == 5);
        }
    }
    CHECK_I64(atomic_load(&n_allocations), before);
    mr_engine_close(e);
}

MR_TEST_MAIN
