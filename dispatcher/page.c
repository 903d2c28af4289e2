/* page.c - requests of browsers and programs: the page's files, and the interface under
 * MR_PAGE_API.
 *
 * Anybody who reaches the port may read numbers, names and states; texts and actions need the token
 * (page_guard.h). Every request must name us as its host; one that changes something must not come
 * from another site. No answer may be kept, and the page may load nothing from elsewhere. */
#include "dispatcher/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/page_files.h"
#include "dispatcher/page_internal.h"

enum { TICK_MS = 1000 };

static const char policy[] = "default-src 'self'; base-uri 'none'; form-action 'self'; "
                             "frame-ancestors 'none'";

/* ---- sessions ---- */

static mr_shown shown_by(const mr_http_request *r) {
    return (mr_shown){.host = mr_http_header(r, "Host"),
                      .origin = mr_http_header(r, "Origin"),
                      .fetch_site = mr_http_header(r, "Sec-Fetch-Site"),
                      .authorization = mr_http_header(r, "Authorization"),
                      .cookie = mr_http_header(r, "Cookie"),
                      .csrf = mr_http_header(r, "X-CSRF-Token")};
}

typedef struct caller { /* who asks, and what it may */
    const mr_shown *shown;
    mr_access access;
    const mr_session *session;
} caller;

typedef struct session_view {
    bool has_token;
    const caller *who;
} session_view;

static void write_session(mr_writer *w, const void *object) {
    const session_view *v = object;
    mr_write_map(w);
    mr_write_bool_field(w, "token", v->has_token);
    mr_write_bool_field(w, "open", v->who->access != MR_ACCESS_NONE);
    if (v->who->session) mr_write_text_field(w, "csrf", v->who->session->csrf);
    mr_write_end(w);
}

static void answer_session(const mr_page *p, const caller *who, mr_http_answer *a) {
    const session_view v = {p->guard.token[0] != '\0', who};
    mr_page_write(a, write_session, &v);
}

/* False: it is answered, since too many wrong tokens came from there. */
static bool may_try(mr_page *p, const mr_http_request *r, mr_http_answer *a) {
    unsigned char address[16];

    mr_http_peer(r, address);
    const uint64_t wait_ms = mr_guard_wait_ms(&p->guard, address, mr_clock_mono_ms());
    if (wait_ms == 0) return true;
    snprintf(p->wait, sizeof p->wait, "%llu", (unsigned long long)(wait_ms + 999) / 1000);
    mr_page_error(a, 429, "too_many_tries", "too many wrong tokens came from this address");
    a->fields[a->n_fields++] = (mr_http_field){"Retry-After", p->wait};
    return false;
}

static void note_failure(mr_page *p, const mr_http_request *r) {
    unsigned char address[16];

    if (!p->guard.token[0]) return; /* there is nothing to guess */
    mr_http_peer(r, address);
    mr_guard_failed(&p->guard, address, mr_clock_mono_ms());
}

static void log_in(mr_page *p, mr_http_request *r, caller *who, mr_http_answer *a) {
    size_t n;
    const char *body = mr_http_body(r, &n);

    if (!may_try(p, r, a)) return;
    if (!mr_guard_is_token(&p->guard, body, n)) {
        note_failure(p, r);
        mr_log(MR_LOG_WARN, "page", "login refused: not the token", "configured=%d",
               p->guard.token[0] != '\0');
        mr_page_error(a, 401, "wrong_token", "this is not the dispatcher's http_token");
        return;
    }
    if (mr_guard_login(&p->guard, mr_clock_mono_ms(), &who->session) != MR_OK) {
        mr_page_error(a, 500, "no_random", "the system has no random bytes");
        return;
    }
    who->access = MR_ACCESS_SESSION;
    answer_session(p, who, a);
    snprintf(p->cookie, sizeof p->cookie, MR_GUARD_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict",
             who->session->id);
    a->fields[a->n_fields++] = (mr_http_field){"Set-Cookie", p->cookie};
}

static void log_out(mr_page *p, caller *who, mr_http_answer *a) {
    if (who->session) mr_guard_logout(&p->guard, who->session);
    *who = (caller){.shown = who->shown};
    answer_session(p, who, a);
}

/* ---- the interface ---- */

/* False: it is answered. */
static bool may_see(const mr_page *p, const caller *who, mr_http_answer *a) {
    if (who->access != MR_ACCESS_NONE) return true;
    if (p->guard.token[0])
        mr_page_error(a, 401, "no_token", "texts and actions need the token; log in");
    else
        mr_page_error(a, 403, "read_only", "no http_token is set: no texts, no actions");
    return false;
}

static bool may_act(const mr_page *p, const caller *who, mr_http_answer *a) {
    if (!may_see(p, who, a)) return false;
    if (mr_guard_may_act(who->access, who->session, who->shown)) return true;
    mr_page_error(a, 403, "csrf", "the header X-CSRF-Token must have the session's secret");
    return false;
}

static bool is_own(const caller *who, mr_http_answer *a) {
    if (mr_guard_own_site(who->shown)) return true;
    mr_page_error(a, 403, "cross_site", "the request comes from another site");
    return false;
}

/* What only reads. */
static void answer_read(mr_page *p, mr_http_request *r, const mr_page_path *path, const caller *who,
                        mr_http_answer *a) {
    switch (path->ask) {
    case MR_ASK_OVERVIEW:
        mr_page_overview(p, a);
        break;
    case MR_ASK_HISTORY:
        mr_page_history(p, mr_page_number(mr_http_query(r, "since"), 0, INT64_MAX, 0), a);
        break;
    case MR_ASK_JOBS:
        mr_page_jobs(p, r, mr_page_number(mr_http_query(r, "limit"), 1, MR_PAGE_LIST, 50), a);
        break;
    case MR_ASK_JOB:
        mr_page_one_job(p, r, path->job_id, a);
        break;
    case MR_ASK_EVENTS:
        if (may_see(p, who, a)) mr_page_tail_open(p, r, path->job_id, a);
        break;
    case MR_ASK_DEAD:
        mr_page_dead(p, a);
        break;
    default:
        answer_session(p, who, a);
    }
}

static void answer_write(mr_page *p, mr_http_request *r, const mr_page_path *path, caller *who,
                         mr_http_answer *a) {
    if (!is_own(who, a)) return;
    if (path->ask == MR_ASK_LOGIN)
        log_in(p, r, who, a);
    else if (!may_act(p, who, a))
        return;
    else if (path->ask == MR_ASK_LOGOUT)
        log_out(p, who, a);
    else if (path->ask == MR_ASK_CANCEL)
        mr_page_cancel(p, r, path->job_id, a);
    else
        mr_page_replay(p, r, path->partition, path->offset, a);
}

static void answer_api(mr_page *p, mr_http_request *r, const mr_shown *shown, mr_http_answer *a) {
    const char *method = mr_http_method(r);
    const mr_page_path path = mr_page_path_of(method, mr_http_path(r) + strlen(MR_PAGE_API));
    caller who = {.shown = shown};

    if (mr_guard_is_try(shown) && !may_try(p, r, a)) return;
    who.access = mr_guard_access(&p->guard, shown, mr_clock_mono_ms(), &who.session);
    if (mr_guard_is_try(shown) && who.access != MR_ACCESS_TOKEN) note_failure(p, r);
    switch (path.ask) {
    case MR_ASK_UNKNOWN:
        mr_page_error(a, 404, "not_found", "there is no such path");
        break;
    case MR_ASK_WRONG_METHOD:
        mr_page_error(a, 405, "method", "this path is not used with this method");
        break;
    case MR_ASK_BAD_ID:
        mr_page_error(a, 400, "bad_id", "a job id is a UUID, a place is partition:offset");
        break;
    default:
        if (strcmp(method, "POST") == 0)
            answer_write(p, r, &path, &who, a);
        else
            answer_read(p, r, &path, &who, a);
    }
}

/* ---- files ---- */

static void answer_file(const mr_http_request *r, mr_http_answer *a) {
    const mr_page_file *f = mr_page_files;
    const char *method = mr_http_method(r);

    while (f->path && strcmp(f->path, mr_http_path(r)) != 0) f++;
    if (!f->path) {
        mr_page_error(a, 404, "not_found", "there is no such path");
        return;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        mr_page_error(a, 405, "method", "only GET and HEAD");
        return;
    }
    a->content_type = f->type;
    a->body = malloc(f->n);
    if (a->body)
        memcpy(a->body, f->bytes, a->len = f->n);
    else
        a->status = 500;
}

static void on_request(void *owner, mr_http_request *r, mr_http_answer *a) {
    mr_page *p = owner;
    const mr_shown shown = shown_by(r);

    mr_page_begin(a);
    a->fields[a->n_fields++] = (mr_http_field){"Content-Security-Policy", policy};
    a->fields[a->n_fields++] = (mr_http_field){"Referrer-Policy", "no-referrer"};
    if (!mr_guard_host_ok(&p->guard, shown.host))
        mr_page_error(a, 421, "host",
                      "the Host header must be an address, localhost or one of http_hosts");
    else if (strncmp(mr_http_path(r), MR_PAGE_API, strlen(MR_PAGE_API)) == 0)
        answer_api(p, r, &shown, a);
    else
        answer_file(r, a);
}

/* ---- what the dispatcher hears ---- */

void mr_page_heartbeat(mr_page *p, const mr_heartbeat *h) {
    if (p) mr_board_heartbeat(p->board, h, mr_clock_mono_ms());
}

void mr_page_beat(mr_page *p, const mr_beat *b) {
    if (p) mr_board_beat(p->board, b, mr_clock_mono_ms());
}

void mr_page_job(mr_page *p, const char *job_id, const char *model, const char *tenant,
                 const char *state, mr_roll_kind kind) {
    if (p) mr_roll_note(p->roll, job_id, model, tenant, state, kind);
}

static void on_timer(uv_timer_t *t) {
    mr_page *p = t->data;
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_board_tick(p->board, now_ms);
    mr_page_tail_tick(p, now_ms);
    mr_page_act_tick(p, now_ms);
}

/* ---- open, close ---- */

static void on_redis_state(void *owner, bool up, const char *why) {
    (void)why; /* the status view has told */
    if (up) mr_page_tail_redis_up(owner);
}

static mr_status open_redis(mr_page *p, mr_redis **out, const char *client_name, mr_err *err) {
    const mr_redis_conf rc = {.url = p->conf.redis_url,
                              .client_name = client_name,
                              .owner = p,
                              .on_state = on_redis_state,
                              .on_message = mr_page_tail_message};
    return mr_redis_open(out, p->loop, &rc, err);
}

/* What only those who have the token ask for. */
static mr_status open_for_token(mr_page *p, mr_err *err) {
    mr_status st = MR_OK;

    if (!p->subscriber) st = open_redis(p, &p->subscriber, "millrace-page-tail", err);
    if (st == MR_OK && !p->producer)
        st = mr_kafka_producer_open(&p->producer, p->loop, p->conf.kafka, mr_page_on_delivery, p,
                                    err);
    return st;
}

static mr_status count_dead_parts(mr_page *p, mr_err *err) {
    const mr_page_conf *c = &p->conf;
    const mr_status st =
        mr_kafka_partitions(c->kafka, c->names->dead, c->timeout_ms, &p->n_dead_parts, err);
    if (st == MR_ENOTFOUND) p->n_dead_parts = 0; /* then there are no dead letters */
    if (p->n_dead_parts > (int32_t)MR_COUNT(p->dead_read)) p->n_dead_parts = MR_COUNT(p->dead_read);
    return st == MR_ENOTFOUND ? MR_OK : st;
}

static void free_page(mr_page *p) {
    mr_letters_deinit(&p->letters);
    free(p->board);
    free(p->roll);
    free(p);
}

static void on_closed(uv_handle_t *h) {
    free_page(h->data);
}

mr_status mr_page_open(mr_page **out, uv_loop_t *loop, const mr_page_conf *conf, mr_err *err) {
    mr_page *p = calloc(1, sizeof *p);

    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "page: out of memory");
    p->loop = loop;
    p->conf = *conf;
    p->board = calloc(1, sizeof *p->board);
    p->roll = calloc(1, sizeof *p->roll);
    if (!p->board || !p->roll) {
        free_page(p);
        return mr_fail(err, MR_ENOMEM, "page: out of memory");
    }
    mr_guard_init(&p->guard, conf->token, conf->hosts);
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    mr_status st = open_redis(p, &p->redis, "millrace-page", err);
    if (st == MR_OK) st = count_dead_parts(p, err);
    if (st == MR_OK && p->guard.token[0]) st = open_for_token(p, err);
    if (st != MR_OK) {
        mr_page_close(p);
        return st;
    }
    uv_timer_start(&p->timer, on_timer, 0, TICK_MS);
    mr_http_others(conf->http, on_request, p);
    *out = p;
    return MR_OK;
}

mr_status mr_page_set_token(mr_page *p, const char *token, mr_err *err) {
    const mr_status st = p && token[0] ? open_for_token(p, err) : MR_OK;

    if (p && st == MR_OK && mr_guard_set_token(&p->guard, token)) mr_page_tail_end_all(p);
    return st;
}

void mr_page_close(mr_page *p) {
    if (!p) return;
    mr_page_act_close(p);
    mr_kafka_consumer_close(p->dead);
    mr_redis_close(p->redis); /* rounds end with it */
    mr_redis_close(p->subscriber);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}
