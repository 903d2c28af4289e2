/* pretokenize.c - the splitters of gpt-2, llama 3, qwen2, smollm and "default" by hand.
 *
 * The rules are published as regular expressions; L, N, P are Unicode's general categories and \s
 * the White_Space characters:
 *
 *   gpt-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   llama 3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *            ' ?[^\s\p{L}\p{N}]+[\r\n]*'|\s*[\r\n]+|\s+(?!\S)|\s+
 *   qwen2    as llama 3 with \p{N}
 *   smollm   \p{N} first, each a piece; gpt-2 on what lies between
 *   default  [\p{P}$+<=>^~|]+ first; gpt-2 on what lies between; from its pieces \p{N}+ apart; and
 *            from those [0-9][0-9][0-9] apart
 *
 * A rule that runs on "what lies between" sees the end of its part as the end of the text: the
 * blank before a digit is a piece of its own in smollm. An alternative of such an expression looks
 * ahead only over the run that it stands in, so one pass is enough and long runs cost linear time.
 * A byte that is not UTF-8 counts as a character of no class. */
#include "engine/pretokenize.h"

#include <string.h>

#include "engine/unicode.h"

/* Names that the common converter writes for these splitters. */
static const mr_pre names[] = {
    {"default", MR_PRE_DEFAULT, false, false},
    {"gpt-2", MR_PRE_GPT2, false, false},
    {"phi-2", MR_PRE_GPT2, false, false},
    {"mpt", MR_PRE_GPT2, false, false},
    {"olmo", MR_PRE_GPT2, false, false},
    {"jais", MR_PRE_GPT2, false, false},
    {"mellum", MR_PRE_GPT2, false, false},
    {"llama-bpe", MR_PRE_LLAMA3, true, true},
    {"llama3", MR_PRE_LLAMA3, true, true},
    {"llama-v3", MR_PRE_LLAMA3, true, true},
    {"falcon3", MR_PRE_LLAMA3, true, true},
    {"dbrx", MR_PRE_LLAMA3, false, false},
    {"smaug-bpe", MR_PRE_LLAMA3, false, false},
    {"qwen2", MR_PRE_QWEN2, false, false},
    {"deepseek-r1-qwen", MR_PRE_QWEN2, false, false},
    {"megrez", MR_PRE_QWEN2, false, false},
    {"stablelm2", MR_PRE_QWEN2, false, false},
    {"smollm", MR_PRE_SMOLLM, false, false},
    {"starcoder", MR_PRE_SMOLLM, false, false},
    {"refact", MR_PRE_SMOLLM, false, false},
    {"command-r", MR_PRE_SMOLLM, false, false},
    {"codeshell", MR_PRE_SMOLLM, false, false},
};

const mr_pre *mr_pre_at(size_t i) {
    return i < sizeof names / sizeof names[0] ? &names[i] : NULL;
}

const mr_pre *mr_pre_find(const char *name, size_t len) {
    for (size_t i = 0; mr_pre_at(i); i++)
        if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0) return &names[i];
    return NULL;
}

/* The character at pos of a part that ends at end. */
typedef struct glyph {
    uint32_t cp;
    size_t next; /* position behind it */
    mr_uc uc;
    bool in; /* false: pos is the end, and the rest says nothing */
} glyph;

static glyph glyph_at(const mr_pre_iter *it, size_t pos, size_t end) {
    glyph g = {.cp = MR_CP_INVALID, .next = pos, .uc = MR_UC_OTHER, .in = pos < end};
    if (!g.in) return g;
    g.next = pos + mr_utf8_decode(it->text + pos, end - pos, &g.cp);
    g.uc = mr_unicode_class(g.cp);
    return g;
}

static bool is_newline(glyph g) {
    return g.in && (g.cp == '\r' || g.cp == '\n');
}
static bool is_symbol(glyph g) { /* [^\s\p{L}\p{N}] */
    return g.in && (g.uc == MR_UC_OTHER || g.uc == MR_UC_PUNCT);
}
static bool is_class(glyph g, mr_uc uc) {
    return g.in && g.uc == uc;
}

/* End of the run of class uc that starts at pos. */
static size_t run_of(const mr_pre_iter *it, size_t pos, size_t end, mr_uc uc) {
    glyph g = glyph_at(it, pos, end);
    while (is_class(g, uc)) g = glyph_at(it, pos = g.next, end);
    return pos;
}
static size_t run_of_symbols(const mr_pre_iter *it, size_t pos, size_t end) {
    glyph g = glyph_at(it, pos, end);
    while (is_symbol(g)) g = glyph_at(it, pos = g.next, end);
    return pos;
}

/* Lower case of the letters that contractions are made of. U+017F folds to s. */
static uint32_t fold(uint32_t cp) {
    if (cp - 'A' < 26) return cp + 32;
    return cp == 0x17F ? 's' : cp;
}

/* End of 's 't 're 've 'm 'll 'd at pos; pos: none. */
static size_t contraction(const mr_pre_iter *it, size_t pos, size_t end, bool any_case) {
    glyph a, b;
    uint32_t x, y;

    if (it->text[pos] != '\'') return pos;
    a = glyph_at(it, pos + 1, end);
    if (!a.in) return pos;
    x = any_case ? fold(a.cp) : a.cp;
    if (x == 's' || x == 't' || x == 'm' || x == 'd') return a.next;
    b = glyph_at(it, a.next, end);
    if (!b.in) return pos;
    y = any_case ? fold(b.cp) : b.cp;
    if ((x == 'r' && y == 'e') || (x == 'v' && y == 'e') || (x == 'l' && y == 'l')) return b.next;
    return pos;
}

/* \s+(?!\S)|\s+ at a blank: the run, without its last character if text follows. */
static size_t blanks(const mr_pre_iter *it, size_t pos, size_t end) {
    size_t last = pos, stop = pos;
    glyph g = glyph_at(it, pos, end);

    while (is_class(g, MR_UC_SPACE)) {
        last = stop;
        g = glyph_at(it, stop = g.next, end);
    }
    return g.in && last > pos ? last : stop;
}

static size_t next_gpt2(const mr_pre_iter *it, size_t pos, size_t end) {
    size_t stop = contraction(it, pos, end, false);
    glyph g = glyph_at(it, pos, end);

    if (stop > pos) return stop;
    if (g.cp == ' ') { /* " ?" belongs to what follows, unless that is blank too */
        const glyph after = glyph_at(it, g.next, end);
        if (!after.in || after.uc == MR_UC_SPACE) return blanks(it, pos, end);
        pos = g.next;
        g = after;
    }
    if (g.uc == MR_UC_SPACE) return blanks(it, pos, end);
    if (g.uc == MR_UC_LETTER || g.uc == MR_UC_NUMBER) return run_of(it, pos, end, g.uc);
    return run_of_symbols(it, pos, end);
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at a blank: up to the last newline of the run, if it has one. */
static size_t lines_or_blanks(const mr_pre_iter *it, size_t pos, size_t end) {
    size_t stop = pos;
    for (glyph g = glyph_at(it, pos, end); is_class(g, MR_UC_SPACE); g = glyph_at(it, g.next, end))
        if (is_newline(g)) stop = g.next;
    return stop > pos ? stop : blanks(it, pos, end);
}

static size_t next_llama3(const mr_pre_iter *it, size_t pos, size_t end, int max_digits) {
    size_t stop = contraction(it, pos, end, true);
    const glyph g = glyph_at(it, pos, end);
    const glyph after = glyph_at(it, g.next, end);

    if (stop > pos) return stop;
    if (g.uc == MR_UC_LETTER) return run_of(it, pos, end, MR_UC_LETTER);
    if (g.uc == MR_UC_NUMBER) {
        glyph d = g;
        for (int n = 0; n < max_digits && is_class(d, MR_UC_NUMBER); n++)
            d = glyph_at(it, stop = d.next, end);
        return stop;
    }
    if (!is_newline(g) && is_class(after, MR_UC_LETTER))
        return run_of(it, g.next, end, MR_UC_LETTER);
    if (is_symbol(g) || (g.cp == ' ' && is_symbol(after))) {
        stop = run_of_symbols(it, is_symbol(g) ? pos : g.next, end);
        for (glyph n = glyph_at(it, stop, end); is_newline(n); n = glyph_at(it, stop, end))
            stop = n.next;
        return stop;
    }
    return lines_or_blanks(it, pos, end);
}

/* [\p{P}$+<=>^~|], which default sets apart. */
static bool is_mark(glyph g) {
    return g.in && (g.uc == MR_UC_PUNCT || (g.cp < 128 && g.cp && strchr("$+<=>^~|", (int)g.cp)));
}

static bool is_apart(const mr_pre_iter *it, glyph g) {
    return it->rule == MR_PRE_SMOLLM ? is_class(g, MR_UC_NUMBER) : is_mark(g);
}

/* At the start of a part: a run that is set apart is a piece, *whole; else the part goes on to the
 * next such run. Returns its end. */
static size_t part_of(const mr_pre_iter *it, bool *whole) {
    size_t pos = it->pos;
    glyph g = glyph_at(it, pos, it->len);

    *whole = is_apart(it, g);
    if (*whole && it->rule == MR_PRE_SMOLLM) return g.next; /* digits one by one */
    while (g.in && is_apart(it, g) == *whole) g = glyph_at(it, pos = g.next, it->len);
    return pos;
}

static bool three_digits(const mr_pre_iter *it, size_t pos) {
    if (it->cut - pos < 3) return false;
    for (size_t i = pos; i < pos + 3; i++)
        if (it->text[i] < '0' || it->text[i] > '9') return false;
    return true;
}

/* Inside a run of numbers that default cuts: three ASCII digits, or all up to the next three. */
static size_t next_digits(const mr_pre_iter *it) {
    size_t pos = it->pos;
    if (three_digits(it, pos)) return pos + 3;
    while (pos < it->cut && !three_digits(it, pos)) pos++;
    return pos;
}

static size_t next_default(mr_pre_iter *it) {
    const size_t stop = next_gpt2(it, it->pos, it->part);
    const glyph g = glyph_at(it, it->pos, stop);

    if (g.uc == MR_UC_NUMBER) {
        it->cut = stop;
        return next_digits(it);
    }
    if (g.cp == ' ' && is_class(glyph_at(it, g.next, stop), MR_UC_NUMBER)) return g.next;
    return stop;
}

static size_t next_end(mr_pre_iter *it) {
    bool whole = false;

    if (it->rule == MR_PRE_GPT2) return next_gpt2(it, it->pos, it->len);
    if (it->rule == MR_PRE_LLAMA3) return next_llama3(it, it->pos, it->len, 3);
    if (it->rule == MR_PRE_QWEN2) return next_llama3(it, it->pos, it->len, 1);
    if (it->pos < it->cut) return next_digits(it);
    if (it->pos == it->part) {
        it->part = part_of(it, &whole);
        if (whole) return it->part;
    }
    if (it->rule == MR_PRE_SMOLLM) return next_gpt2(it, it->pos, it->part);
    return next_default(it);
}

void mr_pre_begin(mr_pre_iter *it, mr_pre_rule rule, const char *text, size_t len) {
    *it = (mr_pre_iter){.rule = rule, .text = text, .len = len};
}

bool mr_pre_next(mr_pre_iter *it, size_t *begin, size_t *end) {
    if (it->pos == it->len) return false;
    *begin = it->pos;
    *end = it->pos = next_end(it);
    return true;
}
