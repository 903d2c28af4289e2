/* tokenizer_bpe.c - byte-level BPE: each byte is a character, and merges go by their rank.
 *
 * A vocabulary of this kind writes every byte as a printable character: bytes that print stand for
 * themselves (as Latin-1), the other 68 for U+0100 and up in order. Text is cut by the
 * pre-tokenizer; in each piece the pair that comes first in the list of merges becomes one symbol.
 * Merges are kept as numbers of symbols, not as text. A merge may name a text that is no token
 * (some files have such): it gets a number behind the tokens, and if it is left over in the end its
 * characters are taken one by one. A character that is no token becomes unknown; without an unknown
 * token it has no id at all, as in the reference. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"
#include "engine/unicode.h"

#define MAX_MERGES ((size_t)1 << 23)

static bool prints(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

/* Character of each byte. */
static void byte_chars(uint32_t chars[256]) {
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; b++) chars[b] = prints(b) ? b : next++;
}

size_t mr_bpe_piece(const char *text, size_t len, char *out) {
    uint32_t chars[256];
    short byte_of[0x200];
    size_t n = 0;

    byte_chars(chars);
    memset(byte_of, -1, sizeof byte_of);
    for (int b = 0; b < 256; b++) byte_of[chars[b]] = (short)b;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        const size_t used = mr_utf8_decode(text + i, len - i, &cp);
        if (cp < 0x200 && byte_of[cp] >= 0) {
            out[n++] = (char)byte_of[cp];
        } else { /* not of this alphabet: as it is */
            memcpy(out + n, text + i, used);
            n += used;
        }
        i += used;
    }
    return n;
}

static int32_t symbol_for(mr_symbols *s, const char *text, size_t len) {
    const int32_t have = mr_symbols_find(s, text, len);
    return have >= 0 ? have : mr_symbols_add(s, text, len);
}

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static mr_merge_entry *entry_of(const mr_tokenizer *t, uint64_t pair) {
    const uint64_t mixed = pair * 0x9E3779B97F4A7C15u; /* Fibonacci hashing: the high bits count */
    size_t at = (mixed >> 32) & (t->n_merge_slots - 1);

    while (t->merges[at].pair != MR_NO_PAIR && t->merges[at].pair != pair)
        at = (at + 1) & (t->n_merge_slots - 1);
    return &t->merges[at];
}

/* "left right": one blank, not at the start (a token may be a blank itself) and not at the end. */
static mr_status add_merge(mr_tokenizer *t, mr_str line, size_t rank, mr_err *err) {
    const char *blank = line.len > 2 ? memchr(line.ptr + 1, ' ', line.len - 1) : NULL;
    const size_t n_left = blank ? (size_t)(blank - line.ptr) : 0;
    const size_t n_right = blank ? line.len - n_left - 1 : 0;
    char joined[1024], *text = joined;
    int32_t left, right, both;
    mr_merge_entry *e;

    if (n_right == 0)
        return mr_fail(err, MR_EINVAL, "tokenizer.ggml.merges[%zu]: \"%.*s\" is not two words",
                       rank, (int)(line.len > 64 ? 64 : line.len), line.ptr);
    if (line.len > sizeof joined && !(text = malloc(line.len))) goto no_memory;
    memcpy(text, line.ptr, n_left);
    memcpy(text + n_left, blank + 1, n_right);
    left = symbol_for(&t->symbols, text, n_left);
    right = symbol_for(&t->symbols, text + n_left, n_right);
    both = symbol_for(&t->symbols, text, n_left + n_right);
    if (text != joined) free(text);
    if (left < 0 || right < 0 || both < 0) goto no_memory;
    e = entry_of(t, pair_of(left, right));
    if (e->pair == MR_NO_PAIR) /* of equal merges the first counts */
        *e = (mr_merge_entry){pair_of(left, right), (uint32_t)rank, both};
    return MR_OK;
no_memory:
    return mr_fail(err, MR_ENOMEM, "tokenizer.ggml.merges[%zu]: out of memory", rank);
}

static mr_status read_merges(mr_tokenizer *t, const mr_gguf *g, size_t n, mr_err *err) {
    static const char key[] = "tokenizer.ggml.merges";
    mr_status st = MR_OK;
    mr_str line;

    for (t->n_merge_slots = 64; t->n_merge_slots < 2 * n;) t->n_merge_slots *= 2;
    t->merges = malloc(t->n_merge_slots * sizeof *t->merges);
    if (!t->merges) return mr_fail(err, MR_ENOMEM, "%s: out of memory for %zu", key, n);
    for (size_t i = 0; i < t->n_merge_slots; i++) t->merges[i].pair = MR_NO_PAIR;
    for (size_t i = 0; i < n && st == MR_OK; i++) {
        if ((st = mr_gguf_array_str(g, key, i, &line)) != MR_OK)
            return mr_fail(err, st, "%s[%zu]: not a string", key, i);
        st = add_merge(t, line, i, err);
    }
    return st;
}

mr_status mr_bpe_init(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    static const char key[] = "tokenizer.ggml.merges";
    uint32_t chars[256];
    mr_gguf_kind kind;
    size_t n = 0;
    mr_status st = mr_gguf_array(g, key, &kind, &n, err);

    if (st != MR_OK) return st;
    if (kind != MR_GGUF_STRING) return mr_fail(err, MR_EINVAL, "%s: not an array of strings", key);
    if (n > MAX_MERGES)
        return mr_fail(err, MR_EINVAL, "%s: %zu items, the limit is %zu", key, n, MAX_MERGES);
    byte_chars(chars);
    for (int b = 0; b < 256; b++) {
        char text[4];
        t->byte_ids[b] = symbol_for(&t->symbols, text, mr_utf8_encode(text, chars[b]));
        if (t->byte_ids[b] < 0) return mr_fail(err, MR_ENOMEM, "byte symbols: out of memory");
    }
    return read_merges(t, g, n, err);
}

static bool pair_rule(const void *owner, const mr_symbol *l, const mr_symbol *r, uint32_t *priority,
                      int32_t *id) {
    const mr_merge_entry *e = entry_of(owner, pair_of(l->id, r->id));

    if (e->pair == MR_NO_PAIR) return false;
    *priority = e->rank;
    *id = e->id;
    return true;
}

/* A symbol that is no token: its characters one by one. */
static void spell(const mr_tokenizer *t, const char *bytes, size_t len, mr_ids *out) {
    for (size_t i = 0; i < len; i++) {
        const int32_t id = t->byte_ids[(unsigned char)bytes[i]];
        if ((uint32_t)id < t->n_vocab)
            mr_ids_add(out, id);
        else if (t->unk >= 0)
            mr_ids_add(out, t->unk);
    }
}

/* A piece that is a token as a whole; MR_SYMBOL_NONE. */
static int32_t whole_token(const mr_tokenizer *t, const char *text, size_t len) {
    char word[MR_VOCAB_MAX_TEXT];
    size_t n = 0;
    int32_t id;

    if (len > t->max_text) return MR_SYMBOL_NONE;
    for (size_t i = 0; i < len; i++) {
        const mr_str c = mr_symbols_at(&t->symbols, (size_t)t->byte_ids[(unsigned char)text[i]]);
        if (n + c.len > t->max_text) return MR_SYMBOL_NONE;
        memcpy(word + n, c.ptr, c.len);
        n += c.len;
    }
    id = mr_symbols_find(&t->symbols, word, n);
    return id >= 0 && (uint32_t)id < t->n_vocab ? id : MR_SYMBOL_NONE;
}

static bool merge_piece(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len,
                        mr_ids *out) {
    const int32_t whole = t->pre->ignore_merges ? whole_token(t, text, len) : MR_SYMBOL_NONE;

    if (whole >= 0) {
        mr_ids_add(out, whole);
        return true;
    }
    m->n_syms = 0;
    for (size_t i = 0; i < len; i++)
        if (!mr_merge_add(m, (uint32_t)i, 1, t->byte_ids[(unsigned char)text[i]])) return false;
    if (!mr_merge_run(m, pair_rule, t)) return false;
    for (uint32_t i = 0; i != MR_MERGE_END; i = m->syms[i].next) {
        const mr_symbol *s = &m->syms[i];
        if ((uint32_t)s->id < t->n_vocab)
            mr_ids_add(out, s->id);
        else
            spell(t, text + s->begin, s->len, out);
    }
    return true;
}

bool mr_bpe_encode(const mr_tokenizer *t, mr_merge *m, const char *text, size_t len, mr_ids *out) {
    mr_pre_iter it;
    size_t begin, end;

    mr_pre_begin(&it, t->pre->rule, text, len);
    while (mr_pre_next(&it, &begin, &end))
        if (!merge_piece(t, m, text + begin, end - begin, out)) return false;
    return true;
}
