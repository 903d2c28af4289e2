/* bench_figures.c - see bench_figures.h. */
#include "cli/bench_figures.h"

#include <inttypes.h>
#include <stdio.h>

void mr_bench_note_use(mr_bench_figures *f, const mr_bench_use *use, uint64_t seen, uint64_t n) {
    const double mib = (double)use->rss_bytes / (1 << 20);

    f->cpu_s = use->cpu_s;
    if (mib > f->most_mib) f->most_mib = mib;
    for (size_t i = 0; i < MR_BENCH_RSS_POINTS && seen > 0; i++)
        if (f->rss_mib[i] <= 0 && seen * (MR_BENCH_RSS_POINTS - 1) >= n * i) f->rss_mib[i] = mib;
}

void mr_bench_note_end(mr_bench_figures *f, const mr_bench_seen *seen, uint64_t n,
                       double before_s) {
    f->jobs = seen->n;
    f->missing = n - seen->n;
    f->twice = seen->twice;
    f->cpu_s -= before_s;
    const int64_t ms = seen->last_ms - seen->first_ms; /* 0: all of it in one millisecond */
    f->wall_s = (double)(ms > 0 ? ms : 1) / 1000;
    for (int i = 0; i < 2; i++) {
        f->append_ms[i] = mr_latency_percentile(&seen->append, i ? 99 : 50);
        f->seen_ms[i] = mr_latency_percentile(&seen->seen, i ? 99 : 50);
    }
}

static double per(const mr_bench_figures *f, double s) {
    return s > 0 ? (double)f->jobs / s : 0;
}

double mr_bench_per_s(const mr_bench_figures *f) {
    return per(f, f->wall_s);
}

static double per_cpu_s(const mr_bench_figures *f) {
    return per(f, f->cpu_s);
}

static double ratio(double a, double b) {
    return b > 0 ? a / b : 0;
}

static void print_json_head(const mr_bench_setup *s, const char *phase, const mr_bench_figures *f) {
    printf("{\"bench\":\"pipeline\",\"phase\":\"%s\",\"jobs\":%" PRIu64 ",\"missing\":%" PRIu64
           ",\"twice\":%" PRIu64 ",\"bytes\":%" PRId64 ",\"partitions\":%" PRId64
           ",\"commit_ms\":%" PRId64 ",\"jobs_per_s\":%.0f,\"cpu_s\":%.3f,\"jobs_per_cpu_s\":%.0f",
           phase, f->jobs, f->missing, f->twice, s->bytes, s->partitions, s->commit_ms,
           mr_bench_per_s(f), f->cpu_s, per_cpu_s(f));
}

static void print_json_rss(const mr_bench_figures *f) {
    printf(",\"rss_most_mib\":%.1f,\"rss_mib\":[", f->most_mib);
    for (int i = 0; i < MR_BENCH_RSS_POINTS; i++) printf("%s%.1f", i ? "," : "", f->rss_mib[i]);
    printf("]}\n");
    fflush(stdout);
}

void mr_bench_print_release(const mr_bench_setup *s, const mr_bench_figures *bare,
                            const mr_bench_figures *f) {
    const double of_bare = ratio(mr_bench_per_s(f), mr_bench_per_s(bare));
    const double of_cpu = ratio(per_cpu_s(f), per_cpu_s(bare));

    if (s->json) {
        print_json_head(s, "release", f);
        printf(",\"bare_jobs\":%" PRIu64 ",\"bare_jobs_per_s\":%.0f,\"of_bare\":%.3f"
               ",\"bare_cpu_s\":%.3f,\"bare_jobs_per_cpu_s\":%.0f,\"of_bare_cpu\":%.3f",
               bare->jobs, mr_bench_per_s(bare), of_bare, bare->cpu_s, per_cpu_s(bare), of_cpu);
        print_json_rss(f);
        return;
    }
    printf("release of %" PRIu64 " jobs of %" PRId64 " bytes, %" PRId64 " partitions\n"
           "                    dispatcher    bare loop\n"
           "  jobs/s          %12.0f %12.0f   %.0f %%\n"
           "  jobs/CPU s      %12.0f %12.0f   %.0f %%\n"
           "  CPU s           %12.2f %12.2f\n"
           "  RSS             %.1f MiB at most; at every tenth of the jobs",
           f->jobs, s->bytes, s->partitions, mr_bench_per_s(f), mr_bench_per_s(bare), 100 * of_bare,
           per_cpu_s(f), per_cpu_s(bare), 100 * of_cpu, f->cpu_s, bare->cpu_s, f->most_mib);
    for (int i = 0; i < MR_BENCH_RSS_POINTS; i++) printf(" %.1f", f->rss_mib[i]);
    printf("\n");
    fflush(stdout);
}

static void print_json_late(const char *whose, const mr_bench_figures *f) {
    printf(",\"%sappend_p50_ms\":%u,\"%sappend_p99_ms\":%u,\"%sseen_p50_ms\":%u"
           ",\"%sseen_p99_ms\":%u",
           whose, f->append_ms[0], whose, f->append_ms[1], whose, f->seen_ms[0], whose,
           f->seen_ms[1]);
}

static void print_late(const char *what, const mr_bench_figures *f) {
    printf("  %s: appended after %u ms (p50) %u ms (p99), seen committed after %u and %u ms\n",
           what, f->append_ms[0], f->append_ms[1], f->seen_ms[0], f->seen_ms[1]);
}

void mr_bench_print_run(const mr_bench_setup *s, const char *phase, const char *words,
                        const mr_bench_figures *f, const mr_bench_figures *bare) {
    if (s->json) {
        print_json_head(s, phase, f);
        if (f->asked_per_s > 0) printf(",\"asked_per_s\":%.0f", f->asked_per_s);
        if (f->asked_per_s > 0) print_json_late("", f);
        if (bare) print_json_late("bare_", bare);
        print_json_rss(f);
        return;
    }
    printf("%s\n  jobs/s %.0f, dispatcher's CPU %.2f s, %.0f jobs/CPU s\n", words,
           mr_bench_per_s(f), f->cpu_s, per_cpu_s(f));
    if (f->asked_per_s > 0) print_late("from the job's append", f);
    if (bare) print_late("through the bare loop", bare);
    fflush(stdout);
}
