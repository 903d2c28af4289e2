/* sim_consumer.c - see sim_consumer.h.
 *
 *     OUT -> JOINING -> ASSIGNING -> MEMBER -> LEAVING -> JOINING ...
 *      ^________________ expelled: all is lost at once      \-> LEFT */
#include "sim_consumer.h"

#include <stdlib.h>

#define HEARTBEAT_MS 200
#define FLUSH_MS     600 /* for what was sent, before partitions go */

typedef enum state { OUT, JOINING, ASSIGNING, MEMBER, LEAVING, LEFT } state;

struct sim_consumer {
    sim *s;
    sim_kafka *k;
    sim_consumer_conf conf;
    sim_commit *commit;
    state state;
    int member;
    uint32_t generation, partitions;
    uint64_t heartbeat_at, leave_by;
    bool ending;
    int64_t position[SIM_N_TP]; /* by row */
};

static bool holds_partitions(const sim_consumer *c) {
    return c->state == MEMBER || c->state == LEAVING;
}

static void lose_all(sim_consumer *c) {
    mr_parts *p = sim_commit_parts(c->commit);
    c->conf.on_lost(c->conf.owner);
    for (int i = 0; i < mr_parts_count(p); i++)
        if (mr_parts_assigned(p, i)) sim_commit_revoke(c->commit, i);
}

static void expelled(sim_consumer *c) {
    sim_note(c->s, "member", c->member, "expelled", c->state, 0);
    if (holds_partitions(c)) lose_all(c);
    c->member = -1;
    c->state = c->ending ? LEFT : OUT;
}

static void begin_to_leave(sim_consumer *c) {
    c->state = LEAVING;
    c->leave_by = c->s->now + FLUSH_MS;
    c->conf.on_leaving(c->conf.owner);
}

static void heartbeat(sim_consumer *c) {
    if (c->member < 0 || c->s->now < c->heartbeat_at || sim_chance(c->s, c->s->lost)) return;
    c->heartbeat_at = c->s->now + HEARTBEAT_MS;
    const sim_membership m = sim_kafka_heartbeat(c->k, c->conf.group, c->member);
    if (m == SIM_UNKNOWN)
        expelled(c);
    else if (m == SIM_REBALANCE && c->state == MEMBER)
        begin_to_leave(c);
    else if (m == SIM_REBALANCE && c->state == ASSIGNING)
        c->state = OUT;
}

static void join(sim_consumer *c) {
    if (c->ending) {
        if (c->member >= 0) sim_kafka_leave(c->k, c->conf.group, c->member);
        c->member = -1;
        c->state = LEFT;
        return;
    }
    c->member = sim_kafka_join(c->k, c->conf.group, c->member);
    c->state = JOINING;
}

/* Takes all of them at once, when it is known where each starts. */
static void assign(sim_consumer *c) {
    sim_offset at[SIM_N_TP];
    size_t n = 0;
    for (int tp = 0; tp < SIM_N_TP; tp++)
        if (c->partitions >> tp & 1) at[n++] = (sim_offset){.tp = tp};
    if (!sim_kafka_committed(c->k, c->conf.group, at, n))
        return; /* a transaction is open on them */
    for (size_t i = 0; i < n; i++) {
        const int part = sim_commit_assign(c->commit, &at[i]);
        c->position[part] = at[i].offset < 0 ? 0 : at[i].offset;
        sim_note(c->s, "member", c->member, "assigned", at[i].tp, at[i].offset);
    }
    c->state = MEMBER;
}

static void consume(sim_consumer *c, int part) {
    mr_parts *p = sim_commit_parts(c->commit);
    sim_record r;
    mr_origin at;
    int64_t offset = c->position[part];
    while (mr_parts_assigned(p, part) && !mr_parts_full(p, part, false) &&
           c->conf.may_take(c->conf.owner, part) &&
           sim_kafka_fetch(c->k, mr_parts_partition(p, part), &offset, &r)) {
        c->position[part] = ++offset;
        if (mr_parts_begin(p, part, offset - 1, &at) == MR_OK)
            c->conf.on_record(c->conf.owner, at, &r);
        else
            c->s->seen[SIM_SEEN_SKIPPED]++;
    }
}

static void leave_when_flushed(sim_consumer *c) {
    if (!sim_commit_idle(c->commit) && c->s->now < c->leave_by) return;
    lose_all(c);
    join(c);
}

static void group_work(sim_consumer *c) {
    heartbeat(c);
    if (c->state == OUT) join(c);
    if (c->state == JOINING &&
        sim_kafka_sync(c->k, c->conf.group, c->member, &c->generation, &c->partitions))
        c->state = ASSIGNING;
    if (c->state == ASSIGNING) assign(c);
    if (c->state == MEMBER && c->ending) begin_to_leave(c);
}

void sim_consumer_tick(sim_consumer *c) {
    if (sim_kafka_up(c->k)) group_work(c);
    sim_commit_tick(c->commit, holds_partitions(c) ? c->member : -1, c->generation);
    if (sim_kafka_up(c->k) && c->state == LEAVING) leave_when_flushed(c);
    for (int i = 0; sim_kafka_up(c->k) && c->state == MEMBER &&
                    i < mr_parts_count(sim_commit_parts(c->commit));
         i++)
        consume(c, i);
}

void sim_consumer_leave(sim_consumer *c) {
    c->ending = true;
}

bool sim_consumer_left(const sim_consumer *c) {
    return c->state == LEFT;
}

sim_commit *sim_consumer_commit(sim_consumer *c) {
    return c->commit;
}

int64_t sim_consumer_position(const sim_consumer *c, int part) {
    return c->position[part];
}

sim_consumer *sim_consumer_open(sim *s, sim_kafka *k, const sim_consumer_conf *conf) {
    sim_consumer *c = calloc(1, sizeof *c);
    MR_CHECK(c);
    c->s = s;
    c->k = k;
    c->conf = *conf;
    c->member = -1;
    c->commit = sim_commit_open(s, k,
                                &(sim_commit_conf){.group = conf->group,
                                                   .transactional_id = conf->transactional_id,
                                                   .owner = conf->owner});
    return c;
}

void sim_consumer_kill(sim_consumer *c) {
    if (!c) return;
    sim_commit_kill(c->commit);
    free(c);
}
