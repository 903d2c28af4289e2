/* fuzz_tokenizer.c - a vocabulary from outside, and a text for it.
 *
 * Input: a byte of flags, the length of the text (two bytes, little endian), the text, a GGUF file.
 * If file and vocabulary are accepted, the text must encode to ids of the vocabulary, the second
 * time as the first; its ids must decode; shown token by token no stop string comes out; and as a
 * message of any chat template it stays plain text. Seeds: make_tokenizer.py. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/template.h"
#include "engine/text.h"

#define MAX_IDS 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int32_t ids[MAX_IDS], again[MAX_IDS], shielded[MAX_IDS];

static size_t encode(const mr_tokenizer *t, const char *text, size_t len,
                     const mr_encode_opt *opt) {
    size_t n = 0, n_again = 0;
    const mr_status st = mr_tokenizer_encode(t, text, len, opt, ids, MAX_IDS, &n, NULL);

    if (st == MR_ELIMIT) return 0;
    MR_CHECK(st == MR_OK && n <= MAX_IDS);
    for (size_t i = 0; i < n; i++)
        MR_CHECK(ids[i] >= 0 && (uint32_t)ids[i] < mr_tokenizer_n_vocab(t));
    MR_CHECK(mr_tokenizer_encode(t, text, len, opt, again, n, &n_again, NULL) == MR_OK);
    MR_CHECK(n == n_again && memcmp(ids, again, n * sizeof *ids) == 0);
    return n;
}

static void decode(const mr_tokenizer *t, size_t n_ids, bool special) {
    size_t n = 0, n_again = 0;
    char *buf;

    mr_tokenizer_decode(t, ids, n_ids, special, NULL, 0, &n, NULL);
    MR_CHECK((buf = malloc(n + 1)) != NULL);
    MR_CHECK(mr_tokenizer_decode(t, ids, n_ids, special, buf, n, &n_again, NULL) == MR_OK);
    MR_CHECK(n == n_again);
    free(buf);
}

static void show(const mr_tokenizer *t, size_t n_ids, const char *text, size_t len) {
    const mr_str stops[] = {{"\n\n", 2}, {text, len < 3 ? len : 3}};
    mr_text *x = NULL;
    char last = 0;
    mr_str out;

    MR_CHECK(mr_text_open(&x, t, stops, len ? 2 : 1, true, NULL) == MR_OK);
    for (size_t i = 0; i < n_ids; i++) {
        const bool done = mr_text_push(x, ids[i], &out);
        for (size_t k = 0; k < out.len; last = out.ptr[k++])
            MR_CHECK(out.ptr[k] != '\n' || last != '\n');
        if (done) break;
    }
    mr_text_finish(x, &out);
    mr_text_close(x);
}

/* A message in every chat template: its spans lie inside the prompt, and a prompt that is opaque
 * from end to end has the ids of plain text. */
static void converse(const mr_tokenizer *t, const char *text, size_t len) {
    const mr_chat_message msg = {"user", text, len};

    for (size_t i = 0; mr_template_at(i); i++) {
        mr_encode_opt opt = {.parse_special = true};
        mr_arena arena;
        mr_str prompt;
        mr_span *spans, all;
        size_t n_shielded, n_plain;
        bool bos;

        mr_arena_init(&arena, 0);
        MR_CHECK(mr_template_render(mr_template_at(i), t, &msg, 1, &arena, &prompt, &spans,
                                    &opt.n_opaque, &bos, NULL) == MR_OK);
        opt.opaque = spans;
        encode(t, prompt.ptr, prompt.len, &opt);
        for (size_t k = 0; k < opt.n_opaque; k++)
            MR_CHECK(spans[k].begin < spans[k].end && spans[k].end <= prompt.len);
        all = (mr_span){0, prompt.len};
        opt.opaque = &all;
        opt.n_opaque = 1;
        n_shielded = encode(t, prompt.ptr, prompt.len, &opt);
        memcpy(shielded, ids, n_shielded * sizeof *ids);
        opt.parse_special = false;
        n_plain = encode(t, prompt.ptr, prompt.len, &opt);
        MR_CHECK(n_plain == n_shielded && memcmp(shielded, ids, n_plain * sizeof *ids) == 0);
        mr_arena_drop(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const size_t len = n < 3 ? 0 : (size_t)(data[1] | data[2] << 8);
    const mr_template *tmpl;
    mr_encode_opt opt = {0};
    mr_gguf *g = NULL;
    mr_tokenizer *t = NULL;
    mr_err err;
    uint8_t *file;

    if (n < 3 || len > n - 3) return 0;
    const char *text = (const char *)data + 3;
    const size_t n_file = n - 3 - len;
    MR_CHECK((file = malloc(n_file + 1)) != NULL); /* aligned, as a mapping is */
    memcpy(file, data + 3 + len, n_file);
    opt.add_special = data[0] & 1;
    opt.parse_special = data[0] & 2;
    if (mr_gguf_open_memory(&g, file, n_file, &err) == MR_OK) {
        mr_template_pick(&tmpl, g, NULL, &err);
        if (mr_tokenizer_open(&t, g, &err) == MR_OK) {
            const size_t n_ids = encode(t, text, len, &opt);
            decode(t, n_ids, data[0] & 4);
            show(t, n_ids, text, len);
            if (data[0] & 8) converse(t, text, len);
        }
    }
    mr_tokenizer_close(t);
    mr_gguf_close(g);
    free(file);
    return 0;
}
