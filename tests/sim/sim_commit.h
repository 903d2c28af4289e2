/* sim_commit.h - the group commit of what a consumer has done.
 *
 * The rules of base/commit.h, made of the same pure modules (parts, offsets, txn_plan), over
 * requests that get lost, are late, or are answered when nobody listens any more. Everything
 * happens in tick(). Owner: the process; dies with it, while what it sent is still on its way. */
#ifndef MR_TESTS_SIM_COMMIT_H
#define MR_TESTS_SIM_COMMIT_H

#include "base/parts.h"
#include "sim_kafka.h"

#define SIM_ITEM_PUTS 2 /* records of one item at most */

typedef struct sim_commit sim_commit;

/* MR_OK: committed, offset of the first record. MR_ECANCELED: the partition is no longer ours. */
typedef void sim_done(void *owner, uint64_t arg, mr_status status, int64_t offset);

typedef struct sim_commit_conf {
    sim_group group;
    int transactional_id;
    void *owner; /* of the done callbacks */
} sim_commit_conf;

sim_commit *sim_commit_open(sim *s, sim_kafka *k, const sim_commit_conf *conf);
void sim_commit_kill(sim_commit *c); /* nothing is told to anybody; NULL is allowed */
/* member below 0: not in the group, nothing can be committed now. */
void sim_commit_tick(sim_commit *c, int member, uint32_t generation);
bool sim_commit_idle(const sim_commit *c); /* nothing waits, nothing is under way */
/* Another process has our transactional id: this one must end. */
bool sim_commit_failed(const sim_commit *c);

mr_parts *sim_commit_parts(sim_commit *c);
int sim_commit_assign(sim_commit *c, const sim_offset *at);
void sim_commit_revoke(sim_commit *c, int part);
void sim_commit_send(sim_commit *c, mr_origin at, const sim_put *puts, size_t n, sim_done *done,
                     uint64_t arg);
mr_status sim_commit_mark(sim_commit *c, mr_origin at, sim_done *done, uint64_t arg);
void sim_commit_unmark(sim_commit *c, mr_origin at, bool began);

#endif
