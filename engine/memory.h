/* memory.h - large memory of the engine: reserved once at open, touched only when used.
 *
 * Any thread. The caller owns what mr_pages_map returns and gives the same size back. */
#ifndef MR_ENGINE_MEMORY_H
#define MR_ENGINE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed pages, at least 64-byte aligned, outside the heap. A page costs memory once it is written.
 * Regions of some MiB ask for huge pages. NULL: the kernel said no. bytes > 0. */
void *mr_pages_map(size_t bytes);
void mr_pages_unmap(void *p, size_t bytes); /* NULL is allowed */

/* Nodes of a list as the kernel writes them, "0-1,4", as bits; 0: no such list, or a node above 63.
 */
uint64_t mr_memory_nodes_of(const char *list);
/* Nodes of this machine that have memory; 0: unknown. */
uint64_t mr_memory_nodes(void);
/* Pages of a mapping that are not touched yet will lie on these nodes in turn, so that all threads
 * read all of it at the speed of all. Advice: false if there is one node or none, or the kernel
 * refuses. */
bool mr_pages_interleave(void *p, size_t bytes, uint64_t nodes);

/* Bytes that this process could still use without swapping: the smaller of what the machine and its
 * cgroup leave. Page cache counts as free. UINT64_MAX: unknown. */
uint64_t mr_memory_available(void);

#endif
