/* page_path.c - see page_path.h. A table of paths; in each at most one part is an id. */
#include "dispatcher/page_path.h"

#include <string.h>

#include "base/uuid.h"

typedef enum part { NO_ID, JOB_ID, PLACE } part;

static const struct row {
    const char *before, *behind; /* the id, if there is one */
    part id;
    bool post;
    mr_page_ask ask;
} rows[] = {
    {"overview", "", NO_ID, false, MR_ASK_OVERVIEW},
    {"history", "", NO_ID, false, MR_ASK_HISTORY},
    {"jobs", "", NO_ID, false, MR_ASK_JOBS},
    {"jobs/", "", JOB_ID, false, MR_ASK_JOB},
    {"jobs/", "/events", JOB_ID, false, MR_ASK_EVENTS},
    {"jobs/", "/cancel", JOB_ID, true, MR_ASK_CANCEL},
    {"dead", "", NO_ID, false, MR_ASK_DEAD},
    {"dead/", "/replay", PLACE, true, MR_ASK_REPLAY},
    {"session", "", NO_ID, false, MR_ASK_SESSION},
    {"session", "", NO_ID, true, MR_ASK_LOGIN},
    {"session/end", "", NO_ID, true, MR_ASK_LOGOUT},
};

/* Digits up to the end of text[n], at most max. False: something else. */
static bool number(const char *text, size_t n, uint64_t max, uint64_t *out) {
    *out = 0;
    if (n == 0 || n > 19) return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = 10 * *out + (uint64_t)(text[i] - '0');
    }
    return *out <= max;
}

static bool read_job_id(mr_page_path *p, const char *id, size_t n) {
    if (n != MR_JOB_ID_LEN || !mr_uuid_valid(id, n)) return false;
    memcpy(p->job_id, id, n);
    return true;
}

static bool read_place(mr_page_path *p, const char *id, size_t n) {
    const char *colon = memchr(id, ':', n);
    uint64_t partition, offset;
    if (!colon || !number(id, (size_t)(colon - id), INT32_MAX, &partition) ||
        !number(colon + 1, n - (size_t)(colon + 1 - id), INT64_MAX, &offset))
        return false;
    p->partition = (int32_t)partition;
    p->offset = (int64_t)offset;
    return true;
}

/* Whether the path has the form of the row; *n bytes from *id on are its id. */
static bool fits(const struct row *row, const char *path, const char **id, size_t *n) {
    const size_t before = strlen(row->before), behind = strlen(row->behind), len = strlen(path);
    if (len < before + behind || memcmp(path, row->before, before) != 0 ||
        strcmp(path + len - behind, row->behind) != 0)
        return false;
    *id = path + before;
    *n = len - before - behind;
    return row->id == NO_ID ? *n == 0 : *n > 0 && !memchr(*id, '/', *n);
}

mr_page_path mr_page_path_of(const char *method, const char *path) {
    const bool post = strcmp(method, "POST") == 0;
    const bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    mr_page_path p = {.ask = MR_ASK_UNKNOWN};
    const char *id;
    size_t n;

    for (size_t i = 0; i < MR_COUNT(rows); i++) {
        const struct row *row = &rows[i];
        if (!fits(row, path, &id, &n)) continue;
        p.ask = MR_ASK_WRONG_METHOD;
        if (!(row->post ? post : get)) continue;
        const bool ok = row->id == NO_ID ||
                        (row->id == JOB_ID ? read_job_id(&p, id, n) : read_place(&p, id, n));
        p.ask = ok ? row->ask : MR_ASK_BAD_ID;
        return p;
    }
    return p;
}

uint64_t mr_page_number(const char *text, uint64_t lo, uint64_t hi, uint64_t other) {
    uint64_t n;
    return text && number(text, strlen(text), hi, &n) && n >= lo ? n : other;
}
