/* attempts.h - a note to millrace.attempts: a job goes to another worker. Thread: loop. */
#ifndef MR_WORKER_ATTEMPTS_H
#define MR_WORKER_ATTEMPTS_H

#include "base/kafka.h"
#include "worker/job.h"

/* Nobody waits for the note: when it cannot be sent the log line is all there is. */
void mr_attempts_note(mr_kafka_producer *p, const char *topic, const char *worker,
                      const char *model, const mr_job *j, mr_attempt_outcome outcome);

#endif
