/* stream_buffer.h - frames of one job that Redis has not confirmed, within a budget that all share.
 *
 * Frames go in at the end, a batch of the oldest is sent, and they leave when the batch is
 * confirmed; after a failure the same frames are the next batch. When the budget is used up a frame
 * is refused, and so is every later one: what a reader sees stays a gapless beginning. Pure. Owner:
 * who calls init. */
#ifndef MR_WORKER_STREAM_BUFFER_H
#define MR_WORKER_STREAM_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_STREAM_BATCH 64 /* frames of one call */

typedef struct mr_stream_budget {
    size_t used, limit; /* bytes of all frames that are held */
} mr_stream_budget;

typedef struct mr_stream_buffer {
    mr_stream_budget *budget;
    char *bytes; /* frames, each behind its length */
    size_t begin, end, cap;
    size_t n_frames;
    uint64_t first_index; /* of the oldest frame held */
    size_t n_sent, sent_bytes;
    bool cut; /* a frame was refused */
} mr_stream_buffer;

void mr_stream_buffer_init(mr_stream_buffer *b, mr_stream_budget *budget);
/* Forget the frames and free the memory; init again before further use. */
void mr_stream_buffer_deinit(mr_stream_buffer *b);

/* False: refused, now or since an earlier frame. Indices count up from 0. */
bool mr_stream_buffer_add(mr_stream_buffer *b, const void *frame, size_t n);
size_t mr_stream_buffer_frames(const mr_stream_buffer *b);
/* The oldest frames, at most MR_STREAM_BATCH: pointers and lengths, borrowed until the next call.
 * 0: none, or a batch is under way. */
size_t mr_stream_buffer_send(mr_stream_buffer *b, const char **frames, size_t *lens,
                             uint64_t *first_index);
/* The batch is confirmed, or has to be sent again. */
void mr_stream_buffer_confirm(mr_stream_buffer *b);
void mr_stream_buffer_retry(mr_stream_buffer *b);
/* Refuse everything from now on and forget what is held. */
void mr_stream_buffer_cut(mr_stream_buffer *b);

#endif
