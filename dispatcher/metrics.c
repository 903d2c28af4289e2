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
GET(released, mr_intake_counters(v->intake)->released)
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
    {"millrace_jobs_released_total", "counter", "Jobs handed to a work topic", "", released},
    {"millrace_jobs_refused_total", "counter", "Jobs that ended in the dispatcher",
     "{status=\"rejected\"}", rejected},
    {"millrace_jobs_refused_total", NULL, NULL, "{status=\"cancelled\"}", cancelled},
    {"millrace_jobs_refused_total", NULL, NULL, "{status=\"expired\"}", expired},
    {"millrace_dead_letters_total", "counter", "Records that could not be told from noise", "",
     dead},
    {"millrace_window_jobs", "gauge", "Jobs that wait for room", "{lane=\"high\"}", waiting_high},
    {"millrace_window_jobs", NULL, NULL, "{lane=\"normal\"}", waiting_normal},
    {"millrace_window_jobs", NULL, NULL, "{lane=\"low\"}", waiting_low},
    {"millrace_window_bytes", "gauge", "Memory of the jobs that are held", "", window_bytes},
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
