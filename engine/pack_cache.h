/* pack_cache.h - packed weights in a file, so that the next start need not make them again.
 *
 * The file is a header of MR_PACK_CACHE_HEADER bytes and the tiles as they lie in memory. It holds
 * the digest of the whole model file that they were made of, the version of the layout, and digests
 * of itself. What is read is a copy, checked as a whole before anybody sees it: a model that was
 * replaced, under the same name or in place, with whatever times, has another digest, and a file
 * that changes later changes nothing here. Thread: one at a time. */
#ifndef MR_ENGINE_PACK_CACHE_H
#define MR_ENGINE_PACK_CACHE_H

#include "engine/digest.h"

#define MR_PACK_CACHE_HEADER 4096 /* most of it empty: tiles begin on a page */

typedef struct mr_pack_key { /* what the tiles were made of */
    mr_digest source;        /* of the model's file */
    uint64_t source_bytes;
    uint64_t bytes; /* of the tiles */
} mr_pack_key;

/* Whether a file of file_bytes that begins with these bytes[n] is the one for the key; *content
 * becomes the digest that its tiles must have. MR_EINVAL: it is none at all, or damaged;
 * MR_ENOTFOUND: it belongs to another model or layout. Both say why. */
mr_status mr_pack_cache_check(const void *bytes, size_t n, uint64_t file_bytes,
                              const mr_pack_key *key, mr_digest *content, mr_err *err);

/* The tiles into out[key->bytes]. On failure out is undefined: make them. MR_ENOTFOUND also: there
 * is no file. */
mr_status mr_pack_cache_read(const char *path, const mr_pack_key *key, void *out, mr_pool *pool,
                             mr_err *err);
/* The file, under its name when all of it is on the disk; on failure nothing is left. */
mr_status mr_pack_cache_write(const char *path, const mr_pack_key *key, const void *tiles,
                              mr_pool *pool, mr_err *err);

#endif
