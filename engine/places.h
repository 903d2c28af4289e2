/* places.h - the devices of an engine: which ones, which layers each has, and the backend that all
 * are together, with the processor if some layers are left to it. Or they share each layer.
 *
 * Owner: caller, zeroed, pick to deinit. */
#ifndef MR_ENGINE_PLACES_H
#define MR_ENGINE_PLACES_H

#include "engine/cuda/device.h"
#include "engine/cuda/weights.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/split.h"
#include "engine/threads.h"

typedef struct mr_places {
    mr_device *devices[MR_DEVICES_MAX];
    uint32_t n;     /* 0: the processor alone */
    bool any;       /* none was named: more may join, and the processor */
    bool shared;    /* each layer is shared by all n (cuda/ranks.h) */
    mr_split split; /* place 0 is the processor, place i + 1 device i */
    char text[256]; /* what has which layers */
} mr_places;

typedef struct mr_places_conf {
    mr_model *m;
    const mr_ops *ops; /* of the processor */
    mr_pool *pool;
    mr_room room;        /* all layers */
    float gpu_memory;    /* part of each device's free memory; 0: 0.9; at most 1 */
    uint32_t gpu_layers; /* that devices are to have; 0: all, or as many as fit if none was named */
    mr_gpu_quant quant;  /* of the layers on devices */
    uint32_t least_blocks, most_blocks; /* of the KV cache: what must fit, what would be of use */
} mr_places_conf;

/* name: as mr_device_pick_all has it. Nothing is reserved. MR_EUNAVAIL: no device, and why. */
mr_status mr_places_pick(mr_places *p, const char *name, mr_err *err);
/* n devices that share each layer, the first ones or those that are named: n of them.
 * MR_EUNAVAIL: there are fewer. */
mr_status mr_places_pick_shared(mr_places *p, const char *name, uint32_t n, mr_err *err);
/* Splits the model; p->n > 0. Nothing is reserved. MR_ENOMEM: it does not fit, with the numbers. */
mr_status mr_places_plan(mr_places *p, const mr_places_conf *conf, mr_err *err);
/* Behind plan: initializes kv with as many blocks as it found room for, and loads. On failure
 * nothing is kept of kv. */
mr_status mr_places_open(mr_places *p, mr_backend **out, const mr_places_conf *conf, mr_kv *kv,
                         mr_err *err);
/* Behind the backend's close. */
void mr_places_deinit(mr_places *p);

#endif
