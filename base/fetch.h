/* fetch.h - an HTTP client on the loop: libcurl's multi interface, many calls in flight.
 *
 * A call is one request: no redirect is followed, no proxy, password file or cookie of the
 * environment is used, what the answer's body has beyond max_answer is not read, and headers of
 * more than MR_FETCH_MAX_HEAD bytes are no answer. With a pin the connection goes to one of the
 * given addresses or to none, whatever the name resolves to; the certificate is still checked
 * against the name of the URL. Connections are kept and used again.
 *
 * Owner: caller, open to close. Thread: loop. Bounds: max_calls, max_per_host connections per
 * host, MR_FETCH_MAX_HEADERS, MR_FETCH_MAX_PIN, MR_FETCH_MAX_ANSWER. */
#ifndef MR_BASE_FETCH_H
#define MR_BASE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "millrace/error.h"

#define MR_FETCH_MAX_URL     4096
#define MR_FETCH_MAX_HEADERS 32
#define MR_FETCH_MAX_PIN     8
#define MR_FETCH_MAX_ANSWER  (1u << 20) /* bytes of a body that a caller may ask for */
#define MR_FETCH_MAX_HEAD    (64u << 10) /* bytes of an answer's headers */
#define MR_FETCH_ADDRESS     46         /* text of an address, and its end */

typedef struct mr_fetch mr_fetch;
typedef struct mr_fetch_call mr_fetch_call;

typedef struct mr_fetch_conf { /* texts are copied */
    const char *user_agent;    /* NULL: none is sent */
    const char *ca_file;   /* certificates to trust instead of the system's; NULL or "": those */
    uint32_t max_calls;    /* in flight; more: MR_ELIMIT */
    uint32_t max_per_host; /* connections; calls beyond that wait, and their time runs. 0: any */
} mr_fetch_conf;

typedef struct mr_fetch_header {
    const char *name, *value;
} mr_fetch_header;

typedef struct mr_fetch_request { /* all of it is copied */
    const char *method;           /* "GET", "POST" */
    const char *url;              /* http:// or https://, without user and password */
    const mr_fetch_header *headers;
    size_t n_headers;
    const void *body; /* NULL: none */
    size_t len;
    uint32_t connect_ms; /* until the connection stands, TLS and all; 0: timeout_ms */
    uint32_t timeout_ms; /* for all of it */
    size_t max_answer;   /* bytes of the body that are kept */
    const char *const
        *pin; /* [n_pin] addresses as text, without brackets; 0: whatever is resolved */
    size_t n_pin;
} mr_fetch_request;

typedef struct mr_fetch_answer { /* borrowed until the callback returns */
    /* MR_OK: there is an answer, whatever its code. MR_ETIMEOUT, MR_EUNAVAIL: there is none, or not
     * all of it. MR_ECANCELED: the client was closed. */
    mr_status status;
    const char *why;        /* one line when not MR_OK; else "" */
    int code;               /* HTTP status; 0: none came */
    uint64_t retry_after_s; /* of the header, a date too; 0: none */
    const char *body;       /* [len], terminated */
    size_t len;
    bool cut;                       /* the body has more than max_answer bytes */
    char address[MR_FETCH_ADDRESS]; /* who was asked; "": nobody */
} mr_fetch_answer;

/* One call per request handed to send, never inside it. */
typedef void mr_fetch_done(void *owner, void *arg, const mr_fetch_answer *answer);

mr_status mr_fetch_open(mr_fetch **out, uv_loop_t *loop, const mr_fetch_conf *conf,
                        mr_fetch_done *done, void *owner, mr_err *err);
/* call (may be NULL) is valid until done was called. MR_ELIMIT: max_calls are in flight. MR_EINVAL:
 * what the request asks for cannot be asked; err names the field. */
mr_status mr_fetch_send(mr_fetch *f, const mr_fetch_request *r, void *arg, mr_fetch_call **call,
                        mr_err *err);
/* Ends a call without a word. */
void mr_fetch_cancel(mr_fetch *f, mr_fetch_call *call);
size_t mr_fetch_in_flight(const mr_fetch *f);
/* What is in flight is told MR_ECANCELED inside. Handles close on the loop. NULL is allowed; may be
 * called inside done. */
void mr_fetch_close(mr_fetch *f);

#endif
