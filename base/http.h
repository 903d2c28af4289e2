/* http.h - a small read-only HTTP server for /livez, /readyz, /metrics: libmicrohttpd on the loop.
 *
 * Serves GET and HEAD on one port; handlers run on the loop thread and build their answer in one
 * buffer. Bounds: 64 connections, 8 KiB of headers, 10 s idle. */
#ifndef MR_BASE_HTTP_H
#define MR_BASE_HTTP_H

#include <stddef.h>
#include <uv.h>

#include "millrace/error.h"

typedef struct mr_http mr_http;
typedef struct mr_http_answer {
    int status;               /* 200 */
    const char *content_type; /* static string */
    char *body;               /* malloc'd by the handler; the server frees it */
    size_t len;
} mr_http_answer;
typedef struct mr_http_route {
    const char *path; /* exact match */
    void (*handle)(void *owner, mr_http_answer *answer);
} mr_http_route;

/* listen: "host:port", port 0 picks a free one. routes: terminated by path NULL; borrowed. */
mr_status mr_http_open(mr_http **out, uv_loop_t *loop, const char *listen,
                       const mr_http_route *routes, void *owner, mr_err *err);
int mr_http_port(const mr_http *h);
void mr_http_close(mr_http *h);

#endif
