/* app.h - the dispatcher: opens its modules in order, runs the loop, closes them in reverse. */
#ifndef MR_DISPATCHER_APP_H
#define MR_DISPATCHER_APP_H

#include "schemas/settings.h"

/* Runs until SIGTERM or SIGINT (a second one ends at once). MR_OK: an orderly stop. argv: where s was
 * loaded from; SIGHUP reads it again into s. */
mr_status mr_dispatcher_run(mr_settings *s, int argc, char *const *argv, mr_err *err);

#endif
