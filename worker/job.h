/* job.h - the job slots of a worker and the life cycle of the job in each.
 *
 * A slot is one job in hand, from the Kafka record that brought it to the acknowledged result. The
 * table is the bound of everything behind the source: no free slot, no further record. Owner: loop
 * thread; the engine thread only reads what admit left behind, between start and end of a job.
 * Pure: no clock, no I/O. Memory of a job is its arena, dropped when the slot is freed. */
#ifndef MR_WORKER_JOB_H
#define MR_WORKER_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/parts.h"
#include "millrace/job.h"

#define MR_JOB_ARENA_BYTES (16u << 20) /* one job: record, prompt tokens, text, logprobs */
#define MR_JOB_DISPLACED   4           /* preemptions whose time is kept */
#define MR_JOB_MAX_ERROR   512         /* bytes of an error message, terminator included */

typedef enum mr_job_state {
    MR_JOB_FREE,
    MR_JOB_DECODED,  /* the record was understood, or enough of it to answer */
    MR_JOB_ADMITTED, /* tokens are made; it waits for its turn, its mark and its stream */
    MR_JOB_RUNNING,  /* the engine holds a sequence for it */
    MR_JOB_FLUSHING, /* ended; the last frames and the result are on their way */
    MR_JOB_DONE,     /* the result is committed with its offset, or nobody waits for it */
    MR_JOB_N
} mr_job_state;

typedef struct mr_job_token { /* one token of an answer */
    int32_t token;
    uint32_t text_end; /* of the answer's text: what is shown with this token ends here */
} mr_job_token;

typedef struct mr_job {
    uint32_t slot;
    mr_job_state state;
    mr_arena arena;
    mr_job_spec spec;

    /* Where it came from. An orphan is somebody else's by now: it ends without a record. */
    int32_t partition;
    mr_origin at;
    bool orphan;
    bool ran_before; /* under an earlier owner of the partition */
    unsigned deaths; /* processes that died while it ran */

    /* Left by admit; constant while the engine thread works on the job. */
    const int32_t *tokens;
    size_t n_tokens;
    uint32_t max_new;
    uint64_t seed;
    uint32_t n_cached; /* of tokens, known to the engine from earlier jobs of the tenant */

    /* What readers of its stream were shown before; [n_taken] and [taken_text_len]. */
    const int32_t *taken;
    size_t n_taken;
    const char *taken_text;
    size_t taken_text_len;

    /* Output so far. */
    char *text;
    size_t text_len, text_cap;
    mr_job_token *made; /* [n_generated] */
    uint32_t n_generated, cap_made;
    mr_token_logprob *logprobs;
    size_t n_logprobs, cap_logprobs;
    uint32_t attempt; /* that its frames carry */
    bool degraded;
    bool too_large;       /* the arena could not take it all */
    uint32_t preemptions; /* times that a more important job took its seat */
    uint64_t displaced_ms[MR_JOB_DISPLACED]; /* monotonic: the first of them */

    /* Who has it: each of these keeps the slot until it has answered. */
    bool marking;   /* the committer: the mark that it runs */
    bool streaming; /* the stream: a lane */
    bool in_engine; /* the engine thread */
    bool sending;   /* the committer: its answer */
    bool unsent;    /* nobody: its answer is to be sent again */
    bool seated;    /* counts as one that runs or is about to */
    bool cancelled; /* asked to end */
    uint64_t asked_ms; /* monotonic: when the committer was asked last */

    /* How it ended. error.* point into the arena or at constants. */
    mr_job_status status;
    const char *finish_reason;
    mr_job_error error;

    /* The records that answer it: a result, a dead letter, or both; or its own, when it comes back
     * for another attempt. NULL: none. */
    bool back;
    mr_attempt_outcome outcome; /* back: how this attempt ended */
    const void *record, *dead;
    size_t record_len, dead_len;
    const char *dead_cause, *dead_message;
    bool record_short, dead_short; /* without what made it too large */
    bool stuck;                    /* refused all the same */
    uint64_t retry_at_ms;          /* monotonic */

    uint64_t entered_ms[MR_JOB_N]; /* monotonic; 0: never entered */
    uint64_t first_token_ms, last_token_ms;
    uint64_t finished_ms; /* wall clock, of the result */
    uint64_t age_ms;      /* wall clock between the producer's record and DECODED */
} mr_job;

typedef struct mr_jobs mr_jobs;

mr_status mr_jobs_open(mr_jobs **out, uint32_t n_slots, mr_err *err);
void mr_jobs_close(mr_jobs *t);
uint32_t mr_jobs_n(const mr_jobs *t);
uint32_t mr_jobs_n_free(const mr_jobs *t);
mr_job *mr_jobs_at(mr_jobs *t, uint32_t slot);
/* An empty job in state FREE that is reserved for the caller, who moves it on at once.
 * NULL: no slot. */
mr_job *mr_jobs_take(mr_jobs *t);
/* A job in state DONE gives its slot and its memory back. */
void mr_jobs_put(mr_jobs *t, mr_job *j, uint64_t now_ms);
/* The job of this id that is not an orphan; NULL: none. */
mr_job *mr_jobs_find(mr_jobs *t, const char *job_id);

/* Checked step of the life cycle; a job only moves forward. */
void mr_job_move(mr_job *j, mr_job_state to, uint64_t now_ms);
const char *mr_job_state_name(mr_job_state s);

/* Append generated bytes. MR_ELIMIT: the arena is full. */
mr_status mr_job_add_text(mr_job *j, const char *bytes, size_t n);
/* One more token, shown with the text that came since the last. MR_ELIMIT: the arena is full. */
mr_status mr_job_add_token(mr_job *j, int32_t token);
/* Where in the text that of token `index` begins; it ends at made[index].text_end. */
size_t mr_job_text_begin(const mr_job *j, uint32_t index);
/* Room for one more entry of logprobs; NULL: the arena is full. */
mr_token_logprob *mr_job_add_logprob(mr_job *j);

/* Note how it ended. message is copied and cut to MR_JOB_MAX_ERROR - 1 bytes; code and field must
 * be constants or live in the arena. code NULL: no error. */
void mr_job_end(mr_job *j, mr_job_status status, const char *finish_reason, const char *code,
                const char *field, const char *message);

/* The times of a result, in ms: each stage from the life cycle, first_token from `received`. */
typedef struct mr_job_times {
    uint32_t queue_ms, prefill_ms, decode_ms, first_token_ms, total_ms;
} mr_job_times;
mr_job_times mr_job_times_of(const mr_job *j);

/* A number made of a text. Of the job's id: the seed of a job that names none, so a repetition gives
 * the same text. Of the tenant: what keeps its prompts apart from others' in the prefix cache. */
uint64_t mr_job_seed(const char *text);

#endif
