/* main.c - millrace-dispatcher. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/signals.h"
#include "dispatcher/app.h"

int main(int argc, char **argv) {
    mr_settings s;
    mr_err err;
    bool exit_now = false;

    mr_signals_end();
    signal(SIGPIPE, SIG_IGN);
    if (mr_settings_load(&s, MR_PROGRAM_DISPATCHER, argc, argv, &exit_now, &err) != MR_OK) {
        fprintf(stderr, "millrace-dispatcher: %s\n", err.text);
        return EX_CONFIG;
    }
    if (exit_now) return EX_OK;
    mr_log_setup(s.log_level, strcmp(s.log_format, "json") == 0);
    const mr_status st = mr_dispatcher_run(&s, argc, argv, &err);
    if (st != MR_OK) mr_log(MR_LOG_ERROR, "main", "stopped", "err=" MR_Q, err.text);
    mr_settings_free(&s);
    return mr_status_exit_code(st);
}
