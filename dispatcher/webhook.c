/* webhook.c - see webhook.h: the consumer, and what is held; webhook_fate.c has what becomes of it.
 *
 * An event is held until it is due, called, and then waits for its commit; each of these frees it
 * when its partition goes to another dispatcher. Before a try is due it stands in the topic of the
 * longest delay that is not longer than the wait; each topic holds all for the same time, so its
 * head is due first, and some of it is enough to hold: as much as goes on while a partition that
 * was paused is fetched again. Waits shorter than any delay are held here, out of the first topic:
 * so how often was tried is never only in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/webhook_internal.h"

enum {
    RESULT_LIMIT = 64 << 20, /* of a result while its event is made */
    TICK_MS = 100,
    FLUSH_MS = 3000,
    STUCK_MS = 1000, /* what the committer did not take is offered again */
    N_TOPICS = 1 + MR_WEBHOOK_TIER_N
};

/* ---- where an event goes ---- */

static bool before(const mr_heap_node *a, const mr_heap_node *b) {
    const mr_webhook_event *x = MR_HEAP_THING(a, mr_webhook_event, by_time),
                           *y = MR_HEAP_THING(b, mr_webhook_event, by_time);
    return x->ready_ms != y->ready_ms ? x->ready_ms < y->ready_ms : x < y;
}

static void arm(mr_webhooks *w);

static void hold(mr_webhook_event *e, uint64_t ready_ms) {
    mr_webhooks *w = e->w;
    e->place = MR_EVENT_HELD;
    e->ready_ms = ready_ms;
    mr_heap_add(&w->by_time, &e->by_time);
    w->rows[e->at.part].n++;
    w->rows[e->at.part].bytes += e->bytes;
    w->n_held++;
    w->bytes -= e->bytes;
    arm(w);
}

/* It has stood in its topic for as long as the topic holds. */
static void go_on(mr_webhook_event *e) {
    const uint64_t now_ms = mr_clock_wall_ms();
    if (e->rec.due_ms <= now_ms) {
        e->place = MR_EVENT_CALLED;
        mr_webhook_call_begin(e->w->calls, &e->call, &e->rec);
    } else if (mr_webhook_tier(e->rec.due_ms - now_ms) == 0) {
        hold(e, e->rec.due_ms);
    } else if (mr_webhook_event_owe(e, now_ms) == MR_OK) {
        mr_webhook_event_offer(e);
    } else {
        mr_webhook_event_give_up(e);
    }
}

static void on_due(uv_timer_t *t) {
    mr_webhooks *w = t->data;
    const uint64_t now_ms = mr_clock_wall_ms();

    while (w->by_time.top && !mr_commit_full(w->commit)) {
        mr_webhook_event *e = MR_HEAP_THING(w->by_time.top, mr_webhook_event, by_time);
        if (e->ready_ms > now_ms) break;
        mr_webhook_event_unhold(e);
        go_on(e);
    }
    arm(w);
}

/* A committer that is full is asked again with the tick. */
static void arm(mr_webhooks *w) {
    if (w->closing || !w->by_time.top || mr_commit_full(w->commit)) return;
    const uint64_t now_ms = mr_clock_wall_ms(),
                   ready_ms = MR_HEAP_THING(w->by_time.top, mr_webhook_event, by_time)->ready_ms;
    uv_timer_start(&w->due, on_due, ready_ms > now_ms ? ready_ms - now_ms : 0, 0);
}

/* ---- records ---- */

static void ignore(mr_webhooks *w, mr_origin at);

static const mr_callback *callback_of(const mr_webhooks *w, const mr_callback *own,
                                      const mr_result *r) {
    return own->url ? own : w->conf.of_tenant(w->conf.rules_owner, r->tenant);
}

static bool copy_texts(mr_webhook_event *e, const mr_callback *c, const char *tenant) {
    mr_webhook *x = &e->rec;
    x->url = mr_arena_copy(&e->arena, c->url, strlen(c->url));
    x->tenant = mr_arena_copy(&e->arena, tenant, strlen(tenant));
    x->secret_id = c->secret_id ? mr_arena_copy(&e->arena, c->secret_id, strlen(c->secret_id)) : "";
    return x->url && x->tenant && x->secret_id;
}

static mr_status make_body(const mr_webhooks *w, mr_webhook_event *e, const mr_kafka_msg *m,
                           const mr_result *r) {
    mr_webhook *x = &e->rec;
    mr_status st = MR_ELIMIT;
    if (w->conf.full)
        st = mr_webhook_body(r, m->topic, m->partition, m->offset, true, &e->arena, &x->body,
                             &x->body_len);
    if (st == MR_OK) return st;
    mr_arena_drop(&e->arena); /* too long, or no memory: without the result */
    return mr_webhook_body(r, m->topic, m->partition, m->offset, false, &e->arena, &x->body,
                           &x->body_len);
}

/* The event of a result, for somebody who wants it. False: there is none. */
static bool make_of_result(mr_webhooks *w, mr_webhook_event *e, const mr_kafka_msg *m,
                           const mr_result *r, const mr_callback *own) {
    const mr_callback *c = callback_of(w, own, r);
    if (!c || !mr_callback_wants(c, r->status)) return false;
    const mr_status st = make_body(w, e, m, r);
    if (st != MR_OK || !copy_texts(e, c, r->tenant)) {
        mr_commit_lost(w->commit, "an event");
        return true; /* url NULL: it is not finished either */
    }
    memcpy(e->rec.job_id, r->job_id, sizeof e->rec.job_id);
    e->rec.status = r->status;
    e->rec.created_ms = mr_clock_wall_ms();
    return true;
}

/* header: of the callback, NULL when the job has none. */
static void take_result(mr_webhooks *w, mr_webhook_event *e, const mr_kafka_msg *m,
                        const void *header, size_t len) {
    mr_result r;
    mr_callback own;
    mr_format format;
    mr_arena arena;
    mr_err err;
    size_t type_len = 0;
    const char *type = mr_kafka_msg_header(m, "content-type", &type_len);

    mr_arena_init(&arena, RESULT_LIMIT);
    const bool known = mr_format_of(type, type_len, m->value, m->len, &format) &&
                       mr_codec_result_decode(&r, format, m->value, m->len, &arena, &err) == MR_OK;
    (void)mr_callback_read(&own, header, len, &arena);
    if (!known || !make_of_result(w, e, m, &r, &own)) {
        ignore(w, e->at); /* what is no result is told by the follower */
        mr_webhook_event_free(e);
    } else if (!e->rec.url) {
        mr_webhook_event_free(e);
    } else {
        mr_trace_of(&e->rec.trace, m, &e->arena);
        e->bytes = sizeof *e + e->arena.used;
        w->bytes += e->bytes;
        go_on(e);
    }
    mr_arena_drop(&arena);
}

/* Not ours: somebody else has written to our topic. */
static void refuse(mr_webhook_event *e, const mr_kafka_msg *m, const char *why) {
    mr_dead d = {.cause = "malformed",
                 .message = why,
                 .topic = m->topic,
                 .partition = m->partition,
                 .offset = m->offset,
                 .time_ms = mr_clock_wall_ms(),
                 .payload = m->value ? m->value : "",
                 .payload_len = m->len < MR_DEAD_MAX_PAYLOAD ? m->len : MR_DEAD_MAX_PAYLOAD};
    const void *bytes;
    size_t n;
    e->w->counts.dead++;
    mr_log(MR_LOG_WARN, "webhook", "not an event, dead letter", "topic=%s part=%d off=%lld",
           m->topic, m->partition, (long long)m->offset);
    if (mr_codec_dead_encode(&d, &e->arena, &bytes, &n) != MR_OK) {
        mr_webhook_event_give_up(e);
        return;
    }
    mr_webhook_event_record(e, e->w->conf.names->dead, bytes, n);
    mr_webhook_event_offer(e);
}

static void take_owed(mr_webhooks *w, mr_webhook_event *e, const mr_kafka_msg *m,
                      uint64_t tier_ms) {
    const uint64_t now_ms = mr_clock_wall_ms();
    const uint64_t since_ms = m->timestamp_ms > 0 ? (uint64_t)m->timestamp_ms : now_ms;
    mr_err err = {.text = "the record has no value"};

    const bool known =
        m->value && mr_codec_webhook_decode(&e->rec, m->value, m->len, &e->arena, &err) == MR_OK;
    mr_trace_of(&e->rec.trace, m, &e->arena);
    e->bytes = sizeof *e + e->arena.used;
    w->bytes += e->bytes;
    if (!known)
        refuse(e, m, err.text);
    else if (e->rec.due_ms > now_ms && since_ms + tier_ms > now_ms)
        hold(e, e->rec.due_ms < since_ms + tier_ms ? e->rec.due_ms : since_ms + tier_ms);
    else
        go_on(e);
}

static uint64_t tier_ms_of(const mr_webhooks *w, const char *topic) {
    int tier = MR_WEBHOOK_TIER_N - 1;
    while (tier > 0 && strcmp(w->conf.names->webhooks[tier], topic) != 0) tier--;
    return mr_webhook_tier_ms[tier];
}

static void on_ignored(void *owner, void *arg, mr_status st, const char *why, int64_t offset) {
    (void)owner, (void)arg, (void)st, (void)why, (void)offset;
}

/* Nothing is owed for it. What is not taken is read again by the next owner: pause_where_full keeps
 * the committer from being that full. */
static void ignore(mr_webhooks *w, mr_origin at) {
    mr_err err;
    const mr_status st = mr_commit_send(w->commit, at, NULL, 0, on_ignored, NULL, NULL, &err);
    if (st != MR_OK && st != MR_ECANCELED) w->conf.on_fatal(w->conf.owner, st, err.text);
}

/* ---- pausing ---- */

static bool is_full(const mr_webhooks *w, size_t part_of_it) {
    return w->n_events - w->n_held >= MR_WEBHOOKS_MAX / part_of_it ||
           w->bytes >= MR_WEBHOOKS_BYTES / part_of_it || mr_commit_busy(w->commit);
}

static bool row_is_full(const mr_webhooks *w, int part, bool paused) {
    const mr_webhook_row *h = &w->rows[part];
    const size_t divisor = paused ? 2 : 1;
    return h->n >= MR_WEBHOOKS_HELD / divisor || h->bytes >= MR_WEBHOOKS_AHEAD / divisor ||
           mr_parts_full(w->parts, part, paused);
}

static void pause_where_full(mr_webhooks *w, int part) {
    const bool all = is_full(w, 1);
    if (!all && !row_is_full(w, part, false)) return;
    w->paused = true;
    for (int i = 0; i < mr_parts_count(w->parts); i++)
        if (all || i == part) mr_member_pause(w->consumer, w->parts, i, true);
}

static void resume(mr_webhooks *w) {
    if (!w->paused || is_full(w, 2)) return;
    w->paused = false;
    for (int i = 0; i < mr_parts_count(w->parts); i++) {
        if (!mr_parts_assigned(w->parts, i)) continue;
        if (row_is_full(w, i, mr_member_paused(w->consumer, w->parts, i)))
            w->paused = true;
        else
            mr_member_pause(w->consumer, w->parts, i, false);
    }
}

/* ---- the consumer ---- */

/* Most results have nobody to tell: nothing is made of them, and they are not even read. */
static bool is_for_nobody(const mr_webhooks *w, const mr_kafka_msg *m, const void *header) {
    return !m->value || (!header && !w->conf.any_tenant(w->conf.rules_owner));
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_webhooks *w = owner;
    const int part = mr_parts_find(w->parts, m->topic, m->partition);
    const bool is_result = strcmp(m->topic, w->conf.names->results) == 0;
    const void *header = NULL;
    mr_webhook_event *e = NULL;
    mr_origin at;
    size_t len = 0;

    if (part < 0 || mr_parts_begin(w->parts, part, m->offset, &at) != MR_OK) return;
    if (is_result) header = mr_kafka_msg_header(m, MR_HEADER_CALLBACK, &len);
    if (is_result && is_for_nobody(w, m, header))
        ignore(w, at);
    else if ((e = mr_webhook_event_make(w, at)) == NULL)
        mr_commit_lost(w->commit, "a record");
    else if (is_result)
        take_result(w, e, m, header, len);
    else
        take_owed(w, e, m, tier_ms_of(w, m->topic));
    pause_where_full(w, part);
}

static bool need_row(mr_webhooks *w, int part) {
    if (part < w->n_rows) return true;
    mr_webhook_row *rows = realloc(w->rows, (size_t)(part + 1) * sizeof *rows);
    if (!rows) return false;
    memset(rows + w->n_rows, 0, (size_t)(part + 1 - w->n_rows) * sizeof *rows);
    w->rows = rows;
    w->n_rows = part + 1;
    return true;
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_webhooks *w = owner;
    mr_err err;

    for (size_t i = 0; i < n; i++) {
        mr_status st = mr_commit_assign(w->commit, &tp[i], &err);
        const int part = st == MR_OK ? mr_parts_find(w->parts, tp[i].topic, tp[i].partition) : -1;
        if (part >= 0 && !need_row(w, part)) {
            mr_commit_revoke(w->commit, tp[i].topic, tp[i].partition);
            st = mr_fail(&err, MR_ENOMEM, "out of memory");
        }
        if (st != MR_OK)
            mr_log(MR_LOG_ERROR, "webhook", "partition not taken", "topic=%s part=%d err=" MR_Q,
                   tp[i].topic, tp[i].partition, err.text);
    }
}

/* What is on its way to Kafka is told by the committer, and freed then. */
static void drop_events_of(mr_webhooks *w, int part) {
    for (mr_webhook_event *e = w->events, *next; e; e = next) {
        next = e->next;
        if (e->at.part == part && e->place != MR_EVENT_LEAVING) mr_webhook_event_free(e);
    }
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_webhooks *w = owner;
    if (w->closing) return;
    if (!lost) (void)mr_commit_flush(w->commit, FLUSH_MS);
    for (size_t i = 0; i < n; i++) {
        const int part = mr_parts_find(w->parts, tp[i].topic, tp[i].partition);
        if (part < 0) continue;
        drop_events_of(w, part);
        mr_commit_revoke(w->commit, tp[i].topic, tp[i].partition);
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_webhooks *w = owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "webhook", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) w->conf.on_fatal(w->conf.owner, status, text);
}

static void offer_stuck(mr_webhooks *w) {
    const uint64_t now_ms = mr_clock_mono_ms();
    if (!w->n_stuck || now_ms < w->stuck_ms || mr_commit_full(w->commit)) return;
    w->stuck_ms = now_ms + STUCK_MS;
    for (mr_webhook_event *e = w->events, *next; e; e = next) {
        next = e->next;
        if (e->place != MR_EVENT_STUCK) continue;
        w->n_stuck--;
        mr_webhook_event_offer(e);
    }
}

static void on_tick(uv_timer_t *t) {
    mr_webhooks *w = t->data;
    offer_stuck(w);
    mr_webhook_calls_tick(w->calls);
    on_due(&w->due);
    resume(w);
}

/* ---- the doors ---- */

mr_status mr_webhooks_secrets(mr_webhooks *w, const char *text, const char *path, mr_err *err) {
    mr_webhook_secrets *secrets;
    const mr_status st = mr_webhook_secrets_open(&secrets, text, path, err);
    if (st == MR_OK) mr_webhook_calls_secrets(w->calls, secrets);
    return st;
}

bool mr_webhooks_vet(mr_webhooks *w, const mr_callback *c, mr_job_error *why) {
    mr_webhook_url url;
    if (!c->url || mr_webhook_url_check(&url, c->url, &w->conf.calls.rules, &w->why) == MR_OK)
        return true;
    *why = (mr_job_error){.code = "out_of_range", .field = "callback.url", .message = w->why.text};
    return false;
}

mr_webhooks_counts mr_webhooks_count(const mr_webhooks *w) {
    mr_webhooks_counts c = w->counts;
    c.in_hand = w->n_events - w->n_held;
    c.held = w->n_held;
    c.in_flight = mr_webhook_calls_in_flight(w->calls);
    c.hosts = mr_webhook_calls_hosts(w->calls);
    return c;
}

static mr_status open_consumer(mr_webhooks *w, mr_err *err) {
    const char *topics[N_TOPICS + 1] = {w->conf.names->results};
    for (int t = 0; t < MR_WEBHOOK_TIER_N; t++) topics[1 + t] = w->conf.names->webhooks[t];
    mr_kafka_consumer_conf cc = mr_member_consumer(&w->conf.member, topics);
    cc.owner = w;
    cc.on_msg = on_msg;
    cc.on_assign = on_assign;
    cc.on_revoke = on_revoke;
    cc.on_error = on_error;
    const mr_status st = mr_kafka_consumer_open(&w->consumer, w->loop, &cc, err);
    if (st == MR_OK) mr_commit_use(w->commit, w->consumer);
    return st;
}

static void on_fatal_commit(void *owner, mr_status status, const char *text) {
    mr_webhooks *w = owner;
    w->conf.on_fatal(w->conf.owner, status, text);
}

static void on_handle_closed(uv_handle_t *h) {
    mr_webhooks *w = h->data;
    if (--w->n_handles > 0) return;
    free(w->rows);
    free(w);
}

mr_status mr_webhooks_open(mr_webhooks **out, uv_loop_t *loop, const mr_webhooks_conf *conf,
                           mr_err *err) {
    mr_webhooks *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return mr_fail(err, MR_ENOMEM, "webhooks: out of memory");
    w->conf = *conf;
    w->loop = loop;
    w->by_time.before = before;
    w->conf.commit.owner = w->conf.calls.owner = w;
    w->conf.commit.on_fatal = on_fatal_commit;
    w->conf.calls.on_end = mr_webhook_event_end;
    uv_timer_init(loop, &w->tick);
    uv_timer_init(loop, &w->due);
    w->tick.data = w->due.data = w;
    w->n_handles = 2;
    mr_status st = mr_commit_open(&w->commit, loop, &w->conf.commit, err);
    if (st == MR_OK) st = mr_webhook_calls_open(&w->calls, loop, &w->conf.calls, err);
    if (st == MR_OK) {
        w->parts = mr_commit_parts(w->commit);
        st = open_consumer(w, err);
    }
    if (st != MR_OK) {
        mr_webhooks_close(w);
        return st;
    }
    uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
    *out = w;
    return MR_OK;
}

void mr_webhooks_close(mr_webhooks *w) {
    if (!w) return;
    if (w->commit) (void)mr_commit_flush(w->commit, FLUSH_MS);
    w->closing = true;
    mr_commit_close(w->commit); /* reports to events, so before they go */
    mr_kafka_consumer_close(w->consumer);
    while (w->events) mr_webhook_event_free(w->events);
    mr_webhook_calls_close(w->calls);
    uv_close((uv_handle_t *)&w->tick, on_handle_closed);
    uv_close((uv_handle_t *)&w->due, on_handle_closed);
}
