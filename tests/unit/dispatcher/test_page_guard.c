/* Goal: only who has the token, or a session that it opened, gets in; other sites do not.
 * Method: headers as browsers, programs and attackers send them. */
#include "dispatcher/page_guard.h"

#include "tests/test.h"

#define TOKEN "correct horse battery staple"

static mr_guard guard;
static const mr_session *s;

static mr_access access_of(const char *authorization, const char *cookie, uint64_t now_ms) {
    const mr_shown r = {.authorization = authorization, .cookie = cookie};
    return mr_guard_access(&guard, &r, now_ms, &s);
}

TEST(the_token_opens) {
    char longer[MR_GUARD_TOKEN_MAX + 2];
    mr_guard_init(&guard, TOKEN, "");
    CHECK_I64(access_of("Bearer " TOKEN, NULL, 1), MR_ACCESS_TOKEN);
    CHECK_I64(access_of("bearer " TOKEN, NULL, 1), MR_ACCESS_TOKEN);
    CHECK_I64(access_of("Bearer " TOKEN "x", NULL, 1), MR_ACCESS_NONE);
    CHECK_I64(access_of("Bearer correct horse", NULL, 1), MR_ACCESS_NONE);
    CHECK_I64(access_of("Bearer ", NULL, 1), MR_ACCESS_NONE);
    CHECK_I64(access_of("Basic " TOKEN, NULL, 1), MR_ACCESS_NONE);
    CHECK_I64(access_of(NULL, NULL, 1), MR_ACCESS_NONE);
    memset(longer, 'a', sizeof longer);
    CHECK(!mr_guard_is_token(&guard, longer, sizeof longer));
    longer[MR_GUARD_TOKEN_MAX] = '\0';
    CHECK(mr_guard_set_token(&guard, longer));
    CHECK(mr_guard_is_token(&guard, longer, MR_GUARD_TOKEN_MAX));
    CHECK(!mr_guard_is_token(&guard, longer, MR_GUARD_TOKEN_MAX - 1));
    CHECK(mr_guard_set_token(&guard, ""));
    CHECK_I64(access_of("Bearer ", "", 1), MR_ACCESS_NONE); /* no token: nobody gets in */
}

TEST(a_session_needs_its_cookie_and_its_second_secret) {
    char cookie[200];
    mr_guard_init(&guard, TOKEN, "");
    CHECK_I64(mr_guard_login(&guard, 1000, &s), MR_OK);
    const mr_session *mine = s;
    CHECK_I64(strlen(mine->id), MR_GUARD_SECRET_LEN);
    CHECK(strcmp(mine->id, mine->csrf) != 0);
    snprintf(cookie, sizeof cookie, "a=b;  " MR_GUARD_COOKIE "=%s; c=d", mine->id);
    CHECK_I64(access_of(NULL, cookie, 1000), MR_ACCESS_SESSION);
    CHECK(s == mine);
    CHECK(!mr_guard_may_act(MR_ACCESS_SESSION, mine, &(mr_shown){.csrf = NULL}));
    CHECK(!mr_guard_may_act(MR_ACCESS_SESSION, mine, &(mr_shown){.csrf = mine->id}));
    CHECK(mr_guard_may_act(MR_ACCESS_SESSION, mine, &(mr_shown){.csrf = mine->csrf}));
    CHECK(mr_guard_may_act(MR_ACCESS_TOKEN, NULL, &(mr_shown){.csrf = NULL}));
    CHECK(!mr_guard_may_act(MR_ACCESS_NONE, NULL, &(mr_shown){.csrf = mine->csrf}));

    CHECK_I64(access_of(NULL, cookie, 1000 + MR_GUARD_SESSION_MS), MR_ACCESS_NONE);
    CHECK_I64(access_of(NULL, "x" MR_GUARD_COOKIE "=1; " MR_GUARD_COOKIE "=", 1), MR_ACCESS_NONE);
    CHECK_I64(access_of(NULL, ";;; =;", 1), MR_ACCESS_NONE);
    cookie[60] ^= 1;
    CHECK_I64(access_of(NULL, cookie, 1000), MR_ACCESS_NONE);
    cookie[60] ^= 1;
    mr_guard_logout(&guard, mine);
    CHECK_I64(access_of(NULL, cookie, 1000), MR_ACCESS_NONE);
}

TEST(another_token_ends_what_the_old_one_opened) {
    char cookie[200];
    char token[] = TOKEN;
    mr_guard_init(&guard, token, "");
    CHECK_I64(mr_guard_login(&guard, 1000, &s), MR_OK);
    snprintf(cookie, sizeof cookie, MR_GUARD_COOKIE "=%s", s->id);
    memset(token, 'x', sizeof token - 1); /* it was copied */
    CHECK(!mr_guard_set_token(&guard, TOKEN));
    CHECK_I64(access_of(NULL, cookie, 1000), MR_ACCESS_SESSION);
    CHECK(mr_guard_set_token(&guard, "correct horse battery"));
    CHECK_I64(access_of(NULL, cookie, 1000), MR_ACCESS_NONE);
    CHECK_I64(access_of("Bearer " TOKEN, NULL, 1000), MR_ACCESS_NONE);
    CHECK_I64(access_of("Bearer correct horse battery", NULL, 1000), MR_ACCESS_TOKEN);
    CHECK(mr_guard_set_token(&guard, ""));
    CHECK_I64(access_of("Bearer correct horse battery", NULL, 1000), MR_ACCESS_NONE);
}

TEST(the_oldest_session_makes_room) {
    char cookie[200];
    mr_guard_init(&guard, TOKEN, "");
    CHECK_I64(mr_guard_login(&guard, 1, &s), MR_OK);
    snprintf(cookie, sizeof cookie, MR_GUARD_COOKIE "=%s", s->id);
    for (uint64_t i = 2; i <= MR_GUARD_SESSIONS; i++) mr_guard_login(&guard, i, &s);
    CHECK_I64(access_of(NULL, cookie, 100), MR_ACCESS_SESSION);
    CHECK_I64(mr_guard_login(&guard, 100, &s), MR_OK);
    CHECK_I64(access_of(NULL, cookie, 100), MR_ACCESS_NONE);
}

TEST(wrong_tokens_cost_time) {
    const unsigned char a[16] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1},
                        b[16] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 2};
    mr_guard_init(&guard, TOKEN, "");
    for (int i = 0; i < MR_GUARD_TRIES; i++) {
        CHECK_I64(mr_guard_wait_ms(&guard, a, 1000), 0);
        mr_guard_failed(&guard, a, 1000);
    }
    CHECK_I64(mr_guard_wait_ms(&guard, a, 1000), MR_GUARD_TRY_MS);
    CHECK_I64(mr_guard_wait_ms(&guard, a, 999 + MR_GUARD_TRY_MS), 1);
    CHECK_I64(mr_guard_wait_ms(&guard, b, 1000), 0); /* another one has done nothing */
    CHECK_I64(mr_guard_wait_ms(&guard, a, 1000 + MR_GUARD_TRY_MS), 0);
    mr_guard_failed(&guard, a, 1000 + MR_GUARD_TRY_MS);
    CHECK_I64(mr_guard_wait_ms(&guard, a, 1000 + MR_GUARD_TRY_MS), MR_GUARD_TRY_MS);
    const uint64_t later = 1000 + (MR_GUARD_TRIES + 2) * MR_GUARD_TRY_MS; /* all is forgotten */
    for (int i = 0; i < MR_GUARD_TRIES; i++) {
        CHECK_I64(mr_guard_wait_ms(&guard, a, later), 0);
        mr_guard_failed(&guard, a, later);
    }
    CHECK(mr_guard_wait_ms(&guard, a, later) > 0);
}

TEST(a_network_of_ipv6_is_one) {
    unsigned char a[16] = {0x26, 0x20, 0, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8};
    mr_guard_init(&guard, TOKEN, "");
    for (int i = 0; i < MR_GUARD_TRIES; i++) {
        a[15] = (unsigned char)i;
        mr_guard_failed(&guard, a, 1000);
    }
    a[15] = 99;
    CHECK(mr_guard_wait_ms(&guard, a, 1000) > 0);
    a[7] = 5;
    CHECK_I64(mr_guard_wait_ms(&guard, a, 1000), 0);
}

/* Who has failed often is not forgotten for those who failed once. */
TEST(triers_have_a_bound) {
    unsigned char a[16] = {[10] = 0xff, [11] = 0xff, 10}, other[16] = {[10] = 0xff, [11] = 0xff, 11};
    mr_guard_init(&guard, TOKEN, "");
    for (int i = 0; i < MR_GUARD_TRIES; i++) mr_guard_failed(&guard, a, 1000);
    for (int i = 0; i < 4 * MR_GUARD_TRIERS; i++) {
        other[14] = (unsigned char)(i >> 8);
        other[15] = (unsigned char)i;
        mr_guard_failed(&guard, other, 1000 + (uint64_t)i);
    }
    CHECK(mr_guard_wait_ms(&guard, a, 1000) > 0);
}

TEST(a_name_must_be_ours) {
    static const char *const good[] = {"localhost",       "LOCALHOST:9464", "127.0.0.1:9464",
                                       "192.168.1.7",     "[::1]:9464",     "[::1]",
                                       "mill.example:80", "a.example"};
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "mill.example.",
                                      "mill.example:80x",
                                      "",
                                      ":80",
                                      "[::1",
                                      "127.0.0.1.evil.example",
                                      "[x]:1",
                                      "localhost:80:80",
                                      "a.example@evil",
                                      "ill.example",
                                      "127.1",
                                      "[]"};
    mr_guard_init(&guard, "", "mill.example, a.example");
    for (size_t i = 0; i < MR_COUNT(good); i++) CHECK(mr_guard_host_ok(&guard, good[i]));
    for (size_t i = 0; i < MR_COUNT(bad); i++) CHECK(!mr_guard_host_ok(&guard, bad[i]));
    CHECK(!mr_guard_host_ok(&guard, NULL));
}

TEST(other_sites_are_told_apart) {
    const char *host = "localhost:9464";
#define OWN(...) mr_guard_own_site(&(mr_shown){.host = host, __VA_ARGS__})
    CHECK(OWN(.origin = NULL)); /* no browser */
    CHECK(OWN(.origin = "http://localhost:9464", .fetch_site = "same-origin"));
    CHECK(OWN(.origin = "https://LOCALHOST:9464"));
    CHECK(!OWN(.origin = "http://localhost"));
    CHECK(!OWN(.origin = "http://evil.example"));
    CHECK(!OWN(.origin = "null"));
    CHECK(!OWN(.origin = "http://localhost:9464", .fetch_site = "cross-site"));
    CHECK(!OWN(.fetch_site = "same-site"));
}

MR_TEST_MAIN
