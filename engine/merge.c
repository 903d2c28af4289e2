/* merge.c - pair merging with a heap over a linked list.
 *
 * Searching the best pair anew after each merge is quadratic, and a megabyte without a blank is
 * one text here. So every pair that appears goes into a heap, ordered by (priority, position). A
 * merge leaves stale pairs behind: a symbol only ever grows to the right, so the bytes that a
 * symbol and its right neighbour cover together only grow, and a pair is alive exactly while that
 * number is what it was when the pair was pushed. */
#include "engine/merge.h"

#include <stdlib.h>

#define FIRST_CAP 64

void mr_merge_deinit(mr_merge *m) {
    free(m->syms);
    free(m->heap);
    *m = (mr_merge){0};
}

/* Room for one more item; false: out of memory. */
static bool grow(void **items, size_t n, size_t *cap, size_t item_bytes) {
    const size_t want = *cap ? *cap * 2 : FIRST_CAP;
    void *more;

    if (n < *cap) return true;
    if (want > SIZE_MAX / item_bytes || !(more = realloc(*items, want * item_bytes))) return false;
    *items = more;
    *cap = want;
    return true;
}

bool mr_merge_add(mr_merge *m, uint32_t begin, uint32_t len, int32_t id) {
    const uint32_t at = (uint32_t)m->n_syms;
    void *items = m->syms;

    if (!grow(&items, m->n_syms, &m->cap_syms, sizeof *m->syms)) return false;
    m->syms = items;
    m->syms[at] = (mr_symbol){begin, len, at ? at - 1 : MR_MERGE_END, MR_MERGE_END, id};
    if (at) m->syms[at - 1].next = at;
    m->n_syms++;
    return true;
}

static bool heap_push(mr_merge *m, mr_pair p) {
    size_t i = m->n_heap;
    void *items = m->heap;

    if (!grow(&items, m->n_heap, &m->cap_heap, sizeof *m->heap)) return false;
    m->heap = items;
    m->n_heap++;
    while (i > 0 && m->heap[(i - 1) / 2].order > p.order) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = p;
    return true;
}

static mr_pair heap_pop(mr_merge *m) {
    const mr_pair top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->n_heap) break;
        if (child + 1 < m->n_heap && m->heap[child + 1].order < m->heap[child].order) child++;
        if (m->heap[child].order >= last.order) break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* Pushes the pair of left and its right neighbour, if there is one. */
static bool offer(mr_merge *m, uint32_t left, mr_merge_rule *rule, const void *owner) {
    const mr_symbol *l, *r;
    uint32_t priority = 0;
    mr_pair p = {0};

    if (left == MR_MERGE_END || m->syms[left].next == MR_MERGE_END) return true;
    l = &m->syms[left];
    r = &m->syms[l->next];
    if (!rule(owner, l, r, &priority, &p.id)) return true;
    p.order = (uint64_t)priority << 32 | left;
    p.len = l->len + r->len;
    return heap_push(m, p);
}

bool mr_merge_run(mr_merge *m, mr_merge_rule *rule, const void *owner) {
    m->n_heap = 0;
    for (size_t i = 0; i + 1 < m->n_syms; i++)
        if (!offer(m, (uint32_t)i, rule, owner)) return false;
    while (m->n_heap > 0) {
        const mr_pair p = heap_pop(m);
        const uint32_t left = (uint32_t)p.order;
        mr_symbol *l = &m->syms[left], *r;

        if (l->len == 0 || l->next == MR_MERGE_END) continue;
        r = &m->syms[l->next];
        if (l->len + r->len != p.len) continue;
        l->len = p.len;
        l->id = p.id;
        l->next = r->next;
        r->len = 0;
        if (l->next != MR_MERGE_END) m->syms[l->next].prev = left;
        if (!offer(m, l->prev, rule, owner) || !offer(m, left, rule, owner)) return false;
    }
    return true;
}
