/* idset.c - see idset.h. Open addressing, at most half full. */
#include "cli/idset.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 1024 };

void mr_idset_init(mr_idset *s) {
    *s = (mr_idset){.n = 0};
    mr_arena_init(&s->arena, 0);
}

void mr_idset_deinit(mr_idset *s) {
    mr_arena_drop(&s->arena);
    free(s->slots);
}

static size_t slot_of(const char **slots, size_t cap, const char *id) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (const char *p = id; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    size_t i = (size_t)(h ^ h >> 32) & (cap - 1);
    while (slots[i] && strcmp(slots[i], id) != 0) i = (i + 1) & (cap - 1);
    return i;
}

bool mr_idset_has(const mr_idset *s, const char *id) {
    return s->cap && s->slots[slot_of(s->slots, s->cap, id)];
}

static bool grow(mr_idset *s) {
    const size_t cap = s->cap ? 2 * s->cap : FIRST_CAP;
    const char **slots = calloc(cap, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i]) slots[slot_of(slots, cap, s->slots[i])] = s->slots[i];
    free(s->slots);
    s->slots = slots;
    s->cap = cap;
    return true;
}

bool mr_idset_add(mr_idset *s, const char *id) {
    if (2 * (s->n + 1) > s->cap && !grow(s)) return false;
    const size_t i = slot_of(s->slots, s->cap, id);
    if (s->slots[i]) return true;
    s->slots[i] = mr_arena_copy(&s->arena, id, strlen(id));
    s->n += s->slots[i] != NULL;
    return s->slots[i] != NULL;
}
