/* policy.h - what each tenant may have by the rules of rules.h, and what it has had.
 *
 * Rates are buckets that hold one second of jobs (at least one) and one minute of tokens; a job
 * goes while there is something in them, whatever it takes, so a large one is paid off afterwards.
 * With `over: delay` they are drawn on when a job is released, and until something is in them
 * again the tenant's jobs wait; with `over: reject` when a job comes, and one that finds them empty
 * is ended. A full backlog ends what comes. All limits are of one dispatcher.
 *
 * Pure but for reading the file: now_ms is an argument (monotonic). Bound: MR_MAX_TENANTS accounts;
 * tenants beyond that share one, and in it the limits of `default`. */
#ifndef MR_DISPATCHER_POLICY_H
#define MR_DISPATCHER_POLICY_H

#include "dispatcher/rules.h"
#include "millrace/job.h"

typedef struct mr_policy mr_policy;

/* path as for mr_rules_open. */
mr_status mr_policy_open(mr_policy **out, const char *path, mr_err *err);
void mr_policy_close(mr_policy *p); /* NULL is allowed */
/* Other rules from now on; on an error nothing has changed. What tenants have had stays. */
mr_status mr_policy_load(mr_policy *p, const char *path, mr_err *err);
/* The same from text, for tests. */
mr_status mr_policy_parse(mr_policy *p, const char *yaml, size_t n, mr_err *err);

const mr_rule *mr_policy_rule(const mr_policy *p, const char *tenant); /* until the next load */

bool mr_policy_has_callback(const mr_policy *p); /* some tenant's rule has one */

/* A job of the tenant has come. False: it must end as `rejected`; why is filled, until the next
 * call: code "rate_limited" or "backlog_full", with the limit, the value and retry_after_ms. True:
 * it is counted as waiting until mr_policy_left. */
bool mr_policy_enter(mr_policy *p, const char *tenant, uint32_t cost, uint64_t now_ms,
                     mr_job_error *why);
/* It has left the window, however. */
void mr_policy_left(mr_policy *p, const char *tenant);
/* From when on the tenant may have more released; at most now_ms: at once. */
uint64_t mr_policy_ready_ms(mr_policy *p, const char *tenant, uint64_t now_ms);
/* A job was released (tokens: the estimate), or its use is known (used - charged, may be negative).
 */
void mr_policy_charge(mr_policy *p, const char *tenant, bool job, int64_t tokens, uint64_t now_ms);

typedef struct mr_policy_row { /* for beats and metrics */
    const char *tenant;        /* "(others)": those that share an account */
    uint64_t waiting, tokens;  /* charged since the start, or since it was last heard of */
    uint32_t weight;
    bool limited; /* waits for its rate */
} mr_policy_row;
/* The tenants with most waiting jobs, then tokens; returns how many, at most cap. Tenants without
 * both are left out. */
size_t mr_policy_top(mr_policy *p, mr_policy_row *rows, size_t cap, uint64_t now_ms);

#endif
