/* digest.c - stretches of 1 MiB on all threads, then their digests once more.
 *
 * A stretch has LANES states; each takes every LANES-th word: (state ^ word) times an odd number,
 * then its high half onto its low one. Both steps can be undone, so what differs in one word
 * differs to the end. There is one chain per lane, side by side, and memory is what binds. In the
 * end the states, and the length, go through splitmix64's last steps (Steele 2014) into two words.
 */
#include "engine/digest.h"

#include <stdlib.h>
#include <string.h>

#define STRETCH ((size_t)1 << 20)
#define LANES   8
#define ODD     0x9E3779B97F4A7C15u

static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return h ^ h >> 31;
}

static uint64_t take(uint64_t state, uint64_t word) {
    state = (state ^ word) * ODD;
    return state ^ state >> 32;
}

static void take_lanes(uint64_t state[LANES], const uint8_t *bytes) {
    for (size_t i = 0; i < LANES; i++) {
        uint64_t word;
        memcpy(&word, bytes + i * sizeof word, sizeof word);
        state[i] = take(state[i], word);
    }
}

static mr_digest digest_stretch(const uint8_t *bytes, size_t n) {
    const size_t row = LANES * sizeof(uint64_t), whole = n / row * row;
    uint8_t rest[LANES * sizeof(uint64_t)] = {0};
    uint64_t state[LANES];
    mr_digest d = {{n, ~(uint64_t)n}};

    for (size_t i = 0; i < LANES; i++) state[i] = mix(i + 1);
    for (size_t at = 0; at < whole; at += row) take_lanes(state, bytes + at);
    if (n > whole) memcpy(rest, bytes + whole, n - whole);
    take_lanes(state, rest);
    for (size_t i = 0; i < LANES; i++) {
        d.word[0] = mix(take(d.word[0], state[i]));
        d.word[1] = mix(d.word[1] + state[i] * ODD) ^ d.word[0] >> 1;
    }
    return d;
}

typedef struct stretches {
    const uint8_t *bytes;
    size_t n;
    mr_digest *of; /* of each */
} stretches;

static void on_stretch(void *arg, uint32_t piece, int ith) {
    const stretches *s = arg;
    const size_t at = piece * STRETCH;

    (void)ith;
    s->of[piece] = digest_stretch(s->bytes + at, s->n - at < STRETCH ? s->n - at : STRETCH);
}

mr_status mr_digest_of(mr_digest *out, const void *bytes, size_t n, mr_pool *pool, mr_err *err) {
    const size_t n_stretches = (n + STRETCH - 1) / STRETCH;
    stretches s = {bytes, n, malloc((n_stretches + 1) * sizeof *s.of)}; /* + 1: the length */

    if (!s.of || n_stretches > UINT32_MAX) {
        free(s.of);
        return mr_fail(err, MR_ENOMEM, "no memory for a digest of %zu bytes", n);
    }
    if (pool)
        mr_pool_run(pool, (uint32_t)n_stretches, on_stretch, &s);
    else
        for (uint32_t i = 0; i < n_stretches; i++) on_stretch(&s, i, 0);
    s.of[n_stretches] = (mr_digest){{n, 0}};
    *out = digest_stretch((const uint8_t *)s.of, (n_stretches + 1) * sizeof *s.of);
    free(s.of);
    return MR_OK;
}
