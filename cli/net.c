/* net.c - see net.h. */
#include "cli/net.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/trace.h"
#include "cli/when.h"
#include "schemas/codec.h"

const char *const mr_cli_priorities[] = {"high", "normal", "low", NULL};

/* ---- connection ---- */

void mr_cli_state_file(char *buf, size_t cap) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0])
        snprintf(buf, cap, "%s/millrace/up.yaml", runtime);
    else
        snprintf(buf, cap, "/tmp/millrace-%u/up.yaml", (unsigned)getuid());
}

/* A folder in /tmp may be made by anybody: only one that this user alone can write is believed. */
static bool is_private_dir_of(const char *path) {
    char dir[256];
    struct stat st;
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid() &&
           !(st.st_mode & 022);
}

/* Process ids are used again: the one in a stale file may be anybody's. */
static bool is_millrace(long pid) {
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const bool read = fgets(name, sizeof name, f) != NULL;
    fclose(f);
    return read && strcmp(name, "millrace\n") == 0;
}

long mr_cli_up_pid(const char *state_path) {
    long pid = 0;
    FILE *f = is_private_dir_of(state_path) ? fopen(state_path, "re") : NULL;
    if (!f) return 0;
    const bool ok = fscanf(f, "# pid %ld", &pid) == 1 && pid > 0; /* its first line */
    fclose(f);
    return ok && is_millrace(pid) ? pid : 0;
}

#define DEFAULT_BROKER_PORT 9092 /* of the setting kafka_brokers, on this machine */

/* Whether somebody listens there. A Kafka client would try for seconds before it says that nobody
 * does. */
static bool default_broker_listens(void) {
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_port = htons(DEFAULT_BROKER_PORT),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                                    .sin6_port = htons(DEFAULT_BROKER_PORT),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const int s4 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int s6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool yes = connect(s4, (const struct sockaddr *)&v4, sizeof v4) == 0 ||
                     connect(s6, (const struct sockaddr *)&v6, sizeof v6) == 0;
    if (s4 >= 0) close(s4);
    if (s6 >= 0) close(s6);
    return yes;
}

mr_status mr_cli_connect(const mr_args *a, mr_client **out, mr_err *err) {
    static const char hint[] = "start a stack with millrace up, or name one with --kafka";
    mr_client_options opt = {.config_path = mr_args_get(a, "config"),
                             .kafka_brokers = mr_args_get(a, "kafka"),
                             .redis_url = mr_args_get(a, "redis")};
    const bool named = opt.config_path || opt.kafka_brokers || getenv("MILLRACE_CONFIG") ||
                       getenv("MILLRACE_KAFKA_BROKERS");
    char state[256];

    *out = NULL;
    if (!named) {
        mr_cli_state_file(state, sizeof state);
        if (mr_cli_up_pid(state))
            opt.config_path = state;
        else if (!default_broker_listens())
            return mr_fail(err, MR_EUNAVAIL, "no Kafka answers at localhost:%d; %s",
                           DEFAULT_BROKER_PORT, hint);
    }
    const mr_status st = mr_client_connect(out, &opt, err);
    if (st != MR_EUNAVAIL || named) return st;
    const mr_err first = *err;
    return mr_fail(err, st, "%.400s; %s", first.text, hint);
}

/* ---- job options ---- */

static bool given_int(const mr_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out,
                      bool *ok) {
    if (!*ok || !mr_args_get(a, name)) return false;
    *ok = mr_args_int(a, name, lo, hi, out);
    return *ok;
}

static bool given_num(const mr_args *a, const char *name, double lo, double hi, float *out,
                      bool *ok) {
    double v;
    if (!*ok || !mr_args_get(a, name)) return false;
    *ok = mr_args_num(a, name, lo, hi, &v);
    if (*ok) *out = (float)v;
    return *ok;
}

static bool apply_stops(const mr_args *a, mr_job_spec *j, mr_arena *arena) {
    size_t n = 0;
    while (mr_args_nth(a, "stop", n)) n++;
    if (n == 0) return true;
    if (n > MR_JOB_MAX_STOPS) {
        mr_cli_usage(a, "--stop is given %zu times, must be at most %d", n, MR_JOB_MAX_STOPS);
        return false;
    }
    const char **list = mr_arena_calloc(arena, n, sizeof *list);
    if (!list) {
        mr_cli_usage(a, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n; i++) list[i] = mr_args_nth(a, "stop", i);
    j->params.stop = list;
    j->params.n_stop = n;
    return true;
}

static bool apply_not_before(const mr_args *a, mr_job_spec *j) {
    const char *text = mr_args_get(a, "not-before");
    const uint64_t now_ms = mr_clock_wall_ms();

    if (!text) return true;
    if (!mr_cli_when(text, now_ms, &j->not_before_ms)) {
        mr_cli_usage(a, "--not-before is \"%s\", must be such as 2026-01-02T03:04:05Z or +10m",
                     text);
        return false;
    }
    if (j->not_before_ms <= now_ms + MR_JOB_MAX_NOT_BEFORE_MS) return true;
    mr_cli_usage(a, "--not-before is \"%s\", must be at most %llu days ahead", text,
                 MR_JOB_MAX_NOT_BEFORE_MS / 86400000);
    return false;
}

/* The environment's comes first: the client sees to that one. */
static void give_trace(mr_job_spec *j) {
    const char *ours = getenv("TRACEPARENT");
    mr_trace_context t;

    if (ours && mr_trace_read(&t, ours, strlen(ours))) return;
    if (mr_trace_make(&t, j->job_id)) mr_trace_write(j->trace.parent, &t);
}

bool mr_cli_apply_job_options(const mr_args *a, mr_job_spec *j, mr_arena *arena) {
    mr_params *p = &j->params;
    bool ok = true;
    int64_t v;

    if (mr_args_get(a, "model")) j->model = mr_args_get(a, "model");
    if (mr_args_get(a, "tenant")) j->tenant = mr_args_get(a, "tenant");
    for (int l = 0; mr_args_get(a, "priority") && l < MR_PRIORITY_N; l++)
        if (strcmp(mr_args_get(a, "priority"), mr_priority_name((mr_priority)l)) == 0)
            j->priority = (mr_priority)l;
    if (mr_args_get(a, "deadline"))
        ok = mr_args_span(a, "deadline", 1000, MR_JOB_MAX_DEADLINE_MS, &j->deadline_ms);
    if (given_int(a, "max-attempts", 1, MR_JOB_MAX_ATTEMPTS, &v, &ok))
        j->max_attempts = (uint32_t)v;
    ok = ok && apply_not_before(a, j);
    if (given_int(a, "max-tokens", 1, MR_JOB_MAX_NEW_TOKENS, &v, &ok)) p->max_tokens = (uint32_t)v;
    given_num(a, "temperature", 0, 2, &p->temperature, &ok);
    given_num(a, "top-p", 0, 1, &p->top_p, &ok);
    if (given_int(a, "top-k", 0, 1 << 20, &v, &ok)) p->top_k = (int32_t)v;
    if (given_int(a, "seed", 0, INT64_MAX, &v, &ok)) {
        p->has_seed = true;
        p->seed = (uint64_t)v;
    }
    if (mr_args_flag(a, "trace")) give_trace(j);
    return ok && apply_stops(a, j, arena);
}

/* ---- results ---- */

void mr_cli_print_result_json(FILE *f, const mr_result *r) {
    mr_arena arena;
    const void *bytes;
    size_t n;
    mr_arena_init(&arena, 64u << 20);
    if (mr_codec_result_encode(r, MR_FORMAT_JSON, &arena, &bytes, &n) == MR_OK) {
        fwrite(bytes, 1, n, f);
        fputc('\n', f);
    }
    mr_arena_drop(&arena);
}

int mr_cli_result_exit(mr_job_status status) {
    switch (status) {
    case MR_STATUS_SUCCEEDED:
        return EX_OK;
    case MR_STATUS_REJECTED:
        return EX_DATAERR;
    case MR_STATUS_CANCELLED:
    case MR_STATUS_EXPIRED:
        return EX_TEMPFAIL;
    case MR_STATUS_FAILED:
        break;
    }
    return EX_SOFTWARE;
}

bool mr_cli_is_over(const char *state) {
    for (int s = MR_STATUS_SUCCEEDED; s <= MR_STATUS_EXPIRED; s++)
        if (strcmp(state, mr_job_status_name((mr_job_status)s)) == 0) return true;
    return false;
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;
static mr_client *volatile interrupted_client;

static void on_interrupt(int signum) {
    if (interrupted) _exit(128 + signum);
    interrupted = 1;
    if (interrupted_client) mr_interrupt(interrupted_client);
}

void mr_cli_catch_interrupt(mr_client *c) {
    interrupted_client = c;
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool mr_cli_interrupted(void) {
    return interrupted != 0;
}
