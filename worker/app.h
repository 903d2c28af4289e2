/* app.h - the whole worker: opens all in order, serves, and closes all in order.
 *
 * Thread: the caller becomes the loop thread. */
#ifndef MR_WORKER_APP_H
#define MR_WORKER_APP_H

#include "millrace/error.h"
#include "schemas/settings.h"

/* Runs until a signal or a fatal error ends it. argv: where s was loaded from; SIGHUP reads it
 * again into s. Returns the exit code for the process; why it could not go on has been logged. */
int mr_app_run(mr_settings *s, int argc, char *const *argv);

#endif
