/* plan.h - a pass as the device's kernels see it: lists of numbers, in one piece of memory.
 *
 * The host fills its copy, and the device's copy gets the same bytes; the pointers of the device's
 * are those of the host's, moved. Owner: caller. */
#ifndef MR_ENGINE_CUDA_PLAN_H
#define MR_ENGINE_CUDA_PLAN_H

#include "engine/backend.h"
#include "engine/cuda/attention.h"
#include "engine/cuda/draw.h"

typedef struct mr_plan_lists { /* in one piece of memory, tables and edits last */
    mr_run_counts *counts;     /* [2]: of runs */
    int32_t *token;            /* [max_rows] */
    uint32_t *pos, *table;     /* [max_rows]; table: where the row's blocks begin in tables */
    uint32_t *kept;            /* [max_rows]: rows that are wanted */
    mr_run *runs[2];           /* [max_rows]: of all rows; of the wanted ones */
    mr_draw *draws;            /* [max_draws] */
    int32_t *tables;           /* [max_tables * blocks of a sequence] */
    mr_edit *edits;            /* where tables begin: the first of them begins behind those */
} mr_plan_lists;

typedef struct mr_plan {
    const mr_hparams *hp;
    uint32_t max_rows, max_draws, max_tables, table_len, split_below; /* items: see plan.c */
    size_t max_records;
    mr_plan_lists host, device;

    /* The pass at work. */
    uint32_t n, n_kept, n_runs[2], n_items[2];
    size_t n_records[2], used_bytes;
} mr_plan;

/* Sets all but the lists. n_units: processors of the device. */
void mr_plan_init(mr_plan *p, const mr_hparams *hp, uint32_t max_rows, uint32_t max_seqs,
                  uint32_t max_len, uint32_t n_units);
/* Bytes of the lists; and lists in memory of that size. */
size_t mr_plan_bytes(const mr_plan *p);
mr_plan_lists mr_plan_lists_in(const mr_plan *p, void *memory);
/* Bytes of the records that attention needs at most. */
size_t mr_plan_record_bytes(const mr_plan *p);

/* Fills the host's lists for rows[n], but for draws. */
void mr_plan_pass(mr_plan *p, const mr_row *rows, uint32_t n);
/* Numbers of the first edit behind the pass's tables, and of the one that there is no room for. */
size_t mr_plan_first_edit(const mr_plan *p);
size_t mr_plan_end_edit(const mr_plan *p);
/* Edits up to n_edits are part of what is sent. */
void mr_plan_send_edits(mr_plan *p, size_t n_edits);

#endif
