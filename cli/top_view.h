/* top_view.h - what `millrace top` shows: beats and heartbeats as a table, or as JSON.
 *
 * A dispatcher or worker that has not been heard of for MR_TOP_SILENT_MS is silent and counts in no
 * sum; after MR_TOP_GONE_MS, or when it said that it leaves, it is not shown. Pure. */
#ifndef MR_CLI_TOP_VIEW_H
#define MR_CLI_TOP_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "millrace/job.h"

#define MR_TOP_SILENT_MS 5000
#define MR_TOP_GONE_MS   60000
#define MR_TOP_TENANTS   512 /* shown; each dispatcher names MR_BEAT_MAX_TENANTS at most */

typedef struct mr_top_view { /* borrowed */
    const mr_beat *const *beats;
    size_t n_beats;
    const mr_heartbeat *const *heartbeats;
    size_t n_heartbeats;
    uint64_t now_ms; /* wall clock */
    bool color;
} mr_top_view;

void mr_top_table(FILE *f, const mr_top_view *v);
void mr_top_json(FILE *f, const mr_top_view *v); /* one line */

#endif
