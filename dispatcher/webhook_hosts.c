/* webhook_hosts.c - see webhook_hosts.h. Hosts hang in a hash table and in a list by last use, from
 * which the oldest that is idle is taken when there is no room. URLs that are gone are remembered
 * by their digests. */
#include "dispatcher/webhook_hosts.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024, LOOKED_AT = 16 };

typedef struct gone {
    mr_digest url;
    uint64_t until_ms;
} gone;

struct mr_webhook_hosts {
    uint8_t secret[MR_SIPHASH_SECRET];
    mr_webhook_host *buckets[BUCKETS];
    mr_webhook_host *oldest, *newest;
    size_t n;
    gone gone[MR_WEBHOOK_GONE]; /* [n_gone] */
    size_t n_gone, next_gone;   /* where the next one goes when all are taken */
};

mr_status mr_webhook_hosts_open(mr_webhook_hosts **out, const uint8_t secret[MR_SIPHASH_SECRET],
                                mr_err *err) {
    mr_webhook_hosts *h = *out = calloc(1, sizeof *h);
    if (!h) return mr_fail(err, MR_ENOMEM, "webhook hosts: out of memory");
    memcpy(h->secret, secret, sizeof h->secret);
    return MR_OK;
}

void mr_webhook_hosts_close(mr_webhook_hosts *h) {
    if (!h) return;
    for (mr_webhook_host *x = h->oldest, *next; x; x = next) {
        next = x->newer;
        free(x);
    }
    free(h);
}

/* ---- the table ---- */

static mr_webhook_host **slot_of(mr_webhook_hosts *h, const char *origin) {
    mr_webhook_host **at = &h->buckets[mr_siphash(h->secret, origin, strlen(origin)).lo % BUCKETS];
    while (*at && strcmp((*at)->origin, origin) != 0) at = &(*at)->chain;
    return at;
}

static void unlink_host(mr_webhook_hosts *h, mr_webhook_host *x) {
    *(x->older ? &x->older->newer : &h->oldest) = x->newer;
    *(x->newer ? &x->newer->older : &h->newest) = x->older;
}

static void link_newest(mr_webhook_hosts *h, mr_webhook_host *x) {
    x->newer = NULL;
    x->older = h->newest;
    *(h->newest ? &h->newest->newer : &h->oldest) = x;
    h->newest = x;
}

static bool is_idle(const mr_webhook_host *x) {
    return !x->calls && !x->waiting && !x->resolving;
}

/* False: the oldest few are all in use. */
static bool forget_one(mr_webhook_hosts *h) {
    mr_webhook_host *x = h->oldest;
    for (int i = 0; x && i < LOOKED_AT && !is_idle(x); i++) x = x->newer;
    if (!x || !is_idle(x)) return false;
    *slot_of(h, x->origin) = x->chain;
    unlink_host(h, x);
    free(x);
    h->n--;
    return true;
}

mr_webhook_host *mr_webhook_hosts_get(mr_webhook_hosts *h, const char *origin) {
    mr_webhook_host *x = *slot_of(h, origin);

    if (x) {
        unlink_host(h, x);
        link_newest(h, x);
        return x;
    }
    if (h->n >= MR_WEBHOOK_HOSTS && !forget_one(h)) return NULL;
    if (!(x = calloc(1, sizeof *x))) return NULL;
    strncpy(x->origin, origin, sizeof x->origin - 1);
    *slot_of(h, origin) = x;
    link_newest(h, x);
    h->n++;
    return x;
}

/* ---- the breaker ---- */

/* Who has not answered yet may be one that never does. */
static uint32_t calls_of(const mr_webhook_host *x, uint32_t per_host) {
    if (x->took_16ths && x->took_16ths / 16 < MR_WEBHOOK_SLOW_MS) return per_host;
    return per_host < 4 ? 1 : per_host / 4;
}

mr_webhook_gate mr_webhook_host_gate(const mr_webhook_host *x, uint32_t per_host, uint64_t now_ms) {
    const bool broken = x->failures >= MR_WEBHOOK_TROUBLES;
    if (broken && now_ms < x->open_until_ms) return MR_WEBHOOK_OPEN;
    return x->calls >= calls_of(x, per_host) || x->probing ? MR_WEBHOOK_FULL : MR_WEBHOOK_GO;
}

void mr_webhook_host_begin(mr_webhook_host *x) {
    x->calls++;
    x->probing = x->failures >= MR_WEBHOOK_TROUBLES;
}

static uint64_t longer(const mr_webhook_host *x, uint64_t pause_ms) {
    const uint64_t ms = x->open_ms ? 2 * x->open_ms : MR_WEBHOOK_OPEN_MS;
    const uint64_t most = pause_ms > ms ? pause_ms : ms;
    return most < MR_WEBHOOK_OPEN_MAX_MS ? most : MR_WEBHOOK_OPEN_MAX_MS;
}

void mr_webhook_host_end(mr_webhook_host *x, bool trouble, uint64_t pause_ms, uint64_t now_ms) {
    const bool probed = x->probing;

    MR_CHECK(x->calls > 0);
    x->calls--;
    x->probing = false;
    if (!trouble) {
        x->failures = 0;
        x->open_ms = x->open_until_ms = 0;
        return;
    }
    if (x->failures < MR_WEBHOOK_TROUBLES) x->failures++;
    /* What was under way when it opened says nothing new. */
    if (x->failures < MR_WEBHOOK_TROUBLES || (x->open_ms && !probed)) return;
    x->open_ms = longer(x, pause_ms);
    x->open_until_ms = now_ms + x->open_ms;
}

/* A receiver that got better is believed sooner than one that got worse: what was put off for its
 * sake has waited long enough. */
void mr_webhook_host_took(mr_webhook_host *x, uint32_t ms) {
    const uint32_t now = ms < UINT32_MAX / 32 ? 16 * ms + 1 : UINT32_MAX / 2;
    const uint32_t part = now < x->took_16ths ? 2 : 8;
    x->took_16ths = x->took_16ths ? x->took_16ths - x->took_16ths / part + now / part : now;
}

uint64_t mr_webhook_host_line_ms(const mr_webhook_host *x, uint32_t per_host) {
    if (!x->took_16ths) return x->waiting < MR_WEBHOOK_LINE ? 0 : UINT64_MAX;
    return (uint64_t)x->waiting * x->took_16ths / 16 / calls_of(x, per_host);
}

void mr_webhook_host_cancel(mr_webhook_host *x) {
    MR_CHECK(x->calls > 0);
    x->calls--;
    x->probing = false; /* the next one is the probe */
}

void mr_webhook_hosts_waiting(mr_webhook_hosts *h, void (*fn)(void *owner, mr_webhook_host *x),
                              void *owner) {
    for (mr_webhook_host *x = h->oldest, *next; x; x = next) {
        next = x->newer;
        if (x->waiting) fn(owner, x);
    }
}

/* ---- URLs that are gone ---- */

static gone *find_gone(mr_webhook_hosts *h, const char *url) {
    if (h->n_gone == 0) return NULL;
    const mr_digest d = mr_siphash(h->secret, url, strlen(url));
    for (size_t i = 0; i < h->n_gone; i++)
        if (h->gone[i].url.lo == d.lo && h->gone[i].url.hi == d.hi) return &h->gone[i];
    return NULL;
}

void mr_webhook_gone_add(mr_webhook_hosts *h, const char *url, uint64_t until_ms) {
    gone *g = find_gone(h, url);
    if (!g) {
        if (h->n_gone < MR_WEBHOOK_GONE) {
            g = &h->gone[h->n_gone++];
        } else {
            g = &h->gone[h->next_gone];
            h->next_gone = (h->next_gone + 1) % MR_WEBHOOK_GONE;
        }
        g->url = mr_siphash(h->secret, url, strlen(url));
    }
    g->until_ms = until_ms;
}

void mr_webhook_gone_drop(mr_webhook_hosts *h, const char *url) {
    gone *g = find_gone(h, url);
    if (g) *g = h->gone[--h->n_gone];
}

bool mr_webhook_is_gone(mr_webhook_hosts *h, const char *url, uint64_t now_ms) {
    gone *g = find_gone(h, url);
    if (g && g->until_ms <= now_ms) {
        *g = h->gone[--h->n_gone];
        g = NULL;
    }
    return g != NULL;
}

mr_webhook_hosts_count mr_webhook_hosts_counted(const mr_webhook_hosts *h, uint64_t now_ms) {
    mr_webhook_hosts_count c = {.hosts = h->n};
    for (const mr_webhook_host *x = h->oldest; x; x = x->newer)
        c.open += x->failures >= MR_WEBHOOK_TROUBLES && x->open_until_ms > now_ms;
    for (size_t i = 0; i < h->n_gone; i++) c.gone += h->gone[i].until_ms > now_ms;
    return c;
}
