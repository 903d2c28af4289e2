/* symbols.c - numbered texts of a vocabulary, found by content.
 *
 * One block of bytes and one open hash table: a vocabulary of 150,000 tokens costs some 4 MB and
 * opens in milliseconds. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"

static uint64_t hash(const char *text, size_t n) { /* FNV-1a, its high bits mixed down */
    const unsigned char *b = (const unsigned char *)text;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001B3u;
    return h ^ h >> 32;
}

mr_status mr_symbols_init(mr_symbols *s, size_t n_expected, mr_err *err) {
    s->cap = n_expected + 256; /* gpt2 adds its byte characters, if they are not tokens */
    for (s->n_slots = 256; s->n_slots < 2 * s->cap;) s->n_slots *= 2;
    s->cap_bytes = 8 * s->cap;
    s->bytes = malloc(s->cap_bytes);
    s->ends = calloc(s->cap, sizeof *s->ends);
    s->slots = calloc(s->n_slots, sizeof *s->slots);
    if (!s->bytes || !s->ends || !s->slots)
        return mr_fail(err, MR_ENOMEM, "vocabulary of %zu tokens: out of memory", n_expected);
    return MR_OK;
}

void mr_symbols_deinit(mr_symbols *s) {
    free(s->bytes);
    free(s->ends);
    free(s->slots);
    *s = (mr_symbols){0};
}

mr_str mr_symbols_at(const mr_symbols *s, size_t i) {
    const size_t begin = i ? s->ends[i - 1] : 0;
    return (mr_str){s->bytes + begin, s->ends[i] - begin};
}

/* Slot that holds the text, or the free one where it belongs. */
static size_t slot_of(const mr_symbols *s, const char *text, size_t len) {
    size_t at = hash(text, len) & (s->n_slots - 1);

    for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        const mr_str have = mr_symbols_at(s, s->slots[at] - 1);
        if (have.len == len && memcmp(have.ptr, text, len) == 0) break;
    }
    return at;
}

int32_t mr_symbols_find(const mr_symbols *s, const char *text, size_t len) {
    const uint32_t held = s->slots[slot_of(s, text, len)];
    return held ? (int32_t)(held - 1) : MR_SYMBOL_NONE;
}

/* Twice as many places. The slots are filled in order again, so the last of equal texts stays. */
static bool grow_table(mr_symbols *s) {
    size_t *ends = realloc(s->ends, 2 * s->cap * sizeof *ends);
    uint32_t *slots;

    if (!ends) return false;
    s->ends = ends;
    if (!(slots = calloc(2 * s->n_slots, sizeof *slots))) return false;
    free(s->slots);
    s->slots = slots;
    s->cap *= 2;
    s->n_slots *= 2;
    for (size_t i = 0; i < s->n; i++) {
        const mr_str text = mr_symbols_at(s, i);
        s->slots[slot_of(s, text.ptr, text.len)] = (uint32_t)i + 1;
    }
    return true;
}

int32_t mr_symbols_add(mr_symbols *s, const char *text, size_t len) {
    if (s->n == s->cap && !grow_table(s)) return MR_SYMBOL_NONE;
    if (len > s->cap_bytes - s->n_bytes) {
        const size_t want = (s->n_bytes + len) * 2;
        char *more = realloc(s->bytes, want);
        if (!more) return MR_SYMBOL_NONE;
        s->bytes = more;
        s->cap_bytes = want;
    }
    memcpy(s->bytes + s->n_bytes, text, len);
    s->n_bytes += len;
    s->ends[s->n] = s->n_bytes;
    s->slots[slot_of(s, text, len)] = (uint32_t)++s->n;
    return (int32_t)(s->n - 1);
}
