/* redis_calls.c - one Redis command at a time, and the status hash of a job. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "client/internal.h"

enum { MAX_TRIES = 3 }; /* of a command whose connection broke under it */

static void on_state(void *owner, bool up, const char *why) {
    mr_client *c = owner;
    (void)why;
    c->events++;
    if (up && c->follow) mr_client_follow_on_redis_up(c);
}

mr_status mr_client_redis(mr_client *c, mr_err *err) {
    const mr_redis_conf rc = {.url = c->settings.redis_url,
                              .client_name = "millrace-client",
                              .owner = c,
                              .on_state = on_state};
    if (!c->redis) {
        const mr_status st = mr_redis_open(&c->redis, &c->loop, &rc, err);
        if (st != MR_OK) return st;
    }
    const uint64_t end_ms = mr_client_end_ms(MR_CLIENT_REDIS_MS);
    while (!mr_redis_up(c->redis)) {
        const uint64_t was = c->events;
        const int64_t left_ms = mr_client_left_ms(end_ms);
        if (c->interrupted) return mr_client_late(c, err, "interrupted");
        if (left_ms == 0 || !mr_client_run(c, &c->events, was, left_ms))
            return c->interrupted ? mr_client_late(c, err, "interrupted")
                                  : mr_fail(err, MR_EUNAVAIL, "redis does not answer within %d ms",
                                            MR_CLIENT_REDIS_MS);
    }
    return MR_OK;
}

struct mr_call {
    uintptr_t serial;
    uint64_t n_replies; /* 0 or 1 */
    mr_status st;
    char text[200];
    void (*fn)(void *owner, const mr_reply *r);
    void *owner;
};

static void on_reply(void *owner, void *cookie, mr_status status, const mr_reply *r) {
    mr_client *c = owner;
    struct mr_call *k = c->call;
    if (!k || k->serial != (uintptr_t)cookie) return; /* it was given up */
    k->n_replies = 1;
    k->st = status;
    if (status != MR_OK) return;
    if (r->type == MR_REPLY_ERROR) {
        k->st = MR_EINTERNAL;
        snprintf(k->text, sizeof k->text, "%s", r->text);
    } else {
        k->fn(k->owner, r);
    }
}

/* Once. The connection bounds the time of every command. */
static mr_status call_once(mr_client *c, struct mr_call *k, size_t argc, const char *const *argv,
                           mr_err *err) {
    k->n_replies = 0;
    mr_status st = mr_client_redis(c, err);
    if (st != MR_OK) return st;
    k->serial = ++c->serial;
    st = mr_redis_command(c->redis, argc, argv, NULL, on_reply, (void *)k->serial, err);
    if (st != MR_OK) return st;
    c->call = k;
    const bool answered = mr_client_run(c, &k->n_replies, 0, -1);
    c->call = NULL;
    if (!answered) return mr_client_late(c, err, "interrupted");
    return k->st == MR_OK ? MR_OK
                          : mr_fail(err, k->st, "redis %s: %s", argv[0],
                                    k->text[0] ? k->text : "the connection was lost");
}

mr_status mr_client_command(mr_client *c, size_t argc, const char *const *argv,
                            void (*fn)(void *owner, const mr_reply *r), void *owner, mr_err *err) {
    struct mr_call k = {.fn = fn, .owner = owner};
    mr_status st = MR_EUNAVAIL;
    for (int i = 0; i < MAX_TRIES && st == MR_EUNAVAIL; i++) {
        st = call_once(c, &k, argc, argv, err);
        if (!mr_redis_up(c->redis) && k.n_replies == 0)
            break; /* away for MR_CLIENT_REDIS_MS already */
    }
    return st;
}

typedef struct look {
    mr_job_view *out;
    bool found;
} look;

static const struct {
    const char *name;
    enum { TEXT, U32, U64 } kind;
    size_t at, cap;
} view_fields[] = {
#define VIEW(kind, member)                                                                         \
    { #member, kind, offsetof(mr_job_view, member), sizeof(((mr_job_view *)0)->member) }
    VIEW(TEXT, state), VIEW(TEXT, model), VIEW(TEXT, tenant),     VIEW(TEXT, worker),
    VIEW(TEXT, error), VIEW(TEXT, lane),  VIEW(TEXT, dispatcher), VIEW(U32, attempt),
    VIEW(U32, tokens), VIEW(U32, tries),  VIEW(U64, received_ms), VIEW(U64, updated_ms),
    VIEW(U64, due_ms), VIEW(U64, ticket),
#undef VIEW
};

static void take_field(mr_job_view *o, const char *name, const char *value) {
    for (size_t i = 0; i < MR_COUNT(view_fields); i++) {
        char *at = (char *)o + view_fields[i].at;
        if (strcmp(view_fields[i].name, name) != 0) continue;
        const uint64_t n = strtoull(value, NULL, 10);
        if (view_fields[i].kind == TEXT)
            snprintf(at, view_fields[i].cap, "%s", value);
        else if (view_fields[i].kind == U32)
            *(uint32_t *)at = (uint32_t)n;
        else
            *(uint64_t *)at = n;
        return;
    }
}

/* HGETALL: fields and values in turn. */
static void on_hash(void *owner, const mr_reply *r) {
    look *l = owner;
    if (r->type != MR_REPLY_ARRAY) return;
    for (size_t i = 0; i + 1 < r->n_items; i += 2) {
        const mr_reply *f = r->items[i], *v = r->items[i + 1];
        if (f->type != MR_REPLY_TEXT || v->type != MR_REPLY_TEXT) continue;
        l->found = true;
        take_field(l->out, f->text, v->text);
    }
}

mr_status mr_job_look(mr_client *c, const char *job_id, mr_job_view *out, mr_err *err) {
    look l = {out, false};
    char key[160];

    memset(out, 0, sizeof *out);
    if (!mr_uuid_valid(job_id, strlen(job_id)))
        return mr_fail(err, MR_EINVAL, "job id is \"%.80s\", must be a UUID", job_id);
    snprintf(key, sizeof key, "%s:{%s}", c->settings.redis_prefix, job_id);
    const char *argv[] = {"HGETALL", key};
    const mr_status st = mr_client_command(c, MR_COUNT(argv), argv, on_hash, &l, err);
    if (st != MR_OK) return st;
    return l.found
               ? MR_OK
               : mr_fail(err, MR_ENOTFOUND, "job %s: no dispatcher has read it yet, or its status has expired", job_id);
}
