/* board.h - the numbers of the last 15 minutes: what dispatchers and workers told of themselves,
 * newest and in samples of MR_BOARD_PERIOD_MS.
 *
 * A sample is the sum over all dispatchers, and over all workers, that were heard of within
 * MR_BOARD_SILENT_MS. Slots and cache come and go faster than samples are taken, so what is in use
 * of them is the mean over the time since the last sample; workers have samples of their own, too.
 * One that is silent is kept, and shown as such, until MR_BOARD_GONE_MS; samples of a worker go
 * when its row is needed for another. Bounds: MR_BOARD_DISPATCHERS, MR_BOARD_WORKERS (those beyond
 * count nowhere), MR_BOARD_SAMPLES. Pure: now_ms is monotonic. */
#ifndef MR_DISPATCHER_BOARD_H
#define MR_DISPATCHER_BOARD_H

#include "millrace/job.h"

#define MR_BOARD_PERIOD_MS   5000
#define MR_BOARD_SAMPLES     180
#define MR_BOARD_DISPATCHERS 65
#define MR_BOARD_WORKERS     64
#define MR_BOARD_TENANTS     64
#define MR_BOARD_SILENT_MS   5000
#define MR_BOARD_GONE_MS     60000
#define MR_BOARD_NAME        192

typedef struct mr_board_lane {
    uint32_t waiting;
    float jobs_per_s;
} mr_board_lane;

typedef struct mr_board_sample {
    mr_board_lane lanes[MR_PRIORITY_N];
    uint32_t delayed, slots; /* slots: of all workers, used or not */
    float running;           /* slots in use */
    float kv;                /* share of the cache that is used, 0..1 */
    float tokens_per_s;
} mr_board_sample;

typedef struct mr_board_point { /* of one worker */
    float fill, kv;             /* 0..1; fill: running jobs by slots */
    float tokens_per_s;         /* all three -1: it was not there */
} mr_board_point;

typedef struct mr_board_worker {
    char name[MR_BOARD_NAME], model[MR_JOB_MAX_NAME + 1]; /* name "": a free row */
    uint64_t seen_ms;
    uint32_t running, waiting, free_slots, max_slots, n_ctx;
    uint64_t kv_tokens_free, kv_tokens_total;
    float pressure, tokens_per_s;
    uint64_t since_ms, noted_ms; /* of the last sample; up to when the next two count */
    double running_ms, kv_ms;    /* jobs times ms, tokens of the cache times ms, since then */
    mr_board_point points[MR_BOARD_SAMPLES]; /* sample i is at i % MR_BOARD_SAMPLES */
} mr_board_worker;

typedef struct mr_board_tenant {
    char name[MR_JOB_MAX_NAME + 1];
    uint64_t waiting;
    uint32_t weight;
    float tokens_per_s;
    bool limited;
} mr_board_tenant;

typedef struct mr_board_dispatcher {
    char name[MR_BOARD_NAME]; /* "": a free row */
    uint64_t seen_ms;
    mr_beat_lane lanes[MR_PRIORITY_N];
    uint64_t delayed, parts, paused_parts;
    mr_board_tenant tenants[MR_BEAT_MAX_TENANTS];
    size_t n_tenants;
} mr_board_dispatcher;

typedef enum mr_life { MR_LIVE, MR_SILENT, MR_GONE } mr_life;
mr_life mr_board_life(uint64_t seen_ms, uint64_t now_ms);

typedef struct mr_board { /* large: on the heap; zeroed: empty */
    mr_board_dispatcher dispatchers[MR_BOARD_DISPATCHERS];
    mr_board_worker workers[MR_BOARD_WORKERS];
    mr_board_sample samples[MR_BOARD_SAMPLES]; /* sample i is at i % MR_BOARD_SAMPLES */
    uint64_t n_samples;                        /* taken so far */
    uint64_t due_ms;                           /* of the next */
} mr_board;

void mr_board_heartbeat(mr_board *b, const mr_heartbeat *h, uint64_t now_ms);
void mr_board_beat(mr_board *b, const mr_beat *beat, uint64_t now_ms);
/* Takes the samples that are due; after a pause one, not all that were missed. */
void mr_board_tick(mr_board *b, uint64_t now_ms);

/* Everything as it is now, summed up. */
typedef struct mr_board_now {
    mr_board_sample sum;
    mr_beat_lane lanes[MR_PRIORITY_N];
    uint64_t delayed, parts, paused_parts;
    size_t n_dispatchers, n_workers;           /* live */
    mr_board_tenant tenants[MR_BOARD_TENANTS]; /* most waiting jobs first, then tokens */
    size_t n_tenants;
} mr_board_now;
void mr_board_look(const mr_board *b, uint64_t now_ms, mr_board_now *out);

/* The oldest sample that is kept. */
uint64_t mr_board_first(const mr_board *b);

#endif
