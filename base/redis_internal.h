/* redis_internal.h - what the files redis*.c share; nobody else includes it.
 *
 *   redis.c       commands in order, replies to their callbacks, scripts, subscriptions
 *   redis_conn.c  finding, connecting and losing a server; bytes in and out
 *   redis_url.c   the URL */
#ifndef MR_BASE_REDIS_INTERNAL_H
#define MR_BASE_REDIS_INTERNAL_H

#include "base/arena.h"
#include "base/redis.h"

#define MR_REDIS_MAX_TEXT     256 /* host, user, password, path, client name */
#define MR_REDIS_MAX_SCRIPTS  8
#define MR_REDIS_MAX_CHANNELS 4096

typedef struct mr_redis_addr {
    bool is_unix;
    char host[MR_REDIS_MAX_TEXT]; /* name, address, or path of a unix socket */
    char port[8];
    char user[MR_REDIS_MAX_TEXT], password[MR_REDIS_MAX_TEXT]; /* "": none */
    int db;
} mr_redis_addr;

/* The error never shows the URL, which may hold a password. */
mr_status mr_redis_url_parse(mr_redis_addr *out, const char *url, mr_err *err);

/* ---- redis_conn.c ---- */

typedef struct mr_redis_link mr_redis_link;

typedef struct mr_redis_link_ops { /* called from the loop; lost() also inside mr_redis_link_cut */
    void (*connected)(void *owner);
    void (*bytes)(void *owner, const char *bytes, size_t n);
    void (*lost)(void *owner, const char *why); /* a new try is on its way */
    void (*tick)(void *owner);                  /* while connected */
    void (*gone)(void *owner);                  /* closed: the owner may free itself */
} mr_redis_link_ops;

mr_status mr_redis_link_open(mr_redis_link **out, uv_loop_t *loop, const mr_redis_addr *addr,
                             int connect_timeout_ms, int tick_ms, const mr_redis_link_ops *ops,
                             void *owner, mr_err *err);
/* Takes over buf (malloc'd). False: not connected, buf is freed. */
bool mr_redis_link_write(mr_redis_link *l, char *buf, size_t n);
/* The peer answers as it should: the next loss starts again with the shortest wait. */
void mr_redis_link_healthy(mr_redis_link *l);
/* Cuts the connection; lost() is called, and a new try follows. */
void mr_redis_link_cut(mr_redis_link *l, const char *why);
/* gone() is called when the handles are closed; no other call after this one. */
void mr_redis_link_close(mr_redis_link *l);

#endif
