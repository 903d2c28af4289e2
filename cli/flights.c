/* flights.c - see flights.h. */
#include "cli/flights.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 256 };

static size_t bucket_of(const char *id, size_t n_buckets) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (const char *p = id; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return (size_t)(h ^ h >> 32) & (n_buckets - 1);
}

static void put(mr_flights *fl, mr_flight *f) {
    mr_flight **j = &fl->jobs[bucket_of(f->job_id, fl->n_buckets)];
    mr_flight **c = &fl->customs[bucket_of(f->custom_id, fl->n_buckets)];
    f->next_of_job = *j;
    f->next_of_custom = *c;
    *j = *c = f;
}

/* As many buckets as flights, at least. */
static bool make_room(mr_flights *fl) {
    if (fl->n < fl->n_buckets) return true;
    const size_t n = fl->n_buckets ? 2 * fl->n_buckets : FIRST_BUCKETS;
    mr_flight **jobs = calloc(n, sizeof(mr_flight *)), **customs = calloc(n, sizeof(mr_flight *));
    if (!jobs || !customs) {
        free(jobs);
        free(customs);
        return false;
    }
    free(fl->jobs);
    free(fl->customs);
    fl->jobs = jobs;
    fl->customs = customs;
    fl->n_buckets = n;
    for (mr_flight *f = fl->first; f; f = f->next) put(fl, f);
    return true;
}

static void link_in(mr_flights *fl, mr_flight *f, bool in_front) {
    f->prev = in_front ? NULL : fl->last;
    f->next = in_front ? fl->first : NULL;
    if (f->prev)
        f->prev->next = f;
    else
        fl->first = f;
    if (f->next)
        f->next->prev = f;
    else
        fl->last = f;
}

static void link_out(mr_flights *fl, mr_flight *f) {
    if (f->prev)
        f->prev->next = f->next;
    else
        fl->first = f->next;
    if (f->next)
        f->next->prev = f->prev;
    else
        fl->last = f->prev;
}

mr_flight *mr_flights_add(mr_flights *fl, const char *custom_id, const char *job_id, size_t bytes) {
    mr_flight *f = make_room(fl) ? calloc(1, sizeof *f) : NULL;
    if (!f) return NULL;
    f->custom_id = strdup(custom_id);
    if (!f->custom_id) {
        free(f);
        return NULL;
    }
    memcpy(f->job_id, job_id, sizeof f->job_id);
    f->bytes = bytes;
    f->at = -1;
    put(fl, f);
    link_in(fl, f, false);
    fl->n++;
    fl->n_bytes += bytes;
    return f;
}

mr_flight *mr_flights_find_job(const mr_flights *fl, const char *job_id) {
    mr_flight *f = fl->n ? fl->jobs[bucket_of(job_id, fl->n_buckets)] : NULL;
    while (f && strcmp(f->job_id, job_id) != 0) f = f->next_of_job;
    return f;
}

mr_flight *mr_flights_find_custom(const mr_flights *fl, const char *custom_id) {
    mr_flight *f = fl->n ? fl->customs[bucket_of(custom_id, fl->n_buckets)] : NULL;
    while (f && strcmp(f->custom_id, custom_id) != 0) f = f->next_of_custom;
    return f;
}

void mr_flights_set_need(mr_flights *fl, mr_flight *f, mr_flight_need need) {
    f->need = need;
    link_out(fl, f);
    link_in(fl, f, need != MR_FLIGHT_WAIT);
}

static void take_out(mr_flights *fl, mr_flight *f) {
    mr_flight **j = &fl->jobs[bucket_of(f->job_id, fl->n_buckets)];
    mr_flight **c = &fl->customs[bucket_of(f->custom_id, fl->n_buckets)];
    while (*j != f) j = &(*j)->next_of_job;
    while (*c != f) c = &(*c)->next_of_custom;
    *j = f->next_of_job;
    *c = f->next_of_custom;
}

void mr_flights_set_job(mr_flights *fl, mr_flight *f, const char *job_id) {
    take_out(fl, f);
    memcpy(f->job_id, job_id, sizeof f->job_id);
    put(fl, f);
}

void mr_flights_drop(mr_flights *fl, mr_flight *f) {
    take_out(fl, f);
    link_out(fl, f);
    fl->n--;
    fl->n_bytes -= f->bytes;
    free(f->custom_id);
    free(f);
}

void mr_flights_deinit(mr_flights *fl) {
    while (fl->first) mr_flights_drop(fl, fl->first);
    free(fl->jobs);
    free(fl->customs);
}
