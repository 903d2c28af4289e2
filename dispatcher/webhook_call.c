/* webhook_call.c - see webhook_call.h.
 *
 * A call stands in the line of its host until it is sent. The line moves (`pump`) when something of
 * the host changes: its addresses are known, a call has ended, time has passed. Names are looked up
 * on libuv's few threads, one lookup per host at a time; a name whose servers are silent takes one
 * of them for a while, so many such names delay the lookups of others, which their calls survive:
 * they are put off. */
#include "dispatcher/webhook_call.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "dispatcher/webhook_address.h"
#include "schemas/headers.h"

enum {
    KNOWN_MS = 30000,    /* addresses of a host */
    CONNECT_MS = 5000,   /* of the time for the whole call */
    ANSWER_BYTES = 4096, /* of what a receiver says are read, so that its connection can be kept */
    LOOKUPS = 64         /* at a time */
};

typedef struct lookup {
    uv_getaddrinfo_t req;
    mr_webhook_calls *c; /* NULL: closed meanwhile */
    mr_webhook_host *host;
    bool allowed; /* any address will do */
    struct lookup *next, *prev;
} lookup;

struct mr_webhook_calls {
    uv_loop_t *loop;
    mr_webhook_calls_conf conf;
    mr_webhook_hosts *hosts;
    mr_webhook_secrets *secrets;
    mr_fetch *fetch;
    lookup *lookups;
    size_t n_lookups;
};

/* ---- the end of a call ---- */

/* Takes it out of its line. */
static void leave(mr_webhook_call *call) {
    mr_webhook_host *x = call->host;
    if (call->prev)
        call->prev->next = call->next;
    else
        x->first = call->next;
    if (call->next)
        call->next->prev = call->prev;
    else
        x->last = call->prev;
    call->next = call->prev = NULL;
    x->waiting--;
}

static void hand_back(mr_webhook_calls *c, mr_webhook_call *call, const mr_webhook_end *end) {
    call->host = NULL;
    call->fetch = NULL;
    c->conf.on_end(c->conf.owner, call, end);
}

static void put_off(mr_webhook_calls *c, mr_webhook_call *call) {
    const mr_webhook_end end = {.why = "there was no room for it"};
    hand_back(c, call, &end);
}

/* No try of it is worth anything before the breaker lets one through. */
static void leave_alone(mr_webhook_calls *c, mr_webhook_call *call, uint64_t ms) {
    const mr_webhook_end end = {.tried = true,
                                .outcome = {.status = MR_EUNAVAIL, .retry_after_s = ms / 1000 + 1},
                                .why = "the receiver is in trouble and left alone for a while"};
    hand_back(c, call, &end);
}

static void fail_try(mr_webhook_calls *c, mr_webhook_call *call, const char *why) {
    const mr_webhook_end end = {.tried = true, .outcome = {.status = MR_EUNAVAIL}, .why = why};
    hand_back(c, call, &end);
}

static void bar(mr_webhook_calls *c, mr_webhook_call *call, const char *cause, const char *why) {
    const mr_webhook_end end = {.cause = cause, .outcome = {.status = MR_EINVAL}, .why = why};
    hand_back(c, call, &end);
}

/* ---- sending ---- */

static mr_status post(mr_webhook_calls *c, mr_webhook_call *call, const mr_webhook_secret *secrets,
                      size_t n_secrets, mr_err *err) {
    const mr_webhook *e = call->event;
    const mr_webhook_host *x = call->host;
    const uint64_t now_s = mr_clock_wall_ms() / 1000;
    char id[MR_WEBHOOK_ID], time[24], signature[MR_WEBHOOK_SIGNATURE];
    mr_fetch_header headers[4 + MR_TRACE_HEADERS] = {{"Content-Type", "application/json"},
                                                     {"webhook-id", id},
                                                     {"webhook-timestamp", time},
                                                     {"webhook-signature", signature}};
    size_t n_headers = 4;
    const char *pin[MR_WEBHOOK_ADDRESSES];

    mr_webhook_id(id, e->job_id, e->status);
    snprintf(time, sizeof time, "%" PRIu64, now_s);
    mr_webhook_sign(signature, secrets, n_secrets, id, now_s, e->body, e->body_len);
    if (e->trace.parent[0])
        headers[n_headers++] = (mr_fetch_header){"traceparent", e->trace.parent};
    if (e->trace.state) headers[n_headers++] = (mr_fetch_header){"tracestate", e->trace.state};
    for (size_t i = 0; i < x->n_address; i++) pin[i] = x->address[i];
    const mr_fetch_request r = {.method = "POST",
                                .url = e->url,
                                .headers = headers,
                                .n_headers = n_headers,
                                .body = e->body,
                                .len = e->body_len,
                                .connect_ms = c->conf.timeout_ms < CONNECT_MS ? 0 : CONNECT_MS,
                                .timeout_ms = c->conf.timeout_ms,
                                .max_answer = ANSWER_BYTES,
                                .pin = pin,
                                .n_pin = x->n_address};
    return mr_fetch_send(c->fetch, &r, call, &call->fetch, err);
}

/* The call has left its line, and its host has room for it. */
static void send_call(mr_webhook_calls *c, mr_webhook_call *call) {
    const mr_webhook *e = call->event;
    size_t n = 0;
    const mr_webhook_secret *secrets =
        mr_webhook_secrets_find(c->secrets, e->tenant, e->secret_id, &n);
    mr_err err;

    if (!secrets) {
        fail_try(c, call, "there is no secret of this id");
        return;
    }
    call->begun_ms = mr_clock_mono_ms();
    const mr_status st = post(c, call, secrets, n, &err);
    if (st == MR_OK)
        mr_webhook_host_begin(call->host);
    else if (st == MR_EINVAL)
        fail_try(c, call, err.text);
    else
        put_off(c, call);
}

static void look_up(mr_webhook_calls *c, mr_webhook_host *x, const mr_webhook_url *url);

/* Sends what may be sent of the host's line. */
static void pump(mr_webhook_calls *c, mr_webhook_host *x) {
    mr_webhook_call *call;

    while ((call = x->first) != NULL) {
        const uint64_t now_ms = mr_clock_mono_ms();
        const mr_webhook_gate gate = mr_webhook_host_gate(x, c->conf.per_host, now_ms);
        if (gate == MR_WEBHOOK_OPEN) {
            leave(call);
            leave_alone(c, call, x->open_until_ms - now_ms);
            continue;
        }
        if (x->known_until_ms <= now_ms && !x->resolving) look_up(c, x, &call->url);
        if (gate == MR_WEBHOOK_FULL || x->resolving || x->known_until_ms <= now_ms ||
            mr_fetch_in_flight(c->fetch) >= c->conf.max_calls)
            return;
        leave(call);
        send_call(c, call);
    }
}

static void on_answer(void *owner, void *arg, const mr_fetch_answer *a) {
    mr_webhook_calls *c = owner;
    mr_webhook_call *call = arg;
    mr_webhook_host *x = call->host;
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_webhook_end end = {.tried = true,
                          .outcome = {a->status, a->code, a->retry_after_s},
                          .took_ms = (uint32_t)(now_ms - call->begun_ms)};
    char why[MR_WEBHOOK_MAX_WHY];

    if (a->status != MR_OK)
        snprintf(why, sizeof why, "%s", a->why);
    else if (a->code >= 200 && a->code < 300)
        why[0] = 0;
    else
        snprintf(why, sizeof why, "the receiver has answered %d", a->code);
    end.why = why;
    mr_webhook_host_took(x, end.took_ms);
    mr_webhook_host_end(x, mr_webhook_is_trouble(&end.outcome), a->retry_after_s * 1000, now_ms);
    if (a->status == MR_OK && a->code == 410)
        mr_webhook_gone_add(c->hosts, call->event->url, now_ms + c->conf.disable_ms);
    else if (!why[0])
        mr_webhook_gone_drop(c->hosts, call->event->url);
    hand_back(c, call, &end);
    pump(c, x);
}

/* ---- names ---- */

/* False: it may not be asked; why is filled. */
static bool take_address(mr_webhook_host *x, const struct sockaddr *sa, bool allowed, char *why,
                         size_t cap) {
    const bool v6 = sa->sa_family == AF_INET6;
    const void *bytes =
        v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
           : (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    const char *what = allowed ? NULL : mr_webhook_address_refused(bytes, v6 ? 16 : 4);

    if (what) {
        snprintf(why, cap, "its name leads to an address that is %s", what);
        return false;
    }
    if (x->n_address < MR_WEBHOOK_ADDRESSES &&
        inet_ntop(sa->sa_family, bytes, x->address[x->n_address], MR_WEBHOOK_ADDRESS))
        x->n_address++;
    return true;
}

/* All or nothing: a name that leads inside as well as outside is not trusted at all. */
static bool take_addresses(mr_webhook_host *x, const struct addrinfo *list, bool allowed, char *why,
                           size_t cap) {
    x->n_address = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
        if (!take_address(x, a->ai_addr, allowed, why, cap)) return false;
    }
    snprintf(why, cap, "its name has no address");
    return x->n_address > 0;
}

/* All that wait for the host have failed. */
static void fail_line(mr_webhook_calls *c, mr_webhook_host *x, const char *why) {
    mr_webhook_call *call;

    mr_webhook_host_begin(x); /* such a name is trouble, too: it is not looked up without end */
    mr_webhook_host_end(x, true, 0, mr_clock_mono_ms());
    while ((call = x->first) != NULL) {
        leave(call);
        fail_try(c, call, why);
    }
}

static void on_looked_up(uv_getaddrinfo_t *req, int rc, struct addrinfo *list) {
    lookup *l = req->data;
    mr_webhook_calls *c = l->c;
    mr_webhook_host *x = l->host;
    const bool allowed = l->allowed;
    char why[MR_WEBHOOK_MAX_WHY];

    if (c) {
        *(l->prev ? &l->prev->next : &c->lookups) = l->next;
        if (l->next) l->next->prev = l->prev;
        c->n_lookups--;
    }
    free(l);
    if (c) {
        x->resolving = false;
        snprintf(why, sizeof why, "its name is not resolved: %s", rc ? uv_strerror(rc) : "");
        if (rc == 0 && take_addresses(x, list, allowed, why, sizeof why)) {
            x->known_until_ms = mr_clock_mono_ms() + KNOWN_MS;
            pump(c, x);
        } else {
            fail_line(c, x, why);
        }
    }
    uv_freeaddrinfo(list);
}

/* An address needs no lookup; it was checked with the URL. */
static void know_address(mr_webhook_host *x, const mr_webhook_url *url) {
    const int family = url->n_address == 16 ? AF_INET6 : AF_INET;
    x->n_address = inet_ntop(family, url->address, x->address[0], MR_WEBHOOK_ADDRESS) != NULL;
    x->known_until_ms = UINT64_MAX;
}

/* Without room or memory for it the line waits for the next tick. */
static void look_up(mr_webhook_calls *c, mr_webhook_host *x, const mr_webhook_url *url) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

    if (url->n_address) {
        know_address(x, url);
        return;
    }
    if (c->n_lookups >= LOOKUPS) return;
    lookup *l = calloc(1, sizeof *l);
    if (!l) return;
    l->c = c;
    l->host = x;
    l->allowed = url->allowed;
    l->req.data = l;
    if (uv_getaddrinfo(c->loop, &l->req, on_looked_up, url->host, NULL, &hints)) {
        free(l);
        return;
    }
    l->next = c->lookups;
    if (l->next) l->next->prev = l;
    c->lookups = l;
    c->n_lookups++;
    x->resolving = true;
}

/* ---- the doors ---- */

void mr_webhook_call_begin(mr_webhook_calls *c, mr_webhook_call *call, const mr_webhook *event) {
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_err err;

    *call = (mr_webhook_call){.event = event, .begun_ms = now_ms};
    if (mr_webhook_url_check(&call->url, event->url, &c->conf.rules, &err) != MR_OK) {
        bar(c, call, "webhook_url", err.text);
        return;
    }
    if (!event->forced && mr_webhook_is_gone(c->hosts, event->url, now_ms)) {
        bar(c, call, "webhook_disabled", "the URL has answered 410 before and is disabled");
        return;
    }
    mr_webhook_host *x = mr_webhook_hosts_get(c->hosts, call->url.origin);
    if (!x || mr_webhook_host_line_ms(x, c->conf.per_host) >= MR_WEBHOOK_WAIT_MS) {
        put_off(c, call);
        return;
    }
    call->host = x;
    call->prev = x->last;
    if (call->prev)
        call->prev->next = call;
    else
        x->first = call;
    x->last = call;
    x->waiting++;
    pump(c, x);
}

void mr_webhook_call_cancel(mr_webhook_calls *c, mr_webhook_call *call) {
    mr_webhook_host *x = call->host;
    if (!x) return;
    if (call->fetch) {
        mr_fetch_cancel(c->fetch, call->fetch);
        mr_webhook_host_cancel(x);
    } else {
        leave(call);
    }
    call->fetch = NULL;
    call->host = NULL;
}

static void tick_host(void *owner, mr_webhook_host *x) {
    mr_webhook_calls *c = owner;
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_webhook_call *call;

    while ((call = x->first) != NULL && now_ms - call->begun_ms >= MR_WEBHOOK_WAIT_MS) {
        leave(call);
        put_off(c, call);
    }
    pump(c, x);
}

void mr_webhook_calls_tick(mr_webhook_calls *c) {
    mr_webhook_hosts_waiting(c->hosts, tick_host, c);
}

size_t mr_webhook_calls_in_flight(const mr_webhook_calls *c) {
    return mr_fetch_in_flight(c->fetch);
}

mr_webhook_hosts_count mr_webhook_calls_hosts(const mr_webhook_calls *c) {
    return mr_webhook_hosts_counted(c->hosts, mr_clock_mono_ms());
}

void mr_webhook_calls_secrets(mr_webhook_calls *c, mr_webhook_secrets *secrets) {
    mr_webhook_secrets_close(c->secrets);
    c->secrets = secrets;
}

/* ---- opening and closing ---- */

mr_status mr_webhook_calls_open(mr_webhook_calls **out, uv_loop_t *loop,
                                const mr_webhook_calls_conf *conf, mr_err *err) {
    const mr_fetch_conf fc = {.user_agent = "millrace-webhooks",
                              .ca_file = conf->ca_file,
                              .max_calls = conf->max_calls,
                              .max_per_host = conf->per_host};
    uint8_t secret[MR_SIPHASH_SECRET];
    mr_webhook_calls *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "webhooks: out of memory");
    c->loop = loop;
    c->conf = *conf;
    mr_status st = getrandom(secret, sizeof secret, 0) == sizeof secret
                       ? mr_webhook_hosts_open(&c->hosts, secret, err)
                       : mr_fail(err, MR_EIO, "webhooks: no random bytes");
    if (st == MR_OK) st = mr_webhook_secrets_open(&c->secrets, "", "", err);
    if (st == MR_OK) st = mr_fetch_open(&c->fetch, loop, &fc, on_answer, c, err);
    if (st == MR_OK)
        *out = c;
    else
        mr_webhook_calls_close(c);
    return st;
}

void mr_webhook_calls_close(mr_webhook_calls *c) {
    if (!c) return;
    for (lookup *l = c->lookups; l; l = l->next) {
        l->c = NULL; /* frees itself when libuv has let go of it */
        uv_cancel((uv_req_t *)&l->req);
    }
    mr_fetch_close(c->fetch);
    mr_webhook_hosts_close(c->hosts);
    mr_webhook_secrets_close(c->secrets);
    free(c);
}
