/* stream_book.h - the books of one stream: what the job has made, what the stream has, what is
 * next.
 *
 * n_made counts the job's tokens, n_there those that the stream is known to have; what lies between
 * is written next, behind a restart frame if one is due. Entries that were found in the stream
 * after the job had begun are compared with what the job makes, as it makes them; as long as they
 * are equal they count as written. Pure. Owner: caller, init to deinit. */
#ifndef MR_WORKER_STREAM_BOOK_H
#define MR_WORKER_STREAM_BOOK_H

#include "worker/stream.h"

#define MR_STREAM_ID_BYTES 48

typedef void mr_stream_get_frame(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out);

typedef struct mr_stream_book {
    uint32_t attempt; /* of the frames that are written next */
    bool shown;       /* readers may have seen frames of this job */
    bool restart_due; /* they are to be told to start again, before the next frame */
    bool wrote;       /* a token of this attempt was sent */
    uint64_t n_made, n_there;
    char last_id[MR_STREAM_ID_BYTES]; /* of the stream; "": it is empty */
    struct {                          /* by the call that is under way */
        bool restart;
        uint64_t n_there;
        char last_id[MR_STREAM_ID_BYTES];
    } sent;

    mr_arena arena;               /* of found */
    mr_takeover found;            /* still compared with what the job makes */
    size_t n_same, same_text_len; /* as far as they are equal */
} mr_stream_book;

void mr_stream_book_init(mr_stream_book *b, uint32_t attempt, bool shown, size_t arena_bytes);
void mr_stream_book_deinit(mr_stream_book *b);

/* The stream is claimed: at this attempt, with last_id as its last entry. */
void mr_stream_book_claimed(mr_stream_book *b, uint32_t attempt, bool shown, const char *last_id);
/* Everything is written again, behind a restart frame, whose number is the one before attempt. */
void mr_stream_book_restart(mr_stream_book *b);
void mr_stream_book_forget_found(mr_stream_book *b);
/* Goes on comparing, over all that is made. NULL: nothing is against what was found; else why the
 * stream must start again. */
const char *mr_stream_book_compare(mr_stream_book *b, mr_stream_get_frame *frame, void *owner,
                                   uint32_t slot);

bool mr_stream_book_is_written(const mr_stream_book *b); /* nothing is left */
/* A call with what is next, the first n_tokens of it, has left; it has got through. */
void mr_stream_book_sent(mr_stream_book *b, uint64_t n_tokens);
void mr_stream_book_added(mr_stream_book *b);

#endif
