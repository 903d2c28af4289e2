/* swap.c - see swap.h. Slots hold a block each and form lists: the free ones, and those of each
 * parked sequence in order of position.
 *
 * The link is measured once, with PROBE_BLOCKS; the time of a token is that of steps with at least
 * PROMPT_ROWS rows, as recomputing makes them, averaged over some SMOOTH of these. Until there was
 * one, copying is taken to be cheaper. */
#include "engine/swap.h"

#include <stdlib.h>

#include "base/clock.h"
#include "engine/ops.h"

#define PROBE_BLOCKS 8
#define PROMPT_ROWS  64
#define SMOOTH       8

static uint32_t blocks_for(uint32_t n_tokens) {
    return (n_tokens + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN;
}

static uint8_t *slot_at(const mr_swap *s, int32_t slot) {
    return s->memory + (size_t)slot * s->b->block_bytes;
}

/* FNV-1a. */
static uint64_t key_of(const int32_t *tokens, uint32_t n) {
    uint64_t h = 0xcbf29ce484222325u;

    for (uint32_t i = 0; i < n; i++) h = (h ^ (uint32_t)tokens[i]) * 0x100000001b3u;
    return h;
}

/* ---- open and close ---- */

static mr_status reserve(mr_swap *s, uint64_t bytes, mr_err *err) {
    s->n_slots = s->n_free = (uint32_t)(bytes / s->b->block_bytes);
    if (s->n_slots == 0)
        return mr_fail(err, MR_EINVAL, "swap_bytes: %llu are less than one block's %zu",
                       (unsigned long long)bytes, s->b->block_bytes);
    s->next = malloc(s->n_slots * sizeof *s->next);
    s->keys = malloc(s->n_slots * sizeof *s->keys);
    s->n_done = malloc(s->n_slots * sizeof *s->n_done);
    if (!s->next || !s->keys || !s->n_done) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    for (uint32_t i = 0; i < s->n_slots; i++)
        s->next[i] = i + 1 < s->n_slots ? (int32_t)i + 1 : MR_SWAP_NONE;
    s->memory = s->b->steps->reserve_swap(s->b, s->n_slots * s->b->block_bytes, err);
    return s->memory ? MR_OK : MR_ENOMEM;
}

/* Block 0 of a cache that is empty yet, back and forth. */
static mr_status measure(mr_swap *s, mr_err *err) {
    const mr_steps *steps = s->b->steps;
    const uint32_t n = s->n_slots < PROBE_BLOCKS ? s->n_slots : PROBE_BLOCKS;
    mr_status st = steps->settle(s->b, err);
    const uint64_t began_us = mr_clock_mono_us();

    for (uint32_t i = 0; i < n; i++) {
        steps->save(s->b, 0, slot_at(s, (int32_t)i));
        steps->load(s->b, 0, slot_at(s, (int32_t)i));
    }
    if (st == MR_OK) st = steps->settle(s->b, err);
    s->block_us = (double)(mr_clock_mono_us() - began_us) / n;
    return st;
}

mr_status mr_swap_open(mr_swap *s, mr_backend *b, uint64_t bytes, mr_err *err) {
    mr_status st;

    *s = (mr_swap){.b = b};
    if ((st = reserve(s, bytes, err)) == MR_OK) st = measure(s, err);
    if (st != MR_OK) mr_swap_close(s);
    return st;
}

void mr_swap_close(mr_swap *s) {
    free(s->n_done);
    free(s->keys);
    free(s->next);
    *s = (mr_swap){0};
}

/* ---- cost ---- */

void mr_swap_note_step(mr_swap *s, uint32_t n_rows, uint64_t took_us) {
    if (n_rows < PROMPT_ROWS) return;
    const double us = (double)took_us / n_rows;
    s->token_us = s->token_us > 0 ? s->token_us + (us - s->token_us) / SMOOTH : us;
}

bool mr_swap_pays(const mr_swap *s, uint32_t n_blocks, uint32_t n_tokens) {
    return s->token_us <= 0 || n_blocks * s->block_us < n_tokens * s->token_us;
}

/* ---- put and take ---- */

static int32_t take_slot(mr_swap *s) {
    const int32_t slot = s->free;

    s->free = s->next[slot];
    s->n_free--;
    return slot;
}

static int32_t give_slot(mr_swap *s, int32_t slot) { /* returns the one behind it */
    const int32_t next = s->next[slot];

    s->next[slot] = s->free;
    s->free = slot;
    s->n_free++;
    return next;
}

int32_t mr_swap_put(mr_swap *s, const int32_t *table, const int32_t *tokens, uint32_t n_done) {
    const uint32_t n = blocks_for(n_done);
    int32_t first = MR_SWAP_NONE, last = MR_SWAP_NONE;

    MR_CHECK(n > 0);
    if (!s->memory || n > s->n_free || !mr_swap_pays(s, n, n_done)) return MR_SWAP_NONE;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t slot = take_slot(s);

        s->b->steps->save(s->b, table[i], slot_at(s, slot));
        s->next[slot] = MR_SWAP_NONE;
        *(i == 0 ? &first : &s->next[last]) = slot;
        last = slot;
    }
    s->keys[first] = key_of(tokens, n_done);
    s->n_done[first] = n_done;
    return first;
}

uint32_t mr_swap_take(mr_swap *s, int32_t parked, const int32_t *table, const int32_t *tokens,
                      uint32_t n, uint32_t n_found) {
    const uint32_t n_done = s->n_done[parked];
    const bool same = n_done <= n && s->keys[parked] == key_of(tokens, n_done);

    for (uint32_t i = 0; parked != MR_SWAP_NONE; i++) {
        if (same && i >= n_found) s->b->steps->load(s->b, table[i], slot_at(s, parked));
        parked = give_slot(s, parked);
    }
    return same ? n_done : 0;
}

void mr_swap_drop(mr_swap *s, int32_t parked) {
    while (parked != MR_SWAP_NONE) parked = give_slot(s, parked);
}
