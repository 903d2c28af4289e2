/* roll.c - see roll.h.
 *
 * Every job passes by here, so what is looked through for each stands close together: hashes of
 * ids, and ranks, which say both who comes first in a list (the smallest) and who makes room (the
 * largest). */
#include "dispatcher/roll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND_SHIFT 60

static uint64_t hash_of(const char *id) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (; *id; id++) h = (h ^ (unsigned char)*id) * 1099511628211u;
    return h;
}

/* MR_ROLL_JOBS: it is not there. */
static size_t find(const mr_roll *r, uint64_t hash, const char *id) {
    for (size_t i = 0; i < r->n; i++)
        if (r->hash[i] == hash && strcmp(r->jobs[i].job_id, id) == 0) return i;
    return MR_ROLL_JOBS;
}

static size_t place_for_one(mr_roll *r) {
    uint64_t last = 0;
    size_t place = 0;
    if (r->n < MR_ROLL_JOBS) return r->n++;
    for (size_t i = 0; i < MR_ROLL_JOBS; i++) last = r->rank[i] > last ? r->rank[i] : last;
    while (r->rank[place] != last) place++; /* two short loops are faster than one */
    return place;
}

/* By kind, then the one that was heard of last. */
static uint64_t rank_of(mr_roll_kind kind, uint64_t heard) {
    return (uint64_t)kind << KIND_SHIFT | (((uint64_t)1 << KIND_SHIFT) - 1 - heard);
}

void mr_roll_note(mr_roll *r, const char *job_id, const char *model, const char *tenant,
                  const char *state, mr_roll_kind kind) {
    const uint64_t hash = hash_of(job_id);
    size_t i = find(r, hash, job_id);
    if (i == MR_ROLL_JOBS) i = place_for_one(r);
    mr_roll_job *j = &r->jobs[i];
    r->hash[i] = hash;
    r->rank[i] = rank_of(kind, ++r->n_heard);
    snprintf(j->job_id, sizeof j->job_id, "%s", job_id);
    snprintf(j->model, sizeof j->model, "%s", model);
    snprintf(j->tenant, sizeof j->tenant, "%s", tenant);
    j->state = state;
}

void mr_roll_end(mr_roll *r, const char *job_id, const char *state) {
    const size_t i = find(r, hash_of(job_id), job_id);
    if (i == MR_ROLL_JOBS) return;
    r->jobs[i].state = state;
    r->rank[i] = rank_of(MR_ROLL_ENDED, ++r->n_heard);
}

const mr_roll_job *mr_roll_find(const mr_roll *r, const char *job_id) {
    const size_t i = find(r, hash_of(job_id), job_id);
    return i == MR_ROLL_JOBS ? NULL : &r->jobs[i];
}

typedef struct ranked {
    uint64_t rank;
    const mr_roll_job *job;
} ranked;

static int in_order(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

size_t mr_roll_list(const mr_roll *r, const mr_roll_job **out, size_t cap) {
    ranked all[MR_ROLL_JOBS];
    const size_t n = r->n < cap ? r->n : cap;
    for (size_t i = 0; i < r->n; i++) all[i] = (ranked){r->rank[i], &r->jobs[i]};
    qsort(all, r->n, sizeof all[0], in_order);
    for (size_t i = 0; i < n; i++) out[i] = all[i].job;
    return n;
}
