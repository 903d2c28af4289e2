/* result.h - the record that answers a job, and names made fit for a topic.
 *
 * Pure: the time is an argument. Thread: loop. */
#ifndef MR_WORKER_RESULT_H
#define MR_WORKER_RESULT_H

#include "worker/job.h"

/* Encodes the terminal record of a job that has ended into its arena: sets record, record_len.
 * MR_ENOMEM: the arena is full. MR_EINVAL: the codec refused it. */
mr_status mr_result_build(mr_job *j, const char *model, const char *worker, uint64_t wall_ms,
                          mr_err *err);
/* When the record is too large to be sent: the job has failed, its text is not in the record. */
mr_status mr_result_build_too_large(mr_job *j, const char *model, const char *worker,
                                    uint64_t wall_ms, mr_err *err);
/* The value of the record, borrowed from j. */
void mr_result_of(mr_result *out, const mr_job *j, const char *model, const char *worker);

/* Copies bytes as UTF-8 text, what is not a whole character as U+FFFD; out has 3 * n + 1 bytes. */
size_t mr_result_clean_utf8(char *out, const char *bytes, size_t n);

/* <prefix>.work.<model>, the model's other bytes replaced by _; cut to cap. */
void mr_work_topic(char *out, size_t cap, const char *prefix, const char *model);
/* A name fit for a topic and for MR_JOB_MAX_NAME bytes, from any text. */
void mr_fit_name(char out[MR_JOB_MAX_NAME + 1], const char *text);

#endif
