/* release.c - see release.h.
 *
 * A model is known when the setting `models` names it or a worker has reported it. Until
 * model_grace_ms after the start, and as long as no worker at all has reported and `models` is
 * empty, an unknown one may still turn up: its jobs wait. A job without a model waits under the
 * empty name until the only reported model tells which one it is. */
#include "dispatcher/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"

enum {
    ENCODE_LIMIT = 16 << 20,
    TOPIC_WAIT_MS =
        60000, /* a worker owns the partition, so it is there; our metadata may be older */
    IGNORED_LOG_MS = 5000
};

struct mr_release {
    mr_release_conf conf;
    mr_placement *placement;
    mr_intake *intake;
    uint64_t opened_ms, ignored_logged_ms;
    char unknown[512]; /* text of the last unknown_model error */
};

/* What an entry needs when its release is acknowledged. */
typedef struct release {
    mr_release *r;
    mr_entry *e;
} release;

mr_status mr_release_open(mr_release **out, const mr_release_conf *conf, uint64_t now_ms,
                          mr_err *err) {
    mr_release *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "release: out of memory");
    r->conf = *conf;
    r->opened_ms = now_ms;
    const mr_status st =
        mr_placement_open(&r->placement, conf->lookahead, conf->worker_timeout_ms, err);
    if (st != MR_OK) {
        free(r);
        return st;
    }
    *out = r;
    return MR_OK;
}

void mr_release_close(mr_release *r) {
    if (!r) return;
    mr_placement_close(r->placement);
    free(r);
}

void mr_release_attach(mr_release *r, mr_intake *in) {
    r->intake = in;
}

static bool named(const char *list, const char *name) {
    const size_t len = strlen(name);
    for (const char *s = list; *s;) {
        s += strspn(s, ", ");
        const size_t n = strcspn(s, ", ");
        if (n == len && memcmp(s, name, n) == 0) return true;
        s += n;
    }
    return false;
}

static bool may_turn_up(const mr_release *r, uint64_t now_ms) {
    if (r->conf.models[0]) return false; /* the owner has said which there are */
    char reported[8];
    mr_placement_models(r->placement, reported, sizeof reported);
    return !reported[0] || now_ms < r->opened_ms + r->conf.model_grace_ms;
}

static bool known(const mr_release *r, const char *model, uint64_t now_ms) {
    return named(r->conf.models, model) || mr_placement_knows(r->placement, model) ||
           may_turn_up(r, now_ms);
}

static void explain_unknown(mr_release *r, const char *model, mr_job_error *why) {
    char reported[256];
    mr_placement_models(r->placement, reported, sizeof reported);
    if (model[0])
        snprintf(r->unknown, sizeof r->unknown, "model \"%s\" is unknown; there is: %s%s%s", model,
                 r->conf.models, r->conf.models[0] && reported[0] ? ", " : "", reported);
    else
        snprintf(
            r->unknown, sizeof r->unknown,
            "no model is given and there is more than one: %s%s%s; name one, or set default_model",
            r->conf.models, r->conf.models[0] && reported[0] ? ", " : "", reported);
    *why = (mr_job_error){model[0] ? "unknown_model" : "missing_model", "model", r->unknown};
}

static const char *default_model(const mr_release *r) {
    if (r->conf.default_model[0]) return r->conf.default_model;
    const char *only = mr_placement_only_model(r->placement);
    return only ? only : "";
}

bool mr_release_vet(mr_release *r, mr_entry *e, mr_job_error *why, uint64_t now_ms) {
    if (!e->job.model[0]) {
        const char *name = mr_arena_copy(&e->arena, default_model(r), strlen(default_model(r)));
        if (name) e->job.model = name;
    }
    const bool waits_for_name = !e->job.model[0] && may_turn_up(r, now_ms);
    if (waits_for_name || (e->job.model[0] && known(r, e->job.model, now_ms))) return true;
    explain_unknown(r, e->job.model, why);
    return false;
}

void mr_release_heartbeat(mr_release *r, const mr_heartbeat *h, uint64_t now_ms) {
    const bool first = !mr_placement_knows(r->placement, h->model);
    const mr_status st = mr_placement_report(r->placement, h, now_ms);
    if (st != MR_OK) {
        if (r->ignored_logged_ms && now_ms - r->ignored_logged_ms < IGNORED_LOG_MS) return;
        r->ignored_logged_ms = now_ms;
        mr_log(MR_LOG_WARN, "release", "heartbeat ignored", "worker=" MR_Q " status=%s", h->worker,
               mr_status_name(st));
    } else if (first) {
        mr_log(MR_LOG_INFO, "release", "model available", "model=" MR_Q " worker=" MR_Q, h->model,
               h->worker);
    }
}

static void on_released(void *owner, void *arg, mr_status status, int64_t offset) {
    release *rel = arg;
    mr_release *r = rel->r;
    mr_entry *e = rel->e;
    (void)owner;
    free(rel);
    if (status == MR_ECANCELED) return; /* shutting down; the intake frees its entries */
    if (status == MR_OK) {
        mr_placement_released(r->placement, e->job.model, e->work_partition, offset);
        mr_intake_released(r->intake, e);
        return;
    }
    const mr_job_error why = {
        "not_released", "",
        "the record is too large for the work topic, or there is no such topic"};
    mr_placement_failed(r->placement, e->job.model, e->work_partition);
    mr_intake_refuse(r->intake, e, MR_STATUS_FAILED, &why);
}

/* Sends e to a partition that take() has chosen. False: no room in the outbox or in memory. */
static bool send_job(mr_release *r, mr_entry *e, int32_t partition) {
    mr_kafka_header headers[2] = {{"content-type", "application/msgpack", 19},
                                  {"traceparent", e->traceparent, strlen(e->traceparent)}};
    char topic[MR_NAME_MAX];
    mr_arena arena;
    const void *bytes;
    size_t n;

    release *rel = malloc(sizeof *rel);
    if (!rel) return false;
    *rel = (release){r, e};
    e->work_partition = partition;
    mr_names_work(r->conf.names, e->job.model, topic);
    mr_arena_init(&arena, ENCODE_LIMIT);
    bool ok = mr_codec_job_encode(&e->job, MR_FORMAT_MSGPACK, true, &arena, &bytes, &n) == MR_OK;
    if (ok) {
        const mr_outbox_record record = {.topic = topic,
                                         .partition = partition,
                                         .key = e->job.job_id,
                                         .value = bytes,
                                         .len = n,
                                         .headers = headers,
                                         .n_headers = e->traceparent[0] ? 2 : 1,
                                         .give_up_ms = TOPIC_WAIT_MS};
        ok = mr_outbox_send(r->conf.outbox, &record, on_released, r, rel) == MR_OK;
    }
    mr_arena_drop(&arena);
    if (!ok) free(rel);
    return ok;
}

static bool release_one(mr_release *r, const char *model, uint64_t now_ms) {
    if (mr_outbox_full(r->conf.outbox)) return false;
    const int32_t partition = mr_placement_take(r->placement, model, now_ms);
    if (partition < 0) return false;
    mr_entry *e = mr_window_pop(r->conf.window, model);
    mr_status_waiting(r->conf.view, &e->job, "released");
    mr_log(MR_LOG_DEBUG, "release", "job released", "job=%s lane=%s part=%d", e->job.job_id,
           mr_priority_name(e->lane), partition);
    if (send_job(r, e, partition)) return true;
    mr_placement_failed(r->placement, e->job.model, partition);
    mr_window_unshift(r->conf.window, e);
    return false;
}

/* Jobs without a model get the only one there is. */
static void name_the_nameless(mr_release *r) {
    const char *name = default_model(r);
    mr_entry *e;
    while (name[0] && (e = mr_window_pop(r->conf.window, "")) != NULL) {
        char *copy = mr_arena_copy(&e->arena, name, strlen(name));
        if (copy) e->job.model = copy;
        if (copy && mr_window_push(r->conf.window, e) == MR_OK) continue;
        const mr_job_error why = {"no_room", "model", "the window has no room for one more model"};
        mr_intake_refuse(r->intake, e, MR_STATUS_FAILED, &why);
    }
}

void mr_release_run(mr_release *r, uint64_t now_ms) {
    char model[MR_JOB_MAX_NAME + 1];
    const char *name;

    name_the_nameless(r);
    for (size_t i = 0; (name = mr_window_model(r->conf.window, i)) != NULL;) {
        snprintf(model, sizeof model, "%s", name); /* its row may go when the last job leaves */
        while (mr_window_has(r->conf.window, model) && release_one(r, model, now_ms)) {
        }
        if (mr_window_has(r->conf.window, model)) i++;
    }
}

void mr_release_sweep(mr_release *r, uint64_t now_ms) {
    char model[MR_JOB_MAX_NAME + 1];
    const char *name;
    mr_job_error why;

    if (may_turn_up(r, now_ms)) return;
    for (size_t i = 0; (name = mr_window_model(r->conf.window, i)) != NULL;) {
        if (known(r, name, now_ms)) {
            i++;
            continue;
        }
        snprintf(model, sizeof model, "%s", name);
        for (mr_entry *e; (e = mr_window_pop(r->conf.window, model)) != NULL;) {
            if (mr_outbox_full(r->conf.outbox)) { /* the next sweep goes on */
                mr_window_unshift(r->conf.window, e);
                return;
            }
            explain_unknown(r, model, &why);
            mr_intake_refuse(r->intake, e, MR_STATUS_REJECTED, &why);
        }
    }
}

const mr_placement *mr_release_placement(const mr_release *r) {
    return r->placement;
}
