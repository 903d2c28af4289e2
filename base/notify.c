/* notify.c - a datagram to the service manager.
 *
 * The socket is opened for each message: there are few, and so there is nothing to close. An
 * address that begins with @ is Linux's abstract kind, whose first byte is zero. */
#include "base/notify.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_number(const char *text, unsigned long long *out) {
    char *end = NULL;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && errno == 0;
}

static mr_status read_address(mr_notify *n, const char *address, mr_err *err) {
    const size_t len = strlen(address);

    if ((address[0] != '/' && address[0] != '@') || len < 2)
        return mr_fail(err, MR_EINVAL, "NOTIFY_SOCKET: neither a path nor an abstract address");
    if (len >= sizeof n->to.sun_path)
        return mr_fail(err, MR_EINVAL, "NOTIFY_SOCKET: %zu bytes, at most %zu", len,
                       sizeof n->to.sun_path - 1);
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, address, len);
    if (address[0] == '@') n->to.sun_path[0] = 0;
    n->n_to = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return MR_OK;
}

static mr_status read_period(mr_notify *n, mr_err *err) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    unsigned long long number;

    if (!usec) return MR_OK;
    if (pid && (!read_number(pid, &number) || number != (unsigned long long)getpid()))
        return MR_OK; /* meant for another process of the unit */
    if (!read_number(usec, &number) || number == 0)
        return mr_fail(err, MR_EINVAL, "WATCHDOG_USEC: not a positive number");
    n->period_ms = number / 2000 ? number / 2000 : 1;
    return MR_OK;
}

mr_status mr_notify_init(mr_notify *n, mr_err *err) {
    const char *address = getenv("NOTIFY_SOCKET");
    mr_status st;

    *n = (mr_notify){.n_to = 0};
    if (!address) return MR_OK;
    if ((st = read_address(n, address, err)) != MR_OK) return st;
    return read_period(n, err);
}

static void tell(const mr_notify *n, const char *text) {
    int fd;

    if (!n->n_to) return;
    if ((fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0) return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->n_to);
    close(fd);
}

void mr_notify_ready(const mr_notify *n) {
    tell(n, "READY=1");
}

void mr_notify_stopping(const mr_notify *n) {
    tell(n, "STOPPING=1");
}

void mr_notify_alive(mr_notify *n, uint64_t now_ms) {
    if (!n->period_ms || (n->sent_ms && now_ms - n->sent_ms < n->period_ms)) return;
    n->sent_ms = now_ms;
    tell(n, "WATCHDOG=1");
}
