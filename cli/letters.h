/* letters.h - the dead letters that stand in <prefix>.dead, and what was done about each.
 *
 * A letter is known by its place in that topic. That it was replayed is told by a note in the same
 * topic, which names the place and the new job; so it is known for as long as the letter is.
 * Bounds: the newest MR_LETTERS_MAX letters (by their time) are kept, and twice as many while
 * reading. Owner: caller, init to deinit. */
#ifndef MR_CLI_LETTERS_H
#define MR_CLI_LETTERS_H

#include "base/arena.h"
#include "client/topic.h"
#include "schemas/codec.h"

#define MR_LETTERS_MAX      100000
#define MR_LETTER_PLACE_LEN 36 /* "<partition>:<offset>" and its end */

typedef struct mr_letter {
    int32_t partition; /* its place */
    int64_t offset;
    uint64_t time_ms;
    char job_id[MR_JOB_ID_LEN + 1]; /* "": not known */
    char *cause, *message; /* control characters as '?' */
    char *origin; /* topic; partition and offset follow */
    int32_t origin_partition;
    int64_t origin_offset;
    size_t payload_len;
    char replay[MR_JOB_ID_LEN + 1]; /* the newest job that it was submitted again as; "": none */
    uint64_t replayed_ms;
} mr_letter;

typedef struct mr_letter_note {
    int32_t partition;
    int64_t offset;
    uint64_t time_ms;
    char replay[MR_JOB_ID_LEN + 1];
} mr_letter_note;

typedef struct mr_letters { /* zeroed: empty */
    mr_letter *list;        /* [n] after finish: by time, then place */
    size_t n, cap;
    mr_letter_note *notes;
    size_t n_notes, cap_notes;
    size_t n_forgotten;  /* older ones */
    size_t n_unreadable; /* records that are no dead letters */
    bool no_memory;
} mr_letters;

/* One record of the topic. MR_ENOMEM. */
mr_status mr_letters_add(mr_letters *l, const mr_kafka_msg *m);
/* All are there: put them in order, and the notes to their letters. */
void mr_letters_finish(mr_letters *l);
void mr_letters_deinit(mr_letters *l);
/* The three together. */
mr_status mr_letters_read(mr_letters *l, mr_client *c, mr_err *err);

/* Whether `which`, a job id or a place, means this letter. */
bool mr_letter_is(const mr_letter *l, const char *which);
void mr_letter_place(const mr_letter *l, char out[MR_LETTER_PLACE_LEN]);

/* The dead letter itself. Its texts and payload live in the arena. MR_ENOTFOUND: it is gone. */
mr_status mr_letter_fetch(mr_client *c, const mr_letter *l, mr_arena *arena, mr_dead *out,
                          mr_err *err);
/* The job that it holds, of its payload; when that was cut, of the record at its origin. MR_EINVAL:
 * it is no job, and why; MR_ENOTFOUND: it was cut, and the origin has it no longer. */
mr_status mr_letter_job(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                        mr_err *err);

#endif
