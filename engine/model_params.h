/* model_params.h - the keys of a model file as checked hyperparameters.
 *
 * Part of model.c; the rest of the engine reads mr_model.hp. */
#ifndef MR_ENGINE_MODEL_PARAMS_H
#define MR_ENGINE_MODEL_PARAMS_H

#include "engine/model.h"

#define MR_MODEL_MAX_LAYERS 1024u
#define MR_MODEL_MAX_EMBD   65536u
#define MR_MODEL_MAX_FF     1048576u
#define MR_MODEL_MAX_HEADS  1024u
#define MR_MODEL_MAX_D_HEAD 512u
#define MR_MODEL_MAX_CTX    (1u << 24)
#define MR_MODEL_MAX_VOCAB  (1u << 22)

const char *mr_arch_name(mr_arch arch); /* as in general.architecture */

/* Everything but n_vocab and rope_freqs, which are shapes and data of tensors. */
mr_status mr_model_read_params(mr_hparams *hp, const mr_gguf *g, mr_err *err);

#endif
