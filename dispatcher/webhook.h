/* webhook.h - calls back: each committed result whose job, or tenant, has a callback is announced
 * there, at least once, under one id, signed.
 *
 * Reads millrace.results as a group of its own, committed records only, and its own topics. What is
 * owed is always a record in Kafka whose offset is not committed: the result itself until the first
 * try has ended, then a record in millrace.webhooks or one of its delays. What becomes of a record
 * (delivered, another try, a dead letter) is committed with its offset, in one transaction, and
 * with it a line of the log in millrace.deliveries. So a dispatcher may be killed at any moment:
 * what it had not committed is tried again under the same id. Why not in the follower: it waits for
 * Redis, and no callback should.
 *
 * Not in order: an event that is tried again is passed by others. Owner: caller. Thread: loop.
 * Bounds: MR_WEBHOOKS_MAX events in hand and MR_WEBHOOKS_BYTES of them, then all partitions pause;
 * MR_WEBHOOKS_HELD of a partition that are not due, or MR_WEBHOOKS_AHEAD bytes of them, then that
 * one does. */
#ifndef MR_DISPATCHER_WEBHOOK_H
#define MR_DISPATCHER_WEBHOOK_H

#include "base/commit.h"
#include "dispatcher/member.h"
#include "dispatcher/names.h"
#include "dispatcher/spans.h"
#include "dispatcher/webhook_call.h"

#define MR_WEBHOOKS_MAX   2048
#define MR_WEBHOOKS_BYTES (32u << 20)
#define MR_WEBHOOKS_HELD  1024
#define MR_WEBHOOKS_AHEAD (1u << 20)

typedef struct mr_webhooks mr_webhooks;

typedef struct mr_webhooks_conf { /* texts and names are borrowed until close */
    mr_member_conf member;        /* of the group of its own */
    const mr_names *names;
    mr_commit_conf commit; /* of a committer of its own, but for owner and callback */
    mr_webhook_plan plan;
    bool full;                   /* the result goes with the event */
    mr_webhook_calls_conf calls; /* but for owner and callback */
    const mr_spans *spans;       /* NULL: none */
    void *rules_owner;
    /* The callback of a tenant, for jobs that have none; NULL: none. Borrowed until the return. */
    const mr_callback *(*of_tenant)(void *rules_owner, const char *tenant);
    bool (*any_tenant)(void *rules_owner); /* some tenant has one */
    void *owner;
    void (*on_fatal)(void *owner, mr_status status, const char *text); /* nothing more will come */
} mr_webhooks_conf;

mr_status mr_webhooks_open(mr_webhooks **out, uv_loop_t *loop, const mr_webhooks_conf *conf,
                           mr_err *err);
/* Secrets as for mr_webhook_secrets_open; on an error the old ones stay. */
mr_status mr_webhooks_secrets(mr_webhooks *w, const char *text, const char *path, mr_err *err);
/* False: the callback of a job may not be asked; why is filled, its message until the next call. */
bool mr_webhooks_vet(mr_webhooks *w, const mr_callback *c, mr_job_error *why);
/* What is under way is tried again by the next owner. NULL is allowed. */
void mr_webhooks_close(mr_webhooks *w);

typedef struct mr_webhooks_counts {
    uint64_t delivered, failed, dead, put_off; /* events; failed tries; dead letters */
    size_t in_hand, held, in_flight;           /* being tried or committed; not due; requests */
    mr_webhook_hosts_count hosts;
} mr_webhooks_counts;
mr_webhooks_counts mr_webhooks_count(const mr_webhooks *w);

#endif
