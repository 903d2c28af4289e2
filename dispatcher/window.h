/* window.h - the jobs that wait to be released: who is next.
 *
 * Per model one queue per lane. Lanes take turns by weight (high 8, normal 3, low 1; smooth
 * weighted round robin), so a higher lane runs ahead and the lowest still moves; inside a lane
 * arrival counts. Pure: no clock, no I/O. Entries are the caller's; the window links and unlinks
 * them. */
#ifndef MR_DISPATCHER_WINDOW_H
#define MR_DISPATCHER_WINDOW_H

#include "base/arena.h"
#include "base/parts.h"
#include "millrace/job.h"

#define MR_MAX_MODELS      64
#define MR_TRACEPARENT_MAX 64

typedef struct mr_entry mr_entry;
struct mr_entry {                  /* one accepted job, from decode until its fate is durable */
    mr_entry *prev, *next;         /* in its queue */
    mr_entry *all_prev, *all_next; /* owner's list of all entries, waiting or on the way */
    mr_entry *id_prev, *id_next;   /* owner's chain of entries with like job ids */
    mr_arena arena;                /* holds everything job points to */
    mr_job_spec job;
    mr_priority lane;
    mr_origin at; /* at.part -1: that partition was revoked */
    size_t bytes; /* of memory, arena and all */
    char traceparent[MR_TRACEPARENT_MAX + 1];
    bool waiting;           /* linked in the window */
    bool cancelled;         /* ends with the owner's next tick */
    int32_t work_partition; /* while being released */
};

typedef struct mr_window mr_window;

mr_status mr_window_open(mr_window **out, mr_err *err);
void mr_window_close(mr_window *w); /* entries are not freed */

/* MR_ELIMIT: MR_MAX_MODELS different models wait already. */
mr_status mr_window_push(mr_window *w, mr_entry *e);
/* Back to the head of its queue: a release that failed. */
void mr_window_unshift(mr_window *w, mr_entry *e);
/* Takes the next job of a model out; NULL: none waits. */
mr_entry *mr_window_pop(mr_window *w, const char *model);
void mr_window_remove(mr_window *w, mr_entry *e);
bool mr_window_has(const mr_window *w, const char *model);
size_t mr_window_len(const mr_window *w, mr_priority lane);
/* Models with waiting jobs, in turn: i from 0; NULL behind the last. Borrowed until the next
 * change. */
const char *mr_window_model(const mr_window *w, size_t i);

#endif
