/* parts.c - see parts.h.
 *
 * A row is opened when its partition is first assigned and used again when it comes back; so there
 * are never more rows than partitions of the subscribed topics.
 *
 * The window bounds how far a partition runs ahead through full(), not through its row, which has
 * all places that there are: so only a hole wider than MR_OFFSETS_MAX_WINDOW (a log that was cut,
 * large aborted transactions) puts a record outside. The partition counts as full from then on, so
 * it stays at one for a caller that asks full() after each record. */
#include "base/parts.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROWS 16

typedef struct row {
    char *topic;
    int32_t partition;
    uint32_t epoch;
    bool assigned, known, dirty; /* known: offsets has its start */
    mr_offsets *offsets;
} row;

struct mr_parts {
    row *rows;
    int n, cap;
    size_t window;
};

mr_status mr_parts_open(mr_parts **out, size_t window, mr_err *err) {
    *out = NULL;
    if (window < MR_OFFSETS_MIN_WINDOW || window > MR_OFFSETS_MAX_WINDOW)
        return mr_fail(err, MR_EINVAL, "commit window is %zu; it must be %u..%u offsets", window,
                       MR_OFFSETS_MIN_WINDOW, MR_OFFSETS_MAX_WINDOW);
    mr_parts *p = calloc(1, sizeof *p);
    if (!p) return mr_fail(err, MR_ENOMEM, "partitions: out of memory");
    p->window = window;
    *out = p;
    return MR_OK;
}

void mr_parts_close(mr_parts *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) {
        free(p->rows[i].topic);
        mr_offsets_close(p->rows[i].offsets);
    }
    free(p->rows);
    free(p);
}

/* ---- rows ---- */

static int find_any(const mr_parts *p, const char *topic, int32_t partition) {
    for (int i = 0; i < p->n; i++)
        if (p->rows[i].partition == partition && strcmp(p->rows[i].topic, topic) == 0) return i;
    return -1;
}

static bool grow(mr_parts *p) {
    if (p->n < p->cap) return true;
    const int cap = p->cap ? 2 * p->cap : FIRST_ROWS;
    row *rows = realloc(p->rows, (size_t)cap * sizeof *rows);
    if (!rows) return false;
    p->rows = rows;
    p->cap = cap;
    return true;
}

static int add_row(mr_parts *p, const char *topic, int32_t partition, mr_err *err) {
    row r = {.partition = partition};
    if (grow(p) && (r.topic = strdup(topic)) &&
        mr_offsets_open(&r.offsets, MR_OFFSETS_MAX_WINDOW, NULL) == MR_OK) {
        p->rows[p->n] = r;
        return p->n++;
    }
    free(r.topic);
    mr_fail(err, MR_ENOMEM, "partition %d of %s: out of memory", (int)partition, topic);
    return -1;
}

int mr_parts_assign(mr_parts *p, const char *topic, int32_t partition, int64_t offset,
                    const char *metadata, size_t len, mr_err *refused, mr_err *err) {
    if (refused) *refused = (mr_err){.status = MR_OK};
    int i = find_any(p, topic, partition);
    if (i < 0) i = add_row(p, topic, partition, err);
    if (i < 0) return -1;
    row *r = &p->rows[i];
    r->epoch++;
    r->assigned = true;
    r->known = offset >= 0;
    r->dirty = false;
    if (r->known)
        (void)mr_offsets_restore(r->offsets, offset, metadata, metadata ? len : 0, refused);
    else
        mr_offsets_reset(r->offsets, -1);
    return i;
}

void mr_parts_revoke(mr_parts *p, int part) {
    p->rows[part].assigned = false;
}

int mr_parts_find(const mr_parts *p, const char *topic, int32_t partition) {
    const int i = find_any(p, topic, partition);
    return mr_parts_assigned(p, i) ? i : -1;
}

int mr_parts_count(const mr_parts *p) {
    return p->n;
}

bool mr_parts_assigned(const mr_parts *p, int part) {
    return part >= 0 && part < p->n && p->rows[part].assigned;
}

const char *mr_parts_topic(const mr_parts *p, int part) {
    return p->rows[part].topic;
}

int32_t mr_parts_partition(const mr_parts *p, int part) {
    return p->rows[part].partition;
}

bool mr_parts_holds(const mr_parts *p, mr_origin at) {
    return mr_parts_assigned(p, at.part) && p->rows[at.part].epoch == at.epoch;
}

/* ---- records ---- */

mr_status mr_parts_begin(mr_parts *p, int part, int64_t offset, mr_origin *out) {
    MR_CHECK(mr_parts_assigned(p, part));
    row *r = &p->rows[part];
    if (!r->known && offset >= 0) {
        mr_offsets_reset(r->offsets, offset);
        r->known = true;
    }
    *out = (mr_origin){part, r->epoch, offset};
    const mr_status st = mr_offsets_begin(r->offsets, offset);
    if (st != MR_ELIMIT) return st;
    mr_offsets_begin_far(r->offsets, offset);
    return MR_OK;
}

mr_origin mr_parts_origin(const mr_parts *p, int part, int64_t offset) {
    return (mr_origin){part, p->rows[part].epoch, offset};
}

bool mr_parts_finish(mr_parts *p, mr_origin at) {
    if (!mr_parts_holds(p, at)) return false;
    (void)mr_offsets_finish(p->rows[at.part].offsets, at.offset);
    p->rows[at.part].dirty = true;
    return true;
}

mr_status mr_parts_mark(mr_parts *p, mr_origin at) {
    if (!mr_parts_holds(p, at)) return MR_EINVAL;
    const mr_status st = mr_offsets_mark(p->rows[at.part].offsets, at.offset);
    if (st == MR_OK) p->rows[at.part].dirty = true;
    return st;
}

void mr_parts_unmark(mr_parts *p, mr_origin at, bool began) {
    if (!mr_parts_holds(p, at)) return;
    mr_offsets_unmark(p->rows[at.part].offsets, at.offset, began);
    p->rows[at.part].dirty = true;
}

bool mr_parts_was_started(const mr_parts *p, mr_origin at) {
    return mr_parts_holds(p, at) && mr_offsets_was_started(p->rows[at.part].offsets, at.offset);
}

unsigned mr_parts_deaths(const mr_parts *p, mr_origin at) {
    return mr_parts_holds(p, at) ? mr_offsets_deaths(p->rows[at.part].offsets, at.offset) : 0;
}

/* ---- windows and commits ---- */

bool mr_parts_full(const mr_parts *p, int part, bool paused) {
    const size_t most = paused ? p->window / 2 : p->window * 3 / 4;
    return mr_offsets_span(p->rows[part].offsets) >= (int64_t)most;
}

int64_t mr_parts_next(const mr_parts *p, int part) {
    const int64_t commit = mr_parts_commit(p, part, NULL, 0);
    return commit < 0 ? -1 : commit + mr_offsets_span(p->rows[part].offsets);
}

size_t mr_parts_pending(const mr_parts *p) {
    size_t n = 0;
    for (int i = 0; i < p->n; i++)
        if (p->rows[i].assigned) n += mr_offsets_pending(p->rows[i].offsets);
    return n;
}

int64_t mr_parts_commit(const mr_parts *p, int part, char *buf, size_t cap) {
    const row *r = &p->rows[part];
    const int64_t next = r->assigned ? mr_offsets_commit(r->offsets) : -1;
    if (buf && next < 0)
        *buf = '\0';
    else if (buf)
        (void)mr_offsets_encode(r->offsets, buf, cap);
    return next;
}

bool mr_parts_dirty(const mr_parts *p, int part) {
    return mr_parts_assigned(p, part) && p->rows[part].dirty;
}

void mr_parts_collected(mr_parts *p, int part) {
    p->rows[part].dirty = false;
}

void mr_parts_soil(mr_parts *p, int part) {
    p->rows[part].dirty = true;
}
