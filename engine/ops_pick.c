/* ops_pick.c - which table of kernels this machine runs; asked once, when a model is opened.
 *
 * The choice never changes a result between avx2, avxvnni and avx512, which add in the same order.
 * amx has roundings and orders of its own (cpu/amx_short.h, cpu/amx_floats.h).
 *
 * amx is taken for one sequence as well. Its tokens are then up to 18 % slower than those of
 * avx512, but its prompts are read 1.6 to 2.4 times as fast (docs/PERFORMANCE.md), and a program
 * for one sequence gives the answers of a worker for many. */
#include <string.h>

#include "engine/cpu/tables.h"

#ifdef MR_HAVE_X86
#include <cpuid.h>

static bool has_f16c(void) { /* not a name that every compiler's __builtin_cpu_supports knows */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef MR_HAVE_AVXVNNI
static bool has_avxvnni(void) { /* not a name that every compiler's __builtin_cpu_supports knows */
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
#endif

#ifdef MR_HAVE_AMX
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM of arch_prctl(2) */
#define TILE_DATA          18     /* the state component that AMX's registers are */

/* The CPU has it, and Linux lets this process use it: its registers are large, so a process has to
 * ask, once for all its threads. A kernel that knows nothing of AMX refuses. */
static bool has_amx(void) {
    const unsigned want = 1u << 22 | 1u << 23 | 1u << 24; /* AMX-BF16, AVX512-FP16, AMX-TILE */
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & want) == want &&
           __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

static bool always(void) {
    return true;
}

static const struct choice {
    const mr_ops *ops;
    bool (*runs_here)(void);
} choices[] = {
/* best first */
#ifdef MR_HAVE_AMX
    {&mr_ops_amx, has_amx},
#endif
#ifdef MR_HAVE_X86
    {&mr_ops_avx512, has_avx512},
#endif
#ifdef MR_HAVE_AVXVNNI
    {&mr_ops_avxvnni, has_avxvnni},
#endif
#ifdef MR_HAVE_X86
    {&mr_ops_avx2, has_avx2},
#endif
    {&mr_ops_ref, always},
};

const mr_ops *mr_ops_pick(const char *isa) {
    const bool any = !isa || strcmp(isa, "auto") == 0;
    for (size_t i = 0; i < MR_COUNT(choices); i++)
        if ((any || strcmp(isa, choices[i].ops->name) == 0) && choices[i].runs_here())
            return choices[i].ops;
    return NULL;
}

/* Variants: the sums of a tile and the packed queries. Ref: one record, which is less. */
size_t mr_attn_scratch(uint32_t n_rows, uint32_t group, uint32_t d_head) {
    return (MR_CPU_ATTN_TILE + (size_t)n_rows * group) * d_head;
}
