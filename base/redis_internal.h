/* redis_internal.h - what the files redis*.c share; nobody else includes it.
 *
 *   redis.c       commands in order, replies to their callbacks, scripts
 *   redis_sub.c   subscriptions
 *   redis_reply.c a reply of hiredis as one of ours
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

struct redisReader;
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

/* ---- redis.c ---- */

typedef enum mr_redis_kind {
    MR_CMD_USER,
    MR_CMD_EVAL,
    MR_CMD_GREET,
    MR_CMD_LOAD,
    MR_CMD_SUBSCRIBE,
    MR_CMD_UNSUBSCRIBE,
    MR_CMD_PING
} mr_redis_kind;

typedef struct mr_redis_cmd {
    char *bytes; /* NULL: on the wire, and not needed again */
    size_t len;
    mr_redis_kind kind;
    uint64_t which; /* LOAD: script; SUBSCRIBE: serial of the channel */
    bool retried;
    uint64_t due_ms; /* of the reply */
    mr_redis_on_reply *cb;
    void *cookie;
} mr_redis_cmd;

typedef struct mr_redis_channel {
    uint64_t serial; /* the same name may come, go, and come again while answers are on their way */
    mr_redis_on_reply *cb;
    void *cookie;
    bool confirmed;
    char name[];
} mr_redis_channel;

typedef struct mr_redis_lua {
    const char *lua;
    char sha[41]; /* "": not loaded yet */
} mr_redis_lua;

typedef enum mr_redis_life { MR_REDIS_DOWN, MR_REDIS_GREETING, MR_REDIS_UP } mr_redis_life;

struct mr_redis {
    uv_loop_t *loop;
    uv_prepare_t end_of_turn;
    mr_redis_link *link;
    int n_open; /* of end_of_turn and link */
    mr_redis_addr addr;
    mr_redis_conf conf;
    char name[MR_REDIS_MAX_TEXT];
    mr_redis_life state;
    bool closing, subscriber, told_error;
    char *why; /* of the last loss that was told; NULL: none since it was up */

    struct redisReader *reader;
    mr_arena reply_arena, scratch;
    uint64_t heard_ms;
    int n_late; /* ticks that found the head late, with no reply in between */

    mr_redis_cmd *ring; /* [cap], a power of two */
    size_t cap, head, len, n_sent, n_user, n_bytes;
    mr_redis_cmd *again; /* [n_again] scripts to be loaded and called again */
    size_t n_again, cap_again;

    mr_redis_lua scripts[MR_REDIS_MAX_SCRIPTS];
    int n_scripts;
    mr_redis_channel **channels;
    size_t n_channels;
    uint64_t last_serial;
};

/* A command of our own, all arguments text. Cuts the connection when there is no memory. */
void mr_redis_queue_own(mr_redis *r, mr_redis_kind kind, uint64_t which, int argc,
                        const char *const *argv);

/* ---- redis_sub.c ---- */

void mr_redis_queue_subscribe(mr_redis *r, const mr_redis_channel *ch);
void mr_redis_on_subscribed(mr_redis *r, uint64_t serial, const mr_reply *reply);
bool mr_redis_is_message(const mr_redis *r, const mr_reply *reply);
void mr_redis_on_message(mr_redis *r, const mr_reply *reply);
void mr_redis_close_channels(mr_redis *r); /* tells who still waits: MR_ECANCELED */
void mr_redis_free_channels(mr_redis *r);

/* ---- redis_reply.c ---- */

struct redisReply;
const mr_reply *mr_redis_convert(mr_arena *a, const struct redisReply *from); /* NULL: no memory */

#endif
