/* fetch.c - see fetch.h.
 *
 * libcurl says which sockets it waits for and until when; uv polls the sockets and runs the timer,
 * and both lead back to curl_multi_socket_action. What has ended is collected after each such turn,
 * outside of libcurl, so callers may send, cancel and close inside done. The list of calls is ours:
 * a call leaves it before its owner hears of it.
 *
 * A pin is held twice: libcurl is told what the name resolves to, for all addresses of one host at
 * once, and every socket is checked against the pin when it is opened. So another call's pin for
 * the same name, which libcurl keeps in one table for all, can make a call fail but never lead it
 * elsewhere. */
#include "base/fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_LINE 1024 /* bytes of a header line that is sent */

struct mr_fetch_call {
    mr_fetch_call *next, *prev;
    mr_fetch *f;
    void *arg;
    CURL *easy;
    struct curl_slist *headers, *resolve;
    char pin[MR_FETCH_MAX_PIN][MR_FETCH_ADDRESS];
    size_t n_pin;
    const char *refused; /* what we did not let through; NULL: nothing */
    size_t head;         /* bytes of headers so far */
    char why[CURL_ERROR_SIZE];
    char *body; /* [len], terminated; room for max_answer */
    size_t len, max_answer;
    bool cut;
};

struct mr_fetch {
    uv_loop_t *loop;
    uv_timer_t timer;
    CURLM *multi;
    mr_fetch_done *done;
    void *owner;
    mr_fetch_call *calls;
    size_t n_calls;
    uint32_t max_calls;
    char *user_agent, *ca_file;
    bool closing;
};

typedef struct watch { /* one socket that libcurl waits for */
    uv_poll_t poll;
    mr_fetch *f;
    curl_socket_t fd;
} watch;

/* ---- calls ---- */

static void free_call(mr_fetch_call *c) {
    mr_fetch *f = c->f;
    if (c->prev)
        c->prev->next = c->next;
    else
        f->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    f->n_calls--;
    curl_easy_cleanup(c->easy); /* NULL is allowed */
    curl_slist_free_all(c->headers);
    curl_slist_free_all(c->resolve);
    free(c->body);
    free(c);
}

static mr_fetch_call *make_call(mr_fetch *f, const mr_fetch_request *r, void *arg) {
    mr_fetch_call *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->f = f;
    c->arg = arg;
    c->max_answer = r->max_answer;
    c->next = f->calls;
    if (c->next) c->next->prev = c;
    f->calls = c;
    f->n_calls++;
    return c;
}

/* The caller hears of it last: what it does then finds the call gone. */
static void finish(mr_fetch_call *c, mr_fetch_answer *a) {
    mr_fetch *f = c->f;
    void *arg = c->arg;
    char *body = c->body, why[sizeof c->why + 64];

    snprintf(why, sizeof why, "%s", a->why);
    a->why = why;
    a->body = body ? body : "";
    a->len = c->len;
    a->cut = c->cut;
    c->body = NULL;
    free_call(c);
    f->done(f->owner, arg, a);
    free(body);
}

static mr_status status_of(CURLcode rc) {
    return rc == CURLE_OK ? MR_OK : rc == CURLE_OPERATION_TIMEDOUT ? MR_ETIMEOUT : MR_EUNAVAIL;
}

static void ended(mr_fetch_call *c, CURLcode rc) {
    const bool whole = rc == CURLE_OK || (rc == CURLE_WRITE_ERROR && c->cut);
    mr_fetch_answer a = {.status = whole ? MR_OK : status_of(rc), .why = ""};
    curl_off_t after = 0;
    char *address = NULL;
    long code = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &after);
    curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_IP, &address);
    a.code = (int)code;
    a.retry_after_s = after > 0 ? (uint64_t)after : 0;
    if (address) snprintf(a.address, sizeof a.address, "%s", address);
    if (!whole) a.why = c->refused ? c->refused : (c->why[0] ? c->why : curl_easy_strerror(rc));
    curl_multi_remove_handle(c->f->multi, c->easy);
    finish(c, &a);
}

static void collect(mr_fetch *f) {
    CURLMsg *m;
    int left;

    while (!f->closing && (m = curl_multi_info_read(f->multi, &left)) != NULL) {
        mr_fetch_call *c = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        ended(c, m->data.result);
    }
}

/* ---- between libcurl and the loop ---- */

static void act(mr_fetch *f, curl_socket_t fd, int events) {
    int running;
    curl_multi_socket_action(f->multi, fd, events, &running);
    collect(f);
}

static void on_timer(uv_timer_t *t) {
    act(t->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timeout_set(CURLM *multi, long ms, void *owner) {
    mr_fetch *f = owner;
    (void)multi;
    if (f->closing || ms < 0)
        uv_timer_stop(&f->timer);
    else
        uv_timer_start(&f->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

/* An error (a connection that was reset or refused) is found by libcurl when it reads or writes;
 * told of one it would not try again where a kept connection was given up by the other side. */
static void on_poll(uv_poll_t *p, int status, int events) {
    const watch *w = p->data;
    int what = 0;
    if (status < 0) what = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    if (events & UV_READABLE) what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE) what |= CURL_CSELECT_OUT;
    act(w->f, w->fd, what);
}

static void on_watch_closed(uv_handle_t *h) {
    free(h->data);
}

static watch *watch_of(mr_fetch *f, curl_socket_t fd) {
    watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->f = f;
    w->fd = fd;
    w->poll.data = w;
    if (uv_poll_init_socket(f->loop, &w->poll, fd)) {
        free(w);
        return NULL;
    }
    curl_multi_assign(f->multi, fd, w);
    return w;
}

/* Without a watch the call runs into its time-out. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *known) {
    mr_fetch *f = owner;
    watch *w = known;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            curl_multi_assign(f->multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        }
        return 0;
    }
    if (!w && !(w = watch_of(f, fd))) return 0;
    uv_poll_start(&w->poll,
                  (what & CURL_POLL_IN ? UV_READABLE : 0) |
                      (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
                  on_poll);
    return 0;
}

/* ---- what a call lets through ---- */

static size_t on_body(char *bytes, size_t size, size_t n, void *owner) {
    mr_fetch_call *c = owner;
    const size_t more = size * n, room = c->max_answer - c->len, kept = more < room ? more : room;

    memcpy(c->body + c->len, bytes, kept);
    c->len += kept;
    c->body[c->len] = 0;
    c->cut = c->cut || kept < more;
    return kept; /* fewer than came: libcurl ends the transfer */
}

static size_t on_head(char *bytes, size_t size, size_t n, void *owner) {
    mr_fetch_call *c = owner;

    (void)bytes;
    c->head += size * n;
    if (c->head <= MR_FETCH_MAX_HEAD) return size * n;
    c->refused = "the answer has too many headers";
    return 0;
}

static bool is_pinned(const mr_fetch_call *c, const struct sockaddr *to) {
    const bool v6 = to->sa_family == AF_INET6;
    const void *bytes =
        v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)to)->sin6_addr
           : (const void *)&((const struct sockaddr_in *)(const void *)to)->sin_addr;
    char text[MR_FETCH_ADDRESS];

    if ((!v6 && to->sa_family != AF_INET) || !inet_ntop(to->sa_family, bytes, text, sizeof text))
        return false;
    for (size_t i = 0; i < c->n_pin; i++)
        if (strcmp(c->pin[i], text) == 0) return true;
    return false;
}

static curl_socket_t on_open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *to) {
    mr_fetch_call *c = owner;
    (void)purpose;
    if (c->n_pin && !is_pinned(c, &to->addr)) {
        c->refused = "the address is not one that was checked";
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* ---- making a request ---- */

static mr_status add_line(struct curl_slist **list, const char *line) {
    struct curl_slist *more = curl_slist_append(*list, line);
    if (!more) return MR_ENOMEM;
    *list = more;
    return MR_OK;
}

static bool is_line(const char *text) {
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

static mr_status set_headers(mr_fetch_call *c, const mr_fetch_request *r, mr_err *err) {
    char line[MAX_LINE];
    mr_status st = add_line(&c->headers, "Expect:"); /* libcurl's own: costs a round trip */

    if (r->n_headers > MR_FETCH_MAX_HEADERS)
        return mr_fail(err, MR_EINVAL, "fetch: %zu headers, limit %d", r->n_headers,
                       MR_FETCH_MAX_HEADERS);
    for (size_t i = 0; i < r->n_headers && st == MR_OK; i++) {
        const mr_fetch_header *h = &r->headers[i];
        const int n = snprintf(line, sizeof line, "%s: %s", h->name, h->value);
        if (n < 0 || n >= MAX_LINE || !is_line(line))
            return mr_fail(err, MR_EINVAL,
                           "fetch: header %.64s is not one line of at most %d bytes", h->name,
                           MAX_LINE - 1);
        st = add_line(&c->headers, line);
    }
    if (st == MR_OK) return MR_OK;
    return mr_fail(err, st, "fetch: out of memory");
}

/* "+host:port:" as libcurl reads them, since it looks them up in its table. The plus: until its
 * time there is over, else the table would keep every name that was ever called. */
static mr_status host_of(const char *url, char *out, size_t cap, mr_err *err) {
    CURLU *u = curl_url();
    char *host = NULL, *port = NULL;
    mr_status st = MR_OK;

    if (!u) return mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        (size_t)snprintf(out, cap, "+%s:%s:", host, port) >= cap)
        st = mr_fail(err, MR_EINVAL, "fetch: the URL has no host that can be pinned");
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return st;
}

static mr_status set_pin(mr_fetch_call *c, const mr_fetch_request *r, mr_err *err) {
    char line[300 + MR_FETCH_MAX_PIN * (MR_FETCH_ADDRESS + 3)];
    struct in6_addr bytes;

    if (r->n_pin > MR_FETCH_MAX_PIN)
        return mr_fail(err, MR_EINVAL, "fetch: pin has %zu addresses, limit %d", r->n_pin,
                       MR_FETCH_MAX_PIN);
    if (!r->n_pin) return MR_OK;
    const mr_status st = host_of(r->url, line, 300, err);
    if (st != MR_OK) return st;
    for (size_t i = 0; i < r->n_pin; i++) {
        const int family = strchr(r->pin[i], ':') ? AF_INET6 : AF_INET;
        const size_t at = strlen(line);
        if (inet_pton(family, r->pin[i], &bytes) != 1)
            return mr_fail(err, MR_EINVAL, "fetch: pin \"%.60s\" is no address", r->pin[i]);
        inet_ntop(family, &bytes, c->pin[i], MR_FETCH_ADDRESS); /* as on_open_socket writes it */
        snprintf(line + at, sizeof line - at, family == AF_INET6 ? "%s[%s]" : "%s%s", i ? "," : "",
                 c->pin[i]);
    }
    c->n_pin = r->n_pin;
    if (line[1] == '[') return MR_OK; /* an address in brackets is never looked up */
    if (add_line(&c->resolve, line) != MR_OK)
        return mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    return MR_OK;
}

/* What never depends on the request. */
static void set_manners(const mr_fetch *f, mr_fetch_call *c) {
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->why);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* not the environment's either */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_USERAGENT, f->user_agent);
    if (f->ca_file) curl_easy_setopt(e, CURLOPT_CAINFO, f->ca_file);
}

static mr_status set_request(mr_fetch_call *c, const mr_fetch_request *r, mr_err *err) {
    CURL *e = c->easy;
    mr_status st = set_headers(c, r, err);
    if (st == MR_OK) st = set_pin(c, r, err);
    if (st != MR_OK) return st;
    set_manners(c->f, c);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    if (c->resolve) curl_easy_setopt(e, CURLOPT_RESOLVE, c->resolve);
    curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, (long)(r->timeout_ms / 1000 + 1));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(r->connect_ms ? r->connect_ms : r->timeout_ms));
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, r->url);
    if (rc == CURLE_OK) rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
    if (rc == CURLE_OK && r->body) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
        rc = curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, r->body);
    }
    return rc == CURLE_OK ? MR_OK : mr_fail(err, MR_ENOMEM, "fetch: out of memory");
}

static mr_status check(const mr_fetch *f, const mr_fetch_request *r, mr_err *err) {
    if (f->closing) return mr_fail(err, MR_ECANCELED, "fetch: the client is closed");
    if (f->n_calls >= f->max_calls)
        return mr_fail(err, MR_ELIMIT, "fetch: %zu calls in flight, limit %u", f->n_calls,
                       (unsigned)f->max_calls);
    if (strlen(r->url) >= MR_FETCH_MAX_URL || !is_line(r->url))
        return mr_fail(err, MR_EINVAL, "fetch: the URL is not one line of at most %d bytes",
                       MR_FETCH_MAX_URL - 1);
    if (r->max_answer > MR_FETCH_MAX_ANSWER)
        return mr_fail(err, MR_EINVAL, "fetch: max_answer is %zu, limit %u", r->max_answer,
                       MR_FETCH_MAX_ANSWER);
    if (!r->timeout_ms) return mr_fail(err, MR_EINVAL, "fetch: timeout_ms is 0");
    return MR_OK;
}

mr_status mr_fetch_send(mr_fetch *f, const mr_fetch_request *r, void *arg, mr_fetch_call **call,
                        mr_err *err) {
    mr_status st = check(f, r, err);
    if (call) *call = NULL;
    if (st != MR_OK) return st;
    mr_fetch_call *c = make_call(f, r, arg);
    if (!c) return mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    c->body = malloc(r->max_answer + 1);
    c->easy = curl_easy_init();
    if (!c->body || !c->easy)
        st = mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    else
        st = set_request(c, r, err);
    if (st == MR_OK) {
        c->body[0] = 0;
        if (curl_multi_add_handle(f->multi, c->easy) != CURLM_OK)
            st = mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    }
    if (st == MR_OK && call) *call = c;
    if (st != MR_OK) free_call(c);
    return st;
}

void mr_fetch_cancel(mr_fetch *f, mr_fetch_call *call) {
    curl_multi_remove_handle(f->multi, call->easy);
    free_call(call);
}

size_t mr_fetch_in_flight(const mr_fetch *f) {
    return f->n_calls;
}

/* ---- opening and closing ---- */

static void free_fetch(mr_fetch *f) {
    if (f->multi) curl_multi_cleanup(f->multi);
    curl_global_cleanup();
    free(f->user_agent);
    free(f->ca_file);
    free(f);
}

mr_status mr_fetch_open(mr_fetch **out, uv_loop_t *loop, const mr_fetch_conf *conf,
                        mr_fetch_done *done, void *owner, mr_err *err) {
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return mr_fail(err, MR_EINTERNAL, "fetch: libcurl does not start");
    mr_fetch *f = calloc(1, sizeof *f);
    if (!f) {
        curl_global_cleanup();
        return mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    }
    f->loop = loop;
    f->done = done;
    f->owner = owner;
    f->max_calls = conf->max_calls;
    f->multi = curl_multi_init();
    if (conf->user_agent) f->user_agent = strdup(conf->user_agent);
    if (conf->ca_file && conf->ca_file[0]) f->ca_file = strdup(conf->ca_file);
    if (!f->multi || (conf->user_agent && !f->user_agent) ||
        (conf->ca_file && conf->ca_file[0] && !f->ca_file)) {
        free_fetch(f);
        return mr_fail(err, MR_ENOMEM, "fetch: out of memory");
    }
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)conf->max_per_host);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)conf->max_calls);
    uv_timer_init(loop, &f->timer);
    f->timer.data = f;
    *out = f;
    return MR_OK;
}

static void on_closed(uv_handle_t *h) {
    free_fetch(h->data);
}

/* Idle connections are closed with the table of libcurl, after the last turn of ours. */
void mr_fetch_close(mr_fetch *f) {
    if (!f || f->closing) return;
    f->closing = true;
    while (f->calls) {
        mr_fetch_call *c = f->calls;
        mr_fetch_answer a = {.status = MR_ECANCELED, .why = "the client is closed"};
        curl_multi_remove_handle(f->multi, c->easy);
        finish(c, &a);
    }
    uv_close((uv_handle_t *)&f->timer, on_closed);
}
