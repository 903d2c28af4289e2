/* status.c - millrace status: where a job is, as far as Redis knows. */
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"

static const mr_opt opts[] = {
    {"json", 0, NULL, NULL, "one JSON object per job", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

static void print_text(const char *id, const mr_job_view *v) {
    printf("%s %s", id, v->state);
    if (v->model[0]) printf(" model=%s", v->model);
    if (v->worker[0]) printf(" worker=%s", v->worker);
    printf(" attempt=%u tokens=%u", v->attempt, v->tokens);
    if (v->error[0]) printf(" error=\"%s\"", v->error);
    putchar('\n');
}

static void print_json(const char *id, const mr_job_view *v) {
    printf("{\"job_id\":\"%s\",\"state\":\"%s\",\"model\":", id, v->state);
    mr_cli_json_string(stdout, v->model, strlen(v->model));
    fputs(",\"worker\":", stdout);
    mr_cli_json_string(stdout, v->worker, strlen(v->worker));
    printf(",\"attempt\":%u,\"tokens\":%u,\"updated_ms\":%" PRIu64 ",\"error\":", v->attempt,
           v->tokens, v->updated_ms);
    mr_cli_json_string(stdout, v->error, strlen(v->error));
    fputs("}\n", stdout);
}

static int run(const mr_args *a) {
    mr_client *c = NULL;
    mr_job_view v;
    mr_err err;
    int rc = EX_OK;

    if (mr_cli_connect(a, &c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_status st = MR_OK;
    for (size_t i = 0; i < mr_args_n(a) && st != MR_EUNAVAIL; i++) {
        st = mr_job_look(c, mr_args_at(a, i), &v, &err);
        if (st != MR_OK)
            rc = mr_cli_fail(a, &err);
        else if (mr_args_flag(a, "json"))
            print_json(mr_args_at(a, i), &v);
        else
            print_text(mr_args_at(a, i), &v);
    }
    mr_client_close(c);
    return rc;
}

const mr_cmd mr_cmd_status = {
    .name = "status",
    .summary = "show where jobs are",
    .operands = "JOB...",
    .min_operands = 1,
    .max_operands = -1,
    .opts = opts,
    .about =
        "States: queued, released, running, then succeeded, failed, rejected, cancelled or "
        "expired. "
        "The\nstatus is a view that Redis keeps for a day; the record in Kafka is the authority.",
    .examples = "  millrace status 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77",
    .run = run,
};
