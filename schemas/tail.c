/* tail.c - see tail.h. */
#include "schemas/tail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

mr_tail_step mr_tail_take(mr_tail *t, const mr_frame *fr, bool from_stream) {
    if (fr->type == MR_FRAME_RESTART) {
        if (fr->attempt <= t->epoch) return MR_TAIL_KNOWN;
        t->epoch = fr->attempt;
        t->next = 0;
        return MR_TAIL_TAKE;
    }
    if (fr->type == MR_FRAME_TOKEN && (fr->attempt <= t->epoch || fr->index < t->next))
        return MR_TAIL_KNOWN;
    if (fr->index > t->next && !from_stream) return MR_TAIL_GAP;
    if (fr->type == MR_FRAME_TOKEN) {
        t->next = fr->index + 1;
        snprintf(t->last_id, sizeof t->last_id, "%" PRIu32 "-%" PRIu64, fr->attempt, fr->index);
    }
    return MR_TAIL_TAKE;
}

const char *mr_tail_from(const mr_tail *t) {
    return t->last_id[0] ? t->last_id : "-";
}

void mr_tail_at(mr_tail *t, const char *id) {
    if (strlen(id) < sizeof t->last_id) snprintf(t->last_id, sizeof t->last_id, "%s", id);
}

/* ---- marks ---- */

void mr_tail_mark(const mr_tail *t, char out[MR_TAIL_MARK_LEN]) {
    snprintf(out, MR_TAIL_MARK_LEN, "%s.%" PRIu64 ".%" PRIu32, t->last_id[0] ? t->last_id : "0-0",
             t->next, t->epoch);
}

/* A decimal number of at most 19 digits before `stop`; NULL: there is none. */
static const char *number(const char *text, char stop, uint64_t max, uint64_t *out) {
    uint64_t n = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == 19) return NULL;
        n = 10 * n + (uint64_t)(text[digits] - '0');
    }
    if (digits == 0 || text[digits] != stop || n > max) return NULL;
    *out = n;
    return text + digits + (stop != '\0');
}

bool mr_tail_parse(mr_tail *t, const char *text) {
    uint64_t attempt, index, next, epoch;
    *t = (mr_tail){.next = 0};
    if (!(text = number(text, '-', UINT32_MAX, &attempt))) return false;
    if (!(text = number(text, '.', INT64_MAX, &index))) return false;
    if (!(text = number(text, '.', INT64_MAX, &next))) return false;
    if (!number(text, '\0', UINT32_MAX, &epoch)) return false;
    t->next = next;
    t->epoch = (uint32_t)epoch;
    snprintf(t->last_id, sizeof t->last_id, "%" PRIu64 "-%" PRIu64, attempt, index);
    return true;
}
