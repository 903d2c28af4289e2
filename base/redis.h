/* redis.h - Redis for one libuv loop: pipelined commands, a script, a subscription.
 *
 * hiredis is the codec; connection, timers and reconnection are ours (its libuv adapter never
 * reports a refused connection and knows no command timeout). The only files that include hiredis.h
 * are redis*.c. All callbacks run on the loop thread.
 *
 * A connection reconnects by itself (50 ms doubled up to 5 s, jittered). What was sent and not
 * answered when it broke is reported MR_EUNAVAIL and never sent again by us: the caller decides. */
#ifndef MR_BASE_REDIS_H
#define MR_BASE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "millrace/error.h"

typedef struct mr_redis mr_redis;

typedef enum mr_reply_type {
    MR_REPLY_NIL, MR_REPLY_INT, MR_REPLY_TEXT, MR_REPLY_STATUS, MR_REPLY_ERROR, MR_REPLY_ARRAY
} mr_reply_type;

typedef struct mr_reply mr_reply; /* borrowed until the callback returns */
struct mr_reply {
    mr_reply_type type;
    int64_t integer;
    const char *text; /* TEXT, STATUS, ERROR; terminated, may hold zero bytes */
    size_t len;
    const mr_reply *const *items; /* ARRAY; NULL entries never occur */
    size_t n_items;
};

/* r is NULL unless status is MR_OK; an error reply of Redis is MR_OK with type MR_REPLY_ERROR. */
typedef void mr_redis_on_reply(void *owner, void *cookie, mr_status status, const mr_reply *r);

typedef struct mr_redis_conf {
    const char *url;         /* redis://[user:password@]host:port[/db] or unix:///path */
    const char *client_name; /* CLIENT SETNAME */
    int connect_timeout_ms;  /* 0: 2,000 */
    int command_timeout_ms;  /* 0: 5,000; the connection is cut when a reply is later than this */
    size_t max_pending;      /* commands queued or unanswered; 0: 16,384 */
    void *owner;
    void (*on_state)(void *owner, bool up, const char *why); /* NULL allowed; AUTH and SELECT done */
    /* Pub/sub messages, when mr_redis_subscribe was called on this connection. */
    void (*on_message)(void *owner, const char *channel, const void *data, size_t len);
} mr_redis_conf;

/* Checks the URL (MR_EINVAL) and starts to connect; a server that is away is not an error. */
mr_status mr_redis_open(mr_redis **out, uv_loop_t *loop, const mr_redis_conf *conf, mr_err *err);
bool mr_redis_up(const mr_redis *r);
size_t mr_redis_pending(const mr_redis *r);

/* Queue one command; written at mr_redis_flush or at the end of this loop turn. argvlen may be NULL
 * for terminated strings. MR_EUNAVAIL: not connected; MR_ELIMIT: max_pending. cb may be NULL. */
mr_status mr_redis_command(mr_redis *r, size_t argc, const char *const *argv, const size_t *argvlen,
                           mr_redis_on_reply *cb, void *cookie, mr_err *err);
/* A Lua script by its text: loaded on every connection, called by EVALSHA, reloaded on NOSCRIPT.
 * Returns a handle for mr_redis_eval; at most 8 per connection; text is borrowed for ever. */
mr_status mr_redis_script(mr_redis *r, const char *lua, int *handle_out, mr_err *err);
mr_status mr_redis_eval(mr_redis *r, int script, size_t n_keys, size_t argc, const char *const *argv,
                        const size_t *argvlen, mr_redis_on_reply *cb, void *cookie, mr_err *err);
void mr_redis_flush(mr_redis *r);

/* Turns the connection into a subscriber (RESP2 allows nothing else on it then); subscriptions are
 * made again after a reconnect, before on_state(up). cb: once the server has confirmed. */
mr_status mr_redis_subscribe(mr_redis *r, const char *channel, mr_redis_on_reply *cb, void *cookie,
                             mr_err *err);
mr_status mr_redis_unsubscribe(mr_redis *r, const char *channel, mr_err *err);

/* Unanswered commands get MR_ECANCELED. Handles close on the loop. NULL is allowed. */
void mr_redis_close(mr_redis *r);

#endif
