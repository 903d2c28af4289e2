/* past.h - whether a partition goes on, or has begun anew.
 *
 * A topic that is deleted and made again under its readers starts at offset 0, and they go back to
 * its beginning. Who skips what is finished by its offset would then skip new records without a
 * word, as many as the old topic had. So what was read of each partition is noted here. A record
 * that comes a second time was counted when it came first, so it is no younger than the youngest;
 * where the first one behind a step back is younger than all that were read, the log is another.
 *
 * A log that has lost its newest records (a replica took over that had not got them) is not: it
 * begins with the old ones. New ones that have the offsets of lost ones cannot be told from them.
 * Pure. Owner: a consumer with a group. */
#ifndef MR_BASE_PAST_H
#define MR_BASE_PAST_H

#include <stddef.h>
#include <stdint.h>

typedef struct mr_past {
    struct mr_past_row *rows;
    size_t n, cap, last; /* last: of the record before, as the next one mostly has the same */
} mr_past;               /* all zero: empty */

typedef enum mr_past_step {
    MR_PAST_ON,    /* new, or of a partition that is not noted */
    MR_PAST_BACK,  /* the first of those that come again, or that have lost offsets */
    MR_PAST_AGAIN, /* one more of them */
    MR_PAST_ANEW,  /* the first of another log; what is noted is forgotten */
} mr_past_step;

void mr_past_deinit(mr_past *p);
/* The partition is ours from now on; next: the first offset to come, below 0 when that is not
 * known. Aborts without memory, some bytes for each partition. */
void mr_past_add(mr_past *p, const char *topic, int32_t partition, int64_t next);
void mr_past_drop(mr_past *p, const char *topic, int32_t partition);
/* A record was read; timestamp_ms below 0: it has none. *next (may be NULL) is the offset that was
 * to come. */
mr_past_step mr_past_read(mr_past *p, const char *topic, int32_t partition, int64_t offset,
                          int64_t timestamp_ms, int64_t *next);

#endif
