/* replay.h - what a dead letter becomes when it is submitted again: a job of its own, and the note
 * that says so.
 *
 * A replay has an id of its own, says whose it is (replay_of), and keeps input, parameters, tenant
 * and lane; what happened before does not travel with it, and its deadline counts anew. Two replays
 * of one letter have its place as their idempotency key, so dispatchers reject the later one as a
 * duplicate for as long as they remember keys. A key of the job's own does the same, unless the
 * dead job holds it. Pure but for ids and the clock. */
#ifndef MR_SCHEMAS_REPLAY_H
#define MR_SCHEMAS_REPLAY_H

#include "schemas/letters.h"

/* The payload was cut, or left away: the record at the letter's origin has the job. */
bool mr_replay_is_cut(const mr_dead *d);
/* The job in a letter's payload, or in the record bytes[n] of `topic`, as dispatchers and workers
 * pass it on or else as a producer sends it there. MR_EINVAL, MR_EUNSUPPORTED: it is no job, and
 * why. */
mr_status mr_replay_job(mr_job_spec *out, const void *bytes, size_t n, const char *topic,
                        mr_arena *arena, mr_err *err);
/* The same from the origin of a letter that was cut. MR_ENOTFOUND: another job is there now. */
mr_status mr_replay_job_at_origin(mr_job_spec *out, const mr_dead *d, const void *bytes, size_t n,
                                  mr_arena *arena, mr_err *err);
/* Makes j the new one: the same work, with nothing behind it. place: of the letter; key is for its
 * text. again: a second run is wanted, so without a key. */
void mr_replay_make(mr_job_spec *j, const char *place, bool again, char key[MR_JOB_MAX_KEY]);
/* The note's record, for the topic `dead` that the letter is in. MR_ENOMEM. */
mr_status mr_replay_note(const mr_job_spec *j, const char *dead, int32_t partition, int64_t offset,
                         mr_arena *arena, const void **bytes, size_t *n);

#endif
