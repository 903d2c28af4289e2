/* siphash.h - a hash of bytes under a secret, for tables whose keys come from outside.
 *
 * Who does not know the secret cannot make two inputs of one digest, so no choice of inputs slows a
 * table down, and 128 bits may stand for the input itself: among a million inputs two meet by
 * chance once in 10^26 tables. Not for anything that leaves the process. Pure; any thread. Source:
 * Aumasson, Bernstein 2012, SipHash-2-4, with the 128-bit output of the authors' code. */
#ifndef MR_BASE_SIPHASH_H
#define MR_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define MR_SIPHASH_SECRET 16

typedef struct mr_digest {
    uint64_t lo, hi;
} mr_digest;

mr_digest mr_siphash(const uint8_t secret[MR_SIPHASH_SECRET], const void *bytes, size_t n);

#endif
