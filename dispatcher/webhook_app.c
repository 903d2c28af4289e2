/* webhook_app.c - see webhook_app.h.
 *
 * The group and the transactional id are the dispatcher's own with a suffix: as a member of another
 * group it needs a committer of its own. It lingers longer than that of the jobs: nobody waits for
 * the offset of an event, and most results need nothing but theirs. */
#include "dispatcher/webhook_app.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum { LINGER_MS = 100 }; /* nobody waits for it: tries are made before */

static const mr_callback *of_tenant(void *owner, const char *tenant) {
    const mr_webhook_app *x = owner;
    const mr_callback *c = &mr_policy_rule(x->policy, tenant)->callback;
    return c->url ? c : NULL;
}

static bool any_tenant(void *owner) {
    const mr_webhook_app *x = owner;
    return mr_policy_has_callback(x->policy);
}

static mr_webhook_calls_conf calls_conf(const mr_settings *s) {
    return (mr_webhook_calls_conf){.rules = {s->webhook_allow, s->webhook_ports},
                                   .ca_file = s->webhook_ca_file,
                                   .max_calls = (uint32_t)s->webhook_calls,
                                   .per_host = (uint32_t)s->webhook_per_host,
                                   .timeout_ms = (uint32_t)s->webhook_timeout_ms,
                                   .disable_ms = (uint64_t)s->webhook_disable_s * 1000};
}

mr_status mr_webhook_app_open(mr_webhook_app *x, uv_loop_t *loop, const mr_webhook_app_conf *conf,
                              mr_err *err) {
    const mr_settings *s = conf->settings;
    const bool plain = strcmp(s->commit_mode, "plain") == 0;
    mr_webhooks_conf wc = {.member = *conf->member,
                           .names = conf->names,
                           .commit = {.kafka = *conf->kafka,
                                      .transactional_id = plain ? NULL : x->transactional_id,
                                      .linger_ms = LINGER_MS,
                                      .transaction_timeout_ms = (uint32_t)s->transaction_timeout_ms,
                                      .window = MR_OFFSETS_MAX_WINDOW},
                           .full = strcmp(s->webhook_body, "full") == 0,
                           .calls = calls_conf(s),
                           .owner = conf->owner,
                           .spans = conf->spans,
                           .of_tenant = of_tenant,
                           .any_tenant = any_tenant,
                           .on_fatal = conf->on_fatal};

    *x = (mr_webhook_app){.s = s, .policy = conf->policy};
    snprintf(x->group, sizeof x->group, "%s-webhooks", conf->member->group);
    snprintf(x->transactional_id, sizeof x->transactional_id, "%s.webhooks",
             conf->transactional_id);
    wc.member.group = x->group;
    wc.rules_owner = x;
    mr_status st = mr_webhook_plan_read(&wc.plan, s->webhook_delays, err);
    if (st == MR_OK) st = mr_webhooks_open(&x->webhooks, loop, &wc, err);
    if (st == MR_OK)
        st = mr_webhooks_secrets(x->webhooks, s->webhook_secrets, s->webhook_secrets_file, err);
    return st;
}

void mr_webhook_app_reload(mr_webhook_app *x) {
    mr_err err;
    if (mr_webhooks_secrets(x->webhooks, x->s->webhook_secrets, x->s->webhook_secrets_file, &err) !=
        MR_OK)
        mr_log(MR_LOG_ERROR, "app", "secrets of webhooks not read again: nothing has changed",
               "err=" MR_Q, err.text);
}

void mr_webhook_app_close(mr_webhook_app *x) {
    mr_webhooks_close(x->webhooks);
    x->webhooks = NULL;
}

void mr_webhook_app_topics(const mr_names *names, int32_t n_partitions,
                           mr_kafka_topic topics[MR_WEBHOOK_TOPICS]) {
    for (int t = 0; t < MR_WEBHOOK_TIER_N; t++)
        topics[t] = (mr_kafka_topic){names->webhooks[t], n_partitions, NULL};
    topics[MR_WEBHOOK_TIER_N] = (mr_kafka_topic){names->deliveries, n_partitions, NULL};
}
