/* unicode.c - UTF-8 by hand, classes by binary search.
 *
 * Decoding is strict (no overlong form, no surrogate, nothing above U+10FFFF), because a byte that
 * is not part of valid UTF-8 must stay a byte of its own in the tokenizers. ASCII, most of most
 * texts, is answered by comparisons; the rest costs 11 steps in a table of 8 KB. */
#include "engine/unicode.h"

#include "engine/unicode_table.h"

static mr_uc ascii_class(uint32_t cp) {
    if ((cp | 32) - 'a' < 26) return MR_UC_LETTER;
    if (cp - '0' < 10) return MR_UC_NUMBER;
    if (cp == ' ' || cp - '\t' < 5) return MR_UC_SPACE;
    switch (cp) {
    case '$':
    case '+':
    case '<':
    case '=':
    case '>':
    case '^':
    case '`':
    case '|':
    case '~':
        return MR_UC_OTHER; /* symbols, S* */
    default:
        return cp > ' ' && cp < 127 ? MR_UC_PUNCT : MR_UC_OTHER;
    }
}

mr_uc mr_unicode_class(uint32_t cp) {
    size_t lo = 0, hi = mr_unicode_n_runs; /* the run of cp is in [lo, hi) */

    if (cp < 128) return ascii_class(cp);
    if (cp > 0x10FFFF) return MR_UC_OTHER;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (mr_unicode_runs[mid] >> 3 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (mr_uc)(mr_unicode_runs[lo] & 7);
}

/* Length that a first byte announces, and the range of the byte behind it; 0: no first byte. The
 * narrowed ranges are what keeps out overlong forms, surrogates and numbers above U+10FFFF. */
static int announce(unsigned char first, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80;
    *hi = 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    if (first < 0xE0) return 2;
    if (first == 0xE0) *lo = 0xA0;
    if (first == 0xED) *hi = 0x9F;
    if (first == 0xF0) *lo = 0x90;
    if (first == 0xF4) *hi = 0x8F;
    return first < 0xF0 ? 3 : 4;
}

int mr_utf8_look(const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *)s;
    unsigned char lo, hi;
    const int len = announce(u[0], &lo, &hi);

    if (len == 0) return -1;
    for (int i = 1; i < len; i++) {
        if ((size_t)i == n) return 0;
        if (u[i] < lo || u[i] > hi) return -1;
        lo = 0x80;
        hi = 0xBF;
    }
    return len;
}

size_t mr_utf8_decode(const char *s, size_t n, uint32_t *cp) {
    const unsigned char *u = (const unsigned char *)s;

    switch (mr_utf8_look(s, n)) {
    case 1:
        *cp = u[0];
        return 1;
    case 2:
        *cp = (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
        return 2;
    case 3:
        *cp = (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
        return 3;
    case 4:
        *cp = (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
        return 4;
    default:
        *cp = MR_CP_INVALID;
        return 1;
    }
}

size_t mr_utf8_encode(char out[4], uint32_t cp) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}
