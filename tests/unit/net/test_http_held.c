/* Goal: what no route has reaches one handler with all that the client said; it may answer later or
 * with a stream, and no client, slow, gone or talkative, costs more than its bounds.
 * Method: as test_http.c; the handler does what the path says. */
#include "base/http.h"

#include "http_client.h"

enum { N_CLIENTS = 33 }; /* one more than may be held */

static uv_loop_t loop;
static mr_http *server;
static mr_err err;

static char seen[512]; /* the newest request */
static mr_http_request *held[64];
static size_t n_held, n_gone, n_drained, n_to_send;

static const mr_http_route routes[] = {{NULL, NULL}};

static void on_gone(void *arg) {
    n_gone++;
    *(mr_http_request **)arg = NULL;
}

static void on_drained(void *arg) {
    mr_http_request *r = *(mr_http_request **)arg;
    char text[64];
    n_drained++;
    if (n_to_send == 0) return;
    const int n = snprintf(text, sizeof text, "%zu ", n_to_send--);
    CHECK_I64(mr_http_send(r, text, (size_t)n), MR_OK);
    if (n_to_send == 0) mr_http_end(r);
}

static void hold(mr_http_request *r, mr_http_answer *a) {
    const mr_http_holder holder = {
        .arg = &held[n_held], .on_gone = on_gone, .on_drained = on_drained};
    if (!mr_http_hold(r, &holder)) {
        a->status = 503;
        return;
    }
    held[n_held++] = r;
}

static const char *or_none(const char *text) {
    return text ? text : "none";
}

static void on_other(void *owner, mr_http_request *r, mr_http_answer *a) {
    size_t n;
    const char *body = mr_http_body(r, &n);
    CHECK(owner == &loop);
    snprintf(seen, sizeof seen, "%s %s q=%s x=%s body=%zu:%.20s", mr_http_method(r),
             mr_http_path(r), or_none(mr_http_query(r, "q")), or_none(mr_http_header(r, "X-Thing")),
             n, body);
    if (strcmp(mr_http_path(r), "/now") == 0) {
        a->status = 201;
        a->fields[a->n_fields++] = (mr_http_field){"X-Answer", "yes"};
        a->body = strdup("done\n");
        a->len = 5;
        return;
    }
    const size_t before = n_held;
    hold(r, a);
    if (n_held > before && strcmp(mr_http_path(r), "/stream") == 0)
        mr_http_stream(r, &(mr_http_answer){.status = 200, .content_type = "text/event-stream"});
}

static void start(void) {
    n_held = n_gone = n_drained = n_to_send = 0;
    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_http_open(&server, &loop, "127.0.0.1:0", routes, &loop, &err), err);
    mr_http_others(server, on_other, &loop);
}

static void stop(void) {
    mr_http_close(server);
    CHECK_I64(close_loop(&loop), 0);
}

static talk *ask(const char *request) {
    return ask_at(&loop, mr_http_port(server), request);
}

static int send_to(const char *request) {
    const int fd = dial(mr_http_port(server));
    CHECK(fd >= 0);
    CHECK_I64(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

static bool as_many_held(void *arg) {
    return n_held >= *(size_t *)arg;
}

static bool one_gone(void *arg) {
    (void)arg;
    return n_gone > 0;
}

static void wait_held(size_t n) {
    CHECK(run_until(&loop, as_many_held, &n, WAIT_MS));
}

typedef struct heard { /* by a client on this thread */
    int fd;
    const char *awaited;
    char text[2048];
    size_t n;
} heard;

static bool has_come(void *arg) {
    heard *h = arg;
    const ssize_t more = recv(h->fd, h->text + h->n, sizeof h->text - 1 - h->n, MSG_DONTWAIT);
    if (more > 0) h->n += (size_t)more;
    h->text[h->n] = '\0';
    return strstr(h->text, h->awaited) != NULL;
}

/* All that comes, the loop running, until this has come. */
static void read_until(heard *h, const char *awaited) {
    h->awaited = awaited;
    CHECK(run_until(&loop, has_come, h, WAIT_MS));
}

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

TEST(the_handler_sees_everything) {
    start();
    const talk *t = ask("POST /now?q=a%20b HTTP/1.1\r\nHost: x\r\nX-Thing: 7\r\n"
                        "Content-Length: 5\r\nConnection: close\r\n\r\nhello");
    CHECK(strstr(t->answer, "HTTP/1.1 201") == t->answer);
    CHECK(strstr(t->answer, "X-Answer: yes") != NULL);
    CHECK(strstr(t->answer, "\r\n\r\ndone\n") != NULL);
    CHECK_STR(seen, "POST /now q=a b x=7 body=5:hello");
    ask("GET /now" END);
    CHECK_STR(seen, "GET /now q=none x=none body=0:");
    stop();
}

TEST(a_body_has_a_limit) {
    static char request[MR_HTTP_MAX_BODY + 200];
    start();
    for (int more = 0; more < 2; more++) {
        const int n = snprintf(request, sizeof request,
                               "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                               "Connection: close\r\n\r\n",
                               MR_HTTP_MAX_BODY + more);
        memset(request + n, 'a', MR_HTTP_MAX_BODY + (size_t)more);
        request[n + MR_HTTP_MAX_BODY + more] = '\0';
        const talk *t = ask(request);
        CHECK(strstr(t->answer, more ? "HTTP/1.1 413" : "HTTP/1.1 201") == t->answer);
    }
    stop();
}

TEST(an_answer_may_come_later) {
    start();
    heard h = {.fd = send_to("GET /later" END)};
    wait_held(1);
    run_until(&loop, NULL, NULL, 200);
    CHECK(!has_come(&(heard){.fd = h.fd, .awaited = "HTTP"}));
    mr_http_reply(held[0], &(mr_http_answer){.status = 202,
                                             .content_type = "text/plain",
                                             .body = strdup("late"),
                                             .len = 4});
    read_until(&h, "\r\n\r\nlate");
    CHECK(strstr(h.text, "HTTP/1.1 202") == h.text);
    close(h.fd);
    CHECK_I64(n_gone, 0);
    stop();
}

/* Goal: the owner is told when it may go on, and never has to keep more than one piece. */
TEST(a_stream_is_drawn) {
    start();
    n_to_send = 300;
    const talk *t = ask("GET /stream" END);
    CHECK(strstr(t->answer, "text/event-stream") != NULL);
    CHECK(strstr(t->answer, "300 ") != NULL && strstr(t->answer, "\r\n1 ") != NULL);
    CHECK(n_drained >= 300);
    CHECK_I64(n_gone, 0);
    stop();
}

static bool is_level(void *arg) {
    (void)arg;
    return mr_http_behind(held[0]) == 0;
}

TEST(a_stream_is_pushed_and_bounded) {
    static char block[MR_HTTP_STREAM_BYTES];
    start();
    heard h = {.fd = send_to("GET /stream" END)};
    wait_held(1);
    read_until(&h, "\r\n\r\n");
    CHECK_OK(mr_http_send(held[0], "hello", 5), err);
    CHECK_I64(mr_http_behind(held[0]), 5);
    read_until(&h, "hello");
    CHECK(run_until(&loop, is_level, NULL, WAIT_MS));

    memset(block, 'b', sizeof block);
    size_t n = 0;
    while (mr_http_send(held[0], block, 1000) == MR_OK) n++; /* nobody runs the loop meanwhile */
    CHECK_I64(n, MR_HTTP_STREAM_BYTES / 1000);
    CHECK(mr_http_behind(held[0]) <= MR_HTTP_STREAM_BYTES);
    CHECK_I64(mr_http_send(held[0], block, 1000), MR_ELIMIT);

    close(h.fd); /* with all of that unread */
    CHECK(run_until(&loop, one_gone, NULL, WAIT_MS));
    CHECK(held[0] == NULL);
    stop();
}

/* Goal: a client that has left is noticed with what is sent next. */
TEST(a_client_that_left_is_noticed) {
    start();
    heard h = {.fd = send_to("GET /stream" END)};
    wait_held(1);
    read_until(&h, "\r\n\r\n");
    close(h.fd);
    for (int i = 0; i < WAIT_MS / 10 && n_gone == 0; i++) {
        (void)mr_http_send(held[0], ":\n\n", 3);
        run_until(&loop, NULL, NULL, 10);
    }
    CHECK_I64(n_gone, 1);
    stop();
}

static bool one_is_refused(void *arg) {
    heard *clients = arg;
    size_t n = 0;
    for (size_t i = 0; i < N_CLIENTS; i++) n += has_come(&clients[i]);
    CHECK(n <= 1);
    return n == 1;
}

TEST(held_requests_are_bounded_and_end_with_the_server) {
    static heard clients[N_CLIENTS];
    start();
    for (size_t i = 0; i < N_CLIENTS; i++)
        clients[i] = (heard){.fd = send_to(i % 2 ? "GET /later" END : "GET /stream" END),
                             .awaited = "HTTP/1.1 503"};
    wait_held(N_CLIENTS - 1);
    CHECK(run_until(&loop, one_is_refused, clients, WAIT_MS));
    mr_http_close(server);
    CHECK_I64(n_gone, N_CLIENTS - 1);
    CHECK_I64(close_loop(&loop), 0);
    for (size_t i = 0; i < N_CLIENTS; i++) close(clients[i].fd);
}

MR_TEST_MAIN_SHARED
