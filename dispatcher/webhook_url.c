/* webhook_url.c - see webhook_url.h.
 *
 * A host whose last label begins with a digit is an IPv4 address to many programs, in decimal,
 * octal or hexadecimal, with one to four parts; so it must be the usual four decimal parts, or it
 * is refused. Of names only letters, digits, '-', '_' and '.' are taken: others are written in
 * punycode. */
#include "dispatcher/webhook_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatcher/webhook_address.h"

typedef struct span { /* part of a text */
    const char *at;
    size_t n;
} span;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- the host ---- */

static bool is_name(const char *host) {
    size_t label = 0;
    for (const char *c = host; *c; c++) {
        const bool fits = is_digit(*c) || (*c >= 'a' && *c <= 'z') || *c == '-' || *c == '_';
        if (*c == '.' ? label == 0 : !fits || label == 63) return false;
        label = *c == '.' ? 0 : label + 1;
    }
    return label > 0;
}

static mr_status read_host(mr_webhook_url *u, span s, mr_err *err) {
    const bool v6 = s.n > 2 && s.at[0] == '[';
    if (v6) s = (span){s.at + 1, s.n - 2};
    if (s.n == 0 || s.n > MR_WEBHOOK_HOST)
        return mr_fail(err, MR_EINVAL, "the host has %zu bytes, must have 1..%d", s.n,
                       MR_WEBHOOK_HOST);
    for (size_t i = 0; i < s.n; i++)
        u->host[i] = s.at[i] >= 'A' && s.at[i] <= 'Z' ? (char)(s.at[i] | 0x20) : s.at[i];
    u->host[s.n] = 0;
    if (v6) {
        if (inet_pton(AF_INET6, u->host, u->address) != 1)
            return mr_fail(err, MR_EINVAL, "the host in brackets is no IPv6 address");
        u->n_address = 16;
        return MR_OK;
    }
    if (!is_name(u->host))
        return mr_fail(err, MR_EINVAL,
                       "the host may only have letters, digits, '-', '_', and '.' between them");
    const char *last = strrchr(u->host, '.');
    if (!is_digit(last ? last[1] : u->host[0])) return MR_OK;
    if (inet_pton(AF_INET, u->host, u->address) != 1)
        return mr_fail(err, MR_EINVAL,
                       "the host %s is a number, but no IPv4 address of four "
                       "decimal parts",
                       u->host);
    u->n_address = 4;
    return MR_OK;
}

static mr_status read_port(mr_webhook_url *u, span s, mr_err *err) {
    unsigned long port = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.at[i]) || i > 4)
            return mr_fail(err, MR_EINVAL, "the port is no number in 1..65535");
        port = port * 10 + (unsigned long)(s.at[i] - '0');
    }
    if (port < 1 || port > 65535)
        return mr_fail(err, MR_EINVAL, "the port is no number in 1..65535");
    u->port = (uint16_t)port;
    return MR_OK;
}

static mr_status read_url(mr_webhook_url *u, const char *url, mr_err *err) {
    const size_t scheme = !strncmp(url, "https://", 8) ? 8 : !strncmp(url, "http://", 7) ? 7 : 0;
    if (!scheme) return mr_fail(err, MR_EINVAL, "must start with https://");
    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '\\' || *c == '#')
            return mr_fail(err, MR_EINVAL,
                           "may only have printable ASCII, and no blank, '\\' or "
                           "'#'");
    u->https = scheme == 8;
    const char *at = url + scheme;
    const size_t n = strcspn(at, "/?");
    if (memchr(at, '@', n)) return mr_fail(err, MR_EINVAL, "must not have a user or password");
    const char *bracket = *at == '[' ? memchr(at, ']', n) : NULL;
    const size_t host = bracket ? (size_t)(bracket + 1 - at) : strcspn(at, ":/?");
    const mr_status st = read_host(u, (span){at, host}, err);
    if (st != MR_OK) return st;
    u->port = u->https ? 443 : 80;
    if (host == n) return MR_OK;
    if (at[host] != ':') return mr_fail(err, MR_EINVAL, "the host is followed by no port");
    return read_port(u, (span){at + host + 1, n - host - 1}, err);
}

/* ---- the rules ---- */

/* Next item of a comma-separated list; *list goes on behind it. */
static span next_item(const char **list) {
    const size_t n = strcspn(*list, ",");
    const span s = {*list, n};
    *list += n + ((*list)[n] == ',');
    return s;
}

static bool is_text(span s, const char *text) {
    return s.n == strlen(text) && !strncmp(s.at, text, s.n);
}

static bool stands_in_allow(const mr_webhook_url *u, const char *list) {
    char host[MR_WEBHOOK_HOST + 3];
    snprintf(host, sizeof host, u->n_address == 16 ? "[%s]" : "%s", u->host);
    while (*list) {
        const span s = next_item(&list);
        if (is_text(s, host) || is_text(s, u->origin)) return true;
    }
    return false;
}

static bool stands_in_ports(uint16_t port, const char *list) {
    while (*list) {
        const span s = next_item(&list);
        if (strtoul(s.at, NULL, 10) == port) return true;
    }
    return false;
}

mr_status mr_webhook_url_check(mr_webhook_url *out, const char *url, const mr_webhook_rules *rules,
                               mr_err *err) {
    *out = (mr_webhook_url){.port = 0};
    const mr_status st = read_url(out, url, err);
    if (st != MR_OK) return st;
    snprintf(out->origin, sizeof out->origin, out->n_address == 16 ? "[%s]:%u" : "%s:%u", out->host,
             (unsigned)out->port);
    out->allowed = stands_in_allow(out, rules->allow);
    if (out->allowed) return MR_OK;
    if (!out->https)
        return mr_fail(err, MR_EINVAL,
                       "must start with https://, unless its host stands in the "
                       "setting webhook_allow");
    if (!stands_in_ports(out->port, rules->ports))
        return mr_fail(err, MR_EINVAL, "port %u is none of the setting webhook_ports (%.100s)",
                       (unsigned)out->port, rules->ports);
    const char *what =
        out->n_address ? mr_webhook_address_refused(out->address, out->n_address) : NULL;
    if (what) return mr_fail(err, MR_EINVAL, "the address %s is %s", out->host, what);
    return MR_OK;
}
