/* chain.h - backends that have a part of the layers each, as one backend.
 *
 * A pass begins in the first part; where the next one's layers begin, it goes on there: the rows'
 * x goes through host memory. Nothing else does: each part has keys and values of its layers.
 *
 * A chain does not draw tokens, nor do its steps overlap: logits come back to the host, and tokens
 * go to the first part from there. */
#ifndef MR_ENGINE_CHAIN_H
#define MR_ENGINE_CHAIN_H

#include "engine/backend.h"
#include "engine/split.h"

typedef struct mr_part {
    mr_backend *backend;
    mr_layers layers; /* those behind the part before; never none */
} mr_part;

/* Owns the backends of parts[n], 1 < n <= MR_SPLIT_MAX, from success on. */
mr_status mr_chain_open(mr_backend **out, const mr_part *parts, uint32_t n, mr_err *err);

#endif
