/* sim_kafka.c - see sim_kafka.h. Logs are arrays, everything else is tables searched from the
 * front. */
#include "sim_kafka.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LOG      1024 /* records and markers of a partition */
#define MAX_TXNS     2048
#define MAX_PENDING  SIM_N_WORK
#define MARKER_MS    30 /* a marker is written within this time */
#define SCAN_MS      250
#define REBALANCE_MS 3000 /* whoever has not joined by then is given up */
#define NOBODY       (-1)

typedef enum txn_state {
    TXN_OPEN,
    TXN_COMMITTING,
    TXN_ABORTING,
    TXN_COMMITTED,
    TXN_ABORTED
} txn_state;

typedef struct txn {
    txn_state state;
    uint32_t touched; /* bit per partition that needs a marker; SIM_N_TP: offsets */
    uint32_t marked;
    uint64_t begun;
    sim_group group;
    sim_offset pending[MAX_PENDING];
    size_t n_pending;
} txn;

typedef struct entry {
    int txn; /* NOBODY: none */
    bool is_marker;
    sim_record r;
} entry;

typedef struct producer {
    uint32_t epoch;
    int txn; /* the last one */
} producer;

typedef struct member {
    bool in, joined;
    uint64_t seen;
    uint32_t partitions;
} member;

typedef struct group {
    int first, n_tp;
    uint32_t generation;
    bool joining;
    uint64_t until;
    member members[SIM_MAX_MEMBERS];
    int n_members;
    sim_offset committed[SIM_N_TP];
} group;

struct sim_kafka {
    sim *s;
    uint64_t away_until;
    entry log[SIM_N_TP][MAX_LOG];
    int64_t end[SIM_N_TP];
    txn txns[MAX_TXNS];
    int n_txns;
    producer producers[SIM_MAX_PRODUCERS];
    group groups[SIM_N_GROUPS];
};

/* ---- logs ---- */

static void append(sim_kafka *k, int tp, entry e) {
    MR_CHECK(k->end[tp] < MAX_LOG);
    k->log[tp][k->end[tp]++] = e;
}

void sim_kafka_put(sim_kafka *k, int tp, const sim_record *r) {
    append(k, tp, (entry){.txn = NOBODY, .r = *r});
}

bool sim_kafka_fetch(const sim_kafka *k, int tp, int64_t *offset, sim_record *out) {
    for (int64_t i = *offset; i < k->end[tp]; i++) {
        const entry *e = &k->log[tp][i];
        const txn *t = e->txn == NOBODY ? NULL : &k->txns[e->txn];
        if (t && !(t->marked >> tp & 1)) return false;
        if (e->is_marker || (t && t->state != TXN_COMMITTING && t->state != TXN_COMMITTED))
            continue;
        *offset = i;
        *out = e->r;
        return true;
    }
    return false;
}

/* ---- transactions ---- */

static void apply_offsets(sim_kafka *k, const txn *t) {
    for (size_t i = 0; i < t->n_pending; i++) {
        const sim_offset *p = &t->pending[i];
        sim_note(k->s, "kafka", t->group, "committed", p->tp, p->offset);
        k->groups[t->group].committed[p->tp] = *p;
    }
}

/* arg: transaction, partition (SIM_N_TP: the offsets). */
static void on_marker(void *self, uint64_t arg) {
    sim_kafka *k = self;
    txn *t = &k->txns[arg / (SIM_N_TP + 1)];
    const int tp = (int)(arg % (SIM_N_TP + 1));

    if (!sim_kafka_up(k)) {
        sim_after(k->s, MARKER_MS, on_marker, k, arg);
        return;
    }
    if (tp < SIM_N_TP)
        append(k, tp, (entry){.txn = NOBODY, .is_marker = true});
    else if (t->state == TXN_COMMITTING)
        apply_offsets(k, t);
    t->marked |= 1u << tp;
    if (t->marked == t->touched)
        t->state = t->state == TXN_COMMITTING ? TXN_COMMITTED : TXN_ABORTED;
}

static void end_txn(sim_kafka *k, int number, bool commit) {
    txn *t = &k->txns[number];
    t->state = commit ? TXN_COMMITTING : TXN_ABORTING;
    sim_note(k->s, "kafka", number, commit ? "commit" : "abort", 0, 0);
    for (int tp = 0; tp <= SIM_N_TP; tp++)
        if (t->touched >> tp & 1)
            sim_after(k->s, sim_random(k->s, MARKER_MS), on_marker, k,
                      (uint64_t)number * (SIM_N_TP + 1) + (uint64_t)tp);
    if (t->touched == 0) t->state = commit ? TXN_COMMITTED : TXN_ABORTED;
}

static bool is_ending(const sim_kafka *k, const producer *p) {
    return p->txn != NOBODY &&
           (k->txns[p->txn].state == TXN_COMMITTING || k->txns[p->txn].state == TXN_ABORTING);
}

static bool is_open(const sim_kafka *k, const producer *p) {
    return p->txn != NOBODY && k->txns[p->txn].state == TXN_OPEN;
}

static void fence(sim_kafka *k, producer *p) {
    p->epoch++;
    end_txn(k, p->txn, false);
}

mr_txn_outcome sim_kafka_init_producer(sim_kafka *k, int id, uint32_t *epoch) {
    producer *p = &k->producers[id];
    if (is_open(k, p)) fence(k, p);
    if (is_ending(k, p)) return MR_TXN_RETRIABLE;
    *epoch = ++p->epoch;
    p->txn = NOBODY;
    return MR_TXN_OK;
}

static txn *open_txn(sim_kafka *k, producer *p) {
    if (!is_open(k, p)) {
        MR_CHECK(k->n_txns < MAX_TXNS);
        p->txn = k->n_txns++;
        k->txns[p->txn] = (txn){.begun = k->s->now};
    }
    return &k->txns[p->txn];
}

mr_txn_outcome sim_kafka_append(sim_kafka *k, int id, uint32_t epoch, sim_put *puts, size_t n) {
    producer *p = &k->producers[id];
    if (p->epoch != epoch) return MR_TXN_FENCED;
    if (is_ending(k, p)) return MR_TXN_RETRIABLE;
    txn *t = open_txn(k, p);
    for (size_t i = 0; i < n; i++) {
        t->touched |= 1u << puts[i].tp;
        puts[i].offset = k->end[puts[i].tp];
        append(k, puts[i].tp, (entry){.txn = p->txn, .r = puts[i].r});
    }
    return MR_TXN_OK;
}

static bool is_current(const sim_kafka *k, sim_group g, int m, uint32_t generation) {
    const group *gr = &k->groups[g];
    return generation == SIM_ANY_GENERATION ||
           (m >= 0 && gr->members[m].in && gr->generation == generation);
}

mr_txn_outcome sim_kafka_add_offsets(sim_kafka *k, int id, uint32_t epoch, sim_group g, int m,
                                     uint32_t generation, const sim_offset *offsets, size_t n) {
    producer *p = &k->producers[id];
    if (p->epoch != epoch) return MR_TXN_FENCED;
    if (is_ending(k, p)) return MR_TXN_RETRIABLE;
    if (!is_current(k, g, m, generation)) return MR_TXN_STALE;
    txn *t = open_txn(k, p);
    t->group = g;
    t->touched |= 1u << SIM_N_TP;
    t->n_pending = n; /* the same request once more replaces itself */
    MR_CHECK(n <= MAX_PENDING);
    memcpy(t->pending, offsets, n * sizeof *offsets);
    return MR_TXN_OK;
}

/* The same request once more finds its work done. */
mr_txn_outcome sim_kafka_commit_txn(sim_kafka *k, int id, uint32_t epoch) {
    producer *p = &k->producers[id];
    if (p->epoch != epoch) return MR_TXN_FENCED;
    if (is_open(k, p)) end_txn(k, p->txn, true);
    const txn_state st = p->txn == NOBODY ? TXN_ABORTED : k->txns[p->txn].state;
    return st == TXN_COMMITTING || st == TXN_COMMITTED ? MR_TXN_OK : MR_TXN_DEAD;
}

mr_txn_outcome sim_kafka_abort_txn(sim_kafka *k, int id, uint32_t *epoch) {
    producer *p = &k->producers[id];
    if (p->epoch != *epoch) return MR_TXN_FENCED;
    if (is_open(k, p)) end_txn(k, p->txn, false);
    *epoch = ++p->epoch;
    return MR_TXN_OK;
}

bool sim_kafka_committed(const sim_kafka *k, sim_group g, sim_offset *offsets, size_t n) {
    for (int i = 0; i < k->n_txns; i++) {
        const txn *t = &k->txns[i];
        if (t->group != g || t->state == TXN_COMMITTED || t->state == TXN_ABORTED) continue;
        for (size_t a = 0; a < t->n_pending; a++)
            for (size_t b = 0; b < n; b++)
                if (t->pending[a].tp == offsets[b].tp) return false;
    }
    for (size_t i = 0; i < n; i++) offsets[i] = k->groups[g].committed[offsets[i].tp];
    return true;
}

/* ---- groups ---- */

static bool all_joined(const group *g) {
    for (int i = 0; i < g->n_members; i++)
        if (g->members[i].in && !g->members[i].joined) return false;
    return true;
}

/* Partitions go round among the members, from one that chance picks. */
static void settle(sim_kafka *k, group *g) {
    int in[SIM_MAX_MEMBERS], n = 0;
    for (int i = 0; i < g->n_members; i++) {
        member *m = &g->members[i];
        if (m->in && !m->joined) m->in = false; /* given up */
        m->partitions = 0;
        m->joined = false;
        m->seen = k->s->now;
        if (m->in) in[n++] = i;
    }
    g->generation++;
    g->joining = false;
    const int from = (int)sim_random(k->s, 97);
    for (int i = 0; i < g->n_tp && n > 0; i++)
        g->members[in[(from + i) % n]].partitions |= 1u << (g->first + i);
    sim_note(k->s, "group", (int)(g - k->groups), "settled", (int64_t)g->generation, n);
}

static void unsettle(sim_kafka *k, group *g) {
    if (!g->joining) g->until = k->s->now + REBALANCE_MS;
    g->joining = true;
}

void sim_kafka_unsettle(sim_kafka *k, sim_group g) {
    unsettle(k, &k->groups[g]);
}

int sim_kafka_join(sim_kafka *k, sim_group gr, int m) {
    group *g = &k->groups[gr];
    if (m < 0) {
        MR_CHECK(g->n_members < SIM_MAX_MEMBERS);
        m = g->n_members++;
        g->members[m].in = true;
    }
    unsettle(k, g);
    g->members[m].joined = true;
    g->members[m].seen = k->s->now;
    if (all_joined(g)) settle(k, g);
    return m;
}

void sim_kafka_leave(sim_kafka *k, sim_group gr, int m) {
    group *g = &k->groups[gr];
    g->members[m].in = false;
    unsettle(k, g);
    if (all_joined(g)) settle(k, g);
}

sim_membership sim_kafka_heartbeat(sim_kafka *k, sim_group gr, int m) {
    group *g = &k->groups[gr];
    if (m < 0 || !g->members[m].in) return SIM_UNKNOWN;
    g->members[m].seen = k->s->now;
    return g->joining && !g->members[m].joined ? SIM_REBALANCE : SIM_MEMBER;
}

bool sim_kafka_sync(const sim_kafka *k, sim_group gr, int m, uint32_t *generation,
                    uint32_t *partitions) {
    const group *g = &k->groups[gr];
    if (g->joining || !g->members[m].in) return false;
    *generation = g->generation;
    *partitions = g->members[m].partitions;
    return true;
}

/* ---- time ---- */

static void scan_group(sim_kafka *k, group *g) {
    for (int i = 0; i < g->n_members; i++) {
        member *m = &g->members[i];
        if (!m->in || m->seen + SIM_SESSION_MS > k->s->now) continue;
        m->in = false;
        sim_note(k->s, "group", (int)(g - k->groups), "expired", i, 0);
        unsettle(k, g);
    }
    if (g->joining && (all_joined(g) || k->s->now >= g->until)) settle(k, g);
}

static void on_scan(void *self, uint64_t arg) {
    sim_kafka *k = self;
    sim_after(k->s, SCAN_MS, on_scan, k, arg);
    if (!sim_kafka_up(k)) return;
    for (int g = 0; g < SIM_N_GROUPS; g++) scan_group(k, &k->groups[g]);
    for (int i = 0; i < SIM_MAX_PRODUCERS; i++) {
        producer *p = &k->producers[i];
        if (is_open(k, p) && k->txns[p->txn].begun + SIM_TRANSACTION_MS <= k->s->now) fence(k, p);
    }
}

/* After it members have a session's time to show up. */
void sim_kafka_away(sim_kafka *k, uint64_t ms) {
    k->away_until = k->s->now + ms;
    sim_note(k->s, "kafka", 0, "away", (int64_t)ms, 0);
    for (int g = 0; g < SIM_N_GROUPS; g++)
        for (int i = 0; i < k->groups[g].n_members; i++)
            k->groups[g].members[i].seen = k->away_until;
}

bool sim_kafka_up(const sim_kafka *k) {
    return k->s->now >= k->away_until;
}

sim_kafka *sim_kafka_open(sim *s) {
    sim_kafka *k = sim_alloc(s, sizeof *k);
    k->s = s;
    for (int i = 0; i < SIM_MAX_PRODUCERS; i++) k->producers[i].txn = NOBODY;
    for (int g = 0; g < SIM_N_GROUPS; g++) {
        group *gr = &k->groups[g];
        gr->first = g == SIM_DISPATCHERS ? SIM_JOBS : SIM_WORK;
        gr->n_tp = g == SIM_DISPATCHERS ? SIM_N_JOBS : SIM_N_WORK;
        for (int tp = 0; tp < SIM_N_TP; tp++)
            gr->committed[tp] = (sim_offset){.tp = tp, .offset = -1, .text = ""};
    }
    sim_after(s, SCAN_MS, on_scan, k, 0);
    return k;
}
