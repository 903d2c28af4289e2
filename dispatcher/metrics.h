/* metrics.h - the dispatcher's numbers in Prometheus text, from one table. Thread: loop. */
#ifndef MR_DISPATCHER_METRICS_H
#define MR_DISPATCHER_METRICS_H

#include "dispatcher/follower.h"
#include "dispatcher/intake.h"
#include "dispatcher/keys.h"
#include "dispatcher/peers.h"
#include "dispatcher/release.h"

typedef struct mr_metrics_view { /* borrowed */
    const mr_intake *intake;
    const mr_release *release;
    const mr_window *window;
    const mr_follower *follower;
    const mr_commit *commit;
    const mr_status_view *status;
    const mr_peers *peers;
    const mr_keys *keys;
    uint64_t now_ms; /* monotonic */
} mr_metrics_view;

/* malloc'd text, NULL: out of memory. */
char *mr_metrics_text(const mr_metrics_view *v, size_t *len);

#endif
