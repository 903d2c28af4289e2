/* engine.c - an engine's life: options, a file and the machine become one that can make steps.
 *
 * What is read from the file and asked of the machine comes first (open_parts); then the limits are
 * known, and what they need is compared with what there is, so that the answer "does not fit" names
 * the numbers to change before anything large is reserved. Then all memory of the run is reserved:
 * weights, KV cache, the backend's rows, and a place for each of max_seqs sequences (sequences.c),
 * so that a step (step.c) cannot run out of anything.
 *
 * Limits: MAX_SEQS, MAX_STEP_TOKENS, MR_MAX_THREADS; the others in the options.
 * Thread: one. Model, tokenizer and template may be read from any. */
#include "millrace/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cpu/backend.h"
#include "engine/engine_internal.h"
#include "engine/memory.h"

#define DEFAULT_N_CTX       8192u
#define DEFAULT_KV_TOKENS   65536u
#define DEFAULT_MAX_SEQS    32u
#define DEFAULT_STEP_TOKENS 512u
#define MAX_SEQS            1024u
#define MAX_STEP_TOKENS     65536u

/* ---- open ---- */

static mr_status check_option(const char *name, uint64_t value, uint64_t lo, uint64_t hi,
                              mr_err *err) {
    if (value >= lo && value <= hi) return MR_OK;
    return mr_fail(err, MR_EINVAL, "%s: %llu is not in %llu..%llu", name, (unsigned long long)value,
                   (unsigned long long)lo, (unsigned long long)hi);
}

static mr_status set_limits(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const uint32_t trained = e->model->hp.n_ctx_train;
    mr_status st;

    e->n_ctx = opt->n_ctx ? opt->n_ctx : trained < DEFAULT_N_CTX ? trained : DEFAULT_N_CTX;
    e->max_seqs = opt->max_seqs ? opt->max_seqs : DEFAULT_MAX_SEQS;
    e->max_step_tokens = opt->max_step_tokens ? opt->max_step_tokens : DEFAULT_STEP_TOKENS;
    if ((st = check_option("n_ctx", e->n_ctx, 1, trained, err)) != MR_OK ||
        (st = check_option("max_seqs", e->max_seqs, 1, MAX_SEQS, err)) != MR_OK ||
        (st = check_option("max_step_tokens", e->max_step_tokens, 1, MAX_STEP_TOKENS, err)) !=
            MR_OK)
        return st;
    if (opt->n_threads < 0 || opt->n_threads > MR_MAX_THREADS)
        return mr_fail(err, MR_EINVAL, "n_threads: %d is not in 0..%d", opt->n_threads,
                       MR_MAX_THREADS);

    e->keeps_prefixes = !opt->no_prefix_cache;
    e->host_sampling = opt->host_sampling;
    e->no_graphs = opt->no_graphs;
    e->not_reproducible = opt->not_reproducible;
    if (opt->kv_type && !mr_kv_type_parse(opt->kv_type, &e->kv_type))
        return mr_fail(err, MR_EINVAL, "kv_type: \"%s\" is neither f16 nor q8_0", opt->kv_type);

    /* Each sequence takes whole blocks. */
    const uint64_t all = (uint64_t)e->max_seqs * mr_kv_blocks_for(e->n_ctx) * MR_KV_BLOCK_LEN;
    e->kv_tokens = all < DEFAULT_KV_TOKENS ? (uint32_t)all : DEFAULT_KV_TOKENS;
    if (e->kv_tokens < e->n_ctx) e->kv_tokens = e->n_ctx; /* one whole sequence at least */
    if (opt->kv_tokens) e->kv_tokens = opt->kv_tokens;
    return check_option("kv_tokens", e->kv_tokens, 1, INT32_MAX, err);
}

static mr_room room_of(const mr_engine *e) {
    return (mr_room){.max_rows = e->max_step_tokens,
                     .max_head = e->max_seqs,
                     .max_len = e->n_ctx,
                     .layers = {0, e->model->hp.n_layer},
                     .kv_type = e->kv_type,
                     .eog = e->eog,
                     .n_eog = e->n_eog,
                     .no_recording = e->no_graphs,
                     .not_reproducible = e->not_reproducible};
}

/* Would it fit? Said before anything is reserved, with the numbers to change. */
static mr_status check_memory(const mr_engine *e, const char *path, mr_err *err) {
    const mr_hparams *hp = &e->model->hp;
    const mr_room room = room_of(e);
    const uint64_t free_bytes = mr_memory_available();
    const uint64_t kv = mr_kv_bytes_for(e->kv_type, hp->n_layer, hp->n_kv_head, hp->d_head,
                                        mr_kv_blocks_for(e->kv_tokens));
    const uint64_t work = (uint64_t)e->max_seqs * e->n_vocab * sizeof(float) +
                          mr_cpu_backend_bytes(e->model, &room, mr_pool_size(e->pool));
    const uint64_t need = e->model->weight_bytes + kv + work;

    if (need <= free_bytes) return MR_OK;
    return mr_fail(
        err, MR_ENOMEM,
        "model %s does not fit: %llu MiB of weights + %llu MiB of KV cache (kv_tokens %u) "
        "+ %llu MiB of work memory = %llu MiB, and %llu MiB are available; lower "
        "kv_tokens, n_ctx or max_seqs, or take a smaller model",
        path, (unsigned long long)(e->model->weight_bytes >> 20), (unsigned long long)(kv >> 20),
        e->kv_tokens, (unsigned long long)(work >> 20), (unsigned long long)(need >> 20),
        (unsigned long long)(free_bytes >> 20));
}

/* Tokens that ban_eog bans. */
static mr_status list_eog(mr_engine *e, mr_err *err) {
    const uint32_t n = mr_tokenizer_n_vocab(e->tokenizer);

    for (uint32_t i = 0; i < n && i < e->n_vocab; i++)
        e->n_eog += mr_tokenizer_is_eog(e->tokenizer, (int32_t)i);
    e->eog = malloc((e->n_eog + 1) * sizeof *e->eog); /* + 1: never a malloc of 0 */
    if (!e->eog) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    for (uint32_t i = 0, at = 0; at < e->n_eog; i++)
        if (mr_tokenizer_is_eog(e->tokenizer, (int32_t)i)) e->eog[at++] = (int32_t)i;
    return MR_OK;
}

static mr_status open_samplers(mr_engine *e, mr_err *err) {
    const int n_threads = mr_pool_size(e->pool);
    mr_status st = MR_OK;

    while (st == MR_OK && e->n_samplers < n_threads) {
        st = mr_sampler_open(&e->samplers[e->n_samplers], e->ops, e->n_vocab, e->eog, e->n_eog,
                             e->n_ctx, err);
        if (st == MR_OK) e->n_samplers++;
    }
    return st;
}

static mr_status open_seqs(mr_engine *e, mr_err *err) {
    const uint32_t blocks = mr_kv_blocks_for(e->n_ctx), pass = e->backend->max_rows;

    e->seqs = calloc(e->max_seqs, sizeof *e->seqs);
    e->tokens = calloc((size_t)e->max_seqs * e->n_ctx, sizeof *e->tokens);
    e->tables = calloc((size_t)e->max_seqs * blocks, sizeof *e->tables);
    e->biases = calloc((size_t)e->max_seqs * MR_MAX_LOGIT_BIAS, sizeof *e->biases);
    e->rows = calloc(pass, sizeof *e->rows);
    e->wanted = calloc(pass, sizeof *e->wanted);
    e->drawn = calloc(e->max_seqs, sizeof *e->drawn);
    e->asks = calloc(e->max_seqs, sizeof *e->asks);
    e->answers = calloc(e->max_seqs, sizeof *e->answers);
    for (int i = 0; i < MR_MAX_FLIGHTS; i++)
        e->flights[i].parts = calloc(e->max_seqs, sizeof *e->flights[i].parts);
    if (!e->seqs || !e->tokens || !e->tables || !e->biases || !e->rows || !e->wanted || !e->drawn ||
        !e->asks || !e->answers || !e->flights[0].parts || !e->flights[1].parts)
        return mr_fail(err, MR_ENOMEM, "engine: no memory for %u sequences of %u tokens",
                       e->max_seqs, e->n_ctx);
    for (uint32_t i = 0; i < e->max_seqs; i++) {
        e->seqs[i].tokens = e->tokens + (size_t)i * e->n_ctx;
        e->seqs[i].table = e->tables + (size_t)i * blocks;
        e->seqs[i].bias = e->biases + (size_t)i * MR_MAX_LOGIT_BIAS;
    }
    e->logits = e->backend->steps->reserve_logits(e->backend, e->max_seqs, err);
    return e->logits ? MR_OK : MR_ENOMEM;
}

static bool is_auto(const char *name) {
    return !name || strcmp(name, "auto") == 0;
}

static mr_status pick_shared(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const bool on_cpu = opt->device && strcmp(opt->device, "cpu") == 0;

    if (on_cpu || opt->gpu_layers)
        return mr_fail(err, MR_EINVAL,
                       "tensor_parallel: %u GPUs share each layer: not with %s, which leaves "
                       "layers to the processor",
                       opt->tensor_parallel, on_cpu ? "device: cpu" : "gpu_layers");
    return mr_places_pick_shared(&e->places, opt->device, opt->tensor_parallel, err);
}

static mr_status pick_device(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const bool any = is_auto(opt->device);

    if (opt->gpu_quant && strcmp(opt->gpu_quant, "fp8") == 0)
        e->quant = MR_GPU_QUANT_FP8;
    else if (opt->gpu_quant && strcmp(opt->gpu_quant, "none") != 0)
        return mr_fail(err, MR_EINVAL, "gpu_quant: \"%.40s\" is not none or fp8", opt->gpu_quant);
    if (opt->tensor_parallel > 1) return pick_shared(e, opt, err);
    if (any && !is_auto(opt->isa)) return MR_OK; /* who names its kernels wants the processor */
    const mr_status st = mr_places_pick(&e->places, opt->device, &e->no_gpu);
    if (st == MR_EUNAVAIL && any) return MR_OK;
    return st == MR_OK ? MR_OK : mr_fail(err, st, "%s", e->no_gpu.text);
}

/* Everything that is read from the file or the machine; nothing large is reserved. */
static mr_status open_parts(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const bool own_template = is_auto(opt->chat_template);
    mr_status st;

    if ((st = mr_model_open(&e->model, opt->model_path, err)) != MR_OK) return st;
    e->n_vocab = e->model->hp.n_vocab;
    if ((st = mr_tokenizer_open(&e->tokenizer, e->model->gguf, err)) != MR_OK) return st;
    st = mr_template_pick(&e->tmpl, e->model->gguf, opt->chat_template, &e->tmpl_err);
    if (st != MR_OK && !own_template) return mr_fail(err, st, "%s", e->tmpl_err.text);
    e->ops = mr_ops_pick(opt->isa);
    if (!e->ops)
        return mr_fail(err, MR_EUNSUPPORTED, "isa: this machine or build has no \"%s\"", opt->isa);
    if ((st = set_limits(e, opt, err)) != MR_OK) return st;
    if ((st = list_eog(e, err)) != MR_OK) return st;
    if ((st = mr_pool_open(&e->pool, opt->n_threads, err)) != MR_OK) return st;
    return pick_device(e, opt, err);
}

static mr_status open_on_cpu(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const mr_hparams *hp = &e->model->hp;
    const mr_room room = room_of(e);
    mr_status st = check_memory(e, opt->model_path, err);

    if (st == MR_OK && e->ops->reads_tiles)
        st = mr_model_pack(e->model, hp->n_layer, e->pool, opt->repack_cache, err);
    if (st == MR_OK)
        st = mr_kv_init(&e->kv, e->kv_type, hp->n_layer, hp->n_kv_head, hp->d_head,
                        mr_kv_blocks_for(e->kv_tokens), err);
    if (st != MR_OK) return st;
    return mr_cpu_backend_open(&e->backend, e->model, e->ops, e->pool, &e->kv, &room, err);
}

/* What the options leave open of the KV cache, the devices' memory decides. A device that was not
 * named and has no room for a layer is as good as none. */
static mr_status open_on_devices(mr_engine *e, const mr_engine_options *opt, mr_err *err) {
    const uint32_t one = mr_kv_blocks_for(e->n_ctx);
    const uint32_t asked = mr_kv_blocks_for(opt->kv_tokens);
    const mr_places_conf conf = {.m = e->model,
                                 .ops = e->ops,
                                 .pool = e->pool,
                                 .room = room_of(e),
                                 .gpu_memory = opt->gpu_memory,
                                 .gpu_layers = opt->gpu_layers,
                                 .quant = e->quant,
                                 .least_blocks = asked ? asked : one,
                                 .most_blocks = asked ? asked : one * e->max_seqs};
    mr_status st = mr_places_plan(&e->places, &conf, &e->no_gpu);

    if (st == MR_ENOMEM && e->places.any && !opt->gpu_layers) {
        mr_places_deinit(&e->places);
        return MR_OK;
    }
    if (st != MR_OK) return mr_fail(err, st, "%s", e->no_gpu.text);
    e->no_gpu = (mr_err){0};
    st = mr_places_open(&e->places, &e->backend, &conf, &e->kv, err);
    e->kv_tokens = e->kv.n_block * MR_KV_BLOCK_LEN;
    return st;
}

mr_status mr_engine_open(mr_engine **out, const mr_engine_options *opt, mr_err *err) {
    mr_engine *e = calloc(1, sizeof *e);
    mr_status st;

    *out = NULL;
    if (!e) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    if ((st = open_parts(e, opt, err)) != MR_OK) goto fail;
    st = e->places.n > 0 ? open_on_devices(e, opt, err) : MR_OK;
    if (st == MR_OK && e->places.n == 0) st = open_on_cpu(e, opt, err);
    if (st != MR_OK) goto fail;
    if (e->places.n > 0 && opt->swap_bytes)
        st = mr_swap_open(&e->swap, e->backend, opt->swap_bytes, err);
    if (st != MR_OK) goto fail;
    if ((st = open_samplers(e, err)) != MR_OK) goto fail;
    if ((st = open_seqs(e, err)) != MR_OK) goto fail;
    *out = e;
    return MR_OK;
fail:
    mr_engine_close(e);
    return st;
}

void mr_engine_close(mr_engine *e) {
    if (!e) return;
    for (int i = 0; i < MR_MAX_FLIGHTS; i++) free(e->flights[i].parts);
    free(e->answers);
    free(e->asks);
    free(e->drawn);
    free(e->wanted);
    free(e->rows);
    free(e->biases);
    free(e->tables);
    free(e->tokens);
    free(e->seqs);
    for (int i = 0; i < e->n_samplers; i++) mr_sampler_close(e->samplers[i]);
    free(e->eog);
    mr_swap_close(&e->swap);
    if (e->backend) e->backend->steps->close(e->backend);
    mr_places_deinit(&e->places);
    mr_kv_deinit(&e->kv);
    mr_pool_close(e->pool);
    mr_tokenizer_close(e->tokenizer);
    mr_model_close(e->model);
    free(e);
}

/* ---- what it is ---- */

const struct mr_tokenizer *mr_engine_tokenizer(const mr_engine *e) {
    return e->tokenizer;
}

const struct mr_template *mr_engine_template(const mr_engine *e, const char **why) {
    if (why) *why = e->tmpl ? NULL : e->tmpl_err.text;
    return e->tmpl;
}

const struct mr_model *mr_engine_model(const mr_engine *e) {
    return e->model;
}
uint32_t mr_engine_n_ctx(const mr_engine *e) {
    return e->n_ctx;
}
uint32_t mr_engine_n_vocab(const mr_engine *e) {
    return e->n_vocab;
}
uint32_t mr_engine_max_seqs(const mr_engine *e) {
    return e->max_seqs;
}
uint32_t mr_engine_max_step_tokens(const mr_engine *e) {
    return e->max_step_tokens;
}
const char *mr_engine_isa(const mr_engine *e) {
    return e->backend->name;
}
const char *mr_engine_device(const mr_engine *e, const char **why) {
    if (why) *why = e->no_gpu.text[0] ? e->no_gpu.text : NULL;
    return e->places.n > 0 ? e->places.text : "cpu";
}
const char *mr_engine_pci(const mr_engine *e) {
    return e->places.n > 0 && e->places.devices[0]->pci[0] ? e->places.devices[0]->pci : NULL;
}
int mr_engine_n_threads(const mr_engine *e) {
    return mr_pool_size(e->pool);
}
const char *mr_engine_kv_type(const mr_engine *e) {
    return mr_kv_type_name(e->kv_type);
}
size_t mr_engine_kv_bytes(const mr_engine *e) {
    const mr_hparams *hp = &e->model->hp;
    return mr_kv_bytes_for(e->kv_type, hp->n_layer, hp->n_kv_head, hp->d_head, e->kv.n_block);
}
uint32_t mr_engine_kv_blocks_free(const mr_engine *e) {
    return mr_kv_n_free(&e->kv);
}
uint32_t mr_engine_kv_blocks_total(const mr_engine *e) {
    return e->kv.n_block;
}
uint32_t mr_engine_block_len(const mr_engine *e) {
    return (void)e, MR_KV_BLOCK_LEN;
}
uint32_t mr_engine_blocks_for(const mr_engine *e, size_t n_tokens) {
    return (void)e, mr_kv_blocks_for(n_tokens);
}

/* What the device said when it was lost answers every call that needs it. */
mr_status mr_engine_check_lost(const mr_engine *e, mr_err *err) {
    return e->lost.status == MR_OK ? MR_OK : mr_fail(err, e->lost.status, "%s", e->lost.text);
}
