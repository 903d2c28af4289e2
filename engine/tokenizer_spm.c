/* tokenizer_spm.c - SentencePiece's BPE: the pair with the highest score merges first.
 *
 * A blank is written as U+2581 and, unless the file says otherwise, one is put before text at the
 * start and behind a special token. Symbols begin as characters; two neighbours are a pair if
 * their joined text is a token, whatever its type. What is no token in the end is spelled with the
 * byte tokens <0x00>..<0xFF>; a vocabulary without them says unknown, once per stretch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"
#include "engine/unicode.h"

#define BLANK     "\xE2\x96\x81" /* U+2581 */
#define BLANK_LEN 3

/* Order-preserving: a higher score gives a smaller number; -0 equals 0. */
static uint32_t priority_of(float score) {
    const float s = score + 0.0f;
    uint32_t bits;

    memcpy(&bits, &s, sizeof bits);
    return bits & 0x80000000u ? bits : 0x7FFFFFFFu - bits;
}

static mr_status read_scores(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    static const char key[] = "tokenizer.ggml.scores";
    mr_gguf_kind kind;
    size_t n = 0;
    double score = 0;
    const mr_status st = mr_gguf_array(g, key, &kind, &n, err);

    if (st != MR_OK) return st;
    if (n != t->n_vocab)
        return mr_fail(err, MR_EINVAL, "%s: %zu items, but there are %u tokens", key, n,
                       t->n_vocab);
    t->priorities = calloc(n, sizeof *t->priorities);
    if (!t->priorities) return mr_fail(err, MR_ENOMEM, "%s: out of memory", key);
    for (size_t i = 0; i < n; i++) {
        if (mr_gguf_array_f64(g, key, i, &score) != MR_OK || !isfinite(score))
            return mr_fail(err, MR_EINVAL, "%s[%zu]: not a finite number", key, i);
        t->priorities[i] = priority_of((float)score);
    }
    return MR_OK;
}

mr_status mr_spm_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    static const char prefix[] = "tokenizer.ggml.add_space_prefix";
    static const char squeeze[] = "tokenizer.ggml.remove_extra_whitespaces";
    mr_status st = read_scores(t, g, err);

    t->space_prefix = true;
    if (st == MR_OK && mr_gguf_has(g, prefix)) st = mr_gguf_bool(g, prefix, &t->space_prefix, err);
    if (st == MR_OK && mr_gguf_has(g, squeeze))
        st = mr_gguf_bool(g, squeeze, &t->squeeze_spaces, err);
    for (int b = 0; b < 256; b++) {
        char name[8];
        const char byte = (char)b;
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_ids[b] = mr_symbols_find(&t->symbols, name, 6);
        if (t->byte_ids[b] < 0) t->byte_ids[b] = mr_symbols_find(&t->symbols, &byte, 1);
    }
    return st;
}

size_t mr_spm_piece(const char *text, size_t len, char *out) {
    size_t n = 0;

    for (size_t i = 0; i < len; n++) {
        const bool blank = len - i >= BLANK_LEN && memcmp(text + i, BLANK, BLANK_LEN) == 0;
        out[n] = blank ? ' ' : text[i];
        i += blank ? BLANK_LEN : 1;
    }
    return n;
}

/* Text as the merges see it; out has room for BLANK_LEN * (len + 1) bytes. */
static size_t normalize(const mr_tokenizer *t, const char *text, size_t len, bool first,
                        char *out) {
    size_t n = 0;
    bool after_blank = true; /* with squeeze_spaces blanks at the start vanish, too */

    if (t->squeeze_spaces)
        while (len > 0 && text[len - 1] == ' ') len--;
    if (first && t->space_prefix && len > 0) {
        memcpy(out, BLANK, BLANK_LEN);
        n = BLANK_LEN;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] != ' ') {
            out[n++] = text[i];
        } else if (!t->squeeze_spaces || !after_blank) {
            memcpy(out + n, BLANK, BLANK_LEN);
            n += BLANK_LEN;
        }
        after_blank = text[i] == ' ';
    }
    return n;
}

typedef struct spm_text {
    const mr_tokenizer *t;
    const char *text;
} spm_text;

static bool pair_rule(const void *owner, const mr_symbol *l, const mr_symbol *r, uint32_t *priority,
                      int32_t *id) {
    const spm_text *x = owner;
    const size_t len = (size_t)l->len + r->len;

    if (len > x->t->max_text) return false;
    *id = mr_symbols_find(&x->t->symbols, x->text + l->begin, len);
    if (*id < 0) return false;
    *priority = x->t->priorities[*id];
    return true;
}

/* Byte tokens of what is no token. */
static void spell(const mr_tokenizer *t, const char *bytes, size_t len, mr_ids *out,
                  bool *unknown) {
    for (size_t i = 0; i < len; i++) {
        const int32_t id = t->byte_ids[(unsigned char)bytes[i]];
        if (id >= 0)
            mr_ids_add(out, id);
        else if (!*unknown && t->unk >= 0)
            mr_ids_add(out, t->unk);
        *unknown = id < 0;
    }
}

static bool merge_text(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len,
                       mr_ids *out) {
    const spm_text x = {t, text};
    bool unknown = false;

    m->n_syms = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        const size_t n = mr_utf8_decode(text + i, len - i, &cp);
        if (!mr_merge_add(m, (uint32_t)i, (uint32_t)n, mr_symbols_find(&t->symbols, text + i, n)))
            return false;
        i += n;
    }
    if (!mr_merge_run(m, pair_rule, &x)) return false;
    for (uint32_t i = m->n_syms ? 0 : MR_MERGE_END; i != MR_MERGE_END; i = m->syms[i].next) {
        const mr_symbol *s = &m->syms[i];
        if (s->id >= 0)
            mr_ids_add(out, s->id);
        else
            spell(t, text + s->begin, s->len, out, &unknown);
        if (s->id >= 0) unknown = false;
    }
    return true;
}

bool mr_spm_encode(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len, bool first,
                   mr_ids *out) {
    char *normal = malloc(BLANK_LEN * (len + 1));
    bool ok = normal != NULL;

    if (ok) ok = merge_text(t, m, normal, normalize(t, text, len, first, normal), out);
    free(normal);
    return ok;
}
