/* idset.h - a set of texts that only grows: the custom_ids of a batch. */
#ifndef MR_CLI_IDSET_H
#define MR_CLI_IDSET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

typedef struct mr_idset {
    mr_arena arena; /* holds the texts */
    const char **slots;
    size_t n, cap;
} mr_idset;

void mr_idset_init(mr_idset *s);
void mr_idset_deinit(mr_idset *s);
bool mr_idset_has(const mr_idset *s, const char *id);
/* False: out of memory. Adding what is there is fine. */
bool mr_idset_add(mr_idset *s, const char *id);

#endif
