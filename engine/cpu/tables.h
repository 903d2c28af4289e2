/* tables.h - the tables of kernels that this build has, and the scratch they share the size of. */
#ifndef MR_ENGINE_CPU_TABLES_H
#define MR_ENGINE_CPU_TABLES_H

#include "engine/ops.h"

#define MR_CPU_LANES        16  /* f32 sums of one dot product that run side by side */
#define MR_CPU_ROW_BLOCK    16  /* weight rows that are decoded together */
#define MR_CPU_CHUNK_COLS   512 /* of that many columns at a time; a multiple of every block */
#define MR_CPU_ATTN_TILE    8   /* most queries that attention takes at once */
#define MR_CPU_GROUP_TOKENS 48  /* tokens that a decoded chunk is used for */

extern const mr_ops mr_ops_ref;
#ifdef MR_HAVE_X86
extern const mr_ops mr_ops_avx2, mr_ops_avx512;
#endif

#endif
