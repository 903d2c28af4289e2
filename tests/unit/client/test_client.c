/* Goal: a job is submitted with key and type, its result is found whichever way it comes and
 * whenever, and brokers that are away are an error and not the end. Method: the embedded broker, a
 * private Redis, and results that the test produces before, while or after they are waited for. */
#include "world.h"

#include <pthread.h>

#include "base/clock.h"

/* ---- what a worker produces, and what arrives ---- */

static void on_delivered(void *owner, void *cookie, mr_status st, const char *text,
                         int32_t partition, int64_t offset) {
    (void)cookie;
    (void)text;
    (void)partition;
    CHECK_I64(st, MR_OK);
    *(int64_t *)owner = offset;
}

/* Waits for the acknowledgement; returns the offset. Any thread. */
static int64_t produce(const char *name, int32_t partition, const char *key, const char *value) {
    const mr_kafka_conf conf = {mr_kafka_mock_brokers(mock), "world", NULL};
    const mr_kafka_header type = {"content-type", "application/json", 16};
    mr_kafka_producer *p = NULL;
    uv_loop_t loop;
    int64_t offset = -1;
    mr_err e;

    CHECK_I64(uv_loop_init(&loop), 0);
    CHECK_OK(mr_kafka_producer_open(&p, &loop, &conf, on_delivered, &offset, &e), e);
    CHECK_OK(mr_kafka_send(p, name, partition, key, strlen(key), value, strlen(value), &type, 1,
                           NULL, &e),
             e);
    CHECK_I64(mr_kafka_flush(p, LONG_MS), MR_OK);
    mr_kafka_producer_close(p);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&loop), 0);
    return offset;
}

static int64_t produce_result(const char *job_id, const char *text) {
    char value[600];
    snprintf(value, sizeof value,
             "{\"job_id\":\"%s\",\"model\":\"m\",\"tenant\":\"default\",\"status\":\"succeeded\","
             "\"finish_reason\":\"stop\",\"text\":\"%s\",\"usage\":{\"prompt_tokens\":1,"
             "\"completion_tokens\":2,"
             "\"total_tokens\":3,\"cached_tokens\":0},\"attempt\":1,\"worker\":\"w\",\"stream_"
             "degraded\":false,"
             "\"timings\":{\"received_ms\":1,\"finished_ms\":2,\"queue_ms\":0,\"first_token_ms\":1,"
             "\"prefill_ms\":1,\"decode_ms\":1}}",
             job_id, text);
    return produce(topic("results"), 2, job_id, value);
}

typedef struct arrived { /* records of one topic, read from its beginning */
    size_t n;
    char key[64], type[32], value[1024];
} arrived;

static void on_arrived(void *owner, const mr_kafka_msg *m) {
    arrived *a = owner;
    size_t len;
    const char *type = mr_kafka_msg_header(m, "content-type", &len);
    a->n++;
    snprintf(a->key, sizeof a->key, "%.*s", (int)m->key_len, (const char *)m->key);
    snprintf(a->type, sizeof a->type, "%.*s", (int)len, type ? type : "");
    snprintf(a->value, sizeof a->value, "%.*s", (int)m->len, (const char *)m->value);
}

static void on_tick(uv_timer_t *t) {
    (void)t;
}

/* Waits for n records. */
static void read_topic(arrived *a, const char *name, size_t n) {
    const char *extra = "fetch.wait.max.ms=10";
    const mr_kafka_consumer_conf conf = {.conn = {mr_kafka_mock_brokers(mock), "world", extra},
                                         .owner = a,
                                         .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                         .on_msg = on_arrived};
    mr_kafka_tp tp[N_PARTITIONS];
    mr_kafka_consumer *c = NULL;
    uv_loop_t loop;
    uv_timer_t tick;
    const uint64_t until = mr_clock_mono_ms() + LONG_MS;

    *a = (arrived){.n = 0};
    for (int32_t i = 0; i < N_PARTITIONS; i++)
        tp[i] = (mr_kafka_tp){.topic = name, .partition = i, .offset = MR_KAFKA_OFFSET_BEGIN};
    CHECK_I64(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 20, 20);
    CHECK_OK(mr_kafka_consumer_open(&c, &loop, &conf, &err), err);
    CHECK_OK(mr_kafka_assign(c, tp, N_PARTITIONS, &err), err);
    while (a->n < n && mr_clock_mono_ms() < until) uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, NULL);
    mr_kafka_consumer_close(c);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&loop), 0);
    CHECK_I64(a->n, n);
}

/* ---- jobs ---- */

static mr_job_spec a_job(const char *text) {
    mr_job_spec j;
    mr_job_defaults(&j);
    j.input = MR_INPUT_PROMPT;
    j.prompt = text;
    j.prompt_len = strlen(text);
    return j;
}

TEST(a_job_arrives_with_key_and_type_in_its_lane) {
    arrived a;
    world_open("");
    mr_job_spec j = a_job("hello"), again;
    j.priority = MR_PRIORITY_HIGH;
    j.tenant = "blue";
    CHECK_OK(mr_submit(client, &j, LONG_MS, &err), err);
    read_topic(&a, topic("jobs.high"), 1);
    CHECK_STR(a.key, "blue");
    CHECK_STR(a.type, "application/json");
    CHECK(strstr(a.value, j.job_id) && strstr(a.value, "\"hello\""));

    again = a_job("no id");
    again.job_id[0] = '\0';
    CHECK_OK(mr_submit_async(client, &again, &err), err);
    CHECK_I64(strlen(again.job_id), MR_JOB_ID_LEN);
    read_topic(&a, topic("jobs.normal"), 0);
    CHECK_OK(mr_poll(client, LONG_MS, &err), err);
    read_topic(&a, topic("jobs.normal"), 1);
    world_close();
}

TEST(a_bad_job_is_refused_before_it_is_sent) {
    world_open("");
    mr_job_spec j = a_job("x");
    strcpy(j.job_id, "not-a-uuid");
    CHECK_I64(mr_submit(client, &j, LONG_MS, &err), MR_EINVAL);
    CHECK_ERR(err, "not-a-uuid");
    j = a_job("\xff\xfe");
    CHECK_I64(mr_submit(client, &j, LONG_MS, &err), MR_EINVAL);
    CHECK_ERR(err, "UTF-8");
    char *big = malloc(MR_JOB_MAX_BYTES + 2);
    memset(big, 'a', MR_JOB_MAX_BYTES + 1);
    big[MR_JOB_MAX_BYTES + 1] = '\0';
    j = a_job(big);
    CHECK_I64(mr_submit(client, &j, LONG_MS, &err), MR_EINVAL);
    free(big);
    world_close();
}

static void *produce_soon(void *job_id) {
    usleep(300 * 1000);
    produce_result(job_id, "later");
    return NULL;
}

TEST(an_own_result_is_found_before_and_while_it_is_waited_for) {
    const mr_result *r;
    pthread_t other;
    world_open("");
    produce_result(OTHER_JOB, "somebody else's");
    mr_job_spec first = a_job("one"), second = a_job("two"), third = a_job("three");
    CHECK_OK(mr_submit(client, &first, LONG_MS, &err), err);
    CHECK_OK(mr_submit(client, &second, LONG_MS, &err), err);
    CHECK_OK(mr_submit(client, &third, LONG_MS, &err), err);
    produce_result(first.job_id, "early");
    produce_result(third.job_id, "unasked");
    CHECK_OK(mr_wait(client, first.job_id, LONG_MS, &r, &err), err);
    CHECK_STR(r->text, "early");
    CHECK_I64(pthread_create(&other, NULL, produce_soon, second.job_id), 0);
    CHECK_OK(mr_wait(client, second.job_id, LONG_MS, &r, &err), err);
    CHECK_STR(r->text, "later");
    CHECK_STR(r->job_id, second.job_id);
    pthread_join(other, NULL);
    CHECK_OK(mr_wait(client, third.job_id, LONG_MS, &r, &err), err); /* kept until asked for */
    CHECK_STR(r->text, "unasked");
    CHECK_OK(mr_wait(client, first.job_id, LONG_MS, &r, &err), err); /* and after */
    CHECK_STR(r->text, "early");
    mr_job_spec never = a_job("four");
    CHECK_OK(mr_submit(client, &never, LONG_MS, &err), err);
    CHECK_I64(mr_wait(client, never.job_id, 200, &r, &err), MR_ETIMEOUT);
    CHECK_ERR(err, "200 ms");
    CHECK(r == NULL);
    world_close();
}

TEST(a_result_of_somebody_elses_job_is_found_by_its_place) {
    const mr_result *r;
    char offset[24];
    world_open("");
    produce_result(JOB, "not this one");
    snprintf(offset, sizeof offset, "%lld", (long long)produce_result(OTHER_JOB, "theirs"));
    CHECK_I64(mr_wait(client, OTHER_JOB, 300, &r, &err), MR_ETIMEOUT);
    REDIS("HSET", "mr:{" OTHER_JOB "}", "state", "succeeded", "result_partition", "2",
          "result_offset", offset);
    CHECK_OK(mr_wait(client, OTHER_JOB, LONG_MS, &r, &err), err);
    CHECK_STR(r->text, "theirs");
    REDIS("HSET", "mr:{" OTHER_JOB "}", "result_offset", "77"); /* no longer in the topic */
    CHECK_I64(mr_wait(client, OTHER_JOB, LONG_MS, &r, &err), MR_ENOTFOUND);
    CHECK_ERR(err, "offset 77");
    CHECK_I64(mr_wait(client, "nobody", 300, &r, &err), MR_EINVAL);
    world_close();
}

typedef struct watched {
    size_t n, n_not_submitted;
    char last[64], ids[4][MR_JOB_ID_LEN + 1];
} watched;

static void on_result(void *owner, const mr_result *r) {
    watched *w = owner;
    if (r->error.code && strcmp(r->error.code, "not_submitted") == 0) w->n_not_submitted++;
    memcpy(w->ids[w->n++ % 4], r->job_id, sizeof r->job_id);
    snprintf(w->last, sizeof w->last, "%s", r->text);
}

static void poll_until(const watched *w, size_t n) {
    const uint64_t until = mr_clock_mono_ms() + LONG_MS;
    while (w->n < n && mr_clock_mono_ms() < until) (void)mr_poll(client, 200, &err);
    CHECK_I64(w->n, n);
}

TEST(a_watch_sees_all_from_now_on_or_from_a_time_on) {
    watched now = {.n = 0}, since = {.n = 0};
    world_open("");
    produce_result(JOB, "old");
    mr_client_close(client);
    const mr_client_options opt = {.config_path = config_path};
    CHECK_OK(mr_client_connect(&client, &opt, &err), err);
    CHECK(!mr_watch_caught_up(client));
    CHECK_OK(mr_watch_results(client, 0, on_result, &now, &err), err);
    CHECK_I64(mr_watch_results(client, 0, on_result, &now, &err), MR_EINVAL);
    produce_result(OTHER_JOB, "new");
    poll_until(&now, 1);
    CHECK_STR(now.last, "new");
    produce(topic("results"), 0, "k", "{\"not\":\"a result\"}"); /* skipped */
    produce_result(JOB, "newer");
    poll_until(&now, 2);
    mr_client_close(client);

    CHECK_OK(mr_client_connect(&client, &opt, &err), err);
    CHECK_OK(mr_watch_results(client, mr_clock_wall_ms() - 3600 * 1000, on_result, &since, &err),
             err);
    while (!mr_watch_caught_up(client)) (void)mr_poll(client, 200, &err);
    CHECK_I64(since.n, 3);
    mr_client_close(client);

    since.n = 0;
    CHECK_OK(mr_client_connect(&client, &opt, &err), err);
    CHECK_OK(mr_watch_results(client, mr_clock_wall_ms() + 3600 * 1000, on_result, &since, &err),
             err);
    while (!mr_watch_caught_up(client)) (void)mr_poll(client, 200, &err);
    CHECK_I64(since.n, 0);
    world_close();
}

TEST(brokers_away_are_an_error_and_not_the_end) {
    world_open("");
    mr_kafka_mock_broker_up(mock, false);
    mr_job_spec j = a_job("patience"), next = a_job("again");
    CHECK_I64(mr_submit(client, &j, 300, &err), MR_ETIMEOUT);
    CHECK_ERR(err, "300 ms");
    mr_kafka_mock_broker_up(mock, true);
    CHECK_OK(mr_submit(client, &next, LONG_MS, &err), err);
    arrived a;
    read_topic(&a, topic("jobs.normal"), 2); /* the first one was only late */
    world_close();
}

TEST(a_job_that_was_not_taken_is_told) {
    watched w = {.n = 0};
    const mr_result *r;
    world_open(";message.timeout.ms=1500"); /* of each message */
    mr_job_spec warm = a_job("warm"), j = a_job("lost"), watched_job = a_job("lost too");
    for (int tries = 0; mr_submit(client, &warm, LONG_MS, &err) != MR_OK; tries++)
        CHECK(tries < 20);
    mr_kafka_mock_broker_up(mock, false);
    CHECK_OK(mr_submit_async(client, &j, &err), err);
    CHECK_I64(mr_wait(client, j.job_id, LONG_MS, &r, &err), MR_EUNAVAIL);
    CHECK_ERR(err, "not submitted");
    mr_client_close(client);
    mr_kafka_mock_broker_up(mock, true);
    const mr_client_options opt = {.config_path = config_path};
    CHECK_OK(mr_client_connect(&client, &opt, &err), err);
    CHECK_OK(mr_watch_results(client, 0, on_result, &w, &err), err);
    mr_kafka_mock_broker_up(mock, false);
    CHECK_OK(mr_submit_async(client, &watched_job, &err), err);
    poll_until(&w, 1);
    CHECK_I64(w.n_not_submitted, 1);
    CHECK_STR(w.ids[0], watched_job.job_id);
    mr_kafka_mock_broker_up(mock, true);
    world_close();
}

TEST(a_cancel_is_a_record_of_its_own) {
    arrived a;
    world_open("");
    CHECK_OK(mr_cancel(client, JOB, &err), err);
    read_topic(&a, topic("control"), 1);
    CHECK_STR(a.key, JOB);
    CHECK(strstr(a.value, "\"cancel\"") && strstr(a.value, JOB));
    CHECK_I64(mr_cancel(client, "x", &err), MR_EINVAL);
    world_close();
}

TEST(the_status_is_what_redis_says) {
    mr_job_view v;
    world_open("");
    CHECK_I64(mr_job_look(client, JOB, &v, &err), MR_ENOTFOUND);
    REDIS("HSET", "mr:{" JOB "}", "state", "running", "model", "m", "worker", "w1", "attempt", "2",
          "tokens", "17", "updated_ms", "123", "unknown", "field");
    CHECK_OK(mr_job_look(client, JOB, &v, &err), err);
    CHECK_STR(v.state, "running");
    CHECK_STR(v.worker, "w1");
    CHECK_I64(v.tokens, 17);
    CHECK_I64(v.attempt, 2);
    redis_kill(&server); /* and it comes back: the question is asked again */
    redis_start(&server, "");
    CHECK_I64(mr_job_look(client, JOB, &v, &err), MR_ENOTFOUND);
    REDIS("SET", "mr:{" JOB "}", "no hash");
    CHECK_I64(mr_job_look(client, JOB, &v, &err), MR_EINTERNAL);
    CHECK_ERR(err, "WRONGTYPE");
    world_close();
}

TEST(topics_that_are_not_there_are_named) {
    mr_client *c = NULL;
    world_open("");
    const mr_client_options opt = {.config_path = config_path, .topic_prefix = "nowhere"};
    CHECK_I64(mr_client_connect(&c, &opt, &err), MR_EUNAVAIL);
    CHECK_ERR(err, "nowhere.results");
    CHECK(c == NULL);
    const mr_client_options bad = {.config_path = config_path, .redis_url = "ftp://x"};
    const mr_status st = mr_client_connect(&c, &bad, &err);
    CHECK(st != MR_OK && c == NULL);
    mr_client_close(NULL);
    world_close();
}

MR_TEST_MAIN_SHARED
