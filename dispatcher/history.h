/* history.h - past attempts that travel with a job. Pure. */
#ifndef MR_DISPATCHER_HISTORY_H
#define MR_DISPATCHER_HISTORY_H

#include "base/arena.h"
#include "millrace/job.h"

/* One step shorter, for a record that is too large: the oldest entry goes, at last the message of
 * the newest. False: nothing is left to leave out, or no memory. */
bool mr_history_shorten(mr_job_spec *j, mr_arena *arena);
/* The job came back from a worker and nobody has decided yet what follows. */
bool mr_history_came_back(const mr_job_spec *j);
const mr_past *mr_history_last(const mr_job_spec *j); /* NULL: none */

#endif
