/* parts.h - the partitions that one consumer is assigned, and what of each is finished.
 *
 * A row per partition, found by index while it is assigned; the epoch of a row grows with every
 * assignment, so an answer that comes late, for a partition that was lost meanwhile, finds nobody.
 * Whatever order records end in, no offset is committed that lies behind an unfinished one.
 * Pure: no clock, no I/O. Owner: the module that owns the consumer. */
#ifndef MR_BASE_PARTS_H
#define MR_BASE_PARTS_H

#include "base/offsets.h"

typedef struct mr_parts mr_parts;

typedef struct mr_origin { /* one record that was begun */
    int part;
    uint32_t epoch;
    int64_t offset;
} mr_origin;

mr_status mr_parts_open(mr_parts **out, size_t window, mr_err *err);
void mr_parts_close(mr_parts *p);

/* A newly assigned partition: row or -1 (no memory, err). offset: where consumption starts, or
 * below 0 when that shows with the first record. metadata[len] came with the committed offset; when
 * it is refused *refused (may be NULL, MR_OK otherwise) says why, and the partition starts with
 * nothing finished. */
int mr_parts_assign(mr_parts *p, const char *topic, int32_t partition, int64_t offset,
                    const char *metadata, size_t len, mr_err *refused, mr_err *err);
void mr_parts_revoke(mr_parts *p, int part);
int mr_parts_find(const mr_parts *p, const char *topic, int32_t partition); /* assigned; -1: none */
int mr_parts_count(const mr_parts *p); /* rows 0..n-1; some may be unassigned */
bool mr_parts_assigned(const mr_parts *p, int part);
const char *mr_parts_topic(const mr_parts *p, int part);
int32_t mr_parts_partition(const mr_parts *p, int part);
/* The partition is still ours as it was when this record was begun. */
bool mr_parts_holds(const mr_parts *p, mr_origin at);

/* A record was delivered. MR_EINVAL: seen or finished before, skip it. Never MR_ELIMIT: a record
 * behind a hole that is wider than any window counts too, and makes the partition full. So ask
 * full() after each: of records begun all the same MR_OFFSETS_MAX_FAR are the most (MR_CHECK). */
mr_status mr_parts_begin(mr_parts *p, int part, int64_t offset, mr_origin *out);
/* The origin of a record begun under the present assignment. */
mr_origin mr_parts_origin(const mr_parts *p, int part, int64_t offset);
/* False: the partition was revoked since. */
bool mr_parts_finish(mr_parts *p, mr_origin at);
/* See offsets.h; MR_EINVAL also when the partition was revoked since. */
mr_status mr_parts_mark(mr_parts *p, mr_origin at);
void mr_parts_unmark(mr_parts *p, mr_origin at, bool began);
bool mr_parts_was_started(const mr_parts *p, mr_origin at);
unsigned mr_parts_deaths(const mr_parts *p, mr_origin at);

/* The partition must take no more records until older ones are finished. paused: it takes none
 * now; then the answer stays yes until the window is half free. */
bool mr_parts_full(const mr_parts *p, int part, bool paused);
size_t mr_parts_pending(const mr_parts *p); /* begun and unfinished, all partitions */

/* The offset to commit now; -1: nothing known. buf[cap] (may be NULL) gets its metadata. */
int64_t mr_parts_commit(const mr_parts *p, int part, char *buf, size_t cap);
/* The offset behind the newest begun one; -1: nothing known. */
int64_t mr_parts_next(const mr_parts *p, int part);
/* Something changed (finished, marked, unmarked) since the last mr_parts_collected. */
bool mr_parts_dirty(const mr_parts *p, int part);
void mr_parts_collected(mr_parts *p, int part); /* what commit() returned is on its way */
void mr_parts_soil(mr_parts *p, int part);      /* it did not arrive: dirty again */

#endif
