/* commit_driver.c - a small worker around the committer, for test_commit.py to torment.
 *
 *   commit_driver brokers=HOST:PORT in=TOPIC out=TOPIC group=NAME [name=value ...]
 *
 * Each record of `in` is marked, rests for a random time, and is answered by one record of `out`
 * whose key is "<partition>:<offset>"; so jobs end in any order, and whoever reads `out` can tell
 * what is missing or there twice. Once in STATS_MS, and at the end, a JSON line on stdout has the
 * counts. SIGTERM ends it in good order, SIGUSR1 takes the brakes off. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/commit.h"
#include "base/log.h"

#define MAX_JOBS   8192
#define STATS_MS   100
#define MAX_SAMPLE 100000
#define LARGE      300000

typedef struct job {
    mr_origin at;
    int32_t partition;
    uint64_t due_ms;
    uint64_t sent_ms;
    enum { FREE, WAITING, MARKING, RESTING, READY, SENT } state;
    enum { PLAIN, MISSING_TOPIC, TOO_LARGE } oddity;
} job;

static struct settings {
    const char *brokers, *in, *out, *group, *id, *instance, *small, *extra, *assignor;
    int rest_ms, per_tick, linger_ms, timeout_ms, session_ms, depth, odd_every, mark, tick_ms;
} set = {.rest_ms = 20,
         .per_tick = 1000,
         .linger_ms = 5,
         .timeout_ms = 10000,
         .session_ms = 10000,
         .depth = 7000,
         .mark = 1,
         .tick_ms = 1};

static uv_loop_t loop;
static uv_timer_t tick, stats_timer;
static uv_signal_t on_term, on_usr1;
static mr_commit *commit;
static mr_kafka_consumer *consumer;
static job jobs[MAX_JOBS];
static int unused[MAX_JOBS], n_unused;
static char large[LARGE];
static int n_jobs, exit_code;
static bool stopping;
static uint64_t n_done, n_skipped, n_canceled, n_refused, n_restored, worst_refusal_ms;
static uint32_t batch_us[MAX_SAMPLE];
static size_t n_batch_us;
static uint64_t batches_seen;

/* ---- figures ---- */

static int by_value(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t median_us(void) {
    if (n_batch_us == 0) return 0;
    qsort(batch_us, n_batch_us, sizeof *batch_us, by_value);
    return batch_us[n_batch_us / 2];
}

static void print_stats(void) {
    const mr_commit_stats s = mr_commit_get_stats(commit);
    printf("{\"done\":%" PRIu64 ",\"skipped\":%" PRIu64 ",\"canceled\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"worst_refusal_ms\":%" PRIu64 ",\"restored\":%" PRIu64
           ",\"jobs\":%d,\"batches\":%" PRIu64 ",\"aborts\":%" PRIu64 ",\"rebuilds\":%" PRIu64
           ",\"unknown\":%" PRIu64 ",\"found_committed\":%" PRIu64 ",\"retries\":%" PRIu64
           ",\"waiting\":%zu,\"unfinished\":%zu,\"median_us\":%u}\n",
           n_done, n_skipped, n_canceled, n_refused, worst_refusal_ms, n_restored, n_jobs,
           s.batches, s.aborts, s.rebuilds, s.unknown, s.found_committed, s.retries, s.waiting,
           s.unfinished, median_us());
    fflush(stdout);
}

static void sample_batch(void) {
    const mr_commit_stats s = mr_commit_get_stats(commit);
    if (s.batches == batches_seen || n_batch_us == MAX_SAMPLE) return;
    batches_seen = s.batches;
    batch_us[n_batch_us++] = (uint32_t)s.last_batch_us;
}

/* ---- jobs ---- */

static void drop(job *j) {
    j->state = FREE;
    unused[n_unused++] = (int)(j - jobs);
    n_jobs--;
}

static void on_sent(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    job *j = arg;
    (void)owner;
    (void)why;
    sample_batch();
    if (status == MR_EINVAL || status == MR_ENOTFOUND) { /* as was wished; now the proper one */
        const uint64_t took = mr_clock_mono_ms() - j->sent_ms;
        if (took > worst_refusal_ms) worst_refusal_ms = took;
        n_refused++;
        j->oddity = PLAIN;
        j->state = READY;
        return;
    }
    MR_CHECK(status == MR_OK || status == MR_ECANCELED);
    MR_CHECK(status != MR_OK || offset >= 0);
    n_done += status == MR_OK;
    n_canceled += status == MR_ECANCELED;
    drop(j);
}

static void on_marked(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    job *j = arg;
    (void)owner;
    (void)why;
    (void)offset;
    sample_batch();
    if (status == MR_OK) {
        j->state = RESTING;
        j->due_ms = mr_clock_mono_ms() + (uint64_t)(set.rest_ms ? rand() % set.rest_ms : 0);
        return;
    }
    n_canceled++;
    drop(j);
}

static void answer(job *j) {
    char key[64];
    mr_err err;
    const int n = snprintf(key, sizeof key, "%d:%" PRId64, (int)j->partition, j->at.offset);
    mr_commit_record r = {.topic = set.out,
                          .partition = MR_KAFKA_ANY_PARTITION,
                          .key = key,
                          .key_len = (size_t)n,
                          .value = key,
                          .len = (size_t)n};
    if (j->oddity == MISSING_TOPIC) r.topic = "no.such.topic";
    if (j->oddity == TOO_LARGE) {
        r.topic = set.small;
        r.value = large;
        r.len = sizeof large;
    }
    const mr_status st = mr_commit_send(commit, j->at, &r, 1, on_sent, NULL, j, &err);
    if (st == MR_OK) {
        j->state = SENT;
        j->sent_ms = mr_clock_mono_ms();
    } else if (st == MR_ECANCELED) {
        n_canceled++;
        drop(j);
    } /* MR_ELIMIT: on the next tick */
}

static void start(job *j) {
    if (!set.mark) {
        j->state = READY;
        return;
    }
    const mr_status st = mr_commit_mark(commit, j->at, on_marked, NULL, j);
    if (st == MR_OK) j->state = MARKING;
    if (st == MR_EINVAL) drop(j); /* revoked */
}

static void hold_back(void) {
    mr_parts *parts = mr_commit_parts(commit);
    for (int i = 0; i < mr_parts_count(parts); i++) {
        if (!mr_parts_assigned(parts, i)) continue;
        const char *topic = mr_parts_topic(parts, i);
        const int32_t p = mr_parts_partition(parts, i);
        const bool paused = mr_kafka_paused(consumer, topic, p);
        if (n_jobs > (paused ? set.depth / 2 : set.depth) || mr_parts_full(parts, i, paused) ||
            (paused ? mr_commit_busy(commit) : mr_commit_full(commit)))
            mr_kafka_pause(consumer, topic, p, NULL);
        else
            mr_kafka_resume(consumer, topic, p, NULL);
    }
}

static void on_tick(uv_timer_t *t) {
    const uint64_t now = mr_clock_mono_ms();
    int left = set.per_tick;
    const int first = rand() % MAX_JOBS;
    (void)t;
    for (int i = 0; i < MAX_JOBS && left > 0; i++) {
        job *j = &jobs[(first + i) % MAX_JOBS];
        if (j->state == WAITING) /* for room for its mark */
            start(j);
        else if (j->state == READY || (j->state == RESTING && j->due_ms <= now)) {
            answer(j);
            left--;
        }
    }
    hold_back();
}

/* ---- consumer ---- */

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_parts *parts = mr_commit_parts(commit);
    const int part = mr_parts_find(parts, m->topic, m->partition);
    mr_origin at;
    (void)owner;
    if (part < 0 || mr_parts_begin(parts, part, m->offset, &at) != MR_OK) {
        n_skipped++;
        return;
    }
    MR_CHECK(n_unused > 0); /* depth is far below MAX_JOBS */
    job *j = &jobs[unused[--n_unused]];
    *j = (job){.at = at, .partition = m->partition, .state = WAITING};
    if (set.odd_every && m->offset % set.odd_every == 0)
        j->oddity = m->offset % (2 * set.odd_every) ? MISSING_TOPIC : TOO_LARGE;
    n_jobs++;
    start(j);
    if (n_jobs > set.depth) hold_back();
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_err err;
    (void)owner;
    for (size_t i = 0; i < n; i++) {
        if (tp[i].offset >= 0) n_restored++;
        MR_CHECK(mr_commit_assign(commit, &tp[i], &err) == MR_OK);
    }
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    (void)owner;
    if (!lost) mr_commit_flush(commit, 3000);
    for (size_t i = 0; i < n; i++) mr_commit_revoke(commit, tp[i].topic, tp[i].partition);
    for (int k = 0; k < MAX_JOBS; k++) /* those that wait for a mark or rest: gone with it */
        if ((jobs[k].state == WAITING || jobs[k].state == RESTING || jobs[k].state == READY) &&
            !mr_parts_holds(mr_commit_parts(commit), jobs[k].at))
            drop(&jobs[k]);
}

static void finish(void) {
    if (stopping) return;
    stopping = true;
    uv_timer_stop(&tick);
    mr_commit_flush(commit, 5000);
    mr_kafka_consumer_close(consumer); /* on_revoke flushes once more */
    mr_commit_use(commit, NULL);
    print_stats();
    mr_commit_close(commit);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_close((uv_handle_t *)&stats_timer, NULL);
    uv_close((uv_handle_t *)&on_term, NULL);
    uv_close((uv_handle_t *)&on_usr1, NULL);
}

static void on_end(uv_timer_t *t) {
    (void)t;
    finish();
}

static void on_fatal(void *owner, mr_status status, const char *text) {
    (void)owner;
    printf("fatal %s: %s\n", mr_status_name(status), text);
    exit_code = 3;
    uv_timer_start(&tick, on_end, 0, 0); /* not inside the callback */
}

static void on_consumer_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    (void)status;
    fprintf(stderr, "consumer: %s%s\n", text, fatal ? " (fatal)" : "");
    if (!fatal) return;
    exit_code = 4;
    uv_timer_start(&tick, on_end, 0, 0);
}

/* ---- main ---- */

static void on_signal(uv_signal_t *s, int sig) {
    (void)s;
    (void)sig;
    finish();
}

static void on_hurry(uv_signal_t *s, int sig) {
    (void)s;
    (void)sig;
    set.per_tick = 1000;
}

static void on_stats(uv_timer_t *t) {
    (void)t;
    print_stats();
}

static void parse(int argc, char **argv) {
    const struct {
        const char *name;
        const char **text;
        int *number;
    } known[] = {
        {"brokers", &set.brokers, NULL},
        {"in", &set.in, NULL},
        {"out", &set.out, NULL},
        {"group", &set.group, NULL},
        {"id", &set.id, NULL},
        {"instance", &set.instance, NULL},
        {"small", &set.small, NULL},
        {"assignor", &set.assignor, NULL},
        {"extra", &set.extra, NULL},
        {"rest", NULL, &set.rest_ms},
        {"per_tick", NULL, &set.per_tick},
        {"linger", NULL, &set.linger_ms},
        {"timeout", NULL, &set.timeout_ms},
        {"session", NULL, &set.session_ms},
        {"depth", NULL, &set.depth},
        {"odd_every", NULL, &set.odd_every},
        {"mark", NULL, &set.mark},
        {"tick", NULL, &set.tick_ms},
    };
    for (int i = 1; i < argc; i++) {
        const char *eq = strchr(argv[i], '=');
        size_t k = 0;
        while (eq && k < MR_COUNT(known) &&
               (strlen(known[k].name) != (size_t)(eq - argv[i]) ||
                strncmp(known[k].name, argv[i], (size_t)(eq - argv[i])) != 0))
            k++;
        MR_CHECK(eq && k < MR_COUNT(known));
        if (known[k].text)
            *known[k].text = eq + 1;
        else
            *known[k].number = atoi(eq + 1);
    }
}

int main(int argc, char **argv) {
    mr_err err;
    parse(argc, argv);
    srand((unsigned)mr_clock_mono_us());
    for (n_unused = 0; n_unused < MAX_JOBS; n_unused++) unused[n_unused] = n_unused;
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)rand(); /* compresses to nothing less */
    uv_loop_init(&loop);
    const mr_commit_conf conf = {.kafka = {set.brokers, set.id, set.extra},
                                 .transactional_id = set.id,
                                 .linger_ms = (uint32_t)set.linger_ms,
                                 .window = 4096,
                                 .transaction_timeout_ms = (uint32_t)set.timeout_ms,
                                 .on_fatal = on_fatal};
    const char *const topics[] = {set.in, NULL};
    const mr_kafka_consumer_conf in = {.conn = {set.brokers, set.id, set.extra},
                                       .group = set.group,
                                       .instance_id = set.instance,
                                       .strategy = set.assignor,
                                       .topics = topics,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .session_timeout_ms = set.session_ms,
                                       .on_msg = on_msg,
                                       .on_assign = on_assign,
                                       .on_revoke = on_revoke,
                                       .on_error = on_consumer_error};
    if (mr_commit_open(&commit, &loop, &conf, &err) != MR_OK ||
        mr_kafka_consumer_open(&consumer, &loop, &in, &err) != MR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    mr_commit_use(commit, consumer);
    mr_commit_warm(commit, set.out);
    uv_timer_init(&loop, &tick);
    uv_timer_init(&loop, &stats_timer);
    uv_signal_init(&loop, &on_term);
    uv_signal_init(&loop, &on_usr1);
    uv_timer_start(&tick, on_tick, 1, (uint64_t)set.tick_ms);
    uv_timer_start(&stats_timer, on_stats, STATS_MS, STATS_MS);
    uv_signal_start(&on_term, on_signal, SIGTERM);
    uv_signal_start(&on_usr1, on_hurry, SIGUSR1);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? exit_code : 5;
}
