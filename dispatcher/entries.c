/* entries.c - see entries.h. An entry is one block and an arena; its id hangs in a chain of a table
 * of fixed size, that is long enough for what a window may hold. */
#include "dispatcher/entries.h"

#include <stdlib.h>
#include <string.h>

#include "dispatcher/names.h"
#include "dispatcher/recent.h"

enum {
    ENTRY_LIMIT = 16 << 20,
    ENTRY_LEAST = 4 << 10, /* the first chunk of an arena */
    ID_BUCKETS = 4096
};

struct mr_entries {
    mr_entry *all, *by_id[ID_BUCKETS];
    mr_entry *untold, *untold_last;
    struct row {
        size_t n, bytes;
    } * rows; /* [n_rows] */
    size_t n_rows;
    size_t bytes[2]; /* of what came from delay topics: 1 */
};

mr_status mr_entries_open(mr_entries **out, mr_err *err) {
    *out = calloc(1, sizeof **out);
    return *out ? MR_OK : mr_fail(err, MR_ENOMEM, "entries: out of memory");
}

void mr_entries_close(mr_entries *es) {
    if (!es) return;
    while (es->all) mr_entries_free(es, es->all);
    free(es->rows);
    free(es);
}

bool mr_entries_need_row(mr_entries *es, int part) {
    const size_t n = (size_t)part + 1;
    if (n <= es->n_rows) return true;
    struct row *grown = realloc(es->rows, n * sizeof *grown);
    if (!grown) return false;
    memset(grown + es->n_rows, 0, (n - es->n_rows) * sizeof *grown);
    es->rows = grown;
    es->n_rows = n;
    return true;
}

static size_t *bytes_of(mr_entries *es, const mr_entry *e) {
    return &es->bytes[e->from == MR_FROM_DELAY];
}

static mr_entry **bucket_of(mr_entries *es, const char *job_id) {
    return &es->by_id[mr_recent_hash(job_id) % ID_BUCKETS];
}

mr_entry *mr_entries_make(mr_entries *es, mr_origin at, unsigned from) {
    mr_entry *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    mr_arena_init(&e->arena, ENTRY_LIMIT);
    e->at = at;
    e->from = from;
    e->all_next = es->all;
    if (es->all) es->all->all_prev = e;
    es->all = e;
    es->rows[at.part].n++;
    return e;
}

void mr_entries_index(mr_entries *es, mr_entry *e) {
    mr_entry **head = bucket_of(es, e->job.job_id);
    e->id_next = *head;
    if (*head) (*head)->id_prev = e;
    *head = e;
    e->bytes = sizeof *e + (e->arena.used > ENTRY_LEAST ? e->arena.used : ENTRY_LEAST);
    *bytes_of(es, e) += e->bytes;
    es->rows[e->at.part].bytes += e->bytes;
}

static void drop_id(mr_entries *es, mr_entry *e) {
    if (!e->bytes) return; /* never indexed */
    *(e->id_prev ? &e->id_prev->id_next : bucket_of(es, e->job.job_id)) = e->id_next;
    if (e->id_next) e->id_next->id_prev = e->id_prev;
    if (!e->sent) *bytes_of(es, e) -= e->bytes;
}

void mr_entries_untold(mr_entries *es, mr_entry *e) {
    if (e->untold) return;
    e->untold = true;
    e->untold_prev = es->untold_last;
    e->untold_next = NULL;
    *(es->untold_last ? &es->untold_last->untold_next : &es->untold) = e;
    es->untold_last = e;
}

static void drop_untold(mr_entries *es, mr_entry *e) {
    if (!e->untold) return;
    e->untold = false;
    *(e->untold_prev ? &e->untold_prev->untold_next : &es->untold) = e->untold_next;
    *(e->untold_next ? &e->untold_next->untold_prev : &es->untold_last) = e->untold_prev;
}

mr_entry *mr_entries_take_untold(mr_entries *es) {
    mr_entry *e = es->untold;
    if (e) drop_untold(es, e);
    return e;
}

static void drop_from_row(mr_entries *es, const mr_entry *e) {
    if (e->sent || e->at.part < 0) return;
    es->rows[e->at.part].n--;
    es->rows[e->at.part].bytes -= e->bytes;
}

void mr_entries_free(mr_entries *es, mr_entry *e) {
    drop_id(es, e);
    drop_untold(es, e);
    *(e->all_prev ? &e->all_prev->all_next : &es->all) = e->all_next;
    if (e->all_next) e->all_next->all_prev = e->all_prev;
    drop_from_row(es, e);
    mr_arena_drop(&e->arena);
    free(e);
}

void mr_entries_sent(mr_entries *es, mr_entry *e) {
    if (e->sent) return;
    drop_from_row(es, e);
    *bytes_of(es, e) -= e->bytes;
    e->sent = true;
}

void mr_entries_orphan(mr_entries *es, mr_entry *e) {
    drop_from_row(es, e);
    e->at.part = -1;
}

mr_entry *mr_entries_next(const mr_entries *es, const mr_entry *e) {
    return e ? e->all_next : es->all;
}

mr_entry *mr_entries_find(const mr_entries *es, const char *job_id, const mr_entry *after) {
    mr_entry *e = after ? after->id_next : es->by_id[mr_recent_hash(job_id) % ID_BUCKETS];
    while (e && strcmp(e->job.job_id, job_id) != 0) e = e->id_next;
    return e;
}

size_t mr_entries_of(const mr_entries *es, int part) {
    return es->rows[part].n;
}

size_t mr_entries_bytes_of(const mr_entries *es, int part) {
    return es->rows[part].bytes;
}

size_t mr_entries_bytes(const mr_entries *es, bool delayed) {
    return es->bytes[delayed];
}
