/* progress.c - see progress.h.
 *
 * A window of bits cannot span a hole that is wider than itself (a log that was cut, a large
 * aborted transaction). A record behind such a hole, with unfinished ones before it, is a stray: it
 * is handled, but stands outside the window, and until all strays are finished nothing moves past
 * the first one. The partition counts as full meanwhile, so strays stay few. */
#include "dispatcher/progress.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/offsets.h"

enum { COMMIT_TIMEOUT_MS = 5000, COMMIT_BATCH = 64, DOUBT_MS = 5000 };

typedef struct row {
    char *topic;
    int32_t partition;
    uint32_t epoch;
    bool assigned, paused, started;
    mr_offsets *offsets;
    int64_t newest, committed;
    int64_t stray; /* the first one, while n_strays > 0 */
    size_t n_strays;
} row;

struct mr_progress {
    row *rows;
    int n, cap;
    bool doubt;
    uint64_t doubt_ms; /* since when */
};

mr_status mr_progress_open(mr_progress **out, mr_err *err) {
    *out = calloc(1, sizeof **out);
    return *out ? MR_OK : mr_fail(err, MR_ENOMEM, "progress: out of memory");
}

void mr_progress_close(mr_progress *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) {
        free(p->rows[i].topic);
        mr_offsets_close(p->rows[i].offsets);
    }
    free(p->rows);
    free(p);
}

static int find_any(const mr_progress *p, const char *topic, int32_t partition) {
    for (int i = 0; i < p->n; i++)
        if (p->rows[i].partition == partition && strcmp(p->rows[i].topic, topic) == 0) return i;
    return -1;
}

int mr_progress_find(const mr_progress *p, const char *topic, int32_t partition) {
    const int i = find_any(p, topic, partition);
    return i >= 0 && p->rows[i].assigned ? i : -1;
}

static int add_row(mr_progress *p, const char *topic, int32_t partition) {
    row r = {.partition = partition};
    if (p->n == p->cap) {
        const int cap = p->cap ? 2 * p->cap : 16;
        row *grown = realloc(p->rows, (size_t)cap * sizeof *grown);
        if (!grown) return -1;
        p->rows = grown;
        p->cap = cap;
    }
    r.topic = strdup(topic);
    if (!r.topic || mr_offsets_open(&r.offsets, MR_PROGRESS_WINDOW, NULL) != MR_OK) {
        free(r.topic);
        return -1;
    }
    p->rows[p->n] = r;
    return p->n++;
}

int mr_progress_assign(mr_progress *p, const char *topic, int32_t partition, int64_t offset) {
    int i = find_any(p, topic, partition);
    if (i < 0) i = add_row(p, topic, partition);
    if (i < 0) return -1;
    row *r = &p->rows[i];
    r->epoch++;
    r->assigned = true;
    r->paused = false;
    r->started = offset >= 0;
    r->newest = r->committed = offset;
    r->n_strays = 0;
    if (r->started) mr_offsets_reset(r->offsets, offset);
    return i;
}

void mr_progress_revoke(mr_progress *p, int part) {
    p->rows[part].assigned = false;
}

int mr_progress_count(const mr_progress *p) {
    return p->n;
}

bool mr_progress_assigned(const mr_progress *p, int part) {
    return part >= 0 && part < p->n && p->rows[part].assigned;
}

const char *mr_progress_topic(const mr_progress *p, int part) {
    return p->rows[part].topic;
}

int32_t mr_progress_partition(const mr_progress *p, int part) {
    return p->rows[part].partition;
}

mr_status mr_progress_begin(mr_progress *p, int part, int64_t offset, mr_origin *out) {
    row *r = &p->rows[part];
    if (!r->started) {
        mr_offsets_reset(r->offsets, offset);
        r->started = true;
    }
    *out = (mr_origin){part, r->epoch, offset};
    mr_status st = r->n_strays > 0 ? MR_ELIMIT : mr_offsets_begin(r->offsets, offset);
    if (st == MR_ELIMIT) {
        if (offset <= r->newest) return MR_EINVAL;
        if (r->n_strays++ == 0) r->stray = offset;
        st = MR_OK;
    }
    if (st == MR_OK) r->newest = offset;
    return st;
}

mr_origin mr_progress_origin(const mr_progress *p, int part, int64_t offset) {
    return (mr_origin){part, p->rows[part].epoch, offset};
}

bool mr_progress_finish(mr_progress *p, mr_origin at) {
    row *r = &p->rows[at.part];
    if (!r->assigned || r->epoch != at.epoch) return false;
    if (r->n_strays > 0 && at.offset >= r->stray)
        r->n_strays--;
    else
        (void)mr_offsets_finish(r->offsets, at.offset);
    return true;
}

bool mr_progress_full(const mr_progress *p, int part) {
    const row *r = &p->rows[part];
    if (r->n_strays > 0) return true;
    if (!r->started || mr_offsets_pending(r->offsets) == 0)
        return false; /* the next one may be anywhere */
    const int64_t span = r->newest + 1 - mr_offsets_commit(r->offsets);
    return span >= (r->paused ? MR_PROGRESS_WINDOW / 2 : MR_PROGRESS_WINDOW * 3 / 4);
}

int64_t mr_progress_next(const mr_progress *p, int part) {
    const row *r = &p->rows[part];
    return r->assigned && r->started ? mr_offsets_commit(r->offsets) : -1;
}

void mr_progress_set_paused(mr_progress *p, mr_kafka_consumer *c, int part, bool paused) {
    row *r = &p->rows[part];
    mr_err err;
    if (!r->assigned || r->paused == paused) return;
    const mr_status st = paused ? mr_kafka_pause(c, r->topic, r->partition, &err)
                                : mr_kafka_resume(c, r->topic, r->partition, &err);
    if (st != MR_OK)
        mr_log(MR_LOG_WARN, "progress", paused ? "cannot pause" : "cannot resume",
               "topic=%s part=%d err=" MR_Q, r->topic, r->partition, err.text);
    else
        r->paused = paused;
}

static bool commit_batch(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, bool sync) {
    mr_err err;
    if (n == 0) return true;
    const mr_status st = sync ? mr_kafka_commit_sync(c, tp, n, COMMIT_TIMEOUT_MS, &err)
                              : mr_kafka_commit(c, tp, n, &err);
    if (st == MR_OK) return true;
    mr_log(MR_LOG_WARN, "progress", "offsets not committed, a restart reads them again",
           "n=%zu err=" MR_Q, n, err.text);
    return false;
}

void mr_progress_commit(mr_progress *p, mr_kafka_consumer *c, bool sync) {
    const bool all = p->doubt && (sync || mr_clock_mono_ms() - p->doubt_ms >= DOUBT_MS);
    mr_kafka_tp tp[COMMIT_BATCH];
    size_t n = 0;
    bool ok = true;

    if (all) p->doubt = false;
    for (int i = 0; ok && i < p->n; i++) {
        row *r = &p->rows[i];
        const int64_t next = mr_progress_next(p, i);
        if (next < 0 || (!all && next <= r->committed)) continue;
        tp[n++] = (mr_kafka_tp){r->topic, r->partition, next};
        r->committed = next;
        if (n < COMMIT_BATCH) continue;
        ok = commit_batch(c, tp, n, sync);
        n = 0;
    }
    if (ok) ok = commit_batch(c, tp, n, sync);
    if (!ok) mr_progress_doubt(p);
}

void mr_progress_doubt(mr_progress *p) {
    if (p->doubt) return;
    p->doubt = true;
    p->doubt_ms = mr_clock_mono_ms();
}
