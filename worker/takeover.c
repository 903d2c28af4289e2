/* takeover.c - see takeover.h.
 *
 * One pass over the entries. What is wrong with one of them spoils everything up to the next
 * restart frame, and no more: behind it readers know nothing of what came before. Two things need
 * no restart though there is nothing to take over: a stream that was never begun, and one that ends
 * with a restart frame.
 *
 * Memory: a token of four bytes per entry, and text no longer than the frames that hold it (JSON
 * never makes text shorter). */
#include "worker/takeover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "schemas/codec.h"

#define FRAME_LIMIT (4u << 20) /* bytes that a frame takes when decoded; a larger one is none */
#define ID_BYTES    48

typedef struct reader { /* what the entries so far come to */
    const char *job_id;
    uint32_t n_vocab, max_tokens;
    int32_t *tokens;
    size_t n_tokens;
    char *text;
    size_t text_len;
    char *why; /* [why_cap] "": nothing is wrong */
    size_t why_cap;
} reader;

static void begin_again(reader *r) {
    r->n_tokens = r->text_len = 0;
    r->why[0] = 0;
}

static void take_token(reader *r, size_t at, const mr_frame *fr) {
    if (fr->index != r->n_tokens) {
        snprintf(r->why, r->why_cap, "entry %zu: token %" PRIu64 " where %zu is next", at,
                 fr->index, r->n_tokens);
    } else if (r->n_tokens == r->max_tokens) {
        snprintf(r->why, r->why_cap, "entry %zu: more than the %" PRIu32 " tokens of the job", at,
                 r->max_tokens);
    } else if (fr->token < 0 || (uint32_t)fr->token >= r->n_vocab) {
        snprintf(r->why, r->why_cap, "entry %zu: token id %" PRId32 " of a vocabulary of %" PRIu32,
                 at, fr->token, r->n_vocab);
    } else {
        r->tokens[r->n_tokens++] = fr->token;
        memcpy(r->text + r->text_len, fr->text, fr->text_len);
        r->text_len += fr->text_len;
    }
}

static bool is_id_of(const char *id, const mr_frame *fr) {
    char want[ID_BYTES];

    snprintf(want, sizeof want, "%" PRIu32 "-%" PRIu64, fr->attempt, fr->index);
    return strcmp(id, want) == 0;
}

static void take_entry(reader *r, size_t at, const mr_takeover_entry *e, mr_arena *scratch) {
    mr_frame fr;
    const bool known = mr_codec_frame_decode(&fr, e->frame, e->len, scratch, NULL) == MR_OK &&
                       strcmp(fr.job_id, r->job_id) == 0 && is_id_of(e->id, &fr);

    if (known && fr.type == MR_FRAME_RESTART && fr.index == 0) {
        begin_again(r);
    } else if (r->why[0]) {
        return; /* the first trouble is the one that is told */
    } else if (known && fr.type == MR_FRAME_TOKEN) {
        take_token(r, at, &fr);
    } else {
        snprintf(r->why, r->why_cap, "entry %zu: not a frame that a worker wrote there", at);
    }
}

mr_status mr_takeover_read(mr_takeover *out, const char *job_id, const mr_takeover_entry *entries,
                           size_t n, bool ran_before, uint32_t n_vocab, uint32_t max_tokens,
                           mr_arena *arena) {
    reader r = {.job_id = job_id,
                .n_vocab = n_vocab,
                .max_tokens = max_tokens,
                .why = out->why,
                .why_cap = sizeof out->why};
    mr_arena scratch;
    size_t n_bytes = 0;

    *out = (mr_takeover){.text = ""};
    if (n == 0 && ran_before) {
        out->restart = true;
        snprintf(out->why, sizeof out->why, "no frames of an earlier run are there");
    }
    if (n == 0) return MR_OK;
    for (size_t i = 0; i < n; i++) n_bytes += entries[i].len;
    r.tokens = mr_arena_alloc(arena, n * sizeof *r.tokens);
    r.text = mr_arena_alloc(arena, n_bytes);
    if (!r.tokens || !r.text) return MR_ENOMEM;

    mr_arena_init(&scratch, FRAME_LIMIT);
    for (size_t i = 0; i < n; i++) {
        mr_arena_reset(&scratch);
        take_entry(&r, i, &entries[i], &scratch);
    }
    mr_arena_drop(&scratch);
    out->restart = r.why[0] != 0;
    if (out->restart) return MR_OK;
    out->tokens = r.tokens;
    out->n_tokens = r.n_tokens;
    out->text = r.text;
    out->text_len = r.text_len;
    return MR_OK;
}
