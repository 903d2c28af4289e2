/* bench_bare.c - see bench_bare.h. */
#include "cli/bench_bare.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* The child: the rest of its life. */
_Noreturn static void run(int go, mr_bare_conf conf) {
    mr_err err;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    if (read(go, &conf.n, sizeof conf.n) != sizeof conf.n) _exit(EX_OK);
    const mr_status st = mr_bare_run(&conf, &err);
    if (st != MR_OK) fprintf(stderr, "millrace bench pipeline: %s\n", err.text);
    if (st == MR_OK) (void)!read(go, &conf.n, 1); /* until it has been measured */
    _exit(st == MR_OK ? EX_OK : EX_UNAVAILABLE);
}

mr_status mr_bench_bare_fork(mr_bench_bare *b, const mr_bare_conf *conf, mr_err *err) {
    int fds[2];

    if (pipe(fds) != 0) return mr_fail(err, MR_ELIMIT, "no pipe");
    fflush(NULL);
    b->pid = fork();
    if (b->pid == 0) {
        close(fds[1]);
        run(fds[0], *conf);
    }
    close(fds[0]);
    if (b->pid < 0) {
        close(fds[1]);
        b->pid = 0;
        return mr_fail(err, MR_ELIMIT, "cannot fork");
    }
    b->go = fds[1];
    return MR_OK;
}

mr_status mr_bench_bare_start(mr_bench_bare *b, uint64_t n, mr_err *err) {
    if (write(b->go, &n, sizeof n) == sizeof n) return MR_OK;
    return mr_fail(err, MR_EUNAVAIL, "the bare loop has ended");
}

void mr_bench_bare_end(mr_bench_bare *b) {
    if (b->pid <= 0) return;
    close(b->go);
    kill(b->pid, SIGKILL);
    waitpid(b->pid, NULL, 0);
    b->pid = 0;
}
