/* split.h - which layers of a model go where: sizes in, plan out.
 *
 * Places are given in the order in which a pass goes through them: the processor, if it may take
 * part, then the devices. Each takes layers that follow each other; the devices have the last ones,
 * and with the last layer goes the output head. A block of the KV cache is one number for all
 * layers, so every place has the same number of blocks, of its own layers.
 *
 * Devices are filled one after the other; a place that is not needed gets nothing. Of all splits
 * that keep as many layers on devices as is wanted, the one with the largest cache is taken.
 *
 * Pure: no device is asked, nothing is reserved. Thread: any. */
#ifndef MR_ENGINE_SPLIT_H
#define MR_ENGINE_SPLIT_H

#include "engine/backend.h"

#define MR_SPLIT_MAX 9 /* places: the processor and 8 devices */

typedef struct mr_split_place {
    const char *name;            /* for messages */
    uint64_t room;               /* bytes that may be used */
    uint64_t work;               /* bytes that it needs beside weights and cache */
    const uint64_t *layer_bytes; /* [n_layer] weights of each */
    uint64_t first_bytes;        /* with the first layer: embeddings */
    uint64_t last_bytes;         /* with the last layer: the head */
    uint64_t block_bytes;        /* of the cache, one layer */
    bool tied;                   /* first and last are the same bytes, where it has both */
} mr_split_place;

typedef struct mr_split_wish {
    uint32_t n_layer;
    uint32_t on_devices; /* layers; MR_SPLIT_AUTO: as many as fit, if has_cpu, else all */
    bool has_cpu;        /* place 0 is the processor; it may have all layers but one */
    uint32_t least_blocks, most_blocks; /* of the cache: what must fit, what would be of use */
} mr_split_wish;

#define MR_SPLIT_AUTO UINT32_MAX

typedef struct mr_split {
    mr_layers at[MR_SPLIT_MAX];   /* first == end: nothing */
    uint64_t bytes[MR_SPLIT_MAX]; /* that it will take, work included */
    uint32_t n_blocks;
} mr_split;

/* MR_ENOMEM: it does not fit; err says where, how many bytes are missing, and what to lower. */
mr_status mr_split_plan(mr_split *out, const mr_split_place *places, uint32_t n,
                        const mr_split_wish *wish, mr_err *err);

#endif
