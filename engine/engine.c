/* engine.c - sequences, and the step that moves them.
 *
 * A sequence is a list of tokens of which the first n_done are in the KV cache. A step takes the
 * tokens that the caller names of each sequence, lines them up as rows of one ragged batch, runs
 * the transformer over them (in several passes if the rows are many), and samples one token for
 * every sequence that has nothing left to compute. Only then do the sequences move on: a step that
 * fails has changed nothing that counts, and can be repeated without the sequence that spoiled it.
 *
 * A prompt that begins as an earlier sequence did, with the same salt, finds those blocks of keys
 * and values in the cache (kv.c) and starts behind them. The last token is computed in any case:
 * its logits are wanted. What a sequence has computed becomes known block by block as it moves on.
 *
 * All memory is reserved at open and compared with what the machine has; add takes a slot and every
 * KV block that the sequence can come to need, so a step cannot run out of anything.
 *
 * Limits: MAX_SEQS, MAX_STEP_TOKENS, MR_MAX_THREADS; the others in the options.
 * Thread: one. Model, tokenizer and template may be read from any. */
#include "millrace/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
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
    const uint64_t kv =
        mr_kv_bytes_for(e->kv_type, hp->n_layer, hp->n_kv_head, hp->d_head,
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

/* ---- sequences ---- */

/* What the device said when it was lost answers every call that needs it. */
mr_status mr_engine_check_lost(const mr_engine *e, mr_err *err) {
    return e->lost.status == MR_OK ? MR_OK : mr_fail(err, e->lost.status, "%s", e->lost.text);
}

static mr_status check_add(const mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                           size_t max_new, mr_err *err) {
    const mr_status st = mr_engine_check_lost(e, err);

    if (st != MR_OK) return st;
    if (n == 0) return mr_fail(err, MR_EINVAL, "prompt: no tokens");
    if (n > e->n_ctx || max_new > e->n_ctx - n)
        return mr_fail(err, MR_EINVAL, "prompt of %zu tokens + %zu new ones pass the context of %u",
                       n, max_new, e->n_ctx);
    if (n_generated > n)
        return mr_fail(err, MR_EINVAL, "n_generated: %zu of only %zu tokens", n_generated, n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= e->n_vocab)
            return mr_fail(err, MR_EINVAL, "token %zu of the prompt: %d is not in 0..%u", i,
                           tokens[i], e->n_vocab - 1);
    if (mr_kv_blocks_for(n + max_new) > e->kv.n_block)
        return mr_fail(err, MR_EINVAL, "%zu tokens need %u KV blocks, and there are %u in all",
                       n + max_new, mr_kv_blocks_for(n + max_new), e->kv.n_block);
    return MR_OK;
}

/* Blocks for n + max_new tokens, the known ones first. */
static mr_status take_blocks(mr_engine *e, mr_seq *s, const int32_t *tokens, size_t n,
                             size_t max_new, mr_err *err) {
    const uint32_t n_blocks = mr_kv_blocks_for(n + max_new);
    const uint32_t n_whole = (uint32_t)((n - 1) / MR_KV_BLOCK_LEN); /* not the last token's */
    const uint32_t n_found =
        e->keeps_prefixes ? mr_kv_find(&e->kv, s->salt, tokens, n_whole, s->table) : 0;
    const mr_status st = mr_kv_take(&e->kv, s->table + n_found, n_blocks - n_found, err);

    if (st != MR_OK) {
        mr_kv_give(&e->kv, s->table, n_found);
        return st;
    }
    s->n_blocks = n_blocks;
    s->n_found = n_found;
    s->n_done = n_found * MR_KV_BLOCK_LEN;
    return MR_OK;
}

mr_status mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                        size_t max_new, uint64_t salt, const mr_sampling *sampling,
                        uint32_t *seq_out, mr_err *err) {
    uint32_t id = 0;
    mr_status st;

    if ((st = check_add(e, tokens, n, n_generated, max_new, err)) != MR_OK) return st;
    if ((st = mr_sampling_check(sampling, e->n_vocab, err)) != MR_OK) return st;
    while (id < e->max_seqs && e->seqs[id].used) id++;
    if (id == e->max_seqs)
        return mr_fail(err, MR_ELIMIT, "sequences: all %u are in use", e->max_seqs);

    mr_seq *s = &e->seqs[id];
    s->salt = salt;
    if ((st = take_blocks(e, s, tokens, n, max_new, err)) != MR_OK) return st;
    memcpy(s->tokens, tokens, n * sizeof *tokens);
    s->sampling = *sampling;
    if (sampling->n_bias) memcpy(s->bias, sampling->bias, sampling->n_bias * sizeof *s->bias);
    s->sampling.bias = s->bias;
    s->n_tokens = (uint32_t)n;
    s->n_prompt = (uint32_t)(n - n_generated);
    s->n_left = (uint32_t)max_new;
    s->born = e->n_born++;
    s->logits_row = -1;
    s->used = true;
    *seq_out = id;
    return MR_OK;
}

static mr_seq *seq_at(const mr_engine *e, uint32_t id) {
    MR_CHECK(id < e->max_seqs && e->seqs[id].used);
    return &e->seqs[id];
}

void mr_engine_drop(mr_engine *e, uint32_t id) {
    mr_seq *s = seq_at(e, id);

    mr_kv_give(&e->kv, s->table, s->n_blocks);
    s->used = false;
}

/* Tokens that the host knows. Those behind them are drawn by steps that are under way. */
static uint32_t n_known(const mr_seq *s) {
    uint32_t n = s->n_tokens;

    while (s->tokens[n - 1] == MR_UNKNOWN) n--; /* the prompt is known */
    return n;
}

/* Who comes back begins behind known tokens and computes the last of them, so that one need not be
 * kept, even if a step that is under way computes it. */
bool mr_engine_park(mr_engine *e, uint32_t id, int32_t *parked) {
    const mr_seq *s = seq_at(e, id);
    const uint32_t most = n_known(s) - 1, n_done = s->n_done < most ? s->n_done : most;

    *parked = MR_SWAP_NONE;
    if (e->swap.memory && n_done > 0)
        *parked = mr_swap_put(&e->swap, s->table, s->tokens, n_done);
    if (*parked == MR_SWAP_NONE) return false;
    mr_engine_drop(e, id);
    return true;
}

void mr_engine_unpark(mr_engine *e, uint32_t id, int32_t parked) {
    mr_seq *s = seq_at(e, id);
    const uint32_t n_done = mr_swap_take(&e->swap, parked, s->table, s->tokens, s->n_tokens - 1,
                                         s->n_done / MR_KV_BLOCK_LEN);

    if (n_done <= s->n_done) return;
    mr_engine_know(e, s, s->n_done, n_done);
    s->n_done = n_done;
}

void mr_engine_forget(mr_engine *e, int32_t parked) {
    mr_swap_drop(&e->swap, parked);
}

uint32_t mr_engine_pending_of(const mr_seq *s) {
    return s->n_tokens - s->n_done;
}

uint32_t mr_engine_pending(const mr_engine *e, uint32_t id) {
    return mr_engine_pending_of(seq_at(e, id));
}

uint32_t mr_engine_cached(const mr_engine *e, uint32_t id) {
    return seq_at(e, id)->n_found * MR_KV_BLOCK_LEN;
}

const float *mr_engine_logits(const mr_engine *e, uint32_t id) {
    const mr_seq *s = seq_at(e, id);

    return s->logits_row < 0 ? NULL : e->logits + (size_t)s->logits_row * e->n_vocab;
}

void mr_engine_watch_rows(mr_engine *e, mr_engine_on_row *fn, void *owner) {
    e->on_row = fn;
    e->on_row_owner = owner;
}

/* ---- the step ---- */

static mr_status check_item(mr_engine *e, const mr_engine_item *it, uint64_t *total, mr_err *err) {
    if (it->seq >= e->max_seqs || !e->seqs[it->seq].used)
        return mr_fail(err, MR_EINVAL, "step: there is no sequence %u", it->seq);

    mr_seq *s = &e->seqs[it->seq];
    if (s->in_step) return mr_fail(err, MR_EINVAL, "step: sequence %u twice", it->seq);
    if (it->n_tokens == 0 || it->n_tokens > mr_engine_pending_of(s))
        return mr_fail(err, MR_EINVAL, "step: %u tokens of sequence %u, which has %u pending",
                       it->n_tokens, it->seq, mr_engine_pending_of(s));
    s->in_step = true;
    *total += it->n_tokens;
    if (*total > e->max_step_tokens)
        return mr_fail(err, MR_EINVAL, "step: more than max_step_tokens %u", e->max_step_tokens);
    return MR_OK;
}

mr_status mr_engine_check_items(mr_engine *e, const mr_engine_item *items, size_t n,
                                uint64_t *total, mr_err *err) {
    mr_status st = MR_OK;

    *total = 0;
    for (uint32_t i = 0; i < e->max_seqs; i++) e->seqs[i].in_step = false;
    for (size_t i = 0; i < n && st == MR_OK; i++) st = check_item(e, &items[i], total, err);
    return st;
}

/* Head of the wanted rows of the last pass, a buffer full at a time. The rows to keep gather at the
 * front of e->logits, *kept of them so far. There is always room for one more: a wanted row that is
 * still to come belongs to a sequence of which none is kept yet. */
static mr_status run_head(mr_engine *e, uint32_t n_wanted, uint32_t *kept, mr_err *err) {
    const size_t row_bytes = e->n_vocab * sizeof(float);

    for (uint32_t first = 0, n; first < n_wanted; first += n) {
        const uint32_t base = *kept, room = e->max_seqs - base;

        n = n_wanted - first < room ? n_wanted - first : room;
        const mr_status st =
            mr_forward_head(e->backend, first, n, e->logits + (size_t)base * e->n_vocab, err);
        if (st != MR_OK) return st;
        for (uint32_t i = 0; i < n; i++) {
            const mr_wanted *w = &e->wanted[first + i];
            float *row = e->logits + (size_t)(base + i) * e->n_vocab;

            if (e->on_row) e->on_row(e->on_row_owner, w->seq, w->pos, row);
            if (!w->keep) continue;
            if (*kept != base + i) memcpy(e->logits + (size_t)*kept * e->n_vocab, row, row_bytes);
            e->seqs[w->seq].logits_row = (int32_t)(*kept)++;
        }
    }
    return MR_OK;
}

/* All rows of the step, in passes of about equal size. */
static mr_status compute(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t total,
                         mr_err *err) {
    const uint32_t most = e->backend->max_rows, n_layer = e->model->hp.n_layer;
    const uint32_t n_passes = (total + most - 1) / most, pass = (total + n_passes - 1) / n_passes;
    uint32_t n_rows = 0, n_wanted = 0, kept = 0, n_left = total;
    mr_status st;

    for (size_t i = 0; i < n; i++) {
        const mr_seq *s = &e->seqs[items[i].seq];
        const bool whole = items[i].n_tokens == mr_engine_pending_of(s);

        for (uint32_t j = 0; j < items[i].n_tokens; j++) {
            const uint32_t pos = s->n_done + j;
            const bool last = j + 1 == items[i].n_tokens, want = e->on_row || (last && whole);

            e->rows[n_rows++] = (mr_row){s->tokens[pos], pos, s->table, want};
            if (want) e->wanted[n_wanted++] = (mr_wanted){items[i].seq, pos, last};
            if (--n_left > 0 && n_rows < pass) continue;
            if ((st = mr_forward_run(e->backend, n_layer, e->rows, n_rows, err)) != MR_OK)
                return st;
            if ((st = run_head(e, n_wanted, &kept, err)) != MR_OK) return st;
            n_rows = n_wanted = 0;
        }
    }
    return MR_OK;
}

typedef struct sampling_run {
    mr_engine *e;
    const mr_engine_item *items;
    mr_engine_out *outs;
} sampling_run;

static void on_sample(void *arg, uint32_t piece, int ith) {
    const sampling_run *r = arg;
    mr_engine *e = r->e;
    const uint32_t i = e->drawn[piece];
    const mr_seq *s = &e->seqs[r->items[i].seq];
    float *logits = e->logits + (size_t)s->logits_row * e->n_vocab;

    if (mr_sampler_pick(e->samplers[ith], &s->sampling, logits, s->tokens, s->n_tokens, s->n_prompt,
                        &r->outs[i], NULL) != MR_OK)
        r->outs[i].token = MR_ENGINE_SPOILED;
}

static void set_none(mr_engine_out *out) {
    out->token = -1;
    out->logprob = 0;
    out->n_top = 0;
}

/* e->drawn: items whose sequences are through with their tokens and may have more. */
static uint32_t list_drawn(mr_engine *e, const mr_engine_item *items, size_t n,
                           mr_engine_out *outs) {
    uint32_t n_drawn = 0;

    for (size_t i = 0; i < n; i++) {
        set_none(&outs[i]);
        if (mr_engine_draws(e, &items[i])) e->drawn[n_drawn++] = (uint32_t)i;
    }
    return n_drawn;
}

/* A token for each of those, drawn here from logits. */
static mr_status draw_here(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t total,
                           mr_engine_out *outs, mr_err *err) {
    sampling_run r = {e, items, outs};

    if (compute(e, items, n, total, &e->lost) != MR_OK) return mr_engine_check_lost(e, err);
    mr_pool_run(e->pool, list_drawn(e, items, n, outs), on_sample, &r);
    return MR_OK;
}

static mr_status draw_there(mr_engine *e, const mr_engine_item *items, size_t n,
                            mr_engine_out *outs, mr_err *err) {
    const mr_status st = mr_engine_ask(e, items, n, 0, err);

    if (st != MR_OK) return st;
    const uint32_t n_drawn = list_drawn(e, items, n, outs);
    if (e->backend->steps->collect(e->backend, 0, e->answers, n_drawn, &e->lost) != MR_OK)
        return mr_engine_check_lost(e, err);
    for (uint32_t i = 0; i < n_drawn; i++) outs[e->drawn[i]] = e->answers[i];
    return MR_OK;
}

static mr_status check_spoiled(const mr_engine *e, const mr_engine_item *items, size_t n,
                               const mr_engine_out *outs, mr_err *err) {
    for (size_t i = 0; i < n; i++)
        if (outs[i].token == MR_ENGINE_SPOILED)
            return mr_fail(err, MR_EINTERNAL,
                           "step: sequence %u, position %u: a logit is not finite, or no token is "
                           "allowed",
                           items[i].seq, e->seqs[items[i].seq].n_tokens);
    return MR_OK;
}

void mr_engine_know(mr_engine *e, mr_seq *s, uint32_t n_before, uint32_t n_done) {
    if (!e->keeps_prefixes) return;
    for (uint32_t i = n_before / MR_KV_BLOCK_LEN; i < n_done / MR_KV_BLOCK_LEN; i++)
        mr_kv_make_known(&e->kv, s->salt, s->tokens, s->table, i);
}

/* A step that draws nothing is not waited for: when it is done is not known, nor when the next one
 * begins on the device. */
void mr_engine_note_time(mr_engine *e, uint32_t n_rows, uint64_t began_us, bool waited) {
    const uint64_t now_us = mr_clock_mono_us();
    const uint64_t from_us = began_us > e->done_us ? began_us : e->done_us;

    if (waited && !e->unsure) mr_swap_note_step(&e->swap, n_rows, now_us - from_us);
    e->done_us = now_us;
    e->unsure = !waited;
}

static void move_on(mr_engine *e, mr_seq *s, uint32_t n_tokens, int32_t sampled) {
    mr_engine_know(e, s, s->n_done, s->n_done + n_tokens);
    s->n_done += n_tokens;
    if (sampled < 0) return;
    if (--s->n_left > 0) s->tokens[s->n_tokens++] = sampled; /* the last one is never computed */
}

mr_status mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n, mr_engine_out *outs,
                         mr_err *err) {
    bool drew = false;
    uint64_t total;
    mr_status st;

    if ((st = mr_engine_check_lost(e, err)) != MR_OK) return st;
    if (e->n_begun > e->n_collected) return mr_fail(err, MR_EINVAL, "step: one is under way");
    if ((st = mr_engine_check_items(e, items, n, &total, err)) != MR_OK) return st;
    for (uint32_t i = 0; i < e->max_seqs; i++) e->seqs[i].logits_row = -1;
    if (n == 0) return MR_OK;
    for (size_t i = 0; i < n; i++) outs[i].token = -1;
    const uint64_t began_us = mr_clock_mono_us();
    st = mr_engine_overlaps(e) ? draw_there(e, items, n, outs, err) : MR_ELIMIT;
    if (st == MR_ELIMIT) st = draw_here(e, items, n, (uint32_t)total, outs, err);
    if (st == MR_OK) st = check_spoiled(e, items, n, outs, err);
    if (st != MR_OK) return st;
    for (size_t i = 0; i < n; i++) {
        move_on(e, &e->seqs[items[i].seq], items[i].n_tokens, outs[i].token);
        drew = drew || outs[i].token >= 0;
    }
    mr_engine_note_time(e, (uint32_t)total, began_us, drew);
    return MR_OK;
}
