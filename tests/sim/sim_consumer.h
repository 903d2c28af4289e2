/* sim_consumer.h - a member of a group: joins, takes partitions, reads them, gives them back.
 *
 * What base/kafka_consumer.c and librdkafka do for a process, with its committer. Everything
 * happens in tick(): a process that is paused learns of nothing until it goes on. Owner: the
 * process. */
#ifndef MR_TESTS_SIM_CONSUMER_H
#define MR_TESTS_SIM_CONSUMER_H

#include "sim_commit.h"

typedef struct sim_consumer sim_consumer;

typedef struct sim_consumer_conf {
    sim_group group;
    int transactional_id;
    void *owner; /* also of the committer's done callbacks */
    /* All partitions go, in good order: what runs is to be unmarked. What was sent is committed
     * next, if there is time; then on_lost. */
    void (*on_leaving)(void *owner);
    void (*on_lost)(void *owner); /* they are gone: nothing of them may be answered any more */
    bool (*may_take)(void *owner, int part);
    void (*on_record)(void *owner, mr_origin at, const sim_record *r);
} sim_consumer_conf;

sim_consumer *sim_consumer_open(sim *s, sim_kafka *k, const sim_consumer_conf *conf);
void sim_consumer_kill(sim_consumer *c); /* NULL is allowed */
void sim_consumer_tick(sim_consumer *c);
/* Leave in good order; left: it is done. */
void sim_consumer_leave(sim_consumer *c);
bool sim_consumer_left(const sim_consumer *c);
sim_commit *sim_consumer_commit(sim_consumer *c);
int64_t sim_consumer_position(const sim_consumer *c, int part); /* the next offset it will take */

#endif
