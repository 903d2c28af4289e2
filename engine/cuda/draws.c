/* draws.c - from a sequence's parameters and tokens to a list of changes and a few numbers.
 *
 * Penalties look at each token of the history once, with the number of times that it is in the
 * output; the list is made here, since the host has the history. When the last token is not known
 * yet, the list has a place for it, which the device fills.
 *
 * Limit: max_edits changes of all rows of a pass together. */
#include "engine/cuda/draws.h"

#include <stdlib.h>

#include "engine/sample.h"

#define COUNTED UINT32_MAX /* it is in the list */

mr_status mr_draws_init(mr_draws_list *l, uint32_t n_vocab, const int32_t *eog, size_t n_eog,
                        mr_err *err) {
    *l = (mr_draws_list){.n_vocab = n_vocab, .eog = eog, .n_eog = n_eog};
    l->count = calloc(n_vocab, sizeof *l->count);
    return l->count ? MR_OK : mr_fail(err, MR_ENOMEM, "engine: out of memory");
}

void mr_draws_deinit(mr_draws_list *l) {
    free(l->count);
    *l = (mr_draws_list){0};
}

void mr_draws_start(mr_draws_list *l, mr_draw *draws, mr_edit *edits, size_t first,
                    size_t max_edits) {
    l->draws = draws;
    l->edits = edits;
    l->n = 0;
    l->n_edits = first;
    l->max_edits = max_edits;
}

void mr_draws_pad(mr_draws_list *l, uint32_t seq) {
    l->draws[l->n++] = (mr_draw){.behind = MR_NO_SEQ, .seq = seq};
}

static bool penalizes(const mr_sampling *p) {
    return (p->repetition_penalty > 0 && p->repetition_penalty != 1) || p->frequency_penalty != 0 ||
           p->presence_penalty != 0;
}

static bool repeats(const mr_sampling *p) { /* is looked at in the prompt, too */
    return p->repetition_penalty > 0 && p->repetition_penalty != 1;
}

/* Most changes of a row. */
static size_t most_edits(const mr_draws_list *l, const mr_ask *ask) {
    const mr_sampling *p = ask->sampling;
    const size_t history = repeats(p) ? ask->n_history : ask->n_history - ask->n_prompt;

    return (penalizes(p) ? history : 0) + p->n_bias + (p->ban_eog ? l->n_eog : 0);
}

static void add(mr_draws_list *l, int32_t id, uint32_t seen, float bias) {
    l->edits[l->n_edits++] = (mr_edit){.id = id, .seen = seen, .bias = bias};
}

/* Returns how many. */
static uint32_t add_seen(mr_draws_list *l, const mr_ask *ask) {
    const uint32_t first = repeats(ask->sampling) ? 0 : ask->n_prompt;
    const uint32_t n = ask->n_history - ask->behind;
    const int32_t *history = ask->history;
    const size_t before = l->n_edits;

    if (!penalizes(ask->sampling)) return 0;
    for (uint32_t i = ask->n_prompt; i < n; i++) l->count[history[i]]++;
    for (uint32_t i = first; i < n; i++) {
        if (l->count[history[i]] == COUNTED) continue;
        add(l, history[i], l->count[history[i]], 0);
        l->count[history[i]] = COUNTED;
    }
    for (uint32_t i = first; i < n; i++) l->count[history[i]] = 0;
    if (ask->behind) add(l, -1, 0, 0);
    return (uint32_t)(l->n_edits - before);
}

bool mr_draws_add(mr_draws_list *l, const mr_ask *ask) {
    const mr_sampling *p = ask->sampling;
    mr_draw *d = &l->draws[l->n];

    if (l->n_edits + most_edits(l, ask) > l->max_edits) return false;
    *d = (mr_draw){.pick = mr_pick_of(p, l->n_vocab, ask->n_history - ask->n_prompt),
                   .rep = repeats(p) ? p->repetition_penalty : 1,
                   .freq = p->frequency_penalty,
                   .pres = p->presence_penalty,
                   .first_edit = (uint32_t)l->n_edits,
                   .n_bias = (uint32_t)p->n_bias,
                   .n_ban = p->ban_eog ? (uint32_t)l->n_eog : 0,
                   .behind = ask->behind ? ask->seq : MR_NO_SEQ,
                   .seq = ask->seq,
                   .n_top = (uint32_t)p->n_top_logprobs,
                   .reports = p->logprobs || p->n_top_logprobs > 0};
    d->n_seen = add_seen(l, ask);
    for (size_t i = 0; i < p->n_bias; i++) add(l, p->bias[i].token, 0, p->bias[i].bias);
    for (uint32_t i = 0; i < d->n_ban; i++) add(l, l->eog[i], 0, 0);
    l->n++;
    return true;
}

void mr_drawn_read(const mr_drawn *d, mr_engine_out *out) {
    out->token = d->token < 0 ? MR_ENGINE_SPOILED : d->token;
    out->logprob = 0;
    out->n_top = 0;
    if (d->token < 0 || !d->reports) return;
    out->logprob = d->raw;
    out->n_top = (int)d->n_top;
    for (uint32_t i = 0; i < d->n_top; i++) out->top[i] = (mr_top_logprob){d->id[i], d->logit[i]};
    mr_logprobs_of(out, d->top, d->sum);
}
