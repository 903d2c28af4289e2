/* plant_worker.c - a worker: takes work records, steps its engine, tells what room it has. */
#include "plant.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STEP_BASE_US = 10000, /* a step with hardly any rows */
    ROW_US = 125,         /* and each row of it */
    BLOCK_LEN = 32,       /* tokens of a KV block */
    BEAT_MS = 500,        /* setting heartbeat_ms */
    BEAT_LEAST_MS = 20,
    TIGHT_WAIT_MS = 50, /* with jobs that may not start for want of memory */
    PARTS = 2,          /* partitions of the work topic */
    ANSWERED = MR_ATTEMPT_NO_FIT + 1 /* how a job ends that does not come back */
};

struct plant_worker {
    plant *p;
    unsigned number;
    char name[16];
    mr_sched *sched;
    mr_pressure pressure;
    struct plant_commit commit;
    plant_job *first, *last; /* records that were read and not taken */
    plant_job **jobs;        /* [n_ids] by id; NULL: free */
    uint32_t n_ids, n_active;
    uint32_t free_blocks;
    uint64_t given_blocks; /* ever, of the free ones */
    int64_t positions[PARTS];
    mr_sched_item *items;
    size_t n_items;
    bool stepping, looking;
    uint64_t owed_us;            /* of steps, beyond whole milliseconds */
    uint64_t beat_ms, last_beat; /* when the next heartbeat goes; when the last one went */
    mr_heartbeat beat;           /* on its way */
    struct mr_heartbeat_part beat_parts[PARTS];
};

static void on_beat(void *self, uint64_t arg);
static void wake(plant_worker *w);
static void take_records(plant_worker *w);

unsigned plant_worker_of(int32_t partition) {
    return (unsigned)partition / PARTS;
}

const char *plant_worker_name(const plant_worker *w) {
    return w->name;
}

plant_worker *plant_worker_open(plant *p, unsigned number) {
    plant_worker *w = sim_alloc(&p->s, sizeof *w);
    const uint32_t seats = p->conf.seats;
    const mr_sched_conf conf = {.n_ids = 2 * (seats + 2 + seats / 8),
                                .max_running = seats,
                                .step_tokens = p->conf.step_tokens,
                                .max_displaced = p->conf.max_preemptions};
    w->p = p;
    w->number = number;
    w->n_ids = conf.n_ids;
    w->free_blocks = p->conf.kv_tokens / BLOCK_LEN;
    w->jobs = sim_alloc(&p->s, conf.n_ids * sizeof(plant_job *));
    w->items = sim_alloc(&p->s, seats * sizeof *w->items);
    snprintf(w->name, sizeof w->name, "worker-%u", number);
    mr_pressure_init(&w->pressure, seats);
    MR_CHECK(mr_sched_open(&w->sched, &conf, NULL) == MR_OK);
    w->beat_ms = p->s.now + sim_random(&p->s, BEAT_MS);
    sim_after(&p->s, w->beat_ms - p->s.now, on_beat, w, w->beat_ms);
    return w;
}

void plant_worker_close(plant_worker *w) {
    mr_sched_close(w->sched);
}

/* ---- heartbeats ---- */

static void on_beat_read(void *self, uint64_t arg) {
    plant_worker *w = self;
    (void)arg;
    plant_heartbeat(w->p, &w->beat);
}

static void set_beat(plant_worker *w, uint64_t at_ms) {
    w->beat_ms = at_ms;
    sim_after(&w->p->s, at_ms - w->p->s.now, on_beat, w, at_ms);
}

static void on_beat(void *self, uint64_t arg) {
    plant_worker *w = self;
    const uint32_t limit = w->pressure.limit;
    if (arg != w->beat_ms) return; /* another was set, for an earlier time */
    for (int i = 0; i < PARTS; i++)
        w->beat_parts[i] = (struct mr_heartbeat_part){
            .partition = (int32_t)w->number * PARTS + i, .position = w->positions[i]};
    w->beat = (mr_heartbeat){.worker = w->name,
                             .model = "m",
                             .sent_ms = w->p->s.now,
                             .parts = w->beat_parts,
                             .n_parts = PARTS,
                             .free_slots = w->n_active < limit ? limit - w->n_active : 0,
                             .max_slots = w->p->conf.seats,
                             .running = mr_sched_running(w->sched),
                             .displaceable = mr_sched_displaceable(w->sched)};
    w->beat.waiting = w->n_active - w->beat.running;
    sim_after(&w->p->s, plant_fetch_ms(&w->p->s), on_beat_read, w, 0);
    w->last_beat = w->p->s.now;
    set_beat(w, w->p->s.now + BEAT_MS);
}

/* Something changed: the next one comes soon. */
static void touch(plant_worker *w) {
    const uint64_t soonest = w->last_beat + BEAT_LEAST_MS, now = w->p->s.now;
    const uint64_t at_ms = soonest > now ? soonest : now;
    if (at_ms < w->beat_ms) set_beat(w, at_ms);
}

/* ---- blocks ---- */

static void give_blocks(plant_worker *w, plant_job *j) {
    MR_CHECK(w->free_blocks >= j->n_blocks);
    w->free_blocks -= j->n_blocks;
    w->given_blocks += j->n_blocks;
}

/* They join the free ones behind all others, the end of the sequence first: so as many others are
 * given away before the first of them. */
static void take_blocks_back(plant_worker *w, plant_job *j) {
    j->kept_blocks = j->computed / BLOCK_LEN;
    j->kept_until = w->given_blocks + w->free_blocks;
    w->free_blocks += j->n_blocks;
    j->computed = 0;
}

static uint32_t tokens_still_there(const plant_worker *w, const plant_job *j) {
    const uint64_t lost = w->given_blocks > j->kept_until ? w->given_blocks - j->kept_until : 0;
    return lost < j->kept_blocks ? (uint32_t)(j->kept_blocks - lost) * BLOCK_LEN : 0;
}

/* ---- jobs ---- */

static void on_result(void *self, uint64_t outcome) {
    plant_job *j = self;
    if (outcome == ANSWERED)
        plant_ended(j);
    else
        plant_came_back(j, (mr_attempt_outcome)outcome);
}

static void end_job(plant_worker *w, plant_job *j, unsigned outcome) {
    if (j->seated) take_blocks_back(w, j);
    mr_sched_drop(w->sched, j->id);
    w->jobs[j->id] = NULL;
    w->n_active--;
    j->waits = j->seated = false;
    j->kept_blocks = 0;
    j->made = j->reached = 0;
    touch(w);
    sim_after(&w->p->s, plant_commit_ms(&w->p->s, &w->commit) + plant_fetch_ms(&w->p->s), on_result,
              j, outcome);
}

/* Its mark is committed: it may start. */
static void on_marked(void *self, uint64_t arg) {
    plant_job *j = self;
    plant_worker *w = j->worker;
    (void)arg;
    j->n_blocks = (j->prompt + j->answer + BLOCK_LEN - 1) / BLOCK_LEN;
    j->waits = true;
    mr_sched_add(w->sched, j->id, j->e.lane, j->n_blocks);
    touch(w);
    wake(w);
}

static void take(plant_worker *w, plant_job *j) {
    for (j->id = 0; w->jobs[j->id]; j->id++) {
    }
    w->jobs[j->id] = j;
    w->n_active++;
    w->positions[j->e.work_partition % PARTS]++;
    sim_after(&w->p->s, plant_commit_ms(&w->p->s, &w->commit), on_marked, j, 0);
    touch(w);
}

static bool any_high(const plant_worker *w) {
    for (const plant_job *j = w->first; j; j = j->next)
        if (j->e.lane == MR_PRIORITY_HIGH) return true;
    return false;
}

static void take_records(plant_worker *w) {
    const uint32_t seats = w->p->conf.seats;
    while (w->first && w->n_active < (any_high(w) ? w->n_ids : seats + 2 + seats / 8)) {
        plant_job *j = w->first;
        w->first = j->next;
        take(w, j);
    }
}

void plant_worker_take(plant_worker *w, plant_job *j) {
    j->next = NULL;
    *(w->first ? &w->last->next : &w->first) = j;
    w->last = j;
    take_records(w);
}

/* ---- steps ---- */

static bool memory_is_out(const plant *p) {
    return p->s.now >= p->conf.oom_from_ms && p->s.now < p->conf.oom_to_ms;
}

static void seat(plant_worker *w) {
    uint32_t id;
    while (mr_sched_displace(w->sched, w->free_blocks, &id)) {
        plant_job *j = w->jobs[id];
        take_blocks_back(w, j);
        j->displaced++;
        j->seated = false;
        j->waits = true;
        touch(w);
    }
    while (mr_sched_next(w->sched, w->free_blocks, &id)) {
        plant_job *j = w->jobs[id];
        j->computed = tokens_still_there(w, j);
        give_blocks(w, j);
        j->seated = true;
        j->waits = false;
        mr_sched_start(w->sched, id, j->prompt + j->made - j->computed);
        if (!j->started_ms) j->started_ms = w->p->s.now;
    }
}

/* Nobody finds memory, not even alone: all come back, who runs and who waits. */
static void fail_all(plant_worker *w) {
    mr_pressure_oom(&w->pressure, mr_sched_running(w->sched), w->p->s.now);
    mr_pressure_oom(&w->pressure, 1, w->p->s.now);
    for (uint32_t id = 0; id < w->n_ids; id++)
        if (w->jobs[id] && (w->jobs[id]->seated || w->jobs[id]->waits))
            end_job(w, w->jobs[id], MR_ATTEMPT_OOM);
}

static void advance(plant_worker *w, plant_job *j, uint32_t n_tokens) {
    const plant_conf *conf = &w->p->conf;
    j->computed += n_tokens;
    const uint32_t fresh = j->computed > j->reached ? j->computed - j->reached : 0;
    j->reached += fresh;
    if (conf->on_rows && fresh) conf->on_rows(conf->owner, j, fresh);
    if (j->computed == j->prompt + j->made) j->made++;
    if (j->faults > 0 && j->made > 0) {
        j->faults--;
        end_job(w, j, MR_ATTEMPT_FAULT);
    } else if (j->made == j->answer) {
        end_job(w, j, ANSWERED);
    } else {
        mr_sched_computed(w->sched, j->id, j->prompt + j->made - j->computed);
    }
}

static void on_step_end(void *self, uint64_t arg) {
    plant_worker *w = self;
    (void)arg;
    w->stepping = false;
    if (memory_is_out(w->p))
        fail_all(w);
    else
        for (size_t i = 0; i < w->n_items; i++)
            advance(w, w->jobs[w->items[i].id], w->items[i].n_tokens);
    take_records(w);
    wake(w);
}

static void on_second_look(void *self, uint64_t arg) {
    plant_worker *w = self;
    (void)arg;
    w->looking = false;
    wake(w);
}

/* Nothing may start for want of memory: that changes with time. */
static void look_again(plant_worker *w) {
    if (w->looking || w->pressure.limit == w->pressure.max_jobs) return;
    w->looking = true;
    sim_after(&w->p->s, TIGHT_WAIT_MS, on_second_look, w, 0);
}

static void wake(plant_worker *w) {
    uint64_t us = STEP_BASE_US + w->owed_us;

    if (w->stepping) return;
    const uint32_t before = w->pressure.limit;
    mr_pressure_tick(&w->pressure, w->p->s.now);
    if (w->pressure.limit != before) touch(w);
    mr_sched_set_seats(w->sched, w->pressure.limit);
    seat(w);
    w->n_items = mr_sched_plan(w->sched, w->items);
    if (w->n_items == 0) {
        look_again(w);
        return;
    }
    for (size_t i = 0; i < w->n_items; i++) us += (uint64_t)ROW_US * w->items[i].n_tokens;
    w->stepping = true;
    w->owed_us = us % 1000;
    sim_after(&w->p->s, us / 1000, on_step_end, w, 0);
}
