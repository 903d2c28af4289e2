/* placement.c - see placement.h. Small tables searched from the front: a cluster has tens of
 * workers, and a decision is made once per job. */
#include "dispatcher/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatcher/window.h"

#define MAX_OUTSTANDING                                                                            \
    (INT64_C(1) << 40) /* so that the sum over all partitions is a number, too */

typedef struct part { /* one partition of one work topic */
    int64_t position; /* next offset that its owner takes */
    int64_t end;      /* one past the newest offset known */
    int64_t holes;    /* offsets between the two that are no records, as far as we know */
    uint32_t unacked; /* on the way to Kafka */
    int owner;        /* worker, -1: nobody that we know */
    uint64_t idle_ms; /* since when its owner idles at this position; 0: it does not */
} part;

typedef struct model {
    char name[MR_JOB_MAX_NAME + 1];
    part *parts; /* [n_parts] */
    size_t n_parts;
} model;

typedef struct worker {
    char id[129];
    int model;
    uint64_t seen_ms;
    bool leaving;
    uint32_t free_slots;
    int32_t last_part; /* partitions take turns */
} worker;

struct mr_placement {
    uint32_t lookahead;
    uint64_t timeout_ms;
    model models[MR_MAX_MODELS];
    size_t n_models;
    worker workers[MR_MAX_WORKERS];
    size_t n_workers;
};

mr_status mr_placement_open(mr_placement **out, uint32_t lookahead, uint64_t timeout_ms,
                            mr_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return mr_fail(err, MR_ENOMEM, "placement: out of memory");
    (*out)->lookahead = lookahead;
    (*out)->timeout_ms = timeout_ms;
    return MR_OK;
}

void mr_placement_set(mr_placement *p, uint32_t lookahead, uint64_t timeout_ms) {
    p->lookahead = lookahead;
    p->timeout_ms = timeout_ms;
}

void mr_placement_close(mr_placement *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_models; i++) free(p->models[i].parts);
    free(p);
}

static int find_model(const mr_placement *p, const char *name) {
    for (size_t i = 0; i < p->n_models; i++)
        if (strcmp(p->models[i].name, name) == 0) return (int)i;
    return -1;
}

static bool long_gone(const mr_placement *p, const worker *w, uint64_t now_ms) {
    return w->seen_ms + 100 * p->timeout_ms < now_ms;
}

/* A model whose workers are all long gone, and to whom nothing is on the way; -1: none. */
static int unused_model(const mr_placement *p, uint64_t now_ms) {
    for (size_t i = 0; i < p->n_models; i++) {
        bool used = false;
        for (size_t k = 0; k < p->n_workers && !used; k++)
            used = p->workers[k].model == (int)i && !long_gone(p, &p->workers[k], now_ms);
        for (size_t k = 0; k < p->models[i].n_parts && !used; k++)
            used = p->models[i].parts[k].unacked > 0;
        if (!used) return (int)i;
    }
    return -1;
}

static int need_model(mr_placement *p, const char *name, uint64_t now_ms) {
    int i = find_model(p, name);
    if (i >= 0) return i;
    if (!name[0] || strlen(name) > MR_JOB_MAX_NAME) return -1;
    i = p->n_models < MR_MAX_MODELS ? (int)p->n_models++ : unused_model(p, now_ms);
    if (i < 0) return -1;
    free(p->models[i].parts);
    p->models[i] = (model){.parts = NULL};
    strcpy(p->models[i].name, name);
    return i;
}

/* A worker that reports under a known id keeps its row; the row of one long gone is used again. */
static int need_worker(mr_placement *p, const char *id, uint64_t now_ms) {
    int free_row = -1;
    for (size_t i = 0; i < p->n_workers; i++) {
        if (strcmp(p->workers[i].id, id) == 0) return (int)i;
        if (long_gone(p, &p->workers[i], now_ms)) free_row = (int)i;
    }
    if (!id[0] || strlen(id) >= sizeof p->workers[0].id) return -1;
    if (free_row < 0) {
        if (p->n_workers == MR_MAX_WORKERS) return -1;
        free_row = (int)p->n_workers++;
    }
    memset(&p->workers[free_row], 0, sizeof p->workers[0]);
    strcpy(p->workers[free_row].id, id);
    return free_row;
}

static part *need_part(model *m, int32_t partition) {
    if (partition < 0 || partition >= MR_MAX_PARTS) return NULL;
    if ((size_t)partition >= m->n_parts) {
        const size_t n = (size_t)partition + 1;
        part *grown = realloc(m->parts, n * sizeof *grown);
        if (!grown) return NULL;
        for (size_t i = m->n_parts; i < n; i++) grown[i] = (part){.owner = -1};
        m->parts = grown;
        m->n_parts = n;
    }
    return &m->parts[partition];
}

static void forget_owner(mr_placement *p, int who) {
    for (size_t i = 0; i < p->n_models; i++)
        for (size_t k = 0; k < p->models[i].n_parts; k++)
            if (p->models[i].parts[k].owner == who) p->models[i].parts[k].owner = -1;
}

static bool idle(const mr_heartbeat *h) {
    return h->running == 0 && h->waiting == 0 && h->free_slots >= h->max_slots;
}

static void note_position(const mr_placement *p, part *t, const mr_heartbeat *h, int64_t position,
                          uint64_t now_ms) {
    const bool stands = idle(h) && position == t->position && t->unacked == 0 && t->end > position;
    if (!stands)
        t->idle_ms = 0;
    else if (!t->idle_ms)
        t->idle_ms = now_ms;
    else if (now_ms - t->idle_ms >= p->timeout_ms)
        t->end = position;
    /* A position may go back: a new owner starts at what was committed, and what lies between
     * comes to it once more, so the end stays. */
    t->position = position;
    if (t->end < position) t->end = position;
    if (t->holes > (t->end - position) / 2) t->holes = (t->end - position) / 2; /* at most */
}

mr_status mr_placement_report(mr_placement *p, const mr_heartbeat *h, uint64_t now_ms) {
    for (size_t i = 0; i < h->n_parts; i++)
        if (h->parts[i].partition < 0 || h->parts[i].partition >= MR_MAX_PARTS ||
            h->parts[i].position < 0)
            return MR_EINVAL;
    const int m = need_model(p, h->model, now_ms), w = need_worker(p, h->worker, now_ms);
    if (m < 0 || w < 0) return MR_ELIMIT;

    forget_owner(p, w);
    worker *row = &p->workers[w];
    row->model = m;
    row->seen_ms = now_ms;
    row->leaving = h->leaving;
    row->free_slots = h->free_slots;
    for (size_t i = 0; i < h->n_parts; i++) {
        part *t = need_part(&p->models[m], h->parts[i].partition);
        if (!t) return MR_ELIMIT;
        note_position(p, t, h, h->parts[i].position, now_ms);
        if (!h->leaving) t->owner = w;
    }
    return MR_OK;
}

static bool live(const mr_placement *p, const worker *w, uint64_t now_ms) {
    return !w->leaving && w->seen_ms + p->timeout_ms >= now_ms;
}

static int64_t outstanding(const part *t) {
    const int64_t behind = t->end - t->position - t->holes;
    return (behind < MAX_OUTSTANDING ? behind : MAX_OUTSTANDING) + t->unacked;
}

static int64_t room_of(const mr_placement *p, int who, uint64_t now_ms) {
    const worker *w = &p->workers[who];
    const model *m = &p->models[w->model];
    int64_t taken = 0;
    bool owns = false;

    if (!live(p, w, now_ms)) return 0;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].owner != who) continue;
        owns = true;
        taken += outstanding(&m->parts[i]);
    }
    const int64_t room = (int64_t)w->free_slots + p->lookahead - taken;
    return owns && room > 0 ? room : 0;
}

/* The worker's partition with the least on the way; they take turns among equals. */
static int32_t pick_part(mr_placement *p, int who) {
    worker *w = &p->workers[who];
    const model *m = &p->models[w->model];
    int32_t best = -1;

    for (size_t k = 1; k <= m->n_parts; k++) {
        const size_t i = ((size_t)w->last_part + k) % m->n_parts;
        if (m->parts[i].owner != who) continue;
        if (best < 0 || outstanding(&m->parts[i]) < outstanding(&m->parts[best])) best = (int32_t)i;
    }
    w->last_part = best;
    return best;
}

int32_t mr_placement_take(mr_placement *p, const char *name, uint64_t now_ms) {
    const int m = find_model(p, name);
    int best = -1;
    int64_t most = 0;

    for (size_t i = 0; m >= 0 && i < p->n_workers; i++) {
        if (p->workers[i].model != m) continue;
        const int64_t room = room_of(p, (int)i, now_ms);
        if (room > most) {
            most = room;
            best = (int)i;
        }
    }
    if (best < 0) return -1;
    const int32_t partition = pick_part(p, best);
    p->models[m].parts[partition].unacked++;
    return partition;
}

static part *on_the_way(mr_placement *p, const char *name, int32_t partition) {
    const int m = find_model(p, name);
    MR_CHECK(m >= 0 && partition >= 0 && (size_t)partition < p->models[m].n_parts);
    part *t = &p->models[m].parts[partition];
    MR_CHECK(t->unacked > 0);
    t->unacked--;
    return t;
}

void mr_placement_released(mr_placement *p, const char *name, int32_t partition, int64_t offset) {
    part *t = on_the_way(p, name, partition);
    if (t->end > offset) return;
    t->holes += t->end < offset; /* each transaction leaves a marker behind its records */
    t->end = offset + 1;
}

void mr_placement_failed(mr_placement *p, const char *name, int32_t partition) {
    (void)on_the_way(p, name, partition);
}

bool mr_placement_knows(const mr_placement *p, const char *name) {
    return find_model(p, name) >= 0;
}

const char *mr_placement_only_model(const mr_placement *p) {
    return p->n_models == 1 ? p->models[0].name : NULL;
}

void mr_placement_models(const mr_placement *p, char *buf, size_t cap) {
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < p->n_models && used < cap; i++)
        used += (size_t)snprintf(buf + used, cap - used, "%s%s", i ? ", " : "", p->models[i].name);
}

size_t mr_placement_live(const mr_placement *p, uint64_t now_ms) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_workers; i++) n += live(p, &p->workers[i], now_ms);
    return n;
}

size_t mr_placement_room(const mr_placement *p, uint64_t now_ms) {
    size_t room = 0;
    for (size_t i = 0; i < p->n_workers; i++) room += (size_t)room_of(p, (int)i, now_ms);
    return room;
}
