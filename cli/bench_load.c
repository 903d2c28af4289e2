/* bench_load.c - see bench_load.h. One loop: who starts, what is in the step, the step, who has
 * ended; the scheduler and the bare loop differ in the first two.
 *
 * The clock is read once behind each step, and the tokens of a step have that time. Prompts are
 * drawn when their sequence starts: some microseconds for each, within the time that is measured.
 * Sampling is greedy with end-of-generation banned, so each request makes n_out tokens.
 *
 * Limits: MR_LOAD_MAX_REQUESTS, MR_LOAD_MAX_TOKENS. */
#include "cli/bench_load.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "worker/sched.h"

typedef struct request {
    uint32_t seq, n_in, n_out, n_made;
    bool running;
    uint64_t queued_us, last_us; /* last_us: of its last token */
} request;

typedef struct samples {
    double *ms; /* sorted when read */
    size_t n;
} samples;

typedef struct load {
    mr_engine *e;
    const mr_load_conf *conf;
    mr_sched *sched;
    request *requests; /* [n]; the intruder last */
    uint32_t n, n_queued, n_first, n_done, n_running;
    uint32_t group, group_end; /* bare: requests that run side by side */
    uint64_t random;
    int32_t *prompt;
    mr_sched_item *plan; /* [seats + 1]; so below */
    mr_engine_item *items;
    mr_engine_out *outs;
    samples ttft, gap, intruder_gap;
    mr_load_result *out;
} load;

/* splitmix64 (Steele 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* ---- requests ---- */

static bool is_intruder(const load *l, uint32_t id) {
    return l->conf->intruder > 0 && id + 1 == l->n;
}

static uint32_t blocks_of(const load *l, const request *r) {
    return mr_engine_blocks_for(l->e, (size_t)r->n_in + r->n_out);
}

static void queue_one(load *l, uint64_t now_us) {
    request *r = &l->requests[l->n_queued];

    r->queued_us = now_us;
    if (l->sched) mr_sched_add(l->sched, l->n_queued, MR_PRIORITY_NORMAL, blocks_of(l, r));
    l->n_queued++;
}

static mr_status start(load *l, uint32_t id, mr_err *err) {
    const mr_sampling greedy = {.ban_eog = true};
    const uint32_t n_vocab = mr_engine_n_vocab(l->e);
    request *r = &l->requests[id];

    for (uint32_t i = 0; i < r->n_in; i++)
        l->prompt[i] = (int32_t)(next_random(&l->random) % n_vocab);
    const mr_status st =
        mr_engine_add(l->e, l->prompt, r->n_in, 0, r->n_out, 0, &greedy, &r->seq, err);
    if (st != MR_OK) return st;
    r->running = true;
    l->n_running++;
    if (l->sched) mr_sched_start(l->sched, id, mr_engine_pending(l->e, r->seq));
    return MR_OK;
}

static void end(load *l, uint32_t id) {
    mr_engine_drop(l->e, l->requests[id].seq);
    if (l->sched) mr_sched_drop(l->sched, id);
    l->requests[id].running = false;
    l->n_running--;
    l->n_done++;
}

/* ---- who starts, and what is in a step ---- */

static mr_status start_scheduled(load *l, mr_err *err) {
    mr_status st = MR_OK;
    uint32_t id;

    while (st == MR_OK && mr_sched_next(l->sched, mr_engine_kv_blocks_free(l->e), &id))
        st = start(l, id, err);
    return st;
}

/* The next group begins when the last one is done. */
static mr_status start_bare(load *l, mr_err *err) {
    mr_status st = MR_OK;

    if (l->n_running > 0) return MR_OK;
    l->group = l->group_end;
    while (st == MR_OK && l->group_end < l->n && l->n_running < l->conf->seats &&
           blocks_of(l, &l->requests[l->group_end]) <= mr_engine_kv_blocks_free(l->e))
        st = start(l, l->group_end++, err);
    return st;
}

/* Prompts alone, as much of them as a step takes; when all are through, a token for each. */
static size_t plan_bare(load *l) {
    uint32_t left = mr_engine_max_step_tokens(l->e);
    size_t n = 0;

    for (uint32_t id = l->group; id < l->group_end && left > 0; id++) {
        const request *r = &l->requests[id];
        if (!r->running || r->n_made > 0) continue;
        const uint32_t pending = mr_engine_pending(l->e, r->seq);
        const uint32_t take = pending < left ? pending : left;
        l->plan[n++] = (mr_sched_item){id, take};
        left -= take;
    }
    if (n > 0) return n;
    for (uint32_t id = l->group; id < l->group_end; id++)
        if (l->requests[id].running) l->plan[n++] = (mr_sched_item){id, 1};
    return n;
}

/* ---- the loop ---- */

static void note(samples *s, uint64_t from_us, uint64_t to_us) {
    s->ms[s->n++] = (double)(to_us - from_us) / 1e3;
}

static void take_token(load *l, uint32_t id, uint64_t now_us) {
    const bool watched = l->conf->intruder > 0 && l->n_queued == l->n &&
                         l->requests[l->n - 1].n_made == 0; /* the intruder waits */
    request *r = &l->requests[id];

    if (is_intruder(l, id)) {
        l->out->intruder_ttft = (double)(now_us - r->queued_us) / 1e3;
    } else if (r->n_made == 0) {
        note(&l->ttft, r->queued_us, now_us);
        l->n_first++;
    } else {
        note(watched ? &l->intruder_gap : &l->gap, r->last_us, now_us);
    }
    r->last_us = now_us;
    r->n_made++;
}

static mr_status step(load *l, mr_err *err) {
    const size_t n = l->sched ? mr_sched_plan(l->sched, l->plan) : plan_bare(l);

    for (size_t i = 0; i < n; i++)
        l->items[i] = (mr_engine_item){l->requests[l->plan[i].id].seq, l->plan[i].n_tokens};
    const mr_status st = mr_engine_step(l->e, l->items, n, l->outs, err);
    const uint64_t now_us = mr_clock_mono_us();

    if (st != MR_OK) return st;
    if (l->n_running > l->out->most_running) l->out->most_running = l->n_running;
    l->out->n_steps++;
    /* The intruder is the last request: others of this step still count as its company. */
    for (size_t i = 0; i < n; i++)
        if (l->outs[i].token >= 0 && !is_intruder(l, l->plan[i].id))
            take_token(l, l->plan[i].id, now_us);
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = l->plan[i].id;
        const request *r = &l->requests[id];
        if (l->outs[i].token >= 0 && is_intruder(l, id)) take_token(l, id, now_us);
        if (r->n_made == r->n_out)
            end(l, id);
        else if (l->sched)
            mr_sched_computed(l->sched, id, mr_engine_pending(l->e, r->seq));
    }
    return MR_OK;
}

static mr_status run(load *l, mr_err *err) {
    const uint32_t at_once = l->conf->n_requests;
    const uint64_t began_us = mr_clock_mono_us();
    uint64_t n_out = (uint64_t)at_once * l->conf->n_out;
    mr_status st = MR_OK;

    while (l->n_queued < at_once) queue_one(l, began_us);
    while (st == MR_OK && l->n_done < l->n) {
        if (l->n_queued < l->n && l->n_first == at_once) queue_one(l, mr_clock_mono_us());
        st = l->sched ? start_scheduled(l, err) : start_bare(l, err);
        if (st == MR_OK && l->n_running == 0)
            st = mr_fail(err, MR_ELIMIT, "a request of %u + %u tokens has no room in the KV cache",
                         l->conf->n_in, l->conf->n_out);
        if (st == MR_OK) st = step(l, err);
    }
    const double s = (double)(mr_clock_mono_us() - began_us + 1) / 1e6;
    l->out->seconds = s;
    l->out->output_tps = (double)n_out / s;
    l->out->total_tps = (double)(n_out + (uint64_t)at_once * l->conf->n_in) / s;
    return st;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const samples *s, double p) { /* nearest rank */
    const size_t rank = (size_t)ceil(p / 100 * (double)s->n);
    return s->n ? s->ms[rank > 0 ? rank - 1 : 0] : 0;
}

static mr_load_times times_of(samples *s) {
    qsort(s->ms, s->n, sizeof *s->ms, by_value);
    return (mr_load_times){percentile(s, 50), percentile(s, 99), percentile(s, 100)};
}

/* ---- open and close ---- */

static mr_status check(const mr_engine *e, const mr_load_conf *c, mr_err *err) {
    const uint32_t seats = mr_engine_max_seqs(e), rows = mr_engine_max_step_tokens(e);

    if (c->n_requests > MR_LOAD_MAX_REQUESTS)
        return mr_fail(err, MR_EINVAL, "%u requests; at most %d", c->n_requests,
                       MR_LOAD_MAX_REQUESTS);
    if ((uint64_t)c->n_requests * c->n_out > MR_LOAD_MAX_TOKENS)
        return mr_fail(err, MR_EINVAL, "%u requests of %u tokens make more than %u", c->n_requests,
                       c->n_out, MR_LOAD_MAX_TOKENS);
    if (c->seats + (c->intruder > 0) > seats || c->seats >= rows)
        return mr_fail(err, MR_EINVAL, "%u seats; the engine has %u, and steps of %u tokens",
                       c->seats, seats, rows);
    return MR_OK;
}

static mr_status init(load *l, mr_err *err) {
    const mr_load_conf *c = l->conf;
    const size_t n_out = (size_t)c->n_requests * c->n_out, seats = c->seats + 1;
    const mr_sched_conf sched = {.n_ids = c->n_requests + 1,
                                 .max_running = c->seats + (c->intruder > 0),
                                 .step_tokens = mr_engine_max_step_tokens(l->e)};

    l->n = c->n_requests + (c->intruder > 0);
    l->requests = calloc(l->n, sizeof *l->requests);
    l->prompt = calloc(c->intruder > c->n_in ? c->intruder : c->n_in, sizeof *l->prompt);
    l->plan = calloc(seats, sizeof *l->plan);
    l->items = calloc(seats, sizeof *l->items);
    l->outs = calloc(seats, sizeof *l->outs);
    l->ttft.ms = calloc(c->n_requests, sizeof *l->ttft.ms);
    l->gap.ms = calloc(n_out, sizeof *l->gap.ms);
    l->intruder_gap.ms = calloc(n_out, sizeof *l->intruder_gap.ms);
    if (!l->requests || !l->prompt || !l->plan || !l->items || !l->outs || !l->ttft.ms ||
        !l->gap.ms || !l->intruder_gap.ms)
        return mr_fail(err, MR_ENOMEM, "bench: no memory for %u requests", c->n_requests);
    for (uint32_t i = 0; i < l->n; i++)
        l->requests[i] = is_intruder(l, i) ? (request){.n_in = c->intruder, .n_out = 1}
                                           : (request){.n_in = c->n_in, .n_out = c->n_out};
    return c->bare ? MR_OK : mr_sched_open(&l->sched, &sched, err);
}

static void deinit(load *l) {
    for (uint32_t i = 0; l->requests && i < l->n; i++)
        if (l->requests[i].running) mr_engine_drop(l->e, l->requests[i].seq);
    mr_sched_close(l->sched);
    free(l->intruder_gap.ms);
    free(l->gap.ms);
    free(l->ttft.ms);
    free(l->outs);
    free(l->items);
    free(l->plan);
    free(l->prompt);
    free(l->requests);
}

mr_status mr_load_run(mr_engine *e, const mr_load_conf *conf, mr_load_result *out, mr_err *err) {
    load l = {.e = e, .conf = conf, .random = conf->seed, .out = out};
    mr_status st = check(e, conf, err);

    *out = (mr_load_result){0};
    if (st != MR_OK) return st;
    MR_CHECK(!conf->intruder || (!conf->bare && conf->seats == conf->n_requests));
    if ((st = init(&l, err)) == MR_OK) st = run(&l, err);
    if (st == MR_OK) {
        out->ttft = times_of(&l.ttft);
        out->gap = times_of(&l.gap);
        out->intruder_gap = times_of(&l.intruder_gap);
    }
    deinit(&l);
    return st;
}
