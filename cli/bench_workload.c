/* bench_workload.c - see bench_workload.h. A small load runs first, unmeasured, to warm up. */
#include "cli/bench_workload.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "cli/bench_load.h"
#include "engine/model.h"

#define MAX_LENGTH  131072
#define MAX_SEATS   1023
#define WARM_SEATS  4u
#define WARM_TOKENS 8u

typedef struct workload {
    const mr_args *a;
    mr_engine *e;
    mr_load_conf conf;
    mr_load_result result, bare;
    bool with_bare;
} workload;

/* "INxOUT" */
static bool read_shape(workload *w) {
    const char *text = mr_args_get(w->a, "workload");
    char *end;
    const long long n_in = strtoll(text, &end, 10);
    const long long n_out = *end == 'x' && end > text ? strtoll(end + 1, &end, 10) : 0;

    if (n_in < 1 || n_in > MAX_LENGTH || n_out < 1 || n_out > MAX_LENGTH || *end) {
        mr_cli_usage(w->a, "--workload is \"%s\", must be INxOUT, two numbers from 1 to %d", text,
                     MAX_LENGTH);
        return false;
    }
    w->conf.n_in = (uint32_t)n_in;
    w->conf.n_out = (uint32_t)n_out;
    return true;
}

static bool read_conf(workload *w, uint32_t step_tokens) {
    int64_t requests, seats, intruder;

    if (!read_shape(w) || !mr_args_int(w->a, "requests", 1, MR_LOAD_MAX_REQUESTS, &requests) ||
        !mr_args_int(w->a, "seats", 0, MAX_SEATS, &seats) ||
        !mr_args_int(w->a, "intruder", 0, MAX_LENGTH, &intruder))
        return false;
    w->with_bare = mr_args_flag(w->a, "bare");
    if (intruder > 0) {
        if (seats == 0) seats = requests;
        requests = seats;
    }
    if (seats == 0 || seats > requests) seats = requests;
    if (seats > MAX_SEATS) seats = MAX_SEATS;
    if (seats + (intruder > 0) >= step_tokens) {
        mr_cli_usage(w->a,
                     "--step-tokens is %u, must be above the %lld sequences that run at one time: "
                     "give --seats",
                     step_tokens, (long long)seats);
        return false;
    }
    if (intruder > 0 && w->with_bare) {
        mr_cli_usage(w->a, "--bare has no place for an --intruder");
        return false;
    }
    w->conf.n_requests = (uint32_t)requests;
    w->conf.seats = (uint32_t)seats;
    w->conf.intruder = (uint32_t)intruder;
    return true;
}

/* ---- output ---- */

static void print_json_times(const char *what, const mr_load_times *t) {
    printf(",\"%s_ms_p50\":%.2f,\"%s_ms_p99\":%.2f,\"%s_ms_max\":%.2f", what, t->p50, what, t->p99,
           what, t->most);
}

static void print_json(const workload *w) {
    const mr_load_result *r = &w->result;
    const struct mr_model *m = mr_engine_model(w->e);
    const char *device = mr_engine_device(w->e, NULL);

    printf("{\"bench\":\"workload\",\"in\":%u,\"out\":%u,\"requests\":%u,\"seats\":%u,"
           "\"most_running\":%u,\"kv_tokens\":%u,\"step_tokens\":%u",
           w->conf.n_in, w->conf.n_out, w->conf.n_requests, w->conf.seats, r->most_running,
           mr_engine_kv_blocks_total(w->e) * mr_engine_block_len(w->e),
           mr_engine_max_step_tokens(w->e));
    printf(",\"gpu_quant\":\"%s\"", mr_args_get(w->a, "gpu-quant"));
    printf(",\"seconds\":%.3f,\"steps\":%llu,\"output_tps\":%.2f,\"total_tps\":%.2f", r->seconds,
           (unsigned long long)r->n_steps, r->output_tps, r->total_tps);
    print_json_times("ttft", &r->ttft);
    print_json_times("gap", &r->gap);
    if (w->conf.intruder > 0) {
        printf(",\"intruder\":%u,\"intruder_ttft_ms\":%.2f", w->conf.intruder, r->intruder_ttft);
        print_json_times("intruder_gap", &r->intruder_gap);
    }
    if (w->with_bare)
        printf(",\"bare_output_tps\":%.2f,\"of_bare\":%.3f", w->bare.output_tps,
               r->output_tps / w->bare.output_tps);
    printf(",\"threads\":%d,\"isa\":\"%s\",\"device\":", mr_engine_n_threads(w->e),
           mr_engine_isa(w->e));
    mr_cli_json_string(stdout, device, strlen(device));
    printf(",\"type\":\"%s\",\"model\":", mr_type_name(m->layers[0].gate.type));
    mr_cli_json_string(stdout, m->name, strlen(m->name));
    printf("}\n");
}

static void print_times(const char *what, const mr_load_times *t) {
    printf("%-22s %10.1f ms p50 %10.1f ms p99 %10.1f ms most\n", what, t->p50, t->p99, t->most);
}

static void print_text(const workload *w) {
    const mr_load_result *r = &w->result;
    const struct mr_model *m = mr_engine_model(w->e);

    printf("%s, %s, %s (%s), %d threads; KV cache of %u tokens\n"
           "%u requests of %u + %u tokens, all at once, at most %u side by side: %.2f s, %llu "
           "steps\n",
           m->name, mr_type_name(m->layers[0].gate.type), mr_engine_device(w->e, NULL),
           mr_engine_isa(w->e), mr_engine_n_threads(w->e),
           mr_engine_kv_blocks_total(w->e) * mr_engine_block_len(w->e), w->conf.n_requests,
           w->conf.n_in, w->conf.n_out, r->most_running, r->seconds,
           (unsigned long long)r->n_steps);
    printf("%-22s %10.1f tokens/s, with prompts %.1f\n", "output", r->output_tps, r->total_tps);
    print_times("first token", &r->ttft);
    print_times("between tokens", &r->gap);
    if (w->conf.intruder > 0) {
        printf("%-22s %10.1f ms, of a prompt of %u tokens beside them\n", "first token behind",
               r->intruder_ttft, w->conf.intruder);
        print_times("between tokens then", &r->intruder_gap);
    }
    if (w->with_bare)
        printf("%-22s %10.1f tokens/s; the scheduler has %.3f of it\n", "stepped bare",
               w->bare.output_tps, r->output_tps / w->bare.output_tps);
}

/* ---- command ---- */

static mr_status warm_up(const workload *w, mr_err *err) {
    mr_load_conf c = w->conf;
    mr_load_result ignored;

    c.intruder = 0;
    c.n_requests = c.seats = c.seats < WARM_SEATS ? c.seats : WARM_SEATS;
    if (c.n_out > WARM_TOKENS) c.n_out = WARM_TOKENS;
    return mr_load_run(w->e, &c, &ignored, err);
}

/* Each run has prompts of its own: nothing can be found in the cache. */
static mr_status run_all(workload *w, const mr_engine_options *opt, mr_err *err) {
    mr_status st = mr_engine_open(&w->e, opt, err);

    if (st != MR_OK) return st;
    if ((st = warm_up(w, err)) != MR_OK) return st;
    w->conf.seed = 1u << 20;
    if (w->with_bare) {
        w->conf.bare = true;
        if ((st = mr_load_run(w->e, &w->conf, &w->bare, err)) != MR_OK) return st;
        w->conf.bare = false;
        w->conf.seed = 2u << 20;
    }
    return mr_load_run(w->e, &w->conf, &w->result, err);
}

int mr_bench_workload(const mr_args *a, const mr_engine_options *opt) {
    workload w = {.a = a};
    mr_engine_options o = *opt;
    int64_t kv_tokens;
    mr_err err;

    if (!read_conf(&w, opt->max_step_tokens) ||
        !mr_args_int(a, "kv-tokens", 0, INT32_MAX, &kv_tokens))
        return EX_USAGE;
    o.n_ctx = w.conf.n_in + w.conf.n_out;
    if (o.n_ctx <= w.conf.intruder) o.n_ctx = w.conf.intruder + 1;
    o.max_seqs = w.conf.seats + (w.conf.intruder > 0);
    o.kv_tokens = (uint32_t)kv_tokens;
    const mr_status st = run_all(&w, &o, &err);
    if (st == MR_OK) (mr_args_flag(a, "json") ? print_json : print_text)(&w);
    mr_engine_close(w.e);
    return st == MR_OK ? EX_OK : mr_cli_fail(a, &err);
}
