/* sim_redis.h - token streams and status hashes, with the two scripts of the worker and the one of
 * the follower; and a reader per job who is subscribed from the beginning.
 *
 * A script runs as a whole; a request or an answer may get lost, then the caller is told false. The
 * reader sees every frame as it is added, until it is done, and checks that indices have no gap
 * and no repeat: what readers were shown counts, also when Redis is wiped later. */
#ifndef MR_TESTS_SIM_REDIS_H
#define MR_TESTS_SIM_REDIS_H

#include "sim.h"
#include "worker/takeover.h"

#define SIM_MAX_JOBS   40
#define SIM_MAX_FRAMES 64 /* of one call */

typedef struct sim_entry_id {
    uint32_t attempt;
    uint64_t index;
} sim_entry_id;

typedef struct sim_claim {
    int job;
    uint64_t name; /* of this run of the job */
    uint32_t held, lowest;
    bool ran_before;
} sim_claim;

typedef enum sim_claim_end { SIM_CLAIM_HELD, SIM_CLAIM_OVER, SIM_CLAIM_FENCED } sim_claim_end;

typedef struct sim_claimed {
    sim_claim_end end;
    uint32_t attempt;
    bool is_empty;
    sim_entry_id last;
    const mr_takeover_entry *entries; /* [n], in the world's arena */
    size_t n;
} sim_claimed;

typedef struct sim_frame { /* encoded */
    const char *json;
    size_t len;
    bool restart;
    uint64_t text; /* hash of the token's text, for the reader */
} sim_frame;

typedef struct sim_frames {
    int job;
    uint64_t name;
    uint32_t attempt;
    bool was_empty; /* the stream as it was left */
    sim_entry_id previous;
    uint64_t first_index;
    const sim_frame *frames; /* restart frame first */
    size_t n;
} sim_frames;

typedef enum sim_frames_end { SIM_FRAMES_ADDED, SIM_FRAMES_FENCED, SIM_FRAMES_LOST } sim_frames_end;

typedef struct sim_reader { /* what one who follows a job has */
    uint64_t text;          /* hash so far */
    uint64_t next;
    uint32_t restarts;
    bool done;
} sim_reader;

typedef struct sim_redis sim_redis;

sim_redis *sim_redis_open(sim *s);
void sim_redis_away(sim_redis *r, uint64_t ms);
void sim_redis_wipe(sim_redis *r);
bool sim_redis_up(const sim_redis *r);

bool sim_redis_claim(sim_redis *r, const sim_claim *c, sim_claimed *out);
bool sim_redis_add(sim_redis *r, const sim_frames *f, sim_frames_end *out);
/* The result of this job is committed. False: not told, come again. */
bool sim_redis_done(sim_redis *r, int job, uint32_t n_tokens);

const sim_reader *sim_redis_reader(const sim_redis *r, int job);
const char *sim_job_id(int job); /* a text of a job id's length, static */
uint64_t sim_text_add(uint64_t text, uint64_t piece); /* hash of a text with a piece behind it */

#endif
