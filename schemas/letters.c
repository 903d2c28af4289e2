/* letters.c - see letters.h. */
#include "schemas/letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

enum { SCRATCH_BYTES = 4 << 20 };

/* ---- order ---- */

static int compare(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

static int by_place(const void *pa, const void *pb) {
    const mr_letter *a = pa, *b = pb;
    const int c = compare((uint64_t)a->partition, (uint64_t)b->partition);
    return c ? c : compare((uint64_t)a->offset, (uint64_t)b->offset);
}

static int by_time(const void *pa, const void *pb) {
    const mr_letter *a = pa, *b = pb;
    const int c = compare(a->time_ms, b->time_ms);
    return c ? c : by_place(pa, pb);
}

/* ---- reading ---- */

static void drop_letter(mr_letter *e) {
    free(e->cause);
    free(e->message);
    free(e->origin);
}

static size_t max_of(const mr_letters *l) {
    return l->max ? l->max : MR_LETTERS_MAX;
}

/* Only the newest stay. */
static void forget(mr_letters *l) {
    const size_t max = max_of(l), n_old = l->n - max;

    qsort(l->list, l->n, sizeof *l->list, by_time);
    for (size_t i = 0; i < n_old; i++) drop_letter(&l->list[i]);
    memmove(l->list, l->list + n_old, max * sizeof *l->list);
    l->n = max;
    l->n_forgotten += n_old;
}

static void *grown(void *list, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return list;
    const size_t more = *cap ? *cap * 2 : 64;
    void *bigger = realloc(list, more * size);
    if (bigger) *cap = more;
    return bigger;
}

static void copy_id(char out[MR_JOB_ID_LEN + 1], const char *id) {
    out[0] = '\0';
    if (id && mr_uuid_valid(id, strlen(id))) memcpy(out, id, MR_JOB_ID_LEN + 1);
}

/* Anybody may write a dead letter, and it is shown on a terminal. */
static char *copy_line(const char *text) {
    char *line = strdup(text);
    for (char *c = line; c && *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    return line;
}

static mr_status add_letter(mr_letters *l, int32_t partition, int64_t offset, const mr_dead *d) {
    if (l->n == 2 * max_of(l)) forget(l);
    mr_letter *list = grown(l->list, l->n, &l->cap, sizeof *l->list);
    if (!list) return MR_ENOMEM;
    l->list = list;
    mr_letter *e = &list[l->n];
    *e = (mr_letter){.partition = partition,
                     .offset = offset,
                     .time_ms = d->time_ms,
                     .cause = copy_line(d->cause),
                     .message = copy_line(d->message),
                     .origin = copy_line(d->topic),
                     .origin_partition = d->partition,
                     .origin_offset = d->offset,
                     .payload_len = d->payload_len};
    copy_id(e->job_id, d->job_id);
    if (e->cause && e->message && e->origin) {
        l->n++;
        return MR_OK;
    }
    drop_letter(e);
    return MR_ENOMEM;
}

/* Notes are as many as letters, but for letters that were replayed again and again: then those that
 * were read first go. */
static void forget_notes(mr_letters *l) {
    const size_t max = 2 * max_of(l);
    memmove(l->notes, l->notes + l->n_notes - max, max * sizeof *l->notes);
    l->n_notes = max;
}

static mr_status add_note(mr_letters *l, const mr_dead *d) {
    if (l->n_notes == 4 * max_of(l)) forget_notes(l);
    mr_letter_note *notes = grown(l->notes, l->n_notes, &l->cap_notes, sizeof *l->notes);
    if (!notes) return MR_ENOMEM;
    l->notes = notes;
    mr_letter_note *e = &notes[l->n_notes++];
    *e = (mr_letter_note){.partition = d->partition, .offset = d->offset, .time_ms = d->time_ms};
    copy_id(e->replay, d->replay);
    return MR_OK;
}

mr_status mr_letters_add(mr_letters *l, int32_t partition, int64_t offset, const void *bytes,
                         size_t n) {
    mr_arena arena;
    mr_dead d;
    mr_status st = MR_OK;

    if (!bytes) return MR_OK;
    mr_arena_init(&arena, SCRATCH_BYTES);
    if (mr_codec_dead_decode(&d, bytes, n, &arena, NULL) != MR_OK)
        l->n_unreadable++;
    else
        st = d.replay ? add_note(l, &d) : add_letter(l, partition, offset, &d);
    mr_arena_drop(&arena);
    return st;
}

void mr_letters_finish(mr_letters *l) {
    if (l->n > max_of(l)) forget(l);
    if (l->n) qsort(l->list, l->n, sizeof *l->list, by_place);
    for (size_t i = 0; i < l->n_notes && l->n; i++) {
        const mr_letter_note *note = &l->notes[i];
        const mr_letter wanted = {.partition = note->partition, .offset = note->offset};
        mr_letter *e = bsearch(&wanted, l->list, l->n, sizeof *l->list, by_place);
        if (!e || e->replayed_ms > note->time_ms) continue;
        memcpy(e->replay, note->replay, sizeof e->replay);
        e->replayed_ms = note->time_ms;
    }
    if (l->n) qsort(l->list, l->n, sizeof *l->list, by_time);
}

void mr_letters_deinit(mr_letters *l) {
    for (size_t i = 0; i < l->n; i++) drop_letter(&l->list[i]);
    free(l->list);
    free(l->notes);
    *l = (mr_letters){.n = 0};
}

/* ---- one letter ---- */

void mr_letter_place(const mr_letter *l, char out[MR_LETTER_PLACE_LEN]) {
    snprintf(out, MR_LETTER_PLACE_LEN, "%d:%" PRId64, (int)l->partition, l->offset);
}

bool mr_letter_is(const mr_letter *l, const char *which) {
    char place[MR_LETTER_PLACE_LEN];

    if (l->job_id[0] && strcmp(l->job_id, which) == 0) return true;
    mr_letter_place(l, place);
    return strcmp(place, which) == 0;
}
