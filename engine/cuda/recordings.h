/* recordings.h - passes that were recorded, by what makes them alike.
 *
 * A recording fixes how many rows, items of attention and records a pass has at most; what the rows
 * are, it reads from the device's lists. So decode steps are padded to a few numbers of rows, and
 * grids of attention to powers of two.
 *
 * A kind of pass is recorded when it comes for the second time: then all kernels have run before.
 * Limit: MR_MAX_RECORDINGS; the one that has not been used for longest makes room. Owner: caller.
 */
#ifndef MR_ENGINE_CUDA_RECORDINGS_H
#define MR_ENGINE_CUDA_RECORDINGS_H

#include "engine/cuda/device.h"

#define MR_MAX_RECORDINGS 64

typedef struct mr_pass_kind {
    uint32_t n, n_items;
    bool has_records;
} mr_pass_kind;

typedef struct mr_recording {
    mr_pass_kind kind;
    void *made; /* NULL: it has come once */
    uint64_t used;
} mr_recording;

typedef struct mr_recordings {
    mr_device *d;
    mr_recording all[MR_MAX_RECORDINGS];
    uint64_t n_used; /* a clock */
    uint32_t n;
} mr_recordings;

/* Rows that a pass of n is padded to, n <= most: at most a quarter more, and no more than most. */
uint32_t mr_rows_padded(uint32_t n, uint32_t most);
/* Items that attention is started for. */
uint32_t mr_items_padded(uint32_t n);

/* Its place, a new one if need be; *is_new. Borrowed until the next call. */
mr_recording *mr_recordings_find(mr_recordings *r, mr_pass_kind kind, bool *is_new);
void mr_recordings_drop(mr_recordings *r); /* all; zeroed is allowed */

#endif
