/* fuzz_takeover.c - a job's stream as somebody else may have left it in Redis.
 *
 * Goal: whatever stands there, only tokens of the vocabulary are taken over, no more than the job
 * may have, with no more text than the frames hold; or nothing, and readers are told. Method: a
 * line of the input is an entry: its ID, a blank, its frame. What was taken is written as frames of
 * one worker and read again: it must come out the same. */
#include <stdio.h>
#include <string.h>

#include "schemas/codec.h"
#include "worker/takeover.h"

#define JOB         "01930000-0000-7000-8000-000000000000"
#define MAX_ENTRIES 256
#define MAX_BYTES   (64u << 10)
#define N_VOCAB     1000
#define MAX_TOKENS  64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char bytes[MAX_BYTES + 1];
static mr_takeover_entry entries[MAX_ENTRIES];

static size_t split(const uint8_t *data, size_t n) {
    size_t n_entries = 0;

    memcpy(bytes, data, n);
    bytes[n] = 0;
    for (char *line = bytes; line < bytes + n && n_entries < MAX_ENTRIES; n_entries++) {
        char *end = memchr(line, '\n', (size_t)(bytes + n - line));
        char *blank;
        if (!end) end = bytes + n;
        *end = 0;
        blank = strchr(line, ' ');
        if (blank) *blank = 0;
        entries[n_entries] = (mr_takeover_entry){.id = line, .frame = blank ? blank + 1 : line};
        entries[n_entries].len = (size_t)(end - (const char *)entries[n_entries].frame);
        line = end + 1;
    }
    return n_entries;
}

/* All text with the last token, as where one token's text ends is not known. */
static void check_again(const mr_takeover *t, mr_arena *arena) {
    static mr_takeover_entry own[MAX_TOKENS];
    mr_takeover back;

    for (size_t i = 0; i < t->n_tokens; i++) {
        const size_t cap = 6 * t->text_len + 256;
        mr_frame fr = {.type = MR_FRAME_TOKEN,
                       .job_id = JOB,
                       .attempt = 1,
                       .index = i,
                       .token = t->tokens[i],
                       .text = ""};
        char *json = mr_arena_alloc(arena, cap);
        if (i + 1 == t->n_tokens) {
            fr.text = t->text;
            fr.text_len = t->text_len;
        }
        MR_CHECK(json && mr_codec_frame_encode(&fr, json, cap, &own[i].len) == MR_OK);
        own[i].frame = json;
        own[i].id = mr_arena_printf(arena, "1-%zu", i);
    }
    MR_CHECK(mr_takeover_read(&back, JOB, own, t->n_tokens, false, N_VOCAB, MAX_TOKENS, arena) ==
             MR_OK);
    MR_CHECK(!back.restart && back.n_tokens == t->n_tokens && back.text_len == t->text_len);
    MR_CHECK(back.text_len == 0 || memcmp(back.text, t->text, t->text_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    mr_arena arena;
    mr_takeover t;
    size_t n_entries;

    if (n > MAX_BYTES) return 0;
    n_entries = split(data, n);
    mr_arena_init(&arena, 0);
    MR_CHECK(mr_takeover_read(&t, JOB, entries, n_entries, true, N_VOCAB, MAX_TOKENS, &arena) ==
             MR_OK);
    MR_CHECK(t.n_tokens <= MAX_TOKENS && t.n_tokens <= n_entries && t.text_len <= n);
    MR_CHECK(!t.restart || (t.n_tokens == 0 && t.why[0] && memchr(t.why, 0, sizeof t.why)));
    MR_CHECK(n_entries > 0 || t.restart);
    for (size_t i = 0; i < t.n_tokens; i++) MR_CHECK(t.tokens[i] >= 0 && t.tokens[i] < N_VOCAB);
    check_again(&t, &arena);
    mr_arena_drop(&arena);
    return 0;
}
