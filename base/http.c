/* http.c - libmicrohttpd without threads of its own, driven by the loop.
 *
 * The daemon multiplexes its sockets in an epoll instance; the loop polls that one descriptor and
 * calls MHD_run when something happens, and at the time that MHD_get_timeout names, so that idle
 * connections end. Handlers therefore run on the loop thread and need no lock.
 *
 * Limits: MAX_CONNECTIONS, IDLE_S, CONNECTION_BYTES for request line and headers. No request body
 * is read: only GET and HEAD are served. */
#include "base/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS  64u
#define CONNECTION_BYTES (16u * 1024) /* MHD divides it: about half for what it reads */
#define IDLE_S           10u
#define BACKLOG          64
#define MAX_HOST         256

struct mr_http {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    int n_open;
    int port;
    const mr_http_route *routes;
    void *owner;
    bool closing;
};

static enum MHD_Result answer(struct MHD_Connection *conn, int status, const char *type, char *body,
                              size_t len, enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *res = MHD_create_response_from_buffer(len, body, mode);
    if (!res) {
        if (mode == MHD_RESPMEM_MUST_FREE) free(body);
        return MHD_NO; /* closes the connection */
    }
    MHD_add_response_header(res, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(res, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    const enum MHD_Result ok = MHD_queue_response(conn, (unsigned)status, res);
    MHD_destroy_response(res);
    return ok;
}

static enum MHD_Result refuse(struct MHD_Connection *conn, int status, const char *text) {
    return answer(conn, status, "text/plain; charset=utf-8", (char *)(uintptr_t)text, strlen(text),
                  MHD_RESPMEM_PERSISTENT);
}

/* MHD calls twice per request: after the headers, and after the body; *state tells them apart. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **state) {
    mr_http *h = cls;
    (void)version;
    (void)upload;
    if (!*state) {
        *state = h;
        return MHD_YES;
    }
    if (*upload_len > 0) { /* not wanted, not kept */
        *upload_len = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");

    const mr_http_route *route = h->routes;
    while (route->path && strcmp(route->path, path) != 0) route++;
    if (!route->path) return refuse(conn, MHD_HTTP_NOT_FOUND, "not found\n");

    mr_http_answer a = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    route->handle(h->owner, &a);
    if (!a.body) return answer(conn, a.status, a.content_type, "", 0, MHD_RESPMEM_PERSISTENT);
    return answer(conn, a.status, a.content_type, a.body, a.len, MHD_RESPMEM_MUST_FREE);
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

/* ---- opening and closing ---- */

static mr_status split_listen(const char *text, char host[MAX_HOST], const char **port,
                              mr_err *err) {
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    /* getaddrinfo would take any number and keep its lower 16 bits. */
    const long number =
        colon && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
    if (number < 0 || number > 65535 || *end)
        return mr_fail(err, MR_EINVAL, "listen address \"%s\": host:port expected, port 0..65535",
                       text);
    size_t n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') { /* IPv6 */
        text++;
        n -= 2;
    }
    if (n >= MAX_HOST)
        return mr_fail(err, MR_EINVAL, "listen address: the host has %zu bytes, limit %d", n,
                       MAX_HOST - 1);
    memcpy(host, text, n);
    host[n] = 0;
    *port = colon + 1;
    return MR_OK;
}

static int port_of(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.v6 = {0}};
    socklen_t len = sizeof a;
    if (getsockname(fd, &a.any, &len)) return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

static int try_listen(const struct addrinfo *a) {
    const int on = 1;
    const int fd =
        socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* restart without waiting */
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    const int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static mr_status listen_on(const char *text, int *fd, mr_err *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[MAX_HOST] = "";
    const char *port = NULL;

    const mr_status st = split_listen(text, host, &port, err);
    if (st != MR_OK) return st;
    const int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc) return mr_fail(err, MR_EINVAL, "listen address \"%s\": %s", text, gai_strerror(rc));
    *fd = -1;
    for (const struct addrinfo *a = found; a && *fd < 0; a = a->ai_next) *fd = try_listen(a);
    const int why = errno;
    freeaddrinfo(found);
    if (*fd >= 0) return MR_OK;
    return mr_fail(err, MR_EUNAVAIL, "listen address \"%s\": %s", text, strerror(why));
}

static void on_closed(uv_handle_t *handle) {
    mr_http *h = handle->data;
    if (--h->n_open > 0) return;
    MHD_stop_daemon(h->daemon); /* after uv has let go of the epoll descriptor */
    free(h);
}

void mr_http_close(mr_http *h) {
    if (!h || h->closing) return;
    h->closing = true;
    uv_close((uv_handle_t *)&h->poll, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
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
    if ((st = listen_on(listen, &fd, err)) != MR_OK) goto fail;
    h->port = port_of(fd);
    h->daemon =
        MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h, /* port: of the socket */
                         MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
                         MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)CONNECTION_BYTES, MHD_OPTION_END);
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
