/* preload.c - a library that takes memory away from a program that knows nothing of it.
 *
 *     LD_PRELOAD=libmr_preload.so MR_FAULT_MALLOC=1234 millrace-worker ...
 *
 * MR_FAULT_MALLOC=n: the n-th allocation that the program's own code asks for fails, and every
 * MR_FAULT_EVERY-th after it (0: none). Calls from libraries are let through: some of them abort,
 * which is theirs to do. MR_FAULT_LET=begin-end, hexadecimal addresses in the program's file: where a
 * library is that was linked in, CUDA's runtime.
 * Only for glibc and release builds: a sanitizer has its own malloc. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static uintptr_t text_begin, text_end; /* of the program itself */
static uintptr_t let_begin, let_end;   /* of that, a library */
static unsigned long fail_at, fail_every;
static atomic_ulong n_calls;

static int find_program(struct dl_phdr_info *info, size_t size, void *arg) {
    const char *let = getenv("MR_FAULT_LET");
    char *end;

    (void)size;
    (void)arg;
    if (let) {
        let_begin = info->dlpi_addr + strtoul(let, &end, 16);
        if (*end == '-') let_end = info->dlpi_addr + strtoul(end + 1, NULL, 16);
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        text_begin = info->dlpi_addr + p->p_vaddr;
        text_end = text_begin + p->p_memsz;
    }
    return 1; /* the first one is the program */
}

__attribute__((constructor)) static void read_orders(void) {
    const char *at = getenv("MR_FAULT_MALLOC"), *every = getenv("MR_FAULT_EVERY");

    dl_iterate_phdr(find_program, NULL);
    fail_every = every ? strtoul(every, NULL, 10) : 0;
    fail_at = at ? strtoul(at, NULL, 10) : 0;
}

static int fails(void *caller) {
    const uintptr_t from = (uintptr_t)caller;

    if (!fail_at || from < text_begin || from >= text_end) return 0;
    if (from >= let_begin && from < let_end) return 0;
    const unsigned long n = atomic_fetch_add(&n_calls, 1) + 1;
    if (n < fail_at || (n > fail_at && (!fail_every || (n - fail_at) % fail_every))) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}

char *strdup(const char *s) {
    const size_t n = strlen(s) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);

    return copy ? memcpy(copy, s, n) : NULL;
}
