/* metrics.c - see metrics.h. A further number: a member of the view (most modules have a struct of
 * counters, which is one), its value in fill(), and a row.
 *
 * Tenants are no label: there may be thousands. `millrace top` shows them. */
#include "dispatcher/metrics.h"

typedef struct view {
    mr_intake_counts intake;
    mr_release_counts release;
    mr_commit_stats commit;
    mr_otlp_stats spans;
    mr_process process;
    mr_webhooks_counts webhooks;
    uint64_t lag[MR_PRIORITY_N], waiting[MR_PRIORITY_N];
    uint64_t held, aside, bytes, parts, paused_parts, keys;
    uint64_t dispatchers, workers, room, told, untold;
    bool redis_up;
} view;

#define HEAD(name_, kind_, labels_, member, help_)                                                 \
    {.name = name_, .kind = MR_METRIC_##kind_, .labels = labels_, MR_METRIC_AT(view, member),      \
     .help = help_}
#define COUNTER(name, member, help)             HEAD(name, COUNTER, NULL, member, help)
#define GAUGE(name, member, help)               HEAD(name, GAUGE, NULL, member, help)
#define HISTOGRAM(name, member, help)           HEAD(name, HISTOGRAM, NULL, member, help)
#define COUNTERS(name, labels, member, help)    HEAD(name, COUNTER, labels, member, help)
#define GAUGES(name, labels, member, help)      HEAD(name, GAUGE, labels, member, help)
#define HISTOGRAMS(name, labels, member, help)  HEAD(name, HISTOGRAM, labels, member, help)
/* Another sample of the family above. */
#define MORE(labels_, member) {.labels = labels_, MR_METRIC_AT(view, member)}

#define HIGH   MR_PRIORITY_HIGH
#define NORMAL MR_PRIORITY_NORMAL
#define LOW    MR_PRIORITY_LOW
#define CAME_BACK(outcome) intake.retries[MR_ATTEMPT_##outcome - MR_ATTEMPT_FAULT]

static const mr_metric rows[] = {
    /* the way in */
    COUNTERS("jobs_received_total", "lane=\"high\"", intake.received[HIGH],
             "Records read from the lane topics."),
    MORE("lane=\"normal\"", intake.received[NORMAL]),
    MORE("lane=\"low\"", intake.received[LOW]),
    GAUGES("lane_lag_records", "lane=\"high\"", lag[HIGH],
           "Records of the lane's partitions here that have no fate yet: the backlog. Of a paused "
           "partition: as of its last fetch."),
    MORE("lane=\"normal\"", lag[NORMAL]),
    MORE("lane=\"low\"", lag[LOW]),
    GAUGES("window_jobs", "lane=\"high\"", waiting[HIGH], "Jobs in memory that wait for room."),
    MORE("lane=\"normal\"", waiting[NORMAL]),
    MORE("lane=\"low\"", waiting[LOW]),
    GAUGE("window_bytes", bytes, "Memory of the jobs that are held."),
    GAUGE("partitions", parts, "Partitions that this dispatcher reads."),
    GAUGE("partitions_paused", paused_parts, "Of these, paused because too much of them is held."),

    /* decisions */
    COUNTERS("jobs_released_total", "lane=\"high\"", release.lanes[HIGH],
             "Jobs handed to a work topic."),
    MORE("lane=\"normal\"", release.lanes[NORMAL]),
    MORE("lane=\"low\"", release.lanes[LOW]),
    HISTOGRAMS("queue_wait_seconds", "lane=\"high\"", release.waited[HIGH],
               "From a job's record, or the time that it asked for, to its first release."),
    MORE("lane=\"normal\"", release.waited[NORMAL]),
    MORE("lane=\"low\"", release.waited[LOW]),
    HISTOGRAM("release_seconds", release.handed_over,
              "From the decision for a worker to the commit in its work topic."),
    COUNTER("placements_displacing_total", release.displacing,
            "Placements for which a running job has to make room."),
    COUNTER("placements_cached_total", release.cached,
            "Placements where some of the job's beginning was known."),
    COUNTER("placements_aside_total", release.aside,
            "Placements of jobs that were set aside before."),
    COUNTER("placements_again_total", release.again,
            "Placements on the worker that had just failed the job."),
    GAUGE("aside_jobs", aside, "Jobs whose turn it is, that wait for one certain worker."),

    /* ends, and what comes back */
    COUNTERS("jobs_refused_total", "status=\"rejected\"", intake.rejected,
             "Jobs that ended in the dispatcher."),
    MORE("status=\"cancelled\"", intake.cancelled),
    MORE("status=\"expired\"", intake.expired),
    MORE("status=\"failed\"", intake.failed),
    COUNTER("jobs_limited_total", intake.limited, "Jobs rejected by a tenant's rate or backlog."),
    COUNTERS("retries_total", "outcome=\"fault\"", CAME_BACK(FAULT),
             "Jobs that came back from a worker."),
    MORE("outcome=\"oom\"", CAME_BACK(OOM)),
    MORE("outcome=\"no_fit\"", CAME_BACK(NO_FIT)),
    COUNTERS("delays_total", "tier=\"1s\"", intake.hops[0], "Records sent to a delay topic."),
    MORE("tier=\"5s\"", intake.hops[1]),
    MORE("tier=\"30s\"", intake.hops[2]),
    MORE("tier=\"5m\"", intake.hops[3]),
    MORE("tier=\"30m\"", intake.hops[4]),
    COUNTERS("ready_total", "lane=\"high\"", intake.to_ready[0], "Records sent to a ready topic."),
    MORE("lane=\"normal\"", intake.to_ready[1]),
    MORE("lane=\"low\"", intake.to_ready[2]),
    GAUGE("delayed_jobs", held, "Jobs held until they are due."),
    COUNTERS("keys_total", "answer=\"new\"", intake.new_keys,
             "Answers to jobs with an idempotency key."),
    MORE("answer=\"repeat\"", intake.repeats),
    MORE("answer=\"duplicate\"", intake.duplicates),
    GAUGE("keys", keys, "Idempotency keys in memory."),
    COUNTER("dead_letters_total", intake.dead, "Records written to the dead-letter topic."),

    /* who else is there */
    GAUGE("dispatchers_live", dispatchers, "Dispatchers that beat, this one included."),
    GAUGE("workers_live", workers, "Workers that reported within the timeout."),
    GAUGE("room_jobs", room, "Jobs that could be released now."),

    /* results, and what is committed */
    COUNTER("results_announced_total", told, "Results told to Redis."),
    GAUGE("results_unannounced", untold, "Results that Redis has not confirmed."),
    GAUGE("redis_up", redis_up, "1 while Redis is connected."),
    MR_COMMIT_ROWS(view, commit),

    /* completion callbacks */
    COUNTER("webhooks_delivered_total", webhooks.delivered, "Callbacks that a receiver took."),
    COUNTER("webhook_failures_total", webhooks.failed, "Tries that did not get through."),
    COUNTER("webhooks_dead_total", webhooks.dead, "Callbacks given up: dead letters."),
    GAUGE("webhooks_in_hand", webhooks.in_hand, "Callbacks that are tried or committed now."),
    GAUGE("webhooks_waiting", webhooks.held, "Callbacks that wait for their next try."),
    GAUGE("webhook_hosts_off", webhooks.hosts.open, "Receivers that are left alone for a while."),

    MR_OTLP_ROWS(view, spans),
    MR_PROCESS_ROWS(view, process),
};

static void fill(view *v, const mr_dispatcher_sources *from) {
    const mr_placement *workers = mr_release_placement(from->release);
    size_t paused = 0;

    *v = (view){
        .intake = *mr_intake_counters(from->intake),
        .release = *mr_release_counters(from->release),
        .commit = mr_commit_get_stats(from->commit),
        .spans = mr_otlp_get_stats(from->otlp),
        .held = mr_intake_held(from->intake),
        .bytes = mr_intake_bytes(from->intake),
        .parts = mr_intake_parts(from->intake, &paused),
        .aside = mr_release_aside(from->release),
        .keys = mr_keys_len(from->keys),
        .dispatchers = 1 + mr_peers_live(from->peers),
        .workers = mr_placement_live(workers, from->now_ms),
        .room = mr_placement_room(workers, from->now_ms),
        .told = mr_follower_told(from->follower),
        .untold = mr_follower_pending(from->follower),
        .redis_up = mr_status_up(from->status),
    };
    v->paused_parts = paused;
    for (mr_priority lane = MR_PRIORITY_HIGH; lane < MR_PRIORITY_N; lane++) {
        v->lag[lane] = mr_intake_lag(from->intake, lane);
        v->waiting[lane] = mr_window_len(from->window, lane);
    }
    if (from->webhooks) v->webhooks = mr_webhooks_count(from->webhooks);
    mr_process_read(from->process);
    v->process = *from->process;
}

char *mr_dispatcher_metrics(const mr_dispatcher_sources *from, size_t *len) {
    const mr_metric_style style = {.model = NULL};
    view v;

    fill(&v, from);
    return mr_metric_text(rows, MR_COUNT(rows), &v, &style, len);
}

const mr_metric *mr_dispatcher_rows(size_t *n) {
    *n = MR_COUNT(rows);
    return rows;
}
