/* window.c - see window.h.
 *
 * A row per model; it stays when it is empty, for the accounts in it, until its place is needed. In
 * each lane a flow per tenant: its account and its jobs. A flow is in one of three heaps:
 *
 *     ready   it has jobs; by `start`
 *     held    it has jobs, and has used up its rate; by the time to ask about it again
 *     idle    it has none; by `start`
 *
 * `start` is the virtual time at which a flow's next job would begin, had the lane served all by
 * weight: a job of c tokens moves it on by c / weight. The lane's own time is the start of what
 * went last, and who gets work (or comes back from `held`) starts no earlier than that: nobody
 * saves up. An idle flow that the lane's time has passed says nothing more and is used for the next
 * tenant; with all places taken, so is the one that is the least ahead. Virtual time counts in
 * 1/MAX_WEIGHT tokens: at a million tokens a second it lasts 500 years.
 *
 * Rates: only a tenant whose turn has come is asked about, and when it must wait it leaves `ready`.
 * So a pop costs O(log n) on average however many tenants wait for their rate, and none of their
 * jobs is looked at. */
#include "dispatcher/window.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WEIGHT = 1000, BUCKETS = 1024, ASK_MS = 1000 };

typedef enum flow_state { IDLE, READY, HELD } flow_state;

typedef struct mr_flow flow;
struct mr_flow { /* a tenant in one lane of one model */
    flow *chain; /* next with a like hash */
    char tenant[MR_JOB_MAX_NAME + 1];
    flow_state state;
    uint32_t weight;
    uint64_t start;
    uint64_t turn;   /* of two with the same start, who came to it first */
    uint64_t ask_ms; /* HELD */
    mr_heap by_deadline, by_age; /* its jobs */
    unsigned since_aged;         /* jobs that went since the last one for its age */
    mr_heap_node order;          /* in the heap of its state */
};

typedef struct lane {
    flow *buckets[BUCKETS];
    size_t n_flows, n_entries;
    mr_heap ready, held, idle;
    uint64_t now, turns; /* virtual time; numbers given out for `turn` */
} lane;

typedef struct row {
    char model[MR_JOB_MAX_NAME + 1];
    lane lanes[MR_PRIORITY_N];
    int credit[MR_PRIORITY_N]; /* of smooth weighted round robin; sums to 0 */
} row;

struct mr_window {
    mr_window_conf conf;
    row *rows[MR_MAX_MODELS];
    size_t n_rows;
    uint64_t arrivals;
};

static const int lane_weight[MR_PRIORITY_N] = {
    [MR_PRIORITY_HIGH] = 8, [MR_PRIORITY_NORMAL] = 3, [MR_PRIORITY_LOW] = 1};

/* ---- orders ---- */

#define ENTRY(node, order) MR_HEAP_THING(node, mr_entry, order)
#define FLOW(node, order)  MR_HEAP_THING(node, flow, order)

static bool arrived_before(const mr_heap_node *a, const mr_heap_node *b) {
    return ENTRY(a, by_age)->arrival < ENTRY(b, by_age)->arrival;
}

static bool due_before(const mr_heap_node *a, const mr_heap_node *b) {
    const mr_entry *x = ENTRY(a, by_deadline), *y = ENTRY(b, by_deadline);
    const uint64_t never = UINT64_MAX;
    const uint64_t x_ms = x->job.expires_ms ? x->job.expires_ms : never;
    const uint64_t y_ms = y->job.expires_ms ? y->job.expires_ms : never;
    return x_ms != y_ms ? x_ms < y_ms : x->arrival < y->arrival;
}

static bool starts_before(const mr_heap_node *a, const mr_heap_node *b) {
    const flow *x = FLOW(a, order), *y = FLOW(b, order);
    return x->start != y->start ? x->start < y->start : x->turn < y->turn;
}

static bool asked_before(const mr_heap_node *a, const mr_heap_node *b) {
    const flow *x = FLOW(a, order), *y = FLOW(b, order);
    return x->ask_ms != y->ask_ms ? x->ask_ms < y->ask_ms : x->turn < y->turn;
}

/* ---- tenants of a lane ---- */

static mr_heap *heap_of(lane *l, const flow *f) {
    return f->state == READY ? &l->ready : f->state == HELD ? &l->held : &l->idle;
}

static void set_state(lane *l, flow *f, flow_state state) {
    mr_heap_drop(heap_of(l, f), &f->order);
    f->state = state;
    if (state == READY && f->start < l->now) f->start = l->now;
    f->turn = ++l->turns;
    mr_heap_add(heap_of(l, f), &f->order);
}

static void move_start(lane *l, flow *f, uint64_t start) {
    f->start = start;
    f->turn = ++l->turns;
    mr_heap_moved(heap_of(l, f), &f->order);
}

static uint64_t in_virtual_time(const flow *f, uint32_t tokens) {
    return (uint64_t)tokens * MAX_WEIGHT / f->weight;
}

static void charge(lane *l, flow *f, uint32_t tokens) {
    move_start(l, f, f->start + in_virtual_time(f, tokens));
}

static void refund(lane *l, flow *f, uint32_t tokens) {
    const uint64_t back = in_virtual_time(f, tokens);
    move_start(l, f, f->start > back ? f->start - back : 0);
}

static flow **bucket_of(lane *l, const char *tenant) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *tenant; tenant++) h = (h ^ (unsigned char)*tenant) * 16777619u;
    return &l->buckets[h % BUCKETS];
}

static flow *find_flow(lane *l, const char *tenant) {
    flow *f = *bucket_of(l, tenant);
    while (f && strcmp(f->tenant, tenant) != 0) f = f->chain;
    return f;
}

static void forget_flow(lane *l, flow *f) {
    flow **at = bucket_of(l, f->tenant);
    while (*at != f) at = &(*at)->chain;
    *at = f->chain;
    mr_heap_drop(heap_of(l, f), &f->order);
    l->n_flows--;
}

/* Memory for one more flow; NULL: there is none, or *full. */
static flow *make_flow(lane *l, bool *full) {
    flow *old = l->idle.top ? FLOW(l->idle.top, order) : NULL;
    *full = l->n_flows >= MR_MAX_TENANTS;
    if (!old || (old->start > l->now && !*full)) return *full ? NULL : malloc(sizeof(flow));
    forget_flow(l, old);
    *full = false;
    return old;
}

static flow *add_flow(lane *l, flow *f, const char *tenant) {
    flow **bucket = bucket_of(l, tenant);
    MR_CHECK(strlen(tenant) <= MR_JOB_MAX_NAME);
    *f = (flow){.chain = *bucket,
                .state = IDLE,
                .weight = 1,
                .start = l->now,
                .by_deadline.before = due_before,
                .by_age.before = arrived_before};
    strcpy(f->tenant, tenant);
    *bucket = f;
    mr_heap_add(&l->idle, &f->order);
    l->n_flows++;
    return f;
}

static flow *need_flow(lane *l, const char *tenant) {
    bool full = false;
    flow *f = find_flow(l, tenant);
    if (f) return f;
    if ((f = make_flow(l, &full)) != NULL) return add_flow(l, f, tenant);
    if (!full) return NULL;
    if ((f = find_flow(l, MR_TENANT_OTHERS)) != NULL) return f;
    return (f = malloc(sizeof *f)) ? add_flow(l, f, MR_TENANT_OTHERS) : NULL;
}

/* ---- models ---- */

static int find_index(const mr_window *w, const char *model) {
    for (size_t i = 0; i < w->n_rows; i++)
        if (strcmp(w->rows[i]->model, model) == 0) return (int)i;
    return -1;
}

static row *find_row(const mr_window *w, const char *model) {
    const int i = find_index(w, model);
    return i < 0 ? NULL : w->rows[i];
}

static size_t row_len(const row *r) {
    size_t n = 0;
    for (int l = 0; l < MR_PRIORITY_N; l++) n += r->lanes[l].n_entries;
    return n;
}

static void free_row(row *r) {
    for (int i = 0; i < MR_PRIORITY_N; i++)
        for (size_t b = 0; b < BUCKETS; b++)
            for (flow *f = r->lanes[i].buckets[b], *next; f; f = next) {
                next = f->chain;
                free(f);
            }
    free(r);
}

static bool make_place(mr_window *w) {
    if (w->n_rows < MR_MAX_MODELS) return true;
    for (size_t i = 0; i < w->n_rows; i++) {
        if (row_len(w->rows[i]) > 0) continue;
        free_row(w->rows[i]);
        w->rows[i] = w->rows[--w->n_rows];
        return true;
    }
    return false;
}

static mr_status need_row(mr_window *w, const char *model, row **out) {
    if ((*out = find_row(w, model)) != NULL) return MR_OK;
    if (strlen(model) > MR_JOB_MAX_NAME || !make_place(w)) return MR_ELIMIT;
    row *r = calloc(1, sizeof *r);
    if (!r) return MR_ENOMEM;
    strcpy(r->model, model);
    for (int i = 0; i < MR_PRIORITY_N; i++) {
        lane *l = &r->lanes[i];
        l->ready.before = l->idle.before = starts_before;
        l->held.before = asked_before;
    }
    *out = w->rows[w->n_rows++] = r;
    return MR_OK;
}

mr_status mr_window_open(mr_window **out, const mr_window_conf *conf, mr_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return mr_fail(err, MR_ENOMEM, "window: out of memory");
    (*out)->conf = *conf;
    return MR_OK;
}

void mr_window_close(mr_window *w) {
    if (!w) return;
    for (size_t i = 0; i < w->n_rows; i++) free_row(w->rows[i]);
    free(w);
}

void mr_window_set_max_wait(mr_window *w, uint64_t max_wait_ms) {
    w->conf.max_wait_ms = max_wait_ms;
}

/* ---- in ---- */

static void link_entry(lane *l, flow *f, mr_entry *e) {
    mr_heap_add(&f->by_deadline, &e->by_deadline);
    mr_heap_add(&f->by_age, &e->by_age);
    if (f->state == IDLE) set_state(l, f, READY);
    e->flow = f;
    e->place = MR_PLACE_WINDOW;
    l->n_entries++;
}

static void unlink_entry(lane *l, mr_entry *e) {
    flow *f = e->flow;
    mr_heap_drop(&f->by_deadline, &e->by_deadline);
    mr_heap_drop(&f->by_age, &e->by_age);
    if (!f->by_age.top) set_state(l, f, IDLE);
    e->place = MR_PLACE_NONE;
    l->n_entries--;
}

mr_status mr_window_push(mr_window *w, mr_entry *e, uint64_t now_ms) {
    row *r;
    const mr_status st = need_row(w, e->job.model, &r);
    if (st != MR_OK) return st;
    lane *l = &r->lanes[e->lane];
    flow *f = need_flow(l, e->job.tenant);
    if (!f) return MR_ENOMEM;
    e->arrival = ++w->arrivals;
    e->queued_ms = now_ms;
    if (e->cost == 0) e->cost = 1;
    link_entry(l, f, e);
    return MR_OK;
}

/* ---- out ---- */

/* True when the tenant must wait: it is asked about again later. */
static bool holds_back(const mr_window *w, lane *l, flow *f, uint64_t now_ms) {
    if (!w->conf.ready_ms) return false;
    const uint64_t ready_ms = w->conf.ready_ms(w->conf.owner, f->tenant, now_ms);
    if (ready_ms <= now_ms) return false;
    f->ask_ms = ready_ms < now_ms + ASK_MS ? ready_ms : now_ms + ASK_MS;
    set_state(l, f, HELD);
    return true;
}

/* Then the flow on top of `ready` may go. */
static bool has_eligible(const mr_window *w, lane *l, uint64_t now_ms) {
    while (l->held.top && FLOW(l->held.top, order)->ask_ms <= now_ms)
        set_state(l, FLOW(l->held.top, order), READY);
    while (l->ready.top && holds_back(w, l, FLOW(l->ready.top, order), now_ms)) {
    }
    return l->ready.top != NULL;
}

/* Each lane that has a job to give gains its weight, the richest goes and pays for all that took
 * part. */
static int next_lane(const mr_window *w, row *r, unsigned lanes, uint64_t now_ms) {
    int total = 0, best = -1;
    for (int i = 0; i < MR_PRIORITY_N; i++) {
        if (!(lanes & MR_LANE_BIT(i)) || !has_eligible(w, &r->lanes[i], now_ms)) continue;
        r->credit[i] += lane_weight[i];
        total += lane_weight[i];
        if (best < 0 || r->credit[i] > r->credit[best]) best = i;
    }
    if (best >= 0) r->credit[best] -= total;
    return best;
}

/* The tenant's oldest job, when it is time for one and it has waited for too long; else NULL. */
static mr_entry *aged_entry(const mr_window *w, const flow *f, uint64_t now_ms) {
    mr_entry *e = ENTRY(f->by_age.top, by_age);
    if (!w->conf.max_wait_ms || f->since_aged < MR_AGE_TURN - 1) return NULL;
    return now_ms - e->queued_ms >= w->conf.max_wait_ms ? e : NULL;
}

static mr_entry *next_entry(const mr_window *w, lane *l, uint64_t now_ms) {
    flow *f = FLOW(l->ready.top, order);
    mr_entry *e = aged_entry(w, f, now_ms);
    if (f->start > l->now) l->now = f->start; /* a refund may have put it behind */
    f->since_aged = e ? 0 : f->since_aged + 1;
    return e ? e : ENTRY(f->by_deadline.top, by_deadline);
}

/* The finest rule that made a difference. */
static const char *reason(const row *r, const lane *l, const mr_entry *e) {
    const flow *f = e->flow;
    if (f->since_aged == 0) return "aged";
    if (f->by_age.top != &e->by_age) return "deadline";
    if (f->order.child) return "share"; /* on top, with others below */
    return row_len(r) > l->n_entries ? "lane turn" : "arrival";
}

mr_entry *mr_window_pop(mr_window *w, const char *model, unsigned lanes, uint64_t now_ms) {
    row *r = find_row(w, model);
    const int which = r ? next_lane(w, r, lanes, now_ms) : -1;
    if (which < 0) return NULL;
    lane *l = &r->lanes[which];
    mr_entry *e = next_entry(w, l, now_ms);
    flow *f = e->flow;
    e->why = reason(r, l, e);
    if (w->conf.weight) f->weight = w->conf.weight(w->conf.owner, f->tenant);
    MR_CHECK(f->weight >= 1 && f->weight <= MAX_WEIGHT);
    unlink_entry(l, e);
    charge(l, f, e->cost);
    return e;
}

void mr_window_unpop(mr_window *w, mr_entry *e) {
    row *r = find_row(w, e->job.model);
    MR_CHECK(r != NULL && e->place == MR_PLACE_NONE);
    lane *l = &r->lanes[e->lane];
    refund(l, e->flow, e->cost); /* rows and flows are given away only by push */
    link_entry(l, e->flow, e);
}

void mr_window_remove(mr_window *w, mr_entry *e) {
    row *r = find_row(w, e->job.model);
    MR_CHECK(r != NULL && e->place == MR_PLACE_WINDOW);
    unlink_entry(&r->lanes[e->lane], e);
}

void mr_window_settle(mr_window *w, const char *model, mr_priority which, const char *tenant,
                      uint32_t charged, uint32_t used) {
    row *r = find_row(w, model);
    flow *f = r ? find_flow(&r->lanes[which], tenant) : NULL;
    if (!f) return;
    if (used > charged)
        charge(&r->lanes[which], f, used - charged);
    else
        refund(&r->lanes[which], f, charged - used);
}

/* ---- views ---- */

bool mr_window_has(const mr_window *w, const char *model) {
    const row *r = find_row(w, model);
    return r && row_len(r) > 0;
}

bool mr_window_has_lane(const mr_window *w, const char *model, mr_priority which) {
    const row *r = find_row(w, model);
    return r && r->lanes[which].n_entries > 0;
}

size_t mr_window_len(const mr_window *w, mr_priority which) {
    size_t n = 0;
    for (size_t i = 0; i < w->n_rows; i++) n += w->rows[i]->lanes[which].n_entries;
    return n;
}

/* The i-th row that is not empty; NULL: there are not so many. */
static const row *waiting_row(const mr_window *w, size_t i) {
    for (size_t k = 0; k < w->n_rows; k++)
        if (row_len(w->rows[k]) > 0 && i-- == 0) return w->rows[k];
    return NULL;
}

const char *mr_window_model(const mr_window *w, size_t i) {
    const row *r = waiting_row(w, i);
    return r ? r->model : NULL;
}

size_t mr_window_model_len(const mr_window *w, size_t i) {
    const row *r = waiting_row(w, i);
    return r ? row_len(r) : 0;
}
