/* signals.h - SIGTERM and SIGINT end the process, also where it is process 1.
 *
 * The kernel drops signals with their default effect that are meant for process 1 of a PID
 * namespace, so a program that is alone in a container would run on until it is killed. Whoever
 * wants to stop in order catches them later. */
#ifndef MR_BASE_SIGNALS_H
#define MR_BASE_SIGNALS_H

/* The default effect, with the exit code 128 + number as process 1. First thing in main, and again
 * when somebody who had caught them does so no longer. */
void mr_signals_end(void);

#endif
