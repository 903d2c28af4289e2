/* cost.h - tokens that a job will probably use, before a tokenizer has seen it: what its tenant is
 * charged until its use is known. Pure. */
#ifndef MR_DISPATCHER_COST_H
#define MR_DISPATCHER_COST_H

#include "millrace/job.h"

/* Prompt and answer; at least 1. Token input is counted exactly, text at four bytes a token, and an
 * answer without max_tokens as MR_COST_ANSWER. */
uint32_t mr_cost(const mr_job_spec *j);

#define MR_COST_ANSWER 256 /* what a worker's default_max_tokens is by default */

#endif
