/* sim_commit.c - see sim_commit.h. Items wait in one array in order; the first n_in_batch of them
 * are in the batch that is under way. */
#include "sim_commit.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 256
#define CALL_MS   800
#define LATE_MS   (2 * SIM_TRANSACTION_MS)
#define QUICK_MS  10
#define NOBODY    (-1)

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

struct sim_commit {
    sim *s;
    sim_kafka *k;
    sim_commit_conf conf;
    mr_parts *parts;
    mr_txn_plan plan;
    uint32_t epoch;
    uint64_t call_at, begun;
    bool in_txn;
    request *under_way; /* the call that waits for its answer */
    request *batch;     /* what the batch consists of */
    mr_origin rows[SIM_N_WORK];
    item items[MAX_ITEMS];
    size_t n_items, n_in_batch;
    sim_offset known[SIM_N_TP]; /* by row: last commit that we know of */
};

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

static bool is_local(const sim_commit *c) {
    return c->plan.call == MR_TXN_REBUILD || c->plan.call == MR_TXN_BEGIN ||
           (c->plan.call == MR_TXN_PRODUCE && c->batch->n_puts == 0) ||
           (c->plan.call == MR_TXN_OFFSETS && c->batch->n_tp == 0) ||
           (c->plan.call == MR_TXN_COMMIT && c->batch->n_puts == 0 && c->batch->n_tp == 0);
}

static void start_call(sim_commit *c) {
    request *r = sim_alloc(c->s, sizeof *r);
    if (c->batch) *r = *c->batch;
    r->k = c->k;
    r->s = c->s;
    r->call = c->plan.call;
    r->id = c->conf.transactional_id;
    r->group = c->conf.group;
    r->epoch = c->epoch;
    r->give_up = c->s->now + CALL_MS;
    if (r->n_puts > 0) {
        r->puts = sim_alloc(c->s, r->n_puts * sizeof *r->puts);
        memcpy(r->puts, c->batch->puts, r->n_puts * sizeof *r->puts);
    }
    c->under_way = r;
    post(r);
}

/* Fenced while the transaction was open for longer than it may: the coordinator did it. */
static mr_txn_outcome judge(const sim_commit *c, mr_txn_outcome o) {
    if (o != MR_TXN_FENCED) return o;
    return c->in_txn && c->s->now - c->begun >= SIM_TRANSACTION_MS ? MR_TXN_DEAD : MR_TXN_FENCED;
}

static void note_success(sim_commit *c, const request *r) {
    if (r->call == MR_TXN_INIT || r->call == MR_TXN_ABORT) c->epoch = r->epoch;
    if (r->call != MR_TXN_PRODUCE) return;
    for (size_t i = 0, n = 0; i < c->n_in_batch; i++)
        for (size_t p = 0; p < c->items[i].n_puts; p++)
            c->items[i].puts[p].offset = r->puts[n++].offset;
}

/* The outcome of the present call; false: not yet. */
static bool outcome_of(sim_commit *c, mr_txn_outcome *o) {
    const request *r = c->under_way;
    if (is_local(c)) {
        if (c->plan.call == MR_TXN_BEGIN) c->begun = c->s->now;
        c->in_txn = c->plan.call != MR_TXN_REBUILD;
        *o = MR_TXN_OK;
        return true;
    }
    if (!r) {
        start_call(c);
        return false;
    }
    if (!r->answered && c->s->now < r->give_up) return false;
    *o = r->answered ? judge(c, r->outcome) : timed_out(r->call);
    if (r->answered && *o == MR_TXN_OK) note_success(c, r);
    if (r->call == MR_TXN_COMMIT || r->call == MR_TXN_ABORT) c->in_txn = false;
    c->under_way = NULL;
    return true;
}

/* ---- items ---- */

static void tell(sim_commit *c, item *it, mr_status status) {
    const item copy = *it;
    it->told = true;
    if (!copy.told && copy.done)
        copy.done(c->conf.owner, copy.arg, status, copy.n_puts ? copy.puts[0].offset : -1);
}

static void drop_items(sim_commit *c, size_t from, size_t n) {
    memmove(c->items + from, c->items + from + n, (c->n_items - from - n) * sizeof *c->items);
    c->n_items -= n;
}

/* Items of partitions that are not ours any more leave, unless they are in the batch. */
static void sweep(sim_commit *c) {
    for (size_t i = c->n_in_batch; i < c->n_items;) {
        if (mr_parts_holds(c->parts, c->items[i].at)) {
            i++;
            continue;
        }
        item gone = c->items[i];
        drop_items(c, i, 1);
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

void sim_commit_unmark(sim_commit *c, mr_origin at, bool began) {
    mr_parts_unmark(c->parts, at, began);
}

/* ---- batches ---- */

static void collect_row(sim_commit *c, request *b, int part) {
    char text[MR_OFFSETS_MAX_METADATA + 1];
    const int64_t offset = mr_parts_commit(c->parts, part, text, sizeof text);
    const int tp = mr_parts_partition(c->parts, part);
    if (offset < 0) return;
    if (sim_bug_planted == SIM_BUG_NO_METADATA) text[0] = '\0';
    b->after[b->n_tp] = (sim_offset){tp, offset, sim_copy(c->s, text)};
    b->before[b->n_tp] = c->known[part];
    c->rows[b->n_tp++] = mr_parts_origin(c->parts, part, offset);
    mr_parts_collected(c->parts, part);
}

static bool anything_to_commit(const sim_commit *c) {
    if (c->n_items > 0) return true;
    for (int i = 0; i < mr_parts_count(c->parts); i++)
        if (mr_parts_dirty(c->parts, i)) return true;
    return false;
}

static void form_batch(sim_commit *c, int member, uint32_t generation) {
    request *b = sim_alloc(c->s, sizeof *b);
    size_t n_puts = 0;
    c->n_in_batch = c->n_items;
    for (size_t i = 0; i < c->n_items; i++)
        if (!c->items[i].is_mark) mr_parts_finish(c->parts, c->items[i].at);
    if (sim_bug_planted == SIM_BUG_EARLY_BIT) c->n_in_batch -= c->n_items / 2;
    for (size_t i = 0; i < c->n_in_batch; i++) n_puts += c->items[i].n_puts;
    b->puts = sim_alloc(c->s, n_puts * sizeof *b->puts + 1);
    for (size_t i = 0; i < c->n_in_batch; i++)
        for (size_t p = 0; p < c->items[i].n_puts; p++) b->puts[b->n_puts++] = c->items[i].puts[p];
    b->after = sim_alloc(c->s, SIM_N_WORK * sizeof *b->after);
    b->before = sim_alloc(c->s, SIM_N_WORK * sizeof *b->before);
    for (int i = 0; i < mr_parts_count(c->parts); i++)
        if (mr_parts_dirty(c->parts, i)) collect_row(c, b, i);
    b->member = member;
    b->generation = sim_bug_planted == SIM_BUG_NO_GENERATION ? SIM_ANY_GENERATION : generation;
    c->batch = b;
    mr_txn_plan_batch(&c->plan);
}

static void on_committed(sim_commit *c) {
    item done[MAX_ITEMS];
    const size_t n = c->n_in_batch;
    for (size_t i = 0; i < c->batch->n_tp; i++)
        if (mr_parts_holds(c->parts, c->rows[i])) c->known[c->rows[i].part] = c->batch->after[i];
    memcpy(done, c->items, n * sizeof *done);
    c->n_in_batch = 0;
    drop_items(c, 0, n);
    for (size_t i = 0; i < n; i++) tell(c, &done[i], MR_OK);
}

static void on_verdict(sim_commit *c, mr_txn_verdict v) {
    if (v == MR_TXN_OPEN) return;
    if (v == MR_TXN_COMMITTED) on_committed(c);
    for (size_t i = 0; v == MR_TXN_ABORTED && i < c->batch->n_tp; i++)
        if (mr_parts_holds(c->parts, c->rows[i])) mr_parts_soil(c->parts, c->rows[i].part);
    c->n_in_batch = 0;
    c->batch = NULL;
    sweep(c);
}

static void count(sim_commit *c, mr_txn_outcome o) {
    c->s->seen[SIM_SEEN_UNKNOWN] += o == MR_TXN_UNKNOWN && c->plan.call == MR_TXN_COMMIT;
    c->s->seen[SIM_SEEN_PRESENT] += o == MR_TXN_PRESENT;
    c->s->seen[SIM_SEEN_ABSENT] += o == MR_TXN_ABSENT;
    c->s->seen[SIM_SEEN_FENCED] += o == MR_TXN_FENCED;
}

void sim_commit_tick(sim_commit *c, int member, uint32_t generation) {
    mr_txn_outcome o;
    for (;;) {
        if (c->plan.call == MR_TXN_FATAL) return;
        if (c->plan.call == MR_TXN_IDLE) {
            sweep(c);
            if (member < 0 || !anything_to_commit(c)) return;
            form_batch(c, member, generation);
            c->call_at = c->s->now + c->plan.pause_ms;
        }
        if (c->s->now < c->call_at || !outcome_of(c, &o)) return;
        count(c, o);
        const mr_txn_verdict v = mr_txn_plan_next(&c->plan, o);
        c->call_at = c->s->now + c->plan.pause_ms;
        on_verdict(c, v);
    }
}

bool sim_commit_idle(const sim_commit *c) {
    return !c->batch && !anything_to_commit(c);
}

bool sim_commit_failed(const sim_commit *c) {
    return c->plan.call == MR_TXN_FATAL;
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
    for (size_t i = 0; i < c->n_in_batch; i++)
        if (c->items[i].at.part == part) tell(c, &c->items[i], MR_ECANCELED);
}

sim_commit *sim_commit_open(sim *s, sim_kafka *k, const sim_commit_conf *conf) {
    sim_commit *c = calloc(1, sizeof *c);
    MR_CHECK(c);
    c->s = s;
    c->k = k;
    c->conf = *conf;
    MR_CHECK(mr_parts_open(&c->parts, MR_OFFSETS_MIN_WINDOW, NULL) == MR_OK);
    mr_txn_plan_init(&c->plan);
    return c;
}

void sim_commit_kill(sim_commit *c) {
    if (!c) return;
    mr_parts_close(c->parts);
    free(c);
}
