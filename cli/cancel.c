/* cancel.c - millrace cancel: ask for the end of jobs. */
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"

static const mr_opt opts[] = {
    {"json", 0, NULL, NULL, "one JSON object per job", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

static bool is_over(const char *state) {
    static const mr_job_status ends[] = {MR_STATUS_SUCCEEDED, MR_STATUS_FAILED, MR_STATUS_REJECTED,
                                         MR_STATUS_CANCELLED, MR_STATUS_EXPIRED};
    for (size_t i = 0; i < MR_COUNT(ends); i++)
        if (strcmp(state, mr_job_status_name(ends[i])) == 0) return true;
    return false;
}

static int cancel_one(const mr_args *a, mr_client *c, const char *id) {
    mr_job_view v;
    mr_err err;

    if (mr_job_look(c, id, &v, &err) == MR_OK && is_over(v.state)) {
        fprintf(stderr, "millrace cancel: job %s is over already: %s\n", id, v.state);
        if (mr_args_flag(a, "json")) /* one of the five words */
            printf("{\"job_id\":\"%s\",\"state\":\"%s\"}\n", id, v.state);
        return EX_DATAERR;
    }
    if (mr_cancel(c, id, &err) != MR_OK) return mr_cli_fail(a, &err);
    printf(mr_args_flag(a, "json") ? "{\"job_id\":\"%s\",\"state\":\"cancelling\"}\n"
                                   : "%s cancelling\n",
           id);
    return EX_OK;
}

static int run(const mr_args *a) {
    mr_client *c = NULL;
    mr_err err;
    int rc = EX_OK;

    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    for (size_t i = 0; i < mr_args_n(a); i++) {
        const int one = cancel_one(a, c, mr_args_at(a, i));
        if (one != EX_OK) rc = one;
    }
    mr_client_close(c);
    return rc;
}

const mr_cmd mr_cmd_cancel = {
    .name = "cancel",
    .summary = "end jobs, wherever they are",
    .operands = "JOB...",
    .min_operands = 1,
    .max_operands = -1,
    .opts = opts,
    .about = "The request is durable when the command returns; the job's record then says "
             "cancelled, with "
             "the\ntext made so far, or how it ended before the request reached it.",
    .examples = "  millrace cancel 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77",
    .run = run,
};
