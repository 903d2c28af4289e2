/* signals.c - see signals.h. */
#include "base/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static void on_signal(int signum) {
    if (getpid() == 1) _exit(128 + signum);
    signal(signum, SIG_DFL);
    raise(signum); /* it is blocked until we return */
}

void mr_signals_end(void) {
    const struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
}
