/* page_json.c - answers as JSON: how they begin, errors, and what the board has. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "dispatcher/page_internal.h"

enum { ANSWER_BYTES = 4 << 20 };

static const char json_type[] = "application/json";

void mr_page_begin(mr_http_answer *a) {
    a->status = 200;
    a->content_type = json_type;
    a->fields[a->n_fields++] = (mr_http_field){"Cache-Control", "no-store"};
    a->fields[a->n_fields++] = (mr_http_field){"X-Content-Type-Options", "nosniff"};
}

void mr_page_write(mr_http_answer *a, mr_write_fn *write, const void *object) {
    mr_arena arena;
    const void *bytes;
    size_t n;

    mr_arena_init(&arena, ANSWER_BYTES);
    const mr_status st = mr_write_record(write, object, MR_FORMAT_JSON, &arena, &bytes, &n);
    a->body = st == MR_OK ? malloc(n + 1) : NULL;
    if (a->body) {
        memcpy(a->body, bytes, n);
        a->body[n] = '\n';
        a->len = n + 1;
    } else {
        a->status = 500;
    }
    mr_arena_drop(&arena);
}

typedef struct error_text {
    const char *code, *message;
} error_text;

static void write_error(mr_writer *w, const void *object) {
    const error_text *e = object;
    mr_write_map(w);
    mr_write_key(w, "error");
    mr_write_map(w);
    mr_write_text_field(w, "code", e->code);
    mr_write_text_field(w, "message", e->message);
    mr_write_end(w);
    mr_write_end(w);
}

void mr_page_error(mr_http_answer *a, int status, const char *code, const char *message) {
    const error_text e = {code, message};
    a->status = status;
    mr_page_write(a, write_error, &e);
}

/* ---- overview ---- */

typedef struct overview {
    const mr_page *page;
    mr_board_now now;
    uint64_t now_ms; /* monotonic */
} overview;

static uint64_t age_of(const overview *o, uint64_t seen_ms) {
    return o->now_ms > seen_ms ? o->now_ms - seen_ms : 0;
}

static bool is_shown(const overview *o, const char *name, uint64_t seen_ms) {
    return name[0] && mr_board_life(seen_ms, o->now_ms) != MR_GONE;
}

static void write_life(mr_writer *w, const overview *o, uint64_t seen_ms) {
    const bool live = mr_board_life(seen_ms, o->now_ms) == MR_LIVE;
    mr_write_text_field(w, "state", live ? "live" : "silent");
    mr_write_u64_field(w, "age_ms", age_of(o, seen_ms));
}

/* eta_s: until those that wait now have left, at the pace of the last minute; not there when
 * nothing leaves. */
static void write_lanes(mr_writer *w, const mr_beat_lane lanes[MR_PRIORITY_N]) {
    mr_write_key(w, "lanes");
    mr_write_map(w);
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        const mr_beat_lane *lane = &lanes[l];
        mr_write_key(w, mr_priority_name((mr_priority)l));
        mr_write_map(w);
        mr_write_u64_field(w, "waiting", lane->waiting);
        mr_write_u64_field(w, "unread", lane->unread);
        mr_write_u64_field(w, "queued", lane->queued);
        mr_write_u64_field(w, "left", lane->left);
        mr_write_f32_field(w, "jobs_per_s", lane->per_s);
        if (lane->per_s > 0)
            mr_write_f32_field(
                w, "eta_s", (float)((double)(lane->waiting + lane->unread) / (double)lane->per_s));
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_backlog(mr_writer *w, uint64_t delayed, uint64_t parts, uint64_t paused) {
    mr_write_u64_field(w, "delayed", delayed);
    mr_write_key(w, "partitions");
    mr_write_map(w);
    mr_write_u64_field(w, "total", parts);
    mr_write_u64_field(w, "paused", paused);
    mr_write_end(w);
}

static void write_tenants(mr_writer *w, const mr_board_now *now) {
    mr_write_key(w, "tenants");
    mr_write_list(w, now->n_tenants);
    for (size_t i = 0; i < now->n_tenants; i++) {
        const mr_board_tenant *t = &now->tenants[i];
        mr_write_map(w);
        mr_write_text_field(w, "tenant", t->name);
        mr_write_u64_field(w, "waiting", t->waiting);
        mr_write_f32_field(w, "tokens_per_s", t->tokens_per_s);
        mr_write_u64_field(w, "weight", t->weight);
        mr_write_bool_field(w, "limited", t->limited);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_pair(mr_writer *w, const char *key, uint64_t n_free, const char *all,
                       uint64_t n) {
    mr_write_key(w, key);
    mr_write_map(w);
    mr_write_u64_field(w, "free", n_free);
    mr_write_u64_field(w, all, n);
    mr_write_end(w);
}

static void write_worker(mr_writer *w, const overview *o, const mr_board_worker *k) {
    mr_write_map(w);
    mr_write_text_field(w, "worker", k->name);
    mr_write_text_field(w, "model", k->model);
    mr_write_u64_field(w, "running", k->running);
    mr_write_u64_field(w, "waiting", k->waiting);
    write_pair(w, "slots", k->free_slots, "max", k->max_slots);
    write_pair(w, "kv_tokens", k->kv_tokens_free, "total", k->kv_tokens_total);
    mr_write_u64_field(w, "n_ctx", k->n_ctx);
    mr_write_f32_field(w, "tokens_per_s", k->tokens_per_s);
    mr_write_f32_field(w, "pressure", k->pressure);
    write_life(w, o, k->seen_ms);
    mr_write_end(w);
}

static void write_workers(mr_writer *w, const overview *o) {
    const mr_board_worker *all = o->page->board->workers;
    size_t n = 0;
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) n += is_shown(o, all[i].name, all[i].seen_ms);
    mr_write_key(w, "workers");
    mr_write_list(w, n);
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++)
        if (is_shown(o, all[i].name, all[i].seen_ms)) write_worker(w, o, &all[i]);
    mr_write_end(w);
}

static void write_dispatchers(mr_writer *w, const overview *o) {
    const mr_board_dispatcher *all = o->page->board->dispatchers;
    size_t n = 0;
    for (size_t i = 0; i < MR_BOARD_DISPATCHERS; i++) n += is_shown(o, all[i].name, all[i].seen_ms);
    mr_write_key(w, "dispatchers");
    mr_write_list(w, n);
    for (size_t i = 0; i < MR_BOARD_DISPATCHERS; i++) {
        const mr_board_dispatcher *d = &all[i];
        if (!is_shown(o, d->name, d->seen_ms)) continue;
        mr_write_map(w);
        mr_write_text_field(w, "dispatcher", d->name);
        write_lanes(w, d->lanes);
        write_backlog(w, d->delayed, d->parts, d->paused_parts);
        write_life(w, o, d->seen_ms);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_overview(mr_writer *w, const void *object) {
    const overview *o = object;
    const mr_board_now *now = &o->now;
    mr_write_map(w);
    mr_write_u64_field(w, "time_ms", mr_clock_wall_ms());
    mr_write_text_field(w, "dispatcher", o->page->conf.dispatcher);
    mr_write_text_field(w, "version", MR_VERSION);
    mr_write_bool_field(w, "redis", mr_redis_up(o->page->redis));
    mr_write_u64_field(w, "running", (uint64_t)now->sum.running);
    mr_write_u64_field(w, "slots", now->sum.slots);
    mr_write_f32_field(w, "kv", now->sum.kv);
    mr_write_f32_field(w, "tokens_per_s", now->sum.tokens_per_s);
    write_lanes(w, now->lanes);
    write_backlog(w, now->delayed, now->parts, now->paused_parts);
    write_tenants(w, now);
    write_workers(w, o);
    write_dispatchers(w, o);
    mr_write_end(w);
}

void mr_page_overview(const mr_page *p, mr_http_answer *a) {
    overview o = {.page = p, .now_ms = mr_clock_mono_ms()};
    mr_board_look(p->board, o.now_ms, &o.now);
    mr_page_write(a, write_overview, &o);
}

/* ---- history ---- */

typedef struct history {
    const mr_board *board;
    uint64_t first, end; /* numbers of samples */
    uint64_t now_ms;
} history;

typedef float get_number(const void *sample, int lane);

static float waiting(const void *s, int lane) {
    return (float)((const mr_board_sample *)s)->lanes[lane].waiting;
}
static float jobs_per_s(const void *s, int lane) {
    return ((const mr_board_sample *)s)->lanes[lane].jobs_per_s;
}
static float running(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_sample *)s)->running;
}
static float slots(const void *s, int lane) {
    (void)lane;
    return (float)((const mr_board_sample *)s)->slots;
}
static float kv(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_sample *)s)->kv;
}
static float tokens_per_s(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_sample *)s)->tokens_per_s;
}
static float point_fill(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_point *)s)->fill;
}
static float point_kv(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_point *)s)->kv;
}
static float point_tokens(const void *s, int lane) {
    (void)lane;
    return ((const mr_board_point *)s)->tokens_per_s;
}

/* Three decimals: nobody sees more, and it keeps the answer small. */
static float rounded(float x) {
    return (float)((int64_t)(x * 1000 + (x < 0 ? -0.5f : 0.5f))) / 1000;
}

static void write_series(mr_writer *w, const history *h, const char *key, const void *samples,
                         size_t size, get_number *get, int lane) {
    mr_write_key(w, key);
    mr_write_list(w, (size_t)(h->end - h->first));
    for (uint64_t i = h->first; i < h->end; i++)
        mr_write_f32(w, rounded(get((const char *)samples + i % MR_BOARD_SAMPLES * size, lane)));
    mr_write_end(w);
}

static void write_sums(mr_writer *w, const history *h) {
    const mr_board_sample *s = h->board->samples;
    write_series(w, h, "running", s, sizeof *s, running, 0);
    write_series(w, h, "slots", s, sizeof *s, slots, 0);
    write_series(w, h, "kv", s, sizeof *s, kv, 0);
    write_series(w, h, "tokens_per_s", s, sizeof *s, tokens_per_s, 0);
    mr_write_key(w, "lanes");
    mr_write_map(w);
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        mr_write_key(w, mr_priority_name((mr_priority)l));
        mr_write_map(w);
        write_series(w, h, "waiting", s, sizeof *s, waiting, l);
        write_series(w, h, "jobs_per_s", s, sizeof *s, jobs_per_s, l);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static bool has_points(const history *h, const mr_board_worker *k) {
    return k->name[0] && mr_board_life(k->seen_ms, h->now_ms) != MR_GONE;
}

static void write_history(mr_writer *w, const void *object) {
    const history *h = object;
    const mr_board_worker *all = h->board->workers;
    size_t n = 0;
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) n += has_points(h, &all[i]);
    mr_write_map(w);
    mr_write_u64_field(w, "period_ms", MR_BOARD_PERIOD_MS);
    mr_write_u64_field(w, "most", MR_BOARD_SAMPLES);
    mr_write_u64_field(w, "first", h->first);
    mr_write_u64_field(w, "next", h->end);
    write_sums(w, h);
    mr_write_key(w, "workers");
    mr_write_list(w, n);
    for (size_t i = 0; i < MR_BOARD_WORKERS; i++) {
        const mr_board_worker *k = &all[i];
        if (!has_points(h, k)) continue;
        mr_write_map(w);
        mr_write_text_field(w, "worker", k->name);
        write_series(w, h, "fill", k->points, sizeof *k->points, point_fill, 0);
        write_series(w, h, "kv", k->points, sizeof *k->points, point_kv, 0);
        write_series(w, h, "tokens_per_s", k->points, sizeof *k->points, point_tokens, 0);
        mr_write_end(w);
    }
    mr_write_end(w);
    mr_write_end(w);
}

void mr_page_history(const mr_page *p, uint64_t since, mr_http_answer *a) {
    history h = {.board = p->board,
                 .first = mr_board_first(p->board),
                 .end = p->board->n_samples,
                 .now_ms = mr_clock_mono_ms()};
    if (since > h.first) h.first = since < h.end ? since : h.end;
    mr_page_write(a, write_history, &h);
}
