/* net.c - see net.h. */
#include "cli/net.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "schemas/codec.h"

const char *const mr_cli_priorities[] = {"high", "normal", "low", NULL};

/* ---- connection ---- */

void mr_cli_state_file(char *buf, size_t cap) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0]) snprintf(buf, cap, "%s/millrace/up.yaml", runtime);
    else snprintf(buf, cap, "/tmp/millrace-%u/up.yaml", (unsigned)getuid());
}

/* The first line of the state file is "# pid N". */
static bool up_is_running(const char *path) {
    FILE *f = fopen(path, "r");
    long pid = 0;
    if (!f) return false;
    const bool ok = fscanf(f, "# pid %ld", &pid) == 1 && pid > 0;
    fclose(f);
    return ok && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

mr_status mr_cli_connect(const mr_args *a, mr_client **out, mr_err *err) {
    mr_client_options opt = {.config_path = mr_args_get(a, "config"),
                             .kafka_brokers = mr_args_get(a, "kafka"),
                             .redis_url = mr_args_get(a, "redis")};
    char state[256];

    if (!opt.config_path && !opt.kafka_brokers && !getenv("MILLRACE_CONFIG") &&
        !getenv("MILLRACE_KAFKA_BROKERS")) {
        mr_cli_state_file(state, sizeof state);
        if (up_is_running(state)) opt.config_path = state;
    }
    const mr_status st = mr_client_connect(out, &opt, err);
    if (st == MR_EUNAVAIL && !opt.kafka_brokers && !opt.config_path && !getenv("MILLRACE_KAFKA_BROKERS")) {
        const mr_err first = *err;
        return mr_fail(err, st, "%.400s; start a stack with millrace up, or name one with --kafka",
                       first.text);
    }
    return st;
}

/* ---- job options ---- */

static bool given_int(const mr_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out, bool *ok) {
    if (!*ok || !mr_args_get(a, name)) return false;
    *ok = mr_args_int(a, name, lo, hi, out);
    return *ok;
}

static bool given_num(const mr_args *a, const char *name, double lo, double hi, float *out, bool *ok) {
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

bool mr_cli_apply_job_options(const mr_args *a, mr_job_spec *j, mr_arena *arena) {
    mr_params *p = &j->params;
    bool ok = true;
    int64_t v;

    if (mr_args_get(a, "model")) j->model = mr_args_get(a, "model");
    if (mr_args_get(a, "tenant")) j->tenant = mr_args_get(a, "tenant");
    for (int l = 0; mr_args_get(a, "priority") && l < MR_PRIORITY_N; l++)
        if (strcmp(mr_args_get(a, "priority"), mr_priority_name((mr_priority)l)) == 0)
            j->priority = (mr_priority)l;
    if (given_int(a, "deadline", 1, MR_JOB_MAX_DEADLINE_MS / 1000, &v, &ok))
        j->deadline_ms = (uint64_t)v * 1000;
    if (given_int(a, "max-tokens", 1, MR_JOB_MAX_NEW_TOKENS, &v, &ok)) p->max_tokens = (uint32_t)v;
    given_num(a, "temperature", 0, 2, &p->temperature, &ok);
    given_num(a, "top-p", 0, 1, &p->top_p, &ok);
    if (given_int(a, "top-k", 0, 1 << 20, &v, &ok)) p->top_k = (int32_t)v;
    if (given_int(a, "seed", 0, INT64_MAX, &v, &ok)) {
        p->has_seed = true;
        p->seed = (uint64_t)v;
    }
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

int mr_cli_result_exit(const mr_result *r) {
    switch (r->status) {
    case MR_STATUS_SUCCEEDED: return EX_OK;
    case MR_STATUS_REJECTED: return EX_DATAERR;
    case MR_STATUS_CANCELLED:
    case MR_STATUS_EXPIRED: return EX_TEMPFAIL;
    case MR_STATUS_FAILED: break;
    }
    return EX_SOFTWARE;
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
