/* gguf_write.h - writes a GGUF v3 file from front to back with little memory.
 *
 * Order of calls: open, all keys, all tensor declarations, the data of the tensors in the order
 * of their declaration, finish, close. What is not finished leaves nothing behind: the file is
 * written under a temporary name beside its place, and renamed when all of it is on the disk.
 *
 * The first failure (a full disk) is kept: calls after it do nothing, and data and finish report
 * it, so a caller need not check each key. Calls out of order, or data that do not match the
 * declarations, are bugs and abort. Owner: caller, open to close. Thread: one at a time. */
#ifndef MR_ENGINE_GGUF_WRITE_H
#define MR_ENGINE_GGUF_WRITE_H

#include "engine/gguf.h"

typedef struct mr_gguf_writer mr_gguf_writer;

mr_status mr_gguf_writer_open(mr_gguf_writer **out, const char *path, mr_err *err);
/* Without a finish that succeeded: the temporary file is removed. NULL is allowed. */
void mr_gguf_writer_close(mr_gguf_writer *w);

void mr_gguf_put_u32(mr_gguf_writer *w, const char *key, uint32_t v);
void mr_gguf_put_f32(mr_gguf_writer *w, const char *key, float v);
void mr_gguf_put_bool(mr_gguf_writer *w, const char *key, bool v);
void mr_gguf_put_str(mr_gguf_writer *w, const char *key, const char *v);
/* Exactly n calls of the item function of that kind must follow. */
void mr_gguf_put_array(mr_gguf_writer *w, const char *key, mr_gguf_kind item, uint64_t n);
void mr_gguf_item_str(mr_gguf_writer *w, const char *s, size_t n);
void mr_gguf_item_f32(mr_gguf_writer *w, float v);
void mr_gguf_item_i32(mr_gguf_writer *w, int32_t v);

/* dims[0] is the contiguous one. */
void mr_gguf_put_tensor(mr_gguf_writer *w, const char *name, mr_type type, const uint64_t *dims,
                        uint32_t n_dims);
/* Bytes of the file as declared so far. */
uint64_t mr_gguf_writer_bytes(const mr_gguf_writer *w);
/* The next bytes of tensor data, in pieces of any size; padding is added between tensors. */
mr_status mr_gguf_put_data(mr_gguf_writer *w, const void *bytes, size_t n, mr_err *err);
/* Everything declared has been written: to the disk with it, and to its name. */
mr_status mr_gguf_writer_finish(mr_gguf_writer *w, mr_err *err);

#endif
