/* split.c - see split.h.
 *
 * For a given number of blocks, taking as many layers as fit, place by place, finds a split if
 * there is one: a place that took fewer would only leave more to those behind it. More blocks never
 * make a split possible that fewer do not allow, nor do more layers on devices; so both numbers are
 * found by halving. */
#include "engine/split.h"

typedef struct attempt {
    mr_split split;
    uint32_t full;    /* the place that the layer at hand had to be put to, in vain */
    uint32_t end;     /* it should have held all layers before this one */
    uint64_t missing; /* bytes that it would need more, to hold all that is left; 0: it fits */
} attempt;

typedef struct ask {
    const mr_split_place *places;
    uint32_t n;
    const mr_split_wish *wish;
} ask;

static uint64_t need_of(const ask *a, const mr_split_place *p, mr_layers l, uint32_t n_blocks) {
    const bool first = l.first == 0, last = l.end == a->wish->n_layer;
    uint64_t need = p->work;

    if (l.first == l.end) return 0;
    for (uint32_t i = l.first; i < l.end; i++)
        need += p->layer_bytes[i] + n_blocks * p->block_bytes;
    if (first && !(last && p->tied)) need += p->first_bytes;
    if (last) need += p->last_bytes;
    return need;
}

/* One place's part: layers from `first` on, none at or behind end. */
static void fill(attempt *t, const ask *a, uint32_t place, uint32_t first, uint32_t end,
                 uint32_t n_blocks) {
    const mr_split_place *p = &a->places[place];
    mr_layers l = {first, first};

    while (l.end < end && need_of(a, p, (mr_layers){first, l.end + 1}, n_blocks) <= p->room)
        l.end++;
    t->split.at[place] = l;
    t->split.bytes[place] = need_of(a, p, l, n_blocks);
}

static attempt try_with(const ask *a, uint32_t on_devices, uint32_t n_blocks) {
    const uint32_t n_layer = a->wish->n_layer, border = n_layer - on_devices;
    attempt t = {.split.n_blocks = n_blocks};
    uint32_t at = 0;

    for (uint32_t i = 0; i < a->n; i++) {
        const bool is_cpu = i == 0 && a->wish->has_cpu;
        const uint32_t end = is_cpu ? border : n_layer;
        fill(&t, a, i, at, end, n_blocks);
        at = t.split.at[i].end;
        if (at == end || (!is_cpu && i + 1 < a->n)) continue;
        t.full = i;
        t.end = end;
        t.missing = need_of(a, &a->places[i], (mr_layers){t.split.at[i].first, end}, n_blocks) -
                    a->places[i].room;
        return t;
    }
    return t;
}

static unsigned long long mib(uint64_t bytes) {
    return bytes >> 20;
}

static mr_status refuse(const ask *a, const attempt *t, mr_err *err) {
    const mr_split_place *p = &a->places[t->full];
    const mr_layers l = {t->split.at[t->full].first, t->end};
    const uint64_t cache = (uint64_t)t->split.n_blocks * p->block_bytes * (l.end - l.first);
    const uint64_t need = p->room + t->missing;

    return mr_fail(err, MR_ENOMEM,
                   "model does not fit %.60s: layers %u to %u need %llu MiB of weights + %llu MiB "
                   "of KV cache (%u blocks) + %llu MiB of work memory = %llu MiB, and %llu MiB may "
                   "be used: %llu bytes are missing; lower kv_tokens, n_ctx or max_step_tokens, "
                   "take a smaller model, or leave layers to the processor (gpu_layers, device)",
                   p->name, l.first, l.end - 1, mib(need - cache - p->work), mib(cache),
                   t->split.n_blocks, mib(p->work), mib(need), mib(p->room),
                   (unsigned long long)t->missing);
}

/* The most layers on devices that any split has; 0: not even one. */
static uint32_t most_on_devices(const ask *a) {
    uint32_t lo = 0, hi = a->wish->n_layer;

    while (lo < hi) {
        const uint32_t mid = hi - (hi - lo) / 2;
        const attempt t = try_with(a, mid, a->wish->least_blocks);
        if (t.missing == 0 || (t.full == 0 && a->wish->has_cpu))
            lo = mid; /* where the processor is full, devices can be asked for no less */
        else
            hi = mid - 1;
    }
    return lo;
}

mr_status mr_split_plan(mr_split *out, const mr_split_place *places, uint32_t n,
                        const mr_split_wish *wish, mr_err *err) {
    const ask a = {places, n, wish};
    uint32_t on_devices = wish->on_devices, lo = wish->least_blocks, hi = wish->most_blocks;

    MR_CHECK(n > wish->has_cpu && n <= MR_SPLIT_MAX && lo <= hi);
    if (on_devices == MR_SPLIT_AUTO) on_devices = wish->has_cpu ? most_on_devices(&a) : UINT32_MAX;
    if (on_devices > wish->n_layer || !wish->has_cpu) on_devices = wish->n_layer;
    if (on_devices == 0) on_devices = 1; /* to be refused, with what one layer lacks */
    const attempt least = try_with(&a, on_devices, lo);
    if (least.missing > 0) return refuse(&a, &least, err);
    while (lo < hi) {
        const uint32_t mid = hi - (hi - lo) / 2;
        if (try_with(&a, on_devices, mid).missing == 0)
            lo = mid;
        else
            hi = mid - 1;
    }
    *out = try_with(&a, on_devices, lo).split;
    return MR_OK;
}
