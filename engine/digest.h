/* digest.h - 128 bits that say whether many bytes are the same as before.
 *
 * For bytes that nobody forges: whoever could make another model with the same digest on purpose
 * may as well replace the model. Two that differ in one word of 64 bits of a stretch of 1 MiB never
 * leave it in the same state; beyond that, equal digests are chance, of some 2^-128. Thread: one at
 * a time, as the pool's. */
#ifndef MR_ENGINE_DIGEST_H
#define MR_ENGINE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "engine/threads.h"

typedef struct mr_digest {
    uint64_t word[2];
} mr_digest;

/* Of bytes[n], on the pool's threads (NULL: on this one); the same whatever their number.
 * MR_ENOMEM. */
mr_status mr_digest_of(mr_digest *out, const void *bytes, size_t n, mr_pool *pool, mr_err *err);

#endif
