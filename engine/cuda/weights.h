/* weights.h - a model's weights in the memory of a device, in the tiles that its kernels read, or
 * row by row for the vendor's library.
 *
 * Owner: caller, init to deinit. */
#ifndef MR_ENGINE_CUDA_WEIGHTS_H
#define MR_ENGINE_CUDA_WEIGHTS_H

#include "engine/backend.h"
#include "engine/cuda/choice.h"
#include "engine/model.h"

typedef enum mr_gpu_quant { /* what becomes of the layers' matrices; never of embeddings and head */
                            MR_GPU_QUANT_NONE, /* they stay what they are in the file */
                            MR_GPU_QUANT_FP8   /* e4m3.h */
} mr_gpu_quant;

#define MR_DEV_MAX_COLS (1u << 18) /* of a matrix: a tile fits a buffer for loading */

typedef struct mr_dev_layer {
    mr_dev_mat wq, wk, wv, wo, gate, up, down;
    const float *attn_norm, *ffn_norm, *q_norm, *k_norm, *bq, *bk, *bv,
        *bo; /* NULL as in mr_layer */
} mr_dev_layer;

typedef struct mr_dev_weights { /* of a range of layers */
    mr_device *d;
    void *memory;
    mr_dev_mat tok_embd;   /* with the first layer */
    mr_dev_mat output;     /* with the last one; the same tiles when tied */
    const float *out_norm; /* likewise */
    const double *speed;   /* [n_rot / 2], rope.h */
    double rope_factor;
    mr_dev_layer *layers; /* [n_layer], those of the range filled in */
} mr_dev_weights;

/* Bytes of the device that init reserves: those of each layer, [n_layer]; more with the first and
 * with the last one; returns those that are there in any case. */
size_t mr_dev_weights_sizes(const mr_model *m, mr_gpu_quant quant, uint64_t *layers,
                            uint64_t *first, uint64_t *last);
/* Packs on the pool's threads while the device takes what is packed; the file's pages are given
 * back as it goes. choice: which matrices of the layers stay in rows. */
mr_status mr_dev_weights_init(mr_dev_weights *w, mr_device *d, const mr_model *m, mr_layers range,
                              mr_gpu_quant quant, const mr_choice *choice, mr_pool *pool,
                              mr_err *err);
/* A matrix as it will be on the device, but for its place. e4m3: it becomes that; in_rows: F16,
 * BF16 and e4m3 only. */
mr_dev_mat mr_dev_weights_form(const mr_mat *w, bool e4m3, bool in_rows);
void mr_dev_weights_deinit(mr_dev_weights *w); /* zeroed or half-made is allowed */

#endif
