/* rules.h - what the owner allows each tenant, from a YAML file (setting tenants_file):
 *
 *     tenants:
 *       default: {weight: 1, jobs_per_s: 50, tokens_per_min: 200000, backlog: 10000, over: delay}
 *       acme:    {weight: 4, callback_url: "https://acme.example/hooks", callback_secret: main,
 *                 callback_events: "succeeded,failed"}
 *
 * `default` is for tenants that are not named; what a rule leaves out it takes from there; 0: no
 * limit. Pure but for reading the file. Bound: MR_MAX_RULES named tenants. */
#ifndef MR_DISPATCHER_RULES_H
#define MR_DISPATCHER_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/job.h"

#define MR_MAX_RULES 4096

typedef struct mr_rule {
    uint32_t weight;         /* 1..1000 */
    double jobs_per_s;       /* 0: any */
    uint64_t tokens_per_min; /* 0: any */
    uint64_t backlog;        /* jobs that wait in one dispatcher; 0: any */
    bool reject;             /* over its rate: end it, else let it wait */
    mr_callback callback;    /* of its jobs that have none; url NULL: none */
} mr_rule;

typedef struct mr_rules mr_rules;

/* path "": every tenant has weight 1 and no limit. MR_EINVAL: the error names line, tenant, key. */
mr_status mr_rules_open(mr_rules **out, const char *path, mr_err *err);
/* The same from text, for tests and fuzzing. */
mr_status mr_rules_parse(mr_rules **out, const char *yaml, size_t n, mr_err *err);
void mr_rules_close(mr_rules *r); /* NULL is allowed */

const mr_rule *mr_rules_find(const mr_rules *r, const char *tenant); /* until close */
bool mr_rules_have_callback(const mr_rules *r); /* of any tenant */

#endif
