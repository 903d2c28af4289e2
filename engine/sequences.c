/* sequences.c - tokens of which the first n_done are in the KV cache.
 *
 * A sequence takes a place and every KV block that it can come to need when it is added, so it
 * never waits for memory later. Whoever begins as an earlier one did, with the same salt, finds
 * those blocks of keys and values in the cache (kv.c) and starts behind them. The last token is
 * computed in any case: its logits are wanted. What a sequence has computed becomes known block by
 * block as it moves on.
 *
 * One that is parked leaves what it has computed in the host's memory (swap.c) and its place and
 * blocks to others; who comes back is added anew, and takes from there what the cache has not.
 *
 * Limits: max_seqs places of n_ctx tokens each. Thread: the engine's. */
#include <string.h>

#include "engine/engine_internal.h"

static mr_status check_add(const mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                           size_t max_new, mr_err *err) {
    const mr_status st = mr_engine_check_lost(e, err);

    if (st != MR_OK) return st;
    if (n == 0) return mr_fail(err, MR_EINVAL, "prompt: no tokens");
    if (n > e->n_ctx || max_new > e->n_ctx - n)
        return mr_fail(err, MR_EINVAL, "prompt of %zu tokens + %zu new ones pass the context of %u",
                       n, max_new, e->n_ctx);
    if (n_generated > n)
        return mr_fail(err, MR_EINVAL, "n_generated: %zu of only %zu tokens", n_generated, n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= e->n_vocab)
            return mr_fail(err, MR_EINVAL, "token %zu of the prompt: %d is not in 0..%u", i,
                           tokens[i], e->n_vocab - 1);
    if (mr_kv_blocks_for(n + max_new) > e->kv.n_block)
        return mr_fail(err, MR_EINVAL, "%zu tokens need %u KV blocks, and there are %u in all",
                       n + max_new, mr_kv_blocks_for(n + max_new), e->kv.n_block);
    return MR_OK;
}

/* Blocks for n + max_new tokens, the known ones first. */
static mr_status take_blocks(mr_engine *e, mr_seq *s, const int32_t *tokens, size_t n,
                             size_t max_new, mr_err *err) {
    const uint32_t n_blocks = mr_kv_blocks_for(n + max_new);
    const uint32_t n_whole = (uint32_t)((n - 1) / MR_KV_BLOCK_LEN); /* not the last token's */
    const uint32_t n_found =
        e->keeps_prefixes ? mr_kv_find(&e->kv, s->salt, tokens, n_whole, s->table) : 0;
    const mr_status st = mr_kv_take(&e->kv, s->table + n_found, n_blocks - n_found, err);

    if (st != MR_OK) {
        mr_kv_give(&e->kv, s->table, n_found);
        return st;
    }
    s->n_blocks = n_blocks;
    s->n_found = n_found;
    s->n_done = n_found * MR_KV_BLOCK_LEN;
    return MR_OK;
}

mr_status mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                        size_t max_new, uint64_t salt, const mr_sampling *sampling,
                        uint32_t *seq_out, mr_err *err) {
    uint32_t id = 0;
    mr_status st;

    if ((st = check_add(e, tokens, n, n_generated, max_new, err)) != MR_OK) return st;
    if ((st = mr_sampling_check(sampling, e->n_vocab, err)) != MR_OK) return st;
    while (id < e->max_seqs && e->seqs[id].used) id++;
    if (id == e->max_seqs)
        return mr_fail(err, MR_ELIMIT, "sequences: all %u are in use", e->max_seqs);

    mr_seq *s = &e->seqs[id];
    s->salt = salt;
    if ((st = take_blocks(e, s, tokens, n, max_new, err)) != MR_OK) return st;
    memcpy(s->tokens, tokens, n * sizeof *tokens);
    s->sampling = *sampling;
    if (sampling->n_bias) memcpy(s->bias, sampling->bias, sampling->n_bias * sizeof *s->bias);
    s->sampling.bias = s->bias;
    s->n_tokens = (uint32_t)n;
    s->n_prompt = (uint32_t)(n - n_generated);
    s->n_left = (uint32_t)max_new;
    s->born = e->n_born++;
    s->logits_row = -1;
    s->used = true;
    *seq_out = id;
    return MR_OK;
}

static mr_seq *seq_at(const mr_engine *e, uint32_t id) {
    MR_CHECK(id < e->max_seqs && e->seqs[id].used);
    return &e->seqs[id];
}

void mr_engine_drop(mr_engine *e, uint32_t id) {
    mr_seq *s = seq_at(e, id);

    mr_kv_give(&e->kv, s->table, s->n_blocks);
    s->used = false;
}

/* Tokens that the host knows. Those behind them are drawn by steps that are under way. */
static uint32_t n_known(const mr_seq *s) {
    uint32_t n = s->n_tokens;

    while (s->tokens[n - 1] == MR_UNKNOWN) n--; /* the prompt is known */
    return n;
}

/* Who comes back begins behind known tokens and computes the last of them, so that one need not be
 * kept, even if a step that is under way computes it. */
bool mr_engine_park(mr_engine *e, uint32_t id, int32_t *parked) {
    const mr_seq *s = seq_at(e, id);
    const uint32_t most = n_known(s) - 1, n_done = s->n_done < most ? s->n_done : most;

    *parked = MR_SWAP_NONE;
    if (e->swap.memory && n_done > 0) *parked = mr_swap_put(&e->swap, s->table, s->tokens, n_done);
    if (*parked == MR_SWAP_NONE) return false;
    mr_engine_drop(e, id);
    return true;
}

void mr_engine_unpark(mr_engine *e, uint32_t id, int32_t parked) {
    mr_seq *s = seq_at(e, id);
    const uint32_t n_done = mr_swap_take(&e->swap, parked, s->table, s->tokens, s->n_tokens - 1,
                                         s->n_done / MR_KV_BLOCK_LEN);

    if (n_done <= s->n_done) return;
    mr_engine_know(e, s, s->n_done, n_done);
    s->n_done = n_done;
}

void mr_engine_forget(mr_engine *e, int32_t parked) {
    mr_swap_drop(&e->swap, parked);
}

void mr_engine_know(mr_engine *e, mr_seq *s, uint32_t n_before, uint32_t n_done) {
    if (!e->keeps_prefixes) return;
    for (uint32_t i = n_before / MR_KV_BLOCK_LEN; i < n_done / MR_KV_BLOCK_LEN; i++)
        mr_kv_make_known(&e->kv, s->salt, s->tokens, s->table, i);
}

uint32_t mr_engine_pending_of(const mr_seq *s) {
    return s->n_tokens - s->n_done;
}

uint32_t mr_engine_pending(const mr_engine *e, uint32_t id) {
    return mr_engine_pending_of(seq_at(e, id));
}

uint32_t mr_engine_cached(const mr_engine *e, uint32_t id) {
    return seq_at(e, id)->n_found * MR_KV_BLOCK_LEN;
}

const float *mr_engine_logits(const mr_engine *e, uint32_t id) {
    const mr_seq *s = seq_at(e, id);

    return s->logits_row < 0 ? NULL : e->logits + (size_t)s->logits_row * e->n_vocab;
}
