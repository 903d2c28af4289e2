/* app_internal.h - the dispatcher's state, shared by app.c (its loop: time, signals, the beginning
 * and the end) and app_parts.c (what it consists of, and who tells whom). */
#ifndef MR_DISPATCHER_APP_INTERNAL_H
#define MR_DISPATCHER_APP_INTERNAL_H

#include "base/notify.h"
#include "base/probes.h"
#include "base/process.h"
#include "dispatcher/cancels.h"
#include "dispatcher/follower.h"
#include "dispatcher/page.h"
#include "dispatcher/peers.h"
#include "dispatcher/release.h"
#include "dispatcher/vitals.h"
#include "dispatcher/webhook_app.h"

typedef struct mr_dispatcher {
    mr_settings *s;
    int argc;
    char *const *argv;
    uv_loop_t loop;
    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t tick;
    uv_prepare_t prepare;
    mr_names names;
    mr_kafka_conf kafka;
    char id[192], transactional_id[300];
    mr_member_conf member; /* of the group that intake joins */
    mr_commit *commit;
    mr_spans spans;
    mr_policy *policy;
    mr_window *window;
    mr_keys *keys;
    mr_vitals *vitals;
    mr_peers *peers;
    mr_status_view *view;
    mr_release *release;
    mr_intake *intake;
    mr_follower *follower;
    mr_webhook_app webhooks;
    mr_kafka_consumer *workers;
    mr_cancels *cancels;
    mr_probes *probes; /* NULL: none are wanted */
    mr_page *page;     /* the same */
    mr_process process;
    uint64_t opened_ms, swept_ms;
    bool run_soon;
    mr_notify notify; /* the service manager, if there is one */
    mr_err fatal; /* why we stop, if nobody asked us to */
} mr_dispatcher;

/* ---- app.c ---- */

/* What was cancelled before is known, or was waited for long enough. */
bool mr_dispatcher_may_release(const mr_dispatcher *d, uint64_t now_ms);

/* ---- app_parts.c ---- */

/* Topics are there, then all parts of d, in order. What was opened when it fails is left to close. */
mr_status mr_dispatcher_open_parts(mr_dispatcher *d, mr_err *err);
/* Also half-open; what is on its way to Kafka is committed, or left to the next owner. */
void mr_dispatcher_close_parts(mr_dispatcher *d);
mr_retry_conf mr_dispatcher_retry_conf(const mr_settings *s);

#endif
