/* scenarios.h - what is asked of the order of jobs: arrivals, figures, bounds. */
#ifndef MR_TESTS_SCHED_SCENARIOS_H
#define MR_TESTS_SCHED_SCENARIOS_H

#include <stddef.h>
#include <stdint.h>

#define SCHED_MAX_FIGURES 8

typedef enum sched_bound { SCHED_ANY, SCHED_AT_MOST, SCHED_AT_LEAST } sched_bound;

typedef struct sched_figure {
    const char *name;
    sched_bound bound;
    double limit;
} sched_figure;

typedef struct sched_scenario {
    const char *name;
    void (*run)(uint64_t seed, double *out); /* [n_figures] */
    sched_figure figures[SCHED_MAX_FIGURES];
    size_t n_figures;
} sched_scenario;

extern const sched_scenario sched_scenarios[];
extern const size_t sched_n_scenarios;

#endif
