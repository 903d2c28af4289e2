/* onward.h - jobs that go on to another topic of ours: a delay topic, keyed, attempts.
 *
 * The record becomes visible together with the offset that the job came with. One that the brokers
 * refuse as too large has grown by its history: that is shortened until it fits. What finds no room
 * or no topic is tried again every MR_ONWARD_RETRY_MS, until it does. Limit: one record per open
 * offset, see offsets.h. Thread: loop. */
#ifndef MR_DISPATCHER_ONWARD_H
#define MR_DISPATCHER_ONWARD_H

#include "base/commit.h"
#include "dispatcher/window.h"

#define MR_ONWARD_RETRY_MS 1000

typedef struct mr_onward mr_onward;

typedef struct mr_onward_conf {
    mr_commit *commit;
    void *owner;
    /* e is the owner's again. MR_OK: it has gone on; MR_ECANCELED: somebody else does it;
     * MR_EINVAL: it is too large even without its history; MR_ENOMEM: nothing was sent. */
    void (*on_done)(void *owner, mr_entry *e, mr_status status, const char *why);
} mr_onward_conf;

mr_status mr_onward_open(mr_onward **out, const mr_onward_conf *conf, mr_err *err);
/* The committer must be closed before. Entries that wait are the owner's again, without a word.
 * NULL is allowed. */
void mr_onward_close(mr_onward *o);

/* Sends the job of e, which nobody has linked, to a topic; on_done may be called inside. topic is
 * borrowed until then. index (NULL: none) is sent along, all or nothing; what it points to lives in
 * the arena of e. */
void mr_onward_send(mr_onward *o, mr_entry *e, const char *topic, int32_t partition,
                    const mr_commit_record *index);
/* Tries again what waits. now_ms: monotonic. */
void mr_onward_tick(mr_onward *o, uint64_t now_ms);

#endif
