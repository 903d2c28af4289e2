/* stream_buffer.c - one growing piece of memory per job, read at the front and written at the back.
 *
 * Confirmed frames leave a gap at the front; it is closed when the piece would otherwise have to
 * grow. The budget counts what is held, so the memory is at most about twice the budget. */
#include "worker/stream_buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 1024

typedef uint32_t frame_len;

void mr_stream_buffer_init(mr_stream_buffer *b, mr_stream_budget *budget) {
    *b = (mr_stream_buffer){.budget = budget};
}

void mr_stream_buffer_deinit(mr_stream_buffer *b) {
    if (b->budget) b->budget->used -= b->end - b->begin;
    free(b->bytes);
    *b = (mr_stream_buffer){0};
}

static bool make_room(mr_stream_buffer *b, size_t n) {
    const size_t held = b->end - b->begin;
    size_t cap = b->cap ? b->cap : FIRST_BYTES;
    char *bytes;

    if (n <= b->cap - b->end) return true;
    if (held + n <= b->cap / 2) { /* enough once the front is closed */
        memmove(b->bytes, b->bytes + b->begin, held);
        b->begin = 0;
        b->end = held;
        return true;
    }
    while (cap < held + n) cap *= 2;
    bytes = malloc(cap);
    if (!bytes) return false;
    if (held) memcpy(bytes, b->bytes + b->begin, held);
    free(b->bytes);
    b->bytes = bytes;
    b->cap = cap;
    b->begin = 0;
    b->end = held;
    return true;
}

bool mr_stream_buffer_add(mr_stream_buffer *b, const void *frame, size_t n) {
    const size_t need = sizeof(frame_len) + n;
    const frame_len len = (frame_len)n;

    if (b->cut) return false;
    if (n > UINT32_MAX || need > b->budget->limit - b->budget->used || !make_room(b, need)) {
        b->cut = true;
        return false;
    }
    memcpy(b->bytes + b->end, &len, sizeof len);
    memcpy(b->bytes + b->end + sizeof len, frame, n);
    b->end += need;
    b->budget->used += need;
    b->n_frames++;
    return true;
}

size_t mr_stream_buffer_frames(const mr_stream_buffer *b) {
    return b->n_frames;
}

size_t mr_stream_buffer_send(mr_stream_buffer *b, const char **frames, size_t *lens,
                             uint64_t *first_index) {
    size_t at = b->begin;
    size_t n = 0;

    if (b->n_sent > 0) return 0;
    for (; n < MR_STREAM_BATCH && n < b->n_frames; n++) {
        frame_len len;
        memcpy(&len, b->bytes + at, sizeof len);
        frames[n] = b->bytes + at + sizeof len;
        lens[n] = len;
        at += sizeof len + len;
    }
    b->n_sent = n;
    b->sent_bytes = at - b->begin;
    *first_index = b->first_index;
    return n;
}

void mr_stream_buffer_confirm(mr_stream_buffer *b) {
    b->begin += b->sent_bytes;
    b->budget->used -= b->sent_bytes;
    b->n_frames -= b->n_sent;
    b->first_index += b->n_sent;
    if (b->begin == b->end) b->begin = b->end = 0;
    mr_stream_buffer_retry(b);
}

void mr_stream_buffer_retry(mr_stream_buffer *b) {
    b->n_sent = 0;
    b->sent_bytes = 0;
}

void mr_stream_buffer_cut(mr_stream_buffer *b) {
    b->budget->used -= b->end - b->begin;
    b->begin = b->end = 0;
    b->n_frames = 0;
    mr_stream_buffer_retry(b);
    b->cut = true;
}
