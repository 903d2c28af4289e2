/* takeover.h - what of a token stream that an earlier worker left can be gone on with.
 *
 * Pure: reads the entries that Redis has for a job, and decides. Tokens are taken over when the
 * entries are token frames of this job whose indices run from 0 without a gap; anything else (a
 * trimmed stream, a frame that somebody else wrote, a token outside the vocabulary) is not trusted,
 * and the job starts again. Entries behind a restart frame count alone. */
#ifndef MR_WORKER_TAKEOVER_H
#define MR_WORKER_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "millrace/job.h"

typedef struct mr_takeover {
    uint32_t attempt;      /* of the frames that this worker writes */
    const int32_t *tokens; /* [n_tokens], generated before */
    size_t n_tokens;
    const char *text; /* [text_len] what readers were shown for them */
    size_t text_len;
    bool restart; /* readers may have seen what cannot be gone on with: they are told */
    char why[96]; /* restart: one line for the log; never a prompt's or an answer's text */
} mr_takeover;

typedef struct mr_takeover_entry { /* one entry of the stream */
    const char *id; /* terminated */
    const void *frame;
    size_t len;
} mr_takeover_entry;

/* entries[n] in order. ran_before: the job is known to have run. Text and tokens live in the arena.
 * MR_ENOMEM only; the rest is in *out. attempt and restart are left to the caller's claim, but for
 * restart being set when entries cannot be used, or are missing although ran_before. */
mr_status mr_takeover_read(mr_takeover *out, const char *job_id, const mr_takeover_entry *entries,
                           size_t n, bool ran_before, uint32_t n_vocab, uint32_t max_tokens,
                           mr_arena *arena);

#endif
