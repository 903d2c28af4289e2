/* swap.h - keys and values of sequences that have lost their seat, in host memory.
 *
 * A sequence that is parked leaves its blocks of the cache to others; a copy of them waits in
 * memory of the host until it goes on. That is worth it where a device computes: its link moves a
 * block faster than its kernels make it again, or not; both speeds are measured, and the cheaper
 * way is taken. Copies are put in line like kernels: nobody waits for them.
 *
 * Owner: caller, zeroed, open to close. Thread: one. Nothing allocates after open. */
#ifndef MR_ENGINE_SWAP_H
#define MR_ENGINE_SWAP_H

#include "engine/backend.h"

#define MR_SWAP_NONE (-1)

typedef struct mr_swap {
    mr_backend *b;
    uint8_t *memory;  /* [n_slots, b->block_bytes], the backend's; NULL: there is no swapping */
    int32_t *next;    /* [n_slots]: behind a slot in its list; MR_SWAP_NONE: it is the last */
    uint64_t *keys;   /* [n_slots], of those that are first in their list: whose blocks these are */
    uint32_t *n_done; /* [n_slots], likewise: positions */
    uint32_t n_slots, n_free;
    int32_t free;
    double block_us; /* to copy one out and in again */
    double token_us; /* to compute one of many rows; 0: not known yet */
} mr_swap;

/* Reserves `bytes` of host memory, whole blocks, and measures the link. */
mr_status mr_swap_open(mr_swap *s, mr_backend *b, uint64_t bytes, mr_err *err);
void mr_swap_close(mr_swap *s);

/* A step of n_rows took so long. */
void mr_swap_note_step(mr_swap *s, uint32_t n_rows, uint64_t took_us);
/* Whether copying n_blocks is cheaper than computing n_tokens again. */
bool mr_swap_pays(const mr_swap *s, uint32_t n_blocks, uint32_t n_tokens);

/* Copies the first blocks of a table, in which tokens[n_done] are, n_done > 0. MR_SWAP_NONE: it
 * does not pay, or there is no room. */
int32_t mr_swap_put(mr_swap *s, const int32_t *table, const int32_t *tokens, uint32_t n_done);
/* Copies them back, but for the first n_found, and frees them. Returns n_done; 0: they were of
 * other tokens than tokens[n], and nothing was copied. */
uint32_t mr_swap_take(mr_swap *s, int32_t parked, const int32_t *table, const int32_t *tokens,
                      uint32_t n, uint32_t n_found);
void mr_swap_drop(mr_swap *s, int32_t parked); /* MR_SWAP_NONE is allowed */

#endif
