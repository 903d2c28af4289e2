/* past.c - code of past.h: a row for each partition. */
#include "base/past.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "millrace/error.h"

typedef struct mr_past_row {
    char *topic;
    int32_t partition;
    int64_t next;        /* behind the newest that was read; -1: none was */
    int64_t youngest_ms; /* of those that were read here; -1: none was */
    bool back;           /* since a step back nothing new has come */
} row;

void mr_past_deinit(mr_past *p) {
    for (size_t i = 0; i < p->n; i++) free(p->rows[i].topic);
    free(p->rows);
    *p = (mr_past){0};
}

static bool is_row(const row *r, const char *topic, int32_t partition) {
    return r->partition == partition && strcmp(r->topic, topic) == 0;
}

static row *find(mr_past *p, const char *topic, int32_t partition) {
    if (p->last < p->n && is_row(&p->rows[p->last], topic, partition)) return &p->rows[p->last];
    for (size_t i = 0; i < p->n; i++)
        if (is_row(&p->rows[i], topic, partition)) return &p->rows[p->last = i];
    return NULL;
}

void mr_past_add(mr_past *p, const char *topic, int32_t partition, int64_t next) {
    mr_past_drop(p, topic, partition);
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 16;
        p->rows = realloc(p->rows, p->cap * sizeof *p->rows);
        MR_CHECK(p->rows);
    }
    row *r = &p->rows[p->n++];
    *r = (row){strdup(topic), partition, next < 0 ? -1 : next, -1, false};
    MR_CHECK(r->topic);
}

void mr_past_drop(mr_past *p, const char *topic, int32_t partition) {
    row *r = find(p, topic, partition);
    if (!r) return;
    free(r->topic);
    *r = p->rows[--p->n];
}

mr_past_step mr_past_read(mr_past *p, const char *topic, int32_t partition, int64_t offset,
                          int64_t timestamp_ms, int64_t *next) {
    row *r = find(p, topic, partition);
    if (!r) return MR_PAST_ON;
    if (next) *next = r->next;
    const bool younger = timestamp_ms > r->youngest_ms && r->youngest_ms >= 0;
    if (offset < r->next && (r->back || !younger)) {
        const bool again = r->back;
        r->back = true;
        return again ? MR_PAST_AGAIN : MR_PAST_BACK;
    }
    const bool anew = offset < r->next;
    r->back = false;
    r->next = offset + 1;
    if (anew || timestamp_ms > r->youngest_ms) r->youngest_ms = timestamp_ms;
    return anew ? MR_PAST_ANEW : MR_PAST_ON;
}
