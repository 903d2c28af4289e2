/* placement.c - see placement.h.
 *
 * Small tables searched from the front: a cluster has tens of workers, and a decision is made once
 * per job. What is on the way is counted per partition, since partitions change hands, and its sum
 * is kept per worker: whatever changes a partition takes it out of its owner's sum and puts it in
 * again.
 *
 * Of several dispatchers none knows what the others have on the way, but for what lies before its
 * own newest release. So each keeps its own count within its part of the worker's room. As workers
 * take what was released, room comes back to all: nobody's part lies idle for longer than a
 * heartbeat. */
#include "dispatcher/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatcher/window.h"

#define MAX_OUTSTANDING                                                                            \
    (INT64_C(1) << 40) /* so that the sum over all partitions is a number, too */
#define MAX_OWN 4096   /* releases to one partition that are counted as ours */
#define TURN_MS 100    /* see pick_part() */

typedef struct part { /* one partition of one work topic */
    int64_t position; /* next offset that its owner takes */
    int64_t end;      /* one past the newest offset known */
    int64_t holes;    /* offsets between the two that are no records, as far as we know */
    uint32_t unacked; /* on the way to Kafka */
    int owner;        /* worker, -1: nobody that we know */
    uint64_t idle_ms; /* since when its owner idles at this position; 0: it does not */
    int64_t *own;     /* [n_own] offsets of our own releases from position on */
    size_t n_own, own_cap;
} part;

typedef struct model {
    char name[MR_JOB_MAX_NAME + 1];
    uint64_t seen_ms;
    part *parts; /* [n_parts] */
    size_t n_parts;
} model;

typedef struct worker {
    char id[129];
    int model; /* -1: it gave way to another one */
    uint64_t seen_ms;
    bool leaving;
    uint32_t free_slots, max_slots, displaceable;
    uint32_t piled_up; /* jobs that wait in it beyond those that it keeps ready */
    uint32_t holds; /* tokens of one job */
    uint64_t prefixes[MR_HEARTBEAT_MAX_PREFIXES];
    size_t n_prefixes;
    int32_t last_part;  /* partitions take turns, */
    uint64_t turn_ms;   /* each for TURN_MS from here on */
    uint64_t last_turn; /* and so do workers */
    size_t n_owned;     /* partitions; and the sums over them: */
    int64_t taken, own;
} worker;

struct mr_placement {
    uint32_t lookahead;
    uint64_t timeout_ms;
    size_t n_dispatchers;
    bool (*waits)(void *owner, const char *model); /* NULL: not asked */
    void *owner;
    uint64_t turn;
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
    (*out)->n_dispatchers = 1;
    return MR_OK;
}

void mr_placement_ask(mr_placement *p, bool (*waits)(void *owner, const char *model),
                      void *owner) {
    p->waits = waits;
    p->owner = owner;
}

void mr_placement_set(mr_placement *p, uint32_t lookahead, uint64_t timeout_ms) {
    p->lookahead = lookahead;
    p->timeout_ms = timeout_ms;
}

void mr_placement_share(mr_placement *p, size_t n_dispatchers) {
    p->n_dispatchers = n_dispatchers ? n_dispatchers : 1;
}

static int64_t outstanding(const part *t) {
    const int64_t behind = t->end - t->position - t->holes;
    return (behind < MAX_OUTSTANDING ? behind : MAX_OUTSTANDING) + t->unacked;
}

/* Around each change of a partition: sign -1 before, 1 behind it. */
static void count(mr_placement *p, const part *t, int sign) {
    if (t->owner < 0) return;
    p->workers[t->owner].taken += sign * outstanding(t);
    p->workers[t->owner].own += sign * ((int64_t)t->n_own + t->unacked);
}

static void give(mr_placement *p, part *t, int owner) {
    count(p, t, -1);
    if (t->owner >= 0) p->workers[t->owner].n_owned--;
    t->owner = owner;
    if (t->owner >= 0) p->workers[t->owner].n_owned++;
    count(p, t, 1);
}

static void forget_parts(mr_placement *p, model *m) {
    for (size_t i = 0; i < m->n_parts; i++) {
        give(p, &m->parts[i], -1);
        free(m->parts[i].own);
    }
    free(m->parts);
    m->parts = NULL;
    m->n_parts = 0;
}

void mr_placement_close(mr_placement *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_models; i++) forget_parts(p, &p->models[i]);
    free(p);
}

static int find_model(const mr_placement *p, const char *name) {
    for (size_t i = 0; i < p->n_models; i++)
        if (strcmp(p->models[i].name, name) == 0) return (int)i;
    return -1;
}

static bool live(const mr_placement *p, const worker *w, uint64_t now_ms) {
    return !w->leaving && w->seen_ms + p->timeout_ms >= now_ms;
}

/* It has a live worker, something is on its way to it, or jobs wait for it. */
static bool is_used(const mr_placement *p, int m, uint64_t now_ms) {
    for (size_t i = 0; i < p->n_workers; i++)
        if (p->workers[i].model == m && live(p, &p->workers[i], now_ms)) return true;
    for (size_t i = 0; i < p->models[m].n_parts; i++)
        if (p->models[m].parts[i].unacked > 0) return true;
    return p->waits && p->waits(p->owner, p->models[m].name);
}

/* The one that was heard of least lately; -1: all are used. */
static int unused_model(const mr_placement *p, uint64_t now_ms) {
    int oldest = -1;
    for (int i = 0; i < (int)p->n_models; i++) {
        if (oldest >= 0 && p->models[i].seen_ms >= p->models[oldest].seen_ms) continue;
        if (!is_used(p, i, now_ms)) oldest = i;
    }
    return oldest;
}

static void give_way(mr_placement *p, int m) {
    forget_parts(p, &p->models[m]);
    for (size_t i = 0; i < p->n_workers; i++)
        if (p->workers[i].model == m) p->workers[i].model = -1;
}

static int need_model(mr_placement *p, const char *name, uint64_t now_ms) {
    int i = find_model(p, name);
    if (i >= 0) return i;
    if (!name[0] || strlen(name) > MR_JOB_MAX_NAME) return -1;
    if (p->n_models < MR_MAX_MODELS)
        i = (int)p->n_models++;
    else if ((i = unused_model(p, now_ms)) >= 0)
        give_way(p, i);
    if (i >= 0) strcpy(p->models[i].name, name);
    return i;
}

static void forget_owner(mr_placement *p, int who) {
    for (size_t i = 0; i < p->n_models; i++)
        for (size_t k = 0; k < p->models[i].n_parts; k++)
            if (p->models[i].parts[k].owner == who) give(p, &p->models[i].parts[k], -1);
}

/* A worker that reports under a known id keeps its row. What is known of partitions is theirs, so a
 * silent one whose row was given away loses nothing. */
static int need_worker(mr_placement *p, const char *id, uint64_t now_ms) {
    int row = -1; /* of the one that was heard of least lately, of those that do not live */
    for (size_t i = 0; i < p->n_workers; i++) {
        const worker *w = &p->workers[i];
        if (strcmp(w->id, id) == 0) return (int)i;
        if (!live(p, w, now_ms) && (row < 0 || w->seen_ms < p->workers[row].seen_ms)) row = (int)i;
    }
    if (!id[0] || strlen(id) >= sizeof p->workers[0].id) return -1;
    if (row < 0) {
        if (p->n_workers == MR_MAX_WORKERS) return -1;
        row = (int)p->n_workers++;
    }
    forget_owner(p, row);
    memset(&p->workers[row], 0, sizeof p->workers[0]);
    strcpy(p->workers[row].id, id);
    return row;
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

static bool idle(const mr_heartbeat *h) {
    return h->running == 0 && h->waiting == 0 && h->free_slots >= h->max_slots;
}

static void drop_own(part *t, int64_t before) {
    size_t kept = 0;
    for (size_t i = 0; i < t->n_own; i++)
        if (t->own[i] >= before) t->own[kept++] = t->own[i];
    t->n_own = kept;
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
    drop_own(t, t->end > position ? position : INT64_MAX);
    if (t->holes > (t->end - position) / 2) t->holes = (t->end - position) / 2; /* at most */
}

/* A figure of 0 is one that the worker did not tell. */
static uint32_t tokens_held(const mr_heartbeat *h) {
    const uint32_t ctx = h->n_ctx ? h->n_ctx : UINT32_MAX;
    return h->kv_tokens_total && h->kv_tokens_total < ctx ? (uint32_t)h->kv_tokens_total : ctx;
}

/* A worker keeps some jobs ready for the next free seats. More wait in it when it had to let in all
 * that lay before a high job, and when jobs were displaced: would each heartbeat make room for more
 * of them, its slots would fill up, and the next high job would stand outside. */
static uint32_t piled_up(const mr_heartbeat *h) {
    const uint32_t ready = MR_WORKER_AHEAD(h->max_slots);
    return h->free_slots == 0 && h->waiting > ready ? h->waiting - ready : 0;
}

static void note_worker(worker *w, const mr_heartbeat *h, int m, uint64_t now_ms) {
    w->model = m;
    w->seen_ms = now_ms;
    w->leaving = h->leaving;
    w->free_slots = h->free_slots;
    w->max_slots = h->max_slots;
    w->displaceable = h->displaceable;
    w->piled_up = piled_up(h);
    w->holds = tokens_held(h);
    w->n_prefixes =
        h->n_prefixes < MR_HEARTBEAT_MAX_PREFIXES ? h->n_prefixes : MR_HEARTBEAT_MAX_PREFIXES;
    if (w->n_prefixes) memcpy(w->prefixes, h->prefixes, w->n_prefixes * sizeof *w->prefixes);
}

mr_status mr_placement_report(mr_placement *p, const mr_heartbeat *h, uint64_t now_ms) {
    for (size_t i = 0; i < h->n_parts; i++)
        if (h->parts[i].partition < 0 || h->parts[i].partition >= MR_MAX_PARTS ||
            h->parts[i].position < 0)
            return MR_EINVAL;
    const int m = need_model(p, h->model, now_ms), w = need_worker(p, h->worker, now_ms);
    if (m < 0 || w < 0) return MR_ELIMIT;

    forget_owner(p, w);
    p->models[m].seen_ms = now_ms;
    note_worker(&p->workers[w], h, m, now_ms);
    for (size_t i = 0; i < h->n_parts; i++) {
        part *t = need_part(&p->models[m], h->parts[i].partition);
        if (!t) return MR_ELIMIT;
        count(p, t, -1);
        note_position(p, t, h, h->parts[i].position, now_ms);
        count(p, t, 1);
        if (!h->leaving) give(p, t, w);
    }
    return MR_OK;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Jobs of the lane that we may release to a worker now. */
static int64_t room_of(const mr_placement *p, const worker *w, mr_priority lane, uint64_t now_ms) {
    if (w->n_owned == 0 || !live(p, w, now_ms)) return 0;
    const int64_t ahead = p->lookahead > w->piled_up ? p->lookahead - w->piled_up : 0;
    const int64_t all = (int64_t)w->free_slots + ahead +
                        (lane == MR_PRIORITY_HIGH ? (int64_t)w->displaceable : 0);
    int64_t room = all - w->taken;
    if (p->n_dispatchers > 1) {
        const int64_t ours = all / (int64_t)p->n_dispatchers;
        room = smaller(room, (ours > 0 ? ours : 1) - w->own);
    }
    return room > 0 ? room : 0;
}

static bool is_of(const model *m, int32_t partition, int who) {
    return partition >= 0 && (size_t)partition < m->n_parts && m->parts[partition].owner == who;
}

/* The worker's partition with the least on the way; they take turns among equals. A turn lasts for
 * some transactions' time: each partition that one of them touches costs it a request and a marker,
 * and the worker takes from all of them anyway. */
static int32_t pick_part(mr_placement *p, int who, uint64_t now_ms) {
    worker *w = &p->workers[who];
    const model *m = &p->models[w->model];
    int32_t best = -1;

    if (now_ms - w->turn_ms < TURN_MS && is_of(m, w->last_part, who)) return w->last_part;
    for (size_t k = 1; k <= m->n_parts; k++) {
        const size_t i = ((size_t)w->last_part + k) % m->n_parts;
        if (m->parts[i].owner != who) continue;
        if (best < 0 || outstanding(&m->parts[i]) < outstanding(&m->parts[best])) best = (int32_t)i;
    }
    w->last_part = best;
    w->turn_ms = now_ms;
    return best;
}

/* ---- which worker ---- */

/* How soon a job would run: what makes the difference for one of lane high. */
typedef enum start { START_LATER, START_DISPLACES, START_NOW } start;

static start start_of(const worker *w, mr_priority lane) {
    const int64_t seats = (int64_t)w->free_slots - w->taken;
    if (seats > 0) return START_NOW;
    return lane == MR_PRIORITY_HIGH && seats + w->displaceable > 0 ? START_DISPLACES : START_LATER;
}

/* Digests are chained: who has one has computed all before it. */
static size_t cached_of(const worker *w, const mr_ask *ask) {
    for (size_t n = ask->n_prefix; n > 0; n--)
        for (size_t i = 0; i < w->n_prefixes; i++)
            if (w->prefixes[i] == ask->prefix[n - 1]) return n;
    return 0;
}

/* Share of its slots that is in use or spoken for. */
static double load_of(const worker *w) {
    const double max = w->max_slots ? w->max_slots : 1;
    return (max - w->free_slots + (double)w->taken) / max;
}

static bool comes_before(const worker *a, const worker *b) {
    const double load_a = load_of(a), load_b = load_of(b);
    return load_a != load_b ? load_a < load_b : a->last_turn < b->last_turn;
}

static bool is_avoided(const worker *w, const mr_ask *ask) {
    return ask->avoid && strcmp(ask->avoid, w->id) == 0;
}

static bool can_hold(const mr_placement *p, const worker *w, int m, const mr_ask *ask,
                     uint64_t now_ms) {
    return w->model == m && w->holds >= ask->need_tokens && live(p, w, now_ms);
}

typedef struct choice { /* the best so far */
    worker *w;
    start start;
    int64_t room;
    size_t cached;
} choice;

/* Who would run it soonest, and of these the most room. Only a high job cares when it runs: others
 * are placed where there is most room in any case. */
static choice roomiest(mr_placement *p, int m, const mr_ask *ask, uint64_t now_ms) {
    choice best = {0};
    for (size_t i = 0; i < p->n_workers; i++) {
        worker *w = &p->workers[i];
        if (!can_hold(p, w, m, ask, now_ms) || is_avoided(w, ask)) continue;
        const int64_t room = room_of(p, w, ask->lane, now_ms);
        const start s = ask->lane == MR_PRIORITY_HIGH ? start_of(w, ask->lane) : START_LATER;
        if (room <= 0 || (best.w && s < best.start)) continue;
        if (!best.w || s > best.start || room > best.room) best = (choice){w, s, room, 0};
    }
    return best;
}

/* Of those that come near to the roomiest the one with the longest cached beginning, then the least
 * loaded, then the one whose turn is longest ago. */
static choice choose(mr_placement *p, int m, const mr_ask *ask, uint64_t now_ms) {
    const choice most = roomiest(p, m, ask, now_ms);
    choice best = {0};
    for (size_t i = 0; most.w && i < p->n_workers; i++) {
        worker *w = &p->workers[i];
        if (!can_hold(p, w, m, ask, now_ms) || is_avoided(w, ask)) continue;
        const int64_t room = room_of(p, w, ask->lane, now_ms);
        if (room <= 0 || 2 * room < most.room) continue;
        if (ask->lane == MR_PRIORITY_HIGH && start_of(w, ask->lane) < most.start) continue;
        const choice c = {w, start_of(w, ask->lane), room, cached_of(w, ask)};
        if (!best.w || c.cached > best.cached ||
            (c.cached == best.cached && comes_before(w, best.w)))
            best = c;
    }
    return best;
}

/* Somebody else who is alive could do it, now or later. */
static bool has_other(const mr_placement *p, int m, const mr_ask *ask, uint64_t now_ms) {
    for (size_t i = 0; i < p->n_workers; i++)
        if (can_hold(p, &p->workers[i], m, ask, now_ms) && !is_avoided(&p->workers[i], ask))
            return true;
    return false;
}

mr_place mr_placement_take(mr_placement *p, const mr_ask *ask, uint64_t now_ms) {
    const mr_place none = {.partition = -1};
    const int m = find_model(p, ask->model);
    mr_ask alone = *ask;

    if (m < 0) return none;
    if (ask->avoid && !has_other(p, m, ask, now_ms)) alone.avoid = NULL;
    const choice c = choose(p, m, &alone, now_ms);
    if (!c.w) return none;
    const mr_place place = {.partition = pick_part(p, (int)(c.w - p->workers), now_ms),
                            .worker = c.w->id,
                            .room = c.room,
                            .cached = c.cached,
                            .displaces = c.start == START_DISPLACES};
    part *t = &p->models[m].parts[place.partition];
    c.w->last_turn = ++p->turn;
    count(p, t, -1);
    t->unacked++;
    count(p, t, 1);
    return place;
}

unsigned mr_placement_lanes(const mr_placement *p, const char *name, uint64_t now_ms) {
    const int m = find_model(p, name);
    unsigned lanes = 0;

    for (size_t i = 0; m >= 0 && i < p->n_workers && lanes != MR_LANES_ALL; i++) {
        const worker *w = &p->workers[i];
        if (w->model != m) continue;
        if (room_of(p, w, MR_PRIORITY_LOW, now_ms) > 0)
            lanes = MR_LANES_ALL;
        else if (room_of(p, w, MR_PRIORITY_HIGH, now_ms) > 0)
            lanes |= MR_LANE_BIT(MR_PRIORITY_HIGH);
    }
    return lanes;
}

/* ---- on the way ---- */

/* Without memory it is not counted as ours: the room of all bounds it still. */
static void add_own(part *t, int64_t offset) {
    if (t->n_own == MAX_OWN) return;
    if (t->n_own == t->own_cap) {
        const size_t cap = t->own_cap ? 2 * t->own_cap : 16;
        int64_t *grown = realloc(t->own, cap * sizeof *grown);
        if (!grown) return;
        t->own = grown;
        t->own_cap = cap;
    }
    t->own[t->n_own++] = offset;
}

static part *on_the_way(const mr_placement *p, const char *name, int32_t partition) {
    const int m = find_model(p, name);
    MR_CHECK(m >= 0 && partition >= 0 && (size_t)partition < p->models[m].n_parts);
    part *t = &p->models[m].parts[partition];
    MR_CHECK(t->unacked > 0);
    return t;
}

void mr_placement_released(mr_placement *p, const char *name, int32_t partition, int64_t offset) {
    part *t = on_the_way(p, name, partition);
    count(p, t, -1);
    t->unacked--;
    if (offset >= t->position) add_own(t, offset);
    if (offset >= t->end) {
        t->holes += t->end < offset; /* each transaction leaves a marker behind its records */
        t->end = offset + 1;
    }
    count(p, t, 1);
}

void mr_placement_failed(mr_placement *p, const char *name, int32_t partition) {
    part *t = on_the_way(p, name, partition);
    count(p, t, -1);
    t->unacked--;
    count(p, t, 1);
}

/* ---- what is known ---- */

uint32_t mr_placement_largest(const mr_placement *p, const char *name, uint64_t now_ms) {
    const int m = find_model(p, name);
    uint32_t largest = 0;
    for (size_t i = 0; m >= 0 && i < p->n_workers; i++) {
        const worker *w = &p->workers[i];
        if (w->model == m && live(p, w, now_ms) && w->holds > largest) largest = w->holds;
    }
    return largest;
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
    for (size_t i = 0; i < p->n_workers; i++)
        room += (size_t)room_of(p, &p->workers[i], MR_PRIORITY_NORMAL, now_ms);
    return room;
}
