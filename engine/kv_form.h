/* kv_form.h - what a block of the cache holds for one key head: its keys, then its values.
 *
 * Both halves take mr_kv_half bytes. Of MR_KV_F16: keys [MR_KV_BLOCK_LEN / MR_KV_RUN, d_head,
 * MR_KV_RUN], so that a run of positions is one vector when scores are made; values
 * [MR_KV_BLOCK_LEN, d_head]. A run is no longer than that: what a position's keys are written to
 * is two values to a line of memory, and of a block that is half full only half is read.
 *
 * MR_KV_Q8_0: the same numbers as bytes, and behind them f16 scales [groups, MR_KV_BLOCK_LEN]: a
 * group is MR_KV_GROUP values of one position, the last may be shorter. A value is byte * scale,
 * which f32 holds exactly. Of a group, scale = max |x| / 127 as f16, and byte = x / scale to the
 * nearest whole number, ties to even, within -127..127. If an x is not finite, or beyond what f16
 * can scale, the whole group is NaN. */
#ifndef MR_ENGINE_KV_FORM_H
#define MR_ENGINE_KV_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_KV_BLOCK_LEN 32 /* positions of a block */
#define MR_KV_RUN       16 /* positions whose keys lie side by side */
#define MR_KV_GROUP     32 /* values that share a scale */

struct mr_ops;

typedef enum mr_kv_type { MR_KV_F16, MR_KV_Q8_0 } mr_kv_type;

/* "f16", "q8_0". False: another text, *out is unchanged. */
bool mr_kv_type_parse(const char *text, mr_kv_type *out);
const char *mr_kv_type_name(mr_kv_type type);

static inline size_t mr_kv_groups(size_t d_head) {
    return (d_head + MR_KV_GROUP - 1) / MR_KV_GROUP;
}
/* Bytes of the keys, or of the values, of one head in one block. */
static inline size_t mr_kv_half(mr_kv_type type, size_t d_head) {
    return type == MR_KV_F16 ? 2 * MR_KV_BLOCK_LEN * d_head
                             : MR_KV_BLOCK_LEN * (d_head + 2 * mr_kv_groups(d_head));
}
/* Where in a half of MR_KV_Q8_0 the scales begin. */
static inline size_t mr_kv_scales_at(size_t d_head) {
    return MR_KV_BLOCK_LEN * d_head;
}

/* Which of a block's keys is value d of position in. */
static inline size_t mr_kv_key_at(size_t d_head, size_t in, size_t d) {
    return (in / MR_KV_RUN * d_head + d) * MR_KV_RUN + in % MR_KV_RUN;
}

/* k, v [d_head] of position in, counted within the block, into the block of a head. scratch: 2 *
 * d_head bytes, of an f16's alignment. Thread: any. */
void mr_kv_write(uint8_t *block, mr_kv_type type, const struct mr_ops *ops, uint32_t in,
                 const float *k, const float *v, size_t d_head, void *scratch);

#endif
