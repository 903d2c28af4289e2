/* world.h - what a client needs around it, for the tests of this folder: the embedded broker, a
 * private redis-server on a unix socket, and a voice of the test's own that speaks to it.
 *
 * The servers live as long as the program; each test gets topics of its own (a prefix), an empty
 * Redis and a new client. redis_do talks to Redis over a socket of its own and waits for the reply,
 * so a test may use it inside a callback of the client. Every wait has a limit. */
#ifndef MR_TESTS_CLIENT_WORLD_H
#define MR_TESTS_CLIENT_WORLD_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/kafka.h"
#include "base/log.h"
#include "millrace/millrace.h"
#include "tests/test.h"

#define JOB          "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define OTHER_JOB    "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e78"
#define N_PARTITIONS 4
#define LONG_MS      20000 /* a test that waits so long has failed */

static mr_kafka_mock *mock;
static mr_client *client;
static char prefix[16]; /* of this test's topics */
static mr_err err;
static char folder[64], socket_path[100], config_path[100];
static pid_t server;

/* ---- Redis ---- */

static int redis_connect(void) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = 5};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", socket_path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) return fd;
    close(fd);
    return -1;
}

static void start_redis(void) {
    int fd;
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        if (!freopen("/dev/null", "w", stdout)) _exit(127);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--save",
               "", "--appendonly", "no", "--dir", folder, (char *)NULL);
        _exit(127);
    }
    CHECK(server > 0);
    for (int i = 0; i < 2000 && (fd = redis_connect()) < 0; i++) usleep(10000);
    CHECK(fd >= 0);
    close(fd);
}

static void kill_redis(void) {
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
    unlink(socket_path);
}

/* One command; its reply must not be an error. */
static void redis_do(int argc, const char *const *argv) {
    char out[4096], reply[256];
    int n = snprintf(out, sizeof out, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++)
        n += snprintf(out + n, sizeof out - (size_t)n, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    const int fd = redis_connect();
    CHECK(fd >= 0);
    CHECK_I64(write(fd, out, (size_t)n), n);
    ssize_t got; /* with a limit on its socket, read does not go on by itself after an interruption */
    while ((got = read(fd, reply, sizeof reply)) < 0 && errno == EINTR) continue;
    CHECK(got > 0);
    close(fd);
    if (reply[0] == '-') fail_msg("redis %s: %.*s", argv[0], 80, reply);
}
#define REDIS(...)                                                                                 \
    redis_do((int)MR_COUNT(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

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
            "kafka_brokers: \"%s\"\nredis_url: \"unix://%s\"\ntopic_prefix: %s\n"
            "kafka_extra: \"fetch.wait.max.ms=10%s\"\n",
            mr_kafka_mock_brokers(mock), socket_path, prefix, extra);
    fclose(f);
}

static void world_end(void) {
    char command[128];
    mr_kafka_mock_close(mock);
    if (server) kill_redis();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) fprintf(stderr, "%s is left\n", folder);
}

static void world_begin(void) {
    mr_log_setup("error", false);
    strcpy(folder, "/tmp/mr-test-client-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(socket_path, sizeof socket_path, "%s/redis.sock", folder);
    snprintf(config_path, sizeof config_path, "%s/client.yaml", folder);
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
    if (!server) start_redis();
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
