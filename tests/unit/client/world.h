/* world.h - what a client needs around it, for the tests of this folder: the embedded broker, a
 * private redis-server on a unix socket, and a voice of the test's own that speaks to it.
 *
 * The servers live as long as the program; each test gets topics of its own (a prefix), an empty
 * Redis and a new client. Every wait has a limit. */
#ifndef MR_TESTS_CLIENT_WORLD_H
#define MR_TESTS_CLIENT_WORLD_H

#include "base/kafka.h"
#include "base/log.h"
#include "millrace/millrace.h"
#include "tests/redis_server.h"

#define JOB          "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define OTHER_JOB    "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e78"
#define N_PARTITIONS 4
#define LONG_MS      120000 /* a test that waits so long has failed */

static mr_kafka_mock *mock;
static mr_client *client;
static char prefix[16]; /* of this test's topics */
static mr_err err;
static redis_server server;
static char config_path[100];

#define REDIS(...) REDIS_DO(&server, __VA_ARGS__)

/* ---- all of it ---- */

static const char *topic(const char *name) {
    static char full[64];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return full;
}

static void write_config(const char *extra) {
    FILE *f = fopen(config_path, "w");
    CHECK(f != NULL);
    fprintf(f,
            "kafka_brokers: \"%s\"\nredis_url: \"%s\"\ntopic_prefix: %s\n"
            "kafka_extra: \"fetch.wait.max.ms=10%s\"\n",
            mr_kafka_mock_brokers(mock), server.url, prefix, extra);
    fclose(f);
}

static void world_end(void) {
    mr_kafka_mock_close(mock);
    redis_deinit(&server);
}

static void world_begin(void) {
    mr_log_setup("error", false);
    redis_init(&server);
    snprintf(config_path, sizeof config_path, "%s/client.yaml", server.folder);
    CHECK_OK(mr_kafka_mock_open(&mock, 1, N_PARTITIONS, &err), err);
    atexit(world_end);
}

/* extra: more librdkafka properties, each after a semicolon. */
static void world_open(const char *extra) {
    static const char *const names[] = {"jobs.high", "jobs.normal", "jobs.low", "results",
                                        "control"};
    static int n_opened;
    if (!mock) world_begin();
    snprintf(prefix, sizeof prefix, "test%d", ++n_opened);
    for (size_t i = 0; i < MR_COUNT(names); i++)
        CHECK_OK(mr_kafka_mock_topic(mock, topic(names[i]), N_PARTITIONS, &err), err);
    if (!server.pid) redis_start(&server, "");
    REDIS("FLUSHALL");
    write_config(extra);
    const mr_client_options opt = {.config_path = config_path};
    CHECK_OK(mr_client_connect(&client, &opt, &err), err);
}

static void world_close(void) {
    mr_client_close(client);
    client = NULL;
}

#endif
