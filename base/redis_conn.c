/* redis_conn.c - one connection that comes back: resolve, connect, read, write, lose, wait, again.
 *
 *   waiting -> resolving -> connecting -> connected
 *      ^________________________________________/   lost() each time
 *
 * libuv closes handles and ends name lookups in its own time. So the socket and the lookup are
 * objects of their own: to drop one is to cut its pointer to the link and let it free itself in its
 * last callback. A new try never waits for the end of an old one.
 *
 * A name with several addresses is tried address by address. Limits: connect_timeout_ms over name
 * lookup and all addresses; RETRY_MIN_MS doubled up to RETRY_MAX_MS between tries, of which half is
 * random, so that workers do not come back all at once. */
#include "base/redis_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 5000
#define READ_BYTES   65536
#define KEEPALIVE_S  15
#define MAX_WHY      256

typedef struct sock { /* one socket, from uv_*_init to its close callback */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    uv_connect_t connect;
    mr_redis_link *link; /* NULL: dropped */
} sock;

typedef struct lookup {
    uv_getaddrinfo_t req;
    mr_redis_link *link; /* NULL: dropped */
} lookup;

typedef struct out_buf {
    uv_write_t req;
    char *bytes;
} out_buf;

typedef enum link_state { WAITING, RESOLVING, CONNECTING, CONNECTED } link_state;

struct mr_redis_link {
    uv_loop_t *loop;
    uv_timer_t timer; /* end of the wait, limit of the try, tick when connected */
    mr_redis_addr addr;
    mr_redis_link_ops ops;
    void *owner;
    link_state state;
    int connect_timeout_ms, tick_ms;
    uint32_t retry_ms;
    sock *sock;
    lookup *lookup;
    struct addrinfo *addresses, *next_address;
    char why[MAX_WHY]; /* of the last address that did not work */
    bool closing;
    char in[READ_BYTES];
};

static void try_address(mr_redis_link *l);
static void start_try(mr_redis_link *l);

/* ---- dropping ---- */

static void on_sock_closed(uv_handle_t *h) {
    free(h->data);
}

static void drop_sock(mr_redis_link *l) {
    if (!l->sock) return;
    l->sock->link = NULL;
    uv_close(&l->sock->u.handle, on_sock_closed);
    l->sock = NULL;
}

static void drop_all(mr_redis_link *l) {
    drop_sock(l);
    if (l->lookup) {
        l->lookup->link = NULL;
        uv_cancel((uv_req_t *)&l->lookup->req); /* fails when it runs: then its end frees it */
        l->lookup = NULL;
    }
    if (l->addresses) uv_freeaddrinfo(l->addresses);
    l->addresses = l->next_address = NULL;
}

/* ---- waiting ---- */

static void on_wait_over(uv_timer_t *t) {
    start_try(t->data);
}

static uint64_t jittered(uint32_t ms) {
    uint32_t random = 0;
    uv_random(NULL, NULL, &random, sizeof random, 0, NULL);
    return ms / 2 + random % (ms / 2 + 1);
}

static void lose(mr_redis_link *l, const char *why) {
    drop_all(l);
    l->state = WAITING;
    uv_timer_start(&l->timer, on_wait_over, jittered(l->retry_ms), 0);
    l->retry_ms = l->retry_ms * 2 < RETRY_MAX_MS ? l->retry_ms * 2 : RETRY_MAX_MS;
    l->ops.lost(l->owner, why);
}

static void lose_uv(mr_redis_link *l, const char *what, int rc) {
    char why[MAX_WHY];
    snprintf(why, sizeof why, "%s: %s", what, uv_strerror(rc));
    lose(l, why);
}

/* ---- connected ---- */

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *buf) {
    const sock *s = h->data;
    (void)want;
    *buf = s->link ? uv_buf_init(s->link->in, READ_BYTES) : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    mr_redis_link *l = ((sock *)stream->data)->link;
    if (!l || n == 0) return;
    if (n == UV_EOF)
        lose(l, "the server closed the connection");
    else if (n < 0)
        lose_uv(l, "read", (int)n);
    else
        l->ops.bytes(l->owner, buf->base, (size_t)n);
}

static void on_written(uv_write_t *req, int rc) {
    out_buf *b = req->data;
    mr_redis_link *l = ((sock *)req->handle->data)->link;
    free(b->bytes);
    free(b);
    if (rc && l) lose_uv(l, "write", rc);
}

bool mr_redis_link_write(mr_redis_link *l, char *buf, size_t n) {
    out_buf *b = l->state == CONNECTED ? malloc(sizeof *b) : NULL;
    if (!b) {
        free(buf);
        return false;
    }
    b->bytes = buf;
    b->req.data = b;
    const uv_buf_t bytes = uv_buf_init(buf, (unsigned)n);
    if (uv_write(&b->req, &l->sock->u.stream, &bytes, 1, on_written) == 0) return true;
    free(buf);
    free(b);
    return false;
}

void mr_redis_link_healthy(mr_redis_link *l) {
    l->retry_ms = RETRY_MIN_MS;
}

void mr_redis_link_cut(mr_redis_link *l, const char *why) {
    if (!l->closing && l->state != WAITING) lose(l, why);
}

static void on_tick(uv_timer_t *t) {
    mr_redis_link *l = t->data;
    l->ops.tick(l->owner);
}

/* ---- connecting ---- */

static void on_connect(uv_connect_t *req, int rc) {
    mr_redis_link *l = ((sock *)req->handle->data)->link;
    if (!l) return;
    if (rc == 0) rc = uv_read_start(req->handle, on_alloc, on_read);
    if (rc) {
        snprintf(l->why, sizeof l->why, "connect: %s", uv_strerror(rc));
        drop_sock(l);
        try_address(l);
        return;
    }
    if (!l->addr.is_unix) {
        uv_tcp_nodelay(&l->sock->u.tcp, 1);
        uv_tcp_keepalive(&l->sock->u.tcp, 1, KEEPALIVE_S);
    }
    l->state = CONNECTED;
    uv_timer_start(&l->timer, on_tick, (uint64_t)l->tick_ms, (uint64_t)l->tick_ms);
    l->ops.connected(l->owner);
}

/* Connects to the next address (a path is one), if there is one. */
static void try_address(mr_redis_link *l) {
    sock *s;
    int rc = 0;
    const bool is_last = l->addr.is_unix ? l->why[0] != 0 : l->next_address == NULL;
    if (is_last) {
        lose(l, l->why);
        return;
    }
    s = calloc(1, sizeof *s);
    if (!s) {
        lose(l, "connect: no memory");
        return;
    }
    rc = l->addr.is_unix ? uv_pipe_init(l->loop, &s->u.pipe, 0) : uv_tcp_init(l->loop, &s->u.tcp);
    if (rc) {
        free(s);
        lose_uv(l, "socket", rc);
        return;
    }
    s->u.handle.data = s;
    s->link = l;
    l->sock = s;
    if (l->addr.is_unix) {
        uv_pipe_connect(&s->connect, &s->u.pipe, l->addr.host,
                        on_connect); /* reports by callback */
        return;
    }
    const struct addrinfo *a = l->next_address;
    l->next_address = a->ai_next;
    rc = uv_tcp_connect(&s->connect, &s->u.tcp, a->ai_addr, on_connect);
    if (rc) lose_uv(l, "connect", rc);
}

static void on_resolved(uv_getaddrinfo_t *req, int rc, struct addrinfo *found) {
    lookup *k = req->data;
    mr_redis_link *l = k->link;
    free(k);
    if (!l) {
        uv_freeaddrinfo(found);
        return;
    }
    l->lookup = NULL;
    if (rc) {
        uv_freeaddrinfo(found);
        lose_uv(l, "name lookup", rc);
        return;
    }
    l->addresses = l->next_address = found;
    l->state = CONNECTING;
    try_address(l);
}

static void on_try_over(uv_timer_t *t) {
    mr_redis_link *l = t->data;
    lose(l, l->state == RESOLVING ? "name lookup: too slow" : "connect: too slow");
}

static void start_try(mr_redis_link *l) {
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    l->why[0] = 0;
    uv_timer_start(&l->timer, on_try_over, (uint64_t)l->connect_timeout_ms, 0);
    if (l->addr.is_unix) {
        l->state = CONNECTING;
        try_address(l);
        return;
    }
    l->state = RESOLVING;
    lookup *k = calloc(1, sizeof *k);
    if (!k) {
        lose(l, "name lookup: no memory");
        return;
    }
    k->req.data = k;
    k->link = l;
    l->lookup = k;
    const int rc =
        uv_getaddrinfo(l->loop, &k->req, on_resolved, l->addr.host, l->addr.port, &hints);
    if (rc) {
        free(k);
        l->lookup = NULL;
        lose_uv(l, "name lookup", rc);
    }
}

/* ---- life ---- */

mr_status mr_redis_link_open(mr_redis_link **out, uv_loop_t *loop, const mr_redis_addr *addr,
                             int connect_timeout_ms, int tick_ms, const mr_redis_link_ops *ops,
                             void *owner, mr_err *err) {
    mr_redis_link *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l) return mr_fail(err, MR_ENOMEM, "redis: no memory for a connection");
    l->loop = loop;
    l->addr = *addr;
    l->connect_timeout_ms = connect_timeout_ms;
    l->tick_ms = tick_ms;
    l->ops = *ops;
    l->owner = owner;
    l->retry_ms = RETRY_MIN_MS;
    uv_timer_init(loop, &l->timer);
    l->timer.data = l;
    /* From the loop, so that no callback comes before open has returned. */
    uv_timer_start(&l->timer, on_wait_over, 0, 0);
    *out = l;
    return MR_OK;
}

static void on_timer_closed(uv_handle_t *h) {
    mr_redis_link *l = h->data;
    l->ops.gone(l->owner);
    free(l);
}

void mr_redis_link_close(mr_redis_link *l) {
    l->closing = true;
    drop_all(l);
    l->state = WAITING;
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
