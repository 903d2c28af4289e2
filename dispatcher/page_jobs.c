/* page_jobs.c - lists and single jobs, with what their status hashes in Redis say.
 *
 * An answer is put together in a round: one HMGET per job, all at once, and the request is answered
 * when the last has come. Without Redis it shows what the roll knows. A round ends by itself: Redis
 * answers or the connection is given up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatcher/page_internal.h"

enum { ROUND_BYTES = 1 << 20 };

static const struct field {
    const char *name;
    bool is_number;
} fields[] = {{"state", false},       {"model", false},
              {"tenant", false},      {"worker", false},
              {"lane", false},        {"attempt", true},
              {"tries", true},        {"tokens", true},
              {"received_ms", true},  {"updated_ms", true},
              {"due_ms", true},       {"finish_reason", false},
              {"error", false},       {"result_partition", true},
              {"result_offset", true}};
enum { N_FIELDS = MR_COUNT(fields), STATE = 0, MODEL = 1, TENANT = 2 };

struct row {
    struct round *round;
    char job_id[MR_JOB_ID_LEN + 1];
    bool listed, in_redis;        /* the roll has it; the hash is there */
    const char *values[N_FIELDS]; /* NULL: not known */
};

struct round {
    mr_page *page;
    mr_http_request *r; /* NULL: the client has gone */
    bool one;           /* a single job was asked for */
    mr_arena arena;
    struct row rows[MR_PAGE_LIST];
    size_t n, n_left;
};
typedef struct round round;

/* ---- the answer ---- */

static void write_row(mr_writer *w, const struct row *row) {
    mr_write_map(w);
    mr_write_text_field(w, "job_id", row->job_id);
    for (size_t i = 0; i < N_FIELDS; i++) {
        const char *value = row->values[i];
        if (!value || !value[0]) continue;
        if (fields[i].is_number)
            mr_write_u64_field(w, fields[i].name, strtoull(value, NULL, 10));
        else
            mr_write_text_field(w, fields[i].name, value);
    }
    mr_write_end(w);
}

static void write_round(mr_writer *w, const void *object) {
    const round *o = object;
    if (o->one) {
        write_row(w, &o->rows[0]);
        return;
    }
    mr_write_map(w);
    mr_write_bool_field(w, "redis", mr_redis_up(o->page->redis));
    mr_write_key(w, "jobs");
    mr_write_list(w, o->n);
    for (size_t i = 0; i < o->n; i++) write_row(w, &o->rows[i]);
    mr_write_end(w);
    mr_write_end(w);
}

static void end_round(round *o) {
    mr_http_answer a = {.n_fields = 0};
    if (o->r) {
        mr_page_begin(&a);
        if (o->one && !o->rows[0].listed && !o->rows[0].in_redis)
            mr_page_error(&a, mr_redis_up(o->page->redis) ? 404 : 503, "unknown_job",
                          mr_redis_up(o->page->redis) ? "nothing is known of this job"
                                                      : "Redis is away, and nothing else knows");
        else
            mr_page_write(&a, write_round, o);
        mr_http_reply(o->r, &a);
    }
    mr_arena_drop(&o->arena);
    free(o);
}

/* ---- Redis ---- */

const char *mr_page_terminal(const char *state) {
    static const mr_job_status ends[] = {MR_STATUS_SUCCEEDED, MR_STATUS_FAILED, MR_STATUS_REJECTED,
                                         MR_STATUS_CANCELLED, MR_STATUS_EXPIRED};
    for (size_t i = 0; i < MR_COUNT(ends); i++)
        if (strcmp(state, mr_job_status_name(ends[i])) == 0) return mr_job_status_name(ends[i]);
    return NULL;
}

/* Another dispatcher may have read its result. */
static void note_end(mr_page *p, const struct row *row) {
    const char *end = mr_page_terminal(row->values[STATE]);
    if (end) mr_roll_end(p->roll, row->job_id, end);
}

static void on_fields(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_page *p = owner;
    struct row *row = cookie;
    round *o = row->round;
    if (status == MR_OK && r->type == MR_REPLY_ARRAY && r->n_items == N_FIELDS) {
        row->in_redis = r->items[STATE]->type == MR_REPLY_TEXT;
        for (size_t i = 0; i < N_FIELDS && row->in_redis; i++) {
            if (r->items[i]->type != MR_REPLY_TEXT) continue;
            const char *text = mr_arena_copy(&o->arena, r->items[i]->text, r->items[i]->len);
            if (text) row->values[i] = text;
        }
        if (row->in_redis && row->listed) note_end(p, row);
    }
    if (--o->n_left == 0) end_round(o);
}

static void ask(struct row *row) {
    const mr_page *p = row->round->page;
    const char *argv[2 + N_FIELDS] = {"HMGET"};
    char key[MR_PAGE_KEY_MAX];

    snprintf(key, sizeof key, "%s:{%s}", p->conf.names->redis_prefix, row->job_id);
    argv[1] = key;
    for (size_t i = 0; i < N_FIELDS; i++) argv[2 + i] = fields[i].name;
    if (mr_redis_command(p->redis, MR_COUNT(argv), argv, NULL, on_fields, row, NULL) == MR_OK)
        row->round->n_left++;
}

static void on_gone(void *arg) {
    round *o = arg;
    o->r = NULL;
}

/* NULL: it is answered. */
static round *begin_round(mr_page *p, mr_http_request *r, mr_http_answer *a) {
    round *o = calloc(1, sizeof *o);
    const mr_http_holder holder = {.arg = o, .on_gone = on_gone};
    if (!o || !mr_http_hold(r, &holder)) {
        free(o);
        mr_page_error(a, 503, "busy", "too many requests are being answered; try again");
        return NULL;
    }
    o->page = p;
    o->r = r;
    mr_arena_init(&o->arena, ROUND_BYTES);
    return o;
}

static void add_row(round *o, const char *job_id, const mr_roll_job *j) {
    struct row *row = &o->rows[o->n++];
    row->round = o;
    row->listed = j != NULL;
    snprintf(row->job_id, sizeof row->job_id, "%s", job_id);
    if (!j) return;
    row->values[STATE] = j->state;
    row->values[MODEL] = mr_arena_copy(&o->arena, j->model, strlen(j->model));
    row->values[TENANT] = mr_arena_copy(&o->arena, j->tenant, strlen(j->tenant));
}

/* The first reply cannot come before all have been asked for: n_left counts one for us. */
static void run_round(round *o) {
    o->n_left = 1;
    for (size_t i = 0; i < o->n; i++) ask(&o->rows[i]);
    if (--o->n_left == 0) end_round(o);
}

void mr_page_jobs(mr_page *p, mr_http_request *r, size_t most, mr_http_answer *a) {
    const mr_roll_job *list[MR_PAGE_LIST];
    round *o = begin_round(p, r, a);
    if (!o) return;
    const size_t n = mr_roll_list(p->roll, list, most);
    for (size_t i = 0; i < n; i++) add_row(o, list[i]->job_id, list[i]);
    run_round(o);
}

void mr_page_one_job(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a) {
    round *o = begin_round(p, r, a);
    if (!o) return;
    o->one = true;
    add_row(o, job_id, mr_roll_find(p->roll, job_id));
    run_round(o);
}
