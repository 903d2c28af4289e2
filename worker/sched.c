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
 * Lists are arrays of at most n_ids numbers; insertion walks them. Thread: engine. */
#include "worker/sched.h"

#include <stdlib.h>
#include <string.h>

typedef enum place { PLACE_NONE, PLACE_WAITING, PLACE_RUNNING } place;

typedef struct entry {
    place place;
    mr_priority priority;
    uint64_t arrival;
    uint32_t n_blocks;
    uint32_t pending;
    uint32_t overtaken;
} entry;

typedef struct list {
    uint32_t *ids;
    uint32_t n;
} list;

struct mr_sched {
    uint32_t n_ids, max_running, step_tokens, blocked;
    uint64_t arrivals;
    entry *entries;
    list waiting, running;
};

mr_status mr_sched_open(mr_sched **out, uint32_t n_ids, uint32_t max_running, uint32_t step_tokens,
                        mr_err *err) {
    mr_sched *s = NULL;

    *out = NULL;
    if (step_tokens <= max_running)
        return mr_fail(err, MR_EINVAL,
                       "max_step_tokens %u must be larger than max_jobs %u: each running job takes "
                       "one row of a step, and prompts need at least one more",
                       (unsigned)step_tokens, (unsigned)max_running);
    s = calloc(1, sizeof *s);
    if (!s) return mr_fail(err, MR_ENOMEM, "scheduler: out of memory");
    s->n_ids = n_ids;
    s->max_running = max_running;
    s->step_tokens = step_tokens;
    s->entries = calloc(n_ids, sizeof *s->entries);
    s->waiting.ids = calloc(n_ids, sizeof(uint32_t));
    s->running.ids = calloc(n_ids, sizeof(uint32_t));
    if (!s->entries || !s->waiting.ids || !s->running.ids) {
        mr_sched_close(s);
        return mr_fail(err, MR_ENOMEM, "scheduler: no memory for %u jobs", (unsigned)n_ids);
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
    MR_CHECK(id < s->n_ids && s->entries[id].place == PLACE_NONE);
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

static bool choose(const mr_sched *s, uint32_t free_blocks, uint32_t *id_out) {
    if (find_urgent(s, id_out)) return s->entries[*id_out].n_blocks <= free_blocks;
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        *id_out = s->waiting.ids[i];
        if (s->entries[*id_out].n_blocks <= free_blocks) return true;
    }
    return false;
}

bool mr_sched_next(mr_sched *s, uint32_t free_blocks, uint32_t *id_out) {
    s->blocked = 0;
    if (s->waiting.n == 0 || s->running.n == s->max_running) return false;
    if (choose(s, free_blocks, id_out)) return true;
    s->blocked = s->waiting.n;
    return false;
}

void mr_sched_start(mr_sched *s, uint32_t id, uint32_t pending) {
    entry *e = &s->entries[id];

    MR_CHECK(id < s->n_ids && e->place == PLACE_WAITING && s->running.n < s->max_running);
    list_remove(&s->waiting, id);
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        entry *w = &s->entries[s->waiting.ids[i]];
        if (w->arrival < e->arrival) w->overtaken++;
    }
    e->place = PLACE_RUNNING;
    e->pending = pending;
    list_insert(s, &s->running, id);
}

size_t mr_sched_plan(mr_sched *s, mr_sched_item *items) {
    uint32_t left = s->step_tokens;
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
    MR_CHECK(id < s->n_ids && s->entries[id].place == PLACE_RUNNING);
    s->entries[id].pending = pending;
}

void mr_sched_drop(mr_sched *s, uint32_t id) {
    entry *e;

    MR_CHECK(id < s->n_ids);
    e = &s->entries[id];
    if (e->place == PLACE_WAITING) list_remove(&s->waiting, id);
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
