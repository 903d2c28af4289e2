/* sim_stream.h - one job's stream as its worker writes it: the rules of worker/stream.c. */
#ifndef MR_TESTS_SIM_STREAM_H
#define MR_TESTS_SIM_STREAM_H

#include "sim_world.h"

#define SIM_CLAIM_MS  300 /* how long the start of a job waits for its claim */
#define SIM_LINGER_MS 300 /* how long its result waits for the last frames */

typedef enum sim_lane_state { SIM_LANE_CLAIM, SIM_LANE_OPEN, SIM_LANE_SHUT } sim_lane_state;

typedef struct sim_lane {
    sim_world *w;
    int job;
    bool odd; /* see sim_world */
    sim_lane_state state;
    uint64_t name, begun, ends_by;
    uint32_t attempt, n_claims;
    bool ran_before, restart_due, wrote, cut;
    uint64_t n_made, n_there;
    bool was_empty;
    sim_entry_id last;
    mr_arena arena;
    mr_takeover found; /* entries that are compared with what the job makes */
    size_t n_same, same_len;
} sim_lane;

void sim_lane_begin(sim_lane *l, sim_world *w, int job, bool odd, bool ran_before);
/* The claim, and whether it is answered or given up; then *t says what the job goes on behind. */
bool sim_lane_claim(sim_lane *l, mr_takeover *t);
/* The job has so many tokens: sends what is new, claims again if it must. */
void sim_lane_send(sim_lane *l, uint64_t n_made);
void sim_lane_restart(sim_lane *l); /* what was taken over is shown otherwise here */
/* No more tokens. True: all is there, or given up. */
bool sim_lane_end(sim_lane *l);
void sim_lane_drop(sim_lane *l);

#endif
