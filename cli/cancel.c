/* cancel.c - millrace cancel: ask for the end of jobs, and wait for it.
 *
 * The status in Redis says what there is to cancel; it is a view, so a job that it does not know is
 * cancelled all the same. That a job has ended is told by its terminal record, which is watched for
 * from before the request was made. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/net.h"
#include "cli/when.h"

enum { POLL_MS = 200, MAX_TIMEOUT_MS = 7 * 24 * 3600 * 1000 };

static const mr_opt opts[] = {
    {"wait", 'w', NULL, NULL, "wait for the terminal records", NULL},
    {"timeout", 0, "SPAN", "60s", "longest wait", NULL},
    {"json", 0, NULL, NULL, "one JSON object per job", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

typedef struct target {
    const char *id;
    char was[16]; /* its state when we looked; "": not known */
    bool awaited; /* asked for, and not over yet */
} target;

typedef struct cancelling {
    const mr_args *a;
    mr_client *c;
    target *list;
    size_t n, n_awaited;
} cancelling;

/* state: one of our words; was: a word from Redis. */
static void print(const cancelling *k, const target *t, const char *state) {
    if (mr_args_flag(k->a, "json")) {
        printf("{\"job_id\":\"%s\",\"state\":\"%s\"", t->id, state);
        if (t->was[0]) {
            fputs(",\"was\":", stdout);
            mr_cli_json_string(stdout, t->was, strlen(t->was));
        }
        puts("}");
    } else if (t->was[0] && strcmp(state, "cancelling") == 0) {
        printf("%s cancelling, was %s\n", t->id, t->was);
    } else {
        printf("%s %s\n", t->id, state);
    }
}

static int cancel_one(cancelling *k, target *t) {
    char when[MR_CLI_WHEN_LEN];
    mr_job_view v;
    mr_err err;

    const mr_status looked = mr_job_look(k->c, t->id, &v, &err);
    if (looked == MR_EINVAL) return mr_cli_fail(k->a, &err);
    if (looked == MR_OK) memcpy(t->was, v.state, sizeof t->was);
    if (looked == MR_OK && mr_cli_is_over(v.state)) {
        mr_cli_when_text(when, v.updated_ms);
        fprintf(stderr, "millrace cancel: job %s was over already: %s at %s\n", t->id, v.state,
                when);
        print(k, t, v.state);
        return EX_OK;
    }
    if (mr_cancel(k->c, t->id, &err) != MR_OK) return mr_cli_fail(k->a, &err);
    t->awaited = mr_args_flag(k->a, "wait");
    k->n_awaited += t->awaited;
    if (!t->awaited) print(k, t, "cancelling");
    return EX_OK;
}

static void on_result(void *owner, const mr_result *r) {
    cancelling *k = owner;

    for (size_t i = 0; i < k->n; i++) {
        target *t = &k->list[i];
        if (!t->awaited || strcmp(t->id, r->job_id) != 0) continue;
        t->awaited = false;
        k->n_awaited--;
        print(k, t, mr_job_status_name(r->status));
    }
}

/* Until the last one has ended. */
static int wait_all(cancelling *k, uint64_t end_ms) {
    mr_err err;

    while (k->n_awaited > 0 && !mr_cli_interrupted()) {
        const mr_status st = mr_poll(k->c, POLL_MS, &err);
        if (st != MR_OK && st != MR_ETIMEOUT && st != MR_ECANCELED) return mr_cli_fail(k->a, &err);
        if (mr_clock_mono_ms() >= end_ms) break;
    }
    for (size_t i = 0; i < k->n; i++)
        if (k->list[i].awaited)
            fprintf(stderr, "millrace cancel: job %s has not ended yet%s\n", k->list[i].id,
                    k->list[i].was[0] ? "" : "; nothing is known about it");
    if (mr_cli_interrupted()) return 130;
    return k->n_awaited ? EX_TEMPFAIL : EX_OK;
}

static int cancel_all(cancelling *k, uint64_t timeout_ms) {
    mr_err err;
    int rc = EX_OK;

    if (mr_args_flag(k->a, "wait") && mr_watch_results(k->c, 0, on_result, k, &err) != MR_OK)
        return mr_cli_fail(k->a, &err);
    for (size_t i = 0; i < k->n && !mr_cli_interrupted(); i++) {
        k->list[i].id = mr_args_at(k->a, i);
        const int one = cancel_one(k, &k->list[i]);
        if (one != EX_OK) rc = one;
    }
    const int waited = wait_all(k, mr_clock_mono_ms() + timeout_ms);
    return rc == EX_OK ? waited : rc;
}

static int run(const mr_args *a) {
    cancelling k = {.a = a, .n = mr_args_n(a)};
    uint64_t timeout_ms;
    mr_err err;

    if (!mr_args_span(a, "timeout", 1000, MAX_TIMEOUT_MS, &timeout_ms)) return EX_USAGE;
    if (!(k.list = calloc(k.n, sizeof *k.list))) return EX_OSERR;
    if (mr_cli_connect(a, &k.c, &err) != MR_OK) {
        free(k.list);
        return mr_cli_fail(a, &err);
    }
    mr_cli_catch_interrupt(k.c);
    const int rc = cancel_all(&k, timeout_ms);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(k.c);
    free(k.list);
    return rc;
}

const mr_cmd mr_cmd_cancel = {
    .name = "cancel",
    .summary = "end jobs, wherever they are",
    .operands = "JOB...",
    .min_operands = 1,
    .max_operands = -1,
    .opts = opts,
    .about =
        "The request is durable when the command returns; the job's record then says "
        "cancelled, with\nthe text made so far, or how it ended before the request reached it. "
        "--wait waits for that\nrecord and prints its status.\n\nA job that is over already is "
        "left as it is: the command says how and when it ended, and the\nexit code is 0. It is "
        "75 when --wait has waited for too long.",
    .examples = "  millrace cancel 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace cancel --wait $(cat ids)",
    .run = run,
};
