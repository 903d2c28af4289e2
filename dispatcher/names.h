/* names.h - topics and keys of one deployment, made from the prefixes once. */
#ifndef MR_DISPATCHER_NAMES_H
#define MR_DISPATCHER_NAMES_H

#include "millrace/job.h"

#define MR_NAME_MAX 250 /* longest topic that Kafka takes is 249 */

typedef struct mr_names {
    char jobs[MR_PRIORITY_N][MR_NAME_MAX];
    char workers[MR_NAME_MAX], results[MR_NAME_MAX], control[MR_NAME_MAX], dead[MR_NAME_MAX];
    char topic_prefix[64], redis_prefix[64];
} mr_names;

/* MR_EINVAL: a prefix is longer than 63 bytes, or has a byte that a topic name must not have. */
mr_status mr_names_init(mr_names *n, const char *topic_prefix, const char *redis_prefix,
                        mr_err *err);
/* <prefix>.work.<model>, bytes outside [A-Za-z0-9._-] as '_'. */
void mr_names_work(const mr_names *n, const char *model, char out[MR_NAME_MAX]);

#endif
