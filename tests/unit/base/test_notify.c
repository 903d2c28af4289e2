/* Goal: a service manager hears READY, STOPPING and signs of life as sd_notify(3) describes them,
 * and a process without one, or with a wrong address, runs as if nothing were.
 * Method: the test is the manager: it listens on a datagram socket and sets the variables. */
#include "base/notify.h"

#include <stdbool.h>
#include <unistd.h>

#include "../../test.h"

static int listen_fd = -1;
static char address[64];

/* Listens on a path, or on an abstract address where abstract is set. */
static void begin(bool abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    socklen_t n;

    snprintf(address, sizeof address, "%s/tmp/millrace-notify-%ld", abstract ? "@" : "",
             (long)getpid());
    n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address));
    memcpy(to.sun_path, address, strlen(address));
    if (abstract) to.sun_path[0] = 0;
    unlink(address);
    listen_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(listen_fd >= 0);
    CHECK_I64(bind(listen_fd, (struct sockaddr *)&to, n), 0);
    setenv("NOTIFY_SOCKET", address, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void end(void) {
    close(listen_fd);
    unlink(address);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* The next datagram, or "" when there is none. */
static const char *heard(void) {
    static char text[64];
    const ssize_t n = recv(listen_fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = 0;
    return text;
}

TEST(ready_and_stopping_are_told) {
    for (int abstract = 0; abstract < 2; abstract++) {
        mr_notify n;
        mr_err err = {0};

        begin(abstract);
        CHECK_OK(mr_notify_init(&n, &err), err);
        mr_notify_ready(&n);
        CHECK_STR(heard(), "READY=1");
        mr_notify_stopping(&n);
        CHECK_STR(heard(), "STOPPING=1");
        mr_notify_alive(&n, 1); /* no watchdog is wanted */
        CHECK_STR(heard(), "");
        end();
    }
}

TEST(signs_of_life_come_twice_per_limit) {
    mr_notify n;
    mr_err err = {0};
    int told = 0;
    char pid[32];

    begin(false);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("WATCHDOG_USEC", "2000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    CHECK_OK(mr_notify_init(&n, &err), err);
    for (uint64_t now_ms = 5000; now_ms < 15000; now_ms += 100) {
        mr_notify_alive(&n, now_ms);
        if (strcmp(heard(), "WATCHDOG=1") == 0) told++;
    }
    CHECK_I64(told, 10);

    setenv("WATCHDOG_PID", "1", 1); /* another process of the unit */
    CHECK_OK(mr_notify_init(&n, &err), err);
    mr_notify_alive(&n, 100000);
    CHECK_STR(heard(), "");
    end();
}

TEST(without_a_manager_nothing_happens) {
    mr_notify n;
    mr_err err = {0};

    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000", 1);
    CHECK_OK(mr_notify_init(&n, &err), err);
    mr_notify_ready(&n);
    mr_notify_alive(&n, 1000);
    unsetenv("WATCHDOG_USEC");

    begin(false);
    CHECK_OK(mr_notify_init(&n, &err), err);
    end(); /* the manager is gone */
    mr_notify_stopping(&n);
}

TEST(a_wrong_address_is_named) {
    static const struct {
        const char *socket, *usec, *says;
    } wrong[] = {{"vsock:2:1234", NULL, "NOTIFY_SOCKET"},
                 {"/", NULL, "NOTIFY_SOCKET"},
                 {"", NULL, "NOTIFY_SOCKET"},
                 {"@x", "0", "WATCHDOG_USEC"},
                 {"@x", "-5", "WATCHDOG_USEC"},
                 {"@x", "5s", "WATCHDOG_USEC"}};
    char longest[200];
    mr_notify n;
    mr_err err = {0};

    for (size_t i = 0; i < MR_COUNT(wrong); i++) {
        setenv("NOTIFY_SOCKET", wrong[i].socket, 1);
        if (wrong[i].usec) setenv("WATCHDOG_USEC", wrong[i].usec, 1);
        CHECK_I64(mr_notify_init(&n, &err), MR_EINVAL);
        CHECK_ERR(err, wrong[i].says);
        CHECK_I64(n.period_ms, 0);
    }
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/', longest[sizeof longest - 1] = 0;
    setenv("NOTIFY_SOCKET", longest, 1);
    CHECK_I64(mr_notify_init(&n, &err), MR_EINVAL);
    CHECK_ERR(err, "at most 107");
    mr_notify_ready(&n);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
}

MR_TEST_MAIN
