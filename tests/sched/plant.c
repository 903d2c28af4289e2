/* plant.c - the dispatcher's half: from a record of a jobs topic to a work record, and what follows
 * an attempt that did not end its job. */
#include "plant.h"

#include <stdlib.h>
#include <string.h>

#define MODEL "m"

enum {
    COMMIT_MS = 10,     /* setting commit_ms */
    TXN_MS = 6,         /* a transaction takes so long, and up to SPREAD - 1 more */
    TXN_SPREAD_MS = 9,
    FETCH_MS = 2,       /* until a visible record is read, likewise */
    FETCH_SPREAD_MS = 4,
    TICK_MS = 100,      /* of the dispatcher's loop */
    LOOP_SPREAD_MS = 4, /* a timer's callback waits for what the loop is at */
    RESUME_MS = 50,     /* until a partition that was paused delivers again */
    LOOKAHEAD = 2,      /* setting lookahead_jobs */
    TIMEOUT_MS = 5000,  /* setting worker_timeout_ms */
    WINDOW_JOBS = 512   /* setting window_jobs */
};

static void on_tick(void *self, uint64_t arg);
static void release_all(plant *p);

uint64_t plant_commit_ms(sim *s, struct plant_commit *c) {
    if (s->now > c->closes_ms) {
        c->closes_ms = (s->now > c->done_ms ? s->now : c->done_ms) + COMMIT_MS;
        c->done_ms = c->closes_ms + TXN_MS + sim_random(s, TXN_SPREAD_MS);
    }
    return c->done_ms - s->now;
}

uint64_t plant_fetch_ms(sim *s) {
    return FETCH_MS + sim_random(s, FETCH_SPREAD_MS);
}

static uint32_t weight_of(void *owner, const char *tenant) {
    return mr_policy_rule(((plant *)owner)->policy, tenant)->weight;
}

static uint64_t ready_of(void *owner, const char *tenant, uint64_t now_ms) {
    return mr_policy_ready_ms(((plant *)owner)->policy, tenant, now_ms);
}

void plant_open(plant *p, const plant_conf *conf, uint64_t seed) {
    const mr_window_conf wc = {.max_wait_ms = conf->max_wait_ms,
                               .owner = p,
                               .weight = weight_of,
                               .ready_ms = ready_of};

    *p = (plant){.conf = *conf, .armed_ms = UINT64_MAX};
    sim_init(&p->s, seed);
    p->s.now = 1;
    MR_CHECK(mr_window_open(&p->window, &wc, NULL) == MR_OK);
    MR_CHECK(mr_policy_open(&p->policy, "", NULL) == MR_OK);
    MR_CHECK(mr_policy_parse(p->policy, conf->rules, strlen(conf->rules), NULL) == MR_OK);
    MR_CHECK(mr_placement_open(&p->placement, LOOKAHEAD, TIMEOUT_MS, NULL) == MR_OK);
    MR_CHECK(mr_delay_open(&p->delay, NULL) == MR_OK);
    for (unsigned i = 0; i < conf->n_workers; i++) p->workers[i] = plant_worker_open(p, i);
    sim_after(&p->s, TICK_MS, on_tick, p, 0);
}

void plant_close(plant *p) {
    for (unsigned i = 0; i < p->conf.n_workers; i++) plant_worker_close(p->workers[i]);
    mr_delay_close(p->delay);
    mr_placement_close(p->placement);
    mr_policy_close(p->policy);
    mr_window_close(p->window);
    sim_deinit(&p->s);
    free(p->late_ms);
}

void plant_run(plant *p, uint64_t until_ms) {
    while (p->s.now < until_ms && sim_step(&p->s)) {
    }
}

static void on_tick(void *self, uint64_t arg) {
    plant *p = self;
    (void)arg;
    release_all(p);
    sim_after(&p->s, TICK_MS, on_tick, p, 0);
}

/* ---- in ---- */

static plant_job *job_of(mr_entry *e) {
    return (plant_job *)(void *)((char *)e - offsetof(plant_job, e));
}

static void enter_window(plant *p, plant_job *j) {
    MR_CHECK(mr_window_push(p->window, &j->e, p->s.now) == MR_OK);
    release_all(p);
}

static void on_record(void *self, uint64_t arg) {
    plant_job *j = self;
    plant *p = j->plant;
    mr_job_error why;

    (void)arg;
    j->e.counted = mr_policy_enter(p->policy, j->e.job.tenant, j->e.cost, p->s.now, &why);
    MR_CHECK(j->e.counted); /* no rule of the scenarios refuses anything */
    enter_window(p, j);
}

static void on_arrival(void *self, uint64_t arg) {
    plant_job *j = self;
    plant *p = j->plant;
    (void)arg;
    j->arrived_ms = p->s.now;
    sim_after(&p->s, plant_fetch_ms(&p->s), on_record, j, 0);
}

static plant_job *new_job(plant *p, mr_priority lane, const char *tenant, uint32_t prompt,
                          uint32_t answer, uint32_t cost_pct) {
    plant_job *j = sim_alloc(&p->s, sizeof *j);
    j->plant = p;
    j->prompt = prompt;
    j->answer = answer;
    j->lane = lane;
    j->tier = -1;
    j->e.lane = p->conf.fifo ? MR_PRIORITY_NORMAL : lane;
    j->e.job.priority = j->e.lane;
    j->e.job.model = MODEL;
    j->e.job.tenant = p->conf.fifo ? "all" : tenant;
    j->e.job.attempt = 1;
    j->e.cost = (uint32_t)((uint64_t)(prompt + answer) * cost_pct / 100);
    return j;
}

plant_job *plant_submit(plant *p, uint64_t after_ms, mr_priority lane, const char *tenant,
                        uint32_t prompt, uint32_t answer, uint32_t cost_pct) {
    plant_job *j = new_job(p, lane, tenant, prompt, answer, cost_pct);
    sim_after(&p->s, after_ms, on_arrival, j, 0);
    return j;
}

static void on_failed(void *self, uint64_t arg) {
    (void)arg;
    plant_came_back(self, MR_ATTEMPT_FAULT);
}

plant_job *plant_submit_failed(plant *p, uint64_t after_ms, uint32_t prompt, uint32_t answer) {
    plant_job *j = new_job(p, MR_PRIORITY_NORMAL, "all", prompt, answer, 100);
    j->worker = p->workers[0];
    sim_after(&p->s, after_ms, on_failed, j, 0);
    return j;
}

/* ---- out ---- */

static void on_fetched(void *self, uint64_t arg) {
    plant_job *j = self;
    (void)arg;
    plant_worker_take(j->worker, j);
}

static void on_visible(void *self, uint64_t arg) {
    plant_job *j = self;
    plant *p = j->plant;
    const int32_t partition = j->e.work_partition;
    (void)arg;
    mr_placement_released(p->placement, MODEL, partition, p->ends[partition]++);
    j->worker = p->workers[plant_worker_of(partition)];
    if (j->e.counted) mr_policy_left(p->policy, j->e.job.tenant);
    j->e.counted = false;
    sim_after(&p->s, plant_fetch_ms(&p->s), on_fetched, j, 0);
}

/* Another worker than the one that has just had no memory for it, if there is one with room. */
static mr_place take_place(plant *p, const plant_job *j) {
    const bool oom = j->e.job.n_history > 0 && j->past.outcome == MR_ATTEMPT_OOM;
    mr_ask ask = {.model = MODEL, .lane = j->e.lane, .avoid = oom ? j->past.worker : NULL};
    mr_place at = mr_placement_take(p->placement, &ask, p->s.now);
    ask.avoid = NULL;
    return at.partition < 0 ? mr_placement_take(p->placement, &ask, p->s.now) : at;
}

static bool release_one(plant *p) {
    const unsigned lanes = mr_placement_lanes(p->placement, MODEL, p->s.now);
    mr_entry *e = lanes ? mr_window_pop(p->window, MODEL, lanes, p->s.now) : NULL;
    if (!e) return false;
    plant_job *j = job_of(e);
    const mr_place at = take_place(p, j);
    if (at.partition < 0) {
        mr_window_unpop(p->window, e);
        return false;
    }
    e->work_partition = at.partition;
    e->job.charged = e->cost;
    mr_policy_charge(p->policy, e->job.tenant, true, e->cost, p->s.now);
    p->n_released[j->lane]++;
    if (p->conf.on_release) p->conf.on_release(p->conf.owner, j);
    sim_after(&p->s, plant_commit_ms(&p->s, &p->commit), on_visible, j, 0);
    return true;
}

static void release_all(plant *p) {
    while (release_one(p)) {
    }
}

void plant_heartbeat(plant *p, const mr_heartbeat *h) {
    MR_CHECK(mr_placement_report(p->placement, h, p->s.now) == MR_OK);
    release_all(p);
}

/* ---- the end of a job ---- */

static void settle(plant *p, plant_job *j) {
    const uint32_t used = j->prompt + j->answer, charged = j->e.job.charged;
    mr_window_settle(p->window, MODEL, j->e.lane, j->e.job.tenant, charged, used);
    mr_policy_charge(p->policy, j->e.job.tenant, false, (int64_t)used - charged, p->s.now);
}

void plant_ended(plant_job *j) {
    plant *p = j->plant;
    j->ended_ms = p->s.now;
    if (!j->dead) settle(p, j);
}

/* ---- waiting for a due time ---- */

static void on_due(void *self, uint64_t arg);

static void arm(plant *p) {
    const uint64_t next_ms = mr_delay_next_ms(p->delay);
    if (next_ms >= p->armed_ms) return;
    p->armed_ms = next_ms;
    const uint64_t wait_ms = next_ms > p->s.now ? next_ms - p->s.now : 0;
    sim_after(&p->s, wait_ms + sim_random(&p->s, LOOP_SPREAD_MS), on_due, p, next_ms);
}

/* As many as the window of the partition takes; the rest when half of them have gone. */
static void read_tier(plant *p, int tier) {
    struct plant_tier *t = &p->tiers[tier];
    for (; t->first && t->held < WINDOW_JOBS; t->held++) {
        plant_job *j = t->first;
        const uint64_t over_ms = j->appended_ms + mr_tier_ms[tier], due_ms = j->e.job.due_ms;
        t->first = j->next;
        mr_delay_add(p->delay, &j->e, due_ms < over_ms ? due_ms : over_ms);
    }
    t->paused = t->first != NULL;
    arm(p);
}

static void on_resumed(void *self, uint64_t tier) {
    read_tier(self, (int)tier);
}

static void on_hop(void *self, uint64_t arg) {
    plant_job *j = self;
    plant *p = j->plant;
    struct plant_tier *t = &p->tiers[j->tier];
    (void)arg;
    j->appended_ms = p->s.now;
    j->next = NULL;
    *(t->first ? &t->last->next : &t->first) = j;
    t->last = j;
    if (!t->paused) read_tier(p, j->tier);
}

static void wait_until_due(plant *p, plant_job *j) {
    const uint64_t due_ms = j->e.job.due_ms;
    j->tier = due_ms > p->s.now ? mr_delay_tier(due_ms - p->s.now) : -1;
    if (j->tier >= 0) {
        const uint64_t ms = plant_commit_ms(&p->s, &p->commit) + plant_fetch_ms(&p->s);
        sim_after(&p->s, ms, on_hop, j, 0);
        return;
    }
    mr_delay_add(p->delay, &j->e, due_ms);
    arm(p);
}

static void note_late(plant *p, uint64_t due_ms) {
    if (p->n_late == p->cap_late) {
        p->cap_late = p->cap_late ? 2 * p->cap_late : 1024;
        p->late_ms = realloc(p->late_ms, p->cap_late * sizeof *p->late_ms);
        MR_CHECK(p->late_ms);
    }
    p->n_early += p->s.now < due_ms;
    p->late_ms[p->n_late++] = p->s.now > due_ms ? p->s.now - due_ms : 0;
}

static void on_ready(void *self, uint64_t arg) {
    plant_job *j = self;
    (void)arg;
    note_late(j->plant, j->e.job.due_ms);
    enter_window(j->plant, j);
}

static void go_on(plant *p, plant_job *j) {
    const int tier = j->tier;
    if (tier >= 0 && --p->tiers[tier].held == WINDOW_JOBS / 2 && p->tiers[tier].paused)
        sim_after(&p->s, RESUME_MS, on_resumed, p, (uint64_t)tier);
    j->tier = -1;
    if (j->e.job.due_ms > p->s.now) {
        wait_until_due(p, j);
    } else { /* to the topic of its lane */
        const uint64_t ms = plant_commit_ms(&p->s, &p->commit) + plant_fetch_ms(&p->s);
        sim_after(&p->s, ms, on_ready, j, 0);
    }
}

static void on_due(void *self, uint64_t arg) {
    plant *p = self;
    mr_entry *e;
    if (arg != p->armed_ms) return; /* it was armed again, for an earlier time */
    p->armed_ms = UINT64_MAX;
    while ((e = mr_delay_pop(p->delay, p->s.now)) != NULL) go_on(p, job_of(e));
    arm(p);
}

static void on_attempt(void *self, uint64_t arg) {
    plant_job *j = self;
    plant *p = j->plant;
    mr_job_spec *spec = &j->e.job;
    const mr_retry r =
        mr_retry_decide(&p->conf.retry, spec, p->s.now, sim_random(&p->s, UINT32_MAX));

    (void)arg;
    spec->attempt++;
    spec->due_ms = r.due_ms;
    mr_policy_charge(p->policy, spec->tenant, false, -(int64_t)spec->charged, p->s.now);
    mr_window_settle(p->window, MODEL, j->e.lane, spec->tenant, spec->charged, 0);
    if (r.verdict == MR_RETRY_DEAD) {
        j->dead = true;
        plant_ended(j);
    } else {
        wait_until_due(p, j);
    }
}

void plant_came_back(plant_job *j, mr_attempt_outcome outcome) {
    plant *p = j->plant;
    j->past = (mr_past){.attempt = j->e.job.attempt,
                        .outcome = outcome,
                        .worker = plant_worker_name(j->worker),
                        .message = "as it was planned",
                        .time_ms = p->s.now};
    j->e.job.history = &j->past;
    j->e.job.n_history = 1;
    sim_after(&p->s, plant_fetch_ms(&p->s), on_attempt, j, 0);
}
