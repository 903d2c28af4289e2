/* sim.h - a world in which everything happens at a simulated time, and one seed decides all.
 *
 * Nothing in it waits, reads a clock or has a thread: an event is a function that is called at its
 * time, and what it does next are later events. So a run takes milliseconds, and the same seed
 * always gives the same run; `trace` is a hash of all that happened, to prove it.
 *
 * Memory that outlives a process of the world (a request on its way, a record) comes from its
 * arena and goes with it. */
#ifndef MR_TESTS_SIM_H
#define MR_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "millrace/error.h"

#define SIM_TICK_MS 20 /* how often a process looks at what there is to do */

/* What a run met; a test checks that all of it is met, or the runs would prove little. */
typedef enum sim_seen {
    SIM_SEEN_UNKNOWN, /* the end of a transaction was not answered ... */
    SIM_SEEN_PRESENT, /* ... and it had been committed */
    SIM_SEEN_ABSENT,  /* ... and it had not */
    SIM_SEEN_LATE,    /* it came when the producer had been given up */
    SIM_SEEN_STALE,   /* a commit of an old generation was refused */
    SIM_SEEN_FENCED,  /* a process ended because another has its transactional id */
    SIM_SEEN_SKIPPED, /* finished under an earlier owner, though above the watermark */
    SIM_SEEN_TAKEOVER,
    SIM_SEEN_RESTART,
    SIM_SEEN_STREAM_FENCED,
    SIM_SEEN_POISONED,
    SIM_SEEN_N
} sim_seen;

/* What a test breaks, to see that the simulator finds it. */
typedef enum sim_bug {
    SIM_BUG_NONE,
    SIM_BUG_NO_READ,       /* after an unknown end the batch goes again without a look */
    SIM_BUG_NO_GENERATION, /* offsets are not bound to the group's generation */
    SIM_BUG_NO_METADATA,   /* what is finished above the watermark is not committed */
    SIM_BUG_EARLY_BIT,     /* a bit is committed before the record that it stands for */
    SIM_BUG_NO_MARK,       /* a job runs before its mark is committed */
    SIM_BUG_NO_RESTART,    /* readers are not told when frames are lost that they may have seen */
    SIM_BUG_N
} sim_bug;
extern sim_bug sim_bug_planted;

typedef void sim_fn(void *self, uint64_t arg);

typedef struct sim {
    uint64_t seed, now, random, trace;
    mr_arena arena;
    struct sim_event *heap;
    size_t n_events, cap;
    uint64_t n_scheduled;
    /* Chances in thousandths; 0 once the faults are over. */
    uint32_t lost;  /* of a request or its answer */
    uint32_t late;  /* of a request that arrives after its sender has given up */
    uint32_t slow;  /* of one that takes long, but arrives in time */
    uint32_t seen[SIM_SEEN_N];
    char wrong[256]; /* the first broken promise; "" none */
} sim;

void sim_init(sim *s, uint64_t seed);
void sim_deinit(sim *s);
/* fn(self, arg) after so many milliseconds; at equal times in the order of these calls. */
void sim_after(sim *s, uint64_t ms, sim_fn *fn, void *self, uint64_t arg);
/* Runs the next event; false: there is none. */
bool sim_step(sim *s);

uint32_t sim_random(sim *s, uint32_t n); /* 0..n-1 */
bool sim_chance(sim *s, uint32_t thousandths);
void *sim_alloc(sim *s, size_t n); /* cleared; never NULL */
char *sim_copy(sim *s, const char *text);

/* What happened: into the hash, and with MR_SIM_LOG=1 to stderr. */
void sim_note(sim *s, const char *who, int n, const char *what, int64_t a, int64_t b);
/* A promise is broken; the first one counts. */
void sim_fail(sim *s, const char *fmt, ...) MR_PRINTF(2, 3);

#endif
