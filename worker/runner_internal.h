/* runner_internal.h - what the files of the runner share: runner.c, the thread and its queues,
 * runner_run.c, what the thread does with its jobs, and runner_flight.c, steps that overlap. */
#ifndef MR_WORKER_RUNNER_INTERNAL_H
#define MR_WORKER_RUNNER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/queue.h"
#include "engine/text.h"
#include "millrace/engine.h"
#include "worker/pressure.h"
#include "worker/runner.h"
#include "worker/sched.h"

typedef enum mr_order_kind { MR_ORDER_START, MR_ORDER_CANCEL } mr_order_kind;

typedef struct mr_order {
    mr_order_kind kind;
    mr_work work; /* CANCEL: slot only */
    mr_text *text;
    int32_t *tokens;
} mr_order;

typedef struct mr_lane { /* engine thread: one slot's job */
    bool used, running;
    bool started;   /* MR_EVENT_STARTED was told */
    bool prefilled; /* its sequence has made a token */
    uint32_t seq;
    bool is_parked; /* what its sequence had computed waits in host memory, as `parked` */
    int32_t parked;
    uint64_t begun; /* number of the beginning that gave it this sequence */
    uint32_t n_told; /* tokens of the answer that were told, taken ones included */
    uint32_t n_made; /* tokens of the answer that are there; differs while taken ones are told */
    mr_work work;
    mr_text *text;
    int32_t *tokens; /* [work.n_tokens + work.max_new] prompt, then answer */
} mr_lane;

typedef struct mr_slot_memory { /* made by the loop thread; lives from start to end of a job */
    mr_text *text;
    mr_str stops[MR_TEXT_MAX_STOPS]; /* borrowed by text */
    int32_t *tokens;                 /* of its lane */
} mr_slot_memory;

typedef struct mr_shared_stats { /* written by the engine thread */
    _Atomic uint32_t running, waiting, blocked, limit, displaceable;
    _Atomic uint64_t kv_tokens_free, steps, step_errors, prompt_tokens, generated_tokens, step_us;
    _Atomic uint64_t ooms, preemptions, swaps, prefix_queries, prefix_hits;
    _Atomic uint64_t step_began_ms;
} mr_shared_stats;

#define MR_RUNNER_FLIGHTS 2

typedef struct mr_runner_flight { /* a step under way */
    mr_sched_item *items;         /* [max_jobs] */
    uint64_t *begun;              /* [max_jobs] of the lanes, then */
    size_t n, n_tokens;
    uint64_t since_us; /* the device may have been at it */
} mr_runner_flight;

struct mr_runner {
    mr_runner_conf conf;
    mr_engine_options options;
    mr_queue inbox, outbox;
    bool has_inbox, has_outbox, has_thread;
    pthread_t thread;
    uv_async_t wake;
    _Atomic bool stopping;
    mr_shared_stats stats;
    mr_runner_histograms histograms;
    mr_runner_model model;

    /* loop thread */
    mr_slot_memory *memory; /* [n_slots] */
    /* engine thread */
    mr_engine *engine;
    mr_sched *sched;
    mr_pressure pressure;
    bool lost;             /* MR_EVENT_LOST was told: nothing runs any more */
    mr_lane *lanes;        /* [n_slots] */
    mr_sched_item *plan;   /* [max_jobs] */
    mr_engine_item *items; /* [max_jobs] */
    mr_engine_out *outs;   /* [max_jobs] */
    mr_logit_bias *bias;   /* [MR_MAX_LOGIT_BIAS] */
    mr_runner_flight flights[MR_RUNNER_FLIGHTS]; /* flight i of all is at i % MR_RUNNER_FLIGHTS */
    uint64_t n_submitted, n_collected, n_begun;
};

/* Thread of all below: engine. */
void mr_runner_emit(mr_runner *r, const mr_event *ev);
mr_event mr_runner_event(mr_event_kind kind, uint32_t slot);
void mr_runner_set_text(mr_event *ev, const char *text);
/* The job's one end: frees its sequence and its place in the scheduler. why: one line, or NULL. */
void mr_runner_end_job(mr_runner *r, uint32_t slot, mr_end end, const char *why);
void mr_runner_take_order(mr_runner *r, const mr_order *o);
/* What item's sequence has got: its token is told, the scheduler knows what is pending. */
void mr_runner_take_result(mr_runner *r, const mr_sched_item *item, const mr_engine_out *out);
void mr_runner_count_step(mr_runner *r, mr_status st, size_t n_tokens, uint64_t took_us);
/* The device is gone: nothing runs any more. */
void mr_runner_lose(mr_runner *r, const char *why);
/* A step, or several smaller ones, from plan to results. */
void mr_runner_make_step(mr_runner *r);
/* The next step is submitted, the results of the one before are taken. */
void mr_runner_overlap(mr_runner *r);
mr_status mr_runner_open_flights(mr_runner *r, mr_err *err);
void mr_runner_close_flights(mr_runner *r);
/* One turn: ends what is past its deadline, displaces, starts who may, makes a step. */
void mr_runner_turn(mr_runner *r);

#endif
