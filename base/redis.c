/* redis.c - commands go out in order, and replies come back in the same order.
 *
 * One queue holds the commands: the first n_sent are on the wire, the rest goes out with the next
 * flush in one write. A reply belongs to the head. When the connection breaks everything in the
 * queue is reported MR_EUNAVAIL; nothing is sent twice.
 *
 * One exception: a script that the server forgot (NOSCRIPT: it did not run). Sending it again must
 * not let later commands overtake it, since the frames of a stream are in order. So from the first
 * NOSCRIPT on nothing is flushed until all that is on the wire is answered; then the scripts are
 * loaded, the forgotten calls go again in their old order, and the rest follows. Once per call.
 *
 * Greeting of each connection: AUTH, CLIENT SETNAME, SELECT, SCRIPT LOAD, SUBSCRIBE, PING; the
 * answer to the PING makes it "up". An idle connection is asked PING every PING_MS, so a peer that
 * vanished is found; a reply that is later than command_timeout_ms cuts the connection.
 *
 * Limits: max_pending commands of the caller, MAX_BYTES of them, MR_REDIS_MAX_SCRIPTS,
 * MR_REDIS_MAX_CHANNELS. */
#include "base/redis_internal.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define CONNECT_MS      2000
#define COMMAND_MS      5000
#define MAX_PENDING     16384
#define MAX_PENDING_CAP (1u << 20)
#define MAX_BYTES       (64u << 20)
#define MAX_ARGS        1024
#define PING_MS         15000
#define FIRST_CAP       64
#define MAX_HEAD        24 /* mark, 20 digits, line end */

/* ---- the queue ---- */

static mr_redis_cmd *at(mr_redis *r, size_t i) {
    return &r->ring[(r->head + i) & (r->cap - 1)];
}

static bool make_room(mr_redis *r) {
    if (r->len < r->cap) return true;
    const size_t cap = r->cap ? r->cap * 2 : FIRST_CAP;
    mr_redis_cmd *ring = malloc(cap * sizeof *ring);
    if (!ring) return false;
    for (size_t i = 0; i < r->len; i++) ring[i] = *at(r, i);
    free(r->ring);
    r->ring = ring;
    r->cap = cap;
    r->head = 0;
    return true;
}

static void on_end_of_turn(uv_prepare_t *p) {
    mr_redis_flush(p->data);
}

static bool is_users(const mr_redis_cmd *c) {
    return c->kind == MR_CMD_USER || c->kind == MR_CMD_EVAL;
}

static bool push_back(mr_redis *r, const mr_redis_cmd *c) {
    if (!make_room(r)) return false;
    *at(r, r->len++) = *c;
    r->n_bytes += c->len;
    r->n_user += is_users(c);
    uv_prepare_start(&r->end_of_turn, on_end_of_turn);
    return true;
}

/* In front of everything that is not on the wire; used only while nothing is. */
static bool push_front(mr_redis *r, const mr_redis_cmd *c) {
    if (!make_room(r)) return false;
    r->head = (r->head - 1) & (r->cap - 1);
    r->len++;
    *at(r, 0) = *c;
    r->n_bytes += c->len;
    return true;
}

static mr_redis_cmd pop(mr_redis *r) {
    const mr_redis_cmd c = *at(r, 0);
    r->head = (r->head + 1) & (r->cap - 1);
    r->len--;
    if (r->n_sent > 0) r->n_sent--;
    r->n_bytes -= c.len;
    return c;
}

static void end_cmd(mr_redis *r, const mr_redis_cmd *c, mr_status st, const mr_reply *reply) {
    free(c->bytes);
    if (!is_users(c)) return;
    r->n_user--;
    if (c->cb) c->cb(r->conf.owner, c->cookie, st, reply);
}

static void fail_all(mr_redis *r, mr_status st) {
    while (r->n_again > 0) {
        const mr_redis_cmd c = r->again[0];
        memmove(r->again, r->again + 1, --r->n_again * sizeof c);
        end_cmd(r, &c, st, NULL);
    }
    while (r->len > 0) {
        const mr_redis_cmd c = pop(r);
        end_cmd(r, &c, st, NULL);
    }
}

void mr_redis_flush(mr_redis *r) {
    uv_prepare_stop(&r->end_of_turn);
    if (r->state == MR_REDIS_DOWN || r->n_again > 0 || r->n_sent == r->len) return;

    size_t total = 0;
    for (size_t i = r->n_sent; i < r->len; i++) total += at(r, i)->len;
    char *buf = malloc(total);
    if (!buf) {
        mr_redis_link_cut(r->link, "no memory to write");
        return;
    }
    const uint64_t due = uv_now(r->loop) + (uint64_t)r->conf.command_timeout_ms;
    size_t n = 0;
    for (; r->n_sent < r->len; r->n_sent++) {
        mr_redis_cmd *c = at(r, r->n_sent);
        memcpy(buf + n, c->bytes, c->len);
        n += c->len;
        c->due_ms = due;
        if (c->kind == MR_CMD_EVAL && !c->retried) continue; /* perhaps needed again */
        free(c->bytes);
        c->bytes = NULL;
    }
    if (!mr_redis_link_write(r->link, buf, total)) mr_redis_link_cut(r->link, "cannot write");
}

/* "$12\r\n": what RESP puts in front of an argument of 12 bytes; '*' and a count: of a command. */
static char *put_head(char *to, char mark, size_t n) {
    char digits[24];
    size_t len = sizeof digits;

    do
        digits[--len] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    *to++ = mark;
    memcpy(to, digits + len, sizeof digits - len);
    to += sizeof digits - len;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

/* Fills bytes and len; some hundred commands a millisecond pass here, too many for printf. */
static bool format_cmd(mr_redis_cmd *c, int argc, const char *const *argv, const size_t *lens) {
    size_t most = MAX_HEAD;

    for (int i = 0; i < argc; i++) most += MAX_HEAD + (lens ? lens[i] : strlen(argv[i])) + 2;
    if (!(c->bytes = malloc(most))) return false;
    char *to = put_head(c->bytes, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        const size_t n = lens ? lens[i] : strlen(argv[i]);
        to = put_head(to, '$', n);
        memcpy(to, argv[i], n);
        to += n;
        *to++ = '\r';
        *to++ = '\n';
    }
    c->len = (size_t)(to - c->bytes);
    return true;
}

static bool queue_cmd(mr_redis *r, mr_redis_cmd *c, int argc, const char *const *argv,
                      const size_t *lens) {
    if (!format_cmd(c, argc, argv, lens)) return false;
    if (push_back(r, c)) return true;
    free(c->bytes);
    return false;
}

/* Commands of our own, all arguments text. */
void mr_redis_queue_own(mr_redis *r, mr_redis_kind kind, uint64_t which, int argc,
                        const char *const *argv) {
    mr_redis_cmd c = {.kind = kind, .which = which};
    if (!queue_cmd(r, &c, argc, argv, NULL)) mr_redis_link_cut(r->link, "no memory for a command");
}

/* ---- greeting ---- */

static void queue_load(mr_redis *r, int i) {
    const char *const argv[] = {"SCRIPT", "LOAD", r->scripts[i].lua};
    mr_redis_queue_own(r, MR_CMD_LOAD, (uint64_t)i, 3, argv);
}

static void queue_ping(mr_redis *r) {
    const char *const argv[] = {"PING"};
    mr_redis_queue_own(r, MR_CMD_PING, 0, 1, argv);
}

static void queue_auth(mr_redis *r) {
    const char *const with_user[] = {"AUTH", r->addr.user, r->addr.password};
    const char *const without[] = {"AUTH", r->addr.password};
    if (r->addr.user[0])
        mr_redis_queue_own(r, MR_CMD_GREET, 0, 3, with_user);
    else
        mr_redis_queue_own(r, MR_CMD_GREET, 0, 2, without);
}

static void on_connected(void *owner) {
    mr_redis *r = owner;
    if (r->reader) redisReaderFree(r->reader);
    r->reader = redisReaderCreate();
    if (!r->reader) {
        mr_redis_link_cut(r->link, "no memory to read replies");
        return;
    }
    r->state = MR_REDIS_GREETING;
    r->told_error = false;
    r->n_late = 0;
    r->heard_ms = uv_now(r->loop);
    if (r->addr.password[0] && r->state == MR_REDIS_GREETING) queue_auth(r);
    if (r->name[0] && r->state == MR_REDIS_GREETING) {
        const char *const argv[] = {"CLIENT", "SETNAME", r->name};
        mr_redis_queue_own(r, MR_CMD_GREET, 0, 3, argv);
    }
    if (r->addr.db && r->state == MR_REDIS_GREETING) {
        char db[16];
        snprintf(db, sizeof db, "%d", r->addr.db);
        const char *const argv[] = {"SELECT", db};
        mr_redis_queue_own(r, MR_CMD_GREET, 0, 2, argv);
    }
    for (int i = 0; i < r->n_scripts && r->state == MR_REDIS_GREETING; i++) queue_load(r, i);
    for (size_t i = 0; i < r->n_channels && r->state == MR_REDIS_GREETING; i++)
        mr_redis_queue_subscribe(r, r->channels[i]);
    if (r->state == MR_REDIS_GREETING) queue_ping(r);
    mr_redis_flush(r);
}

static void on_up(mr_redis *r) {
    r->state = MR_REDIS_UP;
    free(r->why);
    r->why = NULL;
    mr_redis_link_healthy(r->link);
    if (r->conf.on_state) r->conf.on_state(r->conf.owner, true, "");
}

/* Tells the owner of each new trouble, not of each try. */
static void on_lost(void *owner, const char *why) {
    mr_redis *r = owner;
    const bool is_news = r->state == MR_REDIS_UP || !r->why || strcmp(r->why, why) != 0;
    r->state = MR_REDIS_DOWN;
    if (is_news) {
        free(r->why);
        r->why = strdup(why);
        if (r->conf.on_state) r->conf.on_state(r->conf.owner, false, why);
    }
    fail_all(r, MR_EUNAVAIL);
}

static void on_tick(void *owner) {
    mr_redis *r = owner;
    const uint64_t now = uv_now(r->loop);
    if (r->n_sent > 0 && at(r, 0)->due_ms < now) {
        /* A loop that stood still finds old replies after its timers: give them one more turn. */
        if (++r->n_late > 1) mr_redis_link_cut(r->link, "a reply is too late");
        return;
    }
    r->n_late = 0;
    if (r->state == MR_REDIS_UP && r->len == 0 && now - r->heard_ms >= PING_MS) queue_ping(r);
}

/* ---- replies ---- */

static bool says(const mr_reply *reply, const char *code) {
    const size_t n = strlen(code);
    return reply->type == MR_REPLY_ERROR && reply->len >= n && memcmp(reply->text, code, n) == 0;
}

/* All that was on the wire is answered: load the scripts and call again, in the old order. */
static void call_again(mr_redis *r) {
    const size_t n = r->n_again;
    bool ok = true;
    r->n_again = 0;
    for (size_t i = n; i > 0; i--) ok = push_front(r, &r->again[i - 1]) && ok;
    for (int i = r->n_scripts - 1; i >= 0; i--) {
        const char *argv[] = {"SCRIPT", "LOAD", r->scripts[i].lua};
        mr_redis_cmd c = {.kind = MR_CMD_LOAD, .which = (uint64_t)i};
        const bool made = format_cmd(&c, 3, argv, NULL);
        ok = made && push_front(r, &c) && ok;
    }
    if (ok)
        mr_redis_flush(r);
    else
        mr_redis_link_cut(r->link, "no memory to call a script again");
}

static bool keep_for_again(mr_redis *r, const mr_redis_cmd *c) {
    if (r->n_again == r->cap_again) {
        const size_t cap = r->cap_again ? r->cap_again * 2 : FIRST_CAP;
        mr_redis_cmd *again = realloc(r->again, cap * sizeof *again);
        if (!again) return false;
        r->again = again;
        r->cap_again = cap;
    }
    r->again[r->n_again] = *c;
    r->again[r->n_again++].retried = true;
    return true;
}

/* Errors that concern the server rather than one command: a person may want to know, once. */
static void note_error(mr_redis *r, const mr_reply *reply) {
    static const char *const codes[] = {"LOADING", "READONLY", "MOVED",   "NOAUTH",
                                        "NOPERM",  "OOM",      "MISCONF", "MASTERDOWN"};
    for (size_t i = 0; i < MR_COUNT(codes) && !r->told_error && r->state == MR_REDIS_UP; i++) {
        if (!says(reply, codes[i])) continue;
        r->told_error = true;
        mr_log(MR_LOG_WARN, "redis", "the server refuses commands", "err=" MR_Q, reply->text);
    }
}

static void on_loaded(mr_redis *r, uint64_t i, const mr_reply *reply) {
    mr_redis_lua *s = &r->scripts[i];
    if (reply->type != MR_REPLY_ERROR && reply->text && reply->len + 1 == sizeof s->sha)
        memcpy(s->sha, reply->text, sizeof s->sha);
    else
        mr_log(MR_LOG_ERROR, "redis", "script not loaded", "script=%d err=" MR_Q, (int)i,
               reply->text ? reply->text : "");
}

static void on_answer(mr_redis *r, const mr_redis_cmd *c, const mr_reply *reply) {
    switch (c->kind) {
    case MR_CMD_EVAL:
        if (!c->retried && says(reply, "NOSCRIPT") && keep_for_again(r, c)) break;
        end_cmd(r, c, MR_OK, reply);
        break;
    case MR_CMD_USER:
        end_cmd(r, c, MR_OK, reply);
        break;
    case MR_CMD_LOAD:
        on_loaded(r, c->which, reply);
        break;
    case MR_CMD_SUBSCRIBE:
        mr_redis_on_subscribed(r, c->which, reply);
        break;
    case MR_CMD_UNSUBSCRIBE:
        break;
    case MR_CMD_GREET:
        if (reply->type == MR_REPLY_ERROR) mr_redis_link_cut(r->link, reply->text);
        break;
    case MR_CMD_PING:
        if (reply->type == MR_REPLY_ERROR)
            mr_redis_link_cut(r->link, reply->text);
        else if (r->state == MR_REDIS_GREETING)
            on_up(r);
        break;
    }
}

static void on_reply(mr_redis *r, const mr_reply *reply) {
    if (mr_redis_is_message(r, reply)) {
        mr_redis_on_message(r, reply);
        return;
    }
    if (r->n_sent == 0) {
        mr_redis_link_cut(r->link,
                          reply->type == MR_REPLY_ERROR ? reply->text : "a reply to no command");
        return;
    }
    mr_redis_cmd c = pop(r);
    if (c.kind != MR_CMD_EVAL) { /* written, so its bytes are gone; EVAL's are freed at its end */
        free(c.bytes);
        c.bytes = NULL;
    }
    note_error(r, reply);
    on_answer(r, &c, reply);
    if (r->n_again > 0 && r->n_sent == 0 && r->state == MR_REDIS_UP) call_again(r);
}

static void on_bytes(void *owner, const char *bytes, size_t n) {
    mr_redis *r = owner;
    r->heard_ms = uv_now(r->loop);
    r->n_late = 0;
    redisReaderFeed(r->reader, bytes, n);
    while (r->state != MR_REDIS_DOWN && !r->closing) {
        redisReply *raw = NULL;
        if (redisReaderGetReply(r->reader, (void **)&raw) != REDIS_OK) {
            mr_redis_link_cut(r->link, r->reader->errstr);
            return;
        }
        if (!raw) return;
        mr_arena_reset(&r->reply_arena);
        const mr_reply *reply = mr_redis_convert(&r->reply_arena, raw);
        if (reply)
            on_reply(r, reply);
        else
            mr_redis_link_cut(r->link, "no memory for a reply");
        freeReplyObject(raw);
    }
}

/* ---- life ---- */

static void free_redis(mr_redis *r) {
    if (r->reader) redisReaderFree(r->reader);
    mr_redis_free_channels(r);
    mr_arena_drop(&r->reply_arena);
    mr_arena_drop(&r->scratch);
    free(r->ring);
    free(r->again);
    free(r->why);
    free(r);
}

static void on_link_gone(void *owner) {
    mr_redis *r = owner;
    if (--r->n_open == 0) free_redis(r);
}

static void on_prepare_closed(uv_handle_t *h) {
    on_link_gone(h->data);
}

static mr_status take_conf(mr_redis *r, const mr_redis_conf *conf, mr_err *err) {
    const mr_status st = mr_redis_url_parse(&r->addr, conf->url, err);
    if (st != MR_OK) return st;
    r->conf = *conf;
    r->conf.url = r->conf.client_name = NULL; /* borrowed for this call only */
    if (r->conf.connect_timeout_ms <= 0) r->conf.connect_timeout_ms = CONNECT_MS;
    if (r->conf.command_timeout_ms <= 0) r->conf.command_timeout_ms = COMMAND_MS;
    if (r->conf.max_pending == 0) r->conf.max_pending = MAX_PENDING;
    if (r->conf.max_pending > MAX_PENDING_CAP)
        return mr_fail(err, MR_EINVAL, "redis max_pending is %zu, limit %u", conf->max_pending,
                       MAX_PENDING_CAP);
    const char *name = conf->client_name ? conf->client_name : "";
    if (strlen(name) >= sizeof r->name)
        return mr_fail(err, MR_EINVAL, "redis client name: %zu bytes, limit %zu", strlen(name),
                       sizeof r->name - 1);
    for (const char *s = name; *s; s++)
        if (*s <= ' ' || *s > '~')
            return mr_fail(err, MR_EINVAL, "redis client name: blanks and such are not allowed");
    strcpy(r->name, name);
    return MR_OK;
}

mr_status mr_redis_open(mr_redis **out, uv_loop_t *loop, const mr_redis_conf *conf, mr_err *err) {
    static const mr_redis_link_ops ops = {on_connected, on_bytes, on_lost, on_tick, on_link_gone};
    mr_status st = MR_OK;
    mr_redis *r = calloc(1, sizeof *r);

    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "redis: no memory");
    mr_arena_init(&r->reply_arena, 0);
    mr_arena_init(&r->scratch, 0);
    r->loop = loop;
    if ((st = take_conf(r, conf, err)) != MR_OK) goto fail;
    const int quarter_ms = r->conf.command_timeout_ms / 4;
    const int tick_ms = quarter_ms > 1000 ? 1000 : quarter_ms > 0 ? quarter_ms : 1;
    if ((st = mr_redis_link_open(&r->link, loop, &r->addr, r->conf.connect_timeout_ms, tick_ms,
                                 &ops, r, err)) != MR_OK)
        goto fail;
    uv_prepare_init(loop, &r->end_of_turn);
    r->end_of_turn.data = r;
    r->n_open = 2;
    *out = r;
    return MR_OK;
fail:
    free_redis(r);
    return st;
}

void mr_redis_close(mr_redis *r) {
    if (!r || r->closing) return;
    r->closing = true;
    r->state = MR_REDIS_DOWN;
    mr_redis_link_close(r->link);
    uv_close((uv_handle_t *)&r->end_of_turn, on_prepare_closed);
    fail_all(r, MR_ECANCELED);
    mr_redis_close_channels(r);
}

bool mr_redis_up(const mr_redis *r) {
    return r->state == MR_REDIS_UP;
}

size_t mr_redis_pending(const mr_redis *r) {
    return r->n_user;
}

/* ---- commands ---- */

static mr_status may_send(const mr_redis *r, size_t argc, mr_err *err) {
    if (r->subscriber)
        return mr_fail(err, MR_EINVAL, "redis: the connection is a subscriber, no commands on it");
    if (argc == 0 || argc > MAX_ARGS)
        return mr_fail(err, MR_EINVAL, "redis: %zu arguments; 1..%d are allowed", argc, MAX_ARGS);
    if (r->state != MR_REDIS_UP)
        return mr_fail(err, MR_EUNAVAIL, "redis: not connected: %s", r->why ? r->why : "not yet");
    if (r->n_user >= r->conf.max_pending)
        return mr_fail(err, MR_ELIMIT, "redis: %zu commands wait, limit %zu", r->n_user,
                       r->conf.max_pending);
    if (r->n_bytes >= MAX_BYTES)
        return mr_fail(err, MR_ELIMIT, "redis: commands of %zu bytes wait, limit %u", r->n_bytes,
                       MAX_BYTES);
    return MR_OK;
}

mr_status mr_redis_command(mr_redis *r, size_t argc, const char *const *argv, const size_t *argvlen,
                           mr_redis_on_reply *cb, void *cookie, mr_err *err) {
    const mr_status st = may_send(r, argc, err);
    if (st != MR_OK) return st;
    mr_redis_cmd c = {.kind = MR_CMD_USER, .cb = cb, .cookie = cookie};
    if (!queue_cmd(r, &c, (int)argc, argv, argvlen))
        return mr_fail(err, MR_ENOMEM, "redis: no memory for a command");
    return MR_OK;
}

mr_status mr_redis_script(mr_redis *r, const char *lua, int *handle_out, mr_err *err) {
    if (r->n_scripts == MR_REDIS_MAX_SCRIPTS)
        return mr_fail(err, MR_ELIMIT, "redis: %d scripts, limit %d", r->n_scripts + 1,
                       MR_REDIS_MAX_SCRIPTS);
    *handle_out = r->n_scripts;
    r->scripts[r->n_scripts++] = (mr_redis_lua){.lua = lua};
    if (r->state != MR_REDIS_DOWN) queue_load(r, *handle_out);
    return MR_OK;
}

mr_status mr_redis_eval(mr_redis *r, int handle, size_t n_keys, size_t argc,
                        const char *const *argv, const size_t *argvlen, mr_redis_on_reply *cb,
                        void *cookie, mr_err *err) {
    MR_CHECK(handle >= 0 && handle < r->n_scripts && n_keys <= argc);
    const mr_status st = may_send(r, argc + 3, err);
    if (st != MR_OK) return st;

    const mr_redis_lua *s = &r->scripts[handle];
    const bool loaded = s->sha[0] != 0;
    char keys[24];
    snprintf(keys, sizeof keys, "%zu", n_keys);
    mr_arena_reset(&r->scratch);
    const char **all = mr_arena_alloc(&r->scratch, (argc + 3) * sizeof *all);
    size_t *lens = mr_arena_alloc(&r->scratch, (argc + 3) * sizeof *lens);
    if (!all || !lens) return mr_fail(err, MR_ENOMEM, "redis: no memory for a command");
    all[0] = loaded ? "EVALSHA" : "EVAL";
    all[1] = loaded ? s->sha : s->lua;
    all[2] = keys;
    for (size_t i = 0; i < 3; i++) lens[i] = strlen(all[i]);
    for (size_t i = 0; i < argc; i++) {
        all[i + 3] = argv[i];
        lens[i + 3] = argvlen ? argvlen[i] : strlen(argv[i]);
    }
    mr_redis_cmd c = {.kind = MR_CMD_EVAL, .cb = cb, .cookie = cookie};
    if (!queue_cmd(r, &c, (int)argc + 3, all, lens))
        return mr_fail(err, MR_ENOMEM, "redis: no memory for a command");
    return MR_OK;
}
