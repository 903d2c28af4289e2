/* offsets.c - a ring of bits, one per offset from the oldest unfinished to the newest begun.
 *
 *      base                     next
 *       |                        |
 *   .... 0 1 1 0 1 ....... 1 0 0 ?      1: finished, 0: its job runs
 *
 * Everything before base is finished, nothing from next on has begun. finish() sets a bit and moves
 * base over the set bits that now lead; each bit is set and passed once, so the cost per offset is
 * constant. The ring has a power of two places and at least `window`, so offset & mask is its
 * place.
 *
 * After a crash offsets from base on are delivered again: at least once, never less.
 * Limit: window. One slow job can fill it while others end; then begin says MR_ELIMIT and the
 * caller pauses the partition. */
#include "base/offsets.h"

#include <stdlib.h>
#include <string.h>

#define MIN_WINDOW 64u
#define MAX_WINDOW 65536u

struct mr_offsets {
    int64_t base, next; /* -1: not known yet */
    size_t window, mask, pending;
    bool begun; /* since the last reset */
    uint64_t bits[];
};

static bool bit(const mr_offsets *o, int64_t off) {
    const size_t i = (size_t)off & o->mask;
    return o->bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(mr_offsets *o, int64_t off, bool on) {
    const size_t i = (size_t)off & o->mask;
    const uint64_t one = 1ull << (i % 64);
    o->bits[i / 64] = on ? o->bits[i / 64] | one : o->bits[i / 64] & ~one;
}

mr_status mr_offsets_open(mr_offsets **out, size_t window, mr_err *err) {
    *out = NULL;
    if (window < MIN_WINDOW || window > MAX_WINDOW)
        return mr_fail(err, MR_EINVAL, "commit window is %zu; it must be %u..%u offsets", window,
                       MIN_WINDOW, MAX_WINDOW);
    size_t places = MIN_WINDOW;
    while (places < window) places *= 2;

    mr_offsets *o = calloc(1, sizeof *o + places / 8);
    if (!o) return mr_fail(err, MR_ENOMEM, "commit window of %zu offsets: no memory", window);
    o->window = window;
    o->mask = places - 1;
    mr_offsets_reset(o, -1);
    *out = o;
    return MR_OK;
}

void mr_offsets_close(mr_offsets *o) {
    free(o);
}

void mr_offsets_reset(mr_offsets *o, int64_t next) {
    memset(o->bits, 0, (o->mask + 1) / 8);
    o->base = o->next = next < 0 ? -1 : next;
    o->pending = 0;
    o->begun = false;
}

mr_status mr_offsets_begin(mr_offsets *o, int64_t off) {
    if (off < 0 || off < o->next) return MR_EINVAL;
    if (o->pending == 0) {
        o->base = o->next = off; /* all before is finished, however far away it was */
    } else if ((uint64_t)(off - o->base) >= o->window) {
        return MR_ELIMIT;
    }
    while (o->next < off) set_bit(o, o->next++, true); /* holes: never delivered */
    set_bit(o, o->next++, false);
    o->pending++;
    o->begun = true;
    return MR_OK;
}

int64_t mr_offsets_finish(mr_offsets *o, int64_t off) {
    const bool is_pending = o->begun && off >= o->base && off < o->next && !bit(o, off);
    if (is_pending) {
        set_bit(o, off, true);
        o->pending--;
        while (o->base < o->next && bit(o, o->base)) o->base++;
    }
    return mr_offsets_commit(o);
}

int64_t mr_offsets_commit(const mr_offsets *o) {
    return o->begun ? o->base : -1;
}

size_t mr_offsets_pending(const mr_offsets *o) {
    return o->pending;
}
