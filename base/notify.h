/* notify.h - what a service manager wants to know: ready, stopping, still alive.
 *
 * systemd's protocol for Type=notify units (sd_notify(3)): a datagram "NAME=VALUE" to the UNIX
 * socket that NOTIFY_SOCKET names. Without that variable every call is a no-op. Nothing here blocks
 * or fails: a manager that cannot be told acts by its own timeouts.
 *
 * Thread: loop. */
#ifndef MR_BASE_NOTIFY_H
#define MR_BASE_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "millrace/error.h"

typedef struct mr_notify {
    struct sockaddr_un to;
    socklen_t n_to;     /* 0: nobody listens */
    uint64_t period_ms; /* between signs of life; 0: none are wanted */
    uint64_t sent_ms;
} mr_notify;

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. MR_EINVAL: one of them makes no sense; n is
 * a valid no-op then. */
mr_status mr_notify_init(mr_notify *n, mr_err *err);

/* What was started is at work; once. */
void mr_notify_ready(const mr_notify *n);
/* The end has begun; to say it again does no harm. */
void mr_notify_stopping(const mr_notify *n);
/* For every turn of some timer: tells twice within the time that the manager waits. */
void mr_notify_alive(mr_notify *n, uint64_t now_ms);

#endif
