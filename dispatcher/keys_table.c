/* keys_table.c - see keys_table.h.
 *
 * One array of slots. A slot is in a chain of those whose digests share a bucket, and in the list
 * of its partition, oldest first: index records of a partition come in order of time, or nearly
 * (clocks of two dispatchers differ), so what has expired stands in front. Links are indices, so
 * that the array may move when it grows. */
#include "dispatcher/keys_table.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

enum { FIRST_SLOTS = 1024 };

typedef struct slot {
    mr_digest digest;
    mr_key_holder holder;
    uint32_t chain; /* next of the bucket, or next free slot */
    uint32_t older, newer;
    int32_t partition;
} slot;

typedef struct line { /* the keys of one partition */
    uint32_t oldest, newest;
} line;

struct mr_keys_table {
    mr_keys_table_conf conf;
    slot *slots;       /* [cap] */
    uint32_t *buckets; /* [n_buckets], a power of two */
    size_t cap, n_buckets, len;
    uint32_t free; /* chain of slots that are not in use */
    uint64_t forgotten;
    line lines[]; /* [n_partitions] */
};

mr_status mr_keys_table_open(mr_keys_table **out, const mr_keys_table_conf *conf, mr_err *err) {
    const size_t n = (size_t)conf->n_partitions;
    mr_keys_table *t = *out = calloc(1, sizeof *t + n * sizeof t->lines[0]);
    if (!t) return mr_fail(err, MR_ENOMEM, "idempotency keys: out of memory");
    t->conf = *conf;
    t->free = NONE;
    memset(t->lines, 0xff, n * sizeof t->lines[0]); /* NONE */
    return MR_OK;
}

void mr_keys_table_close(mr_keys_table *t) {
    if (!t) return;
    free(t->slots);
    free(t->buckets);
    free(t);
}

/* ---- finding ---- */

static uint32_t *bucket_of(const mr_keys_table *t, mr_digest d) {
    return &t->buckets[d.lo & (t->n_buckets - 1)];
}

static uint32_t find(const mr_keys_table *t, mr_digest d) {
    if (t->len == 0) return NONE;
    uint32_t i = *bucket_of(t, d);
    while (i != NONE && (t->slots[i].digest.lo != d.lo || t->slots[i].digest.hi != d.hi))
        i = t->slots[i].chain;
    return i;
}

static bool is_expired(const mr_keys_table *t, const slot *s, uint64_t now_ms) {
    return s->holder.time_ms + t->conf.ttl_ms <= now_ms;
}

const mr_key_holder *mr_keys_table_find(const mr_keys_table *t, const void *name, size_t len,
                                        uint64_t now_ms) {
    const uint32_t i = find(t, mr_siphash(t->conf.secret, name, len));
    if (i == NONE || is_expired(t, &t->slots[i], now_ms)) return NULL;
    return &t->slots[i].holder;
}

/* ---- slots ---- */

static void line_add(mr_keys_table *t, uint32_t i) {
    slot *s = &t->slots[i];
    line *l = &t->lines[s->partition];
    s->older = l->newest;
    s->newer = NONE;
    if (l->newest == NONE)
        l->oldest = i;
    else
        t->slots[l->newest].newer = i;
    l->newest = i;
}

static void line_drop(mr_keys_table *t, uint32_t i) {
    const slot *s = &t->slots[i];
    line *l = &t->lines[s->partition];
    *(s->older == NONE ? &l->oldest : &t->slots[s->older].newer) = s->newer;
    *(s->newer == NONE ? &l->newest : &t->slots[s->newer].older) = s->older;
}

static void drop(mr_keys_table *t, uint32_t i) {
    uint32_t *at = bucket_of(t, t->slots[i].digest);
    while (*at != i) at = &t->slots[*at].chain;
    *at = t->slots[i].chain;
    line_drop(t, i);
    t->slots[i].chain = t->free;
    t->free = i;
    if (--t->len > 0) return;
    free(t->slots);
    free(t->buckets);
    t->slots = NULL;
    t->buckets = NULL;
    t->cap = t->n_buckets = 0;
    t->free = NONE;
}

static bool rehash(mr_keys_table *t, size_t n_buckets) {
    uint32_t *buckets = malloc(n_buckets * sizeof *buckets);
    if (!buckets) return false;
    memset(buckets, 0xff, n_buckets * sizeof *buckets); /* NONE */
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n_buckets;
    for (uint32_t i = 0; i < t->len; i++) { /* called when all slots are in use */
        uint32_t *head = bucket_of(t, t->slots[i].digest);
        t->slots[i].chain = *head;
        *head = i;
    }
    return true;
}

static bool grow(mr_keys_table *t) {
    size_t cap = t->cap ? 2 * t->cap : FIRST_SLOTS, n_buckets = FIRST_SLOTS;
    if (cap > t->conf.max) cap = t->conf.max;
    if (cap == t->cap) return false;
    while (2 * n_buckets <= cap) n_buckets *= 2;
    slot *slots = realloc(t->slots, cap * sizeof *slots);
    if (!slots) return false;
    t->slots = slots;
    if (n_buckets != t->n_buckets && !rehash(t, n_buckets)) return false;
    for (size_t i = cap; i-- > t->cap;) {
        slots[i].chain = t->free;
        t->free = (uint32_t)i;
    }
    t->cap = cap;
    return true;
}

static uint32_t oldest_of_all(const mr_keys_table *t) {
    uint32_t best = NONE;
    for (int32_t p = 0; p < t->conf.n_partitions; p++) {
        const uint32_t i = t->lines[p].oldest;
        if (i == NONE) continue;
        if (best == NONE || t->slots[i].holder.time_ms < t->slots[best].holder.time_ms) best = i;
    }
    return best;
}

static uint32_t take_slot(mr_keys_table *t, uint64_t now_ms) {
    if (t->free == NONE && !grow(t)) {
        const uint32_t oldest = oldest_of_all(t);
        if (oldest == NONE) return NONE;
        t->forgotten += !is_expired(t, &t->slots[oldest], now_ms);
        drop(t, oldest);
        if (t->free == NONE && !grow(t)) return NONE; /* it was the only one */
    }
    const uint32_t i = t->free;
    t->free = t->slots[i].chain;
    return i;
}

/* ---- changes ---- */

static void drop_expired(mr_keys_table *t, int32_t partition, uint64_t now_ms) {
    for (uint32_t i; (i = t->lines[partition].oldest) != NONE;) {
        if (!is_expired(t, &t->slots[i], now_ms)) return;
        drop(t, i);
    }
}

mr_status mr_keys_table_put(mr_keys_table *t, int32_t partition, const void *name, size_t len,
                            const mr_key_holder *holder, uint64_t now_ms) {
    const mr_digest d = mr_siphash(t->conf.secret, name, len);
    const uint32_t former = find(t, d);

    MR_CHECK(partition >= 0 && partition < t->conf.n_partitions);
    if (former != NONE) drop(t, former);
    drop_expired(t, partition, now_ms);
    const uint32_t i = take_slot(t, now_ms);
    if (i == NONE) return MR_ENOMEM;
    uint32_t *head = bucket_of(t, d);
    t->slots[i] = (slot){.digest = d, .holder = *holder, .chain = *head, .partition = partition};
    *head = i;
    line_add(t, i);
    t->len++;
    return MR_OK;
}

/* NONE: this job has not the key. job_id NULL: any. */
static uint32_t find_holder(const mr_keys_table *t, const void *name, size_t len,
                            const char *job_id) {
    const uint32_t i = find(t, mr_siphash(t->conf.secret, name, len));
    return i != NONE && job_id && strcmp(t->slots[i].holder.job_id, job_id) != 0 ? NONE : i;
}

void mr_keys_table_keep(mr_keys_table *t, const void *name, size_t len, const char *job_id) {
    const uint32_t i = find_holder(t, name, len, job_id);
    if (i != NONE) t->slots[i].holder.pending = false;
}

void mr_keys_table_drop(mr_keys_table *t, const void *name, size_t len, const char *job_id) {
    const uint32_t i = find_holder(t, name, len, job_id);
    if (i != NONE) drop(t, i);
}

void mr_keys_table_drop_partition(mr_keys_table *t, int32_t partition) {
    while (t->lines[partition].oldest != NONE) drop(t, t->lines[partition].oldest);
}

size_t mr_keys_table_len(const mr_keys_table *t) {
    return t->len;
}

uint64_t mr_keys_table_forgotten(const mr_keys_table *t) {
    return t->forgotten;
}
