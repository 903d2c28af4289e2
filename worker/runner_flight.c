/* runner_flight.c - steps that overlap: where a device draws the tokens itself, the next step is
 * submitted before the answers of the one before are read.
 *
 * So while the device computes, this thread tells tokens, ends and starts jobs and plans. The
 * price: a job that ends with a token that is not its last one has had one row too many in the step
 * behind it. Its part there is computed for nobody, and so is that of a job that is cancelled or
 * displaced; a place that has another job by then is told apart by the number of its beginning.
 *
 * The scheduler is told what is pending as if the step were done, which it is for all that it
 * plans: a sequence without anything pending, its last token still on the way, it leaves out.
 *
 * A step that cannot be submitted is made the usual way, when nothing is under way any more. */
#include "worker/runner_internal.h"

#include <stdlib.h>

#include "base/clock.h"

static mr_runner_flight *newest(mr_runner *r) {
    return &r->flights[r->n_submitted % MR_RUNNER_FLIGHTS];
}
static mr_runner_flight *oldest(mr_runner *r) {
    return &r->flights[r->n_collected % MR_RUNNER_FLIGHTS];
}

mr_status mr_runner_open_flights(mr_runner *r, mr_err *err) {
    for (int i = 0; i < MR_RUNNER_FLIGHTS; i++) {
        r->flights[i].items = calloc(r->conf.max_jobs, sizeof *r->flights[i].items);
        r->flights[i].begun = calloc(r->conf.max_jobs, sizeof *r->flights[i].begun);
        if (!r->flights[i].items || !r->flights[i].begun)
            return mr_fail(err, MR_ENOMEM, "runner: no memory for %u jobs", r->conf.max_jobs);
    }
    return MR_OK;
}

void mr_runner_close_flights(mr_runner *r) {
    for (int i = 0; i < MR_RUNNER_FLIGHTS; i++) {
        free(r->flights[i].items);
        free(r->flights[i].begun);
    }
}

/* ---- out ---- */

/* Of n items of the plan. */
static void note_flight(mr_runner *r, size_t n) {
    mr_runner_flight *f = newest(r);

    f->n = n;
    f->n_tokens = 0;
    f->since_us = mr_clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        const mr_lane *l = &r->lanes[r->plan[i].id];

        f->items[i] = r->plan[i];
        f->begun[i] = l->begun;
        f->n_tokens += r->plan[i].n_tokens;
        mr_sched_computed(r->sched, r->plan[i].id, mr_engine_pending(r->engine, l->seq));
    }
    r->n_submitted++;
}

/* MR_OK: what there was to do is under way. MR_ELIMIT: not this way. */
static mr_status submit(mr_runner *r, mr_err *err) {
    const size_t n = mr_sched_plan(r->sched, r->plan);

    if (n == 0) return MR_OK;
    for (size_t i = 0; i < n; i++)
        r->items[i] = (mr_engine_item){r->lanes[r->plan[i].id].seq, r->plan[i].n_tokens};
    const mr_status st = mr_engine_submit(r->engine, r->items, n, err);
    if (st == MR_OK) note_flight(r, n);
    return st;
}

/* ---- in ---- */

static void take_answer(mr_runner *r, const mr_sched_item *item, uint64_t begun,
                        const mr_engine_out *out) {
    const mr_lane *l = &r->lanes[item->id];

    if (!l->used || !l->running || l->begun != begun) return; /* it has ended, or lost its seat */
    if (out->token == MR_ENGINE_SPOILED)
        mr_runner_end_job(r, item->id, MR_END_FAILED,
                          "step: a logit is not finite, or no token is allowed");
    else
        mr_runner_take_result(r, item, out);
}

/* The oldest step that is under way. */
static mr_status collect(mr_runner *r, mr_err *err) {
    mr_runner_flight *f = oldest(r);
    size_t n;

    atomic_store(&r->stats.step_began_ms, mr_clock_mono_ms());
    const mr_status st = mr_engine_collect(r->engine, r->outs, &n, err);
    const uint64_t now_us = mr_clock_mono_us();
    atomic_store(&r->stats.step_began_ms, 0);
    mr_runner_count_step(r, st, f->n_tokens, now_us - f->since_us);
    if (st != MR_OK) return st;
    r->n_collected++;
    if (r->n_collected < r->n_submitted) oldest(r)->since_us = now_us; /* its turn begins */
    for (size_t i = 0; i < n; i++) take_answer(r, &f->items[i], f->begun[i], &r->outs[i]);
    return MR_OK;
}

static mr_status collect_down_to(mr_runner *r, uint64_t n_left, mr_err *err) {
    mr_status st = MR_OK;

    while (st == MR_OK && r->n_submitted - r->n_collected > n_left) st = collect(r, err);
    return st;
}

/* ---- one step ---- */

void mr_runner_overlap(mr_runner *r) {
    const uint64_t before = r->n_submitted;
    mr_err err = {0};
    mr_status st = submit(r, &err);

    if (st == MR_ELIMIT) {
        st = collect_down_to(r, 0, &err);
        if (st == MR_OK) mr_runner_make_step(r);
    } else if (st == MR_OK) { /* one stays under way, if there was one to add */
        st = collect_down_to(r, r->n_submitted > before ? 1 : 0, &err);
        if (st == MR_OK && mr_sched_running(r->sched) == 0) st = collect_down_to(r, 0, &err);
    }
    if (st != MR_OK) mr_runner_lose(r, err.text);
}
