/* main.c - millrace, the command line. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/signals.h"
#include "cli/args.h"

/* What was printed must have arrived: a full disk is an error, a reader that had enough is none to
 * talk about. */
static int close_stdout(int rc) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return rc;
    if (errno != EPIPE && errno != 0)
        fprintf(stderr, "millrace: cannot write to standard output: %s\n", strerror(errno));
    return rc == EX_OK ? EX_IOERR : rc;
}

int main(int argc, char **argv) {
    mr_signals_end();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, with an exit code */
    /* What the libraries warn about is not what a command has to say; its own errors are. */
    mr_log_setup("error", false);
    return close_stdout(mr_cli_run(mr_cli_commands(), argc, argv));
}
