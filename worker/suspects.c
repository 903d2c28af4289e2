/* suspects.c - one row per id; the next one is found by walking the rows.
 *
 * It is asked once per start, and a few thousand rows are walked in the time of one token. */
#include "worker/suspects.h"

#include <stdlib.h>

typedef enum place { NOWHERE, WAITING, RUNNING } place;

typedef struct row {
    place place;
    unsigned deaths;
    uint64_t arrival;
} row;

struct mr_suspects {
    uint32_t n;
    uint32_t n_waiting, n_running;
    uint32_t n_suspects; /* of both */
    uint64_t arrivals;
    row *rows; /* [n] */
};

mr_status mr_suspects_open(mr_suspects **out, uint32_t n_ids, mr_err *err) {
    mr_suspects *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s) s->rows = calloc(n_ids, sizeof *s->rows);
    if (!s || !s->rows) {
        mr_suspects_close(s);
        return mr_fail(err, MR_ENOMEM, "suspects: no memory for %u jobs", (unsigned)n_ids);
    }
    s->n = n_ids;
    *out = s;
    return MR_OK;
}

void mr_suspects_close(mr_suspects *s) {
    if (!s) return;
    free(s->rows);
    free(s);
}

static void move(mr_suspects *s, row *r, place to) {
    s->n_waiting += (uint32_t)(to == WAITING) - (uint32_t)(r->place == WAITING);
    s->n_running += (uint32_t)(to == RUNNING) - (uint32_t)(r->place == RUNNING);
    if (r->deaths > 0) s->n_suspects += (uint32_t)(to != NOWHERE) - (uint32_t)(r->place != NOWHERE);
    r->place = to;
}

void mr_suspects_add(mr_suspects *s, uint32_t id, unsigned deaths) {
    MR_CHECK(id < s->n && s->rows[id].place == NOWHERE);
    s->rows[id] = (row){.deaths = deaths, .arrival = s->arrivals++};
    move(s, &s->rows[id], WAITING);
}

void mr_suspects_wait(mr_suspects *s, uint32_t id) {
    MR_CHECK(id < s->n && s->rows[id].place == RUNNING);
    move(s, &s->rows[id], WAITING);
}

void mr_suspects_drop(mr_suspects *s, uint32_t id) {
    MR_CHECK(id < s->n);
    move(s, &s->rows[id], NOWHERE);
}

/* Suspects before others, few deaths before many, then arrival. */
static bool goes_before(const row *a, const row *b) {
    if ((a->deaths > 0) != (b->deaths > 0)) return a->deaths > 0;
    if (a->deaths != b->deaths) return a->deaths < b->deaths;
    return a->arrival < b->arrival;
}

bool mr_suspects_next(mr_suspects *s, uint32_t *id_out) {
    row *first = NULL;

    if (s->n_waiting == 0) return false;
    if (s->n_suspects > 0 && s->n_running > 0) return false; /* one runs, or waits for these */
    for (uint32_t i = 0; i < s->n; i++) {
        row *r = &s->rows[i];
        if (r->place == WAITING && (!first || goes_before(r, first))) first = r;
    }
    MR_CHECK(first);
    move(s, first, RUNNING);
    *id_out = (uint32_t)(first - s->rows);
    return true;
}

bool mr_suspects_waits(const mr_suspects *s, uint32_t id) {
    MR_CHECK(id < s->n);
    return s->rows[id].place == WAITING;
}

bool mr_suspects_busy(const mr_suspects *s) {
    return s->n_suspects > 0;
}
