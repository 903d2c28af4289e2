/* bench_proc.c - see bench_proc.h. The clock of a process counts nanoseconds, /proc/PID/stat ticks
 * of 10 ms. */
#include "cli/bench_proc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

mr_status mr_bench_use_of(pid_t pid, mr_bench_use *out, mr_err *err) {
    clockid_t clock;
    struct timespec ts;
    char path[64];
    unsigned long long pages = 0;

    *out = (mr_bench_use){0};
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    FILE *f = fopen(path, "re");
    const int n = f ? fscanf(f, "%*u %llu", &pages) : 0;
    if (f) fclose(f);
    if (n != 1 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return mr_fail(err, MR_ENOTFOUND, "process %ld has ended", (long)pid);
    out->cpu_s = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
    out->rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return MR_OK;
}
