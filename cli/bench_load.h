/* bench_load.h - many requests, all queued at once, and what a worker's scheduler makes of them.
 *
 * The scheduler is the worker's own (worker/sched.h); around it is the least that drives an engine:
 * no queues, no text, no Redis. The same requests can be stepped bare, as many side by side as
 * have room, all prompts and then all tokens, until the last of them is done: what a loop without a
 * scheduler would reach, which knows that all requests are alike. */
#ifndef MR_CLI_BENCH_LOAD_H
#define MR_CLI_BENCH_LOAD_H

#include "millrace/engine.h"

#define MR_LOAD_MAX_REQUESTS 16384
#define MR_LOAD_MAX_TOKENS   (1u << 24) /* made by all requests: each leaves a sample */

typedef struct mr_load_conf {
    uint32_t n_in, n_out, n_requests;
    uint32_t seats;    /* sequences at one time; less than the engine's max_step_tokens */
    uint32_t intruder; /* tokens of one more prompt, which comes when all others have a token and
                        * whose answer is one token; 0: none. As many seats as requests then. */
    bool bare;         /* without the scheduler, and without an intruder */
    uint64_t seed;     /* of the prompts; equal seeds: equal prompts, which the cache may know */
} mr_load_conf;

typedef struct mr_load_times { /* milliseconds */
    double p50, p99, most;
} mr_load_times;

typedef struct mr_load_result {
    double seconds, output_tps, total_tps; /* total: prompt tokens too; without the intruder's */
    mr_load_times ttft, gap;               /* from the start; between two tokens of a request */
    double intruder_ttft;
    mr_load_times intruder_gap; /* of the others, until the intruder's token */
    uint64_t n_steps;
    uint32_t most_running;
} mr_load_result;

/* Blocks until all requests are done. The engine has no sequences before and after, also behind a
 * failure. */
mr_status mr_load_run(mr_engine *e, const mr_load_conf *conf, mr_load_result *out, mr_err *err);

#endif
