/* prefix.h - digests of a job's beginning: which worker has computed it before.
 *
 * Digest i stands for the first (i + 1) * MR_PREFIX_PIECE bytes of the input (of messages: role and
 * content of each in turn; of token ids: 4 bytes each, little endian), chained, and salted with the
 * tenant, as the prefix cache is, and with the kind of input. An input shorter than one piece has
 * none. It is a hint where to run a job, never an identity: 64 bits, no secret. Pure; any thread.
 */
#ifndef MR_SCHEMAS_PREFIX_H
#define MR_SCHEMAS_PREFIX_H

#include "millrace/job.h"

#define MR_PREFIX_PIECE 512
#define MR_PREFIX_MAX   16

/* Returns how many, 0..MR_PREFIX_MAX. */
size_t mr_prefix_digests(const mr_job_spec *j, uint64_t out[MR_PREFIX_MAX]);

#endif
