/* Goal: a synthesized model is one that the rest of the engine takes for real: it opens, its
 * weights have the promised mean and deviation in every type, its vocabulary is consistent and
 * its template known; the same seed gives the same file; a full disk leaves nothing.
 * Method: write small models into a folder of their own, open them and measure; the disk is made
 * full by a limit on the size of files. */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/gguf_write.h"
#include "engine/quant.h"
#include "engine/synth.h"
#include "engine/template.h"
#include "engine/tokenizer.h"
#include "tests/test.h"

static char dir[] = "/tmp/mr-synth-XXXXXX";
static char path[64], other[64];

static void begin(void) {
    snprintf(dir, sizeof dir, "/tmp/mr-synth-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.gguf", dir);
    snprintf(other, sizeof other, "%s/b.gguf", dir);
}

static size_t count_files(void) {
    DIR *d = opendir(dir);
    size_t n = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void finish(void) {
    unlink(path);
    unlink(other);
    CHECK_I64(rmdir(dir), 0);
}

static mr_status synth(const char *to, const char *shape_text, const char *type, uint64_t seed,
                       mr_err *err) {
    mr_synth_shape shape;
    uint64_t bytes = 0;
    const mr_synth_options opt = {.shape = &shape, .type = type, .seed = seed, .path = to};

    CHECK_OK(mr_synth_shape_parse(&shape, shape_text, err), *err);
    return mr_synth_write(&opt, &bytes, err);
}

static bool same_files(const char *a, const char *b) {
    FILE *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    int ca, cb;

    assert_true(fa && fb);
    do {
        ca = getc(fa);
        cb = getc(fb);
    } while (ca == cb && ca != EOF);
    fclose(fa);
    fclose(fb);
    return ca == cb;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* Mean within 4 standard errors of 0; deviation within 2 % of the wanted; no two rows equal. */
static void check_matrix(const mr_mat *w, double std) {
    const double n = (double)w->rows * w->cols;
    float *row = malloc(w->cols * sizeof *row);
    double sum = 0, squares = 0;

    assert_non_null(row);
    for (uint32_t r = 0; r < w->rows; r++) {
        const uint8_t *data = (const uint8_t *)w->data + r * w->row_bytes;
        if (r) CHECK(memcmp(data, data - w->row_bytes, w->row_bytes) != 0);
        mr_dequantize_row(row, data, w->type, w->cols);
        for (uint32_t c = 0; c < w->cols; c++) {
            sum += (double)row[c];
            squares += (double)row[c] * (double)row[c];
        }
    }
    free(row);
    if (fabs(sum / n) > 4 * std / sqrt(n)) fail_msg("type %d: mean %g", w->type, sum / n);
    if (fabs(sqrt(squares / n) / std - 1) > 0.02)
        fail_msg("type %d: deviation %g, not %g", w->type, sqrt(squares / n), std);
}

TEST(weights_have_mean_and_deviation_in_every_type) {
    mr_model *m;
    mr_err err;

    begin();
    for (size_t i = 0; mr_synth_types[i]; i++) {
        CHECK_OK(synth(path, "tiny", mr_synth_types[i], 1, &err), err);
        CHECK_OK(mr_model_open(&m, path, &err), err);
        check_matrix(&m->layers[0].wq, 1 / sqrt(256));
        check_matrix(&m->layers[1].down, 1 / sqrt(512) / sqrt(2 * 2));
        check_matrix(&m->tok_embd, 1);
        check_matrix(&m->output, 1 / sqrt(256));
        CHECK(m->layers[0].attn_norm[0] > 0.5f && m->layers[0].attn_norm[0] < 1.5f);
        CHECK(m->layers[0].attn_norm[0] != m->layers[0].attn_norm[1]);
        mr_model_close(m);
    }
    finish();
}

TEST(types_are_those_asked_for) {
    static const struct {
        const char *name;
        mr_type type;
    } cases[] = {{"f32", MR_TYPE_F32},   {"F16", MR_TYPE_F16},   {"bf16", MR_TYPE_BF16},
                 {"q8_0", MR_TYPE_Q8_0}, {"q4_0", MR_TYPE_Q4_0}, {"q4_k", MR_TYPE_Q4_K},
                 {"q5_k", MR_TYPE_Q5_K}, {"q6_k", MR_TYPE_Q6_K}};
    mr_model *m;
    mr_err err;

    begin();
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_OK(synth(path, "tiny", cases[i].name, 1, &err), err);
        CHECK_OK(mr_model_open(&m, path, &err), err);
        CHECK(m->layers[0].wo.type == cases[i].type && m->output.type == cases[i].type);
        mr_model_close(m);
    }
    finish();
}

TEST(the_mix_keeps_some_tensors_better) {
    size_t better = 0;
    mr_model *m;
    mr_err err;

    begin();
    CHECK_OK(synth(path, "custom:layers=16", "q4_k_m", 1, &err), err);
    CHECK_OK(mr_model_open(&m, path, &err), err);
    CHECK(m->output.type == MR_TYPE_Q6_K && m->tok_embd.type == MR_TYPE_Q4_K);
    for (uint32_t i = 0; i < 16; i++) {
        const mr_layer *y = &m->layers[i];
        CHECK(y->wq.type == MR_TYPE_Q4_K && y->up.type == MR_TYPE_Q4_K);
        CHECK(y->wv.type == y->down.type);
        better += y->wv.type == MR_TYPE_Q6_K;
    }
    CHECK_I64(better, 2 + 2 + 4); /* first and last eighth, every third of the 12 between */
    mr_model_close(m);
    finish();
}

TEST(the_same_seed_gives_the_same_bytes) {
    mr_err err;

    begin();
    CHECK_OK(synth(path, "tiny", "q4_k_m", 42, &err), err);
    CHECK_OK(synth(other, "tiny", "q4_k_m", 42, &err), err);
    CHECK(same_files(path, other));
    CHECK_OK(synth(other, "tiny", "q4_k_m", 43, &err), err);
    CHECK(!same_files(path, other));
    finish();
}

TEST(every_architecture_and_option_opens) {
    static const struct {
        const char *shape;
        mr_arch arch;
        bool tied;
    } cases[] = {
        {"custom:arch=llama,layers=1,tokenizer=llama-bpe,tied=1", MR_ARCH_LLAMA, true},
        {"custom:arch=qwen2,layers=3,embd=64,heads=4,kv_heads=1,ff=96", MR_ARCH_QWEN2, false},
        {"custom:arch=qwen3,embd=64,heads=2,kv_heads=1,head_dim=64,vocab=1000,ctx=99,rope_base="
         "1000000",
         MR_ARCH_QWEN3, false},
    };
    mr_model *m;
    mr_err err;

    begin();
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_OK(synth(path, cases[i].shape, "q8_0", 1, &err), err);
        CHECK_OK(mr_model_open(&m, path, &err), err);
        CHECK(m->hp.arch == cases[i].arch && m->tied == cases[i].tied);
        CHECK((m->layers[0].bq != NULL) == (m->hp.arch == MR_ARCH_QWEN2));
        CHECK((m->layers[0].q_norm != NULL) == (m->hp.arch == MR_ARCH_QWEN3));
        if (i == 2) {
            CHECK(m->hp.d_head == 64 && m->hp.n_embd == 64 && m->hp.n_vocab == 1000);
            CHECK(m->hp.n_ctx_train == 99 && m->hp.rope_base == 1e6f &&
                  m->layers[0].wq.rows == 128);
        }
        mr_model_close(m);
    }
    finish();
}

/* The shape of llama3-3b with its size cut down keeps what is special about it. */
TEST(llama3_scaling_slows_the_slow_pairs_only) {
    mr_synth_shape s;
    uint64_t bytes;
    mr_model *m;
    mr_err err;

    begin();
    CHECK_OK(mr_synth_shape_parse(&s, "llama3-3b", &err), err);
    CHECK(s.n_layer == 28 && s.n_embd == 3072 && s.n_vocab == 128256 && s.tied);
    s.n_layer = 1;
    s.n_embd = s.n_ff = 256;
    s.n_vocab = 512;
    const mr_synth_options opt = {.shape = &s, .type = "q4_0", .path = path};
    CHECK_OK(mr_synth_write(&opt, &bytes, &err), err);
    CHECK_OK(mr_model_open(&m, path, &err), err);
    CHECK(m->hp.rope_freqs && m->hp.n_rot == 128);
    CHECK(m->hp.rope_freqs[0] == 1 && m->hp.rope_freqs[63] == 32);
    for (size_t i = 1; i < 64; i++) CHECK(m->hp.rope_freqs[i] >= m->hp.rope_freqs[i - 1]);
    CHECK(m->hp.rope_freqs[32] > 1 && m->hp.rope_freqs[32] < 32);
    mr_model_close(m);
    finish();
}

/* --- vocabulary ------------------------------------------------------------------------------- */

static int compare_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All tokens as sorted C strings (none of ours holds a zero byte). */
static char **sorted_tokens(const mr_gguf *g, size_t n) {
    char **all = calloc(n, sizeof *all);
    mr_str s;

    assert_non_null(all);
    for (size_t i = 0; i < n; i++) {
        CHECK_I64(mr_gguf_array_str(g, "tokenizer.ggml.tokens", i, &s), MR_OK);
        assert_non_null(all[i] = strndup(s.ptr, s.len));
    }
    qsort(all, n, sizeof *all, compare_text);
    for (size_t i = 1; i < n; i++) CHECK(strcmp(all[i - 1], all[i]) != 0);
    return all;
}

static void free_tokens(char **all, size_t n) {
    for (size_t i = 0; i < n; i++) free(all[i]);
    free(all);
}

static bool has_token(char **all, size_t n, const char *text) {
    return bsearch(&text, all, n, sizeof *all, compare_text) != NULL;
}

static void check_merges(const mr_gguf *g, char **all, size_t n_vocab) {
    mr_gguf_kind kind;
    size_t n = 0;
    mr_str s;
    mr_err err;

    CHECK_OK(mr_gguf_array(g, "tokenizer.ggml.merges", &kind, &n, &err), err);
    CHECK(n > 0);
    for (size_t i = 0; i < n; i++) {
        char left[64], right[64], both[128];
        CHECK_I64(mr_gguf_array_str(g, "tokenizer.ggml.merges", i, &s), MR_OK);
        snprintf(both, sizeof both, "%.*s", (int)s.len, s.ptr);
        CHECK_I64(sscanf(both, "%63s %63s", left, right), 2);
        snprintf(both, sizeof both, "%s%s", left, right);
        CHECK(has_token(all, n_vocab, left) && has_token(all, n_vocab, right));
        CHECK(has_token(all, n_vocab, both));
    }
}

static void check_round_trip(const mr_tokenizer *t, const char *text, size_t len, size_t max_ids) {
    const mr_encode_opt opt = {.parse_special = false};
    int32_t ids[512];
    char back[512];
    size_t n, n_back;
    mr_err err;

    CHECK_OK(mr_tokenizer_encode(t, text, len, &opt, ids, 512, &n, &err), err);
    CHECK(n > 0 && n <= max_ids);
    CHECK_OK(mr_tokenizer_decode(t, ids, n, false, back, sizeof back, &n_back, &err), err);
    CHECK_I64(n_back, len);
    CHECK(memcmp(back, text, len) == 0);
}

/* letters: of English per token, at least; it shows that pieces merge. */
static void check_vocabulary(const char *shape, size_t n_vocab, const char *kind, const char *pre,
                             const char *template, double letters) {
    static const char english[] = "the tests of another area are seen later in the street";
    static const char odd[] = "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80 1234\t\n<|im_end|>\x01\xff";
    const mr_template *found;
    mr_tokenizer *t;
    mr_gguf *g;
    mr_err err;

    CHECK_OK(synth(path, shape, "q4_0", 1, &err), err);
    CHECK_OK(mr_gguf_open(&g, path, &err), err);
    CHECK_OK(mr_tokenizer_open(&t, g, &err), err);
    CHECK_I64(mr_tokenizer_n_vocab(t), n_vocab);
    CHECK_STR(mr_tokenizer_kind(t), kind);
    CHECK_STR(mr_tokenizer_pre(t), pre);
    CHECK(mr_tokenizer_is_eog(t, mr_tokenizer_eos(t)));
    check_round_trip(t, english, sizeof english - 1, (size_t)((sizeof english - 1) / letters));
    check_round_trip(t, odd, sizeof odd - 1, 200);
    CHECK_OK(mr_template_pick(&found, g, NULL, &err), err);
    CHECK_STR(mr_template_name(found), template);

    char **all = sorted_tokens(g, n_vocab);
    if (strcmp(kind, "gpt2") == 0) check_merges(g, all, n_vocab);
    free_tokens(all, n_vocab);
    mr_tokenizer_close(t);
    mr_gguf_close(g);
}

TEST(vocabularies_are_valid) {
    begin();
    check_vocabulary("tiny", 512, "llama", "", "chatml", 1.4);
    check_vocabulary("custom:vocab=32000,embd=32,heads=1,kv_heads=1,ff=32", 32000, "llama", "",
                     "chatml", 2);
    check_vocabulary("custom:arch=qwen2,vocab=20000,embd=32,heads=1,kv_heads=1,ff=32", 20000,
                     "gpt2", "qwen2", "chatml", 2);
    check_vocabulary("custom:tokenizer=llama-bpe,vocab=384,embd=32,heads=1,kv_heads=1,ff=32", 384,
                     "gpt2", "llama-bpe", "llama3", 1.4);
    finish();
}

/* --- refusals --------------------------------------------------------------------------------- */

TEST(shapes_are_refused_by_key_and_value) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"llama4", "\"llama4\" is unknown; there are tiny, tinyllama-1.1b"},
        {"custom:arch=gpt2", "arch is \"gpt2\", must be one of llama, qwen2, qwen3"},
        {"custom:layer=2", "unknown key \"layer\""},
        {"custom:layers=0", "layers is \"0\", must be 1..1024"},
        {"custom:layers=99999999999999999999", "layers is \"99999999999999999999\""},
        {"custom:layers=-1", "layers is \"-1\""},
        {"custom:layers=2x", "layers is \"2x\""},
        {"custom:layers", "\"layers\" is no key=value"},
        {"custom:heads=3", "heads is 3, must be a multiple of kv_heads, 4"},
        {"custom:embd=100", "embd is 100, must be a multiple of heads, 8"},
        {"custom:embd=24", "a head has 3 values"},
        {"custom:vocab=383", "vocab is \"383\", must be 384..1048576"},
        {"custom:tokenizer=bert", "must be one of spm, qwen2, llama-bpe"},
    };
    mr_synth_shape s;
    char longest[600] = "custom:";
    mr_err err;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        CHECK_I64(mr_synth_shape_parse(&s, cases[i].text, &err), MR_EINVAL);
        CHECK_ERR(err, cases[i].part);
    }
    memset(longest + 7, ',', sizeof longest - 8);
    CHECK_I64(mr_synth_shape_parse(&s, longest, &err), MR_EINVAL);
    CHECK_ERR(err, "limit is 511");
}

TEST(rows_must_hold_whole_blocks) {
    mr_err err;

    begin();
    CHECK_I64(synth(path, "custom:embd=64,heads=4", "q4_k", 1, &err), MR_EINVAL);
    CHECK_ERR(err,
              "token_embd.weight has rows of 64 values, no multiple of 256, the block of Q4_K");
    CHECK_I64(synth(path, "tiny", "q3_k", 1, &err), MR_EINVAL);
    CHECK_ERR(err, "type \"q3_k\" is unknown");
    CHECK_I64(count_files(), 0);
    finish();
}

/* The limit on the size of a file strikes when room is asked for, or while the keys are written. */
static mr_status synth_with_limit(rlim_t limit, const char *shape, mr_err *err) {
    struct rlimit old, tight;

    CHECK_I64(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = limit;
    void (*const before)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK_I64(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const mr_status st = synth(path, shape, "f32", 2, err);
    CHECK_I64(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    return st;
}

TEST(a_full_disk_leaves_nothing_and_harms_nothing) {
    mr_err err;

    begin();
    CHECK_OK(synth(path, "tiny", "q8_0", 1, &err), err);
    CHECK_OK(synth(other, "tiny", "q8_0", 1, &err), err);
    CHECK_I64(synth_with_limit(300000, "tiny", &err), MR_EIO);
    CHECK_ERR(err, "a.gguf: no room for a file of 5785568 bytes: File too large");
    CHECK_I64(synth_with_limit(100000, "custom:vocab=32000", &err), MR_EIO);
    CHECK_ERR(err, "a.gguf: cannot write at byte ");
    CHECK_I64(count_files(), 2);
    CHECK(same_files(path, other)); /* the old file is untouched */
    finish();
}

static bool stop_in_the_middle(void *owner, uint64_t bytes, uint64_t total) {
    *(uint64_t *)owner = total - bytes;
    return false;
}

TEST(a_stop_leaves_nothing) {
    mr_synth_shape s;
    uint64_t bytes = 0, rest = 0;
    mr_err err;
    const mr_synth_options opt = {.shape = &s,
                                  .type = "f32",
                                  .path = path,
                                  .on_progress = stop_in_the_middle,
                                  .owner = &rest};

    begin();
    CHECK_OK(mr_synth_shape_parse(&s, "custom:vocab=20000", &err), err);
    CHECK_I64(mr_synth_write(&opt, &bytes, &err), MR_ECANCELED);
    CHECK_ERR(err, "nothing is left");
    CHECK(rest > 0);
    CHECK_I64(count_files(), 0);
    finish();
}

TEST(a_folder_that_is_missing_is_named) {
    mr_err err;

    CHECK_I64(synth("/nonexistent/a.gguf", "tiny", "q8_0", 1, &err), MR_EIO);
    CHECK_ERR(err, "/nonexistent/a.gguf");
    CHECK_ERR(err, "No such file");
}

MR_TEST_MAIN
