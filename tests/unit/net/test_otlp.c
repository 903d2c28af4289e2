/* Goal: spans reach a collector in whole requests, and whatever the collector does, memory has a bound, every
 * span is either sent or counted as dropped, and closing ends soon.
 *
 * Method: a collector of a few lines on the same loop answers as it is told, request by request; what it was
 * sent is counted span by span. */
#include "base/otlp.h"

#include <strings.h>

#include "../../test.h"
#include "loop.h"

enum { ROOM = 2 << 20, WAIT_MS = 120000 /* only what never comes takes so long */ };

static uv_loop_t loop;
static uv_tcp_t server;
static char endpoint[64];
static mr_otlp *otlp;
static mr_span_job job;

static struct {
    int codes[8]; /* of the next answers; 0: silence. Behind the last: 200 */
    size_t n_codes, n_requests, n_spans, n_open;
    const char *more; /* headers of an answer */
    char last[ROOM];
} collector;

/* ---- the collector ---- */

typedef struct peer {
    uv_tcp_t tcp;
    char *text; /* [ROOM] */
    size_t len;
} peer;

static void on_peer_closed(uv_handle_t *h) {
    peer *p = h->data;
    collector.n_open--;
    free(p->text);
    free(p);
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *c = text; (c = strstr(c, what)) != NULL; c++) n++;
    return n;
}

static void answer(peer *p, const char *body) {
    char text[256];
    const size_t i = collector.n_requests++;
    const int code = i < collector.n_codes ? collector.codes[i] : 200;

    snprintf(collector.last, sizeof collector.last, "%s", p->text);
    p->len = 0;
    if (!code) return;
    if (code == 200) collector.n_spans += count(body, "\"spanId\"");
    snprintf(text, sizeof text, "HTTP/1.1 %d x\r\n%scontent-length: 2\r\n\r\n{}", code,
             collector.more ? collector.more : "");
    uv_buf_t b = uv_buf_init(text, (unsigned)strlen(text));
    CHECK_I64(uv_try_write((uv_stream_t *)&p->tcp, &b, 1), strlen(text));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    peer *p = s->data;

    (void)buf;
    if (n < 0) {
        if (!uv_is_closing((uv_handle_t *)s)) uv_close((uv_handle_t *)s, on_peer_closed);
        return;
    }
    p->len += (size_t)n;
    p->text[p->len] = '\0';
    const char *end = strstr(p->text, "\r\n\r\n"), *length = strcasestr(p->text, "content-length:");
    if (strcasestr(p->text, "expect: 100")) fail_msg("a request that waits for permission");
    if (end && length && strlen(end + 4) >= strtoul(length + 15, NULL, 10)) answer(p, end + 4);
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf) {
    peer *p = h->data;
    (void)n;
    *buf = uv_buf_init(p->text + p->len, (unsigned)(ROOM - 1 - p->len));
}

static void on_connection(uv_stream_t *s, int status) {
    peer *p = calloc(1, sizeof *p);
    CHECK_I64(status, 0);
    p->text = malloc(ROOM);
    uv_tcp_init(&loop, &p->tcp);
    p->tcp.data = p;
    collector.n_open++;
    CHECK_I64(uv_accept(s, (uv_stream_t *)&p->tcp), 0);
    uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

/* ---- the world ---- */

static mr_status open_at(const char *url, const char *headers, mr_err *err) {
    const mr_otlp_conf conf = {
        .endpoint = url, .headers = headers, .service = "millrace-test", .instance = "t-1"};
    return mr_otlp_open(&otlp, &loop, &conf, err);
}

static void begin(void) {
    struct sockaddr_in at;
    int n = sizeof at;
    mr_err err = {0};

    memset(&collector, 0, sizeof collector);
    CHECK_I64(uv_loop_init(&loop), 0);
    uv_tcp_init(&loop, &server);
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_bind(&server, (const struct sockaddr *)&at, 0);
    CHECK_I64(uv_listen((uv_stream_t *)&server, 8, on_connection), 0);
    uv_tcp_getsockname(&server, (struct sockaddr *)&at, &n);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", ntohs(at.sin_port));
    CHECK(mr_span_job_init(&job, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", NULL, "j"));
    CHECK_OK(open_at(endpoint, "authorization=Bearer x y;x-a=b=c", &err), err);
}

static void end(void) {
    mr_otlp_close(otlp);
    if (!uv_is_closing((uv_handle_t *)&server)) uv_close((uv_handle_t *)&server, NULL);
    CHECK_I64(close_loop(&loop), 0);
}

static void add(size_t n) {
    for (size_t i = 0; i < n; i++) {
        char which[32];
        mr_trace_span s;
        snprintf(which, sizeof which, "%zu", i);
        mr_span_init(&s, &job, which);
        s.name = "x";
        mr_span_number(&s, "millrace.attempt", (int64_t)i);
        mr_otlp_add(otlp, &s);
    }
}

static bool all_known(void *arg) {
    const mr_otlp_stats s = mr_otlp_get_stats(otlp);
    return s.sent + s.dropped == *(const uint64_t *)arg;
}

static bool has_request(void *arg) {
    return collector.n_requests >= *(const size_t *)arg;
}

static void wait_for_all(uint64_t n) {
    CHECK(run_until(&loop, all_known, &n, WAIT_MS));
}

static void wait_for_requests(size_t n) {
    CHECK(run_until(&loop, has_request, &n, WAIT_MS));
}

/* ---- tests ---- */

TEST(spans_go_together) {
    begin();
    add(100);
    wait_for_all(100);
    CHECK_I64(collector.n_requests, 1);
    CHECK_I64(collector.n_spans, 100);
    CHECK(strncmp(collector.last, "POST /v1/traces HTTP/1.1\r\n", 26) == 0);
    CHECK(strcasestr(collector.last, "\r\nauthorization: Bearer x y\r\n") != NULL);
    CHECK(strcasestr(collector.last, "\r\nx-a: b=c\r\n") != NULL);
    CHECK(strcasestr(collector.last, "\r\ncontent-type: application/json\r\n") != NULL);
    CHECK(strstr(collector.last, "\r\n\r\n{\"resourceSpans\":[{\"resource\":") != NULL);
    CHECK(strstr(collector.last, "]}" MR_SPAN_TAIL) != NULL);
    end();
}

TEST(without_an_endpoint_nothing_happens) {
    mr_err err = {0};

    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(open_at("", "", &err), err);
    CHECK(otlp == NULL);
    mr_otlp_add(otlp, NULL);
    CHECK_I64(mr_otlp_get_stats(otlp).dropped, 0);
    mr_otlp_close(otlp);
    CHECK_I64(uv_loop_close(&loop), 0);
}

TEST(a_path_that_is_there_is_not_added_again) {
    char url[96];
    mr_err err = {0};

    begin();
    mr_otlp_close(otlp);
    snprintf(url, sizeof url, "%s/tenant/v1/traces/", endpoint);
    CHECK_OK(open_at(url, "", &err), err);
    add(1);
    wait_for_all(1);
    CHECK(strncmp(collector.last, "POST /tenant/v1/traces HTTP/1.1\r\n", 33) == 0);
    end();
}

TEST(what_finds_no_room_is_dropped_and_counted) {
    begin();
    collector.n_codes = 1; /* silence */
    add(1);
    wait_for_requests(1);
    add(3 * MR_OTLP_SPANS);
    CHECK_I64(mr_otlp_get_stats(otlp).dropped, 2 * MR_OTLP_SPANS);
    CHECK_I64(mr_otlp_get_stats(otlp).sent, 0);
    end();
}

TEST(what_may_pass_is_tried_again) {
    begin();
    collector.codes[0] = 503;
    collector.codes[1] = 429;
    collector.n_codes = 2;
    add(10);
    wait_for_all(10);
    CHECK_I64(collector.n_requests, 3);
    CHECK_I64(collector.n_spans, 10);
    CHECK_I64(mr_otlp_get_stats(otlp).sent, 10);
    end();
}

TEST(what_will_not_pass_is_dropped) {
    begin();
    collector.codes[0] = 500;
    collector.codes[1] = 400;
    collector.n_codes = 2;
    add(10);
    wait_for_all(10);
    add(5);
    wait_for_all(15);
    add(2);
    wait_for_all(17);
    CHECK_I64(collector.n_requests, 3);
    CHECK_I64(mr_otlp_get_stats(otlp).dropped, 15);
    CHECK_I64(mr_otlp_get_stats(otlp).sent, 2);
    end();
}

TEST(closing_sends_what_is_left) {
    begin();
    collector.codes[0] = 200;
    add(MR_OTLP_SPANS / 2); /* leaves at once */
    wait_for_requests(1);
    add(7);
    end();
    CHECK_I64(collector.n_spans, MR_OTLP_SPANS / 2 + 7);
}

TEST(closing_tries_once_more_what_waits) {
    begin();
    collector.codes[0] = 503;
    collector.n_codes = 1;
    collector.more = "retry-after: 3600\r\n";
    add(4);
    wait_for_requests(1);
    (void)run_until(&loop, NULL, NULL, 50); /* it has the answer */
    end();
    CHECK_I64(collector.n_spans, 4);
}

TEST(closing_does_not_wait_for_a_silent_collector) {
    begin();
    collector.n_codes = 8;
    add(1);
    wait_for_requests(1);
    add(1);
    end(); /* close_loop has a limit */
    CHECK_I64(collector.n_requests, 1);
}

TEST(nobody_listens) {
    begin();
    uv_close((uv_handle_t *)&server, NULL);
    add(3 * MR_OTLP_SPANS);
    CHECK_I64(mr_otlp_get_stats(otlp).dropped, 2 * MR_OTLP_SPANS);
    (void)run_until(&loop, NULL, NULL, 200); /* some tries */
    end();
    CHECK_I64(collector.n_requests, 0);
}

MR_TEST_MAIN_SHARED
