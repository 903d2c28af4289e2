/* stream_book.c - see stream_book.h.
 *
 * Numbers of attempts: a restart frame has one to itself, and the tokens behind it the next. A
 * number under which a token was sent is never used for anything else. */
#include "worker/stream_book.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void mr_stream_book_init(mr_stream_book *b, uint32_t attempt, bool shown, size_t arena_bytes) {
    *b = (mr_stream_book){.attempt = attempt, .shown = shown, .found.text = ""};
    mr_arena_init(&b->arena, arena_bytes);
}

void mr_stream_book_deinit(mr_stream_book *b) {
    mr_arena_drop(&b->arena);
}

void mr_stream_book_forget_found(mr_stream_book *b) {
    mr_arena_drop(&b->arena);
    b->found = (mr_takeover){.text = ""};
    b->n_same = b->same_text_len = 0;
}

void mr_stream_book_claimed(mr_stream_book *b, uint32_t attempt, bool shown, const char *last_id) {
    b->attempt = attempt;
    b->shown = shown;
    b->restart_due = b->wrote = false;
    snprintf(b->last_id, sizeof b->last_id, "%s", last_id);
}

void mr_stream_book_restart(mr_stream_book *b) {
    mr_stream_book_forget_found(b);
    b->attempt += b->wrote ? 2 : 1;
    b->wrote = false;
    b->restart_due = true;
    b->n_there = b->sent.n_there = 0; /* also when the call that is under way gets through */
    b->sent.restart = false;
}

static bool is_same(const mr_stream_book *b, const mr_stream_frame *fr) {
    return fr->token == b->found.tokens[b->n_same] &&
           fr->text_len <= b->found.text_len - b->same_text_len &&
           (fr->text_len == 0 ||
            memcmp(fr->text, b->found.text + b->same_text_len, fr->text_len) == 0);
}

const char *mr_stream_book_compare(mr_stream_book *b, mr_stream_get_frame *frame, void *owner,
                                   uint32_t slot) {
    bool equal;

    if (b->found.n_tokens == 0) return NULL;
    while (b->n_same < b->found.n_tokens && b->n_same < b->n_made) {
        mr_stream_frame fr = {.text = ""};
        frame(owner, slot, b->n_same, &fr);
        if (!is_same(b, &fr)) return "what is there is not what this worker makes";
        b->n_same++;
        b->same_text_len += fr.text_len;
    }
    if (b->n_same < b->found.n_tokens) return NULL;
    equal = b->same_text_len == b->found.text_len;
    mr_stream_book_forget_found(b);
    return equal ? NULL : "what is there has more text than this worker makes";
}

bool mr_stream_book_is_written(const mr_stream_book *b) {
    return !b->restart_due && b->n_made <= b->n_there;
}

void mr_stream_book_sent(mr_stream_book *b, uint64_t n_tokens) {
    b->shown = true; /* readers may see it though its answer gets lost */
    b->wrote = b->wrote || n_tokens > 0;
    b->sent.restart = b->restart_due;
    b->sent.n_there = b->n_there + n_tokens;
    if (n_tokens > 0) {
        snprintf(b->sent.last_id, sizeof b->sent.last_id, "%" PRIu32 "-%" PRIu64, b->attempt,
                 b->sent.n_there - 1);
    } else {
        snprintf(b->sent.last_id, sizeof b->sent.last_id, "%" PRIu32 "-0", b->attempt - 1);
    }
}

void mr_stream_book_added(mr_stream_book *b) {
    b->n_there = b->sent.n_there;
    if (b->sent.restart) b->restart_due = false;
    memcpy(b->last_id, b->sent.last_id, sizeof b->last_id);
}
