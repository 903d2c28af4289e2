/* page_guard.h - who may see texts and act: the token, sessions of browsers, and the marks of a
 * request that some other site made a browser send.
 *
 * A program shows the token with each request (Authorization: Bearer). A browser shows it once and
 * gets a session: a cookie that scripts cannot read and that goes along from our own pages only,
 * and a second secret for the header X-CSRF-Token, without which nothing is done. A name in the
 * Host header must be one of ours, else somebody else's name was made to lead here. Secrets are
 * compared in a time that does not depend on them. With another token all sessions are over. An
 * address that has shown wrong tokens
 * MR_GUARD_TRIES times is refused unheard, but for one try in MR_GUARD_TRY_MS; of an IPv6 address
 * the network (/64) counts. Pure but for the random bytes. Bounds: MR_GUARD_SESSIONS, of which the
 * oldest goes, each MR_GUARD_SESSION_MS long; MR_GUARD_TRIERS addresses, of which the one goes that
 * would be heard first. */
#ifndef MR_DISPATCHER_PAGE_GUARD_H
#define MR_DISPATCHER_PAGE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_GUARD_SESSIONS   64
#define MR_GUARD_SESSION_MS (12ull * 3600 * 1000)
#define MR_GUARD_SECRET_LEN 64 /* 256 random bits, in hex */
#define MR_GUARD_TOKEN_MAX  256
#define MR_GUARD_TRIERS     256
#define MR_GUARD_TRIES      10
#define MR_GUARD_TRY_MS     6000
#define MR_GUARD_COOKIE     "millrace_session"

typedef struct mr_session {
    char id[MR_GUARD_SECRET_LEN + 1]; /* "": a free place */
    char csrf[MR_GUARD_SECRET_LEN + 1];
    uint64_t began_ms;
} mr_session;

typedef struct mr_trier { /* who has shown a wrong token */
    unsigned char address[16];
    uint64_t paid_ms; /* each failure adds MR_GUARD_TRY_MS to it; past: all is forgotten */
} mr_trier;

typedef struct mr_guard {
    char token[MR_GUARD_TOKEN_MAX + 1]; /* "": none, nobody gets in */
    const char *hosts;                  /* comma-separated names, besides addresses and localhost */
    mr_session sessions[MR_GUARD_SESSIONS];
    mr_trier triers[MR_GUARD_TRIERS];
} mr_guard;

typedef struct mr_shown { /* headers of a request; NULL: absent */
    const char *host, *origin, *fetch_site, *authorization, *cookie, *csrf;
} mr_shown;

typedef enum mr_access {
    MR_ACCESS_NONE,
    MR_ACCESS_SESSION, /* a browser that has logged in */
    MR_ACCESS_TOKEN
} mr_access;

/* hosts is borrowed; token: at most MR_GUARD_TOKEN_MAX bytes. */
void mr_guard_init(mr_guard *g, const char *token, const char *hosts);
/* From now on this is the token. False: it is the one it was, nothing has changed. Else the
 * sessions that the old one opened are over. */
bool mr_guard_set_token(mr_guard *g, const char *token);
bool mr_guard_is_token(const mr_guard *g, const char *text, size_t n);
/* MR_EINTERNAL: no random bytes. *out is valid until the next login. */
mr_status mr_guard_login(mr_guard *g, uint64_t now_ms, const mr_session **out);
void mr_guard_logout(mr_guard *g, const mr_session *s);

/* The request shows a token. */
bool mr_guard_is_try(const mr_shown *r);
/* 0: a token that comes from this address may be looked at; else ms until one may. */
uint64_t mr_guard_wait_ms(const mr_guard *g, const unsigned char address[16], uint64_t now_ms);
/* The token was wrong. */
void mr_guard_failed(mr_guard *g, const unsigned char address[16], uint64_t now_ms);

/* *s: the session, for SESSION. now_ms: monotonic. */
mr_access mr_guard_access(const mr_guard *g, const mr_shown *r, uint64_t now_ms,
                          const mr_session **s);
bool mr_guard_host_ok(const mr_guard *g, const char *host);
/* Our own page sent it, or no browser did. */
bool mr_guard_own_site(const mr_shown *r);
/* A session must show its second secret. */
bool mr_guard_may_act(mr_access a, const mr_session *s, const mr_shown *r);

#endif
