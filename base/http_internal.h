/* http_internal.h - what the files http*.c share; nobody else includes it.
 *
 *   http.c         the daemon on the loop; routes, handlers, answers
 *   http_held.c    requests that are answered later, streams
 *   http_listen.c  the socket */
#ifndef MR_BASE_HTTP_INTERNAL_H
#define MR_BASE_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "base/http.h"

#define MR_HTTP_MAX_HELD 32

typedef enum mr_http_phase {
    MR_HTTP_READING, /* its body */
    MR_HTTP_HELD,    /* suspended, until somebody answers */
    MR_HTTP_READY,   /* answer is there */
    MR_HTTP_STREAM,  /* the same, and bytes follow */
    MR_HTTP_QUEUED   /* libmicrohttpd has it */
} mr_http_phase;

struct mr_http_request {
    mr_http *h;
    struct MHD_Connection *conn;
    const char *method, *path; /* the connection's */
    char body[MR_HTTP_MAX_BODY + 1];
    size_t n_body; /* also of what was too much and not kept */
    mr_http_phase phase;
    struct MHD_Response *answer; /* READY, STREAM; NULL: no memory */
    int status;
    bool suspended;

    bool held; /* somebody waits for its end: in the list of the server */
    mr_http_holder holder;
    mr_http_request *prev, *next;
    char *bytes; /* [n] of cap, from first on: what the reader has not got */
    size_t first, n, cap;
    bool ended;
};

struct mr_http {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    int n_open;
    int port;
    const mr_http_route *routes;
    void *owner;
    mr_http_handler *others;
    void *others_owner;
    mr_http_request *held; /* list, [n_held] */
    size_t n_held;
    bool closing;
};

/* ---- http.c ---- */

/* Status, type and fields; a body is taken over. NULL: no memory. size MHD_SIZE_UNKNOWN: a stream,
 * whose bytes read gives. */
struct MHD_Response *mr_http_make_answer(mr_http_answer *a, MHD_ContentReaderCallback read,
                                         void *cls);
/* Something was resumed: let the daemon run in the next turn. */
void mr_http_kick(mr_http *h);

/* ---- http_held.c ---- */

void mr_http_suspend(mr_http_request *r);
void mr_http_resume(mr_http_request *r); /* if it is suspended */
/* Its holder hears of the end. */
void mr_http_forsake(mr_http_request *r);
void mr_http_free(mr_http_request *r);

/* ---- http_listen.c ---- */

mr_status mr_http_listen(const char *text, int *fd, mr_err *err);
int mr_http_port_of(int fd);

#endif
