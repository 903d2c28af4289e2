/* sched_sim.c - does the order of jobs keep what docs/SCHEDULING.md promises?
 *
 * Goal: high jobs wait hardly longer under a flood of low ones, and the low ones still move, at
 * hardly any cost in throughput; tenants get tokens by weight, whatever their jobs look like; no
 * retry is early, or late by more than a quarter of a second; a storm in which nobody finds memory
 * costs no attempt and is soon forgotten. Method: scenarios.c on the plant of plant.h, from many seeds; each
 * figure has a bound that its worst seed must keep. One line of JSON for each scenario.
 *
 *     sched_sim [--seeds N] [--first SEED] [SCENARIO...] */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "millrace/error.h"
#include "scenarios.h"

enum { MAX_SEEDS = 100000 };

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* values are sorted by this. */
static bool print_figure(const sched_figure *f, double *values, size_t n) {
    const bool at_most = f->bound == SCHED_AT_MOST;
    qsort(values, n, sizeof *values, by_size);
    const double worst = at_most ? values[n - 1] : values[0];
    const bool kept = f->bound == SCHED_ANY || (at_most ? worst <= f->limit : worst >= f->limit);
    printf(",\"%s\":{\"least\":%.6g,\"median\":%.6g,\"most\":%.6g", f->name, values[0],
           values[n / 2], values[n - 1]);
    if (f->bound != SCHED_ANY)
        printf(",\"%s\":%g,\"kept\":%s", at_most ? "at_most" : "at_least", f->limit,
               kept ? "true" : "false");
    printf("}");
    return kept;
}

static bool run(const sched_scenario *s, uint64_t first, size_t n_seeds) {
    double out[SCHED_MAX_FIGURES];
    double *values = calloc(n_seeds * SCHED_MAX_FIGURES, sizeof *values);
    bool kept = true;

    MR_CHECK(values);
    for (size_t i = 0; i < n_seeds; i++) {
        memset(out, 0, sizeof out);
        s->run(first + i, out);
        for (size_t k = 0; k < s->n_figures; k++) values[k * n_seeds + i] = out[k];
    }
    printf("{\"scenario\":\"%s\",\"first_seed\":%" PRIu64 ",\"seeds\":%zu", s->name, first,
           n_seeds);
    for (size_t k = 0; k < s->n_figures; k++)
        kept &= print_figure(&s->figures[k], values + k * n_seeds, n_seeds);
    printf("}\n");
    fflush(stdout);
    free(values);
    return kept;
}

static bool is_wanted(const char *name, char **names, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return true;
    return n == 0;
}

int main(int argc, char **argv) {
    uint64_t first = 1;
    size_t n_seeds = 1000;
    bool kept = true;
    int i = 1;

    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0) n_seeds = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--first") == 0) first = strtoull(argv[i + 1], NULL, 10);
    }
    if (n_seeds == 0 || n_seeds > MAX_SEEDS) {
        fprintf(stderr, "usage: sched_sim [--seeds 1..%d] [--first SEED] [SCENARIO...]\n",
                MAX_SEEDS);
        return 64;
    }
    for (size_t k = 0; k < sched_n_scenarios; k++)
        if (is_wanted(sched_scenarios[k].name, argv + i, argc - i))
            kept &= run(&sched_scenarios[k], first, n_seeds);
    return kept ? 0 : 1;
}
