/* Goal: SIGTERM and SIGINT end a process that does nothing about them, whoever it is, and whoever
 * waits for it can tell why. Method: children that raise them, as any process and as the first of a
 * PID namespace, where the kernel drops what is not caught (skipped without the right to make one). */
#include "base/signals.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

enum { SURVIVED = 7 };

/* What a child that raises it comes to, as wait() tells. */
static int status_of(int signum) {
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mr_signals_end();
        raise(signum);
        _exit(SURVIVED);
    }
    CHECK_I64(waitpid(child, &status, 0), child);
    return status;
}

TEST(any_process_ends_by_the_signal_itself) {
    const int term = status_of(SIGTERM), interrupt = status_of(SIGINT);
    CHECK(WIFSIGNALED(term) && WTERMSIG(term) == SIGTERM);
    CHECK(WIFSIGNALED(interrupt) && WTERMSIG(interrupt) == SIGINT);
}

/* In a process of its own, since no other can be made behind a namespace whose first one is gone. */
TEST(process_1_ends_too) {
    enum { NO_RIGHT = 8 };
    int status = 0;
    const pid_t outside = fork();
    CHECK(outside >= 0);
    if (outside == 0) {
        if (unshare(CLONE_NEWPID) != 0) _exit(NO_RIGHT);
        const int term = status_of(SIGTERM);
        _exit(WIFEXITED(term) ? WEXITSTATUS(term) : 1);
    }
    CHECK_I64(waitpid(outside, &status, 0), outside);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_RIGHT) {
        print_message("no right to make a PID namespace: skipped\n");
        skip();
    }
    CHECK_I64(WEXITSTATUS(status), 128 + SIGTERM);
}

MR_TEST_MAIN
