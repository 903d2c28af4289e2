/* webhook_fate.c - one event: what becomes of it, and how that gets into Kafka.
 *
 * The records that decide an event (the line of the log, what is still owed or the dead letter) are
 * made in its arena and handed to the committer with its offset, all or nothing. What the committer
 * does not take (no room, no such topic) is offered again until it does: an event is never dropped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/webhook_internal.h"

enum {
    EVENT_LIMIT = 8 << 20, /* memory of one event */
    PUT_OFF_MS = 5000,
    PUT_OFF_MAX_MS = 300000
};

/* ---- events ---- */

mr_webhook_event *mr_webhook_event_make(mr_webhooks *w, mr_origin at) {
    mr_webhook_event *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->w = w;
    e->at = at;
    mr_arena_init(&e->arena, EVENT_LIMIT);
    e->next = w->events;
    if (e->next) e->next->prev = e;
    w->events = e;
    w->n_events++;
    return e;
}

void mr_webhook_event_unhold(mr_webhook_event *e) {
    mr_webhooks *w = e->w;
    mr_heap_drop(&w->by_time, &e->by_time);
    w->rows[e->at.part].n--;
    w->rows[e->at.part].bytes -= e->bytes;
    w->n_held--;
    w->bytes += e->bytes;
    e->place = MR_EVENT_NOWHERE;
}

void mr_webhook_event_free(mr_webhook_event *e) {
    mr_webhooks *w = e->w;
    if (e->place == MR_EVENT_HELD) mr_webhook_event_unhold(e);
    if (e->place == MR_EVENT_CALLED) mr_webhook_call_cancel(w->calls, &e->call);
    if (e->place == MR_EVENT_STUCK) w->n_stuck--;
    *(e->prev ? &e->prev->next : &w->events) = e->next;
    if (e->next) e->next->prev = e->prev;
    w->n_events--;
    w->bytes -= e->bytes;
    mr_arena_drop(&e->arena);
    free(e);
}

/* ---- leaving ---- */

static void get_stuck(mr_webhook_event *e, mr_status st, const char *why) {
    mr_webhooks *w = e->w;
    if (w->n_stuck++ == 0)
        mr_log(MR_LOG_WARN, "webhook", "records not taken, trying again",
               "job=%s status=%s err=" MR_Q, e->rec.job_id, mr_status_name(st), why ? why : "");
    e->place = MR_EVENT_STUCK;
}

static void on_committed(void *owner, void *arg, mr_status st, const char *why, int64_t offset) {
    mr_webhook_event *e = arg;
    (void)owner;
    (void)offset;
    if (st == MR_OK || st == MR_ECANCELED)
        mr_webhook_event_free(e); /* else the next owner of its partition does it again */
    else
        get_stuck(e, st, why);
}

void mr_webhook_event_offer(mr_webhook_event *e) {
    mr_err err = {0};
    e->place = MR_EVENT_LEAVING;
    const mr_status st =
        mr_commit_send(e->w->commit, e->at, e->records, e->n_records, on_committed, NULL, e, &err);
    if (st == MR_ECANCELED)
        mr_webhook_event_free(e);
    else if (st != MR_OK)
        get_stuck(e, st, err.text);
}

void mr_webhook_event_record(mr_webhook_event *e, const char *topic, const void *bytes, size_t n) {
    e->headers[0] = (mr_kafka_header){"content-type", "application/json", 16};
    const size_t n_headers = 1 + mr_trace_headers(&e->rec.trace, e->headers + 1);
    e->records[e->n_records++] = (mr_commit_record){.topic = topic,
                                                    .partition = MR_KAFKA_ANY_PARTITION,
                                                    .key = e->rec.job_id,
                                                    .key_len = strlen(e->rec.job_id),
                                                    .value = bytes,
                                                    .len = n,
                                                    .headers = e->headers,
                                                    .n_headers = n_headers};
}

void mr_webhook_event_give_up(mr_webhook_event *e) {
    mr_commit_lost(e->w->commit, "an event");
    e->place = MR_EVENT_NOWHERE;
    mr_webhook_event_free(e);
}

int mr_webhook_tier(uint64_t left_ms) {
    int tier = MR_WEBHOOK_TIER_N - 1;
    while (tier > 0 && mr_webhook_tier_ms[tier] > left_ms) tier--;
    return tier;
}

mr_status mr_webhook_event_owe(mr_webhook_event *e, uint64_t now_ms) {
    const uint64_t left_ms = e->rec.due_ms > now_ms ? e->rec.due_ms - now_ms : 0;
    const void *bytes;
    size_t n;
    const mr_status st = mr_codec_webhook_encode(&e->rec, &e->arena, &bytes, &n);
    if (st == MR_OK)
        mr_webhook_event_record(e, e->w->conf.names->webhooks[mr_webhook_tier(left_ms)], bytes, n);
    return st;
}

static mr_status add_dead(mr_webhook_event *e, const char *cause, const char *why) {
    const mr_webhooks *w = e->w;
    const void *payload, *bytes;
    size_t payload_len, n;
    mr_dead d = {.cause = cause,
                 .message = why,
                 .topic = mr_parts_topic(w->parts, e->at.part),
                 .partition = mr_parts_partition(w->parts, e->at.part),
                 .offset = e->at.offset,
                 .time_ms = mr_clock_wall_ms(),
                 .job_id = e->rec.job_id};
    mr_status st = mr_codec_webhook_encode(&e->rec, &e->arena, &payload, &payload_len);
    d.payload = payload;
    d.payload_len = payload_len;
    if (st == MR_OK) st = mr_codec_dead_encode(&d, &e->arena, &bytes, &n);
    if (st == MR_OK) mr_webhook_event_record(e, w->conf.names->dead, bytes, n);
    return st;
}

static mr_status add_log(mr_webhook_event *e, const mr_webhook_end *end,
                         mr_delivery_outcome outcome) {
    char id[MR_WEBHOOK_ID];
    const void *bytes;
    size_t n;
    mr_delivery d = {.id = id,
                     .event = e->rec.status,
                     .tenant = e->rec.tenant,
                     .host = e->call.url.origin,
                     .outcome = outcome,
                     .tries = e->rec.tries,
                     .code = end->outcome.code,
                     .took_ms = end->took_ms,
                     .why = end->why,
                     .time_ms = mr_clock_wall_ms(),
                     .due_ms = outcome == MR_DELIVERY_FAILED ? e->rec.due_ms : 0};
    memcpy(d.job_id, e->rec.job_id, sizeof d.job_id);
    mr_webhook_id(id, e->rec.job_id, e->rec.status);
    const mr_status st = mr_codec_delivery_encode(&d, &e->arena, &bytes, &n);
    if (st == MR_OK) mr_webhook_event_record(e, e->w->conf.names->deliveries, bytes, n);
    return st;
}

/* ---- what a try came to ---- */

static uint64_t put_off_ms(uint32_t times) {
    const uint64_t ms = (uint64_t)PUT_OFF_MS << (times < 10 ? times : 10);
    return ms < PUT_OFF_MAX_MS ? ms : PUT_OFF_MAX_MS;
}

static void put_off(mr_webhook_event *e) {
    const uint64_t now_ms = mr_clock_wall_ms();
    e->w->counts.put_off++;
    e->rec.due_ms = now_ms + put_off_ms(e->rec.put_off);
    if (e->rec.put_off < UINT32_MAX) e->rec.put_off++;
    if (mr_webhook_event_owe(e, now_ms) == MR_OK)
        mr_webhook_event_offer(e);
    else
        mr_webhook_event_give_up(e);
}

static mr_webhook_fate judge(mr_webhook_event *e, const mr_webhook_end *end, const char **cause) {
    uint32_t chance = 0;

    uv_random(NULL, NULL, &chance, sizeof chance, 0, NULL);
    *cause = end->cause;
    if (end->cause) return MR_WEBHOOK_DEAD;
    e->rec.tries++;
    e->rec.put_off = 0;
    return mr_webhook_plan_next(&e->w->conf.plan, e->rec.tries, &end->outcome, mr_clock_wall_ms(),
                                chance, &e->rec.due_ms, cause);
}

static mr_status settle(mr_webhook_event *e, const mr_webhook_end *end) {
    mr_webhooks *w = e->w;
    const char *cause;
    mr_status st;

    switch (judge(e, end, &cause)) {
    case MR_WEBHOOK_DELIVERED:
        w->counts.delivered++;
        return add_log(e, end, MR_DELIVERY_DELIVERED);
    case MR_WEBHOOK_AGAIN:
        w->counts.failed++;
        st = add_log(e, end, MR_DELIVERY_FAILED);
        return st == MR_OK ? mr_webhook_event_owe(e, mr_clock_wall_ms()) : st;
    default:
        w->counts.dead++;
        mr_log(MR_LOG_WARN, "webhook", "event given up",
               "job=%s tenant=" MR_Q " host=" MR_Q " cause=%s tries=%u err=" MR_Q, e->rec.job_id,
               e->rec.tenant, e->call.url.origin, cause, (unsigned)e->rec.tries, end->why);
        st = add_log(e, end, MR_DELIVERY_DEAD);
        return st == MR_OK ? add_dead(e, cause, end->why) : st;
    }
}

void mr_webhook_event_end(void *owner, mr_webhook_call *call, const mr_webhook_end *end) {
    mr_webhook_event *e = MR_HEAP_THING(call, mr_webhook_event, call);
    (void)owner;
    e->place = MR_EVENT_NOWHERE;
    if (end->tried) mr_spans_called(e->w->conf.spans, &e->rec, call->url.origin, end);
    if (!end->tried && !end->cause)
        put_off(e);
    else if (settle(e, end) == MR_OK)
        mr_webhook_event_offer(e);
    else
        mr_webhook_event_give_up(e);
}
