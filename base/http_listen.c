/* http_listen.c - "host:port" as a listening socket. */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/http_internal.h"

#define BACKLOG  64
#define MAX_HOST 256

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

int mr_http_port_of(int fd) {
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

mr_status mr_http_listen(const char *text, int *fd, mr_err *err) {
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
