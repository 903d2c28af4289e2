/* fuzz_gguf.c - any bytes as a model file: opened, shown, tokenized with, loaded as a model.
 *
 * Goal: no bytes make the readers of a file touch memory that is not theirs, hang or abort.
 * Method: the input is copied to a heap block of exactly its size, so that the sanitizers see
 * the first byte behind it. What opens is then used: every key is rendered, the first and last
 * byte of each tensor is read, a text goes through the tokenizer and back, the template is
 * looked at, and the model is built from the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"
#include "engine/template.h"
#include "engine/tokenizer.h"

#define MAX_IDS  256
#define MAX_TEXT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint8_t sink; /* reads into it are not optimized away */

static void show_keys(const mr_gguf *g) {
    char text[64];

    for (size_t i = 0; i < mr_gguf_n_keys(g); i++) {
        mr_gguf_kind kind;
        uint64_t n;
        mr_gguf_escape(mr_gguf_key_at(g, i, &kind, &n), text, sizeof text);
        mr_gguf_value_text(g, i, text, sizeof text);
        sink = (uint8_t)text[0];
    }
}

static void touch_tensors(const mr_gguf *g) {
    for (size_t i = 0; i < mr_gguf_n_tensors(g); i++) {
        const mr_gguf_tensor *t = mr_gguf_tensor_at(g, i);
        const uint8_t *p = t->data;
        sink = p[0];
        sink = p[t->bytes - 1];
    }
}

static void use_tokenizer(const mr_gguf *g) {
    static const char text[] = "Hello  w\xc3\xb6rld \xe4\xb8\xad\n12345 <|im_end|></s>\xff\x00!";
    const mr_encode_opt opt = {.add_special = true, .parse_special = true};
    int32_t ids[MAX_IDS];
    char back[MAX_TEXT];
    mr_tokenizer *t = NULL;
    size_t n = 0, n_back = 0;

    if (mr_tokenizer_open(&t, g, NULL) != MR_OK) return;
    if (mr_tokenizer_encode(t, text, sizeof text - 1, &opt, ids, MAX_IDS, &n, NULL) == MR_OK)
        (void)mr_tokenizer_decode(t, ids, n, true, back, sizeof back, &n_back, NULL);
    for (int32_t id = -1; id <= (int32_t)mr_tokenizer_n_vocab(t) && id < 1024; id++) {
        const mr_str piece = mr_tokenizer_piece(t, id, true);
        if (piece.len) sink = (uint8_t)piece.ptr[piece.len - 1];
        sink = mr_tokenizer_is_eog(t, id);
    }
    mr_tokenizer_close(t);
}

static void touch_matrix(const mr_mat *w) {
    const uint8_t *p = w->data;

    sink = p[0];
    sink = p[(w->rows - 1) * w->row_bytes + w->row_bytes - 1];
}

static void use_model(mr_gguf *g) {
    mr_model *m = NULL;

    if (mr_model_from_gguf(&m, g, NULL) != MR_OK) return;
    touch_matrix(&m->tok_embd);
    touch_matrix(&m->output);
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const mr_layer *y = &m->layers[i];
        const mr_mat *const all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->gate, &y->up, &y->down};
        for (size_t k = 0; k < MR_COUNT(all); k++) touch_matrix(all[k]);
        sink = y->attn_norm[m->hp.n_embd - 1] > 0;
        sink = y->ffn_norm[m->hp.n_embd - 1] > 0;
        if (y->bq) sink = y->bq[m->hp.n_head * m->hp.d_head - 1] > 0;
        if (y->q_norm) sink = y->q_norm[m->hp.d_head - 1] > 0;
    }
    mr_model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    const mr_template *template;
    mr_gguf *g = NULL;
    mr_err err;

    if (!copy) return 0;
    if (n) memcpy(copy, data, n);
    if (mr_gguf_open_memory(&g, copy, n, &err) == MR_OK) {
        show_keys(g);
        touch_tensors(g);
        use_tokenizer(g);
        (void)mr_template_pick(&template, g, NULL, &err);
        use_model(g); /* takes g over */
    }
    free(copy);
    return 0;
}
