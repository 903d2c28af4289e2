/* webhook_app.h - callbacks as the application has them: from settings and rules of tenants to
 * webhook.h. Owner: caller's memory, open to close. Thread: loop. */
#ifndef MR_DISPATCHER_WEBHOOK_APP_H
#define MR_DISPATCHER_WEBHOOK_APP_H

#include "dispatcher/policy.h"
#include "dispatcher/webhook.h"
#include "schemas/settings.h"

#define MR_WEBHOOK_TOPICS (MR_WEBHOOK_TIER_N + 1)

typedef struct mr_webhook_app {
    mr_webhooks *webhooks; /* NULL: not open */
    const mr_settings *s;
    const mr_policy *policy;
    char group[256], transactional_id[320];
} mr_webhook_app;

typedef struct mr_webhook_app_conf { /* borrowed until close */
    const mr_settings *settings;
    const mr_policy *policy;
    const mr_names *names;
    const mr_kafka_conf *kafka;
    const mr_member_conf *member; /* of the dispatchers' group */
    const char *transactional_id; /* of the dispatcher */
    const mr_spans *spans;
    void *owner;
    void (*on_fatal)(void *owner, mr_status status, const char *text);
} mr_webhook_app_conf;

mr_status mr_webhook_app_open(mr_webhook_app *x, uv_loop_t *loop, const mr_webhook_app_conf *conf,
                              mr_err *err);
/* The secrets again, from settings that were read again. A mistake is logged and changes nothing.
 */
void mr_webhook_app_reload(mr_webhook_app *x);
void mr_webhook_app_close(mr_webhook_app *x);

/* The topics that it needs, with so many partitions each. */
void mr_webhook_app_topics(const mr_names *names, int32_t n_partitions,
                           mr_kafka_topic topics[MR_WEBHOOK_TOPICS]);

#endif
