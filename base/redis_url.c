/* redis_url.c - redis://[user:password@]host[:port][/db] and unix:///path[?db=n], taken apart.
 *
 * User, password and path are percent-decoded; an IPv6 address stands in brackets. */
#include "base/redis_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define DEFAULT_PORT "6379"
#define MAX_DB       65535

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static mr_status decode(char *out, size_t cap, const char *s, size_t n, const char *part,
                        mr_err *err) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            const int hi = i + 1 < n ? hex_value(s[i + 1]) : -1;
            const int lo = i + 2 < n ? hex_value(s[i + 2]) : -1;
            if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
                return mr_fail(err, MR_EINVAL, "redis url: bad %%-escape in the %s", part);
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (len + 1 >= cap)
            return mr_fail(err, MR_EINVAL, "redis url: the %s is longer than %zu bytes", part,
                           cap - 1);
        out[len++] = c;
    }
    out[len] = 0;
    return MR_OK;
}

/* Decimal number 0..max; -1: it is not one. */
static long number(const char *s, size_t n, long max) {
    long v = 0;
    if (n == 0 || n > 9) return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v <= max ? v : -1;
}

static mr_status parse_db(mr_redis_addr *a, const char *s, mr_err *err) {
    const long db = number(s, strlen(s), MAX_DB);
    if (db < 0)
        return mr_fail(err, MR_EINVAL, "redis url: the database must be a number 0..%d", MAX_DB);
    a->db = (int)db;
    return MR_OK;
}

static mr_status parse_login(mr_redis_addr *a, const char *s, size_t n, mr_err *err) {
    const char *colon = memchr(s, ':', n);
    const size_t user_len = colon ? (size_t)(colon - s) : n;
    const mr_status st = decode(a->user, sizeof a->user, s, user_len, "user", err);
    if (st != MR_OK) return st;
    if (!colon) return mr_fail(err, MR_EINVAL, "redis url: a user without a password");
    return decode(a->password, sizeof a->password, colon + 1, n - user_len - 1, "password", err);
}

static mr_status parse_host(mr_redis_addr *a, const char *s, size_t n, mr_err *err) {
    const char *host = s, *port = NULL;
    size_t host_len = n;
    if (n > 0 && s[0] == '[') {
        const char *end = memchr(s, ']', n);
        if (!end) return mr_fail(err, MR_EINVAL, "redis url: no ] behind the IPv6 address");
        host = s + 1;
        host_len = (size_t)(end - host);
        if (end + 1 < s + n && end[1] != ':')
            return mr_fail(err, MR_EINVAL, "redis url: only :port may follow the IPv6 address");
        if (end + 1 < s + n) port = end + 2;
    } else {
        const char *colon = memchr(s, ':', n);
        if (colon) host_len = (size_t)(colon - s);
        if (colon) port = colon + 1;
    }
    if (host_len == 0) return mr_fail(err, MR_EINVAL, "redis url: no host");
    const mr_status st = decode(a->host, sizeof a->host, host, host_len, "host", err);
    if (st != MR_OK) return st;

    strcpy(a->port, DEFAULT_PORT);
    if (!port) return MR_OK;
    const size_t port_len = (size_t)(s + n - port);
    if (number(port, port_len, 65535) < 1)
        return mr_fail(err, MR_EINVAL, "redis url: the port must be 1..65535");
    if (port_len >= sizeof a->port)
        return mr_fail(err, MR_EINVAL, "redis url: the port has %zu digits", port_len);
    memcpy(a->port, port, port_len);
    a->port[port_len] = 0;
    return MR_OK;
}

static mr_status parse_unix(mr_redis_addr *a, const char *s, mr_err *err) {
    const char *query = strchr(s, '?');
    a->is_unix = true;
    const size_t n = query ? (size_t)(query - s) : strlen(s);
    if (n < 2 || s[0] != '/')
        return mr_fail(err, MR_EINVAL, "redis url: unix:// wants an absolute path");
    if (n >= sizeof((struct sockaddr_un *)0)->sun_path)
        return mr_fail(err, MR_EINVAL, "redis url: the path has %zu bytes, limit %zu", n,
                       sizeof((struct sockaddr_un *)0)->sun_path - 1);
    const mr_status st = decode(a->host, sizeof a->host, s, n, "path", err);
    if (st != MR_OK || !query) return st;
    if (strncmp(query, "?db=", 4) != 0)
        return mr_fail(err, MR_EINVAL, "redis url: only ?db=number may follow the path");
    return parse_db(a, query + 4, err);
}

mr_status mr_redis_url_parse(mr_redis_addr *out, const char *url, mr_err *err) {
    memset(out, 0, sizeof *out);
    if (!url) url = "";
    if (strncmp(url, "unix://", 7) == 0) return parse_unix(out, url + 7, err);
    if (strncmp(url, "rediss://", 9) == 0)
        return mr_fail(err, MR_EUNSUPPORTED, "redis url: rediss:// (TLS) is not supported");
    if (strncmp(url, "redis://", 8) != 0)
        return mr_fail(err, MR_EINVAL, "redis url: it must start with redis:// or unix://");

    const char *s = url + 8;
    const size_t authority = strcspn(s, "/?#");
    size_t at = authority; /* the last @: a password may hold one */
    while (at > 0 && s[at - 1] != '@') at--;
    if (at > 0) {
        const mr_status st = parse_login(out, s, at - 1, err);
        if (st != MR_OK) return st;
    }
    const mr_status st = parse_host(out, s + at, authority - at, err);
    if (st != MR_OK) return st;
    const char *rest = s + authority;
    if (*rest == 0 || strcmp(rest, "/") == 0) return MR_OK;
    if (*rest != '/') return mr_fail(err, MR_EINVAL, "redis url: only /db may follow the host");
    return parse_db(out, rest + 1, err);
}
