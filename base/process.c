/* process.c - see process.h. /proc/self/statm and stat, getrusage, getrlimit; proc(5). */
#include "base/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static size_t read_file(const char *path, char *text, size_t cap) {
    FILE *f = fopen(path, "re");
    const size_t n = f ? fread(text, 1, cap - 1, f) : 0;

    if (f) fclose(f);
    text[n] = 0;
    return n;
}

static void read_memory(mr_process *p) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t all = 0, resident = 0;
    char text[128];

    read_file("/proc/self/statm", text, sizeof text);
    if (sscanf(text, "%" SCNu64 " %" SCNu64, &all, &resident) != 2) return;
    p->virtual_bytes = all * page;
    p->resident_bytes = resident * page;
}

static double now_s(clockid_t clock) {
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Field 22 of stat, in ticks since the machine started; the name in field 2 may hold anything. */
static void read_start(mr_process *p) {
    uint64_t ticks = 0;
    char text[1024];
    const char *at;

    if (p->start_s > 0) return; /* the difference of the clocks wanders, the start does not */
    read_file("/proc/self/stat", text, sizeof text);
    if (!(at = strrchr(text, ')'))) return;
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %" SCNu64, &ticks) != 1) return;
    p->start_s = now_s(CLOCK_REALTIME) - now_s(CLOCK_BOOTTIME) +
                 (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static uint64_t count_fds(void) {
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!d) return 0;
    for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* without the one that counted */
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void mr_process_read(mr_process *p) {
    struct rusage use;
    struct rlimit fds;

    read_memory(p);
    read_start(p);
    p->open_fds = count_fds();
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0) p->max_fds = (uint64_t)fds.rlim_cur;
    if (getrusage(RUSAGE_SELF, &use) != 0) return;
    p->cpu_s = seconds(use.ru_utime) + seconds(use.ru_stime);
    p->minor_faults = (uint64_t)use.ru_minflt;
    p->major_faults = (uint64_t)use.ru_majflt;
}
