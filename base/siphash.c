/* siphash.c - see siphash.h. Words are read as little endian, on any machine. */
#include "base/siphash.h"

typedef struct state {
    uint64_t a, b, c, d;
} state;

static uint64_t turn(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static uint64_t read_word(const uint8_t *p, size_t n) {
    uint64_t w = 0;
    for (size_t i = 0; i < n; i++) w |= (uint64_t)p[i] << (8 * i);
    return w;
}

static void mix(state *s, int rounds) {
    for (int i = 0; i < rounds; i++) {
        s->a += s->b;
        s->c += s->d;
        s->b = turn(s->b, 13) ^ s->a;
        s->d = turn(s->d, 16) ^ s->c;
        s->a = turn(s->a, 32) + s->d;
        s->c += s->b;
        s->b = turn(s->b, 17) ^ s->c;
        s->d = turn(s->d, 21) ^ s->a;
        s->c = turn(s->c, 32);
    }
}

static void take(state *s, uint64_t word) {
    s->d ^= word;
    mix(s, 2);
    s->a ^= word;
}

static uint64_t give(state *s) {
    mix(s, 4);
    return s->a ^ s->b ^ s->c ^ s->d;
}

mr_digest mr_siphash(const uint8_t secret[MR_SIPHASH_SECRET], const void *bytes, size_t n) {
    const uint64_t k0 = read_word(secret, 8), k1 = read_word(secret + 8, 8);
    const uint8_t *p = bytes;
    state s = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee, k0 ^ 0x6c7967656e657261,
               k1 ^ 0x7465646279746573};
    mr_digest out;

    for (size_t i = 0; i + 8 <= n; i += 8) take(&s, read_word(p + i, 8));
    take(&s, read_word(p + n - n % 8, n % 8) | (uint64_t)n << 56);
    s.c ^= 0xee;
    out.lo = give(&s);
    s.b ^= 0xdd;
    out.hi = give(&s);
    return out;
}
