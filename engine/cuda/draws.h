/* draws.h - tokens that are asked for, as the device's kernel sees them (draw.h).
 *
 * Owner: caller, init to deinit. */
#ifndef MR_ENGINE_CUDA_DRAWS_H
#define MR_ENGINE_CUDA_DRAWS_H

#include "engine/backend.h"
#include "engine/cuda/draw.h"

typedef struct mr_draws_list { /* memory of both lists: the caller's, as the calls say */
    uint32_t n_vocab;
    uint32_t *count; /* [n_vocab], all 0 between calls */
    const int32_t *eog;
    size_t n_eog;

    mr_draw *draws;
    mr_edit *edits;
    uint32_t n;
    size_t n_edits, max_edits;
} mr_draws_list;

/* eog[n_eog]: what ban_eog bans; borrowed. */
mr_status mr_draws_init(mr_draws_list *l, uint32_t n_vocab, const int32_t *eog, size_t n_eog,
                        mr_err *err);
void mr_draws_deinit(mr_draws_list *l); /* zeroed is allowed */

/* Both lists begin anew, in this memory, edits at number `first`. */
void mr_draws_start(mr_draws_list *l, mr_draw *draws, mr_edit *edits, size_t first,
                    size_t max_edits);
/* One whose token nobody will look at: the row is there to fill up. */
void mr_draws_pad(mr_draws_list *l, uint32_t seq);
/* The next of draws. False: the changes of its row find no room in edits. */
bool mr_draws_add(mr_draws_list *l, const mr_ask *ask);

/* What sample.c would have answered; its MR_EINTERNAL is token MR_ENGINE_SPOILED. */
void mr_drawn_read(const mr_drawn *d, mr_engine_out *out);

#endif
