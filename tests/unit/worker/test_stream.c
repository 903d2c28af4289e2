/* Goal: whatever happens to Redis, to this worker and to those before it, a job's stream has no gap
 * and no repeat, has one writer, and readers are told when it starts again. Method: a private
 * redis-server on a unix socket; each worker is an mr_stream of its own with jobs whose tokens the
 * test makes up; a voice of the test's own looks at the stream, breaks it, or stops the server. At
 * the end the whole stream is read as docs/PROTOCOL.md says. */
#include "tests/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "tests/unit/net/loop.h"
#include "worker/stream.h"

#define JOB       "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define STREAM    "mr:{" JOB "}:s"
#define STATUS    "mr:{" JOB "}"
#define SLOT      1
#define SLOTS     3
#define N_WORKERS 4
#define TTL_MS    60000
#define WAIT_MS   10000
#define MAX_TAKEN 512

/* ---- Redis ---- */

static char folder[64], socket_path[100], url[120];
static pid_t server;

static int redis_connect(void) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = 5};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", socket_path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    close(fd);
    return -1;
}

static void start_redis(void) {
    int fd = -1;

    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        if (!freopen("/dev/null", "w", stdout)) _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--save",
               "", "--appendonly", "no", "--dir", folder, (char *)NULL);
        _exit(127);
    }
    CHECK(server > 0);
    for (int i = 0; i < 1000 && (fd = redis_connect()) < 0; i++) usleep(10000);
    CHECK(fd >= 0);
    close(fd);
}

static void kill_redis(void) {
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
    unlink(socket_path);
}

/* One command; its answer, as it came, is not an error. */
static const char *redis_do(int argc, const char *const *argv) {
    static char reply[1 << 17];
    char out[4096];
    size_t got = 0, want = 0;
    int n = snprintf(out, sizeof out, "*%d\r\n", argc);

    for (int i = 0; i < argc; i++)
        n += snprintf(out + n, sizeof out - (size_t)n, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    const int fd = redis_connect();
    CHECK(fd >= 0);
    CHECK_I64(write(fd, out, (size_t)n), n);
    do { /* a text may come in pieces */
        const ssize_t more = read(fd, reply + got, sizeof reply - 1 - got);
        if (more < 0 && errno == EINTR) continue;
        CHECK(more > 0);
        got += (size_t)more;
        reply[got] = 0;
        if (reply[0] == '$' && strchr(reply, '\n'))
            want = (size_t)(strchr(reply, '\n') + 1 - reply) + strtoul(reply + 1, NULL, 10) + 2;
    } while (got < want || reply[got - 1] != '\n');
    close(fd);
    if (reply[0] == '-') fail_msg("redis %s: %.*s", argv[0], 200, reply);
    return reply;
}
#define REDIS(...)                                                                                 \
    redis_do((int)MR_COUNT(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void check_status(const char *field, const char *want) {
    const char *text = strchr(REDIS("HGET", STATUS, field), '\n');

    if (!text || strncmp(text + 1, want, strlen(want)) != 0)
        fail_msg("status %s is %s, not %s", field, text ? text + 1 : "none", want);
}

static long long redis_int(const char *answer) {
    CHECK(answer[0] == ':');
    return atoll(answer + 1);
}

/* ---- the answer that all workers make ---- */

static int32_t token_of(uint64_t i) {
    return 100 + (int32_t)(i % 300);
}

/* Some tokens show nothing, the next then more. */
static const char *text_of(uint64_t i) {
    static char text[32];

    snprintf(text, sizeof text, "t%llu\xC3\xA9\" ", (unsigned long long)i);
    return i % 5 == 3 ? "" : text;
}

/* ---- workers ---- */

typedef struct worker {
    mr_stream *s;
    int n_claimed, n_closed;
    bool degraded, differs; /* differs: it makes other tokens */
    bool dies;              /* as soon as it has the claim */
    bool asleep;            /* another one has the job */
    uint64_t made;          /* tokens, where the test keeps count */
    uint32_t attempt;       /* as claimed */
    size_t n_taken;
    int32_t taken[MAX_TAKEN];
    char text[8192];
    bool restart;
} worker;

static uv_loop_t loop;
static worker workers[N_WORKERS];

static void on_claimed(void *owner, uint32_t slot, const mr_takeover *t) {
    worker *w = owner;

    CHECK_I64(slot, SLOT);
    w->n_claimed++;
    w->attempt = t->attempt;
    w->restart = t->restart;
    w->n_taken = t->n_tokens;
    CHECK(t->n_tokens <= MAX_TAKEN && t->text_len < sizeof w->text);
    if (t->n_tokens) memcpy(w->taken, t->tokens, t->n_tokens * sizeof *w->taken);
    memcpy(w->text, t->text, t->text_len);
    w->text[t->text_len] = 0;
    CHECK_I64(mr_stream_attempt(w->s, slot), t->attempt);
    if (!w->dies) return;
    mr_stream_close(w->s);
    w->s = NULL;
}

static void frame(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out) {
    const worker *w = owner;

    CHECK_I64(slot, SLOT);
    *out = (mr_stream_frame){.token = token_of(index) + w->differs, .text = text_of(index)};
    out->text_len = strlen(out->text);
}

static void on_closed(void *owner, uint32_t slot, bool degraded) {
    worker *w = owner;

    CHECK_I64(slot, SLOT);
    w->n_closed++;
    w->degraded = degraded;
}

static worker *open_worker(int i, int64_t max_frames) {
    static const char *const names[N_WORKERS] = {"a", "b", "c", "d"};
    worker *w = &workers[i];
    const mr_stream_conf conf = {.redis_url = url,
                                 .client_name = "test",
                                 .prefix = "mr",
                                 .worker = names[i],
                                 .model = "demo",
                                 .ttl_ms = TTL_MS,
                                 .max_frames = max_frames,
                                 .n_slots = SLOTS,
                                 .n_vocab = 1000,
                                 .owner = w,
                                 .on_claimed = on_claimed,
                                 .frame = frame,
                                 .on_closed = on_closed};
    mr_err err;

    *w = (worker){0};
    CHECK_OK(mr_stream_open(&w->s, &loop, &conf, &err), err);
    return w;
}

static void close_worker(worker *w) {
    mr_stream_close(w->s);
    w->s = NULL;
    w->asleep = false;
}

static void begin(void) {
    mr_log_setup("error", false);
    signal(SIGPIPE, SIG_IGN); /* as our programs do */
    memset(workers, 0, sizeof workers);
    strcpy(folder, "/tmp/mr-test-stream-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(socket_path, sizeof socket_path, "%s/redis.sock", folder);
    snprintf(url, sizeof url, "unix://%s", socket_path);
    CHECK_I64(uv_loop_init(&loop), 0);
    start_redis();
}

static void end(void) {
    char command[128];

    for (int i = 0; i < N_WORKERS; i++) close_worker(&workers[i]);
    CHECK_I64(close_loop(&loop), 0);
    if (server) kill_redis();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK_I64(system(command), 0);
}

static bool is_up(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).up;
}

static bool is_claimed(void *arg) {
    return ((worker *)arg)->n_claimed > 0;
}

static bool is_closed(void *arg) {
    return ((worker *)arg)->n_closed > 0;
}

static bool has_caught_up(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).lag_frames == 0;
}

static void begin_job(worker *w, bool ran_before) {
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .stream = true, .attempt = 1};

    CHECK(run_until(&loop, is_up, w, WAIT_MS));
    w->n_claimed = w->n_closed = 0;
    mr_stream_begin(w->s, SLOT, &spec, ran_before, MAX_TAKEN);
    CHECK_I64(w->n_claimed, 0); /* never inside */
}

static void claim(worker *w, bool ran_before) {
    begin_job(w, ran_before);
    CHECK(run_until(&loop, is_claimed, w, WAIT_MS));
}

static void make(worker *w, uint64_t n_tokens) {
    mr_stream_advance(w->s, SLOT, n_tokens);
    mr_stream_flush(w->s);
}

static void make_and_wait(worker *w, uint64_t n_tokens) {
    make(w, n_tokens);
    CHECK(run_until(&loop, has_caught_up, w, WAIT_MS));
}

/* True: degraded. */
static bool end_job(worker *w) {
    bool degraded = false;

    if (mr_stream_end(w->s, SLOT, &degraded)) return degraded;
    CHECK(run_until(&loop, is_closed, w, WAIT_MS));
    CHECK_I64(w->n_closed, 1);
    return w->degraded;
}

/* ---- the reader ---- */

typedef struct seen {
    uint64_t n_tokens;
    int n_restarts, n_frames;
    uint32_t attempt; /* of the last token */
    char first_id[48], last_id[48];
    char text[16384];
} seen;

static void take(seen *s, const char *id, const char *json) {
    mr_arena arena;
    mr_frame fr;
    mr_err err;

    mr_arena_init(&arena, 0);
    CHECK_OK(mr_codec_frame_decode(&fr, json, strlen(json), &arena, &err), err);
    CHECK_STR(fr.job_id, JOB);
    if (s->n_frames++ == 0) snprintf(s->first_id, sizeof s->first_id, "%s", id);
    snprintf(s->last_id, sizeof s->last_id, "%u-%llu", (unsigned)fr.attempt,
             (unsigned long long)fr.index);
    CHECK_STR(id, s->last_id);
    if (fr.type == MR_FRAME_RESTART) {
        s->n_restarts++;
        s->n_tokens = 0;
        s->text[0] = 0;
    } else {
        CHECK_I64(fr.index, s->n_tokens++);
        CHECK_I64(fr.token, token_of(fr.index));
        CHECK(fr.attempt >= s->attempt);
        strncat(s->text, fr.text, fr.text_len);
    }
    s->attempt = fr.attempt;
    mr_arena_drop(&arena);
}

/* The stream is whole: n tokens, their text, no repeat. */
static seen read_all(uint64_t n_tokens) {
    static const char dump[] = "local out = {}\n"
                               "for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do\n"
                               "  out[#out + 1] = e[1]\n"
                               "  out[#out + 1] = e[2][2]\n"
                               "end\n"
                               "return table.concat(out, '\\n')";
    char want[16384] = "";
    seen s = {0};
    char *copy = strdup(strchr(REDIS("EVAL", dump, "1", STREAM), '\n') + 1);

    for (char *id = strtok(copy, "\r\n"); id; id = strtok(NULL, "\r\n")) {
        char *json = strtok(NULL, "\r\n");
        CHECK(json != NULL);
        take(&s, id, json);
    }
    free(copy);
    CHECK_I64(s.n_tokens, n_tokens);
    for (uint64_t i = 0; i < n_tokens; i++) strcat(want, text_of(i));
    CHECK_STR(s.text, want);
    return s;
}

static void check_taken(const worker *w, size_t n) {
    char want[8192] = "";

    CHECK_I64(w->n_taken, n);
    for (size_t i = 0; i < n; i++) {
        CHECK_I64(w->taken[i], token_of(i));
        strcat(want, text_of(i));
    }
    CHECK_STR(w->text, want);
}

/* ---- tests ---- */

TEST(a_job_is_streamed_and_shown) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    CHECK_I64(a->attempt, 1);
    check_taken(a, 0);
    CHECK(!a->restart);
    check_status("state", "running");
    check_status("worker", "a");
    check_status("tokens", "0");
    make(a, 3);
    make_and_wait(a, 300); /* several calls */
    CHECK(!end_job(a));
    CHECK_I64(mr_stream_attempt(a->s, SLOT), 1);
    const seen s = read_all(300);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.first_id, "1-0");
    check_status("tokens", "300");
    check_status("attempt", "1");
    CHECK(redis_int(REDIS("PTTL", STREAM)) > TTL_MS / 2);
    CHECK(redis_int(REDIS("PTTL", STATUS)) > TTL_MS / 2);
    const mr_stream_stats stats = mr_stream_get_stats(a->s);
    CHECK_I64(stats.frames, 300);
    CHECK_I64(stats.claims, 1);
    CHECK_I64(stats.takeovers + stats.restarts + stats.fenced + stats.frames_dropped, 0);
    end();
}

TEST(the_next_worker_goes_on_wherever_the_last_one_died) {
    begin();
    for (size_t k = 0; k < 12; k++) {
        REDIS("FLUSHALL");
        worker *a = open_worker(0, 1000);
        claim(a, false);
        make_and_wait(a, k);
        close_worker(a); /* it is killed */
        worker *b = open_worker(1, 1000);
        claim(b, true);
        CHECK(!b->restart); /* also when it had claimed and written nothing */
        check_taken(b, k);
        make_and_wait(b, k + 2);
        close_worker(b);
        worker *c = open_worker(2, 1000);
        claim(c, true);
        check_taken(c, k + 2);
        CHECK_I64(c->attempt, 3);
        make(c, k + 2); /* what it tells again is there */
        make_and_wait(c, 20);
        CHECK(!end_job(c));
        CHECK_I64(read_all(20).n_restarts, 0);
        CHECK_I64(mr_stream_get_stats(c->s).takeovers, 1);
        close_worker(c);
    }
    end();
}

TEST(a_worker_that_wakes_up_writes_nothing) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    claim(b, true);
    make_and_wait(b, 7);
    make(a, 9);
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS)); /* it has given up */
    CHECK(end_job(a));
    CHECK_I64(mr_stream_get_stats(a->s).fenced, 1);
    CHECK_I64(mr_stream_get_stats(a->s).frames, 5);
    make_and_wait(b, 10);
    CHECK(!end_job(b));
    const seen s = read_all(10);
    CHECK_I64(s.attempt, 2);
    CHECK_I64(s.n_restarts, 0);
    check_status("worker", "b");
    end();
}

TEST(a_run_of_which_nothing_is_left_is_told_to_readers) {
    begin();
    worker *a = open_worker(0, 1000);
    const uint64_t now_s = mr_clock_wall_ms() / 1000;
    claim(a, true);
    CHECK(a->restart);
    CHECK(a->attempt > now_s); /* beyond whatever readers have seen */
    make_and_wait(a, 4);
    CHECK(!end_job(a));
    CHECK_I64(read_all(4).n_restarts, 1);
    CHECK_I64(mr_stream_get_stats(a->s).restarts, 1);
    end();
}

/* The first one writes, all is lost, the second one claims and writes nothing. */
TEST(a_loss_is_not_forgotten_by_the_next_claim) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000), *c = open_worker(2, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    close_worker(a);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    REDIS("FLUSHALL");
    b->dies = true;
    claim(b, true);
    CHECK(b->restart);
    CHECK_I64(redis_int(REDIS("EXISTS", STREAM)), 0);
    claim(c, true);
    CHECK(c->restart);
    CHECK(c->attempt > b->attempt);
    make_and_wait(c, 4);
    CHECK(!end_job(c));
    CHECK_I64(read_all(4).n_restarts, 1);
    end();
}

TEST(what_cannot_be_gone_on_with_is_begun_again) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    close_worker(a);
    REDIS("XADD", STREAM, "7-5", "f", "{\"type\":\"token\"}");
    worker *b = open_worker(1, 1000);
    claim(b, true);
    CHECK(b->restart);
    check_taken(b, 0);
    CHECK_I64(b->attempt, 9); /* 8 is the restart's */
    make_and_wait(b, 6);
    close_worker(b);
    worker *c = open_worker(2, 1000);
    claim(c, true); /* what is before the restart does not count */
    check_taken(c, 6);
    CHECK_I64(c->attempt, 10);
    REDIS("XDEL", STREAM, "7-5");
    make_and_wait(c, 8);
    mr_stream_restart(c->s, SLOT, "a test");
    CHECK_I64(mr_stream_attempt(c->s, SLOT), 12);
    make_and_wait(c, 9);
    CHECK(!end_job(c));
    CHECK_I64(read_all(9).n_restarts, 2);
    check_status("attempt", "12");
    end();
}

TEST(a_restart_may_come_at_any_moment) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    close_worker(a);
    worker *b = open_worker(1, 1000);
    claim(b, true);
    mr_stream_restart(b->s, SLOT, "before its first frame");
    CHECK_I64(mr_stream_attempt(b->s, SLOT), 3);
    make(b, 70);
    mr_stream_restart(b->s, SLOT, "while a call is under way");
    make_and_wait(b, 80);
    mr_stream_restart(b->s, SLOT, "when all is there");
    CHECK(!end_job(b));
    const seen s = read_all(80);
    CHECK_I64(s.n_restarts, 3);
    CHECK_I64(s.attempt, 7);
    end();
}

static bool is_again(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).claims > 1 && has_caught_up(arg);
}

TEST(a_stream_that_redis_lost_is_begun_again) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 6);
    REDIS("FLUSHALL");
    make(a, 8);
    CHECK(run_until(&loop, is_again, a, WAIT_MS));
    seen s = read_all(8);
    CHECK_I64(s.n_restarts, 1);
    CHECK_STR(s.first_id, "2-0");
    CHECK_I64(s.attempt, 3);
    REDIS("DEL", STREAM);
    make_and_wait(a, 9);
    s = read_all(9);
    CHECK_I64(s.n_restarts, 1);
    CHECK_I64(s.attempt, 5);
    kill_redis();
    make(a, 10);
    run_until(&loop, NULL, NULL, 100);
    start_redis();
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    CHECK(!end_job(a));
    s = read_all(10);
    CHECK_I64(s.n_restarts, 1);
    CHECK_I64(s.attempt, 7);
    CHECK_I64(mr_stream_attempt(a->s, SLOT), 7);
    CHECK_I64(mr_stream_get_stats(a->s).claims, 4);
    end();
}

/* An older state comes back, as from a snapshot: readers lose nothing, so nobody tells them. */
TEST(what_redis_still_has_is_gone_on_with) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 6);
    REDIS("DEL", STATUS);
    make_and_wait(a, 8);
    REDIS("XDEL", STREAM, "2-7", "2-6");
    make_and_wait(a, 10);
    CHECK(!end_job(a));
    const seen s = read_all(10);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.last_id, "3-9");
    check_status("state", "running");
    end();
}

TEST(entries_of_somebody_else_are_found_before_the_next_frame) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 4);
    REDIS("XADD", STREAM, "1-99", "f", "garbage");
    make(a, 6);
    CHECK(run_until(&loop, is_again, a, WAIT_MS));
    CHECK(!end_job(a));
    REDIS("XDEL", STREAM, "1-99"); /* for the test's own reader */
    CHECK_I64(read_all(6).n_restarts, 1);
    end();
}

TEST(a_call_that_got_through_without_its_answer_is_harmless) {
    char json[300];
    size_t n;
    mr_frame fr = {.type = MR_FRAME_TOKEN, .job_id = JOB, .attempt = 1, .index = 2};

    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 2);
    fr.token = token_of(2);
    fr.text = text_of(2);
    fr.text_len = strlen(fr.text);
    CHECK_I64(mr_codec_frame_encode(&fr, json, sizeof json, &n), MR_OK);
    REDIS("XADD", STREAM, "1-2", "f", json);
    make_and_wait(a, 5);
    CHECK(!end_job(a));
    read_all(5);
    CHECK_I64(mr_stream_get_stats(a->s).frames, 4); /* one was there */
    CHECK_I64(mr_stream_get_stats(a->s).claims, 1);
    end();
}

TEST(without_redis_a_job_starts_all_the_same) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    kill(server, SIGSTOP);
    const uint64_t began_ms = mr_clock_mono_ms();
    claim(b, true);
    CHECK(mr_clock_mono_ms() - began_ms >= MR_STREAM_CLAIM_MS);
    CHECK(mr_clock_mono_ms() - began_ms < 4 * MR_STREAM_CLAIM_MS);
    CHECK_I64(b->attempt, 1);
    CHECK(!b->restart);
    check_taken(b, 0);
    make(b, 3); /* less than there is: it waits until it can tell */
    kill(server, SIGCONT);
    CHECK(run_until(&loop, is_again, a, 300) == false);
    CHECK_I64(mr_stream_get_stats(b->s).claims, 1);
    read_all(5);
    make_and_wait(b, 8);
    CHECK(!end_job(b));
    const seen s = read_all(8);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.last_id, "2-7");
    CHECK_I64(mr_stream_attempt(b->s, SLOT), 2);
    end();
}

/* Claimed late, with 5 entries there; `made` tokens follow, and the job ends. */
static seen claim_late(bool differs, uint64_t made) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    b->differs = differs;
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    kill(server, SIGSTOP);
    claim(b, true);
    make(b, made);
    kill(server, SIGCONT);
    CHECK(!end_job(b));
    b->differs = false;
    if (differs) /* what the reader wants to see */
        return (seen){.n_restarts = (int)mr_stream_get_stats(b->s).restarts};
    return read_all(made);
}

TEST(a_late_claim_compares) {
    CHECK_I64(claim_late(false, 5).n_restarts, 0);
    end();
    CHECK_I64(claim_late(false, 9).n_restarts, 0);
    end();
    CHECK_I64(claim_late(false, 3).n_restarts, 1); /* a shorter answer than readers were shown */
    end();
    CHECK_I64(claim_late(true, 9).n_restarts, 1);
    end();
}

TEST(while_redis_is_away_jobs_do_not_wait_for_it) {
    begin();
    kill_redis();
    worker *a = open_worker(0, 1000);
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .stream = true, .attempt = 1};
    run_until(&loop, NULL, NULL, MR_STREAM_CLAIM_MS + 100);
    const uint64_t began_ms = mr_clock_mono_ms();
    for (int i = 0; i < 3; i++) {
        bool degraded = false;
        a->n_claimed = 0;
        mr_stream_begin(a->s, SLOT, &spec, false, MAX_TAKEN);
        CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
        make(a, 4);
        CHECK(mr_stream_end(a->s, SLOT, &degraded));
        CHECK(degraded);
    }
    CHECK(mr_clock_mono_ms() - began_ms < MR_STREAM_CLAIM_MS);
    CHECK_I64(mr_stream_get_stats(a->s).frames_dropped, 12);
    end();
}

TEST(the_end_does_not_wait_for_ever) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 2);
    kill(server, SIGSTOP);
    make(a, 4);
    const uint64_t began_ms = mr_clock_mono_ms();
    CHECK(end_job(a));
    CHECK(mr_clock_mono_ms() - began_ms >= MR_STREAM_LINGER_MS);
    CHECK(mr_clock_mono_ms() - began_ms < 4 * MR_STREAM_LINGER_MS);
    kill(server, SIGCONT);
    end();
}

TEST(what_is_new_is_sent_before_a_job_is_dropped) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make(a, 100); /* 64 of them are on their way */
    mr_stream_advance(a->s, SLOT, 200);
    mr_stream_drop(a->s, SLOT);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    run_until(&loop, NULL, NULL, 50);
    read_all(200);
    claim(b, true);
    check_taken(b, 200);
    mr_stream_drop(b->s, SLOT);
    mr_stream_drop(b->s, SLOT); /* nothing any more */
    end();
}

TEST(nothing_is_written_behind_the_end_of_a_job) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    REDIS("HSET", STATUS, "state", "succeeded");
    make(a, 5);
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    CHECK(!end_job(a));
    claim(b, true);
    check_taken(b, 0);
    CHECK(!b->restart);
    make(b, 5);
    CHECK(!end_job(b));
    read_all(3);
    check_status("state", "succeeded");
    check_status("worker", "a");
    end();
}

TEST(a_job_that_does_not_stream_is_only_shown) {
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .attempt = 1};
    bool degraded = true;

    begin();
    worker *a = open_worker(0, 1000);
    CHECK(run_until(&loop, is_up, a, WAIT_MS));
    mr_stream_begin(a->s, SLOT, &spec, true, MAX_TAKEN);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
    CHECK(!a->restart);
    make(a, 5);
    CHECK_I64(mr_stream_get_stats(a->s).lag_frames, 0);
    CHECK(mr_stream_end(a->s, SLOT, &degraded));
    CHECK(!degraded);
    check_status("state", "running");
    CHECK_I64(redis_int(REDIS("EXISTS", STREAM)), 0);
    end();
}

TEST(refusals_of_the_server_pass) {
    begin();
    worker *a = open_worker(0, 1000);
    CHECK(run_until(&loop, is_up, a, WAIT_MS));
    REDIS("CONFIG", "SET", "maxmemory", "1");
    begin_job(a, false);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS)); /* too long: it starts without */
    make(a, 3);
    REDIS("CONFIG", "SET", "maxmemory", "0");
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    REDIS("CONFIG", "SET", "maxmemory", "1");
    make(a, 5);
    run_until(&loop, NULL, NULL, 300);
    REDIS("CONFIG", "SET", "maxmemory", "0");
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    REDIS("SCRIPT", "FLUSH");
    make_and_wait(a, 7);
    CHECK(!end_job(a));
    read_all(7);
    CHECK(mr_stream_get_stats(a->s).errors > 0);
    CHECK_I64(mr_stream_get_stats(a->s).claims, 1);
    end();
}

TEST(a_stream_that_leaves_no_room_for_ids_is_given_up) {
    begin();
    worker *a = open_worker(0, 1000);
    REDIS("XADD", STREAM, "4294967295-0", "f", "x");
    begin_job(a, false);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
    make(a, 3);
    CHECK(end_job(a));
    CHECK_I64(redis_int(REDIS("XLEN", STREAM)), 1);
    end();
}

TEST(a_trimmed_stream_starts_again_for_the_next_worker) {
    begin();
    worker *a = open_worker(0, 16);
    claim(a, false);
    make_and_wait(a, 500);
    CHECK(redis_int(REDIS("XLEN", STREAM)) < 200);
    close_worker(a);
    worker *b = open_worker(1, 16);
    claim(b, true);
    CHECK(b->restart);
    make_and_wait(b, 10);
    CHECK(!end_job(b));
    REDIS("XTRIM", STREAM, "MAXLEN", "11");
    CHECK_I64(read_all(10).n_restarts, 1);
    end();
}

/* All those that were presumed dead go on where they were. */
static void wake_sleepers(const worker *owner) {
    for (int i = 0; i < N_WORKERS; i++) {
        worker *w = &workers[i];
        if (w == owner || !w->asleep) continue;
        w->made += 3;
        make(w, w->made);
    }
}

/* Another worker gets the job; the old one is killed, hands over, or sleeps. */
static worker *move_on(worker *old, int kind) {
    const int at = (int)(old - workers + 1) % N_WORKERS;
    worker *w;

    if (kind == 0) close_worker(old);
    if (kind == 1) mr_stream_drop(old->s, SLOT);
    old->asleep = kind == 2;
    if (workers[at].s) close_worker(&workers[at]);
    w = open_worker(at, 1000);
    claim(w, true);
    check_taken(w, w->n_taken);
    w->made = w->n_taken;
    make(w, w->made);
    return w;
}

/* Everything at random: workers die, wake up and hand over, connections break, Redis forgets. What
 * the last worker leaves is whole. A sleeper does not wake between a loss and the owner's next
 * frame: there Redis does not know who owns the stream. */
TEST(whatever_happens_the_stream_is_whole_in_the_end) {
    unsigned seed = 7, n_wiped = 0;
    uint64_t n_fenced = 0;

    begin();
    for (int round = 0; round < 40; round++) {
        bool known = true; /* to Redis */
        REDIS("FLUSHALL");
        worker *w = open_worker(0, 1000);
        claim(w, false);
        while (w->made < 120) {
            w->made += (unsigned)rand_r(&seed) % 9;
            make(w, w->made);
            if (rand_r(&seed) % 2) known = run_until(&loop, has_caught_up, w, WAIT_MS);
            if (known && rand_r(&seed) % 4 == 0) wake_sleepers(w);
            switch (rand_r(&seed) % 10) {
            case 0:
                REDIS("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
                break;
            case 1:
                REDIS("FLUSHALL");
                n_wiped++;
                known = false;
                break;
            case 2:
                REDIS("SCRIPT", "FLUSH");
                break;
            case 3:
                REDIS("DEL", rand_r(&seed) % 2 ? STREAM : STATUS);
                known = false;
                break;
            case 4:
            case 5:
                w = move_on(w, rand_r(&seed) % 3);
                known = true;
                break;
            default:
                break;
            }
        }
        make(w, ++w->made); /* so that a loss is noticed */
        CHECK(run_until(&loop, is_up, w, WAIT_MS));
        CHECK(run_until(&loop, has_caught_up, w, WAIT_MS));
        wake_sleepers(w);
        CHECK(!end_job(w));
        run_until(&loop, NULL, NULL, 20);
        read_all(w->made);
        for (int i = 0; i < N_WORKERS; i++) {
            if (!workers[i].s) continue;
            n_fenced += mr_stream_get_stats(workers[i].s).fenced;
            close_worker(&workers[i]);
        }
    }
    CHECK(n_wiped > 5);
    CHECK(n_fenced > 5);
    end();
}

MR_TEST_MAIN
