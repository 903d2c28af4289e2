/* backend.h - the steps of a pass on the processor's cores, in terms of the ops table.
 *
 * Thread: one caller; the work is spread over the pool inside. */
#ifndef MR_ENGINE_CPU_BACKEND_H
#define MR_ENGINE_CPU_BACKEND_H

#include "engine/backend.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/ops.h"
#include "engine/threads.h"

/* Borrows model, ops, pool and kv, whose memory it fills. All memory is reserved here. */
mr_status mr_cpu_backend_open(mr_backend **out, const mr_model *m, const mr_ops *ops, mr_pool *pool,
                              mr_kv *kv, const mr_room *room, mr_err *err);
/* Bytes that open would reserve. */
size_t mr_cpu_backend_bytes(const mr_model *m, const mr_room *room, int n_threads);

#endif
