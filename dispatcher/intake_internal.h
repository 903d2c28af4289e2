/* intake_internal.h - what intake.c (the consumer: partitions, pauses, time) and intake_fate.c
 * (what becomes of a record) share. Thread: loop. */
#ifndef MR_DISPATCHER_INTAKE_INTERNAL_H
#define MR_DISPATCHER_INTAKE_INTERNAL_H

#include "dispatcher/delay.h"
#include "dispatcher/ends.h"
#include "dispatcher/entries.h"
#include "dispatcher/intake.h"
#include "dispatcher/onward.h"
#include "dispatcher/recent.h"
#include "dispatcher/refusal.h"

struct mr_intake {
    mr_intake_conf conf;
    mr_kafka_consumer *consumer;
    mr_parts *parts; /* the committer's */
    mr_entries *entries;
    int64_t n_parts[2]; /* that are ours; of delay topics: 1 */
    mr_delay *delay;
    mr_refusals *refusals;
    mr_onward *onward;
    mr_recent *cancelled;
    mr_ends *ends;
    uint64_t next_expiry_ms; /* no entry ends earlier by itself; UINT64_MAX: none */
    uv_timer_t timer;        /* for the first of delay */
    uint64_t armed_ms;       /* when it fires, wall clock; UINT64_MAX: it does not */
    mr_intake_counts counts;
    uint64_t held_ms; /* since when the consumer delivers nothing; 0: it does. Monotonic */
    bool room;        /* something has gone since the last look at what may come */
    bool assigned, closing;
};

/* ---- intake.c ---- */

/* The first of delay may be another one now. */
void mr_intake_arm(mr_intake *in);

/* ---- intake_fate.c ---- */

/* A record that was begun; whatever comes of it. */
void mr_intake_take(mr_intake *in, const mr_kafka_msg *m, mr_origin at);
/* What comes next for an entry that nobody has linked. now_ms: wall clock. */
void mr_intake_route(mr_intake *in, mr_entry *e, uint64_t now_ms);
/* Shows the waits that began in this turn of the loop and have not ended in it. */
void mr_intake_tell(mr_intake *in);
/* Nobody has it linked any more. */
void mr_intake_unlink(mr_intake *in, mr_entry *e);
/* Ends what has expired or was cancelled, as long as the committer takes the answers. */
void mr_intake_end_due(mr_intake *in, uint64_t now_ms);
/* Entries leave here, also to be freed: for the owner of onward. */
void mr_intake_gone_on(void *owner, mr_entry *e, mr_status status, const char *why);

#endif
