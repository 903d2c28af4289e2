/* codec_utf8.c - UTF-8 as the Unicode standard defines it (table 3-7): no overlong forms, no
 * surrogates, nothing above U+10FFFF.
 *
 * msgpack carries text as bytes that nobody has looked at, and a result may hold what a model made
 * up; both pass through here before they go on. Pure; any thread. */
#include "schemas/codec_utf8.h"

#include <stdint.h>
#include <string.h>

static bool is_tail(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

size_t mr_utf8_char(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;

    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) return n >= 2 && is_tail(s[1]) ? 2 : 0;
    if (s[0] >= 0xe0 && s[0] <= 0xef) {
        if (n < 3 || !is_tail(s[1]) || !is_tail(s[2])) return 0;
        if (s[0] == 0xe0 && s[1] < 0xa0) return 0; /* overlong */
        if (s[0] == 0xed && s[1] > 0x9f) return 0; /* surrogate */
        return 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if (n < 4 || !is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3])) return 0;
        if (s[0] == 0xf0 && s[1] < 0x90) return 0; /* overlong */
        if (s[0] == 0xf4 && s[1] > 0x8f) return 0; /* above U+10FFFF */
        return 4;
    }
    return 0;
}

/* Bytes at the front that are ASCII, in steps of 32: most text is. */
static size_t ascii_front(const char *s, size_t n) {
    size_t i = 0;

    for (uint64_t words[4]; i + sizeof words <= n; i += sizeof words) {
        memcpy(words, s + i, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u) break;
    }
    return i;
}

size_t mr_utf8_check(const char *s, size_t n) {
    size_t i = ascii_front(s, n);

    while (i < n) {
        size_t step = mr_utf8_char(s + i, n - i);
        if (!step) break;
        i += step;
        if (step == 1) i += ascii_front(s + i, n - i); /* a stretch of ASCII begins */
    }
    return i;
}

size_t mr_utf8_excerpt(char *dst, size_t cap, const char *s, size_t n) {
    size_t used = 0;

    for (size_t i = 0; i < n;) {
        size_t step = mr_utf8_char(s + i, n - i);
        bool shown = step > 1 || (step == 1 && (unsigned char)s[i] >= 0x20 && s[i] != 0x7f);
        size_t room = shown ? step : 1;

        if (used + room >= cap) break;
        if (shown)
            memcpy(dst + used, s + i, step);
        else
            dst[used] = '?';
        used += room;
        i += step ? step : 1;
    }
    dst[used] = '\0';
    return used;
}
