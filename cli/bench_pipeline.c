/* bench_pipeline.c - `millrace bench pipeline`: what the way through the dispatcher costs.
 *
 * The dispatcher is the real program, started as a child, on topics of its own that are deleted in
 * the end. Four measurements, one after the other:
 *
 *   release          a backlog, and a worker that has room for all of it and takes nothing: so the
 *                    dispatcher alone decides how fast records get from the jobs topic to the work
 *                    topic. Before it the same backlog goes through bench/bare.c, a process of the
 *                    same kind that does nothing but move records in transactions: the limit.
 *   half load        jobs come at half that rate: how late is each. After it as many go through
 *                    the bare loop at the same rate; what the dispatcher adds is the difference.
 *   whole            a backlog, and a worker that answers at once: from the jobs topic to the
 *                    results
 *   whole half load  the same at half that rate
 *
 * Wall time runs from the first record in the target topic to the last, by the broker's clock
 * (LogAppendTime). On a machine that broker, Redis and this program share with the dispatcher it
 * says what they make together; CPU time of the process, from its start on, is what can be compared
 * with another machine. Every job is checked to come out exactly once. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/bench_bare.h"
#include "cli/bench_feed.h"
#include "cli/bench_figures.h"
#include "cli/bench_null.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/net.h"
#include "schemas/settings.h"

enum {
    TOPICS_MS = 30000,
    TICK_MS = 100,
    STALL_MS = 60000, /* nothing has moved for so long: something is wrong */
    STOP_MS = 30000,
    MAX_PASSED = 32, /* options handed to the dispatcher */
    WARM_JOBS = 500, /* through the bare loop, before it is measured at a rate */
    NAME = 128
};

static const char sink_model[] = "sink", null_model[] = "null";

typedef struct names {
    char prefix[NAME], jobs[NAME], bare[NAME], bare_jobs[NAME], sink_work[NAME], null_work[NAME],
        results[NAME], workers[NAME], bare_group[NAME], rate_group[NAME], null_group[NAME],
        dispatcher_group[NAME];
} names;

typedef struct pipe_bench {
    const mr_args *a;
    mr_settings settings;
    mr_kafka_conf kafka;
    names names;
    mr_bench_setup setup;
    int64_t n, slots, seconds;
    double answers_per_s, rate; /* 0: half of what was measured */
    uv_loop_t loop;
    uv_timer_t tick;
    char bin[512], args[16 + MAX_PASSED][NAME + 64];
    mr_child dispatcher;
    mr_bench_bare bare, bare_at_rate;
    mr_bench_feed *sink_feed, *null_feed, *bare_feed;
    mr_bench_null *sink, *worker;
    mr_bench_reader *reader;
    uint64_t next_job;
    bool made_topics;
} pipe_bench;

/* ---- waiting ---- */

static volatile sig_atomic_t not_now; /* never set: nobody hurries a child's end */

static void on_tick(uv_timer_t *t) {
    (void)t; /* so that every wait looks at its condition again */
}

static mr_status still_well(pipe_bench *p, mr_err *err) {
    const char *why = "";
    char how[128];

    if (mr_cli_interrupted()) return mr_fail(err, MR_ECANCELED, "interrupted");
    if (p->dispatcher.pid > 0 && mr_child_tend(&p->dispatcher, mr_clock_mono_ms()))
        return mr_fail(err, MR_EUNAVAIL, "the dispatcher ended with %s",
                       mr_child_how(&p->dispatcher, how, sizeof how));
    if ((p->sink_feed && mr_bench_feed_failed(p->sink_feed, &why)) ||
        (p->null_feed && mr_bench_feed_failed(p->null_feed, &why)) ||
        (p->bare_feed && mr_bench_feed_failed(p->bare_feed, &why)))
        return mr_fail(err, MR_EUNAVAIL, "a job was not taken by the brokers: %s", why);
    if (p->worker && (why = mr_bench_null_failed(p->worker)) != NULL)
        return mr_fail(err, MR_EUNAVAIL, "the worker without an engine: %s", why);
    return MR_OK;
}

/* Until all jobs of the reader were seen, or the feed is through (reader NULL). f: watched. */
static bool is_done(const pipe_bench *p, const mr_bench_feed *feed, uint64_t n) {
    return feed ? mr_bench_feed_done(feed) : mr_bench_reader_seen(p->reader)->n >= n;
}

/* Runs the loop until the reader has seen n jobs, or, with a feed, until that is through. pid: the
 * process whose use goes into f; 0: none. */
static mr_status wait_for(pipe_bench *p, const mr_bench_feed *feed, uint64_t n, pid_t pid,
                          mr_bench_figures *f, mr_err *err) {
    uint64_t moved_ms = mr_clock_mono_ms(), before = 0;
    mr_bench_use use;
    mr_status st;

    while (!is_done(p, feed, n)) {
        const uint64_t now_ms = mr_clock_mono_ms();
        const uint64_t seen = p->reader ? mr_bench_reader_seen(p->reader)->n : 0;
        if ((st = still_well(p, err)) != MR_OK) return st;
        if (pid && (st = mr_bench_use_of(pid, &use, err)) != MR_OK) return st;
        if (pid) mr_bench_note_use(f, &use, seen, n);
        if (seen != before || feed) moved_ms = now_ms;
        before = seen;
        if (now_ms - moved_ms > STALL_MS)
            return mr_fail(err, MR_ETIMEOUT, "%" PRIu64 " of %" PRIu64 " jobs, then none for %d s",
                           seen, n, STALL_MS / 1000);
        uv_run(&p->loop, UV_RUN_ONCE);
    }
    if (pid && (st = mr_bench_use_of(pid, &use, err)) != MR_OK) return st;
    if (pid) mr_bench_note_use(f, &use, n, n);
    return MR_OK;
}

/* ---- measuring ---- */

static mr_status open_reader(pipe_bench *p, const char *topic, mr_bench_record kind, uint64_t n,
                             mr_err *err) {
    return mr_bench_reader_open(&p->reader, &p->loop, &p->kafka, topic, kind, p->next_job, n, err);
}

/* What the reader has seen goes into f, and it is closed. */
static void close_reader(pipe_bench *p, uint64_t n, double before_s, mr_bench_figures *f) {
    mr_bench_note_end(f, mr_bench_reader_seen(p->reader), n, before_s);
    mr_bench_reader_close(p->reader);
    p->reader = NULL;
}

/* n jobs at a rate, 0: as fast as they are taken, through the process pid. */
static mr_status run_through(pipe_bench *p, pid_t pid, mr_bench_feed *feed, const char *topic,
                             mr_bench_record kind, uint64_t n, double rate, mr_bench_figures *f,
                             mr_err *err) {
    mr_bench_use before;

    *f = (mr_bench_figures){.asked_per_s = rate};
    mr_status st = open_reader(p, topic, kind, n, err);
    if (st == MR_OK) st = mr_bench_use_of(pid, &before, err);
    if (st != MR_OK) return st;
    mr_bench_feed_start(feed, p->next_job, n, rate);
    if ((st = wait_for(p, NULL, n, pid, f, err)) != MR_OK) return st;
    p->next_job += n;
    close_reader(p, n, before.cpu_s, f);
    return MR_OK;
}

/* Jobs at a rate, through the dispatcher. most: jobs a second that were measured without one. */
static mr_status run_at_rate(pipe_bench *p, mr_bench_feed *feed, const char *topic,
                             mr_bench_record kind, double most, mr_bench_figures *f, mr_err *err) {
    const double rate = p->rate > 0 ? p->rate : most / 2;
    const uint64_t n = (uint64_t)(rate * (double)p->seconds) + 1;

    return run_through(p, p->dispatcher.pid, feed, topic, kind, n, rate, f, err);
}

/* ---- the bare loop ---- */

static mr_status fork_bare(pipe_bench *p, mr_err *err) {
    mr_bare_conf conf = {.brokers = p->kafka.brokers,
                         .extra = p->kafka.extra,
                         .from = p->names.jobs,
                         .to = p->names.bare,
                         .group = p->names.bare_group,
                         .id_mark = "\"job_id\":\"",
                         .commit_ms = (uint32_t)p->setup.commit_ms};
    const mr_status st = mr_bench_bare_fork(&p->bare, &conf, err);

    if (st != MR_OK) return st;
    conf.from = p->names.bare_jobs;
    conf.group = p->names.rate_group;
    return mr_bench_bare_fork(&p->bare_at_rate, &conf, err);
}

static mr_status measure_bare(pipe_bench *p, mr_bench_figures *f, mr_err *err) {
    const uint64_t n = (uint64_t)p->n;

    *f = (mr_bench_figures){0};
    mr_status st = open_reader(p, p->names.bare, MR_BENCH_BARE, n, err);
    if (st == MR_OK) st = mr_bench_bare_start(&p->bare, n, err);
    if (st == MR_OK) st = wait_for(p, NULL, n, p->bare.pid, f, err);
    if (st != MR_OK) return st;
    close_reader(p, n, 0, f);
    mr_bench_bare_end(&p->bare);
    return MR_OK;
}

/* As many jobs as the dispatcher had, `like`. Some go before them, until its group has formed. */
static mr_status measure_bare_at_rate(pipe_bench *p, const mr_bench_figures *like,
                                      mr_bench_figures *f, mr_err *err) {
    mr_bench_figures warm;
    mr_status st = mr_bench_bare_start(&p->bare_at_rate, WARM_JOBS + like->jobs, err);

    if (st == MR_OK)
        st = run_through(p, p->bare_at_rate.pid, p->bare_feed, p->names.bare, MR_BENCH_BARE,
                         WARM_JOBS, 0, &warm, err);
    if (st == MR_OK)
        st = run_through(p, p->bare_at_rate.pid, p->bare_feed, p->names.bare, MR_BENCH_BARE,
                         like->jobs, like->asked_per_s, f, err);
    mr_bench_bare_end(&p->bare_at_rate);
    return st;
}

/* ---- setting up ---- */

static void make_names(pipe_bench *p) {
    names *n = &p->names;

    snprintf(n->prefix, sizeof n->prefix, "%.60s-bench-%ld-%" PRIx64, p->settings.topic_prefix,
             (long)getpid(), mr_clock_wall_ms() & 0xffffff);
#define TOPIC(field, text) snprintf(n->field, sizeof n->field, "%.100s" text, n->prefix)
    TOPIC(jobs, ".jobs.normal");
    TOPIC(bare, ".bare");
    TOPIC(bare_jobs, ".bare-jobs");
    TOPIC(sink_work, ".work.sink");
    TOPIC(null_work, ".work.null");
    TOPIC(results, ".results");
    TOPIC(workers, ".workers");
    TOPIC(bare_group, "-bare");
    TOPIC(rate_group, "-bare-at-rate");
    TOPIC(null_group, "-null");
    TOPIC(dispatcher_group, "-dispatcher");
#undef TOPIC
}

static mr_status make_topics(pipe_bench *p, mr_err *err) {
    static const char *const stamped[] = {"message.timestamp.type=LogAppendTime", NULL};
    static const char *const compact[] = {"cleanup.policy=compact", NULL};
    const int32_t n = (int32_t)p->setup.partitions;
    const mr_kafka_topic topics[] = {
        {p->names.jobs, n, stamped},      {p->names.bare, n, stamped},
        {p->names.bare_jobs, n, stamped}, {p->names.sink_work, n, stamped},
        {p->names.null_work, n, stamped}, {p->names.results, n, stamped},
        {p->names.workers, 1, compact},
    };
    return mr_kafka_ensure_topics(&p->kafka, topics, MR_COUNT(topics), TOPICS_MS, err);
}

static mr_status open_feeds(pipe_bench *p, mr_err *err) {
    mr_bench_feed_conf conf = {.kafka = p->kafka,
                               .topic = p->names.jobs,
                               .model = sink_model,
                               .n_partitions = (int32_t)p->setup.partitions,
                               .bytes = (size_t)p->setup.bytes};
    mr_status st = mr_bench_feed_open(&p->sink_feed, &p->loop, &conf, err);
    conf.model = null_model;
    if (st == MR_OK) st = mr_bench_feed_open(&p->null_feed, &p->loop, &conf, err);
    conf.topic = p->names.bare_jobs;
    return st == MR_OK ? mr_bench_feed_open(&p->bare_feed, &p->loop, &conf, err) : st;
}

static mr_status open_sink(pipe_bench *p, mr_err *err) {
    const mr_bench_null_conf conf = {.kafka = p->kafka,
                                     .model = sink_model,
                                     .worker = "bench-sink",
                                     .workers_topic = p->names.workers,
                                     .n_partitions = (int32_t)p->setup.partitions};
    return mr_bench_null_open(&p->sink, &p->loop, &conf, err);
}

static mr_status open_worker(pipe_bench *p, mr_err *err) {
    const mr_bench_null_conf conf = {.kafka = p->kafka,
                                     .model = null_model,
                                     .worker = "bench-null",
                                     .workers_topic = p->names.workers,
                                     .work_topic = p->names.null_work,
                                     .results_topic = p->names.results,
                                     .group = p->names.null_group,
                                     .slots = (uint32_t)p->slots,
                                     .answers_per_s = p->answers_per_s,
                                     .commit_ms = (uint32_t)p->setup.commit_ms};
    return mr_bench_null_open(&p->worker, &p->loop, &conf, err);
}

static void pass(pipe_bench *p, const char *name, const char *value) {
    size_t n = 0;

    while (p->dispatcher.argv[n]) n++;
    MR_CHECK(n < MR_COUNT(p->args));
    snprintf(p->args[n], sizeof p->args[n], value ? "--%s=%s" : "%s", name, value);
    p->dispatcher.argv[n] = p->args[n];
}

/* Addresses may hold passwords, so they travel in the environment. */
static mr_status start_dispatcher(pipe_bench *p, mr_err *err) {
    char models[64], commit_ms[24], redis_prefix[NAME];
    const char *option;

    setenv("MILLRACE_KAFKA_BROKERS", p->settings.kafka_brokers, 1);
    setenv("MILLRACE_KAFKA_EXTRA", p->settings.kafka_extra, 1);
    setenv("MILLRACE_REDIS_URL", p->settings.redis_url, 1);
    snprintf(models, sizeof models, "%s,%s", sink_model, null_model);
    snprintf(commit_ms, sizeof commit_ms, "%" PRId64, p->setup.commit_ms);
    snprintf(redis_prefix, sizeof redis_prefix, "mr-bench-%ld", (long)getpid());
    mr_status st = mr_child_beside("millrace-dispatcher", p->bin, sizeof p->bin, err);
    if (st != MR_OK) return st;
    p->dispatcher.name = "dispatcher";
    p->dispatcher.stopping = true; /* not to be started again */
    p->dispatcher.argv[0] = p->bin;
    pass(p, "topic-prefix", p->names.prefix);
    pass(p, "redis-prefix", redis_prefix);
    pass(p, "dispatcher-group", p->names.dispatcher_group);
    pass(p, "dispatcher-listen", "");
    pass(p, "models", models);
    pass(p, "commit-ms", commit_ms);
    pass(p, "status-ttl-s", "60");
    pass(p, "log-level", "warn");
    for (size_t i = 0; (option = mr_args_nth(p->a, "dispatcher", i)) != NULL; i++) {
        if (i == MAX_PASSED) return mr_fail(err, MR_EINVAL, "--dispatcher: at most %d", MAX_PASSED);
        const char *eq = strchr(option, '=');
        char name[NAME];
        if (!eq || eq == option || (size_t)(eq - option) >= sizeof name)
            return mr_fail(err, MR_EINVAL, "--dispatcher is \"%s\", must be NAME=VALUE", option);
        snprintf(name, sizeof name, "%.*s", (int)(eq - option), option);
        pass(p, name, eq + 1);
    }
    return mr_child_start(&p->dispatcher, mr_clock_mono_ms(), err);
}

/* ---- the measurements ---- */

static mr_status measure_release(pipe_bench *p, mr_bench_figures *bare, mr_bench_figures *f,
                                 mr_err *err) {
    const uint64_t n = (uint64_t)p->n;
    mr_status st;

    mr_bench_feed_start(p->sink_feed, p->next_job, n, 0);
    if ((st = wait_for(p, p->sink_feed, n, 0, NULL, err)) != MR_OK) return st;
    if ((st = measure_bare(p, bare, err)) != MR_OK) return st;
    if ((st = open_reader(p, p->names.sink_work, MR_BENCH_WORK, n, err)) != MR_OK) return st;
    if ((st = start_dispatcher(p, err)) != MR_OK) return st;
    if ((st = open_sink(p, err)) != MR_OK) return st;
    *f = (mr_bench_figures){0};
    st = wait_for(p, NULL, n, p->dispatcher.pid, f, err);
    p->next_job += n;
    if (st == MR_OK) close_reader(p, n, 0, f);
    return st;
}

/* The dispatcher fills its window meanwhile: the worker comes when the backlog is there. */
static mr_status measure_whole(pipe_bench *p, mr_bench_figures *f, mr_err *err) {
    const uint64_t n = (uint64_t)(p->n < 50000 ? p->n : 50000);
    mr_bench_use before;
    mr_status st = open_reader(p, p->names.results, MR_BENCH_RESULT, n, err);

    *f = (mr_bench_figures){0};
    if (st == MR_OK) st = mr_bench_use_of(p->dispatcher.pid, &before, err);
    if (st != MR_OK) return st;
    mr_bench_feed_start(p->null_feed, p->next_job, n, 0);
    if ((st = wait_for(p, p->null_feed, n, 0, NULL, err)) != MR_OK) return st;
    if ((st = open_worker(p, err)) != MR_OK) return st;
    st = wait_for(p, NULL, n, p->dispatcher.pid, f, err);
    p->next_job += n;
    if (st == MR_OK) close_reader(p, n, before.cpu_s, f);
    return st;
}

/* ---- all of it ---- */

/* A measurement of something that loses or doubles jobs is none. */
static mr_status check(const mr_bench_figures *f, mr_err *err) {
    if (f->missing == 0 && f->twice == 0) return MR_OK;
    return mr_fail(err, MR_EINTERNAL, "%" PRIu64 " jobs are missing, %" PRIu64 " came twice",
                   f->missing, f->twice);
}

static mr_status measure(pipe_bench *p, mr_err *err) {
    mr_bench_figures bare, release, f;
    mr_status st = measure_release(p, &bare, &release, err);

    if (st != MR_OK) return st;
    mr_bench_print_release(&p->setup, &bare, &release);
    if ((st = check(&release, err)) != MR_OK) return st;
    st = run_at_rate(p, p->sink_feed, p->names.sink_work, MR_BENCH_WORK,
                     mr_bench_per_s(&release), &f, err);
    if (st == MR_OK) st = measure_bare_at_rate(p, &f, &bare, err);
    if (st != MR_OK) return st;
    mr_bench_print_run(&p->setup, "half_load",
                       p->rate > 0 ? "at the rate asked for: from the jobs topic to the work topic"
                                   : "half of it: from the jobs topic to the work topic",
                       &f, &bare);
    if ((st = check(&f, err)) != MR_OK) return st;
    mr_bench_null_leave(p->sink);
    if ((st = measure_whole(p, &f, err)) != MR_OK) return st;
    mr_bench_print_run(&p->setup, "whole", "whole way, with a worker that answers at once", &f,
                       NULL);
    if ((st = check(&f, err)) != MR_OK) return st;
    st = run_at_rate(p, p->null_feed, p->names.results, MR_BENCH_RESULT, mr_bench_per_s(&f), &f,
                     err);
    if (st != MR_OK) return st;
    mr_bench_print_run(&p->setup, "whole_half_load",
                       p->rate > 0 ? "at the rate asked for: from the jobs topic to the results"
                                   : "half of it: from the jobs topic to the results",
                       &f, NULL);
    return check(&f, err);
}

/* ---- command ---- */

static void close_handle(uv_handle_t *h, void *unused) {
    (void)unused;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void close_all(pipe_bench *p) {
    mr_err err;

    mr_bench_bare_end(&p->bare);
    mr_bench_bare_end(&p->bare_at_rate);
    mr_child_stop(&p->dispatcher, SIGTERM, STOP_MS, &not_now);
    mr_bench_reader_close(p->reader);
    mr_bench_null_close(p->worker);
    mr_bench_null_close(p->sink);
    mr_bench_feed_close(p->bare_feed);
    mr_bench_feed_close(p->null_feed);
    mr_bench_feed_close(p->sink_feed);
    uv_run(&p->loop, UV_RUN_NOWAIT);
    uv_walk(&p->loop, close_handle, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    MR_CHECK(uv_loop_close(&p->loop) == 0);
    if (p->made_topics &&
        mr_kafka_drop_topics(&p->kafka, p->names.prefix, TOPICS_MS, &err) != MR_OK)
        fprintf(stderr, "millrace bench pipeline: topics %s.* are left: %s\n", p->names.prefix,
                err.text);
    mr_settings_free(&p->settings);
}

static bool read_numbers(pipe_bench *p) {
    const mr_args *a = p->a;

    p->setup.json = mr_args_flag(a, "json");
    return mr_args_int(a, "jobs", 100, 100000000, &p->n) &&
           mr_args_int(a, "bytes", MR_BENCH_MIN_BYTES, 131072, &p->setup.bytes) &&
           mr_args_int(a, "partitions", 1, 1024, &p->setup.partitions) &&
           mr_args_int(a, "commit-ms", 1, 1000, &p->setup.commit_ms) &&
           mr_args_int(a, "slots", 1, MR_BENCH_MAX_SLOTS, &p->slots) &&
           mr_args_int(a, "seconds", 1, 3600, &p->seconds) &&
           mr_args_num(a, "answers-per-s", 0, 1e6, &p->answers_per_s) &&
           mr_args_num(a, "rate", 0, 1e6, &p->rate);
}

static mr_status set_up(pipe_bench *p, mr_err *err) {
    const char *pairs[] = {"kafka_brokers", mr_args_get(p->a, "kafka"), "redis_url",
                           mr_args_get(p->a, "redis")};
    mr_status st = mr_settings_load_pairs(&p->settings, MR_PROGRAM_CLIENT,
                                          mr_args_get(p->a, "config"), pairs, 2, err);

    if (st != MR_OK) return st;
    p->kafka =
        (mr_kafka_conf){p->settings.kafka_brokers, "millrace-bench", p->settings.kafka_extra};
    make_names(p);
    if ((st = fork_bare(p, err)) != MR_OK) return st;
    if ((st = make_topics(p, err)) != MR_OK) return st;
    p->made_topics = true;
    return open_feeds(p, err);
}

static int run_bench(const mr_args *a) {
    pipe_bench *p = calloc(1, sizeof *p);
    mr_err err;

    if (!p) return EX_OSERR;
    p->a = a;
    if (!read_numbers(p)) {
        free(p);
        return EX_USAGE;
    }
    mr_log_setup("warn", false);
    mr_cli_catch_interrupt(NULL);
    MR_CHECK(uv_loop_init(&p->loop) == 0);
    uv_timer_init(&p->loop, &p->tick);
    uv_timer_start(&p->tick, on_tick, TICK_MS, TICK_MS);
    mr_status st = set_up(p, &err);
    if (st == MR_OK) st = measure(p, &err);
    const int rc = st == MR_OK ? EX_OK : mr_cli_fail(a, &err);
    close_all(p);
    free(p);
    return rc;
}

static const mr_opt options[] = {
    MR_CLI_CONNECT_OPTS,
    {"jobs", 'n', "N", "200000", "jobs of the backlog", NULL},
    {"bytes", 0, "N", "1024", "of a job's record", NULL},
    {"partitions", 0, "N", "8", "of each topic", NULL},
    {"commit-ms", 0, "N", "5", "time between the dispatcher's commits, and the worker's", NULL},
    {"slots", 0, "N", "1024", "of the worker without an engine", NULL},
    {"answers-per-s", 0, "X", "0", "what that worker makes; 0: it answers at once", NULL},
    {"rate", 0, "X", "0", "jobs/s of the measurements at half load; 0: half of what was made", NULL},
    {"seconds", 0, "N", "10", "length of each measurement at half load", NULL},
    {"dispatcher", 0, "NAME=VALUE", NULL, "a setting of the dispatcher; repeatable", NULL},
    {"json", 0, NULL, NULL, "one JSON line per measurement", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_bench_pipeline = {
    .name = "bench pipeline",
    .summary = "measure how many jobs the dispatcher releases, and how late",
    .opts = options,
    .about =
        "Needs a Kafka broker with transactions and a Redis, best ones that nobody else uses and\n"
        "that have been at work for a while. Topics of its own are made and deleted again; status\n"
        "hashes in Redis go by themselves after a minute.\n"
        "\n"
        "release: a backlog goes to a worker that has room for all of it. Before that the same\n"
        "backlog goes through a loop of nothing but librdkafka with the same transactions.\n"
        "half load: jobs come at half of that rate; for each the time from its append in the jobs\n"
        "topic to its append in the work topic, and until a reader of committed records has it.\n"
        "Then the same through the bare loop: what broker and machine take without a dispatcher.\n"
        "whole way: the same with a worker without an engine, to the results topic.\n"
        "\n"
        "jobs/s is wall time and includes what broker, Redis and this command take from the same\n"
        "cores; jobs/CPU s counts the process alone, from its start on.",
    .examples = "  millrace bench pipeline --kafka 127.0.0.1:9092 --redis redis://127.0.0.1:6379\n"
                "  millrace bench pipeline --jobs 1000000 --dispatcher window_jobs=4096 --json",
    .run = run_bench,
};
