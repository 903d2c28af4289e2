/* prefix.c - see prefix.h.
 *
 * The input is gathered piece by piece, wherever its texts begin and end, and each full piece is
 * hashed eight bytes at a time: a dispatcher does this once for every job that comes in. What an
 * attacker could make collide costs him a job that runs where nothing is cached. */
#include "schemas/prefix.h"

#include <string.h>

_Static_assert(MR_PREFIX_PIECE % 8 == 0, "pieces are read in words of eight bytes");

typedef struct beginning {
    unsigned char piece[MR_PREFIX_PIECE];
    size_t filled;
    uint64_t chain; /* of all pieces so far */
    uint64_t *out;
    size_t n;
} beginning;

static uint64_t word(const unsigned char *p) {
    uint64_t w = 0;
    for (int i = 0; i < 8; i++) w |= (uint64_t)p[i] << (8 * i);
    return w;
}

/* One multiplication spreads a word upwards, the shift brings it down again: chained, every bit of
 * the input reaches every bit of the digest. */
static uint64_t stir(uint64_t h, uint64_t w) {
    h = (h ^ w) * 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio, odd */
    return h ^ (h >> 32);
}

static uint64_t salt(const mr_job_spec *j) {
    uint64_t h = stir(1, j->input);
    for (const char *s = j->tenant; *s; s++) h = stir(h, (unsigned char)*s);
    return h;
}

static bool is_full(const beginning *b) {
    return b->n == MR_PREFIX_MAX;
}

static void end_piece(beginning *b) {
    for (size_t i = 0; i < MR_PREFIX_PIECE; i += 8) b->chain = stir(b->chain, word(b->piece + i));
    b->out[b->n++] = b->chain;
    b->filled = 0;
}

static void add(beginning *b, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    while (n > 0 && !is_full(b)) {
        const size_t left = MR_PREFIX_PIECE - b->filled, part = n < left ? n : left;
        memcpy(b->piece + b->filled, p, part);
        b->filled += part;
        p += part;
        n -= part;
        if (b->filled == MR_PREFIX_PIECE) end_piece(b);
    }
}

static void add_token(beginning *b, int32_t token) {
    const uint32_t t = (uint32_t)token;
    const unsigned char bytes[] = {(unsigned char)t, (unsigned char)(t >> 8),
                                   (unsigned char)(t >> 16), (unsigned char)(t >> 24)};
    add(b, bytes, sizeof bytes);
}

size_t mr_prefix_digests(const mr_job_spec *j, uint64_t out[MR_PREFIX_MAX]) {
    beginning b = {.chain = salt(j), .out = out};

    switch (j->input) {
    case MR_INPUT_PROMPT:
        add(&b, j->prompt, j->prompt_len);
        break;
    case MR_INPUT_TOKENS:
        for (size_t i = 0; i < j->n_tokens && !is_full(&b); i++) add_token(&b, j->tokens[i]);
        break;
    case MR_INPUT_MESSAGES:
        for (size_t i = 0; i < j->n_messages && !is_full(&b); i++) {
            add(&b, j->messages[i].role, strlen(j->messages[i].role));
            add(&b, j->messages[i].content, j->messages[i].content_len);
        }
        break;
    }
    return b.n;
}
