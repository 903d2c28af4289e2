/* tokenizer_special.c - finds the tokens that are matched as text before anything else.
 *
 * Control tokens (<|im_end|>), when the caller asks for them, and user-defined ones, always. Read
 * from left to right; of several that start at one place the longest wins. The texts are kept
 * sorted, and a match narrows the range of texts that begin with what was read so far, byte by
 * byte: a trie without its memory. Cost: the length of the match times log of their number. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"

static bool is_special(const mr_tokenizer *t, size_t id) {
    const unsigned char type = t->types[id];
    return type == MR_TOKEN_CONTROL || type == MR_TOKEN_USER || type == MR_TOKEN_UNKNOWN;
}

static int by_text(const void *a, const void *b, void *owner) {
    const mr_symbols *s = owner;
    const mr_str x = mr_symbols_at(s, (size_t) * (const int32_t *)a);
    const mr_str y = mr_symbols_at(s, (size_t) * (const int32_t *)b);
    const int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);

    if (c) return c;
    if (x.len != y.len) return x.len < y.len ? -1 : 1;
    return 0;
}

/* Phi-3's tokenizer swallows the blanks behind its special tokens. No field of the file says so;
 * the name is all that there is to go by. */
static void set_stripping(mr_tokenizer *t, const char *name, size_t len) {
    static const char *const keep[3] = {"<unk>", "<s>", "<|endoftext|>"};

    for (size_t i = 0; i + 4 <= len; i++)
        if (strncasecmp(name + i, "phi3", 4) == 0 ||
            (i + 5 <= len && strncasecmp(name + i, "phi-3", 5) == 0))
            t->strip_after = true;
    for (size_t i = 0; i < 3; i++)
        t->keeps_blanks[i] = mr_tokenizer_find(t, keep[i], strlen(keep[i]));
}

mr_status mr_special_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_str name = {0};

    for (size_t id = 0; id < t->n_vocab; id++) t->n_specials += is_special(t, id);
    t->specials = calloc(t->n_specials + 1, sizeof *t->specials);
    if (!t->specials) return mr_fail(err, MR_ENOMEM, "special tokens: out of memory");
    t->n_specials = 0;
    for (size_t id = 0; id < t->n_vocab; id++) {
        const mr_str text = mr_symbols_at(&t->symbols, id);
        if (!is_special(t, id) || text.len == 0) continue;
        if (mr_symbols_find(&t->symbols, text.ptr, text.len) != (int32_t)id) continue;
        t->specials[t->n_specials++] = (int32_t)id;
        t->special_start[(unsigned char)text.ptr[0]] = true;
    }
    qsort_r(t->specials, t->n_specials, sizeof *t->specials, by_text, &t->symbols);
    if (mr_gguf_has(g, "general.name") && mr_gguf_str(g, "general.name", &name, NULL) == MR_OK)
        set_stripping(t, name.ptr, name.len);
    return MR_OK;
}

/* First of specials [lo, hi) whose byte at `at` is >= c; all of them are longer than `at`, but for
 * the first one, which may end there. */
static size_t first_from(const mr_tokenizer *t, size_t lo, size_t hi, size_t at, int c) {
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const mr_str s = mr_symbols_at(&t->symbols, (size_t)t->specials[mid]);
        if (s.len > at && (unsigned char)s.ptr[at] >= c)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

int32_t mr_special_at(const mr_tokenizer *t, const char *text, size_t len, bool control,
                      size_t *len_out) {
    size_t lo = 0, hi = t->n_specials;
    int32_t best = MR_TOKEN_NONE;

    if (len == 0 || !t->special_start[(unsigned char)text[0]]) return MR_TOKEN_NONE;
    for (size_t at = 0; at < len && lo < hi; at++) {
        const int c = (unsigned char)text[at];
        lo = first_from(t, lo, hi, at, c);
        hi = first_from(t, lo, hi, at, c + 1);
        if (lo == hi) break;
        const int32_t id = t->specials[lo]; /* the shortest of them comes first */
        if (mr_symbols_at(&t->symbols, (size_t)id).len != at + 1) continue;
        if (!control && t->types[id] != MR_TOKEN_USER) continue;
        best = id;
        *len_out = at + 1;
    }
    return best;
}

bool mr_special_strips(const mr_tokenizer *t, int32_t id) {
    if (!t->strip_after) return false;
    for (size_t i = 0; i < 3; i++)
        if (t->keeps_blanks[i] == id) return false;
    return true;
}
