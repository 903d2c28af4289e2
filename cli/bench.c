/* bench.c - `millrace bench engine`: how fast a model reads and writes, by batch size. With
 * --workload it is bench_workload.c's: requests through the scheduler.
 *
 * The judge of work on the engine, so it must be hard to please by accident. Every sequence has its
 * own random prompt, drawn anew for each repetition: nothing can be shared or remembered. The clock
 * runs around engine steps only: loading, adding and dropping sequences are outside. Sampling is
 * greedy with end-of-generation banned, so every sequence makes exactly the tokens asked for.
 *
 *   prefill  batch * pp tokens, in steps of at most max_step_tokens as a worker makes them, to the
 *            end of the step that gives the last sequence its first token
 *   decode   tg steps of one token for every sequence, after that; attention over pp.. positions,
 * or over ctx.. ones: then the sequences begin anew with ctx tokens that are not timed, the same in
 * each repetition, so that the cache has them
 *
 * With --shared-prefix prompts begin alike, and from the second repetition on the cache has that
 * part: prefill then counts tokens that nobody computes, which is the point.
 *
 * With --limits the machine's own limits are measured first, and figures are also given as
 * fractions of the limit that binds: products of the weights against what the units do at best, and
 * of decode with one sequence the bytes of weights, keys and values against what memory gives.
 * Attention's products are not counted.
 *
 * One repetition before the counted ones warms up page cache, clocks and threads. Reported is the
 * median of the repetitions, with minimum and maximum beside it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "bench/limits.h"
#include "cli/bench_workload.h"
#include "cli/commands.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "millrace/engine.h"

#define MAX_BATCHES 16
#define MAX_BATCH   1024
#define MAX_REPEAT  100
#define MAX_LENGTH  131072

typedef struct rates { /* tokens per second of each repetition, sorted when done */
    double prefill[MAX_REPEAT], decode[MAX_REPEAT];
} rates;

typedef struct bench {
    const mr_args *a;
    mr_engine *e;
    int64_t pp, tg, ctx, shared, repeat;
    uint32_t batches[MAX_BATCHES];
    size_t n_batches;
    int64_t max_batch;
    int32_t *prompt;         /* [pp or ctx, the longer]; the first `shared` stay */
    mr_engine_item *items;   /* [max_batch] */
    mr_engine_out *outs;     /* [max_batch] */
    uint32_t *seqs;          /* [max_batch] */
    uint64_t random;         /* state of the prompt generator */
    mr_limits limits;        /* n_threads 0: not measured */
    bool overlaps;           /* steps, where a device lets them */
    double busy_ms, idle_ms; /* of the device, in decode steps of the batch */
} bench;

/* splitmix64 (Steele 2014): any good generator would do, this one is four lines. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* ---- one repetition ---- */

static void draw_tokens(bench *b, uint64_t *random, int64_t first, int64_t end) {
    const uint32_t n_vocab = mr_engine_n_vocab(b->e);

    for (int64_t k = first; k < end; k++) b->prompt[k] = (int32_t)(next_random(random) % n_vocab);
}

static mr_status add_one(bench *b, uint32_t i, int64_t n, mr_err *err) {
    const mr_sampling greedy = {.ban_eog = true};

    return mr_engine_add(b->e, b->prompt, (size_t)n, 0, (size_t)b->tg + 1, 0, &greedy, &b->seqs[i],
                         err);
}

/* Prompts of pp tokens, of which no sequence had more than the shared ones before. */
static mr_status add_all(bench *b, uint32_t batch, mr_err *err) {
    uint64_t common = 1;
    mr_status st = MR_OK;

    draw_tokens(b, &common, 0, b->shared);
    for (uint32_t i = 0; i < batch && st == MR_OK; i++) {
        draw_tokens(b, &b->random, b->shared, b->pp);
        st = add_one(b, i, b->pp, err);
    }
    return st;
}

/* Prompts of ctx tokens, the same whenever asked. */
static mr_status add_deep(bench *b, uint32_t batch, mr_err *err) {
    mr_status st = MR_OK;

    for (uint32_t i = 0; i < batch && st == MR_OK; i++) {
        uint64_t own = ~(uint64_t)i;

        draw_tokens(b, &own, 0, b->ctx);
        st = add_one(b, i, b->ctx, err);
    }
    return st;
}

static void drop_all(bench *b, uint32_t batch) {
    for (uint32_t i = 0; i < batch; i++) mr_engine_drop(b->e, b->seqs[i]);
}

/* Prompts in order, as much of them as a step takes. */
static mr_status prefill(bench *b, uint32_t batch, mr_err *err) {
    const uint32_t most = mr_engine_max_step_tokens(b->e);
    mr_status st = MR_OK;

    for (uint32_t first = 0; first < batch && st == MR_OK;) {
        uint32_t n = 0, room = most;

        while (room > 0 && first + n < batch) {
            const uint32_t left = mr_engine_pending(b->e, b->seqs[first + n]);
            const uint32_t take = left < room ? left : room;

            b->items[n] = (mr_engine_item){b->seqs[first + n], take};
            room -= take;
            n++;
        }
        st = mr_engine_step(b->e, b->items, n, b->outs, err);
        /* All but perhaps the last have their token. */
        first += b->outs[n - 1].token >= 0 ? n : n - 1;
    }
    return st;
}

/* Each step is submitted before the one before it is collected, as a worker does it. */
static mr_status decode_overlapped(bench *b, uint32_t batch, mr_err *err) {
    mr_status st = MR_OK;
    size_t n;

    for (uint32_t i = 0; i < batch; i++) b->items[i] = (mr_engine_item){b->seqs[i], 1};
    for (int64_t k = 0; k <= b->tg && st == MR_OK; k++) {
        if (k < b->tg) st = mr_engine_submit(b->e, b->items, batch, err);
        if (k > 0 && st == MR_OK) st = mr_engine_collect(b->e, b->outs, &n, err);
    }
    return st;
}

static mr_status decode(bench *b, uint32_t batch, mr_err *err) {
    const uint32_t most = mr_engine_max_step_tokens(b->e);
    mr_status st = MR_OK;

    if (b->overlaps && mr_engine_overlaps(b->e) && batch <= most)
        return decode_overlapped(b, batch, err);
    for (int64_t k = 0; k < b->tg && st == MR_OK; k++)
        for (uint32_t first = 0, n; first < batch && st == MR_OK; first += n) {
            n = batch - first < most ? batch - first : most;
            for (uint32_t i = 0; i < n; i++) b->items[i] = (mr_engine_item){b->seqs[first + i], 1};
            st = mr_engine_step(b->e, b->items, n, b->outs, err);
        }
    return st;
}

static mr_status repeat_once(bench *b, uint32_t batch, double *prefill_tps, double *decode_tps,
                             mr_err *err) {
    mr_status st = add_all(b, batch, err);

    if (st != MR_OK) return st;
    const uint64_t start = mr_clock_mono_us();
    if ((st = prefill(b, batch, err)) != MR_OK) return st;
    const uint64_t middle = mr_clock_mono_us();
    if (b->ctx > 0) {
        drop_all(b, batch);
        if ((st = add_deep(b, batch, err)) != MR_OK) return st;
        if ((st = prefill(b, batch, err)) != MR_OK) return st;
    }
    double busy_ms, idle_ms;
    mr_engine_device_times(b->e, &busy_ms, &idle_ms);
    const uint64_t begin = mr_clock_mono_us();
    if ((st = decode(b, batch, err)) != MR_OK) return st;
    const uint64_t end = mr_clock_mono_us();
    mr_engine_device_times(b->e, &b->busy_ms, &b->idle_ms);
    b->busy_ms -= busy_ms;
    b->idle_ms -= idle_ms;

    drop_all(b, batch);
    *prefill_tps = 1e6 * (double)batch * (double)b->pp / (double)(middle - start + 1);
    *decode_tps = 1e6 * (double)batch * (double)b->tg / (double)(end - begin + 1);
    return MR_OK;
}

/* ---- results ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted, size_t n) {
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* Of a mix like Q4_K_M: the gate's type is the one that most weights have. */
static const char *weight_type(const bench *b) {
    return mr_type_name(mr_engine_model(b->e)->layers[0].gate.type);
}

/* ---- fractions of a limit ---- */

typedef struct fraction {
    mr_limit limit;
    double rate, of_limit; /* 1e9 per second */
} fraction;

static uint64_t mat_products(const mr_mat *w) {
    return (uint64_t)w->rows * w->cols;
}

/* Operations on the weights of a token, without the output head. */
static double layer_ops(const mr_model *m) {
    uint64_t n = 0;

    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const mr_layer *l = &m->layers[i];

        n += mat_products(&l->wq) + mat_products(&l->wk) + mat_products(&l->wv) +
             mat_products(&l->wo) + mat_products(&l->gate) + mat_products(&l->up) +
             mat_products(&l->down);
    }
    return 2.0 * (double)n;
}

/* What a step with one sequence reads: weights, of the embedding one row, keys and values. */
static double decode_bytes(const bench *b) {
    const mr_model *m = mr_engine_model(b->e);
    const double embedding = m->tied ? 0 : (double)m->tok_embd.rows * (double)m->tok_embd.row_bytes;
    const double context = (double)(b->ctx > 0 ? b->ctx : b->pp) + (double)b->tg / 2;

    return (double)m->weight_bytes - embedding +
           context * (double)mr_engine_kv_bytes(b->e) /
               ((double)mr_engine_kv_blocks_total(b->e) * mr_engine_block_len(b->e));
}

/* Of 8-bit products that of vectors, whatever the kernels are: tiles may pass it. */
static mr_limit product_limit(const bench *b) {
    const mr_type type = mr_engine_model(b->e)->layers[0].gate.type;

    return type == MR_TYPE_F32 || type == MR_TYPE_F16 || type == MR_TYPE_BF16 ? MR_LIMIT_F32
                                                                              : MR_LIMIT_INT8;
}

static fraction fraction_of(const bench *b, mr_limit limit, double per_s) {
    const double most = b->limits.most[limit];

    return (fraction){limit, per_s / 1e9, most > 0 ? per_s / 1e9 / most : 0};
}

static fraction prefill_fraction(const bench *b, double tps) {
    const mr_model *m = mr_engine_model(b->e);
    const double ops = layer_ops(m) + 2.0 * (double)mat_products(&m->output) / (double)b->pp;

    return fraction_of(b, product_limit(b), tps * ops);
}

static fraction decode_fraction(const bench *b, uint32_t batch, double tps) {
    const mr_model *m = mr_engine_model(b->e);

    if (batch == 1) return fraction_of(b, MR_LIMIT_READ, tps * decode_bytes(b));
    return fraction_of(b, product_limit(b),
                       tps * (layer_ops(m) + 2.0 * (double)mat_products(&m->output)));
}

/* ---- output ---- */

static void print_limits(const bench *b, bool json) {
    for (int i = 0; i < MR_LIMIT_N; i++) {
        if (b->limits.most[i] <= 0) continue;
        printf(json ? "{\"bench\":\"limit\",\"limit\":\"%s\",\"most\":%.1f,\"unit\":\"%s\","
                      "\"threads\":%d}\n"
                    : "limit %-5s %8.1f %s, %d threads\n",
               mr_limit_name(i), b->limits.most[i], mr_limit_unit(i), b->limits.n_threads);
    }
}

static void print_json_fraction(const char *what, fraction f) {
    printf(",\"%s_limit\":\"%s\",\"%s_rate\":%.1f,\"%s_of_limit\":%.3f", what,
           mr_limit_name(f.limit), what, f.rate, what, f.of_limit);
}

static void print_json(const bench *b, uint32_t batch, const rates *r) {
    const size_t n = (size_t)b->repeat;
    const char *model = mr_engine_model(b->e)->name, *device = mr_engine_device(b->e, NULL);

    printf("{\"bench\":\"engine\",\"batch\":%u,\"pp\":%" PRId64 ",\"tg\":%" PRId64, batch, b->pp,
           b->tg);
    printf(",\"gpu_quant\":\"%s\"", mr_args_get(b->a, "gpu-quant"));
    if (b->ctx > 0) printf(",\"ctx\":%" PRId64, b->ctx);
    if (b->shared > 0) printf(",\"shared_prefix\":%" PRId64, b->shared);
    printf(",\"prefill_tps\":%.2f,\"decode_tps\":%.2f", median(r->prefill, n),
           median(r->decode, n));
    printf(",\"prefill_tps_min\":%.2f,\"prefill_tps_max\":%.2f", r->prefill[0], r->prefill[n - 1]);
    printf(",\"decode_tps_min\":%.2f,\"decode_tps_max\":%.2f", r->decode[0], r->decode[n - 1]);
    if (b->limits.n_threads > 0) {
        print_json_fraction("prefill", prefill_fraction(b, median(r->prefill, n)));
        print_json_fraction("decode", decode_fraction(b, batch, median(r->decode, n)));
    }
    if (b->busy_ms > 0)
        printf(",\"step_ms\":%.4f,\"gap_of_step\":%.4f", b->busy_ms / (double)b->tg,
               b->idle_ms / b->busy_ms);
    printf(",\"repeat\":%zu,\"threads\":%d,\"isa\":\"%s\",\"device\":", n,
           mr_engine_n_threads(b->e), mr_engine_isa(b->e));
    mr_cli_json_string(stdout, device, strlen(device));
    printf(",\"type\":\"%s\",\"kv_type\":\"%s\",\"model\":", weight_type(b),
           mr_engine_kv_type(b->e));
    mr_cli_json_string(stdout, model, strlen(model));
    printf("}\n");
    fflush(stdout);
}

static void print_title(const bench *b) {
    printf("%s, %s, %s (%s), %d threads; median of %" PRId64
           " (min .. max), tokens/s, all sequences\n"
           "prefill: %" PRId64 " random prompt tokens each; decode: then %" PRId64 " tokens each\n"
           "%6s  %29s  %29s\n",
           mr_engine_model(b->e)->name, weight_type(b), mr_engine_device(b->e, NULL),
           mr_engine_isa(b->e), mr_engine_n_threads(b->e), b->repeat, b->pp, b->tg, "batch",
           "prefill", "decode");
}

static void print_row(const bench *b, uint32_t batch, const rates *r) {
    const size_t n = (size_t)b->repeat;

    printf("%6u  %9.1f (%7.1f ..%7.1f)  %9.1f (%7.1f ..%7.1f)", batch, median(r->prefill, n),
           r->prefill[0], r->prefill[n - 1], median(r->decode, n), r->decode[0], r->decode[n - 1]);
    if (b->limits.n_threads > 0) {
        const fraction p = prefill_fraction(b, median(r->prefill, n));
        const fraction d = decode_fraction(b, batch, median(r->decode, n));

        printf("  %3.0f %% of %s, %3.0f %% of %s", 100 * p.of_limit, mr_limit_name(p.limit),
               100 * d.of_limit, mr_limit_name(d.limit));
    }
    printf("\n");
    fflush(stdout);
}

static mr_status run_batch(bench *b, uint32_t batch, bool json, mr_err *err) {
    rates r;
    mr_status st = repeat_once(b, batch, &r.prefill[0], &r.decode[0], err); /* the warm-up */

    for (int64_t i = 0; i < b->repeat && st == MR_OK; i++)
        st = repeat_once(b, batch, &r.prefill[i], &r.decode[i], err);
    if (st != MR_OK) return st;
    qsort(r.prefill, (size_t)b->repeat, sizeof r.prefill[0], by_value);
    qsort(r.decode, (size_t)b->repeat, sizeof r.decode[0], by_value);
    (json ? print_json : print_row)(b, batch, &r);
    return MR_OK;
}

/* ---- command ---- */

static bool read_batches(bench *b) {
    const char *text = mr_args_get(b->a, "batch");

    for (const char *at = text;;) {
        char *end;
        const long long n = strtoll(at, &end, 10);

        if (end == at || n < 1 || n > MAX_BATCH || (*end && *end != ',') ||
            b->n_batches == MAX_BATCHES) {
            mr_cli_usage(
                b->a, "--batch is \"%s\", must be 1 to %d numbers from 1 to %d with commas between",
                text, MAX_BATCHES, MAX_BATCH);
            return false;
        }
        b->batches[b->n_batches++] = (uint32_t)n;
        if (n > b->max_batch) b->max_batch = n;
        if (!*end) return true;
        at = end + 1;
    }
}

static mr_status run_all(bench *b, const mr_engine_options *opt, bool json, mr_err *err) {
    const size_t n = (size_t)b->max_batch;
    mr_status st = mr_engine_open(&b->e, opt, err);

    if (st != MR_OK) return st;
    if (mr_args_flag(b->a, "limits") && strcmp(mr_engine_device(b->e, NULL), "cpu") != 0)
        return mr_fail(err, MR_EUNSUPPORTED, "--limits measures the processor: use --device cpu");
    if (mr_args_flag(b->a, "limits")) {
        st = mr_limits_measure(&b->limits, mr_engine_n_threads(b->e), err);
        if (st != MR_OK) return st;
        print_limits(b, json);
    }
    b->prompt = calloc((size_t)(b->pp > b->ctx ? b->pp : b->ctx), sizeof *b->prompt);
    b->items = calloc(n, sizeof *b->items);
    b->outs = calloc(n, sizeof *b->outs);
    b->seqs = calloc(n, sizeof *b->seqs);
    if (!b->prompt || !b->items || !b->outs || !b->seqs)
        return mr_fail(err, MR_ENOMEM, "bench: out of memory");
    if (!json) print_title(b);
    for (size_t i = 0; i < b->n_batches && st == MR_OK; i++)
        st = run_batch(b, b->batches[i], json, err);
    return st;
}

static int run_bench(const mr_args *a) {
    bench b = {.a = a};
    const char *model = mr_args_get(a, "model");
    int64_t n_threads, step_tokens, gpu_layers, tensor_parallel;
    mr_err err;

    if (!model) return mr_cli_usage(a, "--model is missing");
    if (!mr_args_int(a, "pp", 1, MAX_LENGTH, &b.pp) ||
        !mr_args_int(a, "tg", 1, MAX_LENGTH, &b.tg) ||
        !mr_args_int(a, "ctx", 0, MAX_LENGTH, &b.ctx) ||
        !mr_args_int(a, "shared-prefix", 0, MAX_LENGTH, &b.shared) ||
        !mr_args_int(a, "repeat", 1, MAX_REPEAT, &b.repeat) ||
        !mr_args_int(a, "threads", 0, 256, &n_threads) ||
        !mr_args_int(a, "gpu-layers", 0, UINT32_MAX, &gpu_layers) ||
        !mr_args_int(a, "tensor-parallel", 1, 8, &tensor_parallel) ||
        !mr_args_int(a, "step-tokens", 1, 65536, &step_tokens) || !read_batches(&b))
        return EX_USAGE;

    mr_engine_options opt = {.model_path = model,
                             .n_threads = (int)n_threads,
                             .max_step_tokens = (uint32_t)step_tokens,
                             .device = mr_args_get(a, "device"),
                             .gpu_layers = (uint32_t)gpu_layers,
                             .tensor_parallel = (uint32_t)tensor_parallel,
                             .gpu_quant = mr_args_get(a, "gpu-quant"),
                             .isa = mr_args_get(a, "isa"),
                             .kv_type = mr_args_get(a, "kv-type"),
                             .repack_cache = mr_args_get(a, "repack-cache"),
                             .host_sampling = mr_args_flag(a, "host-sampling"),
                             .no_graphs = mr_args_flag(a, "no-graphs"),
                             .not_reproducible = mr_args_flag(a, "not-reproducible")};
    if (mr_args_get(a, "workload")) return mr_bench_workload(a, &opt);
    if (b.shared >= b.pp)
        return mr_cli_usage(a, "--shared-prefix must be below --pp: the last token is its own");

    /* Whole blocks for every sequence: the KV cache is as large as this run needs, and has room for
     * what is to be found in it again. */
    const uint32_t longest = (uint32_t)((b.pp > b.ctx ? b.pp : b.ctx) + b.tg + 1);
    const uint32_t room = (uint32_t)(b.pp + b.ctx + b.shared + 2 * b.tg + 2);
    opt.n_ctx = longest;
    opt.kv_tokens = (room + 127) / 64 * 64 * (uint32_t)b.max_batch;
    opt.max_seqs = (uint32_t)b.max_batch;
    b.overlaps = !mr_args_flag(a, "no-overlap");
    const mr_status st = run_all(&b, &opt, mr_args_flag(a, "json"), &err);
    free(b.prompt);
    free(b.items);
    free(b.outs);
    free(b.seqs);
    mr_engine_close(b.e);
    return st == MR_OK ? EX_OK : mr_cli_fail(a, &err);
}

static const char *const isas[] = {"auto", "ref", "avx2", "avxvnni", "avx512", "amx", NULL};
static const char *const gpu_quants[] = {"none", "fp8", NULL};
static const char *const kv_types[] = {"f16", "q8_0", NULL};

static const mr_opt options[] = {
    {"model", 'm', "FILE", NULL, "model, a GGUF file", NULL},
    {"pp", 0, "N", "128", "prompt tokens of each sequence", NULL},
    {"tg", 0, "N", "64", "tokens generated by each sequence", NULL},
    {"ctx", 0, "N", "0", "decode behind a context of N tokens; 0: behind the prompt", NULL},
    {"shared-prefix", 0, "N", "0", "tokens that all prompts begin with", NULL},
    {"batch", 'b', "LIST", "1,4,16,32", "numbers of sequences side by side", NULL},
    {"repeat", 'r', "N", "3", "counted repetitions, after one that is not", NULL},
    {"step-tokens", 0, "N", "512", "most tokens of one engine step", NULL},
    {"threads", 0, "N", "0", "0: one per core", NULL},
    {"device", 0, "NAME", "auto",
     "auto: GPUs if there are some and isa is auto; cpu, cuda, cuda:N or cuda:N,N", NULL},
    {"gpu-quant", 0, "NAME", "none", "of the layers' weights on GPUs", gpu_quants},
    {"gpu-layers", 0, "N", "0", "the last N layers go to GPUs; 0: as --device says", NULL},
    {"tensor-parallel", 0, "N", "1", "so many GPUs share each layer; needs NCCL", NULL},
    {"isa", 0, "NAME", "auto", "kernels of the processor; auto: the last that it has", isas},
    {"kv-type", 0, "NAME", "f16", "keys and values in the cache; q8_0: in half the memory",
     kv_types},
    {"workload", 0, "INxOUT", NULL,
     "instead: requests of IN + OUT tokens through the scheduler, all queued at once", NULL},
    {"requests", 0, "N", "64", "of --workload", NULL},
    {"seats", 0, "N", "0", "sequences at one time; 0: as many as requests, at most 1023", NULL},
    {"kv-tokens", 0, "N", "0", "KV cache of --workload; 0: as a worker has it", NULL},
    {"bare", 0, NULL, NULL, "the same requests without the scheduler first, and the ratio", NULL},
    {"intruder", 0, "N", "0",
     "a prompt of N tokens more that comes while --seats sequences generate", NULL},
    {"host-sampling", 0, NULL, NULL, "draw tokens here from a GPU's logits", NULL},
    {"no-graphs", 0, NULL, NULL, "a GPU's decode steps go to it kernel by kernel", NULL},
    {"not-reproducible", 0, NULL, NULL,
     "a GPU's F16, BF16 and FP8 products: cuBLASLt where it is faster", NULL},
    {"no-overlap", 0, NULL, NULL, "no step goes to a GPU before the one before is back", NULL},
    {"repack-cache", 0, "DIR", NULL, "keep packed weights there for the next start", NULL},
    {"limits", 0, NULL, NULL, "measure the machine's limits first, and print fractions of them",
     NULL},
    {"json", 0, NULL, NULL, "one JSON line per batch size", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_bench_engine = {
    .name = "bench engine",
    .summary = "measure how fast a model reads and writes tokens",
    .opts = options,
    .about =
        "For each batch size, so many sequences with separate random prompts (nothing shared, "
        "drawn "
        "anew each time) are run together. Two times are taken, around engine steps only:\n"
        "\n"
        "prefill: until every sequence has its first token; batch * pp tokens over this time.\n"
        "decode: then tg more tokens for every sequence; batch * tg tokens over this time.\n"
        "\n"
        "The context (n_ctx) is set to pp (or ctx) + tg + 1, which the model must allow. Loading, "
        "adding "
        "and "
        "dropping sequences are not timed. Sampling (greedy) is. One uncounted "
        "repetition warms up; the figures are medians of the counted ones, with minimum and "
        "maximum. With --json and on a GPU that draws tokens itself, step_ms is what a decode step "
        "of the last repetition takes by its clock, gap_of_step the time that it waits between two "
        "of them, as a part of that.\n"
        "\n"
        "With --workload requests go through the worker's scheduler: output tokens/s, from first "
        "to last step; the time to each first token, from the start; the time between two tokens "
        "of a request. Median, 99th percentile and the longest.",
    .examples = "  millrace bench engine -m model.gguf --pp 128 --tg 64 --batch 1,4,16,32\n"
                "  millrace bench engine -m model.gguf --batch 32 --threads 1 --json\n"
                "  millrace bench engine -m model.gguf --workload 512x256 --requests 512 --seats "
                "256 --bare\n"
                "  millrace bench engine -m model.gguf --workload 128x256 --seats 64 --intruder "
                "2048",
    .run = run_bench,
};
