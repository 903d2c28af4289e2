/* Goal: a request arrives as it was made, and its end is told once, whatever the other side does:
 * it answers, redirects, is silent, hangs up in the middle, says too much, is not there; and with a
 * pin no other address is asked. Method: a server of a few lines on the same loop answers by the
 * path that it is asked for. */
#include "base/fetch.h"

#include <malloc.h>
#include <strings.h>

#include "../../test.h"
#include "loop.h"

enum { MAX_ANSWERS = 64, WAIT_MS = 120000 /* only what never comes takes so long */ };

static uv_loop_t loop;
static uv_tcp_t server;
static int port, n_connections;
static char last_request[8192];
static mr_fetch *f;
static mr_err err;

static struct {
    mr_status status;
    int code;
    uint64_t after;
    char body[256], why[256], address[MR_FETCH_ADDRESS];
    size_t len;
    bool cut;
    void *arg;
} answers[MAX_ANSWERS];
static size_t n_answers;
static bool close_inside;

/* ---- the other side ---- */

typedef struct peer {
    uv_tcp_t tcp;
    char text[8192];
    size_t len;
    int n_requests;
} peer;

static void on_peer_closed(uv_handle_t *h) {
    free(h->data);
}

static void drop(peer *p) {
    if (!uv_is_closing((uv_handle_t *)&p->tcp)) uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

static void say(peer *p, const char *text) {
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
    CHECK_I64(uv_try_write((uv_stream_t *)&p->tcp, &b, 1), strlen(text));
}

/* Just more than may be. */
static void say_headers(peer *p) {
    char line[1024] = "X: ";
    memset(line + 3, 'x', sizeof line - 6);
    memcpy(line + sizeof line - 3, "\r\n", 3);
    say(p, "HTTP/1.1 200 OK\r\n");
    for (size_t i = 0; i * (sizeof line - 1) <= MR_FETCH_MAX_HEAD; i++) say(p, line);
}

static void reply(peer *p) {
    char path[64] = "";
    sscanf(p->text, "%*s %63s", path);
    if (!strcmp(path, "/ok"))
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    else if (!strcmp(path, "/redirect"))
        say(p, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
    else if (!strcmp(path, "/later"))
        say(p, "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    else if (!strcmp(path, "/long"))
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789");
    else if (!strcmp(path, "/reset") && p->n_requests > 1)
        uv_tcp_close_reset(&p->tcp, on_peer_closed);
    else if (!strcmp(path, "/reset"))
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    else if (!strcmp(path, "/head"))
        say_headers(p);
    else if (!strcmp(path, "/half")) {
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123");
        drop(p);
    } else if (!strcmp(path, "/hang-up"))
        drop(p);
    /* else: silence */
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *b) {
    peer *p = h->data;
    (void)n;
    *b = uv_buf_init(p->text + p->len, (unsigned)(sizeof p->text - 1 - p->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    peer *p = s->data;
    (void)b;
    if (n < 0) {
        drop(p);
        return;
    }
    p->text[p->len += (size_t)n] = 0;
    const char *end = strstr(p->text, "\r\n\r\n"), *length = strstr(p->text, "Content-Length: ");
    if (!end || (length && strlen(end + 4) < (size_t)atoi(length + 16))) return;
    memcpy(last_request, p->text, p->len + 1);
    p->len = 0;
    p->n_requests++;
    reply(p);
}

static void on_connection(uv_stream_t *s, int status) {
    peer *p = calloc(1, sizeof *p);
    (void)status;
    n_connections++;
    uv_tcp_init(&loop, &p->tcp);
    p->tcp.data = p;
    CHECK_I64(uv_accept(s, (uv_stream_t *)&p->tcp), 0);
    uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

/* ---- our side ---- */

static void close_now(void) {
    mr_fetch *closed = f;
    f = NULL;
    mr_fetch_close(closed);
}

static void on_done(void *owner, void *arg, const mr_fetch_answer *a) {
    CHECK(owner == &loop);
    CHECK(n_answers < MAX_ANSWERS);
    answers[n_answers].status = a->status;
    answers[n_answers].code = a->code;
    answers[n_answers].after = a->retry_after_s;
    answers[n_answers].len = a->len;
    answers[n_answers].cut = a->cut;
    answers[n_answers].arg = arg;
    CHECK_I64(a->body[a->len], 0);
    snprintf(answers[n_answers].body, sizeof answers[0].body, "%s", a->body);
    snprintf(answers[n_answers].why, sizeof answers[0].why, "%s", a->why);
    snprintf(answers[n_answers].address, sizeof answers[0].address, "%s", a->address);
    n_answers++;
    if (close_inside) close_now();
}

static void start_with(const mr_fetch_conf *conf) {
    struct sockaddr_in at;
    int len = sizeof at;

    n_answers = 0;
    n_connections = 0;
    close_inside = false;
    CHECK_I64(uv_loop_init(&loop), 0);
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_init(&loop, &server);
    CHECK_I64(uv_tcp_bind(&server, (struct sockaddr *)&at, 0), 0);
    CHECK_I64(uv_listen((uv_stream_t *)&server, 64, on_connection), 0);
    uv_tcp_getsockname(&server, (struct sockaddr *)&at, &len);
    port = ntohs(at.sin_port);
    CHECK_OK(mr_fetch_open(&f, &loop, conf, on_done, &loop, &err), err);
}

static void start(void) {
    const mr_fetch_conf conf = {.user_agent = "millrace-test", .max_calls = 16};
    start_with(&conf);
}

static void close_one(uv_handle_t *h, void *arg) {
    (void)arg;
    if (uv_is_closing(h)) return;
    uv_close(h, h == (uv_handle_t *)&server ? NULL : on_peer_closed);
}

static void stop(void) {
    close_now();
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_walk(&loop, close_one, NULL);
    CHECK_I64(close_loop(&loop), 0);
}

static mr_fetch_request request_to(const char *host, const char *path, char url[128]) {
    snprintf(url, 128, "http://%s:%d%s", host, port, path);
    return (mr_fetch_request){.method = "POST",
                              .url = url,
                              .body = "{}",
                              .len = 2,
                              .timeout_ms = WAIT_MS,
                              .max_answer = 64};
}

static bool has_answers(void *arg) {
    return n_answers >= *(size_t *)arg;
}

static bool has_connections(void *arg) {
    return n_connections >= *(int *)arg;
}

static void wait_for(size_t n) {
    CHECK(run_until(&loop, has_answers, &n, WAIT_MS));
}

static void ask(const mr_fetch_request *r) {
    CHECK_OK(mr_fetch_send(f, r, &answers, NULL, &err), err);
    wait_for(n_answers + 1);
}

#define LAST answers[n_answers - 1]

TEST(a_request_arrives_as_it_was_made) {
    char url[128];
    const mr_fetch_header headers[] = {{"Content-Type", "application/json"}, {"webhook-id", "m1"}};
    start();
    mr_fetch_request r = request_to("127.0.0.1", "/ok", url);
    r.headers = headers;
    r.n_headers = 2;
    ask(&r);
    CHECK_I64(LAST.status, MR_OK);
    CHECK_I64(LAST.code, 200);
    CHECK_STR(LAST.body, "hello");
    CHECK_STR(LAST.why, "");
    CHECK_STR(LAST.address, "127.0.0.1");
    CHECK(LAST.arg == &answers);
    CHECK(!strncmp(last_request, "POST /ok HTTP/1.1\r\n", 19));
    CHECK(strstr(last_request, "\r\nwebhook-id: m1\r\n"));
    CHECK(strstr(last_request, "\r\nUser-Agent: millrace-test\r\n"));
    CHECK(strstr(last_request, "\r\nContent-Type: application/json\r\n"));
    CHECK(!strstr(last_request, "Expect"));
    CHECK(strstr(last_request, "\r\n\r\n{}"));
    ask(&r);
    CHECK_I64(n_connections, 1); /* kept */
    CHECK_I64(mr_fetch_in_flight(f), 0);
    stop();
}

TEST(a_redirect_is_an_answer_and_not_followed) {
    char url[128];
    start();
    const mr_fetch_request r = request_to("127.0.0.1", "/redirect", url);
    ask(&r);
    CHECK_I64(LAST.status, MR_OK);
    CHECK_I64(LAST.code, 302);
    CHECK(strstr(last_request, "/redirect"));
    stop();
}

TEST(what_the_server_says_about_time_is_told) {
    char url[128];
    start();
    const mr_fetch_request r = request_to("127.0.0.1", "/later", url);
    ask(&r);
    CHECK_I64(LAST.code, 429);
    CHECK_I64(LAST.after, 7);
    stop();
}

TEST(a_long_body_is_cut_and_a_cut_answer_is_none) {
    char url[128];
    start();
    mr_fetch_request r = request_to("127.0.0.1", "/long", url);
    r.max_answer = 5;
    ask(&r);
    CHECK_I64(LAST.status, MR_OK);
    CHECK_I64(LAST.code, 200);
    CHECK_STR(LAST.body, "01234");
    CHECK(LAST.cut);
    r = request_to("127.0.0.1", "/half", url);
    ask(&r);
    CHECK_I64(LAST.status, MR_EUNAVAIL);
    CHECK_I64(LAST.code, 200);
    CHECK(LAST.why[0]);
    r = request_to("127.0.0.1", "/hang-up", url);
    ask(&r);
    CHECK_I64(LAST.status, MR_EUNAVAIL);
    CHECK_I64(LAST.code, 0);
    stop();
}

/* The other side gives up a connection at the moment that it is used again. */
TEST(a_kept_connection_that_is_reset_is_made_anew) {
    char url[128];
    start();
    const mr_fetch_request r = request_to("127.0.0.1", "/reset", url);
    for (int i = 0; i < 3; i++) {
        ask(&r);
        CHECK_I64(LAST.code, 200);
    }
    CHECK_I64(n_connections, 3);
    stop();
}

TEST(headers_have_an_end) {
    char url[128];
    start();
    const mr_fetch_request r = request_to("127.0.0.1", "/head", url);
    ask(&r);
    CHECK(LAST.status != MR_OK);
    CHECK(strstr(LAST.why, "headers"));
    stop();
}

TEST(silence_ends_with_the_time_and_absence_at_once) {
    char url[128];
    start();
    mr_fetch_request r = request_to("127.0.0.1", "/silence", url);
    r.timeout_ms = 100;
    ask(&r);
    CHECK_I64(LAST.status, MR_ETIMEOUT);
    uv_close((uv_handle_t *)&server, NULL);
    CHECK(!run_until(&loop, NULL, NULL, 20));
    r = request_to("localhost", "/ok", url);
    ask(&r);
    CHECK_I64(LAST.status, MR_EUNAVAIL);
    CHECK_I64(LAST.code, 0);
    stop();
}

TEST(a_pinned_name_leads_to_the_pin_only) {
    char url[128];
    const char *here[] = {"127.0.0.1"}, *away[] = {"127.0.0.9"};
    start();
    mr_fetch_request r = request_to("hooks.example.test", "/ok", url);
    r.pin = here; /* no resolver knows the name */
    r.n_pin = 1;
    ask(&r);
    CHECK_I64(LAST.code, 200);
    CHECK(strstr(last_request, "\r\nHost: hooks.example.test:"));

    r = request_to("127.0.0.1", "/ok", url); /* a number needs no resolver: the socket is checked */
    r.pin = away;
    r.n_pin = 1;
    ask(&r);
    CHECK(LAST.status != MR_OK);
    CHECK_I64(LAST.code, 0);
    stop();
}

/* libcurl has one table of pinned names for all calls: what another call puts into it while this
 * one waits for a connection must not lead it elsewhere. */
TEST(a_pin_is_not_moved_by_another_call) {
    char url[128], silent[128];
    const char *here[] = {"127.0.0.1"}, *away[] = {"127.0.0.9"};
    const mr_fetch_conf conf = {.max_calls = 4, .max_per_host = 1};
    mr_fetch_call *first = NULL;

    start_with(&conf);
    mr_fetch_request r = request_to("hooks.example.test", "/silence", silent);
    r.pin = here;
    r.n_pin = 1;
    CHECK_OK(mr_fetch_send(f, &r, NULL, &first, &err), err);
    CHECK(run_until(&loop, has_connections, &(int){1}, WAIT_MS));
    r = request_to("hooks.example.test", "/ok", url);
    r.n_pin = 1;
    r.pin = away;
    CHECK_OK(mr_fetch_send(f, &r, &away, NULL, &err), err);
    r.pin = here;
    CHECK_OK(mr_fetch_send(f, &r, &here, NULL, &err), err);
    CHECK(!run_until(&loop, NULL, NULL, 50));
    mr_fetch_cancel(f, first);
    wait_for(2);
    for (size_t i = 0; i < 2; i++) {
        CHECK_I64(answers[i].code, answers[i].arg == &here ? 200 : 0);
        if (answers[i].arg == &away) CHECK(strstr(answers[i].why, "checked"));
    }
    stop();
}

/* So many names that a table of them would be seen in the heap, each asked for once. Where the
 * allocator is a sanitizer's, which mallinfo2 does not know, this tests nothing. */
TEST(pinned_names_are_forgotten) {
    enum { NAMES = 2000, TABLE = NAMES * 100 };
    char host[32], url[128];
    const char *here[] = {"127.0.0.1"};
    size_t before = 0, grown = SIZE_MAX;

    start();
    for (int i = 0; i < NAMES; i++) {
        snprintf(host, sizeof host, "host-%d.example.test", i);
        mr_fetch_request r = request_to(host, "/hang-up", url);
        r.pin = here;
        r.n_pin = 1;
        r.timeout_ms = 900; /* and the names as long */
        n_answers = 0;
        ask(&r);
        if (i == NAMES / 10) before = mallinfo2().uordblks;
    }
    for (int i = 0; i < 100 && grown > TABLE; i++) { /* each call looks at the table */
        CHECK(!run_until(&loop, NULL, NULL, 100));
        mr_fetch_request r = request_to("127.0.0.1", "/hang-up", url);
        r.timeout_ms = 900;
        n_answers = 0;
        ask(&r);
        const size_t now = mallinfo2().uordblks;
        grown = now > before ? now - before : 0;
    }
    CHECK(grown <= TABLE);
    stop();
}

TEST(the_environment_has_no_proxy_for_us) {
    char url[128];
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    start();
    const mr_fetch_request r = request_to("127.0.0.1", "/ok", url);
    ask(&r);
    CHECK_I64(LAST.code, 200);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    stop();
}

TEST(what_cannot_be_asked_is_refused) {
    char url[128];
    const mr_fetch_header bad[] = {{"X", "a\r\nY: b"}};
    const char *const no_address[] = {"localhost"};
    start();
    mr_fetch_request r = request_to("127.0.0.1", "/ok", url);
    r.headers = bad;
    r.n_headers = 1;
    CHECK_I64(mr_fetch_send(f, &r, NULL, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "header X");
    r = request_to("127.0.0.1", "/ok", url);
    r.pin = no_address;
    r.n_pin = 1;
    CHECK_I64(mr_fetch_send(f, &r, NULL, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "localhost");
    r = request_to("127.0.0.1", "/ok", url);
    r.timeout_ms = 0;
    CHECK_I64(mr_fetch_send(f, &r, NULL, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "timeout_ms");
    r = request_to("127.0.0.1", "/ok", url);
    r.url = "ftp://127.0.0.1/x";
    ask(&r);
    CHECK_I64(LAST.status, MR_EUNAVAIL);
    snprintf(url, sizeof url, "http://user:secret@127.0.0.1:%d/ok", port);
    r.url = url;
    ask(&r);
    CHECK_I64(LAST.status, MR_EUNAVAIL);
    CHECK(!strstr(LAST.why, "secret"));
    CHECK_I64(n_connections, 0);
    stop();
}

TEST(calls_are_bounded_cancelled_and_told_at_the_close) {
    char url[128];
    mr_fetch_call *first = NULL;
    const mr_fetch_conf conf = {.max_calls = 3, .max_per_host = 2};
    start_with(&conf);
    const mr_fetch_request r = request_to("127.0.0.1", "/silence", url);
    CHECK_OK(mr_fetch_send(f, &r, NULL, &first, &err), err);
    CHECK_OK(mr_fetch_send(f, &r, NULL, NULL, &err), err);
    CHECK_OK(mr_fetch_send(f, &r, NULL, NULL, &err), err);
    CHECK_I64(mr_fetch_send(f, &r, NULL, NULL, &err), MR_ELIMIT);
    CHECK(run_until(&loop, has_connections, &(int){2}, WAIT_MS));
    CHECK(!run_until(&loop, NULL, NULL, 100));
    CHECK_I64(n_connections, 2);
    mr_fetch_cancel(f, first);
    CHECK_I64(mr_fetch_in_flight(f), 2);
    CHECK(!run_until(&loop, NULL, NULL, 20));
    CHECK_I64(n_answers, 0);
    close_now();
    CHECK_I64(n_answers, 2);
    CHECK_I64(answers[0].status, MR_ECANCELED);
    CHECK_I64(answers[1].status, MR_ECANCELED);
    stop();
}

TEST(closing_inside_an_answer) {
    char url[128];
    start();
    close_inside = true;
    const mr_fetch_request r = request_to("127.0.0.1", "/ok", url);
    for (int i = 0; i < 4; i++) CHECK_OK(mr_fetch_send(f, &r, NULL, NULL, &err), err);
    wait_for(4);
    CHECK_I64(answers[0].status, MR_OK);
    CHECK_I64(answers[3].status, MR_ECANCELED);
    stop();
}

MR_TEST_MAIN_SHARED
