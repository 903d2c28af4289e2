/* recordings.c - a small table, looked through from its beginning. */
#include "engine/cuda/recordings.h"

#define LEAST_ITEMS 64

uint32_t mr_rows_padded(uint32_t n, uint32_t most) {
    uint32_t step = 1;

    while (step * 8 < n) step *= 2; /* 1, 2, 3 .. 8, 10, 12, 14, 16, 20 .. */
    const uint32_t padded = (n + step - 1) / step * step;
    return padded < most ? padded : most;
}

uint32_t mr_items_padded(uint32_t n) {
    uint32_t padded = LEAST_ITEMS;

    while (padded < n) padded *= 2;
    return padded;
}

static bool same(const mr_pass_kind *a, const mr_pass_kind *b) {
    return a->n == b->n && a->n_items == b->n_items && a->has_records == b->has_records;
}

static mr_recording *place(mr_recordings *r) {
    mr_recording *oldest = &r->all[0];

    if (r->n < MR_MAX_RECORDINGS) return &r->all[r->n++];
    for (uint32_t i = 1; i < r->n; i++)
        if (r->all[i].used < oldest->used) oldest = &r->all[i];
    (void)r->d->calls->wait(r->d, NULL); /* it may be at work; a failure is said by the next wait */
    r->d->calls->forget(r->d, oldest->made);
    return oldest;
}

mr_recording *mr_recordings_find(mr_recordings *r, mr_pass_kind kind, bool *is_new) {
    mr_recording *found = NULL;

    for (uint32_t i = 0; i < r->n && !found; i++)
        if (same(&r->all[i].kind, &kind)) found = &r->all[i];
    *is_new = !found;
    if (!found) {
        found = place(r);
        *found = (mr_recording){.kind = kind};
    }
    found->used = ++r->n_used;
    return found;
}

void mr_recordings_drop(mr_recordings *r) {
    for (uint32_t i = 0; i < r->n; i++) r->d->calls->forget(r->d, r->all[i].made);
    r->n = 0;
}
