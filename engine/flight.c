/* flight.c - steps under way: the host prepares one while the device computes the one before.
 *
 * A step that is submitted moves its sequences at once, as far as that needs no token: what was
 * pending is computed, and a token that is drawn is the next pending one, if only the device knows
 * it yet. So the next step can be submitted behind it. collect then fills the tokens in, in the
 * order of submission.
 *
 * Everything on the device happens in that order, too. So a sequence may be dropped while steps
 * that have a part in it are under way: whoever gets its blocks writes them later than they do. Its
 * parts of those steps are computed for nobody.
 *
 * Limits: MR_MAX_FLIGHTS steps. Thread: the engine's. */
#include "base/clock.h"
#include "engine/engine_internal.h"

static uint32_t n_under_way(const mr_engine *e) {
    return (uint32_t)(e->n_begun - e->n_collected);
}

bool mr_engine_overlaps(const mr_engine *e) {
    return e->backend->draws && !e->host_sampling && !e->on_row;
}

void mr_engine_device_times(const mr_engine *e, double *busy_ms, double *idle_ms) {
    *busy_ms = e->backend->busy_ms;
    *idle_ms = e->backend->idle_ms;
}

bool mr_engine_draws(const mr_engine *e, const mr_engine_item *it) {
    const mr_seq *s = &e->seqs[it->seq];

    return it->n_tokens == mr_engine_pending_of(s) && s->n_left > 0;
}

/* One pass; asks: of its wanted rows. */
static mr_status run_pass(mr_engine *e, uint32_t n_rows, const mr_asks *asks, mr_err *err) {
    const uint32_t n_layer = e->model->hp.n_layer;

    if (asks->n == 0) return mr_forward_run(e->backend, n_layer, e->rows, n_rows, err);
    return mr_forward_draw(e->backend, n_layer, e->rows, n_rows, asks, err);
}

static mr_ask ask_of(const mr_seq *s, uint32_t id) {
    return (mr_ask){.sampling = &s->sampling,
                    .history = s->tokens,
                    .n_history = s->n_tokens,
                    .n_prompt = s->n_prompt,
                    .seq = id,
                    .behind = s->tokens[s->n_tokens - 1] == MR_UNKNOWN};
}

mr_status mr_engine_ask(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t ticket,
                        mr_err *err) {
    const uint32_t most = e->backend->max_rows;
    mr_asks asks = {.asks = e->asks, .ticket = ticket};
    uint32_t n_rows = 0, n_left = 0;
    mr_err why;

    for (size_t i = 0; i < n; i++) n_left += items[i].n_tokens;
    const uint32_t n_passes = (n_left + most - 1) / most, pass = (n_left + n_passes - 1) / n_passes;
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = items[i].seq;
        const mr_seq *s = &e->seqs[id];
        const bool draws = mr_engine_draws(e, &items[i]);

        for (uint32_t j = 0; j < items[i].n_tokens; j++) {
            const uint32_t pos = s->n_done + j;
            const int32_t token = s->tokens[pos] == MR_UNKNOWN ? ~(int32_t)id : s->tokens[pos];
            const bool want = draws && j + 1 == items[i].n_tokens;

            e->rows[n_rows++] = (mr_row){token, pos, s->table, want};
            if (want) e->asks[asks.n++] = ask_of(s, id);
            if (--n_left > 0 && n_rows < pass) continue;
            const mr_status st = run_pass(e, n_rows, &asks, &why);
            if (st == MR_ELIMIT) return mr_fail(err, st, "%s", why.text);
            if (st != MR_OK) {
                e->lost = why;
                return mr_engine_check_lost(e, err);
            }
            asks.first += asks.n;
            asks.n = n_rows = 0;
        }
    }
    return MR_OK;
}

/* ---- submit ---- */

/* The sequence, as it is when the step is done, but for the token. */
static void move_ahead(mr_engine *e, mr_flight *f, const mr_engine_item *it) {
    mr_seq *s = &e->seqs[it->seq];
    const bool draws = mr_engine_draws(e, it);

    f->parts[f->n++] = (mr_flight_part){it->seq, it->n_tokens, s->n_done, s->born, draws};
    s->n_done += it->n_tokens;
    if (!draws) return;
    if (--s->n_left > 0) s->tokens[s->n_tokens++] = MR_UNKNOWN;
}

mr_status mr_engine_submit(mr_engine *e, const mr_engine_item *items, size_t n, mr_err *err) {
    const uint32_t ticket = e->n_begun % MR_MAX_FLIGHTS;
    mr_flight *f = &e->flights[ticket];
    uint64_t total;
    mr_status st;

    if ((st = mr_engine_check_lost(e, err)) != MR_OK) return st;
    if (!mr_engine_overlaps(e) || n_under_way(e) == MR_MAX_FLIGHTS)
        return mr_fail(err, MR_ELIMIT, "step: %u are under way", n_under_way(e));
    if ((st = mr_engine_check_items(e, items, n, &total, err)) != MR_OK) return st;
    if (n == 0) return mr_fail(err, MR_EINVAL, "step: nothing to compute");
    for (uint32_t i = 0; i < e->max_seqs; i++) e->seqs[i].logits_row = -1;
    if ((st = mr_engine_ask(e, items, n, ticket, err)) != MR_OK) return st;
    f->n = 0;
    f->n_rows = (uint32_t)total;
    f->began_us = mr_clock_mono_us();
    for (size_t i = 0; i < n; i++) move_ahead(e, f, &items[i]);
    e->n_begun++;
    return MR_OK;
}

/* ---- collect ---- */

static void settle_part(mr_engine *e, const mr_flight_part *p, int32_t token) {
    mr_seq *s = &e->seqs[p->seq];
    const uint32_t n_done = p->n_done + p->n_tokens;

    if (!s->used || s->born != p->born) return; /* it was dropped meanwhile */
    if (p->draws && n_done < s->n_tokens) s->tokens[n_done] = token < 0 ? 0 : token;
    mr_engine_know(e, s, p->n_done, n_done);
}

mr_status mr_engine_collect(mr_engine *e, mr_engine_out *outs, size_t *n_out, mr_err *err) {
    const uint32_t ticket = e->n_collected % MR_MAX_FLIGHTS;
    const mr_flight *f = &e->flights[ticket];
    uint32_t n_drawn = 0, at = 0;
    mr_status st;

    *n_out = 0;
    if ((st = mr_engine_check_lost(e, err)) != MR_OK) return st;
    if (n_under_way(e) == 0) return MR_OK;
    for (size_t i = 0; i < f->n; i++) n_drawn += f->parts[i].draws;
    st = e->backend->steps->collect(e->backend, ticket, e->answers, n_drawn, &e->lost);
    if (st != MR_OK) return mr_engine_check_lost(e, err);
    mr_engine_note_time(e, f->n_rows, f->began_us, n_drawn > 0);
    for (size_t i = 0; i < f->n; i++) {
        outs[i].token = -1;
        outs[i].logprob = 0;
        outs[i].n_top = 0;
        if (f->parts[i].draws) outs[i] = e->answers[at++];
        settle_part(e, &f->parts[i], outs[i].token);
    }
    *n_out = f->n;
    e->n_collected++;
    return MR_OK;
}
