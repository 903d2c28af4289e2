/* model.c - finds every weight of a model in its file and proves that the shapes fit together.
 *
 * The hyperparameters say which tensors there must be and what shape each must have; forward.c
 * then multiplies without a further check. The reverse holds too: a tensor that no part of the
 * computation uses is refused, since a model run without one of its weights gives plausible
 * nonsense.
 *
 * Matrices may be of any mr_type. Norms, biases and rope divisors must be F32: they are used as
 * they lie in the file, and every converter writes them so. Kernels want matrices in tiles: pack
 * makes them one matrix after the other, so that no more than one is held twice. Thread: any. */
#include "engine/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/memory.h"
#include "engine/model_params.h"
#include "engine/pack.h"
#include "engine/pack_cache.h"

#define MAX_TENSOR_NAME 72 /* of the names made here */

typedef struct loader {
    mr_model *m;
    const mr_gguf *g;
    bool *used; /* [n_tensors] */
    mr_err *err;
} loader;

/* --- one tensor ------------------------------------------------------------------------------- */

static mr_status bad_shape(const loader *l, const mr_gguf_tensor *t, const char *name,
                           uint64_t want0, uint64_t want1) {
    return mr_fail(
        l->err, MR_EINVAL,
        "gguf %s: tensor %s (data at byte %llu) has the shape %llu x %llu x %llu x %llu, "
        "the hyperparameters need %llu x %llu",
        mr_gguf_label(l->g), name, (unsigned long long)t->file_offset,
        (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
        (unsigned long long)t->dims[2], (unsigned long long)t->dims[3], (unsigned long long)want0,
        (unsigned long long)want1);
}

static const mr_gguf_tensor *use(const loader *l, const char *name) {
    const mr_gguf_tensor *t = mr_gguf_find_tensor(l->g, name);

    if (!t) return NULL;
    const size_t i = (size_t)(t - mr_gguf_tensor_at(l->g, 0));
    if (!l->used[i]) {
        l->used[i] = true;
        l->m->weight_bytes += t->bytes;
        l->m->n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return t;
}

static mr_status missing(const loader *l, const char *name) {
    return mr_fail(l->err, MR_EINVAL, "gguf %s: tensor %s is missing", mr_gguf_label(l->g), name);
}

static void layer_name(char buf[MAX_TENSOR_NAME], const char *suffix, uint32_t layer) {
    snprintf(buf, MAX_TENSOR_NAME, "blk.%u.%s", layer, suffix);
}

static mr_status get_matrix(const loader *l, const char *name, uint32_t rows, uint32_t cols,
                            mr_mat *out) {
    const mr_gguf_tensor *t = use(l, name);

    if (!t) return missing(l, name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return bad_shape(l, t, name, cols, rows);
    *out = (mr_mat){.data = t->data,
                    .type = t->type,
                    .rows = rows,
                    .cols = cols,
                    .row_bytes = mr_type_row_bytes(t->type, cols)};
    return MR_OK;
}

/* f32 vector; *out stays NULL when the file has none and it is optional. */
static mr_status get_vector(const loader *l, const char *name, uint32_t n, bool optional,
                            const float **out) {
    const mr_gguf_tensor *t = use(l, name);

    *out = NULL;
    if (!t) return optional ? MR_OK : missing(l, name);
    if (t->type != MR_TYPE_F32)
        return mr_fail(l->err, MR_EUNSUPPORTED, "gguf %s: tensor %s is of type %s, must be F32",
                       mr_gguf_label(l->g), name, mr_type_name(t->type));
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1)
        return bad_shape(l, t, name, n, 1);
    *out = t->data;
    return MR_OK;
}

/* --- the parts of a model --------------------------------------------------------------------- */

static mr_status load_layer(const loader *l, uint32_t i) {
    const mr_hparams *hp = &l->m->hp;
    const uint32_t n_q = hp->n_head * hp->d_head, n_kv = hp->n_kv_head * hp->d_head;
    mr_layer *y = &l->m->layers[i];
    const struct {
        const char *name;
        uint32_t rows, cols;
        mr_mat *out;
    } matrices[] = {
        {"attn_q.weight", n_q, hp->n_embd, &y->wq},
        {"attn_k.weight", n_kv, hp->n_embd, &y->wk},
        {"attn_v.weight", n_kv, hp->n_embd, &y->wv},
        {"attn_output.weight", hp->n_embd, n_q, &y->wo},
        {"ffn_gate.weight", hp->n_ff, hp->n_embd, &y->gate},
        {"ffn_up.weight", hp->n_ff, hp->n_embd, &y->up},
        {"ffn_down.weight", hp->n_embd, hp->n_ff, &y->down},
    };
    const bool head_norms = hp->arch == MR_ARCH_QWEN3;
    const struct {
        const char *name;
        uint32_t n;
        bool optional;
        const float **out;
    } vectors[] = {
        {"attn_norm.weight", hp->n_embd, false, &y->attn_norm},
        {"ffn_norm.weight", hp->n_embd, false, &y->ffn_norm},
        {"attn_q.bias", n_q, true, &y->bq},
        {"attn_k.bias", n_kv, true, &y->bk},
        {"attn_v.bias", n_kv, true, &y->bv},
        {"attn_output.bias", hp->n_embd, true, &y->bo},
        {"attn_q_norm.weight", hp->d_head, false, &y->q_norm},
        {"attn_k_norm.weight", hp->d_head, false, &y->k_norm},
    };
    char name[MAX_TENSOR_NAME];
    mr_status st;

    for (size_t k = 0; k < MR_COUNT(matrices); k++) {
        layer_name(name, matrices[k].name, i);
        st = get_matrix(l, name, matrices[k].rows, matrices[k].cols, matrices[k].out);
        if (st != MR_OK) return st;
    }
    for (size_t k = 0; k < MR_COUNT(vectors) - (head_norms ? 0 : 2); k++) {
        layer_name(name, vectors[k].name, i);
        st = get_vector(l, name, vectors[k].n, vectors[k].optional, vectors[k].out);
        if (st != MR_OK) return st;
    }
    return MR_OK;
}

/* The embedding's rows are the vocabulary; the token list, if there is one, must agree. */
static mr_status load_embedding(const loader *l) {
    static const char name[] = "token_embd.weight";
    mr_hparams *hp = &l->m->hp;
    const mr_gguf_tensor *t = mr_gguf_find_tensor(l->g, name);
    mr_gguf_kind kind;
    size_t n_tokens;

    if (!t) return missing(l, name);
    if (t->dims[1] > MR_MODEL_MAX_VOCAB)
        return mr_fail(l->err, MR_EINVAL, "gguf %s: tensor %s has %llu rows, the limit is %u",
                       mr_gguf_label(l->g), name, (unsigned long long)t->dims[1],
                       MR_MODEL_MAX_VOCAB);
    hp->n_vocab = (uint32_t)t->dims[1];
    if (mr_gguf_array(l->g, "tokenizer.ggml.tokens", &kind, &n_tokens, NULL) == MR_OK &&
        n_tokens != hp->n_vocab)
        return mr_fail(l->err, MR_EINVAL,
                       "gguf %s: tensor %s has %u rows, but tokenizer.ggml.tokens has %zu items",
                       mr_gguf_label(l->g), name, hp->n_vocab, n_tokens);
    return get_matrix(l, name, hp->n_vocab, hp->n_embd, &l->m->tok_embd);
}

static mr_status load_head(const loader *l) {
    const mr_hparams *hp = &l->m->hp;
    const mr_status st = get_vector(l, "output_norm.weight", hp->n_embd, false, &l->m->out_norm);

    if (st != MR_OK) return st;
    l->m->tied = !mr_gguf_find_tensor(l->g, "output.weight");
    if (!l->m->tied) return get_matrix(l, "output.weight", hp->n_vocab, hp->n_embd, &l->m->output);
    l->m->output = l->m->tok_embd;
    return MR_OK;
}

static mr_status load_rope_freqs(const loader *l) {
    static const char name[] = "rope_freqs.weight";
    mr_hparams *hp = &l->m->hp;
    const mr_status st = get_vector(l, name, hp->n_rot / 2, true, &hp->rope_freqs);

    if (st != MR_OK || !hp->rope_freqs) return st;
    for (uint32_t i = 0; i < hp->n_rot / 2; i++)
        if (!(hp->rope_freqs[i] >= 1e-6f && hp->rope_freqs[i] <= 1e6f)) /* also false for NaN */
            return mr_fail(l->err, MR_EINVAL,
                           "gguf %s: item %u of tensor %s is %g, must be 1e-06..1e+06",
                           mr_gguf_label(l->g), i, name, (double)hp->rope_freqs[i]);
    return MR_OK;
}

static mr_status refuse_unused(const loader *l) {
    char shown[96];

    for (size_t i = 0; i < mr_gguf_n_tensors(l->g); i++) {
        if (l->used[i]) continue;
        const mr_gguf_tensor *t = mr_gguf_tensor_at(l->g, i);
        mr_gguf_escape(t->name, shown, sizeof shown);
        return mr_fail(l->err, MR_EUNSUPPORTED,
                       "gguf %s: tensor %s has no place in a %s model of %u layers as this build "
                       "runs it",
                       mr_gguf_label(l->g), shown, mr_arch_name(l->m->hp.arch), l->m->hp.n_layer);
    }
    return MR_OK;
}

static void set_name(mr_model *m) {
    const char *path = mr_gguf_path(m->gguf), *slash = strrchr(path, '/');
    mr_str name = {slash ? slash + 1 : path, 0};

    name.len = strlen(name.ptr);
    if (mr_gguf_str(m->gguf, "general.name", &name, NULL) == MR_OK && name.len == 0)
        name = (mr_str){"unnamed", 7};
    mr_gguf_escape(name, m->name, sizeof m->name);
}

/* --- the whole model -------------------------------------------------------------------------- */

static mr_status load(loader *l) {
    mr_model *m = l->m;
    mr_status st;

    if (mr_gguf_n_tensors(l->g) == 0)
        return mr_fail(l->err, MR_EINVAL, "gguf %s: n_tensors is 0: a vocabulary without weights",
                       mr_gguf_label(l->g));
    if ((st = mr_model_read_params(&m->hp, l->g, l->err)) != MR_OK) return st;
    set_name(m);
    l->used = calloc(mr_gguf_n_tensors(l->g) + 1, sizeof *l->used);
    m->layers = calloc(m->hp.n_layer, sizeof *m->layers);
    if (!l->used || !m->layers)
        return mr_fail(l->err, MR_ENOMEM, "gguf %s: out of memory for %u layers",
                       mr_gguf_label(l->g), m->hp.n_layer);
    if ((st = load_embedding(l)) != MR_OK) return st;
    for (uint32_t i = 0; i < m->hp.n_layer; i++)
        if ((st = load_layer(l, i)) != MR_OK) return st;
    if ((st = load_head(l)) != MR_OK) return st;
    if ((st = load_rope_freqs(l)) != MR_OK) return st;
    return refuse_unused(l);
}

mr_status mr_model_from_gguf(mr_model **out, mr_gguf *g, mr_err *err) {
    mr_model *m = calloc(1, sizeof *m);
    loader l = {.m = m, .g = g, .err = err};
    mr_status st;

    *out = NULL;
    if (!m) {
        st = mr_fail(err, MR_ENOMEM, "gguf %s: out of memory", mr_gguf_label(g));
        mr_gguf_close(g);
        return st;
    }
    m->gguf = g;
    st = load(&l);
    free(l.used);
    if (st == MR_OK)
        *out = m;
    else
        mr_model_close(m);
    return st;
}

mr_status mr_model_open(mr_model **out, const char *path, mr_err *err) {
    mr_gguf *g = NULL;
    mr_status st;

    *out = NULL;
    if ((st = mr_gguf_open(&g, path, err)) != MR_OK) return st;
    if ((st = mr_model_from_gguf(out, g, err)) != MR_OK) return st;
    mr_gguf_read_ahead(g);
    return MR_OK;
}

/* --- packing ---------------------------------------------------------------------------------- */

#define MATRICES_PER_LAYER 7
#define PACK_TILES         4 /* of a piece */
#define MAX_CACHE_PATH     4096

/* Matrix i of those that are multiplied with in n_layer layers; behind the last one the head; NULL:
 * no more. */
static mr_mat *matrix_at(mr_model *m, uint32_t n_layer, size_t i) {
    const size_t in_layers = (size_t)MATRICES_PER_LAYER * n_layer;

    if (i >= in_layers) return i == in_layers && n_layer == m->hp.n_layer ? &m->output : NULL;
    mr_layer *y = &m->layers[i / MATRICES_PER_LAYER];
    mr_mat *const of_layer[MATRICES_PER_LAYER] = {&y->wq,   &y->wk, &y->wv,  &y->wo,
                                                  &y->gate, &y->up, &y->down};
    return of_layer[i % MATRICES_PER_LAYER];
}

static uint32_t n_tiles(const mr_mat *w) {
    return (w->rows + MR_TILE - 1) / MR_TILE;
}

static size_t matrix_bytes(const mr_mat *w) {
    return n_tiles(w) * mr_tile_bytes(w->type, w->cols);
}

static size_t all_bytes(mr_model *m, uint32_t n_layer) {
    size_t bytes = 0;
    const mr_mat *w;

    for (size_t i = 0; (w = matrix_at(m, n_layer, i)); i++) bytes += matrix_bytes(w);
    return bytes;
}

static void on_tiles(void *arg, uint32_t piece, int ith) {
    const mr_mat *w = arg;
    const uint32_t end = (piece + 1) * PACK_TILES;

    (void)ith;
    for (uint32_t i = piece * PACK_TILES; i < end && i < n_tiles(w); i++)
        mr_pack_tile((uint8_t *)w->tiles + i * mr_tile_bytes(w->type, w->cols), w, i);
}

static void pack_all(mr_model *m, uint32_t n_layer, mr_pool *pool) {
    const mr_mat *w;

    for (size_t i = 0; (w = matrix_at(m, n_layer, i)); i++) {
        mr_pool_run(pool, (n_tiles(w) + PACK_TILES - 1) / PACK_TILES, on_tiles, (void *)w);
        mr_gguf_give_back(m->gguf, w->data, w->rows * w->row_bytes);
    }
}

static mr_status make_key(mr_pack_key *key, const mr_model *m, mr_pool *pool, mr_err *err) {
    const void *bytes = mr_gguf_bytes(m->gguf);
    const size_t n = (size_t)mr_gguf_file_bytes(m->gguf);

    *key = (mr_pack_key){.source_bytes = n, .bytes = m->tiles_bytes};
    const mr_status st = mr_digest_of(&key->source, bytes, n, pool, err);
    mr_gguf_give_back(m->gguf, bytes, n);
    return st;
}

/* After they were made: was it of the file that the key names? Somebody may have written to it. */
static mr_status keep_tiles(const mr_model *m, const char *path, const mr_pack_key *key,
                            mr_pool *pool, mr_err *err) {
    mr_pack_key now;
    const mr_status st = make_key(&now, m, pool, err);

    if (st != MR_OK) return st;
    if (memcmp(&now, key, sizeof now) != 0)
        return mr_fail(err, MR_EINVAL, "the model's file has changed meanwhile");
    return mr_pack_cache_write(path, key, m->tiles, pool, err);
}

/* The tiles from the cache, or made and put there. */
static void pack_cached(mr_model *m, uint32_t n_layer, mr_pool *pool, const char *folder) {
    const char *file = strrchr(mr_gguf_path(m->gguf), '/');
    const uint64_t begin_ms = mr_clock_mono_ms();
    char path[MAX_CACHE_PATH];
    mr_pack_key key;
    mr_err err;

    file = file ? file + 1 : mr_gguf_path(m->gguf);
    if ((size_t)snprintf(path, sizeof path, "%s/%s.tiles", folder, file) >= sizeof path ||
        make_key(&key, m, pool, &err) != MR_OK) {
        mr_log(MR_LOG_WARN, "engine", "packed weights are not kept", "folder=" MR_Q, folder);
        pack_all(m, n_layer, pool);
        return;
    }
    const mr_status st = mr_pack_cache_read(path, &key, m->tiles, pool, &err);
    if (st == MR_OK) {
        mr_log(MR_LOG_INFO, "engine", "packed weights read", "file=" MR_Q " ms=%llu", path,
               (unsigned long long)(mr_clock_mono_ms() - begin_ms));
        return;
    }
    if (st != MR_ENOTFOUND) {
        mr_log(MR_LOG_WARN, "engine", "packed weights cannot be used and are made anew",
               "file=" MR_Q " err=" MR_Q, path, err.text);
        memset(m->tiles, 0, m->tiles_bytes); /* as packing wants them; some may have been read */
    }
    pack_all(m, n_layer, pool);
    if (keep_tiles(m, path, &key, pool, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "engine", "packed weights are not kept", "file=" MR_Q " err=" MR_Q,
               path, err.text);
}

mr_status mr_model_pack(mr_model *m, uint32_t n_layer, mr_pool *pool, const char *cache,
                        mr_err *err) {
    const size_t bytes = all_bytes(m, n_layer);
    uint8_t *at = mr_pages_map(bytes);
    mr_mat *w;

    if (!at)
        return mr_fail(err, MR_ENOMEM, "gguf %s: no memory for %zu MiB of weights",
                       mr_gguf_label(m->gguf), bytes >> 20);
    (void)mr_pages_interleave(at, bytes, mr_memory_nodes());
    m->tiles = at;
    m->tiles_bytes = bytes;
    for (size_t i = 0; (w = matrix_at(m, n_layer, i)); at += matrix_bytes(w), i++)
        w->tiles = at;
    if (cache && *cache)
        pack_cached(m, n_layer, pool, cache);
    else
        pack_all(m, n_layer, pool);
    return MR_OK;
}

void mr_model_close(mr_model *m) {
    if (!m) return;
    mr_pages_unmap(m->tiles, m->tiles_bytes);
    mr_gguf_close(m->gguf);
    free(m->layers);
    free(m);
}
