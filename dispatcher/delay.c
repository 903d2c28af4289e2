/* delay.c - a heap of entries, the earliest on top; of two that are due together the one that was
 * added first. */
#include "dispatcher/delay.h"

#include <stdlib.h>

struct mr_delay {
    mr_heap held; /* by the node that a waiting entry has for its age */
    size_t n;
    uint64_t arrivals;
};

static mr_entry *entry_of(const mr_heap_node *node) {
    return MR_HEAP_THING(node, mr_entry, by_age);
}

static bool before(const mr_heap_node *left, const mr_heap_node *right) {
    const mr_entry *a = entry_of(left), *b = entry_of(right);
    return a->ready_ms != b->ready_ms ? a->ready_ms < b->ready_ms : a->arrival < b->arrival;
}

mr_status mr_delay_open(mr_delay **out, mr_err *err) {
    mr_delay *d = *out = calloc(1, sizeof *d);
    if (!d) return mr_fail(err, MR_ENOMEM, "delay: out of memory");
    d->held.before = before;
    return MR_OK;
}

void mr_delay_close(mr_delay *d) {
    free(d);
}

void mr_delay_add(mr_delay *d, mr_entry *e, uint64_t ready_ms) {
    MR_CHECK(e->place == MR_PLACE_NONE);
    e->place = MR_PLACE_DELAY;
    e->ready_ms = ready_ms;
    e->arrival = d->arrivals++;
    mr_heap_add(&d->held, &e->by_age);
    d->n++;
}

void mr_delay_remove(mr_delay *d, mr_entry *e) {
    MR_CHECK(e->place == MR_PLACE_DELAY && d->n > 0);
    mr_heap_drop(&d->held, &e->by_age);
    e->place = MR_PLACE_NONE;
    d->n--;
}

mr_entry *mr_delay_pop(mr_delay *d, uint64_t now_ms) {
    if (mr_delay_next_ms(d) > now_ms || d->n == 0) return NULL;
    mr_entry *e = entry_of(d->held.top);
    mr_delay_remove(d, e);
    return e;
}

uint64_t mr_delay_next_ms(const mr_delay *d) {
    return d->held.top ? entry_of(d->held.top)->ready_ms : UINT64_MAX;
}

size_t mr_delay_len(const mr_delay *d) {
    return d->n;
}

int mr_delay_tier(uint64_t left_ms) {
    int tier = MR_TIER_N - 1;
    while (tier >= 0 && mr_tier_ms[tier] > left_ms) tier--;
    return tier;
}
