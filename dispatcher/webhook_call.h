/* webhook_call.h - one try to deliver an event: looked up, checked, signed, sent, judged.
 *
 * The host is looked up once for all calls in some seconds, and every address that comes back is
 * checked; one that may not be asked bars the host. The connection is pinned to what was checked.
 * Calls to a host that has all it may have wait in its line, unless that is longer than it can
 * serve in MR_WEBHOOK_WAIT_MS, and no longer than that; then they are handed back untried. So a
 * slow receiver holds up neither others nor the partition, and a fast one gets all it can take. A
 * host whose breaker is open fails a try at once.
 *
 * Owner: caller. Thread: loop. Bounds: max_calls in flight, those of webhook_hosts.h. */
#ifndef MR_DISPATCHER_WEBHOOK_CALL_H
#define MR_DISPATCHER_WEBHOOK_CALL_H

#include <uv.h>

#include "base/fetch.h"
#include "dispatcher/webhook_hosts.h"
#include "dispatcher/webhook_plan.h"
#include "dispatcher/webhook_secrets.h"
#include "schemas/webhook.h"

#define MR_WEBHOOK_WAIT_MS 2000

typedef struct mr_webhook_calls mr_webhook_calls;

/* Memory of the caller's, zeroed; from begin to the end it stays where it is. */
typedef struct mr_webhook_call mr_webhook_call;
struct mr_webhook_call {
    const mr_webhook *event; /* borrowed */
    mr_webhook_url url;
    mr_webhook_host *host;        /* NULL: not under way */
    mr_webhook_call *next, *prev; /* among those that wait for the host */
    mr_fetch_call *fetch;         /* NULL: it waits */
    uint64_t begun_ms;            /* monotonic: since when it waits, or was sent */
};

typedef struct mr_webhook_end { /* borrowed until the callback returns */
    bool tried;                 /* false: put it off, there was no room */
    const char *cause;          /* not NULL: it is dead, whatever the plan says */
    mr_webhook_outcome outcome;
    const char *why; /* one line, without URL and body; "": delivered */
    uint32_t took_ms;
} mr_webhook_end;

typedef struct mr_webhook_calls_conf { /* texts are borrowed until close */
    mr_webhook_rules rules;
    const char *ca_file;
    uint32_t max_calls, per_host, timeout_ms;
    uint64_t disable_ms; /* a URL that has answered 410 */
    void *owner;
    /* The call is over. May be called inside begin; must not begin another. */
    void (*on_end)(void *owner, mr_webhook_call *call, const mr_webhook_end *end);
} mr_webhook_calls_conf;

mr_status mr_webhook_calls_open(mr_webhook_calls **out, uv_loop_t *loop,
                                const mr_webhook_calls_conf *conf, mr_err *err);
/* Other secrets from now on; taken over. */
void mr_webhook_calls_secrets(mr_webhook_calls *c, mr_webhook_secrets *secrets);
void mr_webhook_call_begin(mr_webhook_calls *c, mr_webhook_call *call, const mr_webhook *event);
/* Ends it without a word. */
void mr_webhook_call_cancel(mr_webhook_calls *c, mr_webhook_call *call);
/* What has waited too long is handed back, what waits for a breaker or a name is looked at. */
void mr_webhook_calls_tick(mr_webhook_calls *c);
size_t mr_webhook_calls_in_flight(const mr_webhook_calls *c);
mr_webhook_hosts_count mr_webhook_calls_hosts(const mr_webhook_calls *c);
/* All calls must have been cancelled. Handles close on the loop. NULL is allowed. */
void mr_webhook_calls_close(mr_webhook_calls *c);

#endif
