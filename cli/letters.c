/* letters.c - see letters.h. */
#include "cli/letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"

enum { READ_MS = 120000, FETCH_MS = 10000, SCRATCH_BYTES = 4 << 20 };

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

/* Only the newest stay. */
static void forget(mr_letters *l) {
    const size_t n_old = l->n - MR_LETTERS_MAX;

    qsort(l->list, l->n, sizeof *l->list, by_time);
    for (size_t i = 0; i < n_old; i++) drop_letter(&l->list[i]);
    memmove(l->list, l->list + n_old, MR_LETTERS_MAX * sizeof *l->list);
    l->n = MR_LETTERS_MAX;
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

static mr_status add_letter(mr_letters *l, const mr_kafka_msg *m, const mr_dead *d) {
    if (l->n == 2 * (size_t)MR_LETTERS_MAX) forget(l);
    mr_letter *list = grown(l->list, l->n, &l->cap, sizeof *l->list);
    if (!list) return MR_ENOMEM;
    l->list = list;
    mr_letter *e = &list[l->n];
    *e = (mr_letter){.partition = m->partition,
                     .offset = m->offset,
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

/* Notes are as many as letters at most, but for letters that were replayed again and again. */
static mr_status add_note(mr_letters *l, const mr_dead *d) {
    mr_letter_note *notes = grown(l->notes, l->n_notes, &l->cap_notes, sizeof *l->notes);
    if (!notes) return MR_ENOMEM;
    l->notes = notes;
    mr_letter_note *e = &notes[l->n_notes++];
    *e = (mr_letter_note){.partition = d->partition, .offset = d->offset, .time_ms = d->time_ms};
    copy_id(e->replay, d->replay);
    return MR_OK;
}

mr_status mr_letters_add(mr_letters *l, const mr_kafka_msg *m) {
    mr_arena arena;
    mr_dead d;
    mr_status st = MR_OK;

    if (!m->value) return MR_OK;
    mr_arena_init(&arena, SCRATCH_BYTES);
    if (mr_codec_dead_decode(&d, m->value, m->len, &arena, NULL) != MR_OK)
        l->n_unreadable++;
    else
        st = d.replay ? add_note(l, &d) : add_letter(l, m, &d);
    mr_arena_drop(&arena);
    return st;
}

void mr_letters_finish(mr_letters *l) {
    if (l->n > MR_LETTERS_MAX) forget(l);
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

static bool on_record(void *owner, const mr_kafka_msg *m) {
    mr_letters *l = owner;

    l->no_memory = mr_letters_add(l, m) != MR_OK;
    return !l->no_memory;
}

mr_status mr_letters_read(mr_letters *l, mr_client *c, mr_err *err) {
    mr_topic t;

    *l = (mr_letters){.n = 0};
    mr_status st = mr_topic_init(&t, c, "dead", err);
    if (st == MR_OK) st = mr_topic_read(&t, on_record, l, READ_MS, err);
    if (st == MR_OK && l->no_memory) st = mr_fail(err, MR_ENOMEM, "dead letters: out of memory");
    mr_topic_deinit(&t);
    if (st == MR_OK)
        mr_letters_finish(l);
    else
        mr_letters_deinit(l);
    return st;
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

typedef struct copied { /* of a record */
    mr_arena *arena;
    void *bytes;
    size_t n;
} copied;

static bool on_fetched(void *owner, const mr_kafka_msg *m) {
    copied *to = owner;

    to->bytes = m->value ? mr_arena_copy(to->arena, m->value, m->len) : NULL;
    to->n = m->len;
    return true;
}

mr_status mr_letter_fetch(mr_client *c, const mr_letter *l, mr_arena *arena, mr_dead *out,
                          mr_err *err) {
    copied to = {.arena = arena};
    mr_topic t;
    mr_status st = mr_topic_init(&t, c, "dead", err);

    if (st == MR_OK)
        st = mr_topic_fetch(c, t.name, l->partition, l->offset, on_fetched, &to, FETCH_MS, err);
    mr_topic_deinit(&t);
    if (st != MR_OK) return st;
    if (!to.bytes) return mr_fail(err, MR_ENOMEM, "dead letter: out of memory");
    return mr_codec_dead_decode(out, to.bytes, to.n, arena, err);
}

/* The topic has the last word about a job's lane, and it may only lower the priority. */
static void lower_to_topic(mr_job_spec *j, const char *topic) {
    const char *dot = strrchr(topic, '.');

    for (int lane = (int)j->priority; dot && lane < MR_PRIORITY_N; lane++)
        if (strcmp(dot + 1, mr_priority_name((mr_priority)lane)) == 0)
            j->priority = (mr_priority)lane;
}

/* As dispatchers and workers pass it on, or else as a producer sends it to this topic. */
static mr_status decode_job(mr_job_spec *out, const void *bytes, size_t n, const char *topic,
                            mr_arena *arena, mr_err *err) {
    mr_codec_error why;
    mr_format format;

    mr_format_of(NULL, 0, bytes, n, &format);
    mr_status st = mr_codec_job_decode(out, format, bytes, n, true, arena, &why);
    if (st != MR_OK && strcmp(why.code, "missing_field") == 0) {
        st = mr_codec_job_decode(out, format, bytes, n, false, arena, &why);
        out->reply_format = format;
        if (st == MR_OK) lower_to_topic(out, topic);
    }
    return st == MR_OK ? MR_OK : mr_fail(err, st, "its payload is no job: %s", why.message);
}

static mr_status job_at_origin(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                               mr_err *err) {
    copied to = {.arena = arena};
    mr_err why;
    mr_status st =
        mr_topic_fetch(c, d->topic, d->partition, d->offset, on_fetched, &to, FETCH_MS, &why);

    if (st != MR_OK) return mr_fail(err, st, "its payload was cut, and %s", why.text);
    if (!to.bytes) return mr_fail(err, MR_ENOMEM, "dead letter: out of memory");
    st = decode_job(out, to.bytes, to.n, d->topic, arena, err);
    if (st == MR_OK && d->job_id && strcmp(out->job_id, d->job_id) != 0)
        st = mr_fail(err, MR_ENOTFOUND, "its payload was cut, and its origin has another job now");
    return st;
}

mr_status mr_letter_job(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                        mr_err *err) {
    const bool cut = d->payload_len == 0 || d->payload_len == MR_DEAD_MAX_PAYLOAD;

    return cut ? job_at_origin(c, d, arena, out, err)
               : decode_job(out, d->payload, d->payload_len, d->topic, arena, err);
}
