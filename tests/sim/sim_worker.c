/* sim_worker.c - a worker: the way of a job as in worker/flow.h, one station per function.
 *
 *     FREE -> WAITING (its turn) -> STARTING (mark and claim) -> RUNNING -> ENDING (last frames)
 *          -> ANSWERED (its commit) -> FREE
 *
 * STOPPED: left to another worker, until the partition has gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_stream.h"
#include "worker/sched.h"
#include "worker/suspects.h"

#define SLOTS         6
#define MAX_RUNNING   4
#define STEP_TOKENS   8
#define PROMPT_TOKENS 5
#define HEARTBEAT_MS  100

typedef enum slot_state { FREE, WAITING, STARTING, RUNNING, ENDING, ANSWERED, STOPPED } slot_state;

typedef struct slot {
    slot_state state;
    int job;
    mr_origin at;
    uint32_t generation; /* tells a late answer from one of the present job */
    bool marked, mark_asked, unmarked, claimed, has_lane;
    bool ran; /* before, elsewhere or here */
    uint32_t n_made, pending;
    sim_lane lane;
} slot;

struct sim_worker {
    sim_world *w;
    int number;
    bool odd, died;
    sim_consumer *consumer;
    mr_suspects *suspects;
    mr_sched *sched;
    slot slots[SLOTS];
    uint64_t heartbeat_at;
};

static sim_commit *commit_of(const sim_worker *k) {
    return sim_consumer_commit(k->consumer);
}

static uint64_t ticket(const sim_worker *k, const slot *j) {
    return (uint64_t)j->generation * SLOTS + (uint64_t)(j - k->slots);
}

static slot *slot_of(sim_worker *k, uint64_t arg) {
    slot *j = &k->slots[arg % SLOTS];
    return j->generation == arg / SLOTS ? j : NULL;
}

static void free_slot(sim_worker *k, slot *j) {
    const uint32_t id = (uint32_t)(j - k->slots);
    if (j->state == RUNNING) mr_sched_drop(k->sched, id);
    mr_suspects_drop(k->suspects, id);
    if (j->has_lane) sim_lane_drop(&j->lane);
    *j = (slot){.generation = j->generation + 1};
}

/* ---- in ---- */

static bool may_take(void *owner, int part) {
    const sim_worker *k = owner;
    (void)part;
    for (int i = 0; i < SLOTS; i++)
        if (k->slots[i].state == FREE) return true;
    return false;
}

static void on_answered(void *owner, uint64_t arg, mr_status status, int64_t offset) {
    slot *j = slot_of(owner, arg);
    (void)status;
    (void)offset;
    if (j) free_slot(owner, j);
}

static void answer(sim_worker *k, slot *j, sim_status status) {
    sim_put puts[SIM_ITEM_PUTS] = {
        {.tp = SIM_RESULTS + j->job % SIM_N_RESULTS, .r = {.job = j->job, .status = status}},
        {.tp = SIM_DEAD, .r = {.job = j->job}}};
    for (uint32_t i = 0; i < j->n_made; i++) {
        char text[8];
        const size_t n = sim_token_text(sim_token(j->job, i), k->odd, text);
        puts[0].r.text = sim_text_add(puts[0].r.text, sim_hash(text, n));
    }
    puts[0].r.n_tokens = j->n_made;
    puts[0].r.degraded = j->lane.cut;
    j->state = ANSWERED;
    sim_commit_send(commit_of(k), j->at, puts, status == SIM_POISONED ? 2 : 1, on_answered,
                    ticket(k, j));
}

static void on_record(void *owner, mr_origin at, const sim_record *r) {
    sim_worker *k = owner;
    const unsigned deaths = mr_parts_deaths(sim_commit_parts(commit_of(k)), at);
    slot *j = k->slots;
    while (j->state != FREE) j++;
    j->job = r->job;
    j->at = at;
    j->state = WAITING;
    k->w->s.seen[SIM_SEEN_POISONED] += deaths >= SIM_MAX_DEATHS;
    if (deaths >= SIM_MAX_DEATHS)
        answer(k, j, SIM_POISONED);
    else
        mr_suspects_add(k->suspects, (uint32_t)(j - k->slots), deaths);
}

/* ---- start ---- */

static void on_marked(void *owner, uint64_t arg, mr_status status, int64_t offset) {
    slot *j = slot_of(owner, arg);
    (void)offset;
    if (j && status == MR_OK) j->marked = true;
}

static void start_jobs(sim_worker *k) {
    uint32_t id;
    while (mr_suspects_next(k->suspects, &id)) {
        slot *j = &k->slots[id];
        const bool ran = mr_parts_was_started(sim_commit_parts(commit_of(k)), j->at);
        if (sim_commit_mark(commit_of(k), j->at, on_marked, ticket(k, j)) != MR_OK) {
            mr_suspects_wait(k->suspects, id);
            return;
        }
        sim_note(&k->w->s, "worker", k->number, "starts", j->job, ran);
        j->state = STARTING;
        j->mark_asked = j->has_lane = true;
        j->ran = ran;
        sim_lane_begin(&j->lane, k->w, j->job, k->odd, ran);
    }
}

/* Tokens that were made before count; readers start again if they are shown otherwise here. */
static void take_over(sim_worker *k, slot *j, const mr_takeover *t) {
    size_t len = 0;
    bool same = true;
    j->n_made = (uint32_t)t->n_tokens;
    k->w->s.seen[SIM_SEEN_TAKEOVER] += j->n_made > 0;
    for (uint32_t i = 0; i < j->n_made; i++) {
        char text[8];
        const size_t n = sim_token_text(t->tokens[i], k->odd, text);
        if (t->tokens[i] != sim_token(j->job, i))
            sim_fail(&k->w->s, "job %d: token %u taken over is wrong", j->job, i);
        same = same && len + n <= t->text_len && memcmp(text, t->text + len, n) == 0;
        len += n;
    }
    if (!same || len != t->text_len) sim_lane_restart(&j->lane);
}

static void go_on_starting(sim_worker *k, slot *j) {
    mr_takeover t;
    if (!j->claimed && sim_lane_claim(&j->lane, &t)) {
        j->claimed = true;
        take_over(k, j, &t);
    }
    if (!j->claimed || (!j->marked && sim_bug_planted != SIM_BUG_NO_MARK)) return;
    j->state = RUNNING;
    j->pending = PROMPT_TOKENS + j->n_made;
    mr_sched_add(k->sched, (uint32_t)(j - k->slots), MR_PRIORITY_NORMAL, 1);
}

/* ---- run ---- */

/* False: it killed the process. */
static bool make_token(sim_worker *k, slot *j) {
    sim_job *job = &k->w->jobs[j->job];
    if (job->kind == SIM_JOB_POISON && j->n_made == job->dies_at) {
        job->killed++;
        return false;
    }
    j->n_made++;
    return true;
}

static void engine_step(sim_worker *k) {
    mr_sched_item items[MAX_RUNNING];
    uint32_t id;
    while (mr_sched_next(k->sched, SLOTS, &id)) mr_sched_start(k->sched, id, k->slots[id].pending);
    const size_t n = mr_sched_plan(k->sched, items);
    for (size_t i = 0; i < n && !k->died; i++) {
        slot *j = &k->slots[items[i].id];
        j->pending -= items[i].n_tokens;
        if (j->pending == 0) {
            k->died = j->n_made < k->w->jobs[j->job].n_tokens && !make_token(k, j);
            j->pending = 1;
        }
        mr_sched_computed(k->sched, items[i].id, j->pending);
    }
}

static void move_on(sim_worker *k, slot *j) {
    if (j->state == STARTING) go_on_starting(k, j);
    if (j->state == RUNNING) {
        sim_lane_send(&j->lane, j->n_made);
        if (j->n_made < k->w->jobs[j->job].n_tokens) return;
        mr_sched_drop(k->sched, (uint32_t)(j - k->slots));
        j->state = ENDING;
    }
    if (j->state == ENDING && sim_lane_end(&j->lane)) answer(k, j, SIM_SUCCEEDED);
}

/* ---- partitions ---- */

static void on_leaving(void *owner) {
    sim_worker *k = owner;
    for (int i = 0; i < SLOTS; i++) {
        slot *j = &k->slots[i];
        if (!j->mark_asked || j->state == ANSWERED) continue;
        const bool began = j->ran || j->state != STARTING;
        if (j->state == RUNNING) mr_sched_drop(k->sched, (uint32_t)i);
        j->state = STOPPED; /* it runs no more: now it may be unmarked */
        sim_commit_unmark(commit_of(k), j->at, began);
        j->unmarked = true;
    }
}

/* Who was marked, and has not been unmarked for all to see, will count as died. */
static void count_deaths(sim_worker *k) {
    const bool flushed = sim_commit_idle(commit_of(k));
    for (int i = 0; i < SLOTS; i++) {
        const slot *j = &k->slots[i];
        if (j->mark_asked && !(j->unmarked && flushed)) k->w->jobs[j->job].ran++;
    }
}

static void on_lost(void *owner) {
    sim_worker *k = owner;
    count_deaths(k);
    for (int i = 0; i < SLOTS; i++)
        if (k->slots[i].state != FREE) free_slot(k, &k->slots[i]);
}

/* ---- the process ---- */

static void send_heartbeat(sim_worker *k) {
    mr_parts *p = sim_commit_parts(commit_of(k));
    struct mr_heartbeat_part parts[SIM_N_WORK];
    char name[16];
    mr_heartbeat h = {.worker = name, .model = "m", .parts = parts, .max_slots = SLOTS};

    if (k->w->s.now < k->heartbeat_at || !sim_kafka_up(k->w->kafka)) return;
    k->heartbeat_at = k->w->s.now + HEARTBEAT_MS;
    snprintf(name, sizeof name, "w%d", k->number);
    for (int i = 0; i < SLOTS; i++) h.free_slots += k->slots[i].state == FREE;
    for (int i = 0; i < mr_parts_count(p); i++)
        if (mr_parts_assigned(p, i))
            parts[h.n_parts++] = (struct mr_heartbeat_part){mr_parts_partition(p, i) - SIM_WORK,
                                                            sim_consumer_position(k->consumer, i)};
    for (int i = 0; i < SIM_DISPATCHER_N; i++) {
        const sim_process *d = &k->w->processes[i];
        if (d->dispatcher && d->paused_until <= k->w->s.now && !sim_chance(&k->w->s, k->w->s.lost))
            sim_dispatcher_heard(d->dispatcher, &h);
    }
}

sim_worker *sim_worker_start(sim_world *w, int number) {
    sim_worker *k = calloc(1, sizeof *k);
    MR_CHECK(k);
    k->w = w;
    k->number = number;
    k->odd = number == w->odd_worker;
    MR_CHECK(mr_suspects_open(&k->suspects, SLOTS, NULL) == MR_OK);
    const mr_sched_conf sched = {
        .n_ids = SLOTS, .max_running = MAX_RUNNING, .step_tokens = STEP_TOKENS};
    MR_CHECK(mr_sched_open(&k->sched, &sched, NULL) == MR_OK);
    k->consumer = sim_consumer_open(&w->s, w->kafka,
                                    &(sim_consumer_conf){.group = SIM_WORKERS,
                                                         .transactional_id = number,
                                                         .owner = k,
                                                         .on_leaving = on_leaving,
                                                         .on_lost = on_lost,
                                                         .may_take = may_take,
                                                         .on_record = on_record});
    return k;
}

void sim_worker_tick(sim_worker *k) {
    sim_consumer_tick(k->consumer);
    start_jobs(k);
    engine_step(k);
    for (int i = 0; i < SLOTS && !k->died; i++) move_on(k, &k->slots[i]);
    if (!k->died) send_heartbeat(k);
}

bool sim_worker_died(const sim_worker *k) {
    return k->died;
}

sim_consumer *sim_worker_consumer(sim_worker *k) {
    return k->consumer;
}

void sim_worker_kill(sim_worker *k) {
    if (!k) return;
    count_deaths(k);
    for (int i = 0; i < SLOTS; i++)
        if (k->slots[i].state != FREE) free_slot(k, &k->slots[i]);
    sim_consumer_kill(k->consumer);
    mr_sched_close(k->sched);
    mr_suspects_close(k->suspects);
    free(k);
}
