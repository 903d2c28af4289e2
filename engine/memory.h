/* memory.h - large memory of the engine: reserved once at open, touched only when used.
 *
 * Any thread. The caller owns what mr_pages_map returns and gives the same size back. */
#ifndef MR_ENGINE_MEMORY_H
#define MR_ENGINE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed pages, at least 64-byte aligned, outside the heap. A page costs memory once it is written.
 * Regions of some MiB ask for huge pages. NULL: the kernel said no. bytes > 0. */
void *mr_pages_map(size_t bytes);
void mr_pages_unmap(void *p, size_t bytes); /* NULL is allowed */

/* Bytes that this process could still use without swapping: the smaller of what the machine and its
 * cgroup leave. Page cache counts as free. UINT64_MAX: unknown. */
uint64_t mr_memory_available(void);

#endif
