/* answer.h - the records that answer a job, and their way to the committer.
 *
 * A job that has ended gets a result; a record that cannot be read so far that its job is known
 * gets a dead letter; a job that killed its workers gets both. One whose attempt failed and may be
 * tried again goes back to the dispatchers, with what happened in its history. All of it becomes
 * visible together with the job's offset, or none. What is larger than a record may be is replaced
 * by something shorter that says so: each record that was taken has its answer.
 *
 * Owner: caller. Thread: loop; on_done comes from the committer, never from within a call here. */
#ifndef MR_WORKER_ANSWER_H
#define MR_WORKER_ANSWER_H

#include "base/commit.h"
#include "worker/job.h"

#define MR_ANSWER_RETRY_MS 1000

typedef struct mr_answers { /* all borrowed */
    const char *model, *worker, *results_topic, *dead_topic, *attempts_topic;
    mr_commit *commit;
    void *owner;
    /* The answer of j is decided: committed; or not, and whoever has its partition answers it. */
    void (*on_done)(void *owner, mr_job *j, bool committed);
    void (*on_fatal)(void *owner, mr_status status, const char *text);
} mr_answers;

/* Builds the result of a job that has ended (mr_job_end), and sends it with its dead letter, if it
 * has one. False: its partition is another's by now; nothing was sent. */
bool mr_answer_result(mr_answers *a, mr_job *j);
/* Sends j back: this attempt ended with outcome (FAULT or below), for that reason (one line). False
 * as above. */
bool mr_answer_back(mr_answers *a, mr_job *j, mr_attempt_outcome outcome, const char *why);
/* Sends the dead letter of j alone. False as above. */
bool mr_answer_dead(mr_answers *a, mr_job *j);
/* The record at `at` needs no answer. */
void mr_answer_none(mr_answers *a, mr_origin at);
/* Sends again what found no room or was refused, if it is time. False as above. */
bool mr_answer_again(mr_answers *a, mr_job *j, uint64_t now_ms);

/* Notes a dead letter in j's arena: cause is a constant, message one line, payload the bytes of the
 * record. MR_ENOMEM. */
mr_status mr_answer_keep_dead(mr_answers *a, mr_job *j, const char *cause, const char *message,
                              const void *payload, size_t len);

#endif
