/* offsets.h - what of one partition is finished: a watermark, bits above it, marks of what runs.
 *
 * Jobs end in any order, but Kafka keeps one number per partition: "all before this is done". So
 * each partition has a window that starts at its oldest unfinished offset; an ended job sets its
 * bit and the window slides over the leading set bits. Bits and marks travel as the metadata of the
 * commit, so the next owner of the partition skips what is finished, and knows what was running
 * when a process died. Offsets may have holes (compaction, transaction markers): begin() of a later
 * offset marks the skipped ones as finished.
 * Pure: no clock, no I/O, no allocation after open. */
#ifndef MR_BASE_OFFSETS_H
#define MR_BASE_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_OFFSETS_MIN_WINDOW   64u
#define MR_OFFSETS_MAX_WINDOW   16384u /* so many bits, and all marks, always fit the metadata */
#define MR_OFFSETS_MAX_MARKS    256u
#define MR_OFFSETS_MAX_METADATA 4000u  /* bytes; Kafka's own limit is 4,096 by default */
#define MR_OFFSETS_MAX_DEATHS   15u    /* counted no further */
#define MR_OFFSETS_MAX_FAR      4u     /* see mr_offsets_begin_far */

typedef struct mr_offsets mr_offsets;

/* window: how far the newest may run ahead of the oldest unfinished one. */
mr_status mr_offsets_open(mr_offsets **out, size_t window, mr_err *err);
void mr_offsets_close(mr_offsets *o);
/* Start over at offset next (the first that will be delivered). */
void mr_offsets_reset(mr_offsets *o, int64_t next);
/* Start over from a commit: at its offset, with what its metadata (text[len], "" for none) says is
 * finished and was running. What was marked as running has died once more. MR_EINVAL: the metadata
 * is not ours, of another version or another offset, cut or altered; err says which, and o is as
 * without metadata: what is in doubt runs again, nothing is skipped. A window smaller than that of
 * the process before takes all of it. */
mr_status mr_offsets_restore(mr_offsets *o, int64_t committed, const char *text, size_t len,
                             mr_err *err);

/* An offset was delivered. MR_ELIMIT: window full, pause the partition and call again later.
 * MR_EINVAL: finished before, or begun (a duplicate delivery), or negative: skip the message. */
mr_status mr_offsets_begin(mr_offsets *o, int64_t off);
/* It was, begin said MR_ELIMIT, and the caller cannot give it back: it counts all the same, in the
 * metadata too. At most MR_OFFSETS_MAX_FAR stand so far out (MR_CHECK): pause after the first. */
void mr_offsets_begin_far(mr_offsets *o, int64_t off);
/* The job of this offset has ended. Returns the offset to commit: all before it is done. An offset
 * that is not pending (a job from before a reset ends late) changes nothing. */
int64_t mr_offsets_finish(mr_offsets *o, int64_t off);

/* A pending offset runs from now on; until it is finished or unmarked a commit says so. MR_ELIMIT:
 * MR_OFFSETS_MAX_MARKS offsets are noted already. MR_EINVAL: not pending. */
mr_status mr_offsets_mark(mr_offsets *o, int64_t off);
/* It stopped in good order: its deaths stay known, it has not died again. began false: it was
 * marked and has never begun, neither here nor under an earlier owner, so it counts as not started.
 */
void mr_offsets_unmark(mr_offsets *o, int64_t off, bool began);
/* It has run before, here or under an earlier owner, and is not finished. */
bool mr_offsets_was_started(const mr_offsets *o, int64_t off);
/* Times that a process died while it ran, 0..MR_OFFSETS_MAX_DEATHS. */
unsigned mr_offsets_deaths(const mr_offsets *o, int64_t off);

/* The offset to commit, and how many begun offsets are unfinished. -1: nothing known since reset.
 * After a restore the restored offset counts as known. */
int64_t mr_offsets_commit(const mr_offsets *o);
size_t mr_offsets_pending(const mr_offsets *o);
/* How far the newest begun has run ahead of the oldest unfinished one; 0: none is pending. */
int64_t mr_offsets_span(const mr_offsets *o);
/* The metadata that belongs to mr_offsets_commit: printable ASCII, terminated, without it at most
 * MR_OFFSETS_MAX_METADATA bytes (cap must hold one more). Returns its length. */
size_t mr_offsets_encode(const mr_offsets *o, char *buf, size_t cap);

#endif
