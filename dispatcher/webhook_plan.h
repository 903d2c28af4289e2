/* webhook_plan.h - what follows a try to deliver: done, another try and when, or the end. Pure:
 * now_ms (wall clock) and chance are arguments.
 *
 * A plan is the list of waits before each try, the first usually 0. To a wait a tenth of it at most
 * is added by chance, so that what failed together does not come back together; a receiver that
 * names a later time (Retry-After) is obeyed, MR_WEBHOOK_MAX_WAIT_MS at most. */
#ifndef MR_DISPATCHER_WEBHOOK_PLAN_H
#define MR_DISPATCHER_WEBHOOK_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_WEBHOOK_MAX_TRIES   20
#define MR_WEBHOOK_MAX_WAIT_MS (24ull * 3600 * 1000)

typedef struct mr_webhook_plan {
    uint64_t wait_ms[MR_WEBHOOK_MAX_TRIES];
    uint32_t n; /* tries */
} mr_webhook_plan;

typedef enum mr_webhook_fate {
    MR_WEBHOOK_DELIVERED,
    MR_WEBHOOK_AGAIN,
    MR_WEBHOOK_DEAD
} mr_webhook_fate;

typedef struct mr_webhook_outcome { /* of one try */
    mr_status status;               /* MR_OK: there was an answer */
    int code;                       /* its HTTP status */
    uint64_t retry_after_s;         /* 0: not said */
} mr_webhook_outcome;

/* "0,5s,5m,30m,2h": numbers with ms, s, m or h; 0 needs none. MR_EINVAL: err says what is wanted.
 */
mr_status mr_webhook_plan_read(mr_webhook_plan *out, const char *text, mr_err *err);
/* tries: made, this one included. Of AGAIN *due_ms is set, of DEAD *cause: "webhook_gone" (410) or
 * "webhook_undelivered". */
mr_webhook_fate mr_webhook_plan_next(const mr_webhook_plan *p, uint32_t tries,
                                     const mr_webhook_outcome *o, uint64_t now_ms, uint32_t chance,
                                     uint64_t *due_ms, const char **cause);
/* The other side is in trouble, so that others should not be sent there now; a refusal is not. */
bool mr_webhook_is_trouble(const mr_webhook_outcome *o);

#endif
