/* webhook_internal.h - what webhook.c (records, time, partitions) and webhook_fate.c (one event,
 * from its making to its commit) share. Thread: loop. */
#ifndef MR_DISPATCHER_WEBHOOK_INTERNAL_H
#define MR_DISPATCHER_WEBHOOK_INTERNAL_H

#include "base/heap.h"
#include "dispatcher/webhook.h"
#include "schemas/headers.h"

typedef enum mr_webhook_place {
    MR_EVENT_NOWHERE,
    MR_EVENT_HELD,
    MR_EVENT_CALLED,
    MR_EVENT_LEAVING,
    MR_EVENT_STUCK
} mr_webhook_place;

typedef struct mr_webhook_event mr_webhook_event;
struct mr_webhook_event {
    mr_webhook_event *next, *prev; /* all there are */
    mr_webhooks *w;
    mr_arena arena;
    mr_webhook rec;
    mr_origin at;
    mr_webhook_place place;
    mr_heap_node by_time; /* MR_EVENT_HELD */
    uint64_t ready_ms;    /* MR_EVENT_HELD: wall clock */
    mr_webhook_call call; /* MR_EVENT_CALLED */
    size_t bytes;
    /* MR_EVENT_LEAVING, MR_EVENT_STUCK: the records that decide it, in the arena. */
    mr_commit_record records[2];
    mr_kafka_header headers[1 + MR_TRACE_HEADERS]; /* of each */
    size_t n_records;
};

typedef struct mr_webhook_row { /* of the partition with this row */
    size_t n, bytes;
} mr_webhook_row;

struct mr_webhooks {
    mr_webhooks_conf conf;
    uv_loop_t *loop;
    uv_timer_t tick, due;
    int n_handles;
    mr_commit *commit;
    mr_parts *parts;
    mr_kafka_consumer *consumer;
    mr_webhook_calls *calls;
    mr_webhook_event *events;
    mr_heap by_time;
    mr_webhook_row *rows; /* [n_rows] */
    int n_rows;
    size_t n_events, n_held, bytes, n_stuck; /* bytes: of events that are not held */
    uint64_t stuck_ms;
    bool paused; /* some partition may be */
    bool closing;
    mr_webhooks_counts counts;
    mr_err why; /* of the last vet */
};

/* NULL: no memory. */
mr_webhook_event *mr_webhook_event_make(mr_webhooks *w, mr_origin at);
void mr_webhook_event_free(mr_webhook_event *e); /* wherever it is, but on its way to Kafka */
void mr_webhook_event_unhold(mr_webhook_event *e);

/* One more record of those that decide it; topic and bytes stay until then. */
void mr_webhook_event_record(mr_webhook_event *e, const char *topic, const void *bytes, size_t n);
/* That of what is left of its wait, in the topic for it. MR_ENOMEM. */
mr_status mr_webhook_event_owe(mr_webhook_event *e, uint64_t now_ms);
/* Its records and its offset, together; takes e over. */
void mr_webhook_event_offer(mr_webhook_event *e);
/* Out of memory: its offset stays open, and the process ends. */
void mr_webhook_event_give_up(mr_webhook_event *e);
/* A call is over: mr_webhook_calls_conf. */
void mr_webhook_event_end(void *owner, mr_webhook_call *call, const mr_webhook_end *end);

/* The topic for a wait of left_ms: the longest delay that is not longer. */
int mr_webhook_tier(uint64_t left_ms);

#endif
