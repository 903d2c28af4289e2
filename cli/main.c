/* main.c - millrace, the command line. */
#include <signal.h>

#include "base/log.h"
#include "cli/args.h"

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, with a message and an exit code */
    /* What the libraries warn about is not what a command has to say; its own errors are. */
    mr_log_setup(MR_LOG_ERROR, false);
    return mr_cli_run(mr_cli_commands(), argc, argv);
}
