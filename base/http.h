/* http.h - a small HTTP server on the loop: libmicrohttpd without threads of its own.
 *
 * Routes are exact paths that are read with GET or HEAD, and answer from one buffer: /livez,
 * /readyz, /metrics. What no route has goes to one other handler, if there is one: it sees method,
 * query, headers and body, and may answer later or with a stream. All handlers run on the loop
 * thread. Bounds: 64 connections, of which 32 are held; 8 KiB of headers, MR_HTTP_MAX_BODY of body,
 * 10 s without progress, MR_HTTP_STREAM_BYTES that a stream's reader is behind. */
#ifndef MR_BASE_HTTP_H
#define MR_BASE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "millrace/error.h"

#define MR_HTTP_MAX_BODY     4096
#define MR_HTTP_MAX_FIELDS   8
#define MR_HTTP_STREAM_BYTES (64u << 10)

typedef struct mr_http mr_http;
typedef struct mr_http_request mr_http_request;

typedef struct mr_http_field {
    const char *name, *value; /* borrowed until the handler, or mr_http_reply, returns */
} mr_http_field;

typedef struct mr_http_answer {
    int status;               /* 200 */
    const char *content_type; /* static string */
    char *body;               /* malloc'd by the handler; the server frees it */
    size_t len;
    mr_http_field fields[MR_HTTP_MAX_FIELDS]; /* more headers, [n_fields] */
    size_t n_fields;
} mr_http_answer;
typedef struct mr_http_route {
    const char *path; /* exact match */
    void (*handle)(void *owner, mr_http_answer *answer);
} mr_http_route;

/* listen: "host:port", port 0 picks a free one. routes: terminated by path NULL; borrowed. */
mr_status mr_http_open(mr_http **out, uv_loop_t *loop, const char *listen,
                       const mr_http_route *routes, void *owner, mr_err *err);
int mr_http_port(const mr_http *h);
/* Who holds a request hears of its end before this returns. NULL is allowed. */
void mr_http_close(mr_http *h);

/* ---- all other requests ---- */

/* r is borrowed until the handler returns, unless it is held. */
typedef void mr_http_handler(void *owner, mr_http_request *r, mr_http_answer *answer);
/* What no route has, from now on; handler NULL: nobody, 404. */
void mr_http_others(mr_http *h, mr_http_handler *handler, void *owner);

const char *mr_http_method(const mr_http_request *r);
const char *mr_http_path(const mr_http_request *r); /* decoded, without the query */
const char *mr_http_header(const mr_http_request *r, const char *name); /* NULL: absent */
const char *mr_http_query(const mr_http_request *r, const char *name);  /* NULL: absent */
const char *mr_http_body(const mr_http_request *r, size_t *n);          /* terminated */
/* The address of the other side, IPv4 as ::ffff:a.b.c.d; all zero: not known. */
void mr_http_peer(const mr_http_request *r, unsigned char address[16]);

/* ---- held requests: the answer comes later, or is a stream ---- */

typedef struct mr_http_holder {
    void *arg;
    /* The client or the server has gone; r must not be used any more. A client that leaves while
     * nothing is sent to it is noticed with the next bytes. */
    void (*on_gone)(void *arg);
    void (*on_drained)(void *arg); /* a stream's reader has everything; NULL allowed */
} mr_http_holder;

/* Inside the handler, whose answer does not count then. False: too many are held. Ends with one of
 * reply, end and on_gone. */
bool mr_http_hold(mr_http_request *r, const mr_http_holder *holder);
/* The answer of a held request; takes over its body. */
void mr_http_reply(mr_http_request *r, mr_http_answer *answer);
/* A held request is answered with a stream: status and headers of answer, no body. */
void mr_http_stream(mr_http_request *r, const mr_http_answer *answer);
/* MR_ELIMIT: the reader is too far behind, nothing was taken. MR_ENOMEM: the same. */
mr_status mr_http_send(mr_http_request *r, const void *bytes, size_t n);
size_t mr_http_behind(const mr_http_request *r); /* bytes that the reader has not got yet */
void mr_http_end(mr_http_request *r);            /* of a stream, when what was sent has been read */

#endif
