/* sim.c - a heap of events by time, one random stream, one hash. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_LIMIT (256u << 20)

sim_bug sim_bug_planted;

struct sim_event {
    uint64_t at, order;
    sim_fn *fn;
    void *self;
    uint64_t arg;
};

void sim_init(sim *s, uint64_t seed) {
    *s = (sim){.seed = seed, .random = seed * 0x9E3779B97F4A7C15u, .trace = 0xcbf29ce484222325u};
    mr_arena_init(&s->arena, ARENA_LIMIT);
}

void sim_deinit(sim *s) {
    mr_arena_drop(&s->arena);
    free(s->heap);
}

/* ---- events ---- */

static bool earlier(const struct sim_event *a, const struct sim_event *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_after(sim *s, uint64_t ms, sim_fn *fn, void *self, uint64_t arg) {
    if (s->n_events == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 256;
        s->heap = realloc(s->heap, s->cap * sizeof *s->heap);
        MR_CHECK(s->heap);
    }
    const struct sim_event e = {s->now + ms, s->n_scheduled++, fn, self, arg};
    size_t i = s->n_events++;
    for (; i > 0 && earlier(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct sim_event pop(sim *s) {
    const struct sim_event first = s->heap[0], last = s->heap[--s->n_events];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_events; i = child) {
        if (child + 1 < s->n_events && earlier(&s->heap[child + 1], &s->heap[child])) child++;
        if (!earlier(&s->heap[child], &last)) break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return first;
}

bool sim_step(sim *s) {
    if (s->n_events == 0) return false;
    const struct sim_event e = pop(s);
    s->now = e.at;
    e.fn(e.self, e.arg);
    return true;
}

/* ---- chance and memory ---- */

uint32_t sim_random(sim *s, uint32_t n) { /* splitmix64 */
    uint64_t z = (s->random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return n ? (uint32_t)((z ^ (z >> 31)) % n) : 0;
}

bool sim_chance(sim *s, uint32_t thousandths) {
    return thousandths > 0 && sim_random(s, 1000) < thousandths;
}

void *sim_alloc(sim *s, size_t n) {
    void *p = mr_arena_calloc(&s->arena, 1, n);
    MR_CHECK(p);
    return p;
}

char *sim_copy(sim *s, const char *text) {
    char *copy = mr_arena_copy(&s->arena, text, strlen(text));
    MR_CHECK(copy);
    return copy;
}

/* ---- what happened ---- */

static void mix(sim *s, uint64_t x) {
    s->trace = (s->trace ^ x) * 0x100000001b3u;
    s->trace ^= s->trace >> 29;
}

void sim_note(sim *s, const char *who, int n, const char *what, int64_t a, int64_t b) {
    static int log = -1;
    if (log < 0) log = getenv("MR_SIM_LOG") != NULL;
    mix(s, s->now);
    for (const char *c = what; *c; c++) mix(s, (uint64_t)*c);
    mix(s, (uint64_t)n << 32 ^ (uint64_t)a);
    mix(s, (uint64_t)b);
    if (log)
        fprintf(stderr, "%7" PRIu64 " %s%d %s %" PRId64 " %" PRId64 "\n", s->now, who, n, what, a,
                b);
}

void sim_fail(sim *s, const char *fmt, ...) {
    va_list args;
    if (s->wrong[0]) return;
    va_start(args, fmt);
    vsnprintf(s->wrong, sizeof s->wrong, fmt, args);
    va_end(args);
    sim_note(s, "audit", 0, s->wrong, 0, 0);
}
