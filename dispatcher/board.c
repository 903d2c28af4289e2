/* board.c - see board.h. */
#include "dispatcher/board.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mr_board_point absent = {-1, -1, -1};

mr_life mr_board_life(uint64_t seen_ms, uint64_t now_ms) {
    const uint64_t age = now_ms > seen_ms ? now_ms - seen_ms : 0;
    if (age > MR_BOARD_GONE_MS) return MR_GONE;
    return age > MR_BOARD_SILENT_MS ? MR_SILENT : MR_LIVE;
}

static float share(double part, double all) {
    return all > 0 ? (float)(part / all) : 0;
}

static uint64_t used(uint64_t all, uint64_t left) {
    return all > left ? all - left : 0;
}

/* ---- rows ---- */

static bool fits(const char *name) {
    return name[0] && strlen(name) < MR_BOARD_NAME;
}

/* Its own row, else a free one, else that of a worker that has gone. NULL: all are in use. */
static mr_board_worker *need_worker(mr_board *b, const char *name, uint64_t now_ms) {
    mr_board_worker *free_row = NULL;
    if (!fits(name)) return NULL;
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) {
        mr_board_worker *w = &b->workers[i];
        if (strcmp(w->name, name) == 0) return w;
        const bool is_free = !w->name[0] || mr_board_life(w->seen_ms, now_ms) == MR_GONE;
        if (is_free && (!free_row || (free_row->name[0] && w->seen_ms < free_row->seen_ms)))
            free_row = w;
    }
    if (!free_row) return NULL;
    memset(free_row, 0, sizeof *free_row);
    snprintf(free_row->name, sizeof free_row->name, "%s", name);
    free_row->since_ms = free_row->noted_ms = now_ms;
    for (size_t i = 0; i < MR_BOARD_SAMPLES; i++) free_row->points[i] = absent;
    return free_row;
}

static mr_board_dispatcher *need_dispatcher(mr_board *b, const char *name, uint64_t now_ms) {
    mr_board_dispatcher *free_row = NULL;
    if (!fits(name)) return NULL;
    for (size_t i = 0; i < MR_BOARD_DISPATCHERS; i++) {
        mr_board_dispatcher *d = &b->dispatchers[i];
        if (strcmp(d->name, name) == 0) return d;
        if (!free_row && (!d->name[0] || mr_board_life(d->seen_ms, now_ms) == MR_GONE))
            free_row = d;
    }
    if (free_row) {
        memset(free_row, 0, sizeof *free_row);
        snprintf(free_row->name, sizeof free_row->name, "%s", name);
    }
    return free_row;
}

/* What was so until now counts for the time that it was so. */
static void note_use(mr_board_worker *w, uint64_t now_ms) {
    const double ms = now_ms > w->noted_ms ? (double)(now_ms - w->noted_ms) : 0;
    w->running_ms += ms * w->running;
    w->kv_ms += ms * (double)used(w->kv_tokens_total, w->kv_tokens_free);
    w->noted_ms = now_ms;
}

/* Who has said good-bye is not shown any more; its samples stay. */
static uint64_t seen_at(bool leaving, uint64_t now_ms) {
    if (!leaving) return now_ms;
    return now_ms > MR_BOARD_GONE_MS + 1 ? now_ms - MR_BOARD_GONE_MS - 1 : 0;
}

void mr_board_heartbeat(mr_board *b, const mr_heartbeat *h, uint64_t now_ms) {
    mr_board_worker *w = need_worker(b, h->worker, now_ms);
    if (!w) return;
    note_use(w, now_ms);
    snprintf(w->model, sizeof w->model, "%s", h->model);
    w->seen_ms = seen_at(h->leaving, now_ms);
    w->running = h->running;
    w->waiting = h->waiting;
    w->free_slots = h->free_slots;
    w->max_slots = h->max_slots;
    w->n_ctx = h->n_ctx;
    w->kv_tokens_free = h->kv_tokens_free;
    w->kv_tokens_total = h->kv_tokens_total;
    w->pressure = h->pressure;
    w->tokens_per_s = h->tokens_per_s;
}

void mr_board_beat(mr_board *b, const mr_beat *beat, uint64_t now_ms) {
    mr_board_dispatcher *d = need_dispatcher(b, beat->dispatcher, now_ms);
    if (!d) return;
    d->seen_ms = seen_at(beat->leaving, now_ms);
    memcpy(d->lanes, beat->lanes, sizeof d->lanes);
    d->delayed = beat->delayed;
    d->parts = beat->parts;
    d->paused_parts = beat->paused_parts;
    d->n_tenants = beat->n_tenants < MR_BEAT_MAX_TENANTS ? beat->n_tenants : MR_BEAT_MAX_TENANTS;
    for (size_t i = 0; i < d->n_tenants; i++) {
        const struct mr_beat_tenant *t = &beat->tenants[i];
        d->tenants[i] = (mr_board_tenant){.waiting = t->waiting,
                                          .weight = t->weight,
                                          .tokens_per_s = t->tokens_per_s,
                                          .limited = t->limited};
        snprintf(d->tenants[i].name, sizeof d->tenants[i].name, "%s", t->name);
    }
}

/* ---- sums ---- */

static void add_tenant(mr_board_now *now, const mr_board_tenant *t) {
    size_t i = 0;
    while (i < now->n_tenants && strcmp(now->tenants[i].name, t->name) != 0) i++;
    if (i == MR_BOARD_TENANTS) return;
    if (i == now->n_tenants) {
        now->tenants[now->n_tenants++] = *t;
        return;
    }
    mr_board_tenant *sum = &now->tenants[i];
    sum->waiting += t->waiting;
    sum->tokens_per_s += t->tokens_per_s;
    sum->limited |= t->limited;
    if (t->weight > sum->weight) sum->weight = t->weight;
}

static void add_dispatcher(mr_board_now *now, const mr_board_dispatcher *d) {
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        now->lanes[l].waiting += d->lanes[l].waiting;
        now->lanes[l].unread += d->lanes[l].unread;
        now->lanes[l].queued += d->lanes[l].queued;
        now->lanes[l].left += d->lanes[l].left;
        now->lanes[l].per_s += d->lanes[l].per_s;
    }
    now->delayed += d->delayed;
    now->parts += d->parts;
    now->paused_parts += d->paused_parts;
    for (size_t i = 0; i < d->n_tenants; i++) add_tenant(now, &d->tenants[i]);
    now->n_dispatchers++;
}

static int by_use(const void *a, const void *b) {
    const mr_board_tenant *x = a, *y = b;
    if (x->waiting != y->waiting) return x->waiting < y->waiting ? 1 : -1;
    if (x->tokens_per_s < y->tokens_per_s || x->tokens_per_s > y->tokens_per_s)
        return x->tokens_per_s < y->tokens_per_s ? 1 : -1;
    return strcmp(x->name, y->name);
}

static uint32_t most_u32(uint64_t n) {
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

void mr_board_look(const mr_board *b, uint64_t now_ms, mr_board_now *out) {
    uint64_t kv_used = 0, kv_total = 0;
    *out = (mr_board_now){.n_tenants = 0};
    for (size_t i = 0; i < MR_BOARD_DISPATCHERS; i++)
        if (b->dispatchers[i].name[0] &&
            mr_board_life(b->dispatchers[i].seen_ms, now_ms) == MR_LIVE)
            add_dispatcher(out, &b->dispatchers[i]);
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) {
        const mr_board_worker *w = &b->workers[i];
        if (!w->name[0] || mr_board_life(w->seen_ms, now_ms) != MR_LIVE) continue;
        out->n_workers++;
        out->sum.running += (float)w->running;
        out->sum.slots += w->max_slots;
        out->sum.tokens_per_s += w->tokens_per_s;
        kv_used += used(w->kv_tokens_total, w->kv_tokens_free);
        kv_total += w->kv_tokens_total;
    }
    out->sum.kv = share((double)kv_used, (double)kv_total);
    out->sum.delayed = most_u32(out->delayed);
    for (int l = 0; l < MR_PRIORITY_N; l++)
        out->sum.lanes[l] = (mr_board_lane){most_u32(out->lanes[l].waiting + out->lanes[l].unread), out->lanes[l].per_s};
    qsort(out->tenants, out->n_tenants, sizeof *out->tenants, by_use);
}

/* ---- samples ---- */

typedef struct use { /* means since the last sample */
    double running, kv_tokens;
} use;

static use take_use(mr_board_worker *w, uint64_t now_ms) {
    note_use(w, now_ms);
    const double ms = (double)(now_ms - w->since_ms);
    const use u = ms > 0 ? (use){w->running_ms / ms, w->kv_ms / ms} : (use){0, 0};
    w->running_ms = w->kv_ms = 0;
    w->since_ms = now_ms;
    return u;
}

/* The samples of all workers at this place; their sum goes into s. */
static void sample_workers(mr_board *b, size_t at, mr_board_sample *s, uint64_t now_ms) {
    double running = 0, kv_tokens = 0, kv_total = 0;
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) {
        mr_board_worker *w = &b->workers[i];
        w->points[at] = absent;
        if (!w->name[0]) continue;
        const use u = take_use(w, now_ms);
        if (mr_board_life(w->seen_ms, now_ms) != MR_LIVE) continue;
        w->points[at] =
            (mr_board_point){share(u.running, w->max_slots),
                             share(u.kv_tokens, (double)w->kv_tokens_total), w->tokens_per_s};
        running += u.running;
        kv_tokens += u.kv_tokens;
        kv_total += (double)w->kv_tokens_total;
    }
    s->running = (float)running;
    s->kv = share(kv_tokens, kv_total);
}

void mr_board_tick(mr_board *b, uint64_t now_ms) {
    mr_board_now now;
    if (now_ms < b->due_ms) return;
    b->due_ms += MR_BOARD_PERIOD_MS;
    if (b->due_ms <= now_ms) b->due_ms = now_ms + MR_BOARD_PERIOD_MS;
    const size_t at = b->n_samples++ % MR_BOARD_SAMPLES;
    mr_board_look(b, now_ms, &now);
    b->samples[at] = now.sum;
    sample_workers(b, at, &b->samples[at], now_ms);
}

uint64_t mr_board_first(const mr_board *b) {
    return b->n_samples > MR_BOARD_SAMPLES ? b->n_samples - MR_BOARD_SAMPLES : 0;
}
