/* tail.c - millrace tail: the tokens of a job, from any index on, live until it ends. */
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/stream.h"

static const mr_opt opts[] = {
    {"from", 0, "N", "0", "first token index; 0: all that Redis still has", NULL},
    {"timeout", 0, "SPAN", "10m", "give up after this long without a token", NULL},
    {"json", 0, NULL, NULL, "print frames as JSON lines", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

enum { WAIT_MS = 5000, MAX_TIMEOUT_MS = 24 * 3600 * 1000 };

/* Redis has lost a part of it: the result has the whole text. */
static void complete(mr_client *c, const char *job_id, bool from_start, mr_cli_streamed *end) {
    const mr_result *r;
    mr_err err;

    if (from_start && mr_wait(c, job_id, WAIT_MS, &r, &err) == MR_OK &&
        mr_cli_streamed_complete(end, r->text, r->text_len, &err) == MR_OK)
        return;
    fprintf(stderr, "\nmillrace tail: the stream of job %s has lost tokens; its result has them\n",
            job_id);
}

static int report(const char *job_id, const mr_cli_streamed *end) {
    if (end->status != MR_STATUS_SUCCEEDED)
        fprintf(stderr, "millrace tail: job %s %s%s%s\n", job_id, mr_job_status_name(end->status),
                end->message[0] ? ": " : "", end->message);
    return mr_cli_result_exit(end->status);
}

static int run(const mr_args *a) {
    mr_client *c = NULL;
    mr_cli_streamed end;
    int64_t from;
    uint64_t timeout_ms;
    mr_err err;

    if (!mr_args_int(a, "from", 0, INT64_MAX, &from) ||
        !mr_args_span(a, "timeout", 1000, MAX_TIMEOUT_MS, &timeout_ms))
        return EX_USAGE;
    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(c);
    const char *job_id = mr_args_at(a, 0);
    const mr_status st = mr_cli_stream(c, job_id, (uint64_t)from, (int)timeout_ms,
                                       mr_args_flag(a, "json"), &end, &err);
    if (st == MR_OK && end.done && !end.whole && !mr_args_flag(a, "json"))
        complete(c, job_id, from == 0, &end);
    const int rc = st == MR_OK            ? report(job_id, &end)
                   : mr_cli_interrupted() ? 130
                   : st == MR_EIO         ? EX_IOERR /* main.c says why */
                                          : mr_cli_fail(a, &err);
    mr_cli_streamed_free(&end);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(c);
    return rc;
}

const mr_cmd mr_cmd_tail = {
    .name = "tail",
    .summary = "print the tokens of a job as they come",
    .operands = "JOB",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .about = "Prints what Redis still has of the job, then what comes, until the job ends. The "
             "exit code tells "
             "how it\nended: 0 succeeded, 65 rejected, 70 failed, 75 cancelled or expired.",
    .examples = "  millrace tail 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace tail --from 100 --json 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77",
    .run = run,
};
