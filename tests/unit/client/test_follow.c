/* Goal: mr_follow hands over every frame in order, once, whatever the channel loses, repeats or
 * brings too late, and whatever happens to Redis. Method: frames written by the test into a private
 * Redis, the later ones from inside the callback, so that each case happens at the same place every
 * time. */
#include "world.h"

#include <pthread.h>

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* ---- what a worker writes ---- */

static void store(const char *id, const char *frame) {
    REDIS("XADD", "mr:{" JOB "}:s", id, "f", frame);
}

static void publish(const char *frame) {
    REDIS("PUBLISH", "mr:{" JOB "}:t", frame);
}

/* A frame as a worker writes it; in a buffer that lives until the next but three. */
static const char *frame(const char *type, int attempt, int index, const char *more) {
    static char ring[4][400];
    static unsigned at;
    char *f = ring[at++ % 4];
    snprintf(f, sizeof ring[0], "{\"type\":\"%s\",\"job_id\":\"%s\",\"attempt\":%d,\"index\":%d%s}",
             type, JOB, attempt, index, more);
    return f;
}

static const char *token(int attempt, int index) {
    char more[64];
    snprintf(more, sizeof more, ",\"token\":%d,\"text\":\"%d.%d \"", 100 + index, attempt, index);
    return frame("token", attempt, index, more);
}

static const char *done(int attempt, int index) {
    return frame("done", attempt, index, ",\"status\":\"succeeded\",\"finish_reason\":\"stop\"");
}

static const char *id_of(int attempt, int index) {
    static char id[32];
    snprintf(id, sizeof id, "%d-%d", attempt, index);
    return id;
}

static void store_and_publish(int attempt, int index, const char *f) {
    store(id_of(attempt, index), f);
    publish(f);
}

/* ---- what the reader sees ---- */

typedef struct seen {
    char text[2048]; /* of the tokens since the last restart */
    int n_frames, n_restarts, n_done;
    char reason[32];
    mr_job_status status;
    char error[128], trace[64]; /* trace: of the last frame */
    bool (*then)(struct seen *s, const mr_frame *fr); /* what the test does next; false: stop */
} seen;

static bool on_frame(void *owner, const mr_frame *fr) {
    seen *s = owner;
    CHECK_STR(fr->job_id, JOB);
    s->n_frames++;
    snprintf(s->trace, sizeof s->trace, "%s", fr->traceparent ? fr->traceparent : "");
    if (fr->type == MR_FRAME_RESTART) {
        s->n_restarts++;
        s->text[0] = '\0';
    } else if (fr->type == MR_FRAME_TOKEN) {
        const size_t n = strlen(s->text);
        snprintf(s->text + n, sizeof s->text - n, "%.*s", (int)fr->text_len, fr->text);
    } else {
        s->n_done++;
        s->status = fr->status;
        snprintf(s->reason, sizeof s->reason, "%s", fr->finish_reason);
        snprintf(s->error, sizeof s->error, "%s", fr->error.message ? fr->error.message : "");
    }
    return s->then ? s->then(s, fr) : true;
}

static mr_status follow(seen *s, uint64_t from, int timeout_ms) {
    return mr_follow(client, JOB, from, timeout_ms, on_frame, s, &err);
}

TEST(a_stored_stream_is_read_whole_and_from_any_index) {
    seen all = {.n_frames = 0}, rest = {.n_frames = 0};
    world_open("");
    for (int i = 0; i < 3; i++) store(id_of(1, i), token(1, i));
    store("1-3", done(1, 3));
    CHECK_OK(follow(&all, 0, LONG_MS), err);
    CHECK_STR(all.text, "1.0 1.1 1.2 ");
    CHECK_I64(all.n_done, 1);
    CHECK_STR(all.reason, "stop");
    CHECK_OK(follow(&rest, 2, LONG_MS), err);
    CHECK_STR(rest.text, "1.2 ");
    CHECK_I64(rest.n_frames, 2);
    world_close();
}

static bool note_trace(seen *s, const mr_frame *fr) {
    CHECK_STR(s->trace, fr->type == MR_FRAME_TOKEN ? "" : TRACE);
    return true;
}

/* Also beside frames of a worker that wrote none. */
TEST(a_frame_brings_the_trace_of_its_job) {
    seen s = {.then = note_trace};
    world_open("");
    store("1-0", token(1, 0));
    store("2-0", frame("restart", 2, 0, ",\"traceparent\":\"" TRACE "\""));
    store("3-0", token(3, 0));
    store("3-1", frame("done", 3, 1, ",\"status\":\"succeeded\",\"traceparent\":\"" TRACE "\""));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_frames, 4);
    world_close();
}

TEST(a_stream_of_many_pages_is_read_whole) {
    seen s = {.n_frames = 0};
    world_open("");
    REDIS("EVAL",
          "for i = 0, 1299 do redis.call('XADD', KEYS[1], '1-' .. string.format('%d', i), 'f', "
          "'{\"type\":\"token\",\"job_id\":\"" JOB
          "\",\"attempt\":1,\"index\":' .. string.format('%d', i) .. "
          "',\"token\":1,\"text\":\"\"}') end return 1",
          "1", "mr:{" JOB "}:s");
    store("1-1300", done(1, 1300));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_frames, 1301);
    world_close();
}

static bool lose_and_repeat(seen *s, const mr_frame *fr) {
    if (s->n_done) return true;
    switch (fr->index) {
    case 0:
        store_and_publish(1, 1, token(1, 1));
        break;
    case 1:
        publish(token(1, 0)); /* again */
        publish(token(1, 1));
        store("1-2", token(1, 2)); /* its message is lost */
        store_and_publish(1, 3, token(1, 3));
        break;
    case 2:
        publish(token(1, 2));
        break; /* it was only late */
    case 3:
        store("1-4", token(1, 4));
        store_and_publish(1, 5, done(1, 5)); /* with a gap before it */
        break;
    default:
        break;
    }
    return true;
}

TEST(a_gap_is_read_from_the_stream_and_a_repeat_is_dropped) {
    seen s = {.then = lose_and_repeat};
    world_open("");
    store("1-0", token(1, 0));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.0 1.1 1.2 1.3 1.4 ");
    CHECK_I64(s.n_frames, 6);
    world_close();
}

static bool start_again(seen *s, const mr_frame *fr) {
    if (fr->type == MR_FRAME_RESTART && s->n_restarts == 1) {
        publish(frame("restart", 2, 0, "")); /* again */
        publish(token(1, 0));                /* of the attempt that is over */
        publish(token(2, 0));                /* the restart's number is nobody else's */
        publish(frame("restart", 1, 0, ""));
        store_and_publish(3, 0, token(3, 0));
        store_and_publish(3, 1, token(3, 1));
    } else if (fr->type == MR_FRAME_TOKEN && fr->attempt == 3 && fr->index == 1) {
        usleep(1500 * 1000); /* silence: the stream is read again, from an older ID */
        store_and_publish(3, 2, done(3, 2));
    }
    return true;
}

TEST(a_restart_comes_once_and_nothing_of_before_after_it) {
    seen s = {.then = start_again};
    world_open("");
    store("1-0", token(1, 0));
    store("2-0", frame("restart", 2, 0, ""));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_restarts, 1);
    CHECK_STR(s.text, "3.0 3.1 ");
    CHECK_I64(s.n_frames, 5);
    world_close();
}

static bool take_over(seen *s, const mr_frame *fr) {
    (void)s;
    if (fr->type != MR_FRAME_TOKEN || fr->index != 1) return true;
    store_and_publish(2, 2, token(2, 2));
    publish(token(1, 2)); /* of the worker that died */
    publish(token(1, 1));
    store_and_publish(2, 3, token(2, 3));
    store_and_publish(2, 4, done(2, 4));
    return true;
}

TEST(a_stream_that_another_worker_goes_on_with_has_no_seam) {
    seen s = {.then = take_over};
    world_open("");
    store("1-0", token(1, 0));
    store("1-1", token(1, 1));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.0 1.1 2.2 2.3 ");
    CHECK_I64(s.n_restarts, 0);
    CHECK_I64(s.n_frames, 5);
    world_close();
}

static bool stop_at_three(seen *s, const mr_frame *fr) {
    (void)s;
    return fr->index != 3;
}

static bool keep_reading(seen *s, const mr_frame *fr) {
    (void)s;
    (void)fr;
    return true;
}

/* Who goes on at token 4 has four tokens of a text that is void. */
TEST(who_comes_back_after_a_restart_gets_all_of_it) {
    seen s = {.then = stop_at_three};
    world_open("");
    for (int i = 0; i < 6; i++) store(id_of(1, i), token(1, i));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.0 1.1 1.2 1.3 ");
    store("2-0", frame("restart", 2, 0, ""));
    for (int i = 0; i < 5; i++) store(id_of(3, i), token(3, i));
    store("3-5", done(3, 5));
    s.then = keep_reading;
    CHECK_OK(follow(&s, 4, LONG_MS), err);
    CHECK_STR(s.text, "3.0 3.1 3.2 3.3 3.4 ");
    CHECK_I64(s.n_restarts, 1);
    world_close();
}

static bool wipe_redis(seen *s, const mr_frame *fr) {
    if (fr->type != MR_FRAME_TOKEN || fr->attempt != 1 || fr->index != 2) return true;
    if (s->n_restarts > 0) return true;
    REDIS("FLUSHALL"); /* the connections stay, and the worker begins again */
    store_and_publish(2, 0, frame("restart", 2, 0, ""));
    for (int i = 0; i < 4; i++) store_and_publish(3, i, token(3, i));
    store_and_publish(3, 4, done(3, 4));
    return true;
}

TEST(a_wiped_redis_is_a_restart) {
    seen s = {.then = wipe_redis};
    world_open("");
    for (int i = 0; i < 3; i++) store(id_of(1, i), token(1, i));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_restarts, 1);
    CHECK_STR(s.text, "3.0 3.1 3.2 3.3 ");
    CHECK_I64(s.n_done, 1);
    world_close();
}

static bool lose_redis(seen *s, const mr_frame *fr) {
    (void)s;
    if (fr->type != MR_FRAME_TOKEN || fr->index != 1) return true;
    redis_kill(&server);
    redis_start(&server, ""); /* empty; the worker writes on */
    for (int i = 2; i < 5; i++) store(id_of(1, i), token(1, i));
    store("1-5", done(1, 5));
    return true;
}

TEST(after_a_reconnect_it_goes_on_where_it_was) {
    seen s = {.then = lose_redis};
    world_open("");
    store("1-0", token(1, 0));
    store("1-1", token(1, 1));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.0 1.1 1.2 1.3 1.4 ");
    CHECK_I64(s.n_frames, 6);
    world_close();
}

enum { LONG_STREAM = 120 };

/* Each token brings the next; before every third one or two of the reader's connections are cut. */
static bool cut_connections(seen *s, const mr_frame *fr) {
    const int next = (int)fr->index + 1;
    (void)s;
    if (fr->type != MR_FRAME_TOKEN) return true;
    if (next % 3 == 0) REDIS("CLIENT", "KILL", "TYPE", "pubsub");
    if (next % 6 == 0) REDIS("CLIENT", "KILL", "TYPE", "normal");
    if (next == LONG_STREAM)
        store_and_publish(2, next, done(2, next));
    else
        store_and_publish(next > 50 ? 2 : 1, next, token(next > 50 ? 2 : 1, next));
    return true;
}

TEST(a_reader_that_is_cut_off_again_and_again_misses_nothing) {
    static seen s;
    char want[sizeof s.text] = "";
    s = (seen){.then = cut_connections};
    world_open("");
    store("1-0", token(1, 0));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_frames, LONG_STREAM + 1);
    for (int i = 0; i < LONG_STREAM; i++) {
        const size_t n = strlen(want);
        snprintf(want + n, sizeof want - n, "%d.%d ", i > 50 ? 2 : 1, i);
    }
    CHECK_STR(s.text, want);
    world_close();
}

TEST(what_was_trimmed_is_gone_and_reading_goes_on_behind_it) {
    seen s = {.n_frames = 0};
    world_open("");
    store("1-7", token(1, 7));
    store("1-8", done(1, 8));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.7 ");
    world_close();
}

TEST(bytes_that_are_no_frame_are_skipped) {
    seen s = {.n_frames = 0};
    world_open("");
    mr_log_setup("error", false);
    store("1-0", "{\"type\":\"tok");
    store("1-1", token(1, 1));
    store("1-2", done(1, 2));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_STR(s.text, "1.1 ");
    world_close();
}

static bool enough(seen *s, const mr_frame *fr) {
    (void)fr;
    return s->n_frames < 2;
}

TEST(the_callback_can_stop_it) {
    seen s = {.then = enough};
    world_open("");
    for (int i = 0; i < 5; i++) store(id_of(1, i), token(1, i));
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_frames, 2);
    world_close();
}

TEST(silence_and_an_unknown_job_are_told_apart) {
    seen s = {.n_frames = 0};
    world_open("");
    CHECK_I64(follow(&s, 0, 300), MR_ENOTFOUND);
    CHECK_ERR(err, "not known within 300 ms");
    store("1-0", token(1, 0));
    CHECK_I64(follow(&s, 0, 300), MR_ETIMEOUT);
    CHECK_ERR(err, "no token for 300 ms");
    CHECK_I64(mr_follow(client, "no-uuid", 0, 300, on_frame, &s, &err), MR_EINVAL);
    world_close();
}

TEST(a_job_that_is_over_ends_also_without_its_stream) {
    seen s = {.n_frames = 0};
    world_open("");
    REDIS("HSET", "mr:{" JOB "}", "state", "failed", "attempt", "2", "tokens", "7", "finish_reason",
          "", "error", "the disk is on fire", "traceparent", TRACE);
    CHECK_OK(follow(&s, 0, LONG_MS), err);
    CHECK_I64(s.n_frames, 1);
    CHECK_I64(s.n_done, 1);
    CHECK_I64(s.status, MR_STATUS_FAILED);
    CHECK_STR(s.error, "the disk is on fire");
    CHECK_STR(s.trace, TRACE);
    world_close();
}

static void *interrupt_soon(void *unused) {
    (void)unused;
    usleep(300 * 1000);
    mr_interrupt(client);
    return NULL;
}

TEST(an_interrupt_ends_this_call_and_all_later_ones) {
    seen s = {.n_frames = 0};
    pthread_t other;
    mr_job_view view;
    world_open("");
    CHECK_I64(pthread_create(&other, NULL, interrupt_soon, NULL), 0);
    CHECK_I64(follow(&s, 0, LONG_MS), MR_ECANCELED);
    pthread_join(other, NULL);
    CHECK_I64(follow(&s, 0, LONG_MS), MR_ECANCELED);
    CHECK_I64(mr_poll(client, LONG_MS, &err), MR_ECANCELED);
    CHECK_I64(mr_job_look(client, JOB, &view, &err), MR_ECANCELED);
    world_close();
}

TEST(without_redis_it_gives_up) {
    seen s = {.n_frames = 0};
    world_open("");
    redis_kill(&server);
    CHECK_I64(follow(&s, 0, LONG_MS), MR_EUNAVAIL);
    CHECK_ERR(err, "redis");
    world_close();
}

MR_TEST_MAIN_SHARED
