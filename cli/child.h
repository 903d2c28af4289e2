/* child.h - one supervised process of `millrace up`.
 *
 * A child that ends is started again after a pause that doubles from 0.5 s to 30 s and starts over
 * once it has lived for a minute. Children have a process group of their own, so that a Ctrl-C
 * reaches only `up`, which ends them in order; should `up` itself die, the kernel sends them
 * SIGTERM. Thread: loop. */
#ifndef MR_CLI_CHILD_H
#define MR_CLI_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "millrace/error.h"

#define MR_CHILD_MAX_ARGS 64

/* Exit status of a child that could not open its log, and of one whose program could not be run. */
#define MR_CHILD_NO_LOG  126
#define MR_CHILD_NO_EXEC 127

typedef struct mr_child {
    const char *name;
    const char *argv[MR_CHILD_MAX_ARGS + 1]; /* borrowed; argv[0] is a path, or found in PATH */
    const char *log_path;                    /* stdout and stderr; NULL: both to our stderr */
    pid_t pid;                               /* 0: not running */
    uint64_t started_ms, pause_ms;
    uint64_t restart_ms; /* when to start again; 0: not planned */
    unsigned restarts;
    bool stopping;
    int exit_status; /* of wait(2), of the last end */
} mr_child;

mr_status mr_child_start(mr_child *c, uint64_t now_ms, mr_err *err);
/* Call on SIGCHLD and about every 100 ms: reaps, and restarts what is due. True: it has just ended.
 */
bool mr_child_tend(mr_child *c, uint64_t now_ms);
/* Sends signum, waits at most timeout_ms, then kills; kills as soon as *now is set. Blocks. */
void mr_child_stop(mr_child *c, int signum, int timeout_ms, const volatile sig_atomic_t *now);
/* Path of another program of ours: it stands beside this one. */
mr_status mr_child_beside(const char *program, char *buf, size_t cap, mr_err *err);
/* "exit status 1" or "signal 9" of the last end; more when it could not be started at all. */
const char *mr_child_how(const mr_child *c, char *buf, size_t cap);

#endif
