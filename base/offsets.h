/* offsets.h - which Kafka offset of one partition is safe to commit.
 *
 * Jobs end in any order, but Kafka keeps one number per partition: "all before this is done". So
 * each partition has a window that starts at its oldest unfinished offset; an ended job sets its
 * bit and the window slides over the leading set bits. Offsets may have holes (compaction,
 * transaction markers): begin() of a later offset marks the skipped ones as finished.
 * Pure: no clock, no I/O, no allocation after open. */
#ifndef MR_BASE_OFFSETS_H
#define MR_BASE_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

typedef struct mr_offsets mr_offsets;

/* window: how far the newest may run ahead of the oldest unfinished one, 64..65536. */
mr_status mr_offsets_open(mr_offsets **out, size_t window, mr_err *err);
void mr_offsets_close(mr_offsets *o);
/* Start over at offset next (the first that will be delivered). */
void mr_offsets_reset(mr_offsets *o, int64_t next);
/* An offset was delivered. MR_ELIMIT: window full, pause the partition and call again later.
 * MR_EINVAL: begun before (a duplicate delivery), or negative: skip the message. */
mr_status mr_offsets_begin(mr_offsets *o, int64_t off);
/* The job of this offset has ended. Returns the offset to commit: all before it is done. An offset
 * that is not pending (a job from before a reset ends late) changes nothing. */
int64_t mr_offsets_finish(mr_offsets *o, int64_t off);
/* The offset to commit, and how many begun offsets are unfinished. -1: nothing begun since reset. */
int64_t mr_offsets_commit(const mr_offsets *o);
size_t mr_offsets_pending(const mr_offsets *o);

#endif
