/* memory.c - page mappings, and how much memory there is to take.
 *
 * Anonymous mappings instead of malloc: the kernel hands out zeroed pages on first touch, so a KV
 * cache for 32 long sequences costs nothing while 3 short ones run. MAP_NORESERVE because engine.c
 * compares needs with mr_memory_available() itself and can then say which number to change.
 *
 * Weights are read from end to end for every token by threads of all nodes, so no node is nearer to
 * them than another; what counts is that no one memory has to serve all: pages are dealt out in
 * turn. The call goes to the kernel directly, as a library for one call is one more to install.
 *
 * Sources: mbind(2), numa(7) for /sys/devices/system/node; proc(5) for MemAvailable; kernel's
 * cgroup-v2.rst for memory.max. A cgroup below the root of the mount is not looked up: inside a
 * container the mount shows the own group. */
#include "engine/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "millrace/error.h"

#define HUGE_FROM_BYTES (4u << 20) /* below, a huge page wastes more than its TLB entries save */

void *mr_pages_map(size_t bytes) {
    MR_CHECK(bytes > 0);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    if (p == MAP_FAILED) return NULL;
    if (bytes >= HUGE_FROM_BYTES)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* advice: may be refused */
    return p;
}

void mr_pages_unmap(void *p, size_t bytes) {
    if (p) MR_CHECK(munmap(p, bytes) == 0);
}

#define MAX_NODES  64
#define INTERLEAVE 3 /* MPOL_INTERLEAVE of mbind(2) */

uint64_t mr_memory_nodes_of(const char *list) {
    uint64_t nodes = 0;

    for (const char *at = list;; at++) {
        char *end;
        const unsigned long first = strtoul(at, &end, 10);
        const bool is_range = end != at && *end == '-';
        const unsigned long last = is_range ? strtoul(at = end + 1, &end, 10) : first;

        if (end == at || first > last || last >= MAX_NODES) return 0;
        for (unsigned long i = first; i <= last; i++) nodes |= (uint64_t)1 << i;
        at = end;
        if (*at != ',') return *at == '\0' || *at == '\n' ? nodes : 0;
    }
}

uint64_t mr_memory_nodes(void) {
    FILE *f = fopen("/sys/devices/system/node/has_memory", "re");
    char list[256];
    uint64_t nodes = 0;

    if (!f) return 0;
    if (fgets(list, sizeof list, f)) nodes = mr_memory_nodes_of(list);
    fclose(f);
    return nodes;
}

bool mr_pages_interleave(void *p, size_t bytes, uint64_t nodes) {
    if ((nodes & (nodes - 1)) == 0) return false;
    const unsigned long n_bits = MAX_NODES + 1; /* the kernel takes one off */
    return syscall(SYS_mbind, p, bytes, INTERLEAVE, &nodes, n_bits, 0) == 0;
}

/* First line of a file that matches the format with one number. */
static uint64_t number_in(const char *path, const char *fmt, uint64_t unit) {
    FILE *f = fopen(path, "re");
    char line[256];
    unsigned long long value;
    uint64_t found = UINT64_MAX;

    if (!f) return UINT64_MAX;
    while (found == UINT64_MAX && fgets(line, sizeof line, f))
        if (sscanf(line, fmt, &value) == 1 && value < UINT64_MAX / unit) found = value * unit;
    fclose(f);
    return found;
}

uint64_t mr_memory_available(void) {
    const uint64_t found[] = {
        number_in("/proc/meminfo", "MemAvailable: %llu kB", 1024),
        number_in("/sys/fs/cgroup/memory.max", "%llu", 1), /* "max": no number, no limit */
        number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", "%llu", 1),
    };
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < MR_COUNT(found); i++)
        if (found[i] < least) least = found[i];
    return least;
}
