/* main.c - millrace-worker: settings in, exit code out.
 *
 * Exit codes are those of sysexits.h: 0 after an orderly stop, 78 for wrong settings, 66 and 65 for
 * a model that is missing or broken, 69 when Kafka cannot be reached, 75 when a second signal or a
 * stuck engine cut the stop short, or the device was lost. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/signals.h"
#include "schemas/settings.h"
#include "worker/app.h"

#define EX_CONFIG_ERROR 78

int main(int argc, char **argv) {
    mr_settings s;
    mr_err err = {0};
    bool exit_now = false;
    int code;

    mr_signals_end();
    signal(SIGPIPE, SIG_IGN); /* a peer that hangs up is an error code, not the end */
    if (mr_settings_load(&s, MR_PROGRAM_WORKER, argc, argv, &exit_now, &err) != MR_OK) {
        fprintf(stderr, "millrace-worker: %s\n", err.text);
        return EX_CONFIG_ERROR;
    }
    if (exit_now) {
        mr_settings_free(&s);
        return 0;
    }
    mr_log_setup(s.log_level, strcmp(s.log_format, "json") == 0);
    code = mr_app_run(&s, argc, argv);
    mr_settings_free(&s);
    return code;
}
