/* Goal: the three pages are served on the loop thread, to well-behaved and other clients.
 * Method: a thread plays the client with plain sockets while the main thread runs the loop. */
#include "base/http.h"

#include "http_client.h"

static uv_loop_t loop;
static mr_http *server;
static mr_err err;
static pthread_t loop_thread;
static int n_calls;

static void on_metrics(void *owner, mr_http_answer *a) {
    CHECK(pthread_equal(pthread_self(), loop_thread));
    CHECK(owner == &loop);
    n_calls++;
    a->content_type = "text/plain; version=0.0.4";
    a->body = strdup("millrace_up 1\n");
    a->len = strlen(a->body);
}

static void on_not_ready(void *owner, mr_http_answer *a) {
    (void)owner;
    a->status = 503;
}

static const mr_http_route routes[] = {
    {"/metrics", on_metrics}, {"/readyz", on_not_ready}, {NULL, NULL}};

static talk *ask(const char *request) {
    return ask_at(&loop, mr_http_port(server), request);
}

static void start(void) {
    loop_thread = pthread_self();
    n_calls = 0;
    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_http_open(&server, &loop, "127.0.0.1:0", routes, &loop, &err), err);
    CHECK(mr_http_port(server) > 0);
}

static void stop(void) {
    mr_http_close(server);
    CHECK_I64(close_loop(&loop), 0);
}

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

TEST(pages_are_served) {
    start();
    const talk *t = ask("GET /metrics" END);
    CHECK(strstr(t->answer, "HTTP/1.1 200") == t->answer);
    CHECK(strstr(t->answer, "version=0.0.4") != NULL);
    CHECK(strstr(t->answer, "\r\n\r\nmillrace_up 1\n") != NULL);
    t = ask("HEAD /metrics" END);
    CHECK(strstr(t->answer, "HTTP/1.1 200") == t->answer);
    CHECK(strstr(t->answer, "Content-Length: 14") != NULL);
    CHECK(strstr(t->answer, "millrace_up") == NULL);
    CHECK_I64(n_calls, 2);
    t = ask("GET /metrics?x=1" END);
    CHECK(strstr(t->answer, "HTTP/1.1 200") == t->answer);
    t = ask("GET /readyz" END);
    CHECK(strstr(t->answer, "HTTP/1.1 503") == t->answer);
    t = ask("GET /metricsx" END);
    CHECK(strstr(t->answer, "HTTP/1.1 404") == t->answer);
    stop();
}

TEST(other_methods_and_broken_requests_are_refused) {
    start();
    const talk *t = ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                        "Connection: close\r\n\r\nhello");
    CHECK(strstr(t->answer, "HTTP/1.1 405") == t->answer);
    CHECK(strstr(t->answer, "Allow: GET, HEAD") != NULL);
    t = ask("\x01\x02\x03 nonsense\r\n\r\n");
    CHECK(strstr(t->answer, " 200 ") == NULL);

    char *huge = malloc(40000);
    strcpy(huge, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ");
    memset(huge + strlen(huge), 'a', 30000);
    strcpy(huge + 30030, "\r\nConnection: close\r\n\r\n");
    t = ask(huge);
    CHECK(strstr(t->answer, " 200 ") == NULL);
    CHECK_I64(n_calls, 0);
    free(huge);
    stop();
}

/* Goal: clients that connect and say nothing do not lock out the others beyond their number. */
TEST(silent_connections_are_bounded) {
    start();
    int fds[20];
    for (size_t i = 0; i < MR_COUNT(fds); i++) CHECK((fds[i] = dial(mr_http_port(server))) >= 0);
    const talk *t = ask("GET /metrics" END);
    CHECK(strstr(t->answer, "HTTP/1.1 200") == t->answer);
    stop(); /* with open connections */
    for (size_t i = 0; i < MR_COUNT(fds); i++) close(fds[i]);
}

TEST(a_bad_address_is_named) {
    mr_http *second = NULL;
    char taken[32];
    start();
    CHECK_I64(mr_http_open(&second, &loop, "nonsense", routes, NULL, &err), MR_EINVAL);
    CHECK_ERR(err, "nonsense");
    CHECK_I64(mr_http_open(&second, &loop, "127.0.0.1:99999999", routes, NULL, &err), MR_EINVAL);
    snprintf(taken, sizeof taken, "127.0.0.1:%d", mr_http_port(server));
    CHECK_I64(mr_http_open(&second, &loop, taken, routes, NULL, &err), MR_EUNAVAIL);
    CHECK_ERR(err, taken);
    CHECK(second == NULL);
    stop();
}

MR_TEST_MAIN_SHARED
