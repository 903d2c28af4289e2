/* probes.h - /livez, /readyz, /startupz and /metrics, the same in each program.
 *
 * Live: a new start would not help. Ready: it gets on with jobs. Started: from now on the other two
 * count. Each answers 200 and "ok", or 503 and the reason.
 *
 * Owner: caller. Thread: loop. */
#ifndef MR_BASE_PROBES_H
#define MR_BASE_PROBES_H

#include "base/http.h"

typedef struct mr_probes mr_probes;

typedef struct mr_probes_conf {
    const char *listen; /* "host:port" */
    void *owner;
    /* Why not, in a few words; NULL: all is well. */
    const char *(*not_live)(void *owner);
    const char *(*not_ready)(void *owner);
    const char *(*not_started)(void *owner);
    /* malloc'd text; NULL: out of memory. */
    char *(*metrics)(void *owner, size_t *len);
} mr_probes_conf;

mr_status mr_probes_open(mr_probes **out, uv_loop_t *loop, const mr_probes_conf *conf, mr_err *err);
/* Borrowed; for what else is served on the same port. */
mr_http *mr_probes_http(const mr_probes *p);
int mr_probes_port(const mr_probes *p);
void mr_probes_close(mr_probes *p); /* NULL is allowed; handles close on the loop */

#endif
