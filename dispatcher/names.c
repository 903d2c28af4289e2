/* names.c - see names.h. */
#include "dispatcher/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

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
    snprintf(n->workers, sizeof n->workers, "%s.workers", topic_prefix);
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
