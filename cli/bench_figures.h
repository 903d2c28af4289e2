/* bench_figures.h - what `millrace bench pipeline` has measured, and how it is printed. */
#ifndef MR_CLI_BENCH_FIGURES_H
#define MR_CLI_BENCH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/bench_proc.h"
#include "cli/bench_reader.h"

#define MR_BENCH_RSS_POINTS 11 /* at the first job and at every tenth of them */

typedef struct mr_bench_figures { /* of one run of records through a process */
    uint64_t jobs, missing, twice;
    double wall_s;      /* from the first record in the target topic to the last */
    double cpu_s;       /* of the process */
    double asked_per_s; /* 0: a backlog, as fast as it goes */
    double rss_mib[MR_BENCH_RSS_POINTS], most_mib;
    uint32_t append_ms[2], seen_ms[2]; /* 50th and 99th percentile */
} mr_bench_figures;

typedef struct mr_bench_setup { /* what the figures depend on */
    int64_t bytes, partitions, commit_ms;
    bool json;
} mr_bench_setup;

/* The process uses so much after `seen` of n jobs. */
void mr_bench_note_use(mr_bench_figures *f, const mr_bench_use *use, uint64_t seen, uint64_t n);
/* All that was to be seen of n jobs has been; before_s: CPU time of the process at the beginning.
 */
void mr_bench_note_end(mr_bench_figures *f, const mr_bench_seen *seen, uint64_t n, double before_s);
double mr_bench_per_s(const mr_bench_figures *f);
/* To stdout, as text or as one line of JSON. bare: the same through the bare loop; NULL: none. */
void mr_bench_print_release(const mr_bench_setup *s, const mr_bench_figures *bare,
                            const mr_bench_figures *f);
void mr_bench_print_run(const mr_bench_setup *s, const char *phase, const char *words,
                        const mr_bench_figures *f, const mr_bench_figures *bare);

#endif
