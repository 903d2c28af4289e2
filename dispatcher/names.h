/* names.h - topics and keys of one deployment, made from the prefixes once. */
#ifndef MR_DISPATCHER_NAMES_H
#define MR_DISPATCHER_NAMES_H

#include "millrace/job.h"

#define MR_NAME_MAX 250 /* longest topic that Kafka takes is 249 */
#define MR_TIER_N   5   /* delay topics; see mr_tier_ms */

/* How long a record stays in each delay topic: 1 s, 5 s, 30 s, 5 min, 30 min. */
extern const uint64_t mr_tier_ms[MR_TIER_N];

/* Events that are owed stand so long in each of their topics: at once, 5 s, 5 min, 1 h. */
#define MR_WEBHOOK_TIER_N 4
extern const uint64_t mr_webhook_tier_ms[MR_WEBHOOK_TIER_N];

typedef struct mr_names {
    char jobs[MR_PRIORITY_N][MR_NAME_MAX];
    char attempts[MR_NAME_MAX], delay[MR_TIER_N][MR_NAME_MAX];
    char ready[MR_PRIORITY_N][MR_NAME_MAX];
    char keyed[MR_NAME_MAX], keys[MR_NAME_MAX]; /* idempotency keys: see keys.h */
    char workers[MR_NAME_MAX], dispatchers[MR_NAME_MAX];
    char webhooks[MR_WEBHOOK_TIER_N][MR_NAME_MAX], deliveries[MR_NAME_MAX]; /* see webhook.h */
    char results[MR_NAME_MAX], control[MR_NAME_MAX], dead[MR_NAME_MAX];
    char topic_prefix[64], redis_prefix[64];
} mr_names;

/* The topics that a dispatcher reads, and what each is for. */
typedef enum mr_ingress_kind {
    MR_FROM_JOBS,     /* from outside; one per lane */
    MR_FROM_ATTEMPTS, /* came back from a worker, or goes on */
    MR_FROM_DELAY,    /* waits until it is due; one per tier */
    MR_FROM_KEYED,    /* is asked for its idempotency key */
    MR_FROM_READY,    /* waits for its turn; one per lane */
    MR_FROM_N
} mr_ingress_kind;

typedef struct mr_ingress {
    mr_ingress_kind kind;
    mr_priority lane; /* JOBS, READY */
    int tier;         /* DELAY */
} mr_ingress;

#define MR_INGRESS_TOPICS (MR_PRIORITY_N + 1 + MR_TIER_N + 1 + MR_PRIORITY_N)

/* MR_EINVAL: a prefix is longer than 63 bytes, or has a byte that a topic name must not have. */
mr_status mr_names_init(mr_names *n, const char *topic_prefix, const char *redis_prefix,
                        mr_err *err);
/* <prefix>.work.<model>, bytes outside [A-Za-z0-9._-] as '_'. */
void mr_names_work(const mr_names *n, const char *model, char out[MR_NAME_MAX]);
/* Their names, NULL-terminated; borrowed from n. */
void mr_names_ingress(const mr_names *n, const char *topics[MR_INGRESS_TOPICS + 1]);
/* What a topic is for; false: none of them. */
bool mr_names_ingress_of(const mr_names *n, const char *topic, mr_ingress *out);

#endif
