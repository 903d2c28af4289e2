/* b64.c - three bytes to four characters and back.
 *
 * The decoder takes exactly what the encoder makes: bits behind the last byte must be zero, so that
 * equal bytes have one text only. */
#include "base/b64.h"

#include <stdbool.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void mr_b64_encode(char *out, const void *bytes, size_t n) {
    const unsigned char *in = bytes;
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i;
        const uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                           (left > 2 ? in[i + 2] : 0);
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[v & 63] : '=';
    }
    *out = 0;
}

static int value_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters to 24 bits; the number of bytes in them (1..3), or 0: not base64. */
static size_t decode_group(const char *text, bool is_last, uint32_t *bits) {
    size_t n_pad = 0;
    if (is_last && text[3] == '=') n_pad = text[2] == '=' ? 2 : 1;

    uint32_t v = 0;
    for (size_t i = 0; i < 4 - n_pad; i++) {
        const int six = value_of(text[i]);
        if (six < 0) return 0;
        v |= (uint32_t)six << (18 - 6 * i);
    }
    const uint32_t unused = n_pad == 2 ? 0xFFFF : n_pad == 1 ? 0xFF : 0;
    if (v & unused) return 0;
    *bits = v;
    return 3 - n_pad;
}

mr_status mr_b64_decode(void *out, size_t cap, size_t *n_out, const char *text, size_t len) {
    unsigned char *to = out;
    size_t n = 0;

    *n_out = 0;
    if (len % 4) return MR_EINVAL;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        const size_t got = decode_group(text + i, i + 4 == len, &v);
        if (got == 0) return MR_EINVAL;
        if (got > cap - n) return MR_ELIMIT;
        for (size_t k = 0; k < got; k++) to[n++] = (unsigned char)(v >> (16 - 8 * k));
    }
    *n_out = n;
    return MR_OK;
}
