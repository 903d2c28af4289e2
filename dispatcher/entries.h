/* entries.h - all jobs that are held, from decode until their fate is durable: by list, by job id,
 * and counted by the ingress partition that they came from. Pure but for the allocator.
 *
 * What came from delay topics is counted apart: many jobs that are not due must not keep others
 * out. */
#ifndef MR_DISPATCHER_ENTRIES_H
#define MR_DISPATCHER_ENTRIES_H

#include "dispatcher/window.h"

typedef struct mr_entries mr_entries;

mr_status mr_entries_open(mr_entries **out, mr_err *err);
void mr_entries_close(mr_entries *es); /* what is left is freed; NULL is allowed */
/* A row for this partition (of parts.h). False: no memory. */
bool mr_entries_need_row(mr_entries *es, int part);

/* A new one from `at`, whose row is there; its arena is empty. NULL: no memory. */
mr_entry *mr_entries_make(mr_entries *es, mr_origin at, unsigned from);
/* It is decoded: found by its id from now on, and its memory counts. */
void mr_entries_index(mr_entries *es, mr_entry *e);
/* It is linked nowhere else. */
void mr_entries_free(mr_entries *es, mr_entry *e);
/* Its wait has begun: take_untold gives it out, once, in this order, unless it is freed before. */
void mr_entries_untold(mr_entries *es, mr_entry *e);
mr_entry *mr_entries_take_untold(mr_entries *es); /* NULL: none */
/* It is handed to the committer, which bounds what is on its way: neither it nor its bytes count as
 * held any more. */
void mr_entries_sent(mr_entries *es, mr_entry *e);
/* Its partition was revoked while it was on its way. */
void mr_entries_orphan(mr_entries *es, mr_entry *e);

/* Walks: all (NULL: the first), and those with one job id; e may be freed before the next step when
 * its successor was taken first. */
mr_entry *mr_entries_next(const mr_entries *es, const mr_entry *e);
mr_entry *mr_entries_find(const mr_entries *es, const char *job_id, const mr_entry *after);

size_t mr_entries_of(const mr_entries *es, int part); /* held ones that came from it */
size_t mr_entries_bytes_of(const mr_entries *es, int part);
size_t mr_entries_bytes(const mr_entries *es, bool delayed);

#endif
