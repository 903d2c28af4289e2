/* codec_msgpack.c - the header of one msgpack item: what it is, how long, how many children.
 *
 * The format is a first byte that says kind and, for short values, length; else a big-endian number
 * follows (github.com/msgpack/msgpack/blob/master/spec.md). Reading it ourselves costs a screen and
 * gives one place that decides what bytes mean; the library's unpacker trusts counts and accepts
 * duplicate keys and trailing bytes. Pure; reads nothing past n. */
#include <string.h>

#include "schemas/codec_value.h"

static uint64_t big_endian(const unsigned char *p, size_t n) {
    uint64_t x = 0;

    for (size_t i = 0; i < n; i++) x = x << 8 | p[i];
    return x;
}

static mr_item item_int(uint64_t bits, bool is_signed, size_t size) {
    mr_item it = {.kind = MR_ITEM_INT, .size = size, .integer = (int64_t)bits};

    if (!is_signed && bits > INT64_MAX) {
        it.kind = MR_ITEM_REAL;
        it.real = (double)bits;
    }
    return it;
}

static mr_item item_real(uint64_t bits, size_t size) {
    mr_item it = {.kind = MR_ITEM_REAL, .size = size};

    if (size == 5) {
        const uint32_t low = (uint32_t)bits;
        float f;
        memcpy(&f, &low, sizeof f);
        it.real = f;
    } else {
        memcpy(&it.real, &bits, sizeof it.real);
    }
    return it;
}

/* kind with count; a payload of count bytes follows the head (STR, BIN, EXT). */
static mr_item item_sized(mr_item_kind kind, const unsigned char *p, size_t n, size_t head,
                          uint64_t count) {
    mr_item it = {.kind = kind, .count = (uint32_t)count, .size = head};

    if (kind == MR_ITEM_LIST || kind == MR_ITEM_MAP) return it;
    if (count > n - head) return (mr_item){.kind = MR_ITEM_CUT};
    it.bytes = (const char *)p + head;
    it.size = head + (size_t)count;
    return it;
}

/* First bytes 0xc0..0xdf: the width of what follows, and what it is. */
static const struct {
    mr_item_kind kind;
    unsigned char width; /* bytes of number or count behind the first byte */
    unsigned char extra; /* EXT: its type byte */
    unsigned char fixed; /* EXT: payload bytes when width is 0 */
    bool is_signed;
} forms[32] = {
    [0x00] = {.kind = MR_ITEM_NIL},
    [0x01] = {.kind = MR_ITEM_BAD},
    [0x02] = {.kind = MR_ITEM_BOOL},
    [0x03] = {.kind = MR_ITEM_BOOL},
    [0x04] = {.kind = MR_ITEM_BIN, .width = 1},
    [0x05] = {.kind = MR_ITEM_BIN, .width = 2},
    [0x06] = {.kind = MR_ITEM_BIN, .width = 4},
    [0x07] = {.kind = MR_ITEM_EXT, .width = 1, .extra = 1},
    [0x08] = {.kind = MR_ITEM_EXT, .width = 2, .extra = 1},
    [0x09] = {.kind = MR_ITEM_EXT, .width = 4, .extra = 1},
    [0x0a] = {.kind = MR_ITEM_REAL, .width = 4},
    [0x0b] = {.kind = MR_ITEM_REAL, .width = 8},
    [0x0c] = {.kind = MR_ITEM_INT, .width = 1},
    [0x0d] = {.kind = MR_ITEM_INT, .width = 2},
    [0x0e] = {.kind = MR_ITEM_INT, .width = 4},
    [0x0f] = {.kind = MR_ITEM_INT, .width = 8},
    [0x10] = {.kind = MR_ITEM_INT, .width = 1, .is_signed = true},
    [0x11] = {.kind = MR_ITEM_INT, .width = 2, .is_signed = true},
    [0x12] = {.kind = MR_ITEM_INT, .width = 4, .is_signed = true},
    [0x13] = {.kind = MR_ITEM_INT, .width = 8, .is_signed = true},
    [0x14] = {.kind = MR_ITEM_EXT, .extra = 1, .fixed = 1},
    [0x15] = {.kind = MR_ITEM_EXT, .extra = 1, .fixed = 2},
    [0x16] = {.kind = MR_ITEM_EXT, .extra = 1, .fixed = 4},
    [0x17] = {.kind = MR_ITEM_EXT, .extra = 1, .fixed = 8},
    [0x18] = {.kind = MR_ITEM_EXT, .extra = 1, .fixed = 16},
    [0x19] = {.kind = MR_ITEM_STR, .width = 1},
    [0x1a] = {.kind = MR_ITEM_STR, .width = 2},
    [0x1b] = {.kind = MR_ITEM_STR, .width = 4},
    [0x1c] = {.kind = MR_ITEM_LIST, .width = 2},
    [0x1d] = {.kind = MR_ITEM_LIST, .width = 4},
    [0x1e] = {.kind = MR_ITEM_MAP, .width = 2},
    [0x1f] = {.kind = MR_ITEM_MAP, .width = 4},
};

static uint64_t sign_extend(uint64_t bits, unsigned width) {
    MR_CHECK(width >= 1 && width <= 8);
    if (width == 8) return bits;
    return bits >> (8 * width - 1) ? bits | ~0ull << (8 * width) : bits;
}

mr_item mr_item_read(const unsigned char *p, size_t n) {
    if (!n) return (mr_item){.kind = MR_ITEM_CUT};
    const unsigned char c = p[0];

    if (c < 0x80) return item_int(c, false, 1);
    if (c >= 0xe0) return item_int(sign_extend(c, 1), true, 1);
    if (c < 0x90) return item_sized(MR_ITEM_MAP, p, n, 1, c & 0x0f);
    if (c < 0xa0) return item_sized(MR_ITEM_LIST, p, n, 1, c & 0x0f);
    if (c < 0xc0) return item_sized(MR_ITEM_STR, p, n, 1, c & 0x1f);

    const unsigned form = c - 0xc0u, width = forms[form].width;
    const size_t head = 1u + width + forms[form].extra;
    if (head > n) return (mr_item){.kind = MR_ITEM_CUT};
    const uint64_t number = big_endian(p + 1, width);

    switch (forms[form].kind) {
    case MR_ITEM_INT:
        return item_int(forms[form].is_signed ? sign_extend(number, width) : number,
                        forms[form].is_signed, head);
    case MR_ITEM_REAL: return item_real(number, head);
    case MR_ITEM_BOOL: return (mr_item){.kind = MR_ITEM_BOOL, .size = 1, .boolean = c == 0xc3};
    case MR_ITEM_NIL:
    case MR_ITEM_BAD: return (mr_item){.kind = forms[form].kind, .size = 1};
    default:
        return item_sized(forms[form].kind, p, n, head, width ? number : forms[form].fixed);
    }
}
