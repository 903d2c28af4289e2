/* bench_proc.h - what another process of this machine has used. Any thread. */
#ifndef MR_CLI_BENCH_PROC_H
#define MR_CLI_BENCH_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "millrace/error.h"

typedef struct mr_bench_use {
    double cpu_s;       /* of all its threads, user and system, since its start */
    uint64_t rss_bytes; /* now */
} mr_bench_use;

/* MR_ENOTFOUND: there is no such process. */
mr_status mr_bench_use_of(pid_t pid, mr_bench_use *out, mr_err *err);

#endif
