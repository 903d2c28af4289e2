/* sched.c - two ordered lists: who runs, who waits.
 *
 * A step costs about as much as it has rows, so step_tokens bounds the time between two tokens of
 * everybody: generating sequences go first with one row each, and a long prompt gets only what is
 * left, chunk by chunk. Both lists are ordered by priority, then arrival.
 *
 * Who starts: the first of the waiting list; when its KV blocks are not free, the next that fits,
 * so a big job does not idle the machine. Each job that is passed over counts it, and after
 * MR_SCHED_MAX_OVERTAKES it is first and alone: no job waits for ever behind smaller or more
 * important ones.
 *
 * Who is displaced: only lane low, only for lane high, and only when it helps; the newest first,
 * because it has least to lose. The one that it is done for starts next, before any other whom the
 * room would fit: else a displaced job would sit down again at once. Each job is displaced at most
 * max_displaced times, so what comes late and matters more delays nobody for ever. The blocks that
 * a displaced job gives back are taken to be its own; when it shared some there may be fewer, and
 * one job more leaves, or it was in vain.
 *
 * Lists are arrays of at most n_ids numbers; insertion walks them. Thread: engine. */
#include "worker/sched.h"

#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

typedef enum place { PLACE_NONE, PLACE_WAITING, PLACE_RUNNING } place;

typedef struct entry {
    place place;
    mr_priority priority;
    uint64_t arrival;
    uint32_t n_blocks;
    uint32_t pending;
    uint32_t overtaken, displaced; /* times */
} entry;

typedef struct list {
    uint32_t *ids;
    uint32_t n;
} list;

struct mr_sched {
    mr_sched_conf conf;
    uint32_t seats, blocked;
    uint32_t heir; /* somebody lost its seat to this waiting job; NOBODY: none */
    uint64_t arrivals;
    entry *entries;
    list waiting, running;
};

mr_status mr_sched_open(mr_sched **out, const mr_sched_conf *conf, mr_err *err) {
    const uint32_t n = conf->n_ids;
    mr_sched *s = NULL;

    *out = NULL;
    if (conf->step_tokens <= conf->max_running)
        return mr_fail(err, MR_EINVAL,
                       "max_step_tokens %u must be larger than max_jobs %u: each running job takes "
                       "one row of a step, and prompts need at least one more",
                       (unsigned)conf->step_tokens, (unsigned)conf->max_running);
    s = calloc(1, sizeof *s);
    if (!s) return mr_fail(err, MR_ENOMEM, "scheduler: out of memory");
    s->conf = *conf;
    s->seats = conf->max_running;
    s->heir = NOBODY;
    s->entries = calloc(n, sizeof *s->entries);
    s->waiting.ids = calloc(n, sizeof(uint32_t));
    s->running.ids = calloc(n, sizeof(uint32_t));
    if (!s->entries || !s->waiting.ids || !s->running.ids) {
        mr_sched_close(s);
        return mr_fail(err, MR_ENOMEM, "scheduler: no memory for %u jobs", (unsigned)n);
    }
    *out = s;
    return MR_OK;
}

void mr_sched_close(mr_sched *s) {
    if (!s) return;
    free(s->entries);
    free(s->waiting.ids);
    free(s->running.ids);
    free(s);
}

void mr_sched_set_seats(mr_sched *s, uint32_t seats) {
    MR_CHECK(seats <= s->conf.max_running);
    s->seats = seats;
}

static bool goes_before(const mr_sched *s, uint32_t a, uint32_t b) {
    const entry *x = &s->entries[a], *y = &s->entries[b];

    if (x->priority != y->priority) return x->priority < y->priority;
    return x->arrival < y->arrival;
}

static void list_insert(const mr_sched *s, list *l, uint32_t id) {
    uint32_t at = l->n;

    while (at > 0 && goes_before(s, id, l->ids[at - 1])) at--;
    memmove(l->ids + at + 1, l->ids + at, (l->n - at) * sizeof *l->ids);
    l->ids[at] = id;
    l->n++;
}

static void list_remove(list *l, uint32_t id) {
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->ids[i] != id) continue;
        memmove(l->ids + i, l->ids + i + 1, (l->n - i - 1) * sizeof *l->ids);
        l->n--;
        return;
    }
}

void mr_sched_add(mr_sched *s, uint32_t id, mr_priority priority, uint32_t n_blocks) {
    MR_CHECK(id < s->conf.n_ids && s->entries[id].place == PLACE_NONE);
    s->entries[id] = (entry){.place = PLACE_WAITING,
                             .priority = priority,
                             .arrival = s->arrivals++,
                             .n_blocks = n_blocks};
    list_insert(s, &s->waiting, id);
}

/* The oldest job that has been passed over too often, if there is one. */
static bool find_urgent(const mr_sched *s, uint32_t *id_out) {
    bool found = false;

    for (uint32_t i = 0; i < s->waiting.n; i++) {
        const uint32_t id = s->waiting.ids[i];
        if (s->entries[id].overtaken < MR_SCHED_MAX_OVERTAKES) continue;
        if (found && s->entries[id].arrival > s->entries[*id_out].arrival) continue;
        *id_out = id;
        found = true;
    }
    return found;
}

static bool fits(const mr_sched *s, uint32_t id, uint32_t free_blocks) {
    return s->running.n < s->seats && s->entries[id].n_blocks <= free_blocks;
}

/* ---- displacing ---- */

static bool may_be_displaced(const mr_sched *s, uint32_t id) {
    const entry *e = &s->entries[id];
    return e->priority == MR_PRIORITY_LOW && e->displaced < s->conf.max_displaced;
}

/* Room for id, when all who may be displaced have left. */
static bool would_fit(const mr_sched *s, uint32_t id, uint32_t free_blocks) {
    uint64_t blocks = free_blocks;
    uint32_t left = 0;

    for (uint32_t i = 0; i < s->running.n; i++) {
        const uint32_t other = s->running.ids[i];
        if (!may_be_displaced(s, other)) continue;
        blocks += s->entries[other].n_blocks;
        left++;
    }
    return s->running.n - left < s->seats && s->entries[id].n_blocks <= blocks;
}

/* The list ends with the least important job that came last. */
static bool find_victim(const mr_sched *s, uint32_t *id_out) {
    for (uint32_t i = s->running.n; i > 0; i--) {
        *id_out = s->running.ids[i - 1];
        if (may_be_displaced(s, *id_out)) return true;
    }
    return false;
}

/* The first job of lane high whom displacing would help; NOBODY: none, or one that needs no help
 * comes before it. */
static uint32_t find_heir(const mr_sched *s, uint32_t free_blocks) {
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        const uint32_t id = s->waiting.ids[i];
        if (s->entries[id].priority != MR_PRIORITY_HIGH || fits(s, id, free_blocks)) return NOBODY;
        if (would_fit(s, id, free_blocks)) return id;
    }
    return NOBODY;
}

bool mr_sched_displace(mr_sched *s, uint32_t free_blocks, uint32_t *id_out) {
    const uint32_t heir = find_heir(s, free_blocks);
    entry *e;

    if (heir == NOBODY || !find_victim(s, id_out)) return false;
    s->heir = heir;
    e = &s->entries[*id_out];
    e->displaced++;
    e->place = PLACE_WAITING;
    list_remove(&s->running, *id_out);
    list_insert(s, &s->waiting, *id_out);
    return true;
}

uint32_t mr_sched_displaceable(const mr_sched *s) {
    const uint32_t over = s->running.n > s->seats ? s->running.n - s->seats : 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->running.n; i++) n += may_be_displaced(s, s->running.ids[i]);
    return n > over ? n - over : 0;
}

/* ---- starting ---- */

static bool choose(const mr_sched *s, uint32_t free_blocks, uint32_t *id_out) {
    *id_out = s->heir;
    if (s->heir != NOBODY && fits(s, s->heir, free_blocks)) return true;
    if (find_urgent(s, id_out)) return fits(s, *id_out, free_blocks);
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        *id_out = s->waiting.ids[i];
        if (fits(s, *id_out, free_blocks)) return true;
    }
    return false;
}

bool mr_sched_next(mr_sched *s, uint32_t free_blocks, uint32_t *id_out) {
    s->blocked = 0;
    if (s->waiting.n == 0 || s->running.n >= s->seats) return false;
    if (choose(s, free_blocks, id_out)) return true;
    s->blocked = s->waiting.n;
    return false;
}

/* It waits no more: whoever left for it has done so for nobody else. */
static void leave_waiting(mr_sched *s, uint32_t id) {
    list_remove(&s->waiting, id);
    if (s->heir == id) s->heir = NOBODY;
}

void mr_sched_start(mr_sched *s, uint32_t id, uint32_t pending) {
    entry *e = &s->entries[id];

    MR_CHECK(id < s->conf.n_ids && e->place == PLACE_WAITING && s->running.n < s->seats);
    leave_waiting(s, id);
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        entry *w = &s->entries[s->waiting.ids[i]];
        if (w->arrival < e->arrival) w->overtaken++;
    }
    e->place = PLACE_RUNNING;
    e->pending = pending;
    list_insert(s, &s->running, id);
}

size_t mr_sched_plan(mr_sched *s, mr_sched_item *items) {
    uint32_t left = s->conf.step_tokens;
    size_t n = 0;

    for (uint32_t i = 0; i < s->running.n; i++) {
        const uint32_t id = s->running.ids[i];
        if (s->entries[id].pending != 1) continue;
        items[n++] = (mr_sched_item){.id = id, .n_tokens = 1};
        left--; /* stays above 0: max_running < step_tokens */
    }
    for (uint32_t i = 0; i < s->running.n && left > 0; i++) {
        const uint32_t id = s->running.ids[i];
        const uint32_t pending = s->entries[id].pending;
        const uint32_t take = pending < left ? pending : left;
        if (pending <= 1) continue;
        items[n++] = (mr_sched_item){.id = id, .n_tokens = take};
        left -= take;
    }
    return n;
}

void mr_sched_computed(mr_sched *s, uint32_t id, uint32_t pending) {
    MR_CHECK(id < s->conf.n_ids && s->entries[id].place == PLACE_RUNNING);
    s->entries[id].pending = pending;
}

void mr_sched_drop(mr_sched *s, uint32_t id) {
    entry *e;

    MR_CHECK(id < s->conf.n_ids);
    e = &s->entries[id];
    if (e->place == PLACE_WAITING) leave_waiting(s, id);
    if (e->place == PLACE_RUNNING) list_remove(&s->running, id);
    e->place = PLACE_NONE;
}

uint32_t mr_sched_running(const mr_sched *s) {
    return s->running.n;
}

uint32_t mr_sched_waiting(const mr_sched *s) {
    return s->waiting.n;
}

uint32_t mr_sched_blocked(const mr_sched *s) {
    return s->blocked;
}
