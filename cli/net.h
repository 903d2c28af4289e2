/* net.h - what the commands that talk to a cluster share: connection options, job options. */
#ifndef MR_CLI_NET_H
#define MR_CLI_NET_H

#include "base/arena.h"
#include "cli/cli.h"
#include "millrace/millrace.h"

/* Tables; clang-format would spread them. */
/* clang-format off */
#define MR_CLI_CONNECT_OPTS                                                                        \
    {"kafka", 0, "HOST:PORT", NULL, "brokers; else MILLRACE_KAFKA_BROKERS, or of `up`", NULL},     \
    {"redis", 0, "URL", NULL, "Redis; else MILLRACE_REDIS_URL, or of `up`", NULL},                 \
    {"config", 0, "FILE", NULL, "YAML file of settings", NULL}

#define MR_CLI_JOB_OPTS                                                                            \
    {"model", 'm', "NAME", NULL, "model; not needed when workers serve only one", NULL},          \
    {"tenant", 0, "NAME", NULL, "whom the job is for", NULL},                                      \
    {"priority", 0, "LANE", NULL, "lane of the job", mr_cli_priorities},                           \
    {"deadline", 0, "SPAN", NULL, "end a job that is not through within 90s, 10m, 2h, 1d", NULL},  \
    {"not-before", 0, "TIME", NULL, "start no earlier: RFC 3339, or +90s, +10m, +2h, +1d", NULL}, \
    {"max-attempts", 0, "N", NULL, "attempts when the engine fails, then it is dead", NULL}, \
    {"max-tokens", 'n', "N", NULL, "longest answer in tokens", NULL},                              \
    {"temperature", 't', "X", NULL, "0 is greedy", NULL},                                          \
    {"top-p", 0, "X", NULL, "nucleus sampling", NULL},                                             \
    {"top-k", 0, "N", NULL, "sample from the N likeliest", NULL},                                  \
    {"seed", 0, "N", NULL, "same seed, same text", NULL},                                          \
    {"stop", 0, "TEXT", NULL, "end before this text; repeatable", NULL},                           \
    {"trace", 0, NULL, NULL, "trace each job: its id is the trace's; TRACEPARENT goes first", NULL}
/* clang-format on */

extern const char *const mr_cli_priorities[];

/* State file of `millrace up`, whether or not it runs: <runtime dir>/millrace/up.yaml. */
void mr_cli_state_file(char *buf, size_t cap);
/* Process that wrote this state file; 0: none, or it runs no more, or the file is not to be
 * trusted. */
long mr_cli_up_pid(const char *state_path);
/* Connects by the options above; without any, and without MILLRACE_* variables, to the stack of a
 * running `millrace up` of this user. */
mr_status mr_cli_connect(const mr_args *a, mr_client **out, mr_err *err);
/* Applies MR_CLI_JOB_OPTS over j. False: a message was printed (usage). Texts are borrowed from
 * argv; stop points into arena. */
bool mr_cli_apply_job_options(const mr_args *a, mr_job_spec *j, mr_arena *arena);

/* Result as one line of JSON. */
void mr_cli_print_result_json(FILE *f, const mr_result *r);
/* Exit code that tells how a job ended: 0 succeeded, 65 rejected, 75 expired or cancelled, 70
 * failed. */
int mr_cli_result_exit(mr_job_status status);
/* Whether the state of a job's status is a terminal one. */
bool mr_cli_is_over(const char *state);

/* Ctrl-C and SIGTERM interrupt the client's call (c may be NULL) and make interrupted() true; the
 * second one ends the process. Call with NULL before closing c. */
void mr_cli_catch_interrupt(mr_client *c);
bool mr_cli_interrupted(void);

#endif
