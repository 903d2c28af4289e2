/* release.c - see release.h.
 *
 * A model is known when the setting `models` names it or a worker has reported it. Until
 * model_grace_ms after the start, and as long as no worker at all has reported and `models` is
 * empty, an unknown one may still turn up: its jobs wait. A reported one that jobs wait for stays
 * known. A job without a model waits under the empty name until the only reported model tells which
 * one it is.
 *
 * A work record whose topic or partition is not there keeps its place in its worker's room and is
 * handed over again every RETRY_MS: the worker owns the partition, so it exists, and what our
 * client knows may be older. After TOPIC_WAIT_MS the job ends as `not_released`; so does, at once,
 * one whose record the brokers refuse. Whether a record is too large for any topic is told as the
 * job comes in, not when its turn has come.
 *
 * A tenant pays when a job is taken out of the window (the share of its lane) and when it is sent
 * (its rate); both are given back for what is not sent after all. */
#include "dispatcher/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/history.h"
#include "schemas/codec.h"
#include "schemas/headers.h"
#include "schemas/prefix.h"

enum {
    ENCODE_LIMIT = 16 << 20,
    MAX_RECORD = (1 << 20) - 1024,  /* Kafka's own default limit, less headers and batch */
    SUSPECT_BYTES = MAX_RECORD / 2, /* decoded; a smaller job cannot have so large a record */
    TOPIC_WAIT_MS = 60000,
    RETRY_MS = 1000,
    IGNORED_LOG_MS = 5000
};

typedef struct release release;
struct release {   /* a job on its way to its work topic */
    release *next; /* among those whose topic is not there */
    mr_release *r;
    mr_entry *e;
    uint64_t lost_ms; /* since when it is not; 0: it was never missed */
    uint64_t turn_ms; /* wall clock: when its turn had come; 0: nobody asks */
    uint64_t decided_ms;
};

typedef struct candidate { /* a job that was taken out of the window, and what its place depends on
                            */
    mr_entry *e;
    uint64_t since_ms; /* when it was set aside; 0: it was not */
    const char *avoid;
    uint64_t prefix[MR_PREFIX_MAX];
    size_t n_prefix;
} candidate;

struct mr_release {
    mr_release_conf conf;
    mr_placement *placement;
    mr_intake *intake;
    uint64_t opened_ms, ignored_logged_ms;
    mr_release_counts counts;
    candidate aside[MR_RELEASE_MAX_ASIDE]; /* by the time when their turn came */
    size_t n_aside;
    release *lost;
    uint64_t retry_ms; /* when to hand those over again */
    char text[512];    /* of the last error that was told */
    mr_arena arena;    /* of the record that is encoded */
};

static void init_counts(mr_release_counts *c) {
    for (int lane = 0; lane < MR_PRIORITY_N; lane++)
        mr_histogram_init(&c->waited[lane], &mr_buckets_wait);
    mr_histogram_init(&c->handed_over, &mr_buckets_call);
}

mr_status mr_release_open(mr_release **out, const mr_release_conf *conf, uint64_t now_ms,
                          mr_err *err) {
    mr_release *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "release: out of memory");
    r->conf = *conf;
    r->opened_ms = now_ms;
    init_counts(&r->counts);
    mr_arena_init(&r->arena, ENCODE_LIMIT);
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
    for (release *rel = r->lost, *next; rel; rel = next) {
        next = rel->next;
        free(rel);
    }
    mr_placement_close(r->placement);
    mr_arena_drop(&r->arena);
    free(r);
}

void mr_release_set(mr_release *r, uint64_t model_grace_ms, uint64_t worker_timeout_ms,
                    uint32_t lookahead) {
    r->conf.model_grace_ms = model_grace_ms;
    mr_placement_set(r->placement, lookahead, worker_timeout_ms);
}

void mr_release_share(mr_release *r, size_t n_dispatchers) {
    mr_placement_share(r->placement, n_dispatchers);
}

static bool waits_for(void *owner, const char *model) {
    return mr_intake_waits_for(owner, model);
}

void mr_release_attach(mr_release *r, mr_intake *in) {
    r->intake = in;
    mr_placement_ask(r->placement, waits_for, in);
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
        snprintf(r->text, sizeof r->text, "model \"%s\" is unknown; there is: %s%s%s", model,
                 r->conf.models, r->conf.models[0] && reported[0] ? ", " : "", reported);
    else
        snprintf(
            r->text, sizeof r->text,
            "no model is given and there is more than one: %s%s%s; name one, or set default_model",
            r->conf.models, r->conf.models[0] && reported[0] ? ", " : "", reported);
    *why = (mr_job_error){model[0] ? "unknown_model" : "missing_model", "model", r->text, 0};
}

static const char *default_model(const mr_release *r) {
    if (r->conf.default_model[0]) return r->conf.default_model;
    const char *only = mr_placement_only_model(r->placement);
    return only ? only : "";
}

/* The bytes live until the next call. */
static mr_status encode(mr_release *r, const mr_entry *e, const void **bytes, size_t *n) {
    mr_arena_reset(&r->arena);
    return mr_codec_job_encode(&e->job, MR_FORMAT_MSGPACK, true, &r->arena, bytes, n);
}

static bool fits_a_record(mr_release *r, const mr_entry *e, mr_job_error *why) {
    const void *bytes;
    size_t n = 0;

    if (e->arena.used < SUSPECT_BYTES) return true;
    const bool known_size = encode(r, e, &bytes, &n) == MR_OK;
    if (!known_size || n <= MAX_RECORD) return true;
    snprintf(r->text, sizeof r->text,
             "its work record would have %zu bytes, at most %d can be released", n, MAX_RECORD);
    *why = (mr_job_error){"too_large", "input", r->text, 0};
    return false;
}

/* Nobody who is alive could ever hold it; with nobody alive it waits. */
static bool exceeds_all(mr_release *r, const mr_entry *e, mr_job_error *why, uint64_t now_ms) {
    const mr_job_spec *j = &e->job;
    const uint32_t largest =
        j->need_tokens ? mr_placement_largest(r->placement, j->model, now_ms) : 0;
    if (largest == 0 || j->need_tokens <= largest) return false;
    snprintf(r->text, sizeof r->text,
             "prompt and answer need %u tokens, the largest live worker of model \"%s\" holds %u",
             j->need_tokens, j->model, largest);
    *why = (mr_job_error){"context_exceeded", "input", r->text, 0};
    return true;
}

bool mr_release_vet(mr_release *r, mr_entry *e, mr_job_error *why, uint64_t now_ms) {
    if (!e->job.model[0]) {
        const char *name = mr_arena_copy(&e->arena, default_model(r), strlen(default_model(r)));
        if (name) e->job.model = name;
    }
    const bool waits_for_name = !e->job.model[0] && may_turn_up(r, now_ms);
    if (waits_for_name || (e->job.model[0] && known(r, e->job.model, now_ms)))
        return fits_a_record(r, e, why) && !exceeds_all(r, e, why, now_ms);
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

/* ---- what tenants pay ---- */

static void pay_rate(mr_release *r, const mr_entry *e, uint64_t now_ms) {
    mr_policy_charge(r->conf.policy, e->job.tenant, true, e->cost, now_ms);
}

static void refund_rate(mr_release *r, const mr_entry *e) {
    mr_policy_charge(r->conf.policy, e->job.tenant, false, -(int64_t)e->cost, mr_clock_mono_ms());
}

static void refund_share(mr_release *r, const mr_entry *e) {
    mr_window_settle(r->conf.window, e->job.model, e->lane, e->job.tenant, e->cost, 0);
}

/* ---- on the way ---- */

static void end_refused(release *rel, mr_job_status status, const char *code, const char *why) {
    mr_release *r = rel->r;
    mr_entry *e = rel->e;
    snprintf(r->text, sizeof r->text, "the work record was refused: %.400s", why);
    const mr_job_error error = {code, "", r->text, 0};
    mr_placement_failed(r->placement, e->job.model, e->work_partition);
    refund_rate(r, e);
    refund_share(r, e);
    mr_intake_refuse(r->intake, e, status, &error);
    free(rel);
}

static void drop(release *rel) {
    mr_placement_failed(rel->r->placement, rel->e->job.model, rel->e->work_partition);
    refund_rate(rel->r, rel->e);
    refund_share(rel->r, rel->e);
    mr_intake_drop(rel->r->intake, rel->e);
    free(rel);
}

static void wait_for_topic(release *rel) {
    rel->next = rel->r->lost;
    rel->r->lost = rel;
}

static void count(mr_release_counts *c, const release *rel, uint64_t now_ms) {
    const mr_job_spec *j = &rel->e->job;
    const uint64_t took_ms = now_ms - rel->decided_ms;
    const uint64_t decided_ms = mr_clock_wall_ms() - took_ms;
    const uint64_t from_ms =
        j->not_before_ms > j->received_ms ? j->not_before_ms : j->received_ms;

    c->lanes[rel->e->lane]++;
    mr_histogram_add(&c->handed_over, took_ms * 1000);
    if (j->n_history > 0) return; /* it has been released before */
    mr_histogram_add(&c->waited[rel->e->lane],
                     decided_ms > from_ms ? (decided_ms - from_ms) * 1000 : 0);
}

static void on_released(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    release *rel = arg;
    mr_release *r = rel->r;
    const uint64_t now_ms = mr_clock_mono_ms();
    (void)owner;
    if (status == MR_OK) {
        mr_placement_released(r->placement, rel->e->job.model, rel->e->work_partition, offset);
        count(&r->counts, rel, now_ms);
        mr_spans_released(r->conf.spans, rel->e, rel->turn_ms, offset);
        mr_intake_released(r->intake, rel->e);
        free(rel);
    } else if (status == MR_ECANCELED) {
        drop(rel);
    } else if (status == MR_ENOTFOUND && (!rel->lost_ms || now_ms - rel->lost_ms < TOPIC_WAIT_MS)) {
        if (!rel->lost_ms) rel->lost_ms = now_ms;
        wait_for_topic(rel);
    } else {
        end_refused(rel, MR_STATUS_FAILED, "not_released", why);
    }
}

/* MR_OK: on_released will tell, or it has ended here. MR_ELIMIT: not now. */
static mr_status hand_over(release *rel) {
    const mr_entry *e = rel->e;
    mr_kafka_header headers[1 + MR_TRACE_HEADERS] = {{"content-type", "application/msgpack", 19}};
    mr_status st = MR_ECANCELED;
    char topic[MR_NAME_MAX];
    mr_err err = {0};
    mr_commit_record record = {.topic = topic,
                               .partition = e->work_partition,
                               .key = e->job.job_id,
                               .key_len = strlen(e->job.job_id),
                               .headers = headers,
                               .n_headers = 1 + mr_trace_headers(&e->job.trace, headers + 1)};

    mr_names_work(rel->r->conf.names, e->job.model, topic);
    if (encode(rel->r, e, &record.value, &record.len) != MR_OK)
        st = MR_ELIMIT; /* memory may be there later */
    else if (e->at.part >= 0)
        st = mr_commit_send(rel->r->conf.commit, e->at, &record, 1, on_released, NULL, rel, &err);
    if (st == MR_OK) mr_intake_sent(rel->r->intake, rel->e);
    if (st == MR_ECANCELED)
        drop(rel); /* its partition was revoked while it waited */
    else if (st == MR_EINVAL)
        end_refused(rel, MR_STATUS_REJECTED, "too_large", err.text);
    else if (st != MR_OK)
        return MR_ELIMIT;
    return MR_OK;
}

static void retry_lost(mr_release *r, uint64_t now_ms) {
    release *turn = r->lost; /* who has no room now stands in the new list, for the next time */
    if (!turn || now_ms < r->retry_ms || mr_commit_full(r->conf.commit)) return;
    mr_log(MR_LOG_WARN, "release", "work topic or partition is not there, trying again",
           "model=" MR_Q " part=%d job=%s", turn->e->job.model, (int)turn->e->work_partition,
           turn->e->job.job_id);
    r->retry_ms = now_ms + RETRY_MS;
    r->lost = NULL;
    for (release *next; turn; turn = next) {
        next = turn->next;
        if (hand_over(turn) == MR_ELIMIT) wait_for_topic(turn);
    }
}

/* ---- deciding ---- */

/* Sends e to a partition that take() has chosen. False: no room in the committer or in memory. */
static bool send_job(mr_release *r, mr_entry *e, int32_t partition, uint64_t now_ms) {
    release *rel = calloc(1, sizeof *rel);
    if (!rel) return false;
    rel->r = r;
    rel->e = e;
    rel->decided_ms = now_ms;
    rel->turn_ms = mr_spans_on(r->conf.spans) ? mr_clock_wall_ms() : 0;
    e->work_partition = partition;
    if (hand_over(rel) == MR_OK) return true;
    free(rel);
    return false;
}

static bool is_for_want_of_memory(const mr_past *last) {
    return last->outcome == MR_ATTEMPT_OOM || last->outcome == MR_ATTEMPT_NO_FIT;
}

static void look_at(candidate *c, mr_entry *e) {
    const mr_past *last = mr_history_last(&e->job);
    *c = (candidate){.e = e};
    if (last && is_for_want_of_memory(last)) c->avoid = last->worker;
    c->n_prefix = mr_prefix_digests(&e->job, c->prefix);
}

static void tell(mr_release *r, const candidate *c, const mr_place *at, bool again,
                 uint64_t now_ms) {
    const mr_entry *e = c->e;
    const mr_status_wait wait = {.state = "released"};
    r->counts.displacing += at->displaces;
    r->counts.cached += at->cached > 0;
    r->counts.aside += c->since_ms > 0;
    r->counts.again += again;
    mr_status_waiting(r->conf.view, &e->job, &wait);
    mr_log(MR_LOG_DEBUG, "release", "job released",
           "job=%s model=" MR_Q " lane=%s tenant=" MR_Q " why=" MR_Q " worker=" MR_Q
           " part=%d room=%lld cached=%zu displaces=%d waited_ms=%llu",
           e->job.job_id, e->job.model, mr_priority_name(e->lane), e->job.tenant, e->why,
           at->worker, (int)at->partition, (long long)at->room, at->cached, at->displaces,
           (unsigned long long)(now_ms - e->queued_ms));
}

typedef enum outcome {
    PLACED,   /* or ended: it is gone */
    NO_PLACE, /* nobody has room for this one now */
    NO_ROOM   /* in the committer, or in memory */
} outcome;

static outcome place(mr_release *r, const candidate *c, uint64_t now_ms) {
    mr_entry *e = c->e;
    const bool waited = c->since_ms && now_ms - c->since_ms >= MR_RELEASE_AVOID_MS;
    const mr_ask ask = {.model = e->job.model,
                        .lane = e->lane,
                        .need_tokens = e->job.need_tokens,
                        .avoid = waited ? NULL : c->avoid,
                        .prefix = c->prefix,
                        .n_prefix = c->n_prefix};
    mr_job_error why;

    if (exceeds_all(r, e, &why, now_ms)) {
        refund_share(r, e);
        mr_intake_refuse(r->intake, e, MR_STATUS_REJECTED, &why);
        return PLACED;
    }
    const mr_place at = mr_placement_take(r->placement, &ask, now_ms);
    if (at.partition < 0) return NO_PLACE;
    tell(r, c, &at, c->avoid && strcmp(c->avoid, at.worker) == 0, now_ms);
    e->job.charged = e->cost;
    pay_rate(r, e, now_ms);
    if (send_job(r, e, at.partition, now_ms)) return PLACED;
    mr_placement_failed(r->placement, e->job.model, at.partition);
    refund_rate(r, e);
    return NO_ROOM;
}

/* False: nothing more of this model can be released now. */
static bool release_next(mr_release *r, const char *model, uint64_t now_ms) {
    const unsigned lanes = mr_placement_lanes(r->placement, model, now_ms);
    candidate c;

    if (!lanes || mr_commit_full(r->conf.commit)) return false;
    mr_entry *e = mr_window_pop(r->conf.window, model, lanes, now_ms);
    if (!e) return false;
    look_at(&c, e);
    const outcome o = place(r, &c, now_ms);
    if (o == PLACED) return true;
    if (o == NO_PLACE && r->n_aside < MR_RELEASE_MAX_ASIDE) {
        c.since_ms = now_ms;
        r->aside[r->n_aside++] = c;
        return true;
    }
    mr_window_unpop(r->conf.window, e);
    return false;
}

/* ---- set aside ---- */

/* Ends what need not wait any longer. True: c->e is gone. */
static bool end_aside(mr_release *r, const candidate *c) {
    static const mr_job_error cancelled = {"cancelled", "", "cancelled before it was released", 0};
    static const mr_job_error late = {"expired", "deadline_ms",
                                      "the deadline passed while the job waited", 0};
    mr_entry *e = c->e;
    const bool revoked = e->at.part < 0;
    const bool expired = e->job.expires_ms && e->job.expires_ms <= mr_clock_wall_ms();

    if (!revoked && !e->cancelled && !expired) return false;
    refund_share(r, e);
    if (revoked)
        mr_intake_drop(r->intake, e);
    else if (e->cancelled)
        mr_intake_refuse(r->intake, e, MR_STATUS_CANCELLED, &cancelled);
    else
        mr_intake_refuse(r->intake, e, MR_STATUS_EXPIRED, &late);
    return true;
}

/* Their turn has come before: they are asked first. */
static void release_aside(mr_release *r, uint64_t now_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < r->n_aside; i++) {
        const candidate *c = &r->aside[i];
        const bool gone =
            !mr_commit_full(r->conf.commit) && (end_aside(r, c) || place(r, c, now_ms) == PLACED);
        if (!gone && kept++ != i) r->aside[kept - 1] = *c;
    }
    r->n_aside = kept;
}

/* Jobs without a model get the only one there is. */
static void name_the_nameless(mr_release *r, uint64_t now_ms) {
    const char *name = default_model(r);
    mr_entry *e;
    while (name[0] && (e = mr_window_pop(r->conf.window, "", MR_LANES_ALL, now_ms)) != NULL) {
        const uint64_t queued_ms = e->queued_ms;
        char *copy = mr_arena_copy(&e->arena, name, strlen(name));
        if (copy) e->job.model = copy;
        if (copy && mr_window_push(r->conf.window, e, queued_ms) == MR_OK) continue;
        const mr_job_error why = {"no_room", "model", "the window has no room for one more model",
                                  0};
        mr_intake_refuse(r->intake, e, MR_STATUS_FAILED, &why);
    }
}

void mr_release_run(mr_release *r, uint64_t now_ms) {
    char model[MR_JOB_MAX_NAME + 1];
    const char *name;

    retry_lost(r, now_ms);
    name_the_nameless(r, now_ms);
    release_aside(r, now_ms);
    for (size_t i = 0; (name = mr_window_model(r->conf.window, i)) != NULL;) {
        snprintf(model, sizeof model, "%s", name); /* its row may go when the last job leaves */
        while (release_next(r, model, now_ms)) {
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
        for (mr_entry *e;
             (e = mr_window_pop(r->conf.window, model, MR_LANES_ALL, now_ms)) != NULL;) {
            if (mr_commit_full(r->conf.commit)) { /* the next sweep goes on */
                mr_window_unpop(r->conf.window, e);
                return;
            }
            explain_unknown(r, model, &why);
            mr_intake_refuse(r->intake, e, MR_STATUS_REJECTED, &why);
        }
        if (mr_window_has(r->conf.window, model))
            i++; /* of tenants that must wait for their rate */
    }
}

const mr_placement *mr_release_placement(const mr_release *r) {
    return r->placement;
}

const mr_release_counts *mr_release_counters(const mr_release *r) {
    return &r->counts;
}

size_t mr_release_aside(const mr_release *r) {
    return r->n_aside;
}
