/* arena.h - memory that is dropped at once: one arena per job, per message, per file.
 *
 * Owner: whoever calls mr_arena_init. Thread: one at a time. Nothing is freed singly. */
#ifndef MR_BASE_ARENA_H
#define MR_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mr_arena_chunk mr_arena_chunk;

typedef struct mr_arena {
    mr_arena_chunk *chunks; /* newest first */
    size_t used;            /* bytes handed out */
    size_t limit;           /* used never passes it; 0: no limit */
    bool full;              /* it has refused something for the limit's sake */
} mr_arena;

/* limit_bytes 0 means no limit. Allocates nothing yet. */
void mr_arena_init(mr_arena *a, size_t limit_bytes);
/* Frees everything; the arena can be used again, with the same limit. */
void mr_arena_drop(mr_arena *a);
/* Forget what was handed out and keep the memory for the next user. */
void mr_arena_reset(mr_arena *a);

/* 16-byte aligned, not cleared. NULL: limit passed or out of memory. n == 0 gives a valid pointer. */
void *mr_arena_alloc(mr_arena *a, size_t n);
/* Cleared array; NULL also when count * size overflows. */
void *mr_arena_calloc(mr_arena *a, size_t count, size_t size);
/* Copy of n bytes with a 0 byte behind them. */
char *mr_arena_copy(mr_arena *a, const void *bytes, size_t n);
char *mr_arena_printf(mr_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
