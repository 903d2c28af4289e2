/* sim_commit.c - see sim_commit.h. Items wait in one array in order: first those of the oldest
 * batch that is under way, then those of the one behind it, then what is in none. */
#include "sim_commit.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 256
#define CALL_MS   800
#define LATE_MS   (2 * SIM_TRANSACTION_MS)
#define QUICK_MS  10

typedef struct item {
    mr_origin at;
    bool is_mark, told;
    sim_put puts[SIM_ITEM_PUTS];
    size_t n_puts;
    sim_done *done;
    uint64_t arg;
} item;

/* A request on its way. Lives as long as the world: it may arrive when its sender is dead. */
typedef struct request {
    sim_kafka *k;
    sim *s;
    mr_txn_call call;
    int id, member;
    sim_group group;
    uint32_t epoch, generation;
    sim_put *puts;
    size_t n_puts;
    sim_offset *after, *before; /* [n_tp] */
    size_t n_tp;
    bool answered;
    mr_txn_outcome outcome;
    uint64_t give_up;
} request;

typedef struct lane { /* a producer */
    mr_txn_plan plan;
    int id;
    uint32_t epoch;
    uint64_t call_at, begun;
    bool in_txn;
    request *under_way; /* the call that waits for its answer */
    request *batch;     /* what the batch consists of */
    mr_origin rows[SIM_N_WORK];
    size_t n_items; /* in the batch */
} lane;

struct sim_commit {
    sim *s;
    sim_kafka *k;
    sim_commit_conf conf;
    mr_parts *parts;
    mr_txn_turns turns;
    lane lanes[MR_TXN_LANES];
    item items[MAX_ITEMS];
    size_t n_items;
    sim_offset known[SIM_N_TP]; /* by row: last commit that we know of */
};

static size_t n_in_batches(const sim_commit *c) {
    size_t n = 0;
    for (int i = 0; i < MR_TXN_LANES; i++) n += c->lanes[i].n_items;
    return n;
}

/* Its items; those of the batch before it stand in front. */
static item *items_of(sim_commit *c, const lane *l) {
    const int oldest = mr_txn_turns_oldest(&c->turns);
    const bool is_oldest = oldest < 0 || &c->lanes[oldest] == l;
    return c->items + (is_oldest ? 0 : c->lanes[oldest].n_items);
}

/* ---- requests ---- */

static mr_txn_outcome compare(const request *r, const sim_offset *now) {
    bool as_batch = false;
    for (size_t i = 0; i < r->n_tp; i++) {
        const sim_offset *b = &r->before[i], *a = &r->after[i];
        if (a->offset == b->offset && !strcmp(a->text, b->text)) continue;
        if (now[i].offset == b->offset && !strcmp(now[i].text, b->text)) return MR_TXN_ABSENT;
        as_batch |= now[i].offset == a->offset && !strcmp(now[i].text, a->text);
    }
    return as_batch ? MR_TXN_PRESENT : MR_TXN_ABSENT;
}

static mr_txn_outcome read_back(const request *r) {
    sim_offset now[SIM_N_WORK];
    if (sim_bug_planted == SIM_BUG_NO_READ) return MR_TXN_ABSENT;
    memcpy(now, r->after, r->n_tp * sizeof *now);
    if (!sim_kafka_committed(r->k, r->group, now, r->n_tp)) return MR_TXN_RETRIABLE;
    return compare(r, now);
}

static mr_txn_outcome serve(request *r) {
    switch (r->call) {
    case MR_TXN_INIT:
        return sim_kafka_init_producer(r->k, r->id, &r->epoch);
    case MR_TXN_READ:
        return read_back(r);
    case MR_TXN_PRODUCE:
        return sim_kafka_append(r->k, r->id, r->epoch, r->puts, r->n_puts);
    case MR_TXN_OFFSETS:
        return sim_kafka_add_offsets(r->k, r->id, r->epoch, r->group, r->member, r->generation,
                                     r->after, r->n_tp);
    case MR_TXN_COMMIT:
        return sim_kafka_commit_txn(r->k, r->id, r->epoch);
    case MR_TXN_ABORT:
        return sim_kafka_abort_txn(r->k, r->id, &r->epoch);
    default:
        MR_CHECK(!"not a request");
        return MR_TXN_OK;
    }
}

static void on_answer(void *self, uint64_t arg) {
    (void)arg;
    ((request *)self)->answered = true;
}

static void on_arrival(void *self, uint64_t arg) {
    request *r = self;
    if (!sim_kafka_up(r->k)) return;
    r->outcome = serve(r);
    if (r->outcome == MR_TXN_RETRIABLE &&
        (r->call == MR_TXN_PRODUCE || r->call == MR_TXN_OFFSETS)) {
        sim_after(r->s, QUICK_MS, on_arrival, r, arg); /* the library's own retry */
        return;
    }
    sim_note(r->s, mr_txn_call_name(r->call), r->id, mr_txn_outcome_name(r->outcome),
             (int64_t)r->epoch, (int64_t)r->n_puts);
    r->s->seen[SIM_SEEN_LATE] += r->call == MR_TXN_COMMIT && r->s->now > r->give_up;
    r->s->seen[SIM_SEEN_STALE] += r->outcome == MR_TXN_STALE;
    if (!sim_chance(r->s, r->s->lost)) sim_after(r->s, arg, on_answer, r, 0);
}

/* The brokers handle the offsets of one producer in the order in which they were sent; the others
 * may be held back anywhere. */
static void post(request *r) {
    sim *s = r->s;
    uint64_t ms = sim_random(s, QUICK_MS);
    if (sim_chance(s, s->slow)) ms += sim_random(s, CALL_MS);
    if (sim_chance(s, s->lost)) return;
    if (r->call != MR_TXN_OFFSETS && sim_chance(s, s->late)) ms += sim_random(s, LATE_MS);
    sim_after(s, ms, on_arrival, r, sim_random(s, QUICK_MS));
}

/* ---- calls ---- */

static mr_txn_outcome timed_out(mr_txn_call call) {
    if (call == MR_TXN_COMMIT || call == MR_TXN_ABORT) return MR_TXN_UNKNOWN;
    return call == MR_TXN_PRODUCE ? MR_TXN_ABORTABLE : MR_TXN_RETRIABLE;
}

static bool is_local(const lane *l) {
    const mr_txn_call call = l->plan.call;
    return call == MR_TXN_REBUILD || call == MR_TXN_BEGIN ||
           (call == MR_TXN_PRODUCE && l->batch->n_puts == 0) ||
           (call == MR_TXN_OFFSETS && l->batch->n_tp == 0) ||
           (call == MR_TXN_COMMIT && l->batch->n_puts == 0 && l->batch->n_tp == 0);
}

static void start_call(sim_commit *c, lane *l) {
    request *r = sim_alloc(c->s, sizeof *r);
    if (l->batch) *r = *l->batch;
    r->k = c->k;
    r->s = c->s;
    r->call = l->plan.call;
    r->id = l->id;
    r->group = c->conf.group;
    r->epoch = l->epoch;
    r->give_up = c->s->now + CALL_MS;
    if (r->n_puts > 0) {
        r->puts = sim_alloc(c->s, r->n_puts * sizeof *r->puts);
        memcpy(r->puts, l->batch->puts, r->n_puts * sizeof *r->puts);
    }
    l->under_way = r;
    post(r);
}

/* Fenced while the transaction was open for longer than it may: the coordinator did it. */
static mr_txn_outcome judge(const sim_commit *c, const lane *l, mr_txn_outcome o) {
    if (o != MR_TXN_FENCED) return o;
    return l->in_txn && c->s->now - l->begun >= SIM_TRANSACTION_MS ? MR_TXN_DEAD : MR_TXN_FENCED;
}

static void note_success(sim_commit *c, lane *l, const request *r) {
    item *items = items_of(c, l);
    if (r->call == MR_TXN_INIT || r->call == MR_TXN_ABORT) l->epoch = r->epoch;
    if (r->call != MR_TXN_PRODUCE) return;
    for (size_t i = 0, n = 0; i < l->n_items && n < r->n_puts; i++)
        for (size_t p = 0; p < items[i].n_puts; p++) items[i].puts[p].offset = r->puts[n++].offset;
}

/* False: the batch before is not decided yet. */
static bool turn_of(sim_commit *c, lane *l, mr_txn_outcome *o) {
    const mr_txn_turn turn = c->turns.turn[l - c->lanes];
    mr_txn_turns_produced(&c->turns, (int)(l - c->lanes));
    *o = turn == MR_TXN_DOOMED && sim_bug_planted != SIM_BUG_NO_TURN ? MR_TXN_LOST_TURN : MR_TXN_OK;
    return turn != MR_TXN_WAIT || sim_bug_planted == SIM_BUG_NO_TURN;
}

/* The outcome of the present call; false: not yet. */
static bool outcome_of(sim_commit *c, lane *l, mr_txn_outcome *o) {
    const request *r = l->under_way;
    if (l->plan.call == MR_TXN_TURN) return turn_of(c, l, o);
    if (is_local(l)) {
        if (l->plan.call == MR_TXN_BEGIN) l->begun = c->s->now;
        l->in_txn = l->plan.call != MR_TXN_REBUILD;
        *o = MR_TXN_OK;
        return true;
    }
    if (!r) {
        start_call(c, l);
        return false;
    }
    if (!r->answered && c->s->now < r->give_up) return false;
    *o = r->answered ? judge(c, l, r->outcome) : timed_out(r->call);
    if (r->answered && *o == MR_TXN_OK) note_success(c, l, r);
    if (r->call == MR_TXN_COMMIT || r->call == MR_TXN_ABORT) l->in_txn = false;
    l->under_way = NULL;
    return true;
}

/* ---- items ---- */

static void tell(sim_commit *c, item *it, mr_status status) {
    const item copy = *it;
    it->told = true;
    if (!copy.told && copy.done)
        copy.done(c->conf.owner, copy.arg, status, copy.n_puts ? copy.puts[0].offset : -1);
}

static void drop_items(sim_commit *c, item *from, size_t n) {
    const size_t behind = c->n_items - n - (size_t)(from - c->items);
    memmove(from, from + n, behind * sizeof *from);
    c->n_items -= n;
}

/* Items of partitions that are not ours any more leave, unless they are in a batch. */
static void sweep(sim_commit *c) {
    for (size_t i = n_in_batches(c); i < c->n_items;) {
        if (mr_parts_holds(c->parts, c->items[i].at)) {
            i++;
            continue;
        }
        item gone = c->items[i];
        drop_items(c, &c->items[i], 1);
        tell(c, &gone, MR_ECANCELED);
    }
}

static item *add_item(sim_commit *c, mr_origin at, sim_done *done, uint64_t arg) {
    MR_CHECK(c->n_items < MAX_ITEMS);
    c->items[c->n_items] = (item){.at = at, .done = done, .arg = arg};
    return &c->items[c->n_items++];
}

void sim_commit_send(sim_commit *c, mr_origin at, const sim_put *puts, size_t n, sim_done *done,
                     uint64_t arg) {
    item *it = add_item(c, at, done, arg);
    MR_CHECK(n <= SIM_ITEM_PUTS);
    memcpy(it->puts, puts, n * sizeof *puts);
    it->n_puts = n;
}

mr_status sim_commit_mark(sim_commit *c, mr_origin at, sim_done *done, uint64_t arg) {
    const mr_status st = mr_parts_mark(c->parts, at);
    if (st == MR_OK) add_item(c, at, done, arg)->is_mark = true;
    return st;
}

void sim_commit_unmark(sim_commit *c, mr_origin at) {
    mr_parts_unmark(c->parts, at);
}

/* ---- batches ---- */

static void collect_row(sim_commit *c, lane *l, int part) {
    char text[MR_OFFSETS_MAX_METADATA + 1];
    request *b = l->batch;
    const int64_t offset = mr_parts_commit(c->parts, part, text, sizeof text);
    const int tp = mr_parts_partition(c->parts, part);
    if (offset < 0) return;
    if (sim_bug_planted == SIM_BUG_NO_METADATA) text[0] = '\0';
    b->after[b->n_tp] = (sim_offset){tp, offset, sim_copy(c->s, text)};
    b->before[b->n_tp] = c->known[part];
    l->rows[b->n_tp++] = mr_parts_origin(c->parts, part, offset);
    mr_parts_collected(c->parts, part);
}

static bool anything_to_commit(const sim_commit *c) {
    if (c->n_items > n_in_batches(c)) return true;
    for (int i = 0; i < mr_parts_count(c->parts); i++)
        if (mr_parts_dirty(c->parts, i)) return true;
    return false;
}

static void form_batch(sim_commit *c, lane *l, int member, uint32_t generation) {
    request *b = l->batch = sim_alloc(c->s, sizeof *b);
    item *items = c->items + n_in_batches(c);
    size_t n_puts = 0;
    l->n_items = (size_t)(c->items + c->n_items - items);
    for (size_t i = 0; i < l->n_items; i++)
        if (!items[i].is_mark) mr_parts_finish(c->parts, items[i].at);
    if (sim_bug_planted == SIM_BUG_EARLY_BIT) l->n_items -= l->n_items / 2;
    for (size_t i = 0; i < l->n_items; i++) n_puts += items[i].n_puts;
    b->puts = sim_alloc(c->s, n_puts * sizeof *b->puts + 1);
    for (size_t i = 0; i < l->n_items; i++)
        for (size_t p = 0; p < items[i].n_puts; p++) b->puts[b->n_puts++] = items[i].puts[p];
    b->after = sim_alloc(c->s, SIM_N_WORK * sizeof *b->after);
    b->before = sim_alloc(c->s, SIM_N_WORK * sizeof *b->before);
    for (int i = 0; i < mr_parts_count(c->parts); i++)
        if (mr_parts_dirty(c->parts, i)) collect_row(c, l, i);
    b->member = member;
    b->generation = sim_bug_planted == SIM_BUG_NO_GENERATION ? SIM_ANY_GENERATION : generation;
    const mr_txn_turn turn = mr_txn_turns_give(&c->turns, (int)(l - c->lanes));
    c->s->seen[SIM_SEEN_OVERLAP] += turn == MR_TXN_WAIT;
    mr_txn_plan_batch(&l->plan);
    l->call_at = c->s->now + l->plan.pause_ms;
}

static void on_committed(sim_commit *c, lane *l) {
    item done[MAX_ITEMS], *items = items_of(c, l);
    const size_t n = l->n_items;
    const int number = (int)(l - c->lanes);
    for (size_t i = 0; i < l->batch->n_tp; i++)
        if (mr_parts_holds(c->parts, l->rows[i])) c->known[l->rows[i].part] = l->batch->after[i];
    memcpy(done, items, n * sizeof *done);
    drop_items(c, items, n);
    l->n_items = 0;
    /* with a bug planted it may not have been its turn */
    const bool was_its_turn = c->turns.turn[number] == MR_TXN_GO;
    const int next = mr_txn_turns_decided(&c->turns, number, was_its_turn);
    for (size_t i = 0; next >= 0 && i < c->lanes[next].batch->n_tp; i++) {
        const mr_origin at = c->lanes[next].rows[i];
        if (mr_parts_holds(c->parts, at)) c->lanes[next].batch->before[i] = c->known[at.part];
    }
    for (size_t i = 0; i < n; i++) tell(c, &done[i], MR_OK);
}

/* What was in it goes with what is in the batch behind it, or waits again. */
static void on_aborted(sim_commit *c, lane *l) {
    const int next = mr_txn_turns_decided(&c->turns, (int)(l - c->lanes), false);
    for (size_t i = 0; i < l->batch->n_tp; i++)
        if (mr_parts_holds(c->parts, l->rows[i])) mr_parts_soil(c->parts, l->rows[i].part);
    if (next >= 0) c->lanes[next].n_items += l->n_items;
    c->s->seen[SIM_SEEN_DOOMED] += next >= 0;
    l->n_items = 0;
}

static void on_verdict(sim_commit *c, lane *l, mr_txn_verdict v) {
    if (v == MR_TXN_OPEN) return;
    if (v == MR_TXN_COMMITTED)
        on_committed(c, l);
    else
        on_aborted(c, l);
    l->batch = NULL;
    sweep(c);
}

static void count(sim_commit *c, mr_txn_call call, mr_txn_outcome o) {
    c->s->seen[SIM_SEEN_UNKNOWN] += o == MR_TXN_UNKNOWN && call == MR_TXN_COMMIT;
    c->s->seen[SIM_SEEN_PRESENT] += o == MR_TXN_PRESENT;
    c->s->seen[SIM_SEEN_ABSENT] += o == MR_TXN_ABSENT;
    c->s->seen[SIM_SEEN_FENCED] += o == MR_TXN_FENCED;
}

/* False: the lane cannot go on now. */
static bool run_lane(sim_commit *c, lane *l) {
    mr_txn_outcome o;
    const mr_txn_call call = l->plan.call;
    if (call == MR_TXN_IDLE || call == MR_TXN_FATAL) return false;
    if (c->s->now < l->call_at || !outcome_of(c, l, &o)) return false;
    const mr_txn_verdict v = mr_txn_plan_next(&l->plan, o);
    count(c, call, o);
    l->call_at = c->s->now + l->plan.pause_ms;
    on_verdict(c, l, v);
    return true;
}

static bool give(sim_commit *c, int member, uint32_t generation) {
    unsigned usable = 0;
    for (int i = 0; i < MR_TXN_LANES; i++) usable |= (c->lanes[i].plan.call == MR_TXN_IDLE) << i;
    const int next = mr_txn_turns_next(&c->turns, usable);
    sweep(c);
    if (next < 0 || member < 0 || !anything_to_commit(c)) return false;
    form_batch(c, &c->lanes[next], member, generation);
    return true;
}

void sim_commit_tick(sim_commit *c, int member, uint32_t generation) {
    bool goes_on = true;
    while (goes_on && !sim_commit_failed(c)) {
        goes_on = give(c, member, generation);
        for (int i = 0; i < MR_TXN_LANES; i++) goes_on |= run_lane(c, &c->lanes[i]);
    }
}

bool sim_commit_idle(const sim_commit *c) {
    return mr_txn_turns_oldest(&c->turns) < 0 && !anything_to_commit(c);
}

bool sim_commit_failed(const sim_commit *c) {
    for (int i = 0; i < MR_TXN_LANES; i++)
        if (c->lanes[i].plan.call == MR_TXN_FATAL) return true;
    return false;
}

/* ---- partitions, open and end ---- */

mr_parts *sim_commit_parts(sim_commit *c) {
    return c->parts;
}

int sim_commit_assign(sim_commit *c, const sim_offset *at) {
    mr_err refused, err;
    const char *topic = c->conf.group == SIM_WORKERS ? "work" : "jobs";
    const int part = mr_parts_assign(c->parts, topic, at->tp, at->offset < 0 ? 0 : at->offset,
                                     at->text, strlen(at->text), &refused, &err);
    MR_CHECK(part >= 0);
    if (refused.status != MR_OK) sim_fail(c->s, "partition %d: %s", at->tp, refused.text);
    c->known[part] = *at;
    return part;
}

void sim_commit_revoke(sim_commit *c, int part) {
    mr_parts_revoke(c->parts, part);
    sweep(c);
    for (size_t i = 0; i < n_in_batches(c); i++)
        if (c->items[i].at.part == part) tell(c, &c->items[i], MR_ECANCELED);
}

sim_commit *sim_commit_open(sim *s, sim_kafka *k, const sim_commit_conf *conf) {
    sim_commit *c = calloc(1, sizeof *c);
    MR_CHECK(c);
    c->s = s;
    c->k = k;
    c->conf = *conf;
    MR_CHECK(mr_parts_open(&c->parts, MR_OFFSETS_MIN_WINDOW, NULL) == MR_OK);
    mr_txn_turns_init(&c->turns, MR_TXN_LANES);
    for (int i = 0; i < MR_TXN_LANES; i++) {
        mr_txn_plan_init(&c->lanes[i].plan);
        c->lanes[i].id = conf->transactional_id * MR_TXN_LANES + i;
    }
    return c;
}

void sim_commit_kill(sim_commit *c) {
    if (!c) return;
    mr_parts_close(c->parts);
    free(c);
}
