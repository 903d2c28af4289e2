/* Goal: ids are exactly those of the reference tokenizers; no text is lost; wrong files are refused
 * by name; cost stays in proportion to length.
 * Method: (1) the reference vocabularies in ../shared/tokenizer, when they are there; (2) small
 * vocabularies made here, each rule with ids worked out by hand; (3) random texts against the
 * plainest possible way of merging; (4) tests/golden/splits.txt: pieces cut by the published
 * regular expressions; (5) long texts of the kinds that make merging quadratic. */
#include <sys/stat.h>
#include <time.h>

#include "engine/pretokenize.h"
#include "tests/unit/engine/vocab.h"

#define MAX_IDS 4096
#define SP      "\xE2\x96\x81" /* U+2581 */

static vocab file;

typedef struct ids {
    int32_t id[MAX_IDS];
    size_t n;
} ids;

static ids encode(const mr_tokenizer *t, const char *text, size_t len, const mr_encode_opt *opt) {
    static ids out;
    mr_err err = {0};
    CHECK_OK(mr_tokenizer_encode(t, text, len, opt, out.id, MAX_IDS, &out.n, &err), err);
    return out;
}

/* "1 2 3" */
static const char *line_of(const ids *x) {
    static char line[16 * MAX_IDS];
    size_t n = 0;
    line[0] = 0;
    for (size_t i = 0; i < x->n; i++)
        n += (size_t)sprintf(line + n, "%s%d", i ? " " : "", (int)x->id[i]);
    return line;
}

static void check_ids(const mr_tokenizer *t, const char *text, const mr_encode_opt *opt,
                      const char *expected) {
    const ids x = encode(t, text, strlen(text), opt);
    if (strcmp(line_of(&x), expected) != 0)
        fail_msg("\"%s\" gives %s, not %s", text, line_of(&x), expected);
}

static void check_round_trip(const mr_tokenizer *t, const char *text, size_t len) {
    static char back[8 * MAX_IDS];
    const ids x = encode(t, text, len, NULL);
    mr_err err = {0};
    size_t n = 0;
    CHECK_OK(mr_tokenizer_decode(t, x.id, x.n, false, back, sizeof back, &n, &err), err);
    CHECK_I64(n, len);
    CHECK(memcmp(back, text, len) == 0);
}

/* ---- reference vocabularies ---- */

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *s;

    if (!f) return NULL;
    CHECK(fstat(fileno(f), &st) == 0);
    CHECK((s = malloc((size_t)st.st_size + 1)) != NULL);
    *n = fread(s, 1, (size_t)st.st_size, f);
    s[*n] = 0;
    fclose(f);
    return s;
}

static const char *path_of(const char *folder, const char *name) {
    static char path[4096];
    const char *source = getenv("MR_SOURCE"), *shared = getenv("MR_SHARED");
    if (strcmp(folder, "shared") != 0)
        snprintf(path, sizeof path, "%s/%s/%s", source ? source : ".", folder, name);
    else if (shared)
        snprintf(path, sizeof path, "%s/tokenizer/%s", shared, name);
    else
        snprintf(path, sizeof path, "%s/../shared/tokenizer/%s", source ? source : ".", name);
    return path;
}

static void check_reference(const char *name) {
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char file_name[64];
    size_t n_inp = 0, n_out = 0, n_texts = 0;
    mr_gguf *g = NULL;
    mr_tokenizer *t = NULL;
    mr_err err = {0};

    snprintf(file_name, sizeof file_name, "%s.gguf.inp", name);
    char *inp = read_file(path_of("shared", file_name), &n_inp);
    snprintf(file_name, sizeof file_name, "%s.gguf.out", name);
    char *out = read_file(path_of("shared", file_name), &n_out);
    if (!inp || !out) {
        free(inp);
        free(out);
        print_message("%s: not here, skipped\n", name);
        return;
    }
    snprintf(file_name, sizeof file_name, "%s.gguf", name);
    CHECK_OK(mr_gguf_open(&g, path_of("shared", file_name), &err), err);
    CHECK_OK(mr_tokenizer_open(&t, g, &err), err);
    char *line = out;
    for (char *text = inp; text; n_texts++) {
        char *end = strstr(text, mark), *next = end ? end + strlen(mark) : NULL;
        char *line_end = strchrnul(line, '\n');
        if (end) *end = 0;
        while (*line == ' ') line++;
        while (line_end > line && line_end[-1] == ' ') line_end--;
        const ids x = encode(t, text, strlen(text), NULL);
        const char *got = line_of(&x);
        if (strlen(got) != (size_t)(line_end - line) || memcmp(got, line, strlen(got)) != 0)
            fail_msg("%s, text %zu: %s, not %.*s", name, n_texts, got, (int)(line_end - line),
                     line);
        check_round_trip(t, text, strlen(text));
        line = strchrnul(line_end, '\n');
        line += *line == '\n';
        text = next;
    }
    CHECK(n_texts > 40);
    mr_tokenizer_close(t);
    mr_gguf_close(g);
    free(inp);
    free(out);
}

TEST(ids_of_the_reference) {
    check_reference("gpt-2");
    check_reference("llama-spm");
}

/* ---- SentencePiece ---- */

enum { UNK, BOS, EOS, B0 = 3 }; /* bytes 3..258 */

static const struct {
    const char *text;
    float score;
    int32_t type;
} spm_extra[] = {
    {SP, -1, 1},        {"a", -2, 1},        {"b", -2, 1},     {"c", -2, 1},      /* 259.. */
    {"ab", -5, 1},      {"bc", -4, 1},       {"aa", -3, 1},    {"aaa", -3, 1},    /* 263.. */
    {SP "a", -2.5f, 1}, {SP SP, -6, 1},      {"<tool>", 0, 4}, {"<|end|>", 0, 1}, /* 267.. */
    {"<tool>x", 0, 3},  {"\xC3\xA9", -7, 1}, {"<s>y", 0, 4},   {"unused", -1, 5}, /* 271.. */
};
#define N_SPM (B0 + 256 + MR_COUNT(spm_extra))

static void begin_spm(bool bytes) {
    static char names[256][8];
    static const char *tokens[N_SPM];
    static int32_t types[N_SPM];
    static float scores[N_SPM];

    tokens[0] = "<unk>", tokens[1] = "<s>", tokens[2] = "</s>";
    types[0] = 2, types[1] = types[2] = 3;
    for (size_t b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], bytes ? "<0x%02X>" : "#%02X", (unsigned)b);
        tokens[B0 + b] = names[b];
        types[B0 + b] = bytes ? 6 : 1;
    }
    for (size_t i = 0; i < MR_COUNT(spm_extra); i++) {
        tokens[B0 + 256 + i] = spm_extra[i].text;
        types[B0 + 256 + i] = spm_extra[i].type;
        scores[B0 + 256 + i] = spm_extra[i].score;
    }
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", tokens, N_SPM);
    vocab_f32s(&file, "scores", scores, N_SPM);
    vocab_i32s(&file, "token_type", types, N_SPM);
}

static mr_tokenizer *open_file(void) {
    mr_tokenizer *t = NULL;
    mr_err err = {0};
    CHECK_OK(vocab_open(&file, &t, &err), err);
    return t;
}

TEST(spm_merges_by_score_and_prefixes_a_blank) {
    const mr_encode_opt special = {.add_special = true}, parse = {.parse_special = true};
    begin_spm(true);
    mr_tokenizer *t = open_file();

    check_ids(t, "", NULL, "");
    check_ids(t, "", &special, "1");
    check_ids(t, "a", NULL, "267");                 /* _a */
    check_ids(t, "babc", NULL, "259 261 260 264");  /* bc before ab */
    check_ids(t, "caaaa", NULL, "259 262 266 260"); /* equal scores: leftmost first */
    check_ids(t, "caaa", NULL, "259 262 266");
    check_ids(t, " a", NULL, "259 267"); /* _a before __ */
    check_ids(t, "  b", NULL, "268 259 261");
    check_ids(t, "\xC3\xA9\xC3\xA8\n", NULL, "259 272 198 171 13"); /* e acute known, e grave not */
    check_ids(t, "\xC3", NULL, "259 198");                          /* not UTF-8: its byte */
    check_ids(t, "b</s>", NULL, "259 261 63 50 118 65");
    check_ids(t, "b</s>a", &parse, "259 261 2 267"); /* the blank comes again behind it */
    check_ids(t, "b<unk>b", &parse, "259 261 0 259 261");
    check_ids(t, "b<tool>b", NULL, "259 261 269 259 261"); /* user-defined: always */
    check_ids(t, "b<tool>xb", NULL, "259 261 269 259 123 261");
    check_ids(t, "b<tool>xb", &parse, "259 261 271 259 261"); /* the longest one */
    check_ids(t, "<|end|>", &parse, "270"); /* a name that ends a turn is control */
    mr_tokenizer_close(t);
}

TEST(spm_options_of_the_file) {
    const mr_encode_opt special = {.add_special = true};
    begin_spm(true);
    vocab_bool(&file, "add_space_prefix", false);
    vocab_bool(&file, "add_bos_token", false);
    vocab_bool(&file, "add_eos_token", true);
    mr_tokenizer *t = open_file();
    check_ids(t, "a", &special, "260 2");
    check_ids(t, " a", NULL, "267");
    CHECK(!mr_tokenizer_adds_bos(t));
    mr_tokenizer_close(t);

    begin_spm(true);
    vocab_bool(&file, "remove_extra_whitespaces", true);
    t = open_file();
    check_ids(t, "  b   a ", NULL, "259 261 267");
    mr_tokenizer_close(t);

    begin_spm(false); /* no byte tokens: one unknown for a stretch */
    t = open_file();
    check_ids(t, "xyzbx", NULL, "259 0 261 0");
    mr_tokenizer_close(t);

    begin_spm(true); /* what this model's tokenizer does is only told by its name */
    vocab_str(&file, "general.name", "Phi-3 mini");
    t = open_file();
    const mr_encode_opt parse = {.parse_special = true};
    check_ids(t, "</s> \n a<s> a", &parse, "2 267 1 259 267");
    mr_tokenizer_close(t);
}

TEST(opaque_ranges_hide_control_tokens) {
    const mr_span spans[] = {{1, 5}, {9, 9}, {12, 14}};
    const mr_encode_opt opt = {.parse_special = true, .opaque = spans, .n_opaque = 3};
    const mr_span half = {2, 20};
    const mr_encode_opt cut = {.parse_special = true, .opaque = &half, .n_opaque = 1};
    begin_spm(true);
    vocab_bool(&file, "add_space_prefix", false);
    mr_tokenizer *t = open_file();

    check_ids(t, "a</s>b</s>a</s>", &opt, "260 63 50 118 65 261 2 260 63 50 118 65");
    check_ids(t, "</s>a", &cut, "63 50 118 65 260");     /* begins outside, ends inside */
    check_ids(t, "aa<tool>xa", &cut, "265 269 123 260"); /* user-defined ones are no danger */
    mr_tokenizer_close(t);
}

TEST(what_tokens_look_like) {
    begin_spm(true);
    mr_tokenizer *t = open_file();
    char buf[64];
    size_t n;
    mr_err err = {0};
    const int32_t seq[] = {BOS, 267, 267, EOS};

    CHECK_I64(mr_tokenizer_piece(t, BOS, false).len, 0);
    CHECK_I64(mr_tokenizer_piece(t, BOS, true).len, 3);
    CHECK_I64(mr_tokenizer_piece(t, UNK, false).len, 0);
    CHECK_I64(mr_tokenizer_piece(t, 274, false).len, 0); /* unused */
    CHECK_I64(mr_tokenizer_piece(t, B0 + 10, false).ptr[0], '\n');
    CHECK_I64(mr_tokenizer_piece(t, 268, false).len, 2); /* two blanks */
    CHECK_I64(mr_tokenizer_piece(t, -1, true).len, 0);
    CHECK_I64(mr_tokenizer_piece(t, (int32_t)N_SPM, true).len, 0);
    CHECK_I64(mr_tokenizer_max_piece(t), 7);
    CHECK_OK(mr_tokenizer_decode(t, seq, 4, false, buf, sizeof buf, &n, &err), err);
    CHECK_I64(n, 3);
    CHECK(memcmp(buf, "a a", 3) == 0);
    CHECK_OK(mr_tokenizer_decode(t, seq, 4, true, buf, sizeof buf, &n, &err), err);
    CHECK_I64(n, 10);
    CHECK(memcmp(buf, "<s>a a</s>", 10) == 0);
    CHECK_I64(mr_tokenizer_decode(t, seq, 4, true, buf, 4, &n, &err), MR_ELIMIT);
    CHECK_I64(n, 10);
    CHECK_I64(mr_tokenizer_encode(t, "babc", 4, NULL, NULL, 0, &n, &err), MR_ELIMIT);
    CHECK_I64(n, 4);
    CHECK(mr_tokenizer_is_eog(t, EOS) && mr_tokenizer_is_eog(t, 270) && !mr_tokenizer_is_eog(t, 1));
    CHECK(mr_tokenizer_is_control(t, 270) && !mr_tokenizer_is_control(t, 269));
    CHECK_I64(mr_tokenizer_find(t, "<tool>", 6), 269);
    CHECK_I64(mr_tokenizer_find(t, "nope", 4), MR_TOKEN_NONE);
    CHECK_STR(mr_tokenizer_kind(t), "llama");
    CHECK_STR(mr_tokenizer_pre(t), "");
    mr_tokenizer_close(t);
}

/* ---- byte-level BPE ---- */

/* Token i < 256 is byte i; then merged ones. */
static char byte_text[256][4];
static const char *bpe_tokens[256 + 16];
static int32_t bpe_types[256 + 16];
static size_t n_bpe;

static void add_bpe(const char *text, int32_t type) {
    bpe_tokens[n_bpe] = text;
    bpe_types[n_bpe++] = type;
}

static void begin_bpe(const char *pre) {
    uint32_t next = 0x100;
    n_bpe = 0;
    for (uint32_t b = 0; b < 256; b++) {
        const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        const uint32_t cp = prints ? b : next++;
        snprintf(byte_text[b], 4, cp < 0x80 ? "%c" : "%c%c",
                 cp < 0x80 ? (int)cp : (int)(0xC0 | cp >> 6), (int)(0x80 | (cp & 0x3F)));
        add_bpe(byte_text[b], 1);
    }
    vocab_begin(&file);
    vocab_str(&file, "model", "gpt2");
    if (pre) vocab_str(&file, "pre", pre);
}

static void end_bpe(const char *const *merges, size_t n) {
    vocab_strs(&file, "tokens", bpe_tokens, n_bpe);
    vocab_i32s(&file, "token_type", bpe_types, n_bpe);
    vocab_strs(&file, "merges", merges, n);
}

TEST(bpe_merges_by_rank) {
    static const char *const merges[] = {"b c", "a b", "a a",  "aa a", "\xC4\xA0 a",
                                         "b c", "x y", "xy z", "q r"};
    const mr_encode_opt parse = {.add_special = true, .parse_special = true};
    begin_bpe("gpt-2");
    add_bpe("bc", 1), add_bpe("ab", 1), add_bpe("aa", 1), add_bpe("aaa", 1); /* 256.. */
    add_bpe("\xC4\xA0"
            "a",
            1),
        add_bpe("xyz", 1);                                     /* 260, 261; no "xy" */
    add_bpe("<|x|>", 3), add_bpe("<u>", 4), add_bpe("abc", 1); /* 262.. */
    end_bpe(merges, MR_COUNT(merges));
    mr_tokenizer *t = open_file();

    check_ids(t, "abc", NULL, "97 256");   /* bc has the better rank; "abc" has no merge */
    check_ids(t, "aaaa", NULL, "258 258"); /* leftmost of equals */
    check_ids(t, "caaa", NULL, "99 259");
    check_ids(t, "a a", NULL, "97 260");
    check_ids(t, "xyz", NULL, "261");         /* over a text that is no token */
    check_ids(t, "xyw", NULL, "120 121 119"); /* and apart again if it leads nowhere */
    check_ids(t, "qr", NULL, "113 114");
    check_ids(t, "\xFF\xC3\n", NULL, "255 195 10");
    check_ids(t, "<|x|><u>a", NULL, "60 124 120 124 62 263 97");
    check_ids(t, "<|x|><u>a", &parse, "262 263 97"); /* no BOS unless the file says so */
    CHECK_I64(mr_tokenizer_bos(t), MR_TOKEN_NONE);
    CHECK_STR(mr_tokenizer_kind(t), "gpt2");
    CHECK_STR(mr_tokenizer_pre(t), "gpt-2");
    for (int b = 0; b < 256; b++) {
        const char text[] = {'a', (char)b, ' ', (char)b, (char)b};
        check_round_trip(t, text, sizeof text);
    }
    mr_tokenizer_close(t);
}

TEST(llama3_takes_whole_words_and_adds_bos) {
    static const char *const merges[] = {"b c"};
    const mr_encode_opt special = {.add_special = true};
    begin_bpe("llama-bpe");
    add_bpe("bc", 1), add_bpe("abc", 1), add_bpe("<s>", 3);
    vocab_u32(&file, "bos_token_id", 258);
    end_bpe(merges, 1);
    mr_tokenizer *t = open_file();
    check_ids(t, "abc", &special, "258 257"); /* no merge leads there, but it is a token */
    check_ids(t, "abcb", NULL, "97 256 98");
    check_ids(t, "1234", NULL, "49 50 51 52");
    mr_tokenizer_close(t);
}

TEST(the_last_of_equal_texts_counts) {
    begin_bpe(NULL);
    add_bpe("a", 1);
    end_bpe(NULL, 0);
    mr_tokenizer *t = open_file();
    check_ids(t, "a", NULL, "256");
    CHECK_STR(mr_tokenizer_pre(t), "default");
    mr_tokenizer_close(t);
}

/* ---- against the plainest way of merging ---- */

static uint32_t seed = 7;
static uint32_t rnd(uint32_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % n;
}

/* Cuts text by scanning all neighbours for the best pair, over and over. rank: smaller is better.
 */
static void plain_merge(const mr_tokenizer *t, const char *text, size_t n, const uint32_t *rank,
                        char *line) {
    size_t begin[64], len[64], k = n;

    for (size_t i = 0; i < n; i++) begin[i] = i, len[i] = 1;
    for (;;) {
        size_t best = k;
        uint32_t best_rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < k; i++) {
            const int32_t id = mr_tokenizer_find(t, text + begin[i], len[i] + len[i + 1]);
            if (id >= 0 && rank[id] < best_rank) best = i, best_rank = rank[id];
        }
        if (best == k) break;
        len[best] += len[best + 1];
        for (size_t i = best + 1; i + 1 < k; i++) begin[i] = begin[i + 1], len[i] = len[i + 1];
        k--;
    }
    line[0] = 0;
    for (size_t i = 0; i < k; i++)
        line +=
            sprintf(line, "%s%d", i ? " " : "", (int)mr_tokenizer_find(t, text + begin[i], len[i]));
}

TEST(random_texts_agree_with_plain_merging) {
    enum { N = 3 + 40 };
    static char text[N][12];
    const char *tokens[N] = {"<unk>", "<s>", "</s>"};
    char line[1024], word[48];

    for (int round = 0; round < 60; round++) {
        float scores[N] = {0};
        uint32_t rank[N];
        for (size_t i = 3; i < N; i++) {
            const size_t len = i < 6 ? 1 : 2 + rnd(4);
            for (size_t c = 0; c < len; c++) text[i][c] = (char)('a' + (i < 6 ? i - 3 : rnd(3)));
            text[i][len] = 0;
            tokens[i] = text[i];
            scores[i] = -(float)rnd(8) * 0.5f + 1; /* many equal ones, both signs */
            rank[i] = (uint32_t)((2 - scores[i]) * 4);
        }
        vocab_begin(&file);
        vocab_str(&file, "model", "llama");
        vocab_strs(&file, "tokens", tokens, N);
        vocab_f32s(&file, "scores", scores, N);
        vocab_bool(&file, "add_space_prefix", false);
        mr_tokenizer *t = open_file();
        for (int i = 0; i < 40; i++) {
            const size_t n = rnd(40);
            for (size_t c = 0; c < n; c++) word[c] = (char)('a' + rnd(3));
            word[n] = 0;
            plain_merge(t, word, n, rank, line);
            check_ids(t, word, NULL, line);
        }
        mr_tokenizer_close(t);
    }
}

/* ---- pre-tokenizers ---- */

static size_t unescape(char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned value;
        if (s[i] == '\\' && sscanf(s + i + 2, "%2x", &value) == 1) {
            s[n++] = (char)value;
            i += 3;
        } else {
            s[n++] = s[i];
        }
    }
    return n;
}

TEST(pieces_are_those_of_the_regular_expressions) {
    static const char *const rules[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "default"};
    char *text, *at, got[4096];
    size_t n_file = 0, n_texts = 0;

    at = text = read_file(path_of("tests/golden", "splits.txt"), &n_file);
    if (!text) fail_msg("%s is missing", path_of("tests/golden", "splits.txt"));
    for (; at < text + n_file; n_texts++) {
        char *line = strchr(at, '\n') + 1;
        const size_t len = unescape(at, (size_t)(line - at) - 1);
        for (size_t r = 0; r < MR_COUNT(rules); r++) {
            char *end = strchr(line, '\n');
            size_t b, e, n = 0, last = 0;
            mr_pre_iter it;
            *end = 0;
            got[0] = 0;
            mr_pre_begin(&it, mr_pre_find(rules[r], strlen(rules[r]))->rule, at, len);
            while (mr_pre_next(&it, &b, &e)) {
                CHECK(b == last && e > b);
                last = e;
                n += (size_t)sprintf(got + n, "%s%zu", n ? " " : "", e - b);
            }
            CHECK_I64(last, len);
            if (strcmp(got, line) != 0)
                fail_msg("%s, text %zu \"%.*s\": %s, not %s", rules[r], n_texts, (int)len, at, got,
                         line);
            line = end + 1;
        }
        at = line;
    }
    CHECK(n_texts > 800);
    free(text);
}

TEST(bytes_that_are_not_utf8_are_never_lost) {
    char text[64];
    for (size_t i = 0; mr_pre_at(i); i++)
        for (int round = 0; round < 300; round++) {
            mr_pre_iter it;
            size_t b, e, last = 0;
            for (size_t c = 0; c < sizeof text; c++)
                text[c] = (char)(rnd(3) ? 128 + rnd(128) : rnd(128));
            mr_pre_begin(&it, mr_pre_at(i)->rule, text, sizeof text);
            while (mr_pre_next(&it, &b, &e)) {
                CHECK(b == last && e > b && e <= sizeof text);
                last = e;
            }
            CHECK_I64(last, sizeof text);
        }
}

/* ---- refusals ---- */

static void check_refused(mr_status status, const char *part) {
    mr_tokenizer *t = NULL;
    mr_err err = {0};
    const mr_status st = vocab_open(&file, &t, &err);
    if (st != status) fail_msg("%s: %s (%s)", part, mr_status_name(st), err.text);
    CHECK(t == NULL);
    CHECK_ERR(err, part);
}

TEST(wrong_files_are_refused_by_name) {
    static const char *const three[] = {"a", "b", "<0x-1>"};
    static const int32_t types[] = {1, 1, 6, 99};
    static const float scores[] = {0, 0, 0, 1.0f / 0.0f};
    static const char *const merges[] = {"a b", "ab"};
    static const struct {
        size_t n_types, n_scores;
        uint32_t eos;
        const char *part;
    } cases[] = {
        {2, 3, 0, "tokenizer.ggml.token_type: 2 items, but there are 3"},
        {4, 3, 0, "tokenizer.ggml.token_type: 4 items"},
        {0, 2, 0, "tokenizer.ggml.scores: 2 items"},
        {0, 4, 0, "tokenizer.ggml.scores: 4 items"},
        {0, 3, 3, "tokenizer.ggml.eos_token_id: 3"},
        {3, 3, 0, "tokenizer.ggml.tokens[2]: \"<0x-1>\""},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        vocab_begin(&file);
        vocab_str(&file, "model", "llama");
        vocab_strs(&file, "tokens", three, 3);
        if (cases[i].n_types) vocab_i32s(&file, "token_type", types, cases[i].n_types);
        vocab_f32s(&file, "scores", scores, cases[i].n_scores);
        vocab_u32(&file, "eos_token_id", cases[i].eos);
        check_refused(MR_EINVAL, cases[i].part);
    }
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", three, 3);
    vocab_f32s(&file, "scores", scores + 1, 3);
    check_refused(MR_EINVAL, "tokenizer.ggml.scores[2]");
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", three, 3);
    check_refused(MR_ENOTFOUND, "tokenizer.ggml.scores");
    vocab_begin(&file);
    vocab_str(&file, "model", "bert");
    check_refused(MR_EUNSUPPORTED, "\"bert\" (known: llama, gpt2)");
    vocab_begin(&file);
    check_refused(MR_ENOTFOUND, "tokenizer.ggml.model");
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", three, 0);
    check_refused(MR_EINVAL, "tokenizer.ggml.tokens: 0 items");
    begin_bpe("tekken");
    end_bpe(merges, 1);
    check_refused(MR_EUNSUPPORTED, "unknown pre-tokenizer \"tekken\" (known: default, gpt-2");
    begin_bpe("gpt-2");
    end_bpe(merges, 2);
    check_refused(MR_EINVAL, "tokenizer.ggml.merges[1]: \"ab\" is not two words");
    begin_bpe("gpt-2");
    vocab_strs(&file, "tokens", bpe_tokens, n_bpe);
    check_refused(MR_ENOTFOUND, "tokenizer.ggml.merges");
}

/* ---- cost ---- */

#define LONG 50000 /* bytes: many seconds, if the cost were quadratic */

static void check_cost(const mr_tokenizer *t, const char *unit) {
    static int32_t out[4 * LONG];
    static char text[LONG];
    const size_t len = strlen(unit);
    const clock_t start = clock();
    mr_err err = {0};
    size_t n = 0;

    for (size_t i = 0; i < LONG; i++) text[i] = unit[i % len];
    CHECK_OK(mr_tokenizer_encode(t, text, LONG, NULL, out, MR_COUNT(out), &n, &err), err);
    CHECK(n > 0);
    if (clock() - start > 3 * CLOCKS_PER_SEC)
        fail_msg("\"%s\" takes more than three seconds", unit);
}

TEST(long_texts_cost_in_proportion) {
    static const char *const units[] = {"a", " ",   "\n", "ab", "1",    "!",
                                        "'", " \n", "a'", "<",  "\xFF", "<|x"};
    static const char *const merges[] = {"a a", "aa aa", "aaaa aaaa", "a b", "ab ab"};
    static const char *const pres[] = {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"};

    begin_spm(true);
    mr_tokenizer *t = open_file();
    for (size_t i = 0; i < MR_COUNT(units); i++) check_cost(t, units[i]);
    mr_tokenizer_close(t);
    for (size_t p = 0; p < MR_COUNT(pres); p++) {
        begin_bpe(pres[p]);
        add_bpe("<|x|>", 4);
        end_bpe(merges, MR_COUNT(merges));
        t = open_file();
        for (size_t i = 0; i < MR_COUNT(units); i += 1 + p % 2) check_cost(t, units[i]);
        mr_tokenizer_close(t);
    }
}

MR_TEST_MAIN
