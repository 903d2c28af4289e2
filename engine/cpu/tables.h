/* tables.h - the tables of kernels that this build has. */
#ifndef MR_ENGINE_CPU_TABLES_H
#define MR_ENGINE_CPU_TABLES_H

#include "engine/ops.h"

#define MR_CPU_LANES     16 /* f32 sums of one dot product that run side by side */
#define MR_CPU_ATTN_TILE 8  /* most queries that attention takes at once */

extern const mr_ops mr_ops_ref;
#ifdef MR_HAVE_X86
extern const mr_ops mr_ops_avx2, mr_ops_avx512;
#endif
#ifdef MR_HAVE_AVXVNNI
extern const mr_ops mr_ops_avxvnni;
#endif
#ifdef MR_HAVE_AMX
extern const mr_ops mr_ops_amx;
#endif

#endif
