/* own.c - see own.h. */
#include "client/own.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 64 };

/* The place of a job id, or the free one where it belongs. */
static mr_own *place_of(const mr_own_table *t, const char *job_id) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (const char *s = job_id; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    size_t i = (size_t)(h ^ h >> 32) & (t->cap - 1);
    while (t->places[i].job_id[0] && strcmp(t->places[i].job_id, job_id) != 0)
        i = (i + 1) & (t->cap - 1);
    return &t->places[i];
}

static mr_own *find_in(const mr_own_table *t, const char *job_id) {
    mr_own *o = t->cap ? place_of(t, job_id) : NULL;
    return o && o->job_id[0] ? o : NULL;
}

mr_own *mr_own_find(mr_own_jobs *own, const char *job_id) {
    mr_own *o = find_in(&own->young, job_id);
    return o ? o : find_in(&own->old, job_id);
}

static void drop_table(mr_own_table *t) {
    for (size_t i = 0; i < t->cap; i++) free(t->places[i].bytes);
    free(t->places);
    *t = (mr_own_table){.n = 0};
}

static bool make_room(mr_own_table *t) {
    if (2 * (t->n + 1) <= t->cap) return true;
    mr_own_table grown = {.n = t->n, .cap = t->cap ? 2 * t->cap : FIRST_CAP, .n_bytes = t->n_bytes};
    grown.places = calloc(grown.cap, sizeof *grown.places);
    if (!grown.places) return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->places[i].job_id[0]) *place_of(&grown, t->places[i].job_id) = t->places[i];
    free(t->places);
    *t = grown;
    return true;
}

mr_status mr_own_add(mr_own_jobs *own, const char *job_id, mr_err *err) {
    mr_own *o = mr_own_find(own, job_id);
    if (!o) {
        if (own->young.n >= MR_OWN_MAX || own->young.n_bytes >= MR_OWN_MAX_BYTES) {
            drop_table(&own->old);
            own->old = own->young;
            own->young = (mr_own_table){.n = 0};
        }
        if (!make_room(&own->young)) return mr_fail(err, MR_ENOMEM, "submit: out of memory");
        o = place_of(&own->young, job_id);
        memcpy(o->job_id, job_id, sizeof o->job_id);
        own->young.n++;
    }
    o->state = MR_OWN_WAITING;
    return MR_OK;
}

void mr_own_finish(mr_own_jobs *own, mr_own *o, mr_own_state state, mr_format format,
                   const void *bytes, size_t len) {
    mr_own_table *t = find_in(&own->young, o->job_id) ? &own->young : &own->old;
    char *copy;
    if (o->state != MR_OWN_WAITING || !(copy = malloc(len + 1))) return;
    memcpy(copy, bytes, len);
    copy[len] = '\0';
    t->n_bytes += len - o->len; /* a job that was submitted again may hold an earlier result */
    free(o->bytes);
    o->bytes = copy;
    o->len = len;
    o->format = format;
    o->state = state;
}

void mr_own_drop(mr_own_jobs *own) {
    drop_table(&own->young);
    drop_table(&own->old);
}
