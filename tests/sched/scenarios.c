/* scenarios.c - four ways in which an order of jobs goes wrong.
 *
 * Four workers of 16 seats. Figures are of one seed each. */
#include "scenarios.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plant.h"

static const plant_conf four_workers = {
    .n_workers = 4,
    .seats = 16,
    .step_tokens = 512,
    .kv_tokens = 65536,
    .max_preemptions = 2,
    .max_wait_ms = 600000,
    .rules = "",
    .retry = {.max_attempts = 3, .base_ms = 1000, .max_ms = 1800000, .max_backoffs = 100}};

/* ---- jobs ---- */

static uint32_t between(sim *s, uint32_t lo, uint32_t hi) {
    return lo + sim_random(s, hi - lo + 1);
}

/* Milliseconds to the next arrival of a Poisson process. */
static double gap_ms(sim *s, double per_s) {
    const double u = (sim_random(s, 1000000) + 1) / 1000000.0;
    return -log(u) * 1000 / per_s;
}

typedef struct list {
    plant_job **jobs;
    size_t n, cap;
} list;

static void keep(list *l, plant_job *j) {
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 1024;
        l->jobs = realloc(l->jobs, l->cap * sizeof(plant_job *));
        MR_CHECK(l->jobs);
    }
    l->jobs[l->n++] = j;
}

static int by_size(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorts values. */
static double percentile(uint64_t *values, size_t n, double of) {
    if (n == 0) return 0;
    qsort(values, n, sizeof *values, by_size);
    const size_t at = (size_t)(of * (double)n);
    return (double)values[at < n ? at : n - 1];
}

/* From the record's arrival in Kafka to the first engine step that it takes part in. */
static double p99_wait_ms(const list *l) {
    uint64_t *waits = malloc((l->n + 1) * sizeof *waits);
    MR_CHECK(waits);
    for (size_t i = 0; i < l->n; i++) waits[i] = l->jobs[i]->started_ms - l->jobs[i]->arrived_ms;
    const double p99 = percentile(waits, l->n, 0.99);
    free(waits);
    return p99;
}

static uint64_t last_end_ms(const list *l) {
    uint64_t last = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->jobs[i]->ended_ms > last) last = l->jobs[i]->ended_ms;
    return last;
}

static bool all_ended(const list *l) {
    for (size_t i = 0; i < l->n; i++)
        if (!l->jobs[i]->ended_ms) return false;
    return true;
}

/* Runs until the last of them has ended. */
static void drain(plant *p, const list *l, uint64_t at_most_ms) {
    for (uint64_t t = p->s.now + 1000; !all_ended(l) && t < at_most_ms; t += 1000) plant_run(p, t);
}

/* Arrivals of a lane up to until_ms. */
static void submit_poisson(plant *p, list *l, mr_priority lane, double per_s, uint64_t until_ms,
                           uint32_t least, uint32_t most) {
    for (double t = gap_ms(&p->s, per_s); t < (double)until_ms; t += gap_ms(&p->s, per_s))
        keep(l, plant_submit(p, (uint64_t)t, lane, "all", between(&p->s, least, most),
                             between(&p->s, least / 2, most / 2), 100));
}

/* ---- a flood ---- */

enum { FLOOD_MS = 400000, FLOOD_END_MS = 4000000 };

typedef struct flood {
    double p99_ms, end_ms, displaced;
} flood;

/* The same high jobs each time that the seed is the same; low ones besides, or not. */
static flood run_flood(uint64_t seed, bool with_low, bool fifo) {
    plant_conf conf = four_workers;
    plant p;
    list high = {0}, low = {0};
    flood f = {0};

    conf.fifo = fifo;
    plant_open(&p, &conf, seed);
    submit_poisson(&p, &high, MR_PRIORITY_HIGH, 5, FLOOD_MS, 50, 400);
    if (with_low) submit_poisson(&p, &low, MR_PRIORITY_LOW, 30, FLOOD_MS, 100, 800);
    drain(&p, &high, FLOOD_END_MS);
    drain(&p, &low, FLOOD_END_MS);
    f.p99_ms = p99_wait_ms(&high);
    f.end_ms = (double)(last_end_ms(&low) > last_end_ms(&high) ? last_end_ms(&low)
                                                               : last_end_ms(&high));
    for (size_t i = 0; i < low.n; i++) f.displaced += low.jobs[i]->displaced;
    f.displaced /= (double)(high.n ? high.n : 1);
    plant_close(&p);
    free(high.jobs);
    free(low.jobs);
    return f;
}

static void priority(uint64_t seed, double *out) {
    const flood alone = run_flood(seed, false, false), both = run_flood(seed, true, false);
    const flood fifo = run_flood(seed, true, true);
    out[0] = alone.p99_ms;
    out[1] = both.p99_ms;
    out[2] = both.p99_ms / alone.p99_ms;
    out[3] = fifo.p99_ms;
    out[4] = 100 * (both.end_ms / fifo.end_ms - 1);
    out[5] = both.displaced;
}

/* ---- all lanes full ---- */

static void saturated(uint64_t seed, double *out) {
    enum { N = 3000, FROM_MS = 20000, UNTIL_MS = 80000 };
    plant p;
    list all = {0};
    uint64_t before[MR_PRIORITY_N], released = 0, ended = 0, low_ended = 0;

    plant_open(&p, &four_workers, seed);
    for (int i = 0; i < N * MR_PRIORITY_N; i++)
        keep(&all, plant_submit(&p, sim_random(&p.s, 1000), (mr_priority)(i % MR_PRIORITY_N),
                                "all", between(&p.s, 50, 400), between(&p.s, 25, 200), 100));
    plant_run(&p, FROM_MS);
    memcpy(before, p.n_released, sizeof before);
    plant_run(&p, UNTIL_MS);
    for (int l = 0; l < MR_PRIORITY_N; l++) released += p.n_released[l] - before[l];
    for (size_t i = 0; i < all.n; i++) {
        if (all.jobs[i]->ended_ms < FROM_MS) continue;
        ended++;
        low_ended += all.jobs[i]->lane == MR_PRIORITY_LOW;
    }
    out[0] = 100.0 * (double)(p.n_released[MR_PRIORITY_LOW] - before[MR_PRIORITY_LOW]) /
             (double)released;
    out[1] = 100.0 * (double)low_ended / (double)ended;
    plant_close(&p);
    free(all.jobs);
}

/* ---- tenants ---- */

enum { N_TENANTS = 3, FAIR_MS = 240000, WINDOW_S = 60, WARM_S = 20, AHEAD = 120 };

typedef struct shares {
    plant p;
    uint64_t rows[N_TENANTS][FAIR_MS / 1000]; /* of each second */
} shares;

static const char *const tenants[N_TENANTS] = {"ace", "bee", "cat"};
static const double due[N_TENANTS] = {0.25, 0.25, 0.5};

static int tenant_number(const plant_job *j) {
    for (int i = 0; i < N_TENANTS; i++)
        if (strcmp(j->e.job.tenant, tenants[i]) == 0) return i;
    return 0;
}

static void submit_for(shares *s, int tenant) {
    const uint32_t times = tenant == 1 ? 20 : 1; /* bee's prompts are so much longer */
    plant_submit(&s->p, 0, MR_PRIORITY_NORMAL, tenants[tenant], times * between(&s->p.s, 50, 150),
                 between(&s->p.s, 25, 175), between(&s->p.s, 50, 150));
}

static void on_released(void *owner, plant_job *j) {
    submit_for(owner, tenant_number(j)); /* its queue never ends */
}

static void on_rows(void *owner, plant_job *j, uint32_t rows) {
    shares *s = owner;
    const uint64_t second = s->p.s.now / 1000;
    if (second < FAIR_MS / 1000) s->rows[tenant_number(j)][second] += rows;
}

/* The largest distance from its share that a tenant had in any window, in percent of the share. */
static double worst_share(const shares *s) {
    double worst = 0;
    for (int from = WARM_S; from + WINDOW_S <= FAIR_MS / 1000; from++) {
        double had[N_TENANTS] = {0}, all = 0;
        for (int t = 0; t < N_TENANTS; t++)
            for (int i = from; i < from + WINDOW_S; i++) had[t] += (double)s->rows[t][i];
        for (int t = 0; t < N_TENANTS; t++) all += had[t];
        for (int t = 0; t < N_TENANTS; t++) {
            const double off = 100 * fabs(had[t] / all - due[t]) / due[t];
            if (off > worst) worst = off;
        }
    }
    return worst;
}

static void fairness(uint64_t seed, double *out) {
    shares *s = calloc(1, sizeof *s);
    plant_conf conf = four_workers;
    MR_CHECK(s);
    conf.max_wait_ms = 3000; /* a backlog in which nearly all jobs are old */
    conf.rules = "tenants: {ace: {weight: 1}, bee: {weight: 1}, cat: {weight: 2}}";
    conf.owner = s;
    conf.on_release = on_released;
    conf.on_rows = on_rows;
    plant_open(&s->p, &conf, seed);
    for (int i = 0; i < AHEAD * N_TENANTS; i++) submit_for(s, i % N_TENANTS);
    plant_run(&s->p, FAIR_MS);
    out[0] = worst_share(s);
    plant_close(&s->p);
    free(s);
}

/* ---- retries ---- */

/* A worker with all that it has, and then some: thousands come back within two seconds. A third
 * fails once more. */
static void retries(uint64_t seed, double *out) {
    enum { N = 7500, WITHIN_MS = 2000 };
    plant_conf conf = four_workers;
    plant p;
    list all = {0};
    uint64_t dead = 0;

    conf.retry.base_ms = 3000; /* three hops through the shortest topic, and a wait in memory */
    plant_open(&p, &conf, seed);
    for (int i = 0; i < N; i++) {
        plant_job *j = plant_submit_failed(&p, sim_random(&p.s, WITHIN_MS), between(&p.s, 10, 50),
                                           between(&p.s, 2, 6));
        j->faults = i % 3 == 0;
        keep(&all, j);
    }
    drain(&p, &all, 1000000);
    for (size_t i = 0; i < all.n; i++) dead += all.jobs[i]->dead || !all.jobs[i]->ended_ms;
    out[0] = (double)p.n_late;
    out[1] = (double)p.n_early;
    out[2] = percentile(p.late_ms, p.n_late, 0.99);
    out[3] = percentile(p.late_ms, p.n_late, 1);
    out[4] = (double)dead;
    plant_close(&p);
    free(all.jobs);
}

/* ---- no memory ---- */

enum { STORM_MS = 60000, STORM_LEN_MS = 10000, RECOVER_MS = 30000, LOOK_MS = 30000 };

typedef struct storm {
    plant p;
    uint64_t rows_before, rows_after;
} storm;

static void on_storm_rows(void *owner, plant_job *j, uint32_t rows) {
    storm *s = owner;
    const uint64_t now = s->p.s.now, back = STORM_MS + STORM_LEN_MS + RECOVER_MS;
    (void)j;
    if (now >= STORM_MS - LOOK_MS && now < STORM_MS) s->rows_before += rows;
    if (now >= back && now < back + LOOK_MS) s->rows_after += rows;
}

static void oom_storm(uint64_t seed, double *out) {
    storm *s = calloc(1, sizeof *s);
    plant_conf conf = four_workers;
    list all = {0};
    MR_CHECK(s);
    conf.oom_from_ms = STORM_MS;
    conf.oom_to_ms = STORM_MS + STORM_LEN_MS;
    conf.owner = s;
    conf.on_rows = on_storm_rows;
    plant_open(&s->p, &conf, seed);
    submit_poisson(&s->p, &all, MR_PRIORITY_NORMAL, 30, 150000, 100, 800);
    drain(&s->p, &all, 2000000);
    for (size_t i = 0; i < all.n; i++) {
        const plant_job *j = all.jobs[i];
        out[0] += !j->ended_ms || j->dead;
        out[1] += j->e.job.tries;
        out[2] += j->e.job.backoffs;
        if (j->e.job.backoffs > out[3]) out[3] = j->e.job.backoffs;
    }
    out[4] = 100.0 * (double)s->rows_after / (double)s->rows_before;
    plant_close(&s->p);
    free(all.jobs);
    free(s);
}

/* ---- all of them ---- */

const sched_scenario sched_scenarios[] = {
    {.name = "priority",
     .run = priority,
     .figures = {{"high_wait_unloaded_p99_ms", SCHED_ANY, 0},
                 {"high_wait_p99_ms", SCHED_ANY, 0},
                 {"high_wait_ratio", SCHED_AT_MOST, 2},
                 {"high_wait_fifo_p99_ms", SCHED_ANY, 0},
                 {"throughput_loss_pct", SCHED_AT_MOST, 3},
                 {"displaced_per_high_job", SCHED_ANY, 0}},
     .n_figures = 6},
    {.name = "saturated",
     .run = saturated,
     .figures = {{"low_released_pct", SCHED_AT_LEAST, 5}, {"low_ended_pct", SCHED_AT_LEAST, 5}},
     .n_figures = 2},
    {.name = "fairness",
     .run = fairness,
     .figures = {{"share_off_pct", SCHED_AT_MOST, 5}},
     .n_figures = 1},
    {.name = "retries",
     .run = retries,
     .figures = {{"retries", SCHED_AT_LEAST, 10000},
                 {"early", SCHED_AT_MOST, 0},
                 {"late_p99_ms", SCHED_AT_MOST, 250},
                 {"late_most_ms", SCHED_ANY, 0},
                 {"dead", SCHED_AT_MOST, 0}},
     .n_figures = 5},
    {.name = "oom_storm",
     .run = oom_storm,
     .figures = {{"not_ended", SCHED_AT_MOST, 0},
                 {"attempts_used", SCHED_AT_MOST, 0},
                 {"come_backs", SCHED_ANY, 0},
                 {"come_backs_of_one_job", SCHED_ANY, 0},
                 {"speed_30_s_later_pct", SCHED_AT_LEAST, 95}},
     .n_figures = 5},
};
const size_t sched_n_scenarios = sizeof sched_scenarios / sizeof *sched_scenarios;
