/* window.c - see window.h. One row per model; a row is dropped when its queues are empty. */
#include "dispatcher/window.h"

#include <stdlib.h>
#include <string.h>

typedef struct queue {
    mr_entry *head, *tail;
    size_t len;
} queue;

typedef struct row {
    char model[MR_JOB_MAX_NAME + 1];
    queue lanes[MR_PRIORITY_N];
    int credit[MR_PRIORITY_N]; /* of smooth weighted round robin; sums to 0 */
} row;

struct mr_window {
    row rows[MR_MAX_MODELS];
    size_t n_rows;
};

static const int weight[MR_PRIORITY_N] = {
    [MR_PRIORITY_HIGH] = 8, [MR_PRIORITY_NORMAL] = 3, [MR_PRIORITY_LOW] = 1};

mr_status mr_window_open(mr_window **out, mr_err *err) {
    *out = calloc(1, sizeof **out);
    return *out ? MR_OK : mr_fail(err, MR_ENOMEM, "window: out of memory");
}

void mr_window_close(mr_window *w) {
    free(w);
}

static int find_index(const mr_window *w, const char *model) {
    for (size_t i = 0; i < w->n_rows; i++)
        if (strcmp(w->rows[i].model, model) == 0) return (int)i;
    return -1;
}

static row *find_row(mr_window *w, const char *model) {
    const int i = find_index(w, model);
    return i < 0 ? NULL : &w->rows[i];
}

static row *need_row(mr_window *w, const char *model) {
    row *r = find_row(w, model);
    if (r || w->n_rows == MR_MAX_MODELS || strlen(model) > MR_JOB_MAX_NAME) return r;
    r = &w->rows[w->n_rows++];
    memset(r, 0, sizeof *r);
    strcpy(r->model, model);
    return r;
}

static void drop_row_if_empty(mr_window *w, row *r) {
    for (int l = 0; l < MR_PRIORITY_N; l++)
        if (r->lanes[l].len > 0) return;
    *r = w->rows[--w->n_rows];
}

static void unlink_entry(queue *q, mr_entry *e) {
    if (e->prev)
        e->prev->next = e->next;
    else
        q->head = e->next;
    if (e->next)
        e->next->prev = e->prev;
    else
        q->tail = e->prev;
    e->prev = e->next = NULL;
    e->waiting = false;
    q->len--;
}

mr_status mr_window_push(mr_window *w, mr_entry *e) {
    row *r = need_row(w, e->job.model);
    if (!r) return MR_ELIMIT;
    queue *q = &r->lanes[e->lane];
    e->prev = q->tail;
    e->next = NULL;
    if (q->tail)
        q->tail->next = e;
    else
        q->head = e;
    q->tail = e;
    q->len++;
    e->waiting = true;
    return MR_OK;
}

void mr_window_unshift(mr_window *w, mr_entry *e) {
    row *r = need_row(w, e->job.model);
    MR_CHECK(r != NULL); /* the caller holds a place for what it took out */
    queue *q = &r->lanes[e->lane];
    e->prev = NULL;
    e->next = q->head;
    if (q->head)
        q->head->prev = e;
    else
        q->tail = e;
    q->head = e;
    q->len++;
    e->waiting = true;
}

/* Each lane with work gains its weight, the richest goes and pays for all that took part. */
static int next_lane(row *r) {
    int total = 0, best = -1;
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        if (r->lanes[l].len == 0) continue;
        r->credit[l] += weight[l];
        total += weight[l];
        if (best < 0 || r->credit[l] > r->credit[best]) best = l;
    }
    if (best >= 0) r->credit[best] -= total;
    return best;
}

mr_entry *mr_window_pop(mr_window *w, const char *model) {
    row *r = find_row(w, model);
    if (!r) return NULL;
    const int lane = next_lane(r);
    MR_CHECK(lane >= 0); /* an empty row is dropped */
    mr_entry *e = r->lanes[lane].head;
    unlink_entry(&r->lanes[lane], e);
    drop_row_if_empty(w, r);
    return e;
}

void mr_window_remove(mr_window *w, mr_entry *e) {
    row *r = find_row(w, e->job.model);
    MR_CHECK(r != NULL && e->waiting);
    unlink_entry(&r->lanes[e->lane], e);
    drop_row_if_empty(w, r);
}

bool mr_window_has(const mr_window *w, const char *model) {
    return find_index(w, model) >= 0;
}

size_t mr_window_len(const mr_window *w, mr_priority lane) {
    size_t n = 0;
    for (size_t i = 0; i < w->n_rows; i++) n += w->rows[i].lanes[lane].len;
    return n;
}

const char *mr_window_model(const mr_window *w, size_t i) {
    return i < w->n_rows ? w->rows[i].model : NULL;
}
