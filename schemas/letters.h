/* letters.h - the dead letters that stand in <prefix>.dead, and what was done about each.
 *
 * A letter is known by its place in that topic. That it was replayed is told by a note in the same
 * topic, which names the place and the new job; so it is known for as long as the letter is.
 * Bounds: the newest `max` letters (by their time) are kept, twice as many while reading, and four
 * times as many notes. Pure but for the allocator. Owner: caller, zeroed to deinit. */
#ifndef MR_SCHEMAS_LETTERS_H
#define MR_SCHEMAS_LETTERS_H

#include "schemas/codec.h"

#define MR_LETTERS_MAX      100000
#define MR_LETTER_PLACE_LEN 36 /* "<partition>:<offset>" and its end */

typedef struct mr_letter {
    int32_t partition; /* its place */
    int64_t offset;
    uint64_t time_ms;
    char job_id[MR_JOB_ID_LEN + 1]; /* "": not known */
    char *cause, *message;          /* control characters as '?' */
    char *origin;                   /* topic; partition and offset follow */
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
    size_t max;          /* letters to keep; 0: MR_LETTERS_MAX */
} mr_letters;

/* One record of the topic; bytes NULL: a tombstone. MR_ENOMEM. */
mr_status mr_letters_add(mr_letters *l, int32_t partition, int64_t offset, const void *bytes,
                         size_t n);
/* Puts those that are there in order, and the notes to their letters. More may be added later, and
 * finished again. */
void mr_letters_finish(mr_letters *l);
void mr_letters_deinit(mr_letters *l);

/* Whether `which`, a job id or a place, means this letter. */
bool mr_letter_is(const mr_letter *l, const char *which);
void mr_letter_place(const mr_letter *l, char out[MR_LETTER_PLACE_LEN]);

#endif
