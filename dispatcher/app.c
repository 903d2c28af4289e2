/* app.c - see app.h: the loop, its time and its signals.
 *
 * One loop thread. A tick every TICK_MS does what no event announces: expiry, another try,
 * resuming, room that came back because a worker fell silent and returned. Nothing is released
 * before the cancels from before the start are known, CANCELS_WAIT_MS at most. Stop: what is on its
 * way to Kafka is committed or left to the next owner, the groups are left, handles close, and
 * uv_loop_close() must find none left. That blocks for some seconds at worst, so from the first
 * signal on the second one has its default effect. */
#include "dispatcher/app.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "dispatcher/app_internal.h"

enum { TICK_MS = 100, SWEEP_MS = 1000, CANCELS_WAIT_MS = 10000 };

typedef mr_dispatcher app;

/* ---- time ---- */

bool mr_dispatcher_may_release(const app *a, uint64_t now_ms) {
    return mr_cancels_caught_up(a->cancels) || now_ms - a->opened_ms >= CANCELS_WAIT_MS;
}

static void release_now(app *a) {
    const uint64_t now_ms = mr_clock_mono_ms();
    if (mr_dispatcher_may_release(a, now_ms)) mr_release_run(a->release, now_ms);
}

static void on_tick(uv_timer_t *t) {
    app *a = t->data;
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_notify_alive(&a->notify, now_ms);
    mr_intake_tick(a->intake, mr_clock_wall_ms());
    if (now_ms - a->swept_ms >= SWEEP_MS) {
        a->swept_ms = now_ms;
        mr_release_sweep(a->release, now_ms);
    }
    release_now(a);
}

/* Records of one loop turn are released together, not one by one as they are decoded. */
static void on_prepare(uv_prepare_t *p) {
    app *a = p->data;
    if (a->run_soon) {
        a->run_soon = false;
        release_now(a);
    }
    mr_intake_flow(a->intake);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *h, int signum) {
    app *a = h->data;
    mr_log(MR_LOG_INFO, "app", "stopping", "signal=%s", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    uv_signal_stop(&a->sigterm);
    uv_signal_stop(&a->sigint);
    mr_signals_end();
    mr_notify_stopping(&a->notify);
    uv_stop(&a->loop);
}

static void on_setting_changed(void *owner, const char *name, bool applied) {
    (void)owner;
    mr_log(MR_LOG_INFO, "app",
           applied ? "setting changed" : "setting takes effect at the next start", "name=%s", name);
}

static void reload_policy(app *a) {
    mr_err err;
    if (mr_policy_load(a->policy, a->s->tenants_file, &err) != MR_OK)
        mr_log(MR_LOG_ERROR, "app", "rules of tenants not read again: nothing has changed",
               "err=" MR_Q, err.text);
}

static void reload_token(app *a) {
    mr_err err;
    if (mr_page_set_token(a->page, a->s->http_token, &err) != MR_OK)
        mr_log(MR_LOG_ERROR, "app", "the page keeps its token", "err=" MR_Q, err.text);
}

static void on_reload(uv_signal_t *h, int signum) {
    app *a = h->data;
    mr_settings *s = a->s;
    mr_err err;

    (void)signum;
    if (mr_settings_reload(s, MR_PROGRAM_DISPATCHER, a->argc, a->argv, on_setting_changed, a,
                           &err) != MR_OK) {
        mr_log(MR_LOG_ERROR, "app", "settings not read again: nothing has changed", "err=" MR_Q,
               err.text);
        return;
    }
    mr_log_setup(s->log_level, strcmp(s->log_format, "json") == 0);
    const mr_retry_conf retry = mr_dispatcher_retry_conf(s);
    reload_policy(a);
    reload_token(a);
    mr_webhook_app_reload(&a->webhooks);
    mr_intake_set_window(a->intake, s->window_jobs, s->window_bytes);
    mr_intake_set_retry(a->intake, &retry);
    mr_release_set(a->release, (uint64_t)s->model_grace_ms, (uint64_t)s->worker_timeout_ms,
                   (uint32_t)s->lookahead_jobs);
    mr_status_set_ttl(a->view, s->status_ttl_s);
    mr_window_set_max_wait(a->window, (uint64_t)s->max_wait_ms);
    mr_peers_set_period(a->peers, (uint64_t)s->beat_ms);
}

/* ---- the beginning and the end ---- */

/* A name that lasts fences the process that had it before at once; with one made up here what a
 * killed process left open ends after transaction_timeout_ms. */
static void name_self(app *a) {
    const mr_settings *s = a->s;
    char host[65] = "dispatcher";

    gethostname(host, sizeof host - 1);
    if (s->dispatcher_id[0])
        snprintf(a->id, sizeof a->id, "%s", s->dispatcher_id);
    else
        snprintf(a->id, sizeof a->id, "%s-%ld", host, (long)getpid());
    snprintf(a->transactional_id, sizeof a->transactional_id, "%s.dispatcher.%s", s->topic_prefix,
             a->id);
    a->member = (mr_member_conf){.kafka = &a->kafka,
                                 .group = s->dispatcher_group,
                                 .instance_id = s->dispatcher_id[0] ? s->dispatcher_id : NULL,
                                 .assignor = s->assignor,
                                 .session_timeout_ms = (int)s->session_timeout_ms};
}

/* A manager with a wrong address is told nothing; that is no reason not to work. */
static void open_notify(app *a) {
    mr_err err = {0};

    if (mr_notify_init(&a->notify, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "app", "the service manager is told nothing", "err=" MR_Q, err.text);
}

static void init_handles(app *a) {
    uv_timer_init(&a->loop, &a->tick);
    uv_prepare_init(&a->loop, &a->prepare);
    uv_signal_init(&a->loop, &a->sigterm);
    uv_signal_init(&a->loop, &a->sigint);
    uv_signal_init(&a->loop, &a->sighup);
    a->tick.data = a->prepare.data = a;
    a->sigterm.data = a->sigint.data = a->sighup.data = a;
}

static void close_handles(app *a) {
    uv_close((uv_handle_t *)&a->tick, NULL);
    uv_close((uv_handle_t *)&a->prepare, NULL);
    uv_close((uv_handle_t *)&a->sigterm, NULL);
    uv_close((uv_handle_t *)&a->sigint, NULL);
    uv_close((uv_handle_t *)&a->sighup, NULL);
}

static mr_status start_handles(app *a, mr_err *err) {
    uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS);
    uv_prepare_start(&a->prepare, on_prepare);
    if (uv_signal_start(&a->sigterm, on_signal, SIGTERM) != 0 ||
        uv_signal_start(&a->sigint, on_signal, SIGINT) != 0 ||
        uv_signal_start(&a->sighup, on_reload, SIGHUP) != 0)
        return mr_fail(err, MR_EINTERNAL, "cannot watch for signals");
    return MR_OK;
}

mr_status mr_dispatcher_run(mr_settings *s, int argc, char *const *argv, mr_err *err) {
    app *a = calloc(1, sizeof *a);

    if (!a) return mr_fail(err, MR_ENOMEM, "dispatcher: out of memory");
    a->s = s;
    a->argc = argc;
    a->argv = argv;
    MR_CHECK(uv_loop_init(&a->loop) == 0);
    init_handles(a);
    mr_status st = mr_names_init(&a->names, s->topic_prefix, s->redis_prefix, err);
    a->kafka = (mr_kafka_conf){s->kafka_brokers, "millrace-dispatcher", s->kafka_extra};
    name_self(a);
    open_notify(a);
    if (st == MR_OK) st = mr_dispatcher_open_parts(a, err);
    if (st == MR_OK) st = start_handles(a, err);
    if (st == MR_OK) {
        mr_log(MR_LOG_INFO, "app", "dispatcher started",
               "id=" MR_Q " brokers=" MR_Q " kafka_lib=" MR_Q " prefix=%s group=%s commit=%s",
               a->id, s->kafka_brokers, mr_kafka_version(), s->topic_prefix, s->dispatcher_group,
               s->commit_mode);
        mr_notify_ready(&a->notify);
        uv_run(&a->loop, UV_RUN_DEFAULT);
        if (a->fatal.status != MR_OK) st = mr_fail(err, a->fatal.status, "%s", a->fatal.text);
    }
    mr_dispatcher_close_parts(a);
    close_handles(a);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    MR_CHECK(uv_loop_close(&a->loop) == 0);
    free(a);
    return st;
}
