/* process.h - what a process costs its machine, as the kernel counts it; rows under the names that
 * Prometheus's own clients use. Thread: any. */
#ifndef MR_BASE_PROCESS_H
#define MR_BASE_PROCESS_H

#include "base/metric.h"

typedef struct mr_process {
    double cpu_s;   /* user and system */
    double start_s; /* since the Unix epoch */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    uint64_t minor_faults, major_faults;
} mr_process;

/* p is the same each time, all zero before the first. What cannot be read (no /proc) stays. */
void mr_process_read(mr_process *p);

/* Rows of a view that has an mr_process as this member. */
#define MR_PROCESS_ROWS(view, member)                                                              \
    {.name = "process_cpu_seconds_total", .kind = MR_METRIC_COUNTER, .flags = MR_METRIC_PROCESS,   \
     MR_METRIC_AT(view, member.cpu_s), .help = "CPU time, user and system."},                      \
    {.name = "process_resident_memory_bytes", .kind = MR_METRIC_GAUGE,                             \
     .flags = MR_METRIC_PROCESS, MR_METRIC_AT(view, member.resident_bytes),                        \
     .help = "Memory in RAM."},                                                                    \
    {.name = "process_virtual_memory_bytes", .kind = MR_METRIC_GAUGE,                              \
     .flags = MR_METRIC_PROCESS, MR_METRIC_AT(view, member.virtual_bytes),                         \
     .help = "Address space."},                                                                    \
    {.name = "process_open_fds", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_PROCESS,              \
     MR_METRIC_AT(view, member.open_fds), .help = "Open file descriptors."},                       \
    {.name = "process_max_fds", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_PROCESS,               \
     MR_METRIC_AT(view, member.max_fds), .help = "Limit of open file descriptors."},               \
    {.name = "process_start_time_seconds", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_PROCESS,    \
     MR_METRIC_AT(view, member.start_s), .help = "When it started, since the Unix epoch."},        \
    {.name = "page_faults_total", .labels = "kind=\"minor\"", .kind = MR_METRIC_COUNTER,           \
     MR_METRIC_AT(view, member.minor_faults),                                                      \
     .help = "Page faults; major: the page was read from disk."},                                  \
    {.labels = "kind=\"major\"", MR_METRIC_AT(view, member.major_faults)}

#endif
