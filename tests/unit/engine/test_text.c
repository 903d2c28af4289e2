/* Goal: what is shown, joined, is the text cut at the first stop string, whatever the split into
 * tokens; characters come whole; nothing waits longer than it must.
 * Method: a vocabulary of byte tokens and a few pieces. Random texts over a small alphabet (which
 * makes stop strings overlap) go through in random splits and are compared with a plain search in
 * the whole text; hand-made cases say when bytes come out. */
#include "engine/text.h"
#include "engine/unicode.h"
#include "tests/unit/engine/vocab.h"

#define N_BYTES 256
#define FFFD    "\xEF\xBF\xBD"

static vocab file;
static const char *const pieces[] = {"ab",
                                     "ba",
                                     "aab",
                                     "bb",
                                     "abab",
                                     "\xE2\x96\x81"
                                     "a",
                                     "\xC3\xA9"
                                     "a",
                                     "\xE2\x96\x81\xE2\x96\x81"};

static mr_tokenizer *open_vocab(void) {
    static char names[N_BYTES][8];
    static const char *tokens[N_BYTES + MR_COUNT(pieces) + 1];
    static int32_t types[N_BYTES + MR_COUNT(pieces) + 1];
    static float scores[N_BYTES + MR_COUNT(pieces) + 1];
    const size_t n = N_BYTES + MR_COUNT(pieces) + 1;
    mr_tokenizer *t = NULL;
    mr_err err = {0};

    for (size_t i = 0; i < n; i++) {
        if (i < N_BYTES) snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i);
        tokens[i] = i < N_BYTES ? names[i] : i + 1 < n ? pieces[i - N_BYTES] : "</s>";
        types[i] = i < N_BYTES ? 6 : i + 1 < n ? 1 : 3;
    }
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", tokens, n);
    vocab_i32s(&file, "token_type", types, n);
    vocab_f32s(&file, "scores", scores, n);
    CHECK_OK(vocab_open(&file, &t, &err), err);
    return t;
}

static mr_text *open_text(const mr_tokenizer *t, const mr_str *stops, size_t n, bool strip) {
    mr_text *x = NULL;
    mr_err err = {0};
    CHECK_OK(mr_text_open(&x, t, stops, n, strip, &err), err);
    return x;
}

#define STR(s) ((mr_str){s, strlen(s)})
#define CHECK_OUT(x, id, expected, stopped)                                                        \
    do {                                                                                           \
        mr_str mr_out;                                                                             \
        CHECK_I64(mr_text_push(x, id, &mr_out), stopped);                                          \
        CHECK_I64(mr_out.len, strlen(expected));                                                   \
        CHECK(memcmp(mr_out.ptr, expected, mr_out.len) == 0);                                      \
    } while (0)
#define CHECK_END(x, expected)                                                                     \
    do {                                                                                           \
        mr_str mr_out;                                                                             \
        mr_text_finish(x, &mr_out);                                                                \
        CHECK_I64(mr_out.len, strlen(expected));                                                   \
        CHECK(memcmp(mr_out.ptr, expected, mr_out.len) == 0);                                      \
    } while (0)

TEST(characters_come_whole) {
    mr_tokenizer *t = open_vocab();
    mr_text *x = open_text(t, NULL, 0, false);

    CHECK_OUT(x, 0xF0, "", false); /* U+1F600 */
    CHECK_OUT(x, 0x9F, "", false);
    CHECK_OUT(x, 0x98, "", false);
    CHECK_OUT(x, 0x80, "\xF0\x9F\x98\x80", false);
    CHECK_OUT(x, 0xE2, "", false); /* broken off: one U+FFFD a byte, then the text goes on */
    CHECK_OUT(x, 0x82, "", false);
    CHECK_OUT(x, 'a', FFFD FFFD "a", false);
    CHECK_OUT(x, 0xFF, FFFD, false); /* cannot begin anything: no reason to wait */
    CHECK_OUT(x, 0xE2, "", false);
    CHECK_OUT(x, N_BYTES + 6,
              FFFD "\xC3\xA9"
                   "a",
              false);
    CHECK_OUT(x, 0xC3, "", false);
    CHECK_END(x, FFFD);
    mr_text_close(x);
    mr_tokenizer_close(t);
}

TEST(only_a_possible_stop_string_waits) {
    mr_tokenizer *t = open_vocab();
    const mr_str stops[] = {STR("abac"), STR("bb")};
    mr_text *x = open_text(t, stops, 2, false);

    CHECK_OUT(x, 'x', "x", false);
    CHECK_OUT(x, 'a', "", false);
    CHECK_OUT(x, 'b', "", false);
    CHECK_OUT(x, 'a', "", false);
    CHECK_OUT(x, 'b', "ab", false); /* not abac, but the second half may begin it */
    CHECK_OUT(x, 'a', "", false);
    CHECK_OUT(x, 'x', "abax", false);
    CHECK_OUT(x, N_BYTES + 0, "", false); /* ab */
    CHECK_OUT(x, N_BYTES + 1, "a", true); /* ba: bb is complete in its middle */
    CHECK_OUT(x, 'x', "", true);
    CHECK_END(x, "");
    mr_text_close(x);

    x = open_text(t, stops, 2, false);
    CHECK_OUT(x, N_BYTES + 0, "", false);
    CHECK_END(x, "ab"); /* the text is over: nothing more can complete it */
    mr_text_close(x);
    mr_tokenizer_close(t);
}

TEST(leading_blank_and_control_tokens) {
    mr_tokenizer *t = open_vocab();
    mr_text *x = open_text(t, NULL, 0, true);

    CHECK_OUT(x, N_BYTES + (int32_t)MR_COUNT(pieces), "", false); /* </s> has no text */
    CHECK_OUT(x, N_BYTES + 5, "a", false);
    CHECK_OUT(x, N_BYTES + 5, " a", false);
    CHECK_OUT(x, -1, "", false);
    CHECK_OUT(x, 1 << 20, "", false);
    mr_text_close(x);
    x = open_text(t, NULL, 0, true);
    CHECK_OUT(x, N_BYTES + 7, " ", false); /* one blank of two */
    mr_text_close(x);
    mr_tokenizer_close(t);
}

TEST(limits_are_named) {
    static const char full[MR_TEXT_MAX_STOP_BYTES + 2] = {'a'};
    mr_tokenizer *t = open_vocab();
    mr_str stops[MR_TEXT_MAX_STOPS + 1];
    mr_text *x = NULL;
    mr_err err = {0};

    for (size_t i = 0; i <= MR_TEXT_MAX_STOPS; i++) stops[i] = STR("a");
    CHECK_I64(mr_text_open(&x, t, stops, MR_TEXT_MAX_STOPS + 1, false, &err), MR_EINVAL);
    CHECK_ERR(err, "17 strings, the limit is 16");
    stops[3].len = 0;
    CHECK_I64(mr_text_open(&x, t, stops, 4, false, &err), MR_EINVAL);
    CHECK_ERR(err, "stop[3]: 0 bytes");
    stops[0] = (mr_str){full, MR_TEXT_MAX_STOP_BYTES + 1};
    CHECK_I64(mr_text_open(&x, t, stops, 1, false, &err), MR_EINVAL);
    CHECK_ERR(err, "257 bytes");
    mr_text_close(NULL);
    mr_tokenizer_close(t);
}

/* ---- property: any split gives the same ---- */

static uint32_t seed = 1;
static uint32_t rnd(uint32_t n) { /* xorshift */
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % n;
}

/* The text as a person would see it: bad bytes replaced. */
static size_t shown(const char *s, size_t n, char *out) {
    size_t used = 0;
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        const size_t len = mr_utf8_decode(s + i, n - i, &cp);
        if (cp == MR_CP_INVALID)
            memcpy(out + used, FFFD, 3);
        else
            memcpy(out + used, s + i, len);
        used += cp == MR_CP_INVALID ? 3 : len;
        i += len;
    }
    return used;
}

/* Where the stop string that is complete first begins; n: none is. */
static size_t cut_at(const char *s, size_t n, const mr_str *stops, size_t n_stops) {
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (size_t k = 0; k < n_stops; k++)
            if (stops[k].len <= end && stops[k].len > longest &&
                memcmp(s + end - stops[k].len, stops[k].ptr, stops[k].len) == 0)
                longest = stops[k].len;
        if (longest) return end - longest;
    }
    return n;
}

TEST(any_split_gives_the_cut_text) {
    static const char alphabet[] = "aaaabbb \xC3\xA9\xE2\x82\xACx";
    mr_tokenizer *t = open_vocab();

    for (int round = 0; round < 4000; round++) {
        char text[256], whole[768], out[1024], bank[8][12];
        size_t n = 0, n_out = 0, n_stops = rnd(5);
        mr_str stops[8], got;
        bool done = false;

        for (size_t k = 0; k < n_stops; k++) {
            stops[k] = (mr_str){bank[k], 1 + rnd(10)};
            for (size_t i = 0; i < stops[k].len; i++) bank[k][i] = alphabet[rnd(8)];
        }
        mr_text *x = open_text(t, stops, n_stops, false);
        for (size_t steps = rnd(60); steps > 0; steps--) {
            const int32_t id = rnd(4) ? (unsigned char)alphabet[rnd(sizeof alphabet - 1)]
                                      : N_BYTES + (int32_t)rnd(MR_COUNT(pieces));
            const mr_str p = mr_tokenizer_piece(t, id, false);
            memcpy(text + n, p.ptr, p.len);
            n += p.len;
            done = mr_text_push(x, id, &got);
            memcpy(out + n_out, got.ptr, got.len);
            n_out += got.len;
            if (done) break;
        }
        mr_text_finish(x, &got);
        memcpy(out + n_out, got.ptr, got.len);
        n_out += got.len;
        const size_t n_whole = shown(text, n, whole), cut = cut_at(whole, n_whole, stops, n_stops);
        CHECK_I64(n_out, cut);
        CHECK(memcmp(out, whole, cut) == 0);
        mr_text_close(x);
    }
    mr_tokenizer_close(t);
}

MR_TEST_MAIN
