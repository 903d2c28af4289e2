/* Goal: replies belong to their commands and come in order, whatever happens to the server: it is
 * away at the start, dies, comes back, forgets its scripts, wants a password, or stops answering.
 * Method: a private redis-server on a unix socket in a fresh folder, started, stopped (SIGSTOP) and
 * killed by the test; sockets of our own where a server must misbehave. */
#include "base/redis.h"

#include "base/redis_internal.h"
#include "tests/redis_server.h"
#include "tests/test.h"
#include "tests/unit/net/loop.h"

#define WAIT_MS 120000 /* only what never comes takes so long */

typedef struct seen {
    size_t n_ok, n_unavail, n_canceled, n_error, n_wrong;
    int64_t last_int, expect_int; /* expect_int > 0: replies must count up from it */
    char last_text[256];
    int up, down;
    char why[256];
    size_t n_messages, n_confirmed;
    char message[64];
    mr_redis *close_me;
} seen;

static uv_loop_t loop;
static redis_server server;
static mr_err err;
static seen s;

/* ---- fixture ---- */

/* password NULL: no server yet; "": one that wants none. */
static void start(const char *password) {
    memset(&s, 0, sizeof s);
    redis_init(&server);
    CHECK_I64(uv_loop_init(&loop), 0);
    if (password) redis_start(&server, password);
}

static void stop(void) {
    CHECK_I64(close_loop(&loop), 0);
    redis_deinit(&server);
}

static void on_state(void *owner, bool up, const char *why) {
    (void)owner;
    s.up += up;
    s.down += !up;
    snprintf(s.why, sizeof s.why, "%s", why);
}

static bool is_without_password(void *unused) {
    (void)unused;
    return strstr(s.why, "NOAUTH") != NULL;
}

static bool two_were_down(void *unused) {
    (void)unused;
    return s.down >= 2;
}

static void on_message(void *owner, const char *channel, const void *data, size_t len) {
    (void)owner;
    (void)channel;
    s.n_messages++;
    snprintf(s.message, sizeof s.message, "%.*s", (int)len, (const char *)data);
}

static void on_reply(void *owner, void *cookie, mr_status st, const mr_reply *r) {
    (void)owner;
    (void)cookie;
    CHECK((st == MR_OK) == (r != NULL));
    s.n_unavail += st == MR_EUNAVAIL;
    s.n_canceled += st == MR_ECANCELED;
    if (!r) return;
    s.n_ok++;
    s.n_error += r->type == MR_REPLY_ERROR;
    snprintf(s.last_text, sizeof s.last_text, "%s", r->text);
    s.last_int = r->integer;
    if (s.expect_int > 0 && r->integer != s.expect_int++) s.n_wrong++;
    if (s.close_me) {
        mr_redis *close_me = s.close_me;
        s.close_me = NULL;
        mr_redis_close(close_me);
    }
}

static void on_confirmed(void *owner, void *cookie, mr_status st, const mr_reply *r) {
    (void)owner;
    (void)cookie;
    s.n_confirmed += st == MR_OK && r->type == MR_REPLY_ARRAY;
    s.n_canceled += st == MR_ECANCELED;
}

/* command_ms 0: as long as it takes. */
static mr_redis *open_at(const char *where, int command_ms) {
    mr_redis *r = NULL;
    const mr_redis_conf conf = {.url = where,
                                .client_name = "test",
                                .connect_timeout_ms = WAIT_MS,
                                .command_timeout_ms = command_ms ? command_ms : WAIT_MS,
                                .max_pending = 5000,
                                .on_state = on_state,
                                .on_message = on_message};
    CHECK_OK(mr_redis_open(&r, &loop, &conf, &err), err);
    return r;
}

static bool is_up(void *r) {
    return mr_redis_up(r);
}

static bool is_down(void *r) {
    return !mr_redis_up(r);
}

static bool nothing_pending(void *r) {
    return mr_redis_pending(r) == 0;
}

static void send_text(mr_redis *r, const char *a, const char *b, const char *c) {
    const char *const argv[] = {a, b, c};
    const size_t n = c ? 3 : b ? 2 : 1;
    CHECK_OK(mr_redis_command(r, n, argv, NULL, on_reply, NULL, &err), err);
}

/* ---- tests ---- */

TEST(replies_come_in_order_and_keep_every_byte) {
    start("");
    mr_redis *r = open_at(server.url, 0);
    CHECK(!mr_redis_up(r));
    const char *const ping[] = {"PING"};
    CHECK_I64(mr_redis_command(r, 1, ping, NULL, on_reply, NULL, &err), MR_EUNAVAIL);
    CHECK(run_until(&loop, is_up, r, WAIT_MS)); /* the server may need some tries to be there */

    s.expect_int = 1;
    for (int i = 0; i < 4000; i++) send_text(r, "INCR", "n", NULL);
    CHECK_I64(mr_redis_pending(r), 4000);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.n_ok, 4000);
    CHECK_I64(s.n_wrong, 0);
    s.expect_int = 0;

    const char *const set[] = {"SET", "k", "a\0b\r\nc"};
    const size_t lens[] = {3, 1, 6};
    CHECK_OK(mr_redis_command(r, 3, set, lens, on_reply, NULL, &err), err);
    send_text(r, "STRLEN", "k", NULL);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.last_int, 6);
    send_text(r, "NOSUCHCOMMAND", NULL, NULL);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.n_error, 1);
    mr_redis_close(r);
    stop();
}

TEST(a_full_queue_says_so) {
    start("");
    mr_redis *r = open_at(server.url, 0);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    for (int i = 0; i < 5000; i++) send_text(r, "INCR", "n", NULL);
    const char *const argv[] = {"PING"};
    CHECK_I64(mr_redis_command(r, 1, argv, NULL, on_reply, NULL, &err), MR_ELIMIT);
    CHECK_ERR(err, "limit 5000");
    mr_redis_close(r);
    CHECK_I64(s.n_canceled, 5000);
    stop();
}

TEST(a_server_that_dies_is_found_again) {
    start("");
    mr_redis *r = open_at(server.url, 0);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    kill(server.pid, SIGSTOP); /* so that nothing is answered before the end */
    for (int i = 0; i < 100; i++) send_text(r, "INCR", "n", NULL);
    mr_redis_flush(r);
    run_until(&loop, NULL, NULL, 30);
    redis_kill(&server);
    s.down = 0;
    CHECK(run_until(&loop, is_down, r, WAIT_MS));
    CHECK_I64(s.n_unavail, 100);
    CHECK_I64(s.n_ok, 0);
    CHECK_I64(mr_redis_pending(r), 0);
    CHECK(run_until(&loop, two_were_down, NULL, WAIT_MS)); /* closed; then "connection refused" */
    run_until(&loop, NULL, NULL, 300);                     /* some more tries against nobody */
    CHECK_I64(s.down, 2);                                  /* told once */
    redis_start(&server, "");
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    send_text(r, "INCR", "n", NULL);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.last_int, 1); /* nothing was sent again by itself */
    mr_redis_close(r);
    stop();
}

TEST(a_late_reply_cuts_the_connection) {
    start("");
    mr_redis *r = open_at(server.url, 200);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    kill(server.pid, SIGSTOP);
    const uint64_t begin = mr_clock_mono_ms();
    uv_update_time(&loop); /* the time that a command is sent is the loop's */
    send_text(r, "PING", NULL, NULL);
    CHECK(run_until(&loop, is_down, r, WAIT_MS));
    CHECK(mr_clock_mono_ms() - begin >= 200);
    CHECK_STR(s.why, "a reply is too late");
    CHECK_I64(s.n_unavail, 1);
    kill(server.pid, SIGCONT);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    mr_redis_close(r);
    stop();
}

/* Goal: calls of a script that the server forgot run once each, and in the order they were made. */
TEST(a_forgotten_script_is_loaded_again_without_reordering) {
    static const char lua[] = "return redis.call('RPUSH', KEYS[1], ARGV[1])";
    start("");
    mr_redis *r = open_at(server.url, 0);
    int early = -1, late = -1;
    CHECK_OK(mr_redis_script(r, lua, &early, &err), err);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    CHECK_OK(mr_redis_script(r, "return redis.call('INCR', KEYS[1])", &late, &err), err);

    s.expect_int = 1; /* RPUSH answers with the new length */
    for (int i = 0; i < 300; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        const char *const argv[] = {"list", text};
        if (i == 100) {
            const char *const flush[] = {"SCRIPT", "FLUSH"};
            CHECK_OK(mr_redis_command(r, 2, flush, NULL, NULL, NULL, &err), err);
        }
        CHECK_OK(mr_redis_eval(r, early, 1, 2, argv, NULL, on_reply, NULL, &err), err);
        if (i % 50 == 49) uv_run(&loop, UV_RUN_NOWAIT);
    }
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.n_ok, 300);
    CHECK_I64(s.n_error, 0);
    CHECK_I64(s.n_wrong, 0);
    s.expect_int = 0;
    send_text(r, "LINDEX", "list", "150");
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_STR(s.last_text, "150");

    const char *const key[] = {"count"};
    CHECK_OK(mr_redis_eval(r, late, 1, 1, key, NULL, on_reply, NULL, &err), err);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK_I64(s.last_int, 1);
    mr_redis_close(r);
    stop();
}

TEST(a_password_is_needed_and_given) {
    char with[256];
    start("s3cret@/:");
    mr_redis *wrong = open_at(server.url, 0);
    CHECK(run_until(&loop, is_without_password, NULL, WAIT_MS));
    CHECK(!mr_redis_up(wrong));
    mr_redis_close(wrong);

    /* The login of a unix URL has no place in it, so a TCP port is made: the server learns it live.
     */
    memset(&s, 0, sizeof s);
    char command[256];
    for (int port = 21000 + getpid() % 20000, i = 0; i < 20; i++, port += 7) {
        snprintf(command, sizeof command,
                 "redis-cli --no-auth-warning -a 's3cret@/:' -s %s/redis.sock config set port %d "
                 "| grep -q OK",
                 server.folder, port);
        if (system(command) != 0) continue;
        snprintf(with, sizeof with, "redis://:s3cret%%40%%2f%%3a@localhost:%d/3", port);
        break;
    }
    mr_redis *r = open_at(with, 0);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    send_text(r, "CLIENT", "INFO", NULL);
    CHECK(run_until(&loop, nothing_pending, r, WAIT_MS));
    CHECK(strstr(s.last_text, "name=test") != NULL);
    CHECK(strstr(s.last_text, "db=3") != NULL);
    mr_redis_close(r);
    stop();
}

static bool got_message(void *arg) {
    return s.n_messages >= *(size_t *)arg;
}

static bool is_confirmed(void *arg) {
    return s.n_confirmed >= *(size_t *)arg;
}

TEST(a_subscription_outlives_its_connection) {
    start("");
    size_t want = 2;
    mr_redis *sub = open_at(server.url, 0), *pub = open_at(server.url, 0);
    CHECK_OK(mr_redis_subscribe(sub, "a", on_confirmed, NULL, &err), err); /* before it is up */
    CHECK(run_until(&loop, is_up, sub, WAIT_MS));
    CHECK_I64(s.n_confirmed, 1);
    CHECK_OK(mr_redis_subscribe(sub, "b", on_confirmed, NULL, &err), err);
    CHECK(run_until(&loop, is_confirmed, &want, WAIT_MS));
    CHECK(run_until(&loop, is_up, pub, WAIT_MS));
    CHECK_I64(mr_redis_subscribe(sub, "b", on_confirmed, NULL, &err), MR_EINVAL);
    const char *const argv[] = {"PING"};
    CHECK_I64(mr_redis_command(sub, 1, argv, NULL, NULL, NULL, &err), MR_EINVAL);

    send_text(pub, "PUBLISH", "a", "one");
    send_text(pub, "PUBLISH", "b", "two");
    CHECK(run_until(&loop, got_message, &want, WAIT_MS));
    CHECK_STR(s.message, "two");

    redis_kill(&server);
    CHECK(run_until(&loop, is_down, sub, WAIT_MS));
    CHECK(run_until(&loop, is_down, pub, WAIT_MS));
    CHECK_OK(mr_redis_unsubscribe(sub, "b", &err), err);
    redis_start(&server, "");
    CHECK(run_until(&loop, is_up, sub, WAIT_MS));
    CHECK(run_until(&loop, is_up, pub, WAIT_MS));
    CHECK_I64(s.n_confirmed, 2); /* told once per subscription */
    send_text(pub, "PUBLISH", "b", "lost");
    send_text(pub, "PUBLISH", "a", "three");
    want = 3;
    CHECK(run_until(&loop, got_message, &want, WAIT_MS));
    CHECK_STR(s.message, "three");
    CHECK_I64(mr_redis_unsubscribe(sub, "b", &err), MR_ENOTFOUND);

    CHECK_OK(mr_redis_subscribe(sub, "c", on_confirmed, NULL, &err), err);
    mr_redis_close(sub);
    CHECK_I64(s.n_canceled, 1);
    mr_redis_close(pub);
    stop();
}

TEST(closing_inside_a_reply_is_safe) {
    start("");
    mr_redis *r = open_at(server.url, 0);
    CHECK(run_until(&loop, is_up, r, WAIT_MS));
    for (int i = 0; i < 100; i++) send_text(r, "INCR", "n", NULL);
    s.close_me = r;
    mr_redis_flush(r);
    CHECK_I64(close_loop(&loop), 0);
    CHECK_I64(s.n_ok, 1);
    CHECK_I64(s.n_canceled, 99);
    CHECK_I64(uv_loop_init(&loop), 0);
    stop();
}

TEST(nobody_there_is_no_error_of_open) {
    start(NULL);
    mr_redis *a = open_at("redis://127.0.0.1:1", 0); /* refused */
    mr_redis *b = open_at("redis://no-such-host.invalid:6379", 0);
    mr_redis *c = open_at(server.url, 0); /* no such file */
    CHECK(run_until(&loop, two_were_down, NULL, WAIT_MS));
    CHECK(!mr_redis_up(a) && !mr_redis_up(b) && !mr_redis_up(c));
    mr_redis_close(a);
    mr_redis_close(b);
    mr_redis_close(c);
    mr_redis *closed_at_once = open_at("redis://localhost:1", 0);
    mr_redis_close(closed_at_once);
    mr_redis_close(NULL);
    stop();
}

/* Goal: garbage from the other side ends the connection and nothing else. */
static void on_client(uv_stream_t *listener, int status) {
    static uv_tcp_t client;
    static uv_write_t write;
    static char garbage[] = "$-7\r\n\x01\x02garbage\r\n";
    uv_tcp_t *const done = listener->data;
    if (status || done) return;
    listener->data = &client;
    uv_tcp_init(listener->loop, &client);
    uv_accept(listener, (uv_stream_t *)&client);
    uv_buf_t buf = uv_buf_init(garbage, sizeof garbage - 1);
    uv_write(&write, (uv_stream_t *)&client, &buf, 1, NULL);
}

static bool was_down(void *arg) {
    (void)arg;
    return s.down > 0;
}

TEST(garbage_cuts_the_connection) {
    start(NULL);
    uv_tcp_t listener;
    struct sockaddr_in addr;
    int len = sizeof addr;
    char where[64];
    uv_tcp_init(&loop, &listener);
    listener.data = NULL;
    uv_ip4_addr("127.0.0.1", 0, &addr);
    CHECK_I64(uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0), 0);
    CHECK_I64(uv_listen((uv_stream_t *)&listener, 8, on_client), 0);
    uv_tcp_getsockname(&listener, (struct sockaddr *)&addr, &len);
    snprintf(where, sizeof where, "redis://127.0.0.1:%d", ntohs(addr.sin_port));
    mr_redis *r = open_at(where, 0);
    CHECK(run_until(&loop, was_down, NULL, WAIT_MS));
    CHECK(!mr_redis_up(r));
    mr_redis_close(r);
    uv_close((uv_handle_t *)listener.data, NULL);
    uv_close((uv_handle_t *)&listener, NULL);
    stop();
}

TEST(urls_are_taken_apart) {
    mr_redis_addr a;
    CHECK_OK(mr_redis_url_parse(&a, "redis://u%20s:p%3Aw@[::1]:7000/12", &err), err);
    CHECK_STR(a.user, "u s");
    CHECK_STR(a.password, "p:w");
    CHECK_STR(a.host, "::1");
    CHECK_STR(a.port, "7000");
    CHECK_I64(a.db, 12);
    CHECK_OK(mr_redis_url_parse(&a, "redis://host", &err), err);
    CHECK_STR(a.port, "6379");
    CHECK_OK(mr_redis_url_parse(&a, "unix:///run/r%65dis.sock?db=2", &err), err);
    CHECK(a.is_unix);
    CHECK_STR(a.host, "/run/redis.sock");
    CHECK_I64(a.db, 2);

    static const struct {
        const char *url, *mentions;
    } bad[] = {
        {"", "redis://"},
        {"http://x", "redis://"},
        {"redis://", "no host"},
        {"redis://h:0", "port"},
        {"redis://h:70000", "port"},
        {"redis://h:12x", "port"},
        {"redis://h/x", "database"},
        {"redis://h/70000", "database"},
        {"redis://u@h", "without a password"},
        {"redis://:%zz@h", "escape"},
        {"redis://:%00@h", "escape"},
        {"redis://[::1:6379", "]"},
        {"redis://h?x=1", "/db"},
        {"unix://relative", "absolute"},
        {"unix:///p?x=1", "db=number"},
    };
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        CHECK_I64(mr_redis_url_parse(&a, bad[i].url, &err), MR_EINVAL);
        CHECK_ERR(err, bad[i].mentions);
    }
    CHECK_I64(mr_redis_url_parse(&a, "rediss://h", &err), MR_EUNSUPPORTED);
    CHECK_I64(mr_redis_url_parse(&a, "redis://:secret@h:x", &err), MR_EINVAL);
    CHECK(!strstr(err.text, "secret"));
}

MR_TEST_MAIN_SHARED
