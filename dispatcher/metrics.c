/* metrics.c - see metrics.h. A row is name, kind, help, label and how to get the number. */
#include "dispatcher/metrics.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct row {
    const char *name, *kind, *help;
    const char *label; /* "" or {lane="high"} */
    double (*get)(const mr_metrics_view *v);
} row;

#define GET(name, expr)                                                                            \
    static double name(const mr_metrics_view *v) {                                                 \
        return (double)(expr);                                                                     \
    }
GET(received_high, mr_intake_counters(v->intake)->received[MR_PRIORITY_HIGH])
GET(received_normal, mr_intake_counters(v->intake)->received[MR_PRIORITY_NORMAL])
GET(received_low, mr_intake_counters(v->intake)->received[MR_PRIORITY_LOW])
GET(released_high, mr_release_counters(v->release)->lanes[MR_PRIORITY_HIGH])
GET(released_normal, mr_release_counters(v->release)->lanes[MR_PRIORITY_NORMAL])
GET(released_low, mr_release_counters(v->release)->lanes[MR_PRIORITY_LOW])
GET(placed_displacing, mr_release_counters(v->release)->displacing)
GET(placed_cached, mr_release_counters(v->release)->cached)
GET(placed_aside, mr_release_counters(v->release)->aside)
GET(placed_again, mr_release_counters(v->release)->again)
GET(aside, mr_release_aside(v->release))
GET(failed, mr_intake_counters(v->intake)->failed)
GET(came_back_fault, mr_intake_counters(v->intake)->retries[0])
GET(came_back_oom, mr_intake_counters(v->intake)->retries[MR_ATTEMPT_OOM - MR_ATTEMPT_FAULT])
GET(came_back_no_fit, mr_intake_counters(v->intake)->retries[MR_ATTEMPT_NO_FIT - MR_ATTEMPT_FAULT])
GET(hops_1s, mr_intake_counters(v->intake)->hops[0])
GET(hops_5s, mr_intake_counters(v->intake)->hops[1])
GET(hops_30s, mr_intake_counters(v->intake)->hops[2])
GET(hops_5m, mr_intake_counters(v->intake)->hops[3])
GET(hops_30m, mr_intake_counters(v->intake)->hops[4])
GET(held, mr_intake_held(v->intake))
GET(new_keys, mr_intake_counters(v->intake)->new_keys)
GET(repeats, mr_intake_counters(v->intake)->repeats)
GET(duplicates, mr_intake_counters(v->intake)->duplicates)
GET(keys, mr_keys_len(v->keys))
GET(limited, mr_intake_counters(v->intake)->limited)
GET(dispatchers, 1 + mr_peers_live(v->peers))
GET(rejected, mr_intake_counters(v->intake)->rejected)
GET(cancelled, mr_intake_counters(v->intake)->cancelled)
GET(expired, mr_intake_counters(v->intake)->expired)
GET(dead, mr_intake_counters(v->intake)->dead)
GET(waiting_high, mr_window_len(v->window, MR_PRIORITY_HIGH))
GET(waiting_normal, mr_window_len(v->window, MR_PRIORITY_NORMAL))
GET(waiting_low, mr_window_len(v->window, MR_PRIORITY_LOW))
GET(window_bytes, mr_intake_bytes(v->intake))
GET(workers, mr_placement_live(mr_release_placement(v->release), v->now_ms))
GET(room, mr_placement_room(mr_release_placement(v->release), v->now_ms))
GET(told, mr_follower_told(v->follower))
GET(untold, mr_follower_pending(v->follower))
GET(commit_records, mr_commit_get_stats(v->commit).records)
GET(commit_batches, mr_commit_get_stats(v->commit).batches)
GET(commit_aborts, mr_commit_get_stats(v->commit).aborts)
GET(commit_rebuilds, mr_commit_get_stats(v->commit).rebuilds)
GET(commit_unknown, mr_commit_get_stats(v->commit).unknown)
GET(commit_waiting, mr_commit_get_stats(v->commit).waiting)
GET(commit_unfinished, mr_commit_get_stats(v->commit).unfinished)
GET(commit_seconds, (double)mr_commit_get_stats(v->commit).last_batch_us / 1e6)
GET(redis_up, mr_status_up(v->status))

static const row rows[] = {
    {"millrace_jobs_received_total", "counter", "Records read from the lane topics",
     "{lane=\"high\"}", received_high},
    {"millrace_jobs_received_total", NULL, NULL, "{lane=\"normal\"}", received_normal},
    {"millrace_jobs_received_total", NULL, NULL, "{lane=\"low\"}", received_low},
    {"millrace_jobs_released_total", "counter", "Jobs handed to a work topic", "{lane=\"high\"}",
     released_high},
    {"millrace_jobs_released_total", NULL, NULL, "{lane=\"normal\"}", released_normal},
    {"millrace_jobs_released_total", NULL, NULL, "{lane=\"low\"}", released_low},
    {"millrace_placements_displacing_total", "counter",
     "Placements for which a running job has to make room", "", placed_displacing},
    {"millrace_placements_cached_total", "counter",
     "Placements where some of the job's beginning was known", "", placed_cached},
    {"millrace_placements_aside_total", "counter", "Placements of jobs that were set aside before",
     "", placed_aside},
    {"millrace_placements_again_total", "counter",
     "Placements on the worker that had just failed the job", "", placed_again},
    {"millrace_aside_jobs", "gauge", "Jobs whose turn it is, that wait for one certain worker", "",
     aside},
    {"millrace_jobs_refused_total", "counter", "Jobs that ended in the dispatcher",
     "{status=\"rejected\"}", rejected},
    {"millrace_jobs_refused_total", NULL, NULL, "{status=\"cancelled\"}", cancelled},
    {"millrace_jobs_refused_total", NULL, NULL, "{status=\"expired\"}", expired},
    {"millrace_jobs_refused_total", NULL, NULL, "{status=\"failed\"}", failed},
    {"millrace_jobs_limited_total", "counter", "Jobs rejected by a tenant's rate or backlog", "",
     limited},
    {"millrace_retries_total", "counter", "Jobs that came back from a worker",
     "{outcome=\"fault\"}", came_back_fault},
    {"millrace_retries_total", NULL, NULL, "{outcome=\"oom\"}", came_back_oom},
    {"millrace_retries_total", NULL, NULL, "{outcome=\"no_fit\"}", came_back_no_fit},
    {"millrace_delays_total", "counter", "Records sent to a delay topic", "{tier=\"1s\"}", hops_1s},
    {"millrace_delays_total", NULL, NULL, "{tier=\"5s\"}", hops_5s},
    {"millrace_delays_total", NULL, NULL, "{tier=\"30s\"}", hops_30s},
    {"millrace_delays_total", NULL, NULL, "{tier=\"5m\"}", hops_5m},
    {"millrace_delays_total", NULL, NULL, "{tier=\"30m\"}", hops_30m},
    {"millrace_delayed_jobs", "gauge", "Jobs held until they are due", "", held},
    {"millrace_keys_total", "counter", "Answers to jobs with an idempotency key",
     "{answer=\"new\"}", new_keys},
    {"millrace_keys_total", NULL, NULL, "{answer=\"repeat\"}", repeats},
    {"millrace_keys_total", NULL, NULL, "{answer=\"duplicate\"}", duplicates},
    {"millrace_keys", "gauge", "Idempotency keys in memory", "", keys},
    {"millrace_dead_letters_total", "counter", "Records written to the dead-letter topic", "",
     dead},
    {"millrace_window_jobs", "gauge", "Jobs that wait for room", "{lane=\"high\"}", waiting_high},
    {"millrace_window_jobs", NULL, NULL, "{lane=\"normal\"}", waiting_normal},
    {"millrace_window_jobs", NULL, NULL, "{lane=\"low\"}", waiting_low},
    {"millrace_window_bytes", "gauge", "Memory of the jobs that are held", "", window_bytes},
    {"millrace_dispatchers_live", "gauge", "Dispatchers that beat, this one included", "",
     dispatchers},
    {"millrace_workers_live", "gauge", "Workers that reported within the timeout", "", workers},
    {"millrace_room_jobs", "gauge", "Jobs that could be released now", "", room},
    {"millrace_results_announced_total", "counter", "Results told to Redis", "", told},
    {"millrace_results_unannounced", "gauge", "Results that Redis has not confirmed", "", untold},
    {"millrace_commit_records_total", "counter", "Records committed", "", commit_records},
    {"millrace_commit_batches_total", "counter", "Batches of records and offsets committed", "",
     commit_batches},
    {"millrace_commit_aborts_total", "counter", "Batches that were aborted and formed anew", "",
     commit_aborts},
    {"millrace_commit_rebuilds_total", "counter", "Producers made after one failed for good", "",
     commit_rebuilds},
    {"millrace_commit_unknown_total", "counter", "Commits whose outcome had to be looked up", "",
     commit_unknown},
    {"millrace_commit_waiting_records", "gauge", "Records that are not committed yet", "",
     commit_waiting},
    {"millrace_commit_unfinished_offsets", "gauge", "Offsets read that have no fate yet", "",
     commit_unfinished},
    {"millrace_commit_last_batch_seconds", "gauge", "Time that the newest batch took", "",
     commit_seconds},
    {"millrace_redis_up", "gauge", "1 while Redis is connected", "", redis_up},
};

char *mr_metrics_text(const mr_metrics_view *v, size_t *len) {
    char *text = NULL;
    FILE *f = open_memstream(&text, len);
    if (!f) return NULL;
    for (size_t i = 0; i < MR_COUNT(rows); i++) {
        const row *r = &rows[i];
        if (r->kind) fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help, r->name, r->kind);
        fprintf(f, "%s%s %.17g\n", r->name, r->label, r->get(v));
    }
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
