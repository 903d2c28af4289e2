/* child.c - see child.h. */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { FIRST_PAUSE_MS = 500, MAX_PAUSE_MS = 30000, SETTLED_MS = 60000 };

/* In the child, after fork: only calls that are safe there. */
static _Noreturn void become(const mr_child *c, pid_t parent) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    if (getppid() != parent) _exit(MR_CHILD_NO_EXEC); /* it died before prctl */
    if (c->log_path) {
        const int fd = open(c->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(MR_CHILD_NO_LOG);
    } else if (dup2(2, 1) < 0) { /* our own stdout is for data */
        _exit(MR_CHILD_NO_EXEC);
    }
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, 0);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* what the libraries left open is not for children */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(c->argv[0], (char *const *)c->argv);
    _exit(MR_CHILD_NO_EXEC);
}

mr_status mr_child_start(mr_child *c, uint64_t now_ms, mr_err *err) {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) become(c, parent);
    if (pid < 0) return mr_fail(err, MR_ELIMIT, "%s: cannot fork: %s", c->name, strerror(errno));
    c->pid = pid;
    c->started_ms = now_ms;
    c->restart_ms = 0;
    return MR_OK;
}

static void plan_restart(mr_child *c, uint64_t now_ms) {
    if (now_ms - c->started_ms > SETTLED_MS || c->pause_ms == 0)
        c->pause_ms = FIRST_PAUSE_MS;
    else
        c->pause_ms = 2 * c->pause_ms < MAX_PAUSE_MS ? 2 * c->pause_ms : MAX_PAUSE_MS;
    c->restart_ms = now_ms + c->pause_ms;
}

bool mr_child_tend(mr_child *c, uint64_t now_ms) {
    if (c->pid > 0 && waitpid(c->pid, &c->exit_status, WNOHANG) == c->pid) {
        c->pid = 0;
        if (!c->stopping) plan_restart(c, now_ms);
        return true;
    }
    if (c->pid == 0 && c->restart_ms && now_ms >= c->restart_ms && !c->stopping) {
        c->restarts++;
        if (mr_child_start(c, now_ms, NULL) != MR_OK) plan_restart(c, now_ms);
    }
    return false;
}

void mr_child_stop(mr_child *c, int signum, int timeout_ms, const volatile sig_atomic_t *now) {
    const struct timespec nap = {.tv_nsec = 20 * 1000 * 1000};
    c->stopping = true;
    if (c->pid <= 0) return;
    kill(c->pid, signum);
    const uint64_t end_ms = mr_clock_mono_ms() + (uint64_t)timeout_ms;
    while (waitpid(c->pid, &c->exit_status, WNOHANG) == 0) {
        if (*now || mr_clock_mono_ms() >= end_ms) {
            kill(c->pid, SIGKILL);
            waitpid(c->pid, &c->exit_status, 0);
            break;
        }
        nanosleep(&nap, NULL);
    }
    c->pid = 0;
}

mr_status mr_child_beside(const char *program, char *buf, size_t cap, mr_err *err) {
    const ssize_t n = readlink("/proc/self/exe", buf, cap - 1);
    if (n <= 0) return mr_fail(err, MR_EIO, "/proc/self/exe: %s", strerror(errno));
    buf[n] = '\0';
    const size_t dir = (size_t)(strrchr(buf, '/') + 1 - buf);
    if (dir + strlen(program) >= cap)
        return mr_fail(err, MR_EIO, "the path of %s is longer than %zu bytes", program, cap - 1);
    strcpy(buf + dir, program);
    return MR_OK;
}

const char *mr_child_how(const mr_child *c, char *buf, size_t cap) {
    if (WIFSIGNALED(c->exit_status))
        snprintf(buf, cap, "signal %d", WTERMSIG(c->exit_status));
    else if (WEXITSTATUS(c->exit_status) == MR_CHILD_NO_EXEC)
        snprintf(buf, cap, "exit status %d: is %s installed?", MR_CHILD_NO_EXEC, c->argv[0]);
    else if (WEXITSTATUS(c->exit_status) == MR_CHILD_NO_LOG && c->log_path)
        snprintf(buf, cap, "exit status %d: cannot write %s", MR_CHILD_NO_LOG, c->log_path);
    else
        snprintf(buf, cap, "exit status %d", WEXITSTATUS(c->exit_status));
    return buf;
}
