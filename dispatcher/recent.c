/* recent.c - a ring of ids, and chains through it by hash: each chain holds the places of the ring
 * whose ids share a bucket. A place that is used again leaves its old chain first. */
#include "dispatcher/recent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mr_recent {
    char ids[MR_RECENT_MAX][MR_JOB_ID_LEN + 1];       /* "": never used */
    int32_t next[MR_RECENT_MAX], head[MR_RECENT_MAX]; /* -1: end */
    size_t place;
};

/* FNV-1a, 32 bits. */
uint32_t mr_recent_hash(const char *job_id) {
    uint32_t h = 2166136261u;
    for (const char *s = job_id; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static size_t bucket_of(const char *job_id) {
    return mr_recent_hash(job_id) % MR_RECENT_MAX;
}

mr_status mr_recent_open(mr_recent **out, mr_err *err) {
    mr_recent *r = *out = calloc(1, sizeof *r);
    if (!r) return mr_fail(err, MR_ENOMEM, "cancelled ids: out of memory");
    memset(r->next, 0xff, sizeof r->next);
    memset(r->head, 0xff, sizeof r->head);
    return MR_OK;
}

void mr_recent_close(mr_recent *r) {
    free(r);
}

static void forget(mr_recent *r, size_t place) {
    if (!r->ids[place][0]) return;
    int32_t *at = &r->head[bucket_of(r->ids[place])];
    while (*at != (int32_t)place) at = &r->next[*at];
    *at = r->next[place];
}

void mr_recent_add(mr_recent *r, const char *job_id) {
    if (mr_recent_has(r, job_id)) return;
    const size_t place = r->place, bucket = bucket_of(job_id);
    forget(r, place);
    snprintf(r->ids[place], sizeof r->ids[0], "%s", job_id);
    r->next[place] = r->head[bucket];
    r->head[bucket] = (int32_t)place;
    r->place = (place + 1) % MR_RECENT_MAX;
}

bool mr_recent_has(const mr_recent *r, const char *job_id) {
    for (int32_t i = r->head[bucket_of(job_id)]; i >= 0; i = r->next[i])
        if (strcmp(r->ids[i], job_id) == 0) return true;
    return false;
}
