/* app_parts.c - what the dispatcher consists of: opened in one order, closed in another, and who
 * tells whom in between. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/app_internal.h"
#include "dispatcher/feed.h"
#include "dispatcher/metrics.h"
#include "schemas/codec.h"

enum { START_TIMEOUT_MS = 30000, FLUSH_MS = 10000 };

typedef mr_dispatcher app;

/* ---- events ---- */

static bool vet(void *owner, mr_entry *e, mr_job_error *why) {
    app *a = owner;
    if (e->from == MR_FROM_JOBS && a->webhooks.webhooks &&
        !mr_webhooks_vet(a->webhooks.webhooks, &e->job.callback, why))
        return false;
    return mr_release_vet(a->release, e, why, mr_clock_mono_ms());
}

static void on_queued(void *owner, mr_entry *e) {
    app *a = owner;
    e->ticket = mr_vitals_entered(a->vitals, e->lane);
    a->run_soon = true; /* the prepare handle below runs once for all records of this turn */
}

/* What is released in the turn in which it came is shown as released only. */
static void on_waits(void *owner, const mr_entry *e) {
    app *a = owner;
    const mr_status_wait wait = {.state = "queued", .lane = e->lane, .ticket = e->ticket};
    mr_status_waiting(a->view, &e->job, &wait);
}

static void on_delayed(void *owner, const mr_entry *e) {
    app *a = owner;
    const mr_status_wait wait = {.state = "delayed", .due_ms = e->job.due_ms};
    mr_status_waiting(a->view, &e->job, &wait);
}

static void on_keys_loaded(void *owner, int32_t partition) {
    app *a = owner;
    mr_intake_keys_loaded(a->intake, partition);
}

static void on_cancel(void *owner, const char *job_id) {
    app *a = owner;
    mr_intake_cancel(a->intake, job_id); /* perhaps a worker has it: then nothing happens here */
}

static uint32_t weight_of(void *owner, const char *tenant) {
    app *a = owner;
    return mr_policy_rule(a->policy, tenant)->weight;
}

static uint64_t ready_ms_of(void *owner, const char *tenant, uint64_t now_ms) {
    app *a = owner;
    return mr_policy_ready_ms(a->policy, tenant, now_ms);
}

static void on_charged(void *owner, const mr_result *r, mr_priority lane, uint32_t charged) {
    app *a = owner;
    const uint32_t used = r->prompt_tokens + r->completion_tokens;
    mr_window_settle(a->window, r->model, lane, r->tenant, charged, used);
    mr_policy_charge(a->policy, r->tenant, false, (int64_t)used - charged, mr_clock_mono_ms());
}

static void on_fill_beat(void *owner, mr_beat *b) {
    app *a = owner;
    size_t paused;
    mr_vitals_fill(a->vitals, b, mr_clock_mono_ms());
    for (int lane = 0; lane < MR_PRIORITY_N; lane++)
        b->lanes[lane].unread = mr_intake_unread(a->intake, (mr_priority)lane);
    b->parts = mr_intake_parts(a->intake, &paused);
    b->paused_parts = paused;
    b->delayed = mr_intake_held(a->intake);
}

static void on_share(void *owner, size_t n_dispatchers) {
    app *a = owner;
    mr_release_share(a->release, n_dispatchers);
    a->run_soon = true;
}

static void on_job(void *owner, const char *job_id, const char *model, const char *tenant,
                   const char *state) {
    const app *a = owner;
    const bool waits = strcmp(state, "queued") == 0 || strcmp(state, "delayed") == 0;
    const bool released = strcmp(state, "released") == 0;
    mr_page_job(a->page, job_id, model, tenant, state,
                released ? MR_ROLL_RELEASED : waits ? MR_ROLL_WAITS : MR_ROLL_ENDED);
}

static void on_beat(void *owner, const mr_beat *b) {
    const app *a = owner;
    mr_page_beat(a->page, b);
}

static void on_redis_up(void *owner) {
    app *a = owner;
    if (a->follower) mr_follower_kick(a->follower);
}

/* The first job for a model should not wait until librdkafka has found its topic. */
static void warm_work_topic(app *a, const char *model) {
    char topic[MR_NAME_MAX];
    mr_names_work(&a->names, model, topic);
    mr_commit_warm(a->commit, topic);
}

static void on_heartbeat(void *owner, const mr_kafka_msg *m) {
    app *a = owner;
    mr_arena arena;
    mr_heartbeat h;
    mr_err err;

    if (!m->value) return; /* a tombstone of compaction */
    mr_arena_init(&arena, 1 << 20);
    if (mr_codec_heartbeat_decode(&h, m->value, m->len, &arena, &err) == MR_OK) {
        const bool new_model = !mr_placement_knows(mr_release_placement(a->release), h.model);
        mr_release_heartbeat(a->release, &h, mr_clock_mono_ms());
        mr_page_heartbeat(a->page, &h);
        if (new_model) warm_work_topic(a, h.model);
        a->run_soon = true;
    } else {
        mr_log(MR_LOG_WARN, "app", "not a heartbeat, skipped", "part=%d off=%lld err=" MR_Q,
               m->partition, (long long)m->offset, err.text);
    }
    mr_arena_drop(&arena);
}

static void on_fatal_commit(void *owner, mr_status status, const char *text) {
    app *a = owner;
    if (a->fatal.status == MR_OK)
        mr_fail(&a->fatal, status, "%s%s", status == MR_ENOMEM ? "" : "kafka: ", text);
    uv_stop(&a->loop);
}

static void on_fatal(void *owner, const char *text) {
    on_fatal_commit(owner, MR_EUNAVAIL, text);
}

static void on_feed_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "feed", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) on_fatal(owner, text);
}

/* ---- HTTP ---- */

/* The loop answers, so it lives. */
static const char *not_live(void *owner) {
    (void)owner;
    return NULL;
}

static const char *not_started(void *owner) {
    const app *a = owner;
    return mr_dispatcher_may_release(a, mr_clock_mono_ms()) ? NULL : "reading what was cancelled before";
}

static const char *not_ready(void *owner) {
    const app *a = owner;
    if (!mr_intake_assigned(a->intake)) return "no partitions assigned yet";
    if (mr_commit_full(a->commit)) return "the brokers take no records now";
    return not_started(owner);
}

static char *metrics_text(void *owner, size_t *len) {
    app *a = owner;
    const mr_dispatcher_sources from = {.intake = a->intake,
                                        .release = a->release,
                                        .window = a->window,
                                        .follower = a->follower,
                                        .commit = a->commit,
                                        .status = a->view,
                                        .peers = a->peers,
                                        .keys = a->keys,
                                        .webhooks = a->webhooks.webhooks,
                                        .otlp = a->spans.otlp,
                                        .process = &a->process,
                                        .now_ms = mr_clock_mono_ms()};
    return mr_dispatcher_metrics(&from, len);
}

static mr_status open_probes(app *a, mr_err *err) {
    const mr_probes_conf conf = {.listen = a->s->dispatcher_listen,
                                 .owner = a,
                                 .not_live = not_live,
                                 .not_ready = not_ready,
                                 .not_started = not_started,
                                 .metrics = metrics_text};
    if (!a->s->dispatcher_listen[0]) return MR_OK;
    return mr_probes_open(&a->probes, &a->loop, &conf, err);
}

static mr_status open_page(app *a, mr_err *err) {
    if (!a->probes) return MR_OK;
    const mr_page_conf conf = {.kafka = &a->kafka,
                               .names = &a->names,
                               .redis_url = a->s->redis_url,
                               .dispatcher = a->id,
                               .token = a->s->http_token,
                               .hosts = a->s->http_hosts,
                               .timeout_ms = START_TIMEOUT_MS,
                               .http = mr_probes_http(a->probes)};
    return mr_page_open(&a->page, &a->loop, &conf, err);
}

/* ---- opening and closing ---- */

mr_retry_conf mr_dispatcher_retry_conf(const mr_settings *s) {
    return (mr_retry_conf){.max_attempts = (uint32_t)s->max_attempts,
                           .base_ms = (uint64_t)s->retry_base_ms,
                           .max_ms = (uint64_t)s->retry_max_ms,
                           .max_backoffs = (uint32_t)s->max_backoffs};
}

static mr_status ensure_topics(app *a, mr_err *err) {
    static const char *const compact[] = {"cleanup.policy=compact", NULL};
    /* Beats of names that come no more go after an hour; of the others there is always a newer one.
     */
    static const char *const beats[] = {"cleanup.policy=compact,delete", "retention.ms=3600000",
                                        "segment.ms=600000", NULL};
    /* Keys go when their time is over, and a quarter of it later at most. */
    char retention[40], segment[40];
    const char *const keys[] = {"cleanup.policy=compact,delete", retention, segment, NULL};
    const mr_names *names = &a->names;
    const int32_t n = (int32_t)a->s->topic_partitions;
    const mr_kafka_topic other[] = {{names->keys, n, keys},       {names->results, n, NULL},
                                    {names->dead, 1, NULL},       {names->control, 1, NULL},
                                    {names->workers, 1, compact}, {names->dispatchers, 1, beats}};
    mr_kafka_topic topics[MR_INGRESS_TOPICS + MR_COUNT(other) + MR_WEBHOOK_TOPICS];
    const char *ingress[MR_INGRESS_TOPICS + 1];

    if (!a->s->create_topics) return MR_OK;
    snprintf(retention, sizeof retention, "retention.ms=%lld",
             (long long)a->s->idempotency_ttl_s * 1000);
    snprintf(segment, sizeof segment, "segment.ms=%lld", (long long)a->s->idempotency_ttl_s * 250);
    mr_names_ingress(names, ingress);
    for (size_t i = 0; i < MR_INGRESS_TOPICS; i++)
        topics[i] = (mr_kafka_topic){ingress[i], n, NULL};
    memcpy(topics + MR_INGRESS_TOPICS, other, sizeof other);
    mr_webhook_app_topics(names, n, topics + MR_INGRESS_TOPICS + MR_COUNT(other));
    return mr_kafka_ensure_topics(&a->kafka, topics, MR_COUNT(topics), START_TIMEOUT_MS, err);
}

static mr_status open_commit(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    const bool plain = strcmp(s->commit_mode, "plain") == 0;
    const mr_commit_conf conf = {.kafka = a->kafka,
                                 .transactional_id = plain ? NULL : a->transactional_id,
                                 .linger_ms = (uint32_t)s->commit_ms,
                                 .transaction_timeout_ms = (uint32_t)s->transaction_timeout_ms,
                                 .window = (size_t)s->commit_window,
                                 .owner = a,
                                 .on_fatal = on_fatal_commit};
    const mr_status st = mr_commit_open(&a->commit, &a->loop, &conf, err);
    if (st == MR_OK) mr_commit_warm(a->commit, a->names.results);
    return st;
}

static mr_status open_follower(app *a, mr_err *err) {
    char group[256];
    mr_follower_conf conf = {.member = a->member,
                             .topic = a->names.results,
                             .view = a->view,
                             .spans = &a->spans,
                             .owner = a,
                             .on_charged = on_charged,
                             .on_fatal = on_fatal};
    snprintf(group, sizeof group, "%s-follower", a->s->dispatcher_group);
    conf.member.group = group;
    /* A commit of this consumer that waits out an outage carries the member id of before, and
     * librdkafka takes the refusal of a static member's for the end. Others commit by transactions.
     */
    conf.member.instance_id = NULL;
    return mr_follower_open(&a->follower, &a->loop, &conf, err);
}

static mr_status open_webhooks(app *a, mr_err *err) {
    const mr_webhook_app_conf conf = {.settings = a->s,
                                      .policy = a->policy,
                                      .names = &a->names,
                                      .kafka = &a->kafka,
                                      .member = &a->member,
                                      .transactional_id = a->transactional_id,
                                      .spans = &a->spans,
                                      .owner = a,
                                      .on_fatal = on_fatal_commit};
    return mr_webhook_app_open(&a->webhooks, &a->loop, &conf, err);
}

/* What waits, and what tenants may have of it. */
static mr_status open_queue(app *a, mr_err *err) {
    const mr_window_conf wc = {.max_wait_ms = (uint64_t)a->s->max_wait_ms,
                               .owner = a,
                               .weight = weight_of,
                               .ready_ms = ready_ms_of};
    mr_status st = mr_policy_open(&a->policy, a->s->tenants_file, err);
    if (st == MR_OK) st = mr_window_open(&a->window, &wc, err);
    return st == MR_OK ? mr_vitals_open(&a->vitals, a->window, a->policy, err) : st;
}

static mr_status open_spans(app *a, mr_err *err) {
    const mr_otlp_conf conf = {.endpoint = a->s->otlp_endpoint,
                               .headers = a->s->otlp_headers,
                               .service = "millrace-dispatcher",
                               .instance = a->id};
    a->spans.names = &a->names;
    a->spans.topic_prefix = a->s->topic_prefix;
    return mr_otlp_open(&a->spans.otlp, &a->loop, &conf, err);
}

static mr_status open_view(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    const mr_status_conf vc = {.redis_url = s->redis_url,
                               .redis_prefix = s->redis_prefix,
                               .dispatcher = a->id,
                               .ttl_s = s->status_ttl_s,
                               .owner = a,
                               .on_up = on_redis_up,
                               .on_job = on_job};
    return mr_status_open(&a->view, &a->loop, &vc, err);
}

static mr_status open_release(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    const mr_release_conf rc = {.names = &a->names,
                                .commit = a->commit,
                                .window = a->window,
                                .policy = a->policy,
                                .view = a->view,
                                .spans = &a->spans,
                                .default_model = s->default_model,
                                .models = s->models,
                                .model_grace_ms = (uint64_t)s->model_grace_ms,
                                .worker_timeout_ms = (uint64_t)s->worker_timeout_ms,
                                .lookahead = (uint32_t)s->lookahead_jobs};
    return mr_release_open(&a->release, &rc, mr_clock_mono_ms(), err);
}

static mr_status open_keys(app *a, int32_t *n_partitions, mr_err *err) {
    mr_keys_conf kc = {.kafka = &a->kafka,
                       .topic = a->names.keys,
                       .ttl_ms = (uint64_t)a->s->idempotency_ttl_s * 1000,
                       .plain = strcmp(a->s->commit_mode, "plain") == 0,
                       .owner = a,
                       .on_loaded = on_keys_loaded,
                       .on_fatal = on_fatal};
    const mr_status st = mr_keys_partitions(&a->kafka, a->names.keyed, a->names.keys,
                                            START_TIMEOUT_MS, n_partitions, err);
    kc.n_partitions = *n_partitions;
    return st == MR_OK ? mr_keys_open(&a->keys, &a->loop, &kc, err) : st;
}

static mr_status open_intake(app *a, mr_err *err) {
    const mr_settings *s = a->s;
    mr_intake_conf ic = {.member = a->member,
                         .names = &a->names,
                         .commit = a->commit,
                         .window = a->window,
                         .policy = a->policy,
                         .retry = mr_dispatcher_retry_conf(s),
                         .window_jobs = s->window_jobs,
                         .window_bytes = s->window_bytes,
                         .spans = &a->spans,
                         .trace_ratio = mr_trace_ratio(s->trace_ratio),
                         .owner = a,
                         .vet = vet,
                         .on_queued = on_queued,
                         .on_waits = on_waits,
                         .on_delayed = on_delayed,
                         .on_fatal = on_fatal};
    mr_status st = open_keys(a, &ic.n_keyed, err);
    ic.keys = a->keys;
    if (st == MR_OK) st = mr_intake_open(&a->intake, &a->loop, &ic, err);
    if (st == MR_OK) mr_release_attach(a->release, a->intake);
    return st;
}

/* What workers, people and other dispatchers say. */
static mr_status open_feeds(app *a, mr_err *err) {
    const mr_feed_conf fc = {.kafka = &a->kafka,
                             .topic = a->names.workers,
                             .timeout_ms = START_TIMEOUT_MS,
                             .owner = a,
                             .on_msg = on_heartbeat,
                             .on_error = on_feed_error};
    const mr_cancels_conf cc = {.kafka = &a->kafka,
                                .topic = a->names.control,
                                .timeout_ms = START_TIMEOUT_MS,
                                .owner = a,
                                .on_cancel = on_cancel,
                                .on_fatal = on_fatal};
    const mr_peers_conf pc = {.kafka = &a->kafka,
                              .topic = a->names.dispatchers,
                              .dispatcher = a->id,
                              .period_ms = (uint64_t)a->s->beat_ms,
                              .timeout_ms = START_TIMEOUT_MS,
                              .owner = a,
                              .on_fill = on_fill_beat,
                              .on_share = on_share,
                              .on_beat = on_beat,
                              .on_fatal = on_fatal};
    mr_status st = mr_feed_open(&a->workers, &a->loop, &fc, err);
    if (st == MR_OK) st = mr_cancels_open(&a->cancels, &a->loop, &cc, err);
    return st == MR_OK ? mr_peers_open(&a->peers, &a->loop, &pc, err) : st;
}

mr_status mr_dispatcher_open_parts(app *a, mr_err *err) {
    mr_status st = ensure_topics(a, err);
    if (st == MR_OK) st = open_spans(a, err);
    if (st == MR_OK) st = open_commit(a, err);
    if (st == MR_OK) st = open_queue(a, err);
    if (st == MR_OK) st = open_view(a, err);
    if (st == MR_OK) st = open_release(a, err);
    if (st == MR_OK) st = open_intake(a, err);
    if (st == MR_OK) st = open_follower(a, err);
    if (st == MR_OK) st = open_webhooks(a, err);
    if (st == MR_OK) st = open_feeds(a, err);
    if (st == MR_OK) st = open_probes(a, err);
    if (st == MR_OK) st = open_page(a, err);
    a->opened_ms = mr_clock_mono_ms();
    return st;
}

void mr_dispatcher_close_parts(app *a) {
    mr_probes_close(a->probes);
    mr_page_close(a->page);
    a->page = NULL; /* what still is heard of goes nowhere */
    mr_cancels_close(a->cancels);
    mr_kafka_consumer_close(a->workers);
    mr_peers_close(a->peers);
    if (a->commit) (void)mr_commit_flush(a->commit, FLUSH_MS); /* what is left: see close */
    mr_commit_close(a->commit); /* reports to entries of the intake, so before it */
    mr_intake_close(a->intake);
    mr_keys_close(a->keys);
    mr_follower_close(a->follower);
    mr_webhook_app_close(&a->webhooks);
    mr_status_close(a->view);
    mr_release_close(a->release);
    mr_vitals_close(a->vitals);
    mr_window_close(a->window);
    mr_policy_close(a->policy);
    mr_otlp_close(a->spans.otlp); /* what all of them had to say is sent while the loop runs dry */
}
