/* page_guard.c - see page_guard.h. */
#include "dispatcher/page_guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define MAX_HOST 255

/* The same time for all texts of at most MR_GUARD_TOKEN_MAX bytes. */
static bool same(const char *a, size_t n, const char *b, size_t m) {
    volatile unsigned char differs = n != m || n > MR_GUARD_TOKEN_MAX;
    for (size_t i = 0; i < MR_GUARD_TOKEN_MAX; i++)
        differs |= (unsigned char)((i < n ? a[i] : 0) ^ (i < m ? b[i] : 0));
    return !differs;
}

void mr_guard_init(mr_guard *g, const char *token, const char *hosts) {
    *g = (mr_guard){.hosts = hosts};
    mr_guard_set_token(g, token);
}

bool mr_guard_set_token(mr_guard *g, const char *token) {
    MR_CHECK(strlen(token) <= MR_GUARD_TOKEN_MAX);
    if (strcmp(token, g->token) == 0) return false;
    memset(g->token, 0, sizeof g->token);
    memcpy(g->token, token, strlen(token));
    memset(g->sessions, 0, sizeof g->sessions);
    return true;
}

bool mr_guard_is_token(const mr_guard *g, const char *text, size_t n) {
    return g->token[0] && same(text, n, g->token, strlen(g->token));
}

/* ---- tries ---- */

/* Of a network of IPv6 anybody in it has all addresses. */
static bool same_place(const unsigned char a[16], const unsigned char b[16]) {
    static const unsigned char v4[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(a, b, memcmp(a, v4, sizeof v4) == 0 ? 16 : 8) == 0;
}

static const mr_trier *trier_of(const mr_guard *g, const unsigned char address[16]) {
    for (size_t i = 0; i < MR_GUARD_TRIERS; i++)
        if (g->triers[i].paid_ms && same_place(address, g->triers[i].address)) return &g->triers[i];
    return NULL;
}

uint64_t mr_guard_wait_ms(const mr_guard *g, const unsigned char address[16], uint64_t now_ms) {
    const mr_trier *t = trier_of(g, address);
    const uint64_t heard_ms = now_ms + (MR_GUARD_TRIES - 1) * MR_GUARD_TRY_MS;
    return t && t->paid_ms > heard_ms ? t->paid_ms - heard_ms : 0;
}

void mr_guard_failed(mr_guard *g, const unsigned char address[16], uint64_t now_ms) {
    const mr_trier *known = trier_of(g, address);
    mr_trier *t = &g->triers[0];

    for (size_t i = 0; i < MR_GUARD_TRIERS; i++)
        if (known ? &g->triers[i] == known : g->triers[i].paid_ms < t->paid_ms) t = &g->triers[i];
    if (!known) memcpy(t->address, address, sizeof t->address);
    t->paid_ms = (known && t->paid_ms > now_ms ? t->paid_ms : now_ms) + MR_GUARD_TRY_MS;
}

/* ---- sessions ---- */

static bool make_secret(char out[MR_GUARD_SECRET_LEN + 1]) {
    unsigned char bytes[MR_GUARD_SECRET_LEN / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[MR_GUARD_SECRET_LEN] = '\0';
    return true;
}

mr_status mr_guard_login(mr_guard *g, uint64_t now_ms, const mr_session **out) {
    mr_session *s = &g->sessions[0];
    for (size_t i = 0; i < MR_GUARD_SESSIONS && s->id[0]; i++)
        if (!g->sessions[i].id[0] || g->sessions[i].began_ms < s->began_ms) s = &g->sessions[i];
    s->began_ms = now_ms;
    *out = s;
    if (make_secret(s->id) && make_secret(s->csrf)) return MR_OK;
    s->id[0] = '\0';
    return MR_EINTERNAL;
}

void mr_guard_logout(mr_guard *g, const mr_session *s) {
    g->sessions[s - g->sessions] = (mr_session){.began_ms = 0};
}

/* The value of our cookie; NULL: it is not there. */
static const char *cookie_of(const char *header, size_t *n) {
    const size_t len = strlen(MR_GUARD_COOKIE);
    while (header && *header) {
        header += strspn(header, "; \t");
        *n = strcspn(header, ";");
        if (*n > len && header[len] == '=' && memcmp(header, MR_GUARD_COOKIE, len) == 0) {
            *n -= len + 1;
            return header + len + 1;
        }
        header += *n;
    }
    return NULL;
}

static const mr_session *session_of(const mr_guard *g, const char *header, uint64_t now_ms) {
    const mr_session *found = NULL;
    size_t n = 0;
    const char *id = cookie_of(header, &n);
    for (size_t i = 0; id && i < MR_GUARD_SESSIONS; i++) {
        const mr_session *s = &g->sessions[i];
        if (s->id[0] && now_ms - s->began_ms < MR_GUARD_SESSION_MS &&
            same(id, n, s->id, MR_GUARD_SECRET_LEN))
            found = s;
    }
    return found;
}

static const char *bearer_of(const mr_shown *r) {
    const bool is_bearer = r->authorization && strncasecmp(r->authorization, "Bearer ", 7) == 0;
    return is_bearer ? r->authorization + 7 : NULL;
}

bool mr_guard_is_try(const mr_shown *r) {
    return bearer_of(r) != NULL;
}

mr_access mr_guard_access(const mr_guard *g, const mr_shown *r, uint64_t now_ms,
                          const mr_session **s) {
    const char *token = bearer_of(r);

    *s = NULL;
    if (!g->token[0]) return MR_ACCESS_NONE;
    if (token && mr_guard_is_token(g, token, strlen(token))) return MR_ACCESS_TOKEN;
    *s = session_of(g, r->cookie, now_ms);
    return *s ? MR_ACCESS_SESSION : MR_ACCESS_NONE;
}

/* ---- where a request comes from ---- */

/* Host without its port; 0: it is none. */
static size_t name_of(const char *host, char name[MAX_HOST + 1]) {
    const char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":") - 1;
    const size_t n = end ? (size_t)(end + 1 - host) : 0;
    if (n == 0 || n > MAX_HOST || (host[n] != '\0' && host[n] != ':')) return 0;
    if (host[n] == ':' && host[n + 1 + strspn(host + n + 1, "0123456789")] != '\0') return 0;
    memcpy(name, host, n);
    name[n] = '\0';
    return n;
}

/* Nobody can make an address lead elsewhere. */
static bool is_address(char *name, size_t n) {
    unsigned char bytes[16];
    if (name[0] != '[') return inet_pton(AF_INET, name, bytes) == 1;
    name[n - 1] = '\0';
    return inet_pton(AF_INET6, name + 1, bytes) == 1;
}

static bool is_listed(const char *hosts, const char *name, size_t n) {
    while (*hosts) {
        hosts += strspn(hosts, ", ");
        const size_t len = strcspn(hosts, ", ");
        if (len == n && strncasecmp(hosts, name, n) == 0) return true;
        hosts += len;
    }
    return false;
}

bool mr_guard_host_ok(const mr_guard *g, const char *host) {
    char name[MAX_HOST + 1];
    const size_t n = host ? name_of(host, name) : 0;
    if (n == 0) return false;
    return strcasecmp(name, "localhost") == 0 || is_listed(g->hosts, name, n) ||
           is_address(name, n);
}

bool mr_guard_own_site(const mr_shown *r) {
    const char *rest = r->origin;
    if (r->fetch_site && strcmp(r->fetch_site, "same-origin") != 0 &&
        strcmp(r->fetch_site, "none") != 0)
        return false;
    if (!rest) return true;
    if (strncmp(rest, "http://", 7) == 0)
        rest += 7;
    else if (strncmp(rest, "https://", 8) == 0)
        rest += 8;
    else
        return false;
    return r->host && strcasecmp(rest, r->host) == 0;
}

bool mr_guard_may_act(mr_access a, const mr_session *s, const mr_shown *r) {
    if (a == MR_ACCESS_TOKEN) return true;
    return a == MR_ACCESS_SESSION && r->csrf &&
           same(r->csrf, strlen(r->csrf), s->csrf, MR_GUARD_SECRET_LEN);
}
