/* vocab.h - makes vocabulary-only GGUF files in memory for the tests of tokenizer and templates. */
#ifndef MR_TESTS_VOCAB_H
#define MR_TESTS_VOCAB_H

#include <string.h>

#include "engine/gguf.h"
#include "engine/tokenizer.h"
#include "tests/test.h"

#define VOCAB_MAX (1u << 20)

typedef struct vocab { /* a file in the making; about 1 MB, so keep it static */
    size_t n;
    uint64_t n_keys;
    _Alignas(32) unsigned char bytes[VOCAB_MAX];
} vocab;

static inline void vocab_put(vocab *v, const void *bytes, size_t n) {
    if (n > VOCAB_MAX - v->n) fail_msg("vocabulary of a test is too large");
    if (n) memcpy(v->bytes + v->n, bytes, n);
    v->n += n;
}
static inline void vocab_u32_raw(vocab *v, uint32_t x) {
    vocab_put(v, &x, sizeof x);
}
static inline void vocab_text(vocab *v, const char *s) {
    const uint64_t n = strlen(s);
    vocab_put(v, &n, sizeof n);
    vocab_put(v, s, n);
}

static inline void vocab_begin(vocab *v) {
    v->n = v->n_keys = 0;
    vocab_put(v, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
}
static inline void vocab_key(vocab *v, const char *key, mr_gguf_kind kind) {
    char full[128] = "tokenizer.ggml.";
    strcat(full, key);
    vocab_text(v, strchr(key, '.') ? key : full); /* with a dot: the whole key */
    vocab_u32_raw(v, kind);
    v->n_keys++;
}
static inline void vocab_str(vocab *v, const char *key, const char *s) {
    vocab_key(v, key, MR_GGUF_STRING);
    vocab_text(v, s);
}
static inline void vocab_u32(vocab *v, const char *key, uint32_t x) {
    vocab_key(v, key, MR_GGUF_U32);
    vocab_u32_raw(v, x);
}
static inline void vocab_bool(vocab *v, const char *key, bool x) {
    vocab_key(v, key, MR_GGUF_BOOL);
    vocab_put(v, x ? "\1" : "\0", 1);
}
static inline void vocab_array(vocab *v, const char *key, mr_gguf_kind item, uint64_t n) {
    vocab_key(v, key, MR_GGUF_ARRAY);
    vocab_u32_raw(v, item);
    vocab_put(v, &n, sizeof n);
}
static inline void vocab_strs(vocab *v, const char *key, const char *const *s, size_t n) {
    vocab_array(v, key, MR_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) vocab_text(v, s[i]);
}
static inline void vocab_i32s(vocab *v, const char *key, const int32_t *x, size_t n) {
    vocab_array(v, key, MR_GGUF_I32, n);
    vocab_put(v, x, n * sizeof *x);
}
static inline void vocab_f32s(vocab *v, const char *key, const float *x, size_t n) {
    vocab_array(v, key, MR_GGUF_F32, n);
    vocab_put(v, x, n * sizeof *x);
}

static inline mr_gguf *vocab_gguf(vocab *v) {
    mr_err err = {0};
    mr_gguf *g = NULL;
    memcpy(v->bytes + 16, &v->n_keys, sizeof v->n_keys);
    CHECK_OK(mr_gguf_open_memory(&g, v->bytes, v->n, &err), err);
    return g;
}
static inline mr_status vocab_open(vocab *v, mr_tokenizer **t, mr_err *err) {
    mr_gguf *g = vocab_gguf(v);
    const mr_status st = mr_tokenizer_open(t, g, err);
    mr_gguf_close(g); /* the tokenizer keeps nothing of the file */
    return st;
}

#endif
