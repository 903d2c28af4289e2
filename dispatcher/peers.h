/* peers.h - the dispatchers of one deployment: each tells the others every period_ms that it lives
 * and what waits with it, and counts those that have jobs waiting, because they share the workers.
 *
 * The records are those of <prefix>.dispatchers; `millrace top` and `millrace status` read them,
 * too. One that is silent for MR_PEER_BEATS periods, and at least MR_PEER_LEAST_MS, is gone. A
 * view, never an authority: what is not sent is said again by the next one. Bound: MR_MAX_PEERS
 * others, those heard of first. Thread: loop. */
#ifndef MR_DISPATCHER_PEERS_H
#define MR_DISPATCHER_PEERS_H

#include <uv.h>

#include "base/kafka.h"
#include "millrace/job.h"

#define MR_MAX_PEERS     64
#define MR_PEER_BEATS    4
#define MR_PEER_LEAST_MS 2000

typedef struct mr_peers mr_peers;

typedef struct mr_peers_conf {
    const mr_kafka_conf *kafka;
    const char *topic, *dispatcher;
    uint64_t period_ms;
    int timeout_ms; /* for metadata, at open */
    void *owner;
    /* Fill in all but dispatcher, sent_ms and leaving; borrowed until the next call. */
    void (*on_fill)(void *owner, mr_beat *b);
    /* So many dispatchers have jobs waiting, this one included: at least 1. */
    void (*on_share)(void *owner, size_t n);
    /* Each beat that is read, our own too; borrowed. NULL allowed. */
    void (*on_beat)(void *owner, const mr_beat *b);
    void (*on_fatal)(void *owner, const char *text); /* nothing more will come: stop */
} mr_peers_conf;

/* Blocks for metadata. */
mr_status mr_peers_open(mr_peers **out, uv_loop_t *loop, const mr_peers_conf *conf, mr_err *err);
void mr_peers_set_period(mr_peers *p, uint64_t period_ms); /* from the next beat on */
size_t mr_peers_live(const mr_peers *p);                   /* the others, now */
/* The last beat says so; blocks for a second at most. Handles close on the loop. NULL is allowed.
 */
void mr_peers_close(mr_peers *p);

#endif
