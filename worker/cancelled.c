/* cancelled.c - compared one by one: 4,096 short ids, once per arriving job, are some microseconds.
 */
#include "worker/cancelled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mr_status mr_cancelled_init(mr_cancelled *c, mr_err *err) {
    *c = (mr_cancelled){0};
    c->ids = calloc(MR_CANCELLED_MAX, sizeof *c->ids);
    return c->ids ? MR_OK : mr_fail(err, MR_ENOMEM, "cancelled ids: out of memory");
}

void mr_cancelled_deinit(mr_cancelled *c) {
    free(c->ids);
    *c = (mr_cancelled){0};
}

void mr_cancelled_add(mr_cancelled *c, const char *job_id) {
    if (mr_cancelled_has(c, job_id)) return;
    snprintf(c->ids[c->next], sizeof c->ids[0], "%s", job_id);
    c->next = (c->next + 1) % MR_CANCELLED_MAX;
    if (c->n < MR_CANCELLED_MAX) c->n++;
}

bool mr_cancelled_has(const mr_cancelled *c, const char *job_id) {
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->ids[i], job_id) == 0) return true;
    }
    return false;
}
