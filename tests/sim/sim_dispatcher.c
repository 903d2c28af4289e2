/* sim_dispatcher.c - a dispatcher: window, placement, and a commit for each job that leaves. */
#include <stdlib.h>
#include <string.h>

#include "dispatcher/window.h"
#include "sim_world.h"

#define LOOKAHEAD         1
#define WORKER_TIMEOUT_MS 1000
#define WINDOW_JOBS       12
#define MODEL             "m"

struct sim_dispatcher {
    sim_world *w;
    int number;
    sim_consumer *consumer;
    mr_window *window;
    mr_placement *placement;
    mr_entry *all;
    int n_entries;
};

static mr_entry *add_entry(sim_dispatcher *d, mr_origin at, const sim_record *r) {
    mr_entry *e = calloc(1, sizeof *e);
    MR_CHECK(e);
    e->at = at;
    e->job.model = MODEL;
    e->job.tenant = "default";
    e->lane = (mr_priority)(mr_parts_partition(sim_commit_parts(sim_consumer_commit(d->consumer)),
                                               at.part) -
                            SIM_JOBS);
    e->bytes = (size_t)r->job; /* all that the world knows of a job */
    e->all_next = d->all;
    if (d->all) d->all->all_prev = e;
    d->all = e;
    d->n_entries++;
    return e;
}

static void drop_entry(sim_dispatcher *d, mr_entry *e) {
    if (e->place == MR_PLACE_WINDOW) mr_window_remove(d->window, e);
    if (e->all_prev)
        e->all_prev->all_next = e->all_next;
    else
        d->all = e->all_next;
    if (e->all_next) e->all_next->all_prev = e->all_prev;
    d->n_entries--;
    free(e);
}

/* ---- in ---- */

static bool may_take(void *owner, int part) {
    const sim_dispatcher *d = owner;
    (void)part;
    return d->n_entries < WINDOW_JOBS;
}

static void on_record(void *owner, mr_origin at, const sim_record *r) {
    sim_dispatcher *d = owner;
    if (d->w->jobs[r->job].kind == SIM_JOB_MALFORMED) {
        const sim_put result = {.tp = SIM_RESULTS + r->job % SIM_N_RESULTS,
                                .r = {.job = r->job, .status = SIM_REJECTED}};
        sim_commit_send(sim_consumer_commit(d->consumer), at, &result, 1, NULL, 0);
        return;
    }
    MR_CHECK(mr_window_push(d->window, add_entry(d, at, r), d->w->s.now) == MR_OK);
}

/* ---- out ---- */

static void on_released(void *owner, uint64_t arg, mr_status status, int64_t offset) {
    sim_dispatcher *d = owner;
    mr_entry *e = (mr_entry *)(uintptr_t)arg;
    if (status == MR_OK)
        mr_placement_released(d->placement, MODEL, e->work_partition, offset);
    else
        mr_placement_failed(d->placement, MODEL, e->work_partition);
    drop_entry(d, e);
}

static void release(sim_dispatcher *d) {
    const uint64_t now = d->w->s.now;
    for (unsigned lanes; (lanes = mr_placement_lanes(d->placement, MODEL, now)) != 0;) {
        mr_entry *e = mr_window_pop(d->window, MODEL, lanes, now);
        if (!e) return;
        const mr_ask ask = {.model = MODEL, .lane = e->lane};
        e->work_partition = mr_placement_take(d->placement, &ask, now).partition;
        MR_CHECK(e->work_partition >= 0);
        const sim_put work = {.tp = SIM_WORK + e->work_partition, .r = {.job = (int)e->bytes}};
        sim_commit_send(sim_consumer_commit(d->consumer), e->at, &work, 1, on_released,
                        (uintptr_t)e);
    }
}

void sim_dispatcher_heard(sim_dispatcher *d, const mr_heartbeat *h) {
    MR_CHECK(mr_placement_report(d->placement, h, d->w->s.now) == MR_OK);
}

/* ---- partitions ---- */

static void on_leaving(void *owner) {
    (void)owner;
}

/* What waits is read by whoever is next; what is on its way is told to on_released. */
static void on_lost(void *owner) {
    sim_dispatcher *d = owner;
    for (mr_entry *e = d->all, *next; e; e = next) {
        next = e->all_next;
        if (e->place == MR_PLACE_WINDOW) drop_entry(d, e);
    }
}

/* ---- the process ---- */

sim_dispatcher *sim_dispatcher_start(sim_world *w, int number) {
    sim_dispatcher *d = calloc(1, sizeof *d);
    MR_CHECK(d);
    d->w = w;
    d->number = number;
    MR_CHECK(mr_window_open(&d->window, &(mr_window_conf){.max_wait_ms = 0}, NULL) == MR_OK);
    MR_CHECK(mr_placement_open(&d->placement, LOOKAHEAD, WORKER_TIMEOUT_MS, NULL) == MR_OK);
    d->consumer = sim_consumer_open(&w->s, w->kafka,
                                    &(sim_consumer_conf){.group = SIM_DISPATCHERS,
                                                         .transactional_id = number,
                                                         .owner = d,
                                                         .on_leaving = on_leaving,
                                                         .on_lost = on_lost,
                                                         .may_take = may_take,
                                                         .on_record = on_record});
    return d;
}

void sim_dispatcher_tick(sim_dispatcher *d) {
    sim_consumer_tick(d->consumer);
    release(d);
}

sim_consumer *sim_dispatcher_consumer(sim_dispatcher *d) {
    return d->consumer;
}

void sim_dispatcher_kill(sim_dispatcher *d) {
    if (!d) return;
    sim_consumer_kill(d->consumer);
    while (d->all) drop_entry(d, d->all);
    mr_window_close(d->window);
    mr_placement_close(d->placement);
    free(d);
}
