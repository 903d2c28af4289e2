/* submit.c - millrace submit: one job from the command line. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/read.h"
#include "cli/stream.h"

enum { SUBMIT_MS = 30000, MAX_TIMEOUT_MS = 7 * 24 * 3600 * 1000 };

static const mr_opt opts[] = {
    {"chat", 0, NULL, NULL,
     "TEXT is a user's message, put into the model's chat template (the default)", NULL},
    {"prompt", 'p', NULL, NULL, "TEXT is the prompt itself", NULL},
    {"system", 's', "TEXT", NULL, "system message before it", NULL},
    {"file", 'f', "FILE", NULL, "read TEXT from a file, - for standard input", NULL},
    MR_CLI_JOB_OPTS,
    {"idempotency-key", 0, "KEY", NULL, "another job of the tenant with it is a duplicate", NULL},
    {"stream", 0, NULL, NULL, "print the tokens as they come", NULL},
    {"wait", 'w', NULL, NULL, "wait for the result and print its text", NULL},
    {"timeout", 0, "SPAN", "10m", "longest wait", NULL},
    {"json", 0, NULL, NULL, "print {\"job_id\"}, frames or the result as JSON lines", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

/* The text, from the operand or a file. *owned is to be freed. */
static mr_status read_text(const mr_args *a, const char **text, size_t *len, char **owned,
                           mr_err *err) {
    const char *file = mr_args_get(a, "file");
    if ((file != NULL) == (mr_args_n(a) > 0))
        return mr_fail(err, MR_EINVAL, "give TEXT or --file, one of them");
    *text = mr_args_at(a, 0);
    if (!file) {
        *len = strlen(*text);
        return MR_OK;
    }
    const mr_status st = mr_cli_read_file(file, MR_JOB_MAX_BYTES, owned, len, err);
    *text = *owned;
    return st;
}

static bool key_ok(const char *key) {
    for (const char *c = key; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return key[0] && strlen(key) <= MR_JOB_MAX_KEY;
}

static bool fill(const mr_args *a, mr_job_spec *j, mr_message messages[2], const char *text,
                 size_t len, mr_arena *arena) {
    const char *system = mr_args_get(a, "system");
    size_t n = 0;

    mr_job_defaults(j);
    if (mr_args_flag(a, "prompt")) {
        j->input = MR_INPUT_PROMPT;
        j->prompt = text;
        j->prompt_len = len;
    } else {
        if (system) messages[n++] = (mr_message){"system", system, strlen(system)};
        messages[n++] = (mr_message){"user", text, len};
        j->input = MR_INPUT_MESSAGES;
        j->messages = messages;
        j->n_messages = n;
    }
    j->idempotency_key = mr_args_get(a, "idempotency-key");
    if (j->idempotency_key && !key_ok(j->idempotency_key)) {
        mr_cli_usage(a, "--idempotency-key must have 1 to %d bytes and no control characters",
                     MR_JOB_MAX_KEY);
        return false;
    }
    return mr_cli_apply_job_options(a, j, arena);
}

/* The job goes on without us. */
static int interrupted(const char *job_id) {
    fprintf(stderr, "millrace submit: interrupted; the job goes on, millrace cancel %s ends it\n",
            job_id);
    return 130;
}

/* After the stream or instead of it: the terminal record. */
static int finish(const mr_args *a, mr_client *c, const char *job_id, int timeout_ms,
                  mr_cli_streamed *streamed) {
    const mr_result *r;
    mr_err err;
    const mr_status st = mr_wait(c, job_id, timeout_ms, &r, &err);
    if (st == MR_ECANCELED) return interrupted(job_id);
    if (st != MR_OK) return mr_cli_fail(a, &err);
    if (mr_args_flag(a, "json")) {
        mr_cli_print_result_json(stdout, r);
    } else if ((!streamed->done || !streamed->whole) &&
               mr_cli_streamed_complete(streamed, r->text, r->text_len, &err) != MR_OK) {
        return mr_cli_fail(a, &err);
    }
    if (r->duplicate_of)
        fprintf(stderr, "millrace submit: job %s rejected: duplicate of %s\n", job_id,
                r->duplicate_of);
    else if (r->error.retry_after_ms)
        fprintf(stderr, "millrace submit: job %s %s for now: %s; submit it again in %.1f s\n",
                job_id, mr_job_status_name(r->status), r->error.message ? r->error.message : "",
                (double)r->error.retry_after_ms / 1000);
    else if (r->status != MR_STATUS_SUCCEEDED)
        fprintf(stderr, "millrace submit: job %s %s: %s\n", job_id, mr_job_status_name(r->status),
                r->error.message ? r->error.message : "");
    return mr_cli_result_exit(r->status);
}

static int run_job(const mr_args *a, mr_client *c, mr_job_spec *j, int timeout_ms,
                   mr_cli_streamed *streamed) {
    const bool json = mr_args_flag(a, "json"), stream = mr_args_flag(a, "stream");
    mr_err err;

    mr_status st = mr_submit(c, j, SUBMIT_MS, &err);
    if (st == MR_ECANCELED) return 130;
    if (st != MR_OK) return mr_cli_fail(a, &err);
    if (!stream && !mr_args_flag(a, "wait")) {
        printf(json ? "{\"job_id\":\"%s\"}\n" : "%s\n", j->job_id);
        return EX_OK;
    }
    fprintf(stderr, "job %s\n", j->job_id);
    if (stream) {
        st = mr_cli_stream(c, j->job_id, 0, timeout_ms, json, streamed, &err);
        if (st == MR_ECANCELED) return interrupted(j->job_id);
        if (st == MR_EIO) return EX_IOERR; /* main.c says why */
        if (st != MR_OK) (void)mr_cli_fail(a, &err);
        if (st == MR_ETIMEOUT || st == MR_ENOTFOUND) return EX_TEMPFAIL;
    }
    return finish(a, c, j->job_id, timeout_ms,
                  streamed); /* also without Redis: it comes through Kafka */
}

static int run(const mr_args *a) {
    mr_client *c = NULL;
    mr_cli_streamed streamed = {.done = false};
    mr_message messages[2];
    mr_job_spec j;
    mr_arena arena;
    mr_err err;
    char *owned = NULL;
    const char *text = "";
    size_t len = 0;
    uint64_t timeout_ms;
    int rc;

    if (!mr_args_span(a, "timeout", 1000, MAX_TIMEOUT_MS, &timeout_ms)) return EX_USAGE;
    if (mr_args_flag(a, "prompt") && (mr_args_get(a, "system") || mr_args_flag(a, "chat")))
        return mr_cli_usage(a, "--prompt does not go with --system or --chat");
    mr_arena_init(&arena, 1 << 20);
    const mr_status st = read_text(a, &text, &len, &owned, &err);
    if (st != MR_OK) {
        rc = st == MR_EINVAL ? mr_cli_usage(a, "%s", err.text) : mr_cli_fail(a, &err);
    } else if (!fill(a, &j, messages, text, len, &arena)) {
        rc = EX_USAGE;
    } else if (mr_cli_connect(a, &c, &err) != MR_OK) {
        rc = mr_cli_fail(a, &err);
    } else {
        mr_cli_catch_interrupt(c);
        rc = run_job(a, c, &j, (int)timeout_ms, &streamed);
        mr_cli_streamed_free(&streamed);
        mr_cli_catch_interrupt(NULL);
    }
    mr_client_close(c);
    mr_arena_drop(&arena);
    free(owned);
    return rc;
}

const mr_cmd mr_cmd_submit = {
    .name = "submit",
    .summary = "submit one job and print its id, its tokens or its result",
    .operands = "[TEXT]",
    .max_operands = 1,
    .opts = opts,
    .about = "With --idempotency-key the same command twice is one job: the second is rejected as "
             "a\nduplicate, and --wait names the first. The exit code of --wait and --stream tells "
             "how the\njob ended: 0 succeeded, 65 rejected, 70 failed, 75 cancelled, expired or "
             "not over yet.",
    .examples = "  millrace submit \"Tool that converts PDF files to text\"\n"
                "  millrace submit --stream --max-tokens 40 -t 0 -f description.txt\n"
                "  id=$(millrace submit -p \"Once upon a time\"); millrace tail $id",
    .run = run,
};
