/* Goal: each source overrides the one before it, every row's limits hold, a wrong setting is told
 * with source, name, limit and nearest name, and docs/SETTINGS.md is what the table prints.
 * Method: YAML in memory, a temporary file, the environment of this process, argument vectors. */
#include <unistd.h>

#include "schemas/settings.h"
#include "schemas/settings_table.h"
#include "tests/test.h"

static mr_err err;

static mr_status load_yaml(mr_settings *s, const char *text) {
    return mr_settings_load_yaml(s, MR_PROGRAM_WORKER, text, strlen(text), &err);
}

static mr_status load_args(mr_settings *s, mr_program p, const char *const *args, bool *exit_now) {
    char *argv[16] = {(char *)"prog"};
    int argc = 1;

    while (args[argc - 1]) {
        argv[argc] = (char *)args[argc - 1];
        argc++;
    }
    return mr_settings_load(s, p, argc, argv, exit_now, &err);
}

TEST(defaults_are_the_documented_ones) {
    mr_settings s;

    CHECK_OK(load_yaml(&s, ""), err);
    CHECK_STR(s.kafka_brokers, "localhost:9092");
    CHECK_STR(s.redis_url, "redis://localhost:6379");
    CHECK_STR(s.topic_prefix, "millrace");
    CHECK_STR(s.redis_prefix, "mr");
    CHECK_STR(s.worker_listen, "127.0.0.1:9465");
    CHECK(s.create_topics);
    CHECK_I64(s.window_bytes, 67108864);
    CHECK_I64(s.max_jobs, 16);
    CHECK_I64(s.commit_window, 4096);
    CHECK_I64(s.stream_max_frames, 8192);
    mr_settings_free(&s);
    mr_settings_free(&s); /* a zeroed one */
}

/* One number below, at and above each limit of every row of numbers. */
TEST(every_number_has_its_limits) {
    for (size_t i = 0; i < mr_n_settings; i++) {
        const mr_setting *row = &mr_setting_rows[i];
        mr_settings s;
        char text[128], wanted[128];

        if (row->kind != MR_SETTING_INT) continue;
        const int64_t tries[4] = {row->lo, row->hi, row->lo - 1, row->hi + 1};
        for (int k = 0; k < 4; k++) {
            snprintf(text, sizeof text, "%s: %lld", row->name, (long long)tries[k]);
            mr_status st = load_yaml(&s, text);
            CHECK_I64(st, k < 2 ? MR_OK : MR_EINVAL);
            snprintf(wanted, sizeof wanted, "settings line 1: %s: %lld is outside %lld..%lld",
                     row->name, (long long)tries[k], (long long)row->lo, (long long)row->hi);
            if (st == MR_OK) CHECK_I64(*(int64_t *)(void *)((char *)&s + row->offset), tries[k]);
            if (st == MR_OK) mr_settings_free(&s);
            else CHECK_STR(err.text, wanted);
        }
    }
}

TEST(wrong_files_are_told_with_their_line) {
    static const struct {
        const char *yaml, *says;
    } cases[] = {
        {"max_jobs: 3\nmax_job: 4\n", "settings line 2: unknown setting \"max_job\"; did you mean"},
        {"max_job: 4\n", "\"max_jobs\"?"},
        {"zzzzzzzzzzzzzzz: 4\n", "line 1: unknown setting \"zzzzzzzzzzzzzzz\""},
        {"max_jobs: 3\n\nmax_jobs: 4\n", "settings line 3: max_jobs: is there twice"},
        {"max_jobs: many\n", "max_jobs: \"many\" is not a whole number"},
        {"max_jobs: 1e3\n", "max_jobs: \"1e3\" is not a whole number"},
        {"max_jobs: 99999999999999999999\n", "99999999999999999999 is outside 1..1024"},
        {"max_jobs:\n", "max_jobs: \"\" is not a whole number"},
        {"create_topics: yes\n", "create_topics: \"yes\" must be true or false"},
        {"log_level: loud\n", "log_level: \"loud\" must be one of error, warn, info, debug"},
        {"log_format: xml\n", "must be one of logfmt, json"},
        {"isa: mmx\n", "must be one of auto, ref, avx2, avxvnni, avx512, amx"},
        {"device: gpu\n", "device: \"gpu\" must be auto, cpu, cuda, cuda:N or cuda:N,N"},
        {"device: 'cuda:'\n", "must be auto, cpu, cuda, cuda:N"},
        {"device: cuda:1000\n", "must be auto, cpu, cuda, cuda:N"},
        {"device: 'cuda:0,'\n", "must be auto, cpu, cuda, cuda:N"},
        {"device: 'cuda:0,1,x'\n", "must be auto, cpu, cuda, cuda:N"},
        {"gpu_quant: int4\n", "must be one of none, fp8"},
        {"gpu_layers: -1\n", "-1 is outside 0..65536"},
        {"tensor_parallel: 0\n", "tensor_parallel: 0 is outside 1..8"},
        {"tensor_parallel: 9\n", "tensor_parallel: 9 is outside 1..8"},
        {"gpu_swap_mb: -1\n", "gpu_swap_mb: -1 is outside 0..1048576"},
        {"gpu_swap_mb: 1g\n", "gpu_swap_mb: \"1g\" is not a whole number"},
        {"gpu_sampling: 1\n", "gpu_sampling: \"1\" must be true or false"},
        {"gpu_graphs: off\n", "gpu_graphs: \"off\" must be true or false"},
        {"reproducible: off\n", "reproducible: \"off\" must be true or false"},
        {"kv_type: q4_0\n", "kv_type: \"q4_0\" must be one of f16, q8_0"},
        {"kv_type: ''\n", "kv_type: \"\" must be one of f16, q8_0"},
        {"repack_cache: [a]\n", "line 1: repack_cache is not plain text"},
        {"repack_cache: \"a\\0b\"\n", "repack_cache holds a zero byte"},
        {"topic_prefix: a/b\n", "topic_prefix: \"a/b\" must be 1..100 of letters"},
        {"topic_prefix: ''\n", "must be 1..100"},
        {"redis_prefix: '{x}'\n", "redis_prefix: \"{x}\" must be 1..64"},
        {"worker_listen: 9465\n", "must be host:port, or empty"},
        {"worker_listen: 'a:99999'\n", "must be host:port, or empty"},
        {"worker_listen: ':80'\n", "must be host:port, or empty"},
        {"worker_listen: 'a:'\n", "must be host:port, or empty"},
        {"kafka_brokers: ''\n", "must be comma-separated host:port"},
        {"redis_url: http://:secret@x\n", "redis_url: \"the value\" must be redis://"},
        {"kafka_extra: secret\n", "kafka_extra: \"the value\" must be key=value"},
        {"models: [a, b]\n", "line 1: models is not plain text"},
        {"a: {b: c}\n", "unknown setting \"a\""},
        {"? [x]\n: y\n", "a name is not plain text"},
        {"- a\n", "not \"name: value\" lines"},
        {"hello\n", "not \"name: value\" lines"},
        {"n_ctx: 1\n---\nn_ctx: 2\n", "line 2: a second document"},
        {"n_ctx: \"1\n", "not YAML"},
        {"worker_id: &x a\nmodel_name: *x\n", "line 2: model_name is not plain text"},
        {"worker_id: \"a\\0b\"\n", "worker_id holds a zero byte"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_settings s;

        CHECK_I64(load_yaml(&s, cases[i].yaml), MR_EINVAL);
        CHECK_ERR(err, cases[i].says);
        CHECK(!strstr(err.text, "secret"));
        CHECK(!s.kafka_brokers);
    }
}

TEST(good_files) {
    mr_settings s;

    CHECK_OK(load_yaml(&s, "# comment\n---\nworker_listen: \"\"\nlog_format: json\n"
                           "redis_url: unix:///run/redis.sock\nkafka_extra: a=b;c=d=e;\n"
                           "create_topics: false\nwindow_jobs: 7\nworker_id:\n"), err);
    CHECK_STR(s.worker_listen, "");
    CHECK_STR(s.log_format, "json");
    CHECK_STR(s.redis_url, "unix:///run/redis.sock");
    CHECK_STR(s.kafka_extra, "a=b;c=d=e;");
    CHECK(!s.create_topics);
    CHECK_I64(s.window_jobs, 7); /* another program's: one file may serve all */
    mr_settings_free(&s);
    CHECK_OK(load_yaml(&s, "# nothing at all\n"), err);
    mr_settings_free(&s);
}

TEST(later_sources_win) {
    static const char yaml[] = "max_jobs: 2\nn_ctx: 2\nkv_tokens: 2\nlog_level: warn\n";
    char path[] = "/tmp/mr_settings_XXXXXX";
    const int fd = mkstemp(path);
    const char *const by_flag[] = {"--config", path, "--kv-tokens=4", "--log_level", "debug", NULL};
    const char *const by_env[] = {NULL};
    const char *const missing[] = {"--config", "/nonexistent/x.yaml", NULL};
    bool exit_now;
    mr_settings s;

    CHECK(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    setenv("MILLRACE_N_CTX", "3", 1);
    setenv("MILLRACE_KV_TOKENS", "3", 1);
    CHECK_OK(load_args(&s, MR_PROGRAM_WORKER, by_flag, &exit_now), err);
    CHECK(!exit_now);
    CHECK_I64(s.max_jobs, 2);
    CHECK_I64(s.n_ctx, 3);
    CHECK_I64(s.kv_tokens, 4);
    CHECK_STR(s.log_level, "debug");
    mr_settings_free(&s);

    setenv("MILLRACE_CONFIG", path, 1);
    CHECK_OK(load_args(&s, MR_PROGRAM_WORKER, by_env, &exit_now), err);
    CHECK_I64(s.max_jobs, 2);
    mr_settings_free(&s);
    unsetenv("MILLRACE_CONFIG");

    const char *const pairs[] = {"kafka_brokers", "h:1", "redis_url", NULL};
    CHECK_OK(mr_settings_load_pairs(&s, MR_PROGRAM_CLIENT, path, pairs, 2, &err), err);
    CHECK_STR(s.kafka_brokers, "h:1");
    CHECK_STR(s.redis_url, "redis://localhost:6379");
    CHECK_STR(s.log_level, "warn");
    mr_settings_free(&s);
    const char *const wrong[] = {"kafka_broker", "h:1"};
    CHECK_I64(mr_settings_load_pairs(&s, MR_PROGRAM_CLIENT, NULL, wrong, 1, &err), MR_EINVAL);
    CHECK_ERR(err, "option: unknown setting \"kafka_broker\"; did you mean \"kafka_brokers\"?");

    unsetenv("MILLRACE_N_CTX");
    unsetenv("MILLRACE_KV_TOKENS");
    unlink(path);
    CHECK_I64(load_args(&s, MR_PROGRAM_WORKER, missing, &exit_now), MR_ENOTFOUND);
    CHECK_ERR(err, "/nonexistent/x.yaml: No such file");
}

TEST(the_environment_is_checked) {
    static const char *const none[] = {NULL};
    bool exit_now;
    mr_settings s;

    setenv("MILLRACE_MAX_JOB", "3", 1);
    CHECK_I64(load_args(&s, MR_PROGRAM_WORKER, none, &exit_now), MR_EINVAL);
    CHECK_ERR(err, "MILLRACE_MAX_JOB: unknown setting \"max_job\"; did you mean \"max_jobs\"?");
    unsetenv("MILLRACE_MAX_JOB");

    setenv("MILLRACE_MAX_JOBS", "0", 1);
    CHECK_I64(load_args(&s, MR_PROGRAM_DISPATCHER, none, &exit_now), MR_EINVAL);
    CHECK_ERR(err, "MILLRACE_MAX_JOBS: max_jobs: 0 is outside 1..1024");
    unsetenv("MILLRACE_MAX_JOBS");

    /* what Kubernetes adds for services called "millrace" and "millrace-worker" */
    setenv("MILLRACE_SERVICE_HOST", "10.0.0.1", 1);
    setenv("MILLRACE_WORKER_SERVICE_PORT_HTTP", "80", 1);
    setenv("MILLRACE_PORT", "tcp://10.0.0.1:80", 1);
    setenv("MILLRACE_PORT_80_TCP_ADDR", "10.0.0.1", 1);
    CHECK_OK(load_args(&s, MR_PROGRAM_WORKER, none, &exit_now), err);
    mr_settings_free(&s);
    unsetenv("MILLRACE_SERVICE_HOST");
    unsetenv("MILLRACE_WORKER_SERVICE_PORT_HTTP");
    unsetenv("MILLRACE_PORT");
    unsetenv("MILLRACE_PORT_80_TCP_ADDR");
}

TEST(wrong_flags) {
    static const struct {
        const char *args[4];
        const char *says;
    } cases[] = {
        {{"--max-job", "3"}, "--max-job: unknown setting \"max_job\"; did you mean \"max_jobs\"?"},
        {{"--max-jobs"}, "--max-jobs: a value must follow"},
        {{"--max-jobs", "0"}, "--max-jobs: max_jobs: 0 is outside 1..1024"},
        {{"--max-jobs="}, "--max-jobs: max_jobs: \"\" is not a whole number"},
        {{"--window-jobs", "9"}, "--window-jobs: not a setting of this program"},
        {{"--nonsensical"}, "--nonsensical: unknown setting \"nonsensical\""},
        {{"model.gguf"}, "\"model.gguf\": not a setting; see --help"},
        {{"--"}, "\"--\": not a setting"},
        {{"-x"}, "\"-x\": not a setting"},
        {{"--config"}, "--config: a value must follow"},
        {{"--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1"},
         "unknown setting"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        bool exit_now;
        mr_settings s;

        CHECK_I64(load_args(&s, MR_PROGRAM_WORKER, cases[i].args, &exit_now), MR_EINVAL);
        CHECK_ERR(err, cases[i].says);
    }
}

static char *read_all(FILE *f) {
    char *text = calloc(1, 65536);

    rewind(f);
    CHECK(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

TEST(help_names_every_setting_of_the_program) {
    static const mr_program programs[] = {MR_PROGRAM_CLIENT, MR_PROGRAM_DISPATCHER,
                                          MR_PROGRAM_WORKER};

    for (size_t p = 0; p < MR_COUNT(programs); p++) {
        FILE *f = tmpfile();
        mr_settings_print_help(f, programs[p], "prog");
        char *help = read_all(f);

        for (size_t i = 0; i < mr_n_settings; i++) {
            char flag[80];
            snprintf(flag, sizeof flag, "\n  --%s\n", mr_setting_rows[i].name);
            for (char *c = flag; *c; c++)
                if (*c == '_') *c = '-';
            CHECK_I64(strstr(help, flag) != NULL, (mr_setting_rows[i].programs & programs[p]) != 0);
        }
        free(help);
    }
    CHECK_STR(mr_settings_names(MR_PROGRAM_DISPATCHER)[0], "kafka_brokers");
}

static void note_change(void *owner, const char *name, bool applied) {
    char *list = owner;
    const size_t n = strlen(list);

    snprintf(list + n, 256 - n, "%s%s ", name, applied ? "" : "(later)");
}

/* A changed file: reloadable ones change, others are named and wait, a mistake changes nothing. */
TEST(a_reload_takes_over_what_may_change) {
    char path[] = "/tmp/mr_settings_XXXXXX", seen[256] = "";
    char *argv[] = {(char *)"prog", (char *)"--config", path, (char *)"--heartbeat-ms", (char *)"70"};
    bool exit_now = false;
    mr_settings s;
    const int fd = mkstemp(path);

    CHECK(fd >= 0);
    const char *first = "drain_ms: 1000\nmax_jobs: 4\nlog_level: info\nheartbeat_ms: 90\n";
    CHECK_I64(write(fd, first, strlen(first)), (long)strlen(first));
    CHECK_OK(mr_settings_load(&s, MR_PROGRAM_WORKER, 5, argv, &exit_now, &err), err);
    const char *second = "drain_ms: 2000\nmax_jobs: 8\nlog_level: debug\nheartbeat_ms: 95\n";
    CHECK_I64(ftruncate(fd, 0), 0);
    CHECK_I64(pwrite(fd, second, strlen(second), 0), (long)strlen(second));
    CHECK_OK(mr_settings_reload(&s, MR_PROGRAM_WORKER, 5, argv, note_change, seen, &err), err);
    CHECK_STR(seen, "log_level max_jobs(later) drain_ms ");
    CHECK_I64(s.drain_ms, 2000);
    CHECK_I64(s.max_jobs, 4);
    CHECK_I64(s.heartbeat_ms, 70); /* the flag still has the last word */
    CHECK_STR(s.log_level, "debug");

    const char *wrong = "drain_ms: 3000\nmax_jobs: none\n";
    CHECK_I64(ftruncate(fd, 0), 0);
    CHECK_I64(pwrite(fd, wrong, strlen(wrong), 0), (long)strlen(wrong));
    CHECK_I64(mr_settings_reload(&s, MR_PROGRAM_WORKER, 5, argv, note_change, seen, &err), MR_EINVAL);
    CHECK(strstr(err.text, "max_jobs") != NULL);
    CHECK_I64(s.drain_ms, 2000);
    CHECK_STR(s.log_level, "debug");
    mr_settings_free(&s);
    close(fd);
    unlink(path);
}

TEST(the_settings_page_is_up_to_date) {
    const char *source = getenv("MR_SOURCE");
    char path[4096];
    FILE *printed = tmpfile(), *page;

    snprintf(path, sizeof path, "%s/docs/SETTINGS.md", source ? source : ".");
    if (!(page = fopen(path, "r"))) fail_msg("%s cannot be read", path);
    mr_settings_print_markdown(printed);
    char *is = read_all(page), *should = read_all(printed);
    if (strcmp(is, should) != 0) fail_msg("run mr_settings_doc > docs/SETTINGS.md");
    free(is);
    free(should);
}

MR_TEST_MAIN
