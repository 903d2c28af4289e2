/* metrics.h - the dispatcher's numbers in Prometheus text, from one table. Thread: loop. */
#ifndef MR_DISPATCHER_METRICS_H
#define MR_DISPATCHER_METRICS_H

#include "base/otlp.h"
#include "base/process.h"
#include "dispatcher/follower.h"
#include "dispatcher/intake.h"
#include "dispatcher/keys.h"
#include "dispatcher/peers.h"
#include "dispatcher/release.h"
#include "dispatcher/webhook.h"

typedef struct mr_dispatcher_sources { /* borrowed */
    const mr_intake *intake;
    const mr_release *release;
    const mr_window *window;
    const mr_follower *follower;
    const mr_commit *commit;
    const mr_status_view *status;
    const mr_peers *peers;
    const mr_keys *keys;
    const mr_webhooks *webhooks;
    const mr_otlp *otlp; /* NULL: none */
    mr_process *process;
    uint64_t now_ms; /* monotonic */
} mr_dispatcher_sources;

/* malloc'd text, NULL: out of memory. */
char *mr_dispatcher_metrics(const mr_dispatcher_sources *from, size_t *len);
/* The table, for docs/METRICS.md. */
const mr_metric *mr_dispatcher_rows(size_t *n);

#endif
