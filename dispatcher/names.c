/* names.c - see names.h. */
#include "dispatcher/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const uint64_t mr_tier_ms[MR_TIER_N] = {1000, 5000, 30000, 300000, 1800000};
static const char *const tier_names[MR_TIER_N] = {"1s", "5s", "30s", "5m", "30m"};

const uint64_t mr_webhook_tier_ms[MR_WEBHOOK_TIER_N] = {0, 5000, 300000, 3600000};
static const char *const webhook_names[MR_WEBHOOK_TIER_N] = {"", ".5s", ".5m", ".1h"};

static bool topic_byte(char c) {
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static mr_status check_prefix(const char *what, const char *prefix, bool topic, mr_err *err) {
    if (strlen(prefix) > 63 || !prefix[0])
        return mr_fail(err, MR_EINVAL, "%s is \"%.80s\", must have 1 to 63 bytes", what, prefix);
    for (const char *s = prefix; topic && *s; s++)
        if (!topic_byte(*s))
            return mr_fail(err, MR_EINVAL,
                           "%s is \"%s\", may only have letters, digits, '.', '_', '-'", what,
                           prefix);
    return MR_OK;
}

mr_status mr_names_init(mr_names *n, const char *topic_prefix, const char *redis_prefix,
                        mr_err *err) {
    mr_status st = check_prefix("topic_prefix", topic_prefix, true, err);
    if (st == MR_OK) st = check_prefix("redis_prefix", redis_prefix, false, err);
    if (st != MR_OK) return st;
    for (int l = 0; l < MR_PRIORITY_N; l++)
        snprintf(n->jobs[l], sizeof n->jobs[l], "%s.jobs.%s", topic_prefix,
                 mr_priority_name((mr_priority)l));
    for (int l = 0; l < MR_PRIORITY_N; l++)
        snprintf(n->ready[l], sizeof n->ready[l], "%s.ready.%s", topic_prefix,
                 mr_priority_name((mr_priority)l));
    for (int t = 0; t < MR_TIER_N; t++)
        snprintf(n->delay[t], sizeof n->delay[t], "%s.delay.%s", topic_prefix, tier_names[t]);
    for (int t = 0; t < MR_WEBHOOK_TIER_N; t++)
        snprintf(n->webhooks[t], sizeof n->webhooks[t], "%s.webhooks%s", topic_prefix,
                 webhook_names[t]);
    snprintf(n->deliveries, sizeof n->deliveries, "%s.deliveries", topic_prefix);
    snprintf(n->attempts, sizeof n->attempts, "%s.attempts", topic_prefix);
    snprintf(n->keyed, sizeof n->keyed, "%s.keyed", topic_prefix);
    snprintf(n->keys, sizeof n->keys, "%s.keys", topic_prefix);
    snprintf(n->workers, sizeof n->workers, "%s.workers", topic_prefix);
    snprintf(n->dispatchers, sizeof n->dispatchers, "%s.dispatchers", topic_prefix);
    snprintf(n->results, sizeof n->results, "%s.results", topic_prefix);
    snprintf(n->control, sizeof n->control, "%s.control", topic_prefix);
    snprintf(n->dead, sizeof n->dead, "%s.dead", topic_prefix);
    snprintf(n->topic_prefix, sizeof n->topic_prefix, "%s", topic_prefix);
    snprintf(n->redis_prefix, sizeof n->redis_prefix, "%s", redis_prefix);
    return MR_OK;
}

void mr_names_work(const mr_names *n, const char *model, char out[MR_NAME_MAX]) {
    const int len = snprintf(out, MR_NAME_MAX, "%s.work.%s", n->topic_prefix, model);
    for (int i = (int)strlen(n->topic_prefix) + 6; i < len && i < MR_NAME_MAX - 1; i++)
        if (!topic_byte(out[i])) out[i] = '_';
}

void mr_names_ingress(const mr_names *n, const char *topics[MR_INGRESS_TOPICS + 1]) {
    size_t i = 0;
    for (int l = 0; l < MR_PRIORITY_N; l++) topics[i++] = n->jobs[l];
    topics[i++] = n->attempts;
    for (int t = 0; t < MR_TIER_N; t++) topics[i++] = n->delay[t];
    topics[i++] = n->keyed;
    for (int l = 0; l < MR_PRIORITY_N; l++) topics[i++] = n->ready[l];
    topics[i] = NULL;
}

bool mr_names_ingress_of(const mr_names *n, const char *topic, mr_ingress *out) {
    *out = (mr_ingress){.kind = MR_FROM_N};
    for (int l = 0; l < MR_PRIORITY_N; l++)
        if (strcmp(n->jobs[l], topic) == 0) *out = (mr_ingress){MR_FROM_JOBS, (mr_priority)l, 0};
    for (int l = 0; l < MR_PRIORITY_N; l++)
        if (strcmp(n->ready[l], topic) == 0) *out = (mr_ingress){MR_FROM_READY, (mr_priority)l, 0};
    for (int t = 0; t < MR_TIER_N; t++)
        if (strcmp(n->delay[t], topic) == 0) *out = (mr_ingress){MR_FROM_DELAY, 0, t};
    if (strcmp(n->attempts, topic) == 0) out->kind = MR_FROM_ATTEMPTS;
    if (strcmp(n->keyed, topic) == 0) out->kind = MR_FROM_KEYED;
    return out->kind != MR_FROM_N;
}
