/* probes.h - /livez, /readyz, /startupz and /metrics over base/http.
 *
 * Owner: caller. Thread: loop. */
#ifndef MR_WORKER_PROBES_H
#define MR_WORKER_PROBES_H

#include <stddef.h>
#include <uv.h>

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
int mr_probes_port(const mr_probes *p);
void mr_probes_close(mr_probes *p); /* NULL is allowed; handles close on the loop */

#endif
