/* letters.h - the dead letters of a deployment, as its brokers have them now. */
#ifndef MR_CLI_LETTERS_H
#define MR_CLI_LETTERS_H

#include "client/topic.h"
#include "schemas/replay.h"

/* All of them, in order. l need not be initialized; deinit is the caller's on success. */
mr_status mr_letters_read(mr_letters *l, mr_client *c, mr_err *err);

/* The dead letter itself. Its texts and payload live in the arena. MR_ENOTFOUND: it is gone. */
mr_status mr_letter_fetch(mr_client *c, const mr_letter *l, mr_arena *arena, mr_dead *out,
                          mr_err *err);
/* The job that it holds, of its payload; when that was cut, of the record at its origin. MR_EINVAL:
 * it is no job, and why; MR_ENOTFOUND: it was cut, and the origin has it no longer. */
mr_status mr_letter_job(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                        mr_err *err);

#endif
