/* http_client.h - a thread that plays an HTTP client with plain sockets while the test runs the
 * loop. */
#ifndef MR_TESTS_NET_HTTP_CLIENT_H
#define MR_TESTS_NET_HTTP_CLIENT_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../test.h"
#include "loop.h"

#define WAIT_MS 120000 /* only what never comes takes so long */

typedef struct talk {
    int port;
    const char *request;
    char answer[16384];
    size_t len;
    atomic_bool done;
} talk;

static int dial(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

static void *client(void *arg) {
    talk *t = arg;
    const int fd = dial(t->port);
    const ssize_t sent = fd < 0 ? -1 : send(fd, t->request, strlen(t->request), MSG_NOSIGNAL);
    ssize_t n = sent < 0 ? -1 : 1;
    while (n > 0 && t->len < sizeof t->answer - 1) {
        n = recv(fd, t->answer + t->len, sizeof t->answer - 1 - t->len, 0);
        if (n > 0) t->len += (size_t)n;
    }
    if (fd >= 0) close(fd);
    atomic_store(&t->done, true);
    return NULL;
}

static bool is_done(void *arg) {
    return atomic_load(&((talk *)arg)->done);
}

/* The whole answer to a request that ends with "Connection: close". Borrowed until the next. */
static talk *ask_at(uv_loop_t *loop, int port, const char *request) {
    static talk t;
    pthread_t thread;
    memset(&t, 0, sizeof t);
    t.port = port;
    t.request = request;
    CHECK_I64(pthread_create(&thread, NULL, client, &t), 0);
    CHECK(run_until(loop, is_done, &t, WAIT_MS));
    pthread_join(thread, NULL);
    return &t;
}

#endif
