/* step.c - the step that moves sequences on.
 *
 * The tokens that the caller names of each sequence are lined up as rows of one ragged batch; the
 * transformer runs over them (in several passes if the rows are many), and one token is sampled for
 * every sequence that has nothing left to compute: here, from logits, or on a device that draws.
 * Only then do the sequences move on: a step that fails has changed nothing that counts, and can be
 * repeated without the sequence that spoiled it.
 *
 * Thread: the engine's; the pool's threads sample. Steps that overlap are in flight.c. */
#include <string.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

void mr_engine_watch_rows(mr_engine *e, mr_engine_on_row *fn, void *owner) {
    e->on_row = fn;
    e->on_row_owner = owner;
}

static mr_status check_item(mr_engine *e, const mr_engine_item *it, uint64_t *total, mr_err *err) {
    if (it->seq >= e->max_seqs || !e->seqs[it->seq].used)
        return mr_fail(err, MR_EINVAL, "step: there is no sequence %u", it->seq);

    mr_seq *s = &e->seqs[it->seq];
    if (s->in_step) return mr_fail(err, MR_EINVAL, "step: sequence %u twice", it->seq);
    if (it->n_tokens == 0 || it->n_tokens > mr_engine_pending_of(s))
        return mr_fail(err, MR_EINVAL, "step: %u tokens of sequence %u, which has %u pending",
                       it->n_tokens, it->seq, mr_engine_pending_of(s));
    s->in_step = true;
    *total += it->n_tokens;
    if (*total > e->max_step_tokens)
        return mr_fail(err, MR_EINVAL, "step: more than max_step_tokens %u", e->max_step_tokens);
    return MR_OK;
}

mr_status mr_engine_check_items(mr_engine *e, const mr_engine_item *items, size_t n,
                                uint64_t *total, mr_err *err) {
    mr_status st = MR_OK;

    *total = 0;
    for (uint32_t i = 0; i < e->max_seqs; i++) e->seqs[i].in_step = false;
    for (size_t i = 0; i < n && st == MR_OK; i++) st = check_item(e, &items[i], total, err);
    return st;
}

/* Head of the wanted rows of the last pass, a buffer full at a time. The rows to keep gather at the
 * front of e->logits, *kept of them so far. There is always room for one more: a wanted row that is
 * still to come belongs to a sequence of which none is kept yet. */
static mr_status run_head(mr_engine *e, uint32_t n_wanted, uint32_t *kept, mr_err *err) {
    const size_t row_bytes = e->n_vocab * sizeof(float);

    for (uint32_t first = 0, n; first < n_wanted; first += n) {
        const uint32_t base = *kept, room = e->max_seqs - base;

        n = n_wanted - first < room ? n_wanted - first : room;
        const mr_status st =
            mr_forward_head(e->backend, first, n, e->logits + (size_t)base * e->n_vocab, err);
        if (st != MR_OK) return st;
        for (uint32_t i = 0; i < n; i++) {
            const mr_wanted *w = &e->wanted[first + i];
            float *row = e->logits + (size_t)(base + i) * e->n_vocab;

            if (e->on_row) e->on_row(e->on_row_owner, w->seq, w->pos, row);
            if (!w->keep) continue;
            if (*kept != base + i) memcpy(e->logits + (size_t)*kept * e->n_vocab, row, row_bytes);
            e->seqs[w->seq].logits_row = (int32_t)(*kept)++;
        }
    }
    return MR_OK;
}

/* All rows of the step, in passes of about equal size. */
static mr_status compute(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t total,
                         mr_err *err) {
    const uint32_t most = e->backend->max_rows, n_layer = e->model->hp.n_layer;
    const uint32_t n_passes = (total + most - 1) / most, pass = (total + n_passes - 1) / n_passes;
    uint32_t n_rows = 0, n_wanted = 0, kept = 0, n_left = total;
    mr_status st;

    for (size_t i = 0; i < n; i++) {
        const mr_seq *s = &e->seqs[items[i].seq];
        const bool whole = items[i].n_tokens == mr_engine_pending_of(s);

        for (uint32_t j = 0; j < items[i].n_tokens; j++) {
            const uint32_t pos = s->n_done + j;
            const bool last = j + 1 == items[i].n_tokens, want = e->on_row || (last && whole);

            e->rows[n_rows++] = (mr_row){s->tokens[pos], pos, s->table, want};
            if (want) e->wanted[n_wanted++] = (mr_wanted){items[i].seq, pos, last};
            if (--n_left > 0 && n_rows < pass) continue;
            if ((st = mr_forward_run(e->backend, n_layer, e->rows, n_rows, err)) != MR_OK)
                return st;
            if ((st = run_head(e, n_wanted, &kept, err)) != MR_OK) return st;
            n_rows = n_wanted = 0;
        }
    }
    return MR_OK;
}

typedef struct sampling_run {
    mr_engine *e;
    const mr_engine_item *items;
    mr_engine_out *outs;
} sampling_run;

static void on_sample(void *arg, uint32_t piece, int ith) {
    const sampling_run *r = arg;
    mr_engine *e = r->e;
    const uint32_t i = e->drawn[piece];
    const mr_seq *s = &e->seqs[r->items[i].seq];
    float *logits = e->logits + (size_t)s->logits_row * e->n_vocab;

    if (mr_sampler_pick(e->samplers[ith], &s->sampling, logits, s->tokens, s->n_tokens, s->n_prompt,
                        &r->outs[i], NULL) != MR_OK)
        r->outs[i].token = MR_ENGINE_SPOILED;
}

static void set_none(mr_engine_out *out) {
    out->token = -1;
    out->logprob = 0;
    out->n_top = 0;
}

/* e->drawn: items whose sequences are through with their tokens and may have more. */
static uint32_t list_drawn(mr_engine *e, const mr_engine_item *items, size_t n,
                           mr_engine_out *outs) {
    uint32_t n_drawn = 0;

    for (size_t i = 0; i < n; i++) {
        set_none(&outs[i]);
        if (mr_engine_draws(e, &items[i])) e->drawn[n_drawn++] = (uint32_t)i;
    }
    return n_drawn;
}

/* A token for each of those, drawn here from logits. */
static mr_status draw_here(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t total,
                           mr_engine_out *outs, mr_err *err) {
    sampling_run r = {e, items, outs};

    if (compute(e, items, n, total, &e->lost) != MR_OK) return mr_engine_check_lost(e, err);
    mr_pool_run(e->pool, list_drawn(e, items, n, outs), on_sample, &r);
    return MR_OK;
}

static mr_status draw_there(mr_engine *e, const mr_engine_item *items, size_t n,
                            mr_engine_out *outs, mr_err *err) {
    const mr_status st = mr_engine_ask(e, items, n, 0, err);

    if (st != MR_OK) return st;
    const uint32_t n_drawn = list_drawn(e, items, n, outs);
    if (e->backend->steps->collect(e->backend, 0, e->answers, n_drawn, &e->lost) != MR_OK)
        return mr_engine_check_lost(e, err);
    for (uint32_t i = 0; i < n_drawn; i++) outs[e->drawn[i]] = e->answers[i];
    return MR_OK;
}

static mr_status check_spoiled(const mr_engine *e, const mr_engine_item *items, size_t n,
                               const mr_engine_out *outs, mr_err *err) {
    for (size_t i = 0; i < n; i++)
        if (outs[i].token == MR_ENGINE_SPOILED)
            return mr_fail(err, MR_EINTERNAL,
                           "step: sequence %u, position %u: a logit is not finite, or no token is "
                           "allowed",
                           items[i].seq, e->seqs[items[i].seq].n_tokens);
    return MR_OK;
}

/* A step that draws nothing is not waited for: when it is done is not known, nor when the next one
 * begins on the device. */
void mr_engine_note_time(mr_engine *e, uint32_t n_rows, uint64_t began_us, bool waited) {
    const uint64_t now_us = mr_clock_mono_us();
    const uint64_t from_us = began_us > e->done_us ? began_us : e->done_us;

    if (waited && !e->unsure) mr_swap_note_step(&e->swap, n_rows, now_us - from_us);
    e->done_us = now_us;
    e->unsure = !waited;
}

static void move_on(mr_engine *e, mr_seq *s, uint32_t n_tokens, int32_t sampled) {
    mr_engine_know(e, s, s->n_done, s->n_done + n_tokens);
    s->n_done += n_tokens;
    if (sampled < 0) return;
    if (--s->n_left > 0) s->tokens[s->n_tokens++] = sampled; /* the last one is never computed */
}

mr_status mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n, mr_engine_out *outs,
                         mr_err *err) {
    bool drew = false;
    uint64_t total;
    mr_status st;

    if ((st = mr_engine_check_lost(e, err)) != MR_OK) return st;
    if (e->n_begun > e->n_collected) return mr_fail(err, MR_EINVAL, "step: one is under way");
    if ((st = mr_engine_check_items(e, items, n, &total, err)) != MR_OK) return st;
    for (uint32_t i = 0; i < e->max_seqs; i++) e->seqs[i].logits_row = -1;
    if (n == 0) return MR_OK;
    for (size_t i = 0; i < n; i++) outs[i].token = -1;
    const uint64_t began_us = mr_clock_mono_us();
    st = mr_engine_overlaps(e) ? draw_there(e, items, n, outs, err) : MR_ELIMIT;
    if (st == MR_ELIMIT) st = draw_here(e, items, n, (uint32_t)total, outs, err);
    if (st == MR_OK) st = check_spoiled(e, items, n, outs, err);
    if (st != MR_OK) return st;
    for (size_t i = 0; i < n; i++) {
        move_on(e, &e->seqs[items[i].seq], items[i].n_tokens, outs[i].token);
        drew = drew || outs[i].token >= 0;
    }
    mr_engine_note_time(e, (uint32_t)total, began_us, drew);
    return MR_OK;
}
