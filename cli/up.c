/* up.c - millrace up: everything on one machine, until Ctrl-C.
 *
 * Starts what is missing: an embedded broker (in this process) unless --kafka, a private
 * redis-server unless --redis, a dispatcher, a worker. Writes where they listen into a state file,
 * so that the other commands find them. The embedded broker keeps records in memory, a few MiB per
 * partition, and forgets silently beyond: hence many partitions, and clients that bound what they
 * have in flight.
 *
 * Stop, in order: worker (drains), dispatcher, Redis, broker; a second signal kills what still
 * runs. A child that ends before the stack was ever ready, for a reason that time does not heal or
 * twice, ends it all. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/kafka.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/net.h"
#include "schemas/codec.h"
#include "schemas/settings.h"

enum {
    MOCK_PARTITIONS = 16,
    TOPICS_MS = 30000,
    TEND_MS = 100,
    STOP_MS = 30000,
    READY_HINT_MS = 60000,
    MAX_CHILDREN = 3,
    MAX_SIGNALS = 4
};

static const mr_opt opts[] = {
    {"model", 'm', "FILE", NULL, "GGUF model; else MILLRACE_MODEL_PATH", NULL},
    {"kafka", 0, "HOST:PORT", NULL,
     "use this Kafka, or MILLRACE_KAFKA_BROKERS; else one is embedded", NULL},
    {"redis", 0, "URL", NULL, "use this Redis, or MILLRACE_REDIS_URL; else one is started", NULL},
    {"config", 0, "FILE", NULL, "YAML file of settings for dispatcher and worker", NULL},
    {"threads", 0, "N", NULL, "threads of the engine", NULL},
    {"max-jobs", 0, "N", NULL, "jobs that run at one time", NULL},
    {"ctx", 0, "N", NULL, "longest sequence in tokens", NULL},
    {"log-dir", 0, "DIR", NULL, "write the programs' logs there instead of to stderr", NULL},
    {"json", 0, NULL, NULL, "print the state as a JSON line when ready", NULL},
    {0},
};

/* The embedded broker holds a fetch for its whole waiting time, even when a record comes. */
static const char mock_extra[] = "fetch.wait.max.ms=10";
/* It does not keep the offsets of a transaction. */
static const char mock_commit_mode[] = "plain";

typedef struct up {
    const mr_args *a;
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[MAX_SIGNALS];
    int n_signals;
    mr_arena arena; /* texts of arguments */
    mr_settings settings;
    mr_kafka_mock *mock;
    mr_kafka_consumer *heartbeats;
    mr_child redis, dispatcher, worker;
    char dir[PATH_MAX]; /* of the state file; private */
    char state[PATH_MAX], dispatcher_bin[PATH_MAX], worker_bin[PATH_MAX];
    const char *brokers, *redis_url;
    const char *extra; /* librdkafka properties */
    uint64_t begin_ms;
    bool ready, hinted, wrote_state;
    int signum; /* that ended it; 0: none */
    int rc;
} up;

static volatile sig_atomic_t hurry; /* a signal that came while stopping */

/* ---- places ---- */

static mr_status make_state_dir(up *u, mr_err *err) {
    struct stat st;
    mr_cli_state_file(u->state, sizeof u->state);
    snprintf(u->dir, sizeof u->dir, "%s", u->state);
    *strrchr(u->dir, '/') = '\0';
    if (mkdir(u->dir, 0700) != 0 && errno != EEXIST)
        return mr_fail(err, MR_EIO, "%s: %s", u->dir, strerror(errno));
    if (lstat(u->dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != getuid())
        return mr_fail(err, MR_EIO, "%s is not a directory of this user", u->dir);
    if (st.st_mode & 022)
        return mr_fail(err, MR_EIO, "%s can be written by others; chmod go-w it", u->dir);
    const long pid = mr_cli_up_pid(u->state);
    if (pid)
        return mr_fail(err, MR_ELIMIT,
                       "process %ld is a millrace up of this user already; another one needs "
                       "a folder of its own in XDG_RUNTIME_DIR",
                       pid);
    return MR_OK;
}

static const char *option_or_env(const mr_args *a, const char *option, const char *variable) {
    const char *value = mr_args_get(a, option);
    if (!value) value = getenv(variable);
    return value && value[0] ? value : NULL;
}

/* The worker checks what is in it; a wrong name is told before anything is started. */
static mr_status check_model(const up *u, mr_err *err) {
    const char *path = option_or_env(u->a, "model", "MILLRACE_MODEL_PATH");
    if (path && access(path, R_OK) != 0)
        return mr_fail(err, MR_ENOTFOUND, "model %s: %s", path, strerror(errno));
    return MR_OK;
}

/* What cannot be logged does not start; that is told in one line instead of by each program. */
static mr_status check_log_dir(const up *u, mr_err *err) {
    const char *dir = mr_args_get(u->a, "log-dir");
    struct stat st;
    if (!dir) return MR_OK;
    if (stat(dir, &st) != 0) return mr_fail(err, MR_EIO, "log folder %s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return mr_fail(err, MR_EIO, "log folder %s is no folder", dir);
    if (access(dir, W_OK | X_OK) != 0)
        return mr_fail(err, MR_EIO, "log folder %s: %s", dir, strerror(errno));
    return MR_OK;
}

static mr_status find_programs(up *u, mr_err *err) {
    const mr_status st =
        mr_child_beside("millrace-dispatcher", u->dispatcher_bin, sizeof u->dispatcher_bin, err);
    if (st != MR_OK) return st;
    return mr_child_beside("millrace-worker", u->worker_bin, sizeof u->worker_bin, err);
}

/* A free port of 127.0.0.1; the preferred one if it is free. */
static int free_port(int preferred) {
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)(i ? 0 : preferred)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof sa;
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 &&
                        getsockname(fd, (struct sockaddr *)&sa, &len) == 0;
        if (fd >= 0) close(fd);
        if (ok) return ntohs(sa.sin_port);
    }
    return 0;
}

/* A JSON string is a YAML string. */
static void put_setting(FILE *f, const char *name, const char *value) {
    fprintf(f, "%s: ", name);
    mr_cli_json_string(f, value, strlen(value));
    fputc('\n', f);
}

static mr_status write_state(up *u, mr_err *err) {
    char part[PATH_MAX + 8];
    snprintf(part, sizeof part, "%s.new", u->state);
    FILE *f = fopen(part, "we");
    if (!f) return mr_fail(err, MR_EIO, "%s: %s", part, strerror(errno));
    fprintf(f, "# pid %ld\n", (long)getpid());
    put_setting(f, "kafka_brokers", u->brokers);
    put_setting(f, "redis_url", u->redis_url);
    if (u->mock) put_setting(f, "kafka_extra", mock_extra);
    if (u->mock) put_setting(f, "commit_mode", mock_commit_mode);
    const bool ok = fchmod(fileno(f), 0600) == 0; /* the URL may hold a password */
    if (fclose(f) != 0 || !ok || rename(part, u->state) != 0)
        return mr_fail(err, MR_EIO, "%s: %s", u->state, strerror(errno));
    u->wrote_state = true;
    return MR_OK;
}

/* ---- children ---- */

static void arg(mr_child *c, const char *text) {
    size_t n = 0;
    while (c->argv[n]) n++;
    MR_CHECK(n < MR_CHILD_MAX_ARGS && text);
    c->argv[n] = text;
}

static void argf(up *u, mr_child *c, const char *name, const char *value) {
    if (value) arg(c, mr_arena_printf(&u->arena, "--%s=%s", name, value));
}

static void describe(up *u, mr_child *c, const char *name, const char *program) {
    const char *log_dir = mr_args_get(u->a, "log-dir");
    c->name = name;
    arg(c, program);
    if (log_dir) c->log_path = mr_arena_printf(&u->arena, "%s/%s.log", log_dir, name);
}

static mr_status start_redis(up *u, mr_err *err) {
    static const char *const fixed[] = {"--bind",
                                        "127.0.0.1",
                                        "--save",
                                        "",
                                        "--appendonly",
                                        "no",
                                        "--maxmemory-policy",
                                        "volatile-ttl",
                                        "--client-output-buffer-limit",
                                        "normal 256mb 128mb 60",
                                        "--client-output-buffer-limit",
                                        "pubsub 64mb 32mb 60",
                                        "--loglevel",
                                        "warning"};
    u->redis_url = option_or_env(u->a, "redis", "MILLRACE_REDIS_URL");
    if (u->redis_url) return MR_OK;
    const int port = free_port(6379);
    if (!port) return mr_fail(err, MR_ELIMIT, "no free port for redis-server");
    describe(u, &u->redis, "redis", "redis-server");
    arg(&u->redis, "--port");
    arg(&u->redis, mr_arena_printf(&u->arena, "%d", port));
    arg(&u->redis, "--dir");
    arg(&u->redis, u->dir);
    for (size_t i = 0; i < MR_COUNT(fixed); i++) arg(&u->redis, fixed[i]);
    u->redis_url = mr_arena_printf(&u->arena, "redis://127.0.0.1:%d", port);
    return mr_child_start(&u->redis, mr_clock_mono_ms(), err);
}

static mr_status embed_broker(up *u, mr_err *err) {
    static const struct {
        const char *name;
        int partitions;
    } topics[] = {{"jobs.high", MOCK_PARTITIONS},
                  {"jobs.normal", MOCK_PARTITIONS},
                  {"jobs.low", MOCK_PARTITIONS},
                  {"results", MOCK_PARTITIONS},
                  {"control", 1},
                  {"workers", 1},
                  {"dead", 1}};
    mr_status st = mr_kafka_mock_open(&u->mock, 1, MOCK_PARTITIONS, err);
    for (size_t i = 0; st == MR_OK && i < MR_COUNT(topics); i++) {
        const char *name =
            mr_arena_printf(&u->arena, "%s.%s", u->settings.topic_prefix, topics[i].name);
        st = mr_kafka_mock_topic(u->mock, name, topics[i].partitions, err);
    }
    if (st == MR_OK) u->brokers = mr_kafka_mock_brokers(u->mock);
    u->extra = mock_extra;
    return st;
}

static const char *workers_topic(up *u) {
    return mr_arena_printf(&u->arena, "%s.workers", u->settings.topic_prefix);
}

/* A real one must answer: this waits for it, and makes the topic that is watched here. */
static mr_status find_broker(up *u, mr_err *err) {
    static const char *const compact[] = {"cleanup.policy=compact", NULL};
    u->extra = u->settings.kafka_extra;
    const mr_kafka_conf conf = {u->brokers, "millrace-up", u->extra};
    const mr_kafka_topic topic = {workers_topic(u), 1, compact};
    return mr_kafka_ensure_topics(&conf, &topic, 1, TOPICS_MS, err);
}

static mr_status start_broker(up *u, mr_err *err) {
    u->brokers = option_or_env(u->a, "kafka", "MILLRACE_KAFKA_BROKERS");
    return u->brokers ? find_broker(u, err) : embed_broker(u, err);
}

static void common_args(up *u, mr_child *c) {
    argf(u, c, "config", mr_args_get(u->a, "config"));
    argf(u, c, "kafka-brokers", u->brokers);
    argf(u, c, "redis-url", u->redis_url);
    if (!u->mock) return;
    argf(u, c, "kafka-extra", mock_extra);
    argf(u, c, "commit-mode", mock_commit_mode);
}

static const char *listen_at(up *u, int preferred_port) {
    return mr_arena_printf(&u->arena, "127.0.0.1:%d", free_port(preferred_port));
}

static mr_status start_ours(up *u, mr_err *err) {
    const uint64_t now_ms = mr_clock_mono_ms();
    describe(u, &u->dispatcher, "dispatcher", u->dispatcher_bin);
    common_args(u, &u->dispatcher);
    argf(u, &u->dispatcher, "dispatcher-listen", listen_at(u, 9464));
    describe(u, &u->worker, "worker", u->worker_bin);
    common_args(u, &u->worker);
    argf(u, &u->worker, "worker-listen", listen_at(u, 9465));
    argf(u, &u->worker, "model-path", mr_args_get(u->a, "model"));
    argf(u, &u->worker, "threads", mr_args_get(u->a, "threads"));
    argf(u, &u->worker, "max-jobs", mr_args_get(u->a, "max-jobs"));
    argf(u, &u->worker, "n-ctx", mr_args_get(u->a, "ctx"));
    const mr_status st = mr_child_start(&u->dispatcher, now_ms, err);
    return st == MR_OK ? mr_child_start(&u->worker, now_ms, err) : st;
}

/* ---- running ---- */

static void put_json(const char *name, const char *value) {
    printf(",\"%s\":", name);
    mr_cli_json_string(stdout, value, strlen(value));
}

static void announce(up *u, const mr_heartbeat *h) {
    const double seconds = (double)(mr_clock_mono_ms() - u->begin_ms) / 1000;
    u->ready = true;
    if (mr_args_flag(u->a, "json")) {
        fputs("{\"ready\":true", stdout);
        put_json("kafka_brokers", u->brokers);
        put_json("redis_url", u->redis_url);
        put_json("model", h->model);
        put_json("config", u->state);
        printf(",\"embedded\":%s}\n", u->mock ? "true" : "false");
    } else {
        printf("millrace is up after %.1f s: model %s, %u jobs at a time, %llu KV tokens\n"
               "  kafka  %s%s\n  redis  %s\n  try    millrace submit --stream \"...\"\n"
               "  other programs: export MILLRACE_CONFIG=%s\n  Ctrl-C stops everything\n",
               seconds, h->model, h->max_slots, (unsigned long long)h->kv_tokens_total, u->brokers,
               u->mock ? " (embedded: nothing survives a restart)" : "", u->redis_url, u->state);
    }
    fflush(stdout);
}

static void on_heartbeat(void *owner, const mr_kafka_msg *m) {
    up *u = owner;
    mr_arena arena;
    mr_heartbeat h;
    mr_err err;
    if (u->ready || !m->value) return;
    mr_arena_init(&arena, 1 << 20);
    if (mr_codec_heartbeat_decode(&h, m->value, m->len, &arena, &err) == MR_OK && h.n_parts > 0 &&
        !h.leaving)
        announce(u, &h);
    mr_arena_drop(&arena);
}

static void on_kafka_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    (void)status;
    if (fatal) fprintf(stderr, "millrace up: kafka: %s\n", text);
}

/* Readiness is what the dispatcher sees too: a heartbeat of a worker that owns partitions. */
static mr_status watch_heartbeats(up *u, mr_err *err) {
    const mr_kafka_conf conf = {u->brokers, "millrace-up", u->extra};
    const mr_kafka_consumer_conf cc = {.conn = conf,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_END,
                                       .owner = u,
                                       .on_msg = on_heartbeat,
                                       .on_error = on_kafka_error};
    const mr_kafka_tp tp = {.topic = workers_topic(u), .offset = MR_KAFKA_OFFSET_END};
    const mr_status st = mr_kafka_consumer_open(&u->heartbeats, &u->loop, &cc, err);
    return st == MR_OK ? mr_kafka_assign(u->heartbeats, &tp, 1, err) : st;
}

/* Wrong settings, a wrong model: they do not get better by trying again. */
static bool is_hopeless(int exit_status) {
    if (!WIFEXITED(exit_status)) return false;
    const int code = WEXITSTATUS(exit_status);
    return code == EX_USAGE || code == EX_DATAERR || code == EX_NOINPUT || code == EX_CONFIG ||
           code == MR_CHILD_NO_LOG || code == MR_CHILD_NO_EXEC;
}

static void give_up(up *u, const mr_child *c) {
    fprintf(stderr, "millrace up: %s does not start, giving up; its messages are %s%s\n", c->name,
            c->log_path ? "in " : "above", c->log_path ? c->log_path : "");
    const int code = WEXITSTATUS(c->exit_status);
    const bool told = is_hopeless(c->exit_status) && code < MR_CHILD_NO_LOG; /* by the program */
    u->rc = told ? code : EX_UNAVAILABLE;
    uv_stop(&u->loop);
}

static void tend(up *u) {
    mr_child *all[MAX_CHILDREN] = {&u->redis, &u->dispatcher, &u->worker};
    const uint64_t now_ms = mr_clock_mono_ms();
    char how[128];

    for (int i = 0; i < MAX_CHILDREN && u->rc == EX_OK; i++) {
        mr_child *c = all[i];
        if (!c->name || !mr_child_tend(c, now_ms)) continue;
        const bool hopeless = !u->ready && (is_hopeless(c->exit_status) || c->restarts >= 1);
        fprintf(stderr, "millrace up: %s ended with %s", c->name, mr_child_how(c, how, sizeof how));
        if (hopeless)
            fputc('\n', stderr);
        else
            fprintf(stderr, "; again in %.1f s\n", (double)c->pause_ms / 1000);
        if (hopeless) give_up(u, c);
    }
    if (!u->ready && !u->hinted && now_ms - u->begin_ms > READY_HINT_MS) {
        u->hinted = true;
        fprintf(stderr, "millrace up: no worker is ready after %d s; still waiting\n",
                READY_HINT_MS / 1000);
    }
}

static void on_timer(uv_timer_t *t) {
    tend(t->data);
}

static void on_signal(uv_signal_t *h, int signum) {
    up *u = h->data;
    if (signum == SIGCHLD) {
        tend(u);
        return;
    }
    u->signum = signum;
    uv_stop(&u->loop);
}

static void watch_signals(up *u) {
    static const int nums[MAX_SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    for (; u->n_signals < MAX_SIGNALS; u->n_signals++) {
        uv_signal_t *h = &u->signals[u->n_signals];
        uv_signal_init(&u->loop, h);
        h->data = u;
        uv_signal_start(h, on_signal, nums[u->n_signals]);
    }
}

/* Until the first child runs a Ctrl-C just ends us: the wait for a broker can be long. */
static mr_status start_all(up *u, mr_err *err) {
    mr_status st = check_model(u, err);
    if (st == MR_OK) st = check_log_dir(u, err);
    if (st == MR_OK)
        st = mr_settings_load_pairs(&u->settings, MR_PROGRAM_CLIENT, mr_args_get(u->a, "config"),
                                    NULL, 0, err);
    if (st == MR_OK) st = make_state_dir(u, err);
    if (st == MR_OK) st = find_programs(u, err);
    if (st == MR_OK) st = start_broker(u, err);
    if (st != MR_OK) return st;
    watch_signals(u);
    if ((st = start_redis(u, err)) != MR_OK || (st = watch_heartbeats(u, err)) != MR_OK) return st;
    if ((st = start_ours(u, err)) != MR_OK) return st;
    return write_state(u, err);
}

static void close_handle(uv_handle_t *h, void *unused) {
    (void)unused;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void on_hurry(int signum) {
    hurry = signum;
}

/* The loop does not run while children are waited for, so signals are caught without it. */
static void catch_hurry(up *u) {
    const struct sigaction sa = {.sa_handler = on_hurry};
    for (int i = 0; i < u->n_signals; i++) uv_signal_stop(&u->signals[i]);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
}

static void stop_all(up *u) {
    if (u->wrote_state) unlink(u->state);
    catch_hurry(u);
    mr_child_stop(&u->worker, SIGTERM, STOP_MS, &hurry);
    mr_child_stop(&u->dispatcher, SIGTERM, STOP_MS, &hurry);
    mr_child_stop(&u->redis, SIGTERM, STOP_MS, &hurry);
    if (hurry) u->rc = 128 + hurry;
    mr_kafka_consumer_close(u->heartbeats);
    uv_walk(&u->loop, close_handle, NULL);
    uv_run(&u->loop, UV_RUN_DEFAULT);
    MR_CHECK(uv_loop_close(&u->loop) == 0);
    mr_kafka_mock_close(u->mock);
    mr_settings_free(&u->settings);
    mr_arena_drop(&u->arena);
}

static int run(const mr_args *a) {
    mr_err err;
    if (!option_or_env(a, "model", "MILLRACE_MODEL_PATH") && !mr_args_get(a, "config"))
        return mr_cli_usage(a, "needs a model: --model FILE");
    up *u = calloc(1, sizeof *u);
    if (!u) return EX_OSERR;
    u->a = a;
    u->begin_ms = mr_clock_mono_ms();
    mr_arena_init(&u->arena, 0);
    MR_CHECK(uv_loop_init(&u->loop) == 0);
    uv_timer_init(&u->loop, &u->timer);
    u->timer.data = u;
    uv_timer_start(&u->timer, on_timer, TEND_MS, TEND_MS);
    const mr_status st = start_all(u, &err);
    if (st == MR_OK)
        uv_run(&u->loop, UV_RUN_DEFAULT);
    else
        u->rc = mr_cli_fail(a, &err);
    if (u->signum) fprintf(stderr, "millrace up: stopping\n");
    stop_all(u);
    const int rc = u->rc;
    free(u);
    return rc;
}

const mr_cmd mr_cmd_up = {
    .name = "up",
    .summary = "run everything on this machine until Ctrl-C",
    .opts = opts,
    .about = "Without --kafka an embedded broker is used: it keeps records in memory, nothing "
             "survives a restart, "
             "and\nit forgets silently beyond 5 MiB per partition; commits are at least once. "
             "Without --redis a "
             "private\nredis-server is started. Programs that end are started again. The other "
             "commands of the "
             "same user\nfind a running stack by themselves.",
    .examples =
        "  millrace up -m models/demo.gguf\n"
        "  millrace up -m llama-3.2-3b-q4_k_m.gguf --kafka kafka:9092 --redis redis://cache:6379",
    .run = run,
};
