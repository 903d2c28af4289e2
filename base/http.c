/* http.c - libmicrohttpd without threads of its own, driven by the loop.
 *
 * The daemon multiplexes its sockets in an epoll instance; the loop polls that one descriptor and
 * calls MHD_run when something happens, and at the time that MHD_get_timeout names, so that idle
 * connections end. Handlers therefore run on the loop thread and need no lock.
 *
 * Limits: MAX_CONNECTIONS, IDLE_S, CONNECTION_BYTES for request line and headers, MR_HTTP_MAX_BODY.
 * A body that is larger is read to its end and not kept, up to MAX_WASTE; then the connection is
 * cut. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/http_internal.h"

#define MAX_CONNECTIONS  64u
#define CONNECTION_BYTES (16u * 1024) /* MHD divides it: about half for what it reads */
#define IDLE_S           10u
#define BLOCK_BYTES      4096 /* of a stream, at one time */
#define MAX_WASTE        (64u * 1024)

static const char plain[] = "text/plain; charset=utf-8";

/* ---- answers ---- */

static struct MHD_Response *response_of(mr_http_answer *a, MHD_ContentReaderCallback read,
                                        void *cls) {
    if (read)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read, cls, NULL);
    if (!a->body) return MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *res =
        MHD_create_response_from_buffer(a->len, a->body, MHD_RESPMEM_MUST_FREE);
    if (!res) free(a->body);
    a->body = NULL;
    return res;
}

struct MHD_Response *mr_http_make_answer(mr_http_answer *a, MHD_ContentReaderCallback read,
                                         void *cls) {
    struct MHD_Response *res = response_of(a, read, cls);
    if (!res) return NULL;
    MHD_add_response_header(res, MHD_HTTP_HEADER_CONTENT_TYPE, a->content_type);
    for (size_t i = 0; i < a->n_fields; i++)
        MHD_add_response_header(res, a->fields[i].name, a->fields[i].value);
    return res;
}

static void make_ready(mr_http_request *r, mr_http_answer *a) {
    r->status = a->status;
    r->answer = mr_http_make_answer(a, NULL, NULL);
    r->phase = MR_HTTP_READY;
}

static void refuse(mr_http_request *r, int status, const char *text) {
    mr_http_answer a = {.status = status, .content_type = plain, .body = strdup(text)};
    a.len = a.body ? strlen(text) : 0;
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        a.fields[a.n_fields++] = (mr_http_field){MHD_HTTP_HEADER_ALLOW, "GET, HEAD"};
    make_ready(r, &a);
}

/* ---- requests ---- */

const char *mr_http_method(const mr_http_request *r) {
    return r->method;
}

const char *mr_http_path(const mr_http_request *r) {
    return r->path;
}

const char *mr_http_header(const mr_http_request *r, const char *name) {
    return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

void mr_http_peer(const mr_http_request *r, unsigned char address[16]) {
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info ? info->client_addr : NULL;

    memset(address, 0, 16);
    if (sa && sa->sa_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    } else if (sa && sa->sa_family == AF_INET) {
        memcpy(address, mapped, sizeof mapped);
        memcpy(address + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    }
}

const char *mr_http_query(const mr_http_request *r, const char *name) {
    return MHD_lookup_connection_value(r->conn, MHD_GET_ARGUMENT_KIND, name);
}

const char *mr_http_body(const mr_http_request *r, size_t *n) {
    *n = r->n_body;
    return r->body;
}

static const mr_http_route *route_of(const mr_http *h, const char *path) {
    const mr_http_route *route = h->routes;
    while (route->path && strcmp(route->path, path) != 0) route++;
    return route->path ? route : NULL;
}

static void handle(mr_http_request *r) {
    const mr_http *h = r->h;
    const mr_http_route *route = route_of(h, r->path);
    const bool reads = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    mr_http_answer a = {.status = 200, .content_type = plain};

    if (!reads && (route || !h->others)) {
        refuse(r, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    } else if (r->n_body > MR_HTTP_MAX_BODY) {
        refuse(r, MHD_HTTP_CONTENT_TOO_LARGE, "the body has more than 4096 bytes\n");
    } else if (route) {
        route->handle(h->owner, &a);
        make_ready(r, &a);
    } else if (h->others) {
        h->others(h->others_owner, r, &a);
        if (r->phase == MR_HTTP_READING) make_ready(r, &a);
    } else {
        refuse(r, MHD_HTTP_NOT_FOUND, "not found\n");
    }
}

/* False: enough is enough. */
static bool take_body(mr_http_request *r, const char *bytes, size_t n) {
    if (n > MAX_WASTE - r->n_body) return false;
    if (r->n_body + n <= MR_HTTP_MAX_BODY) memcpy(r->body + r->n_body, bytes, n);
    r->n_body += n;
    return true;
}

static enum MHD_Result queue_answer(mr_http_request *r) {
    struct MHD_Response *res = r->answer;
    r->phase = MR_HTTP_QUEUED;
    r->answer = NULL;
    if (!res) return MHD_NO; /* closes the connection */
    const enum MHD_Result ok = MHD_queue_response(r->conn, (unsigned)r->status, res);
    MHD_destroy_response(res);
    return ok;
}

/* MHD calls after the headers, with each piece of the body, after the body, and after a resume. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **state) {
    mr_http_request *r = *state;
    (void)version;
    if (!r) {
        if (!(*state = r = calloc(1, sizeof *r))) return MHD_NO;
        r->h = cls;
        r->conn = conn;
        r->path = path;
        r->method = method;
        return MHD_YES;
    }
    if (*upload_len > 0) {
        const bool ok = take_body(r, upload, *upload_len);
        *upload_len = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    if (r->phase == MR_HTTP_READING) handle(r);
    if (r->phase != MR_HTTP_HELD) return queue_answer(r);
    mr_http_suspend(r);
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state,
                         enum MHD_RequestTerminationCode why) {
    mr_http_request *r = *state;
    (void)cls;
    (void)conn;
    (void)why;
    if (!r) return;
    mr_http_forsake(r);
    mr_http_free(r);
    *state = NULL;
}

/* ---- the loop's side ---- */

static void on_timer(uv_timer_t *t);

static void run(mr_http *h) {
    MHD_UNSIGNED_LONG_LONG ms = 0;
    MHD_run(h->daemon);
    if (h->closing) return; /* a handler closed the server */
    if (MHD_get_timeout(h->daemon, &ms) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, ms, 0);
    else
        uv_timer_stop(&h->timer);
}

static void on_timer(uv_timer_t *t) {
    run(t->data);
}

static void on_poll(uv_poll_t *p, int status, int events) {
    (void)status;
    (void)events;
    run(p->data);
}

void mr_http_kick(mr_http *h) {
    if (!h->closing) uv_timer_start(&h->timer, on_timer, 0, 0);
}

/* ---- opening and closing ---- */

static void on_closed(uv_handle_t *handle) {
    mr_http *h = handle->data;
    if (--h->n_open > 0) return;
    MHD_stop_daemon(h->daemon); /* after uv has let go of the epoll descriptor */
    free(h);
}

void mr_http_close(mr_http *h) {
    if (!h || h->closing) return;
    h->closing = true;
    h->others = NULL;
    while (h->held) {
        mr_http_request *r = h->held;
        mr_http_forsake(r);
        mr_http_resume(r); /* the daemon does not stop with suspended ones */
    }
    uv_close((uv_handle_t *)&h->poll, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
}

void mr_http_others(mr_http *h, mr_http_handler *handler, void *owner) {
    h->others = handler;
    h->others_owner = owner;
}

int mr_http_port(const mr_http *h) {
    return h->port;
}

mr_status mr_http_open(mr_http **out, uv_loop_t *loop, const char *listen,
                       const mr_http_route *routes, void *owner, mr_err *err) {
    int fd = -1;
    mr_status st = MR_OK;
    mr_http *h = calloc(1, sizeof *h);

    *out = NULL;
    if (!h) return mr_fail(err, MR_ENOMEM, "http: no memory");
    h->routes = routes;
    h->owner = owner;
    if ((st = mr_http_listen(listen, &fd, err)) != MR_OK) goto fail;
    h->port = mr_http_port_of(fd);
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h, /* port: of fd */
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
    if (!h->daemon) {
        st = mr_fail(err, MR_EUNAVAIL, "http %s: the server does not start", listen);
        goto fail;
    }
    fd = -1; /* the daemon's now */
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    const int rc = info ? uv_poll_init(loop, &h->poll, info->epoll_fd) : UV_EINVAL;
    if (rc) {
        st = mr_fail(err, MR_EUNAVAIL, "http %s: %s", listen, uv_strerror(rc));
        goto fail;
    }
    uv_timer_init(loop, &h->timer);
    h->poll.data = h->timer.data = h;
    h->n_open = 2;
    uv_poll_start(&h->poll, UV_READABLE, on_poll);
    *out = h;
    return MR_OK;
fail:
    if (h->daemon) MHD_stop_daemon(h->daemon);
    if (fd >= 0) close(fd);
    free(h);
    return st;
}
