/* redis_server.h - a redis-server of a test's own: on a unix socket in a fresh folder, no port, nothing
 * kept on disk; and a voice of the test's own that speaks to it.
 *
 * The server dies with the test program. redis_do uses a connection of its own per command and waits
 * for the answer, so a test may call it inside a callback. Every wait has a limit. */
#ifndef MR_TESTS_REDIS_SERVER_H
#define MR_TESTS_REDIS_SERVER_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

#define REDIS_START_MS 120000 /* only what never comes takes so long */
#define REDIS_ANSWER_S 120

typedef struct redis_server {
    pid_t pid; /* 0: it does not run */
    char folder[64], socket_path[100], url[120];
} redis_server;

/* Makes the folder and the names; nothing runs yet. */
static inline void redis_init(redis_server *r) {
    r->pid = 0;
    strcpy(r->folder, "/tmp/mr-test-XXXXXX");
    CHECK(mkdtemp(r->folder) != NULL);
    snprintf(r->socket_path, sizeof r->socket_path, "%s/redis.sock", r->folder);
    snprintf(r->url, sizeof r->url, "unix://%s", r->socket_path);
}

/* A connected socket; -1: nobody listens. */
static inline int redis_connect(const redis_server *r) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = REDIS_ANSWER_S};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", r->socket_path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    close(fd);
    return -1;
}

/* Returns when the server listens. password "": none. */
static inline void redis_start(redis_server *r, const char *password) {
    int fd = -1;

    r->pid = fork();
    if (r->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        if (!freopen("/dev/null", "w", stdout)) _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", r->socket_path,
               "--save", "", "--appendonly", "no", "--dir", r->folder, "--requirepass", password,
               (char *)NULL);
        _exit(127);
    }
    CHECK(r->pid > 0);
    for (int i = 0; i < REDIS_START_MS / 10 && (fd = redis_connect(r)) < 0; i++) usleep(10000);
    CHECK(fd >= 0);
    close(fd);
}

static inline void redis_kill(redis_server *r) {
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
    unlink(r->socket_path);
}

/* Kills it, if it runs, and removes the folder with all that the test put there. */
static inline void redis_deinit(redis_server *r) {
    char command[128];

    if (r->pid) redis_kill(r);
    snprintf(command, sizeof command, "rm -rf %s", r->folder);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", r->folder);
}

/* A text may come in pieces: reads until the answer is whole. */
static inline void redis_read(int fd, char *reply, size_t cap) {
    size_t got = 0, want = 0;

    do {
        const ssize_t more = read(fd, reply + got, cap - 1 - got);
        if (more < 0 && errno == EINTR) continue;
        CHECK(more > 0);
        got += (size_t)more;
        reply[got] = 0;
        if (reply[0] == '$' && strchr(reply, '\n'))
            want = (size_t)(strchr(reply, '\n') + 1 - reply) + strtoul(reply + 1, NULL, 10) + 2;
    } while (got < want || reply[got - 1] != '\n');
}

/* One command; its answer, as it came (until the next call), is not an error. */
static inline const char *redis_do(const redis_server *r, int argc, const char *const *argv) {
    static char reply[1 << 17];
    char out[4096];
    int n = snprintf(out, sizeof out, "*%d\r\n", argc);

    for (int i = 0; i < argc; i++)
        n += snprintf(out + n, sizeof out - (size_t)n, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    const int fd = redis_connect(r);
    CHECK(fd >= 0);
    CHECK_I64(write(fd, out, (size_t)n), n);
    redis_read(fd, reply, sizeof reply);
    close(fd);
    if (reply[0] == '-') fail_msg("redis %s: %.*s", argv[0], 200, reply);
    return reply;
}
#define REDIS_DO(server, ...)                                                                       \
    redis_do(server, (int)MR_COUNT(((const char *[]){__VA_ARGS__})),                               \
             (const char *[]){__VA_ARGS__})

#endif
