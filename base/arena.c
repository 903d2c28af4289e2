/* arena.c - a list of chunks; an allocation moves a mark in the newest one.
 *
 * A chunk is as large as all before it together (within bounds), so an arena of n bytes takes about
 * log n calls of malloc. reset() melts the chunks into one that would have held everything: an
 * arena that is used again and again for messages of like size soon calls malloc no more. Limits:
 * the arena's own, counted in bytes handed out, each rounded up to the alignment. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN           16u
#define MIN_CHUNK_BYTES 4096u
#define MAX_CHUNK_BYTES (1u << 20) /* growth stops here; one larger allocation gets its own chunk  \
                                    */

struct mr_arena_chunk {
    mr_arena_chunk *next;
    size_t cap, used;
    _Alignas(ALIGN) unsigned char bytes[];
};

static mr_arena_chunk *chunk_new(size_t cap) {
    if (cap > SIZE_MAX - sizeof(mr_arena_chunk)) return NULL;
    mr_arena_chunk *c = malloc(sizeof *c + cap);
    if (!c) return NULL;
    c->next = NULL;
    c->cap = cap;
    c->used = 0;
    return c;
}

void mr_arena_init(mr_arena *a, size_t limit_bytes) {
    *a = (mr_arena){.limit = limit_bytes};
}

void mr_arena_drop(mr_arena *a) {
    while (a->chunks) {
        mr_arena_chunk *c = a->chunks;
        a->chunks = c->next;
        free(c);
    }
    a->used = 0;
}

void mr_arena_reset(mr_arena *a) {
    a->used = 0;
    if (!a->chunks) return;
    if (!a->chunks->next) {
        a->chunks->used = 0;
        return;
    }
    size_t total = 0;
    for (const mr_arena_chunk *c = a->chunks; c; c = c->next) total += c->cap;
    mr_arena_drop(a);
    a->chunks = chunk_new(total); /* NULL is an empty arena */
}

static size_t grown_cap(const mr_arena *a, size_t n) {
    size_t cap = MIN_CHUNK_BYTES;
    while (cap < a->used && cap < MAX_CHUNK_BYTES) cap *= 2;
    return cap < n ? n : cap;
}

void *mr_arena_alloc(mr_arena *a, size_t n) {
    if (n > SIZE_MAX - ALIGN) return NULL;
    n = n == 0 ? ALIGN : (n + ALIGN - 1) / ALIGN * ALIGN;
    if (a->limit && (n > a->limit || a->used > a->limit - n)) {
        a->full = true;
        return NULL;
    }

    mr_arena_chunk *c = a->chunks;
    if (!c || c->cap - c->used < n) {
        c = chunk_new(grown_cap(a, n));
        if (!c) return NULL;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *p = c->bytes + c->used;
    c->used += n;
    a->used += n;
    return p;
}

void *mr_arena_calloc(mr_arena *a, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    void *p = mr_arena_alloc(a, count * size);
    if (p) memset(p, 0, count * size);
    return p;
}

char *mr_arena_copy(mr_arena *a, const void *bytes, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *p = mr_arena_alloc(a, n + 1);
    if (!p) return NULL;
    if (n) memcpy(p, bytes, n);
    p[n] = 0;
    return p;
}

char *mr_arena_printf(mr_arena *a, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) return NULL;

    char *p = mr_arena_alloc(a, (size_t)n + 1);
    if (!p) return NULL;
    va_start(args, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    return p;
}
