/* plan.c - which queries share a warp, and whether a long context is cut.
 *
 * Rows of one sequence that follow each other form runs, as in attend.c; they begin at multiples of
 * MR_RUN_ROWS, so that a run lies in one block of the cache. An item is what one warp does: 16
 * queries of a run and key head, over all spans of positions. If that makes fewer items than keep
 * the device busy (ITEMS_PER_UNIT for each of its processors), every span of a run becomes an item
 * of its own, which leaves a record for each query; the bits are the same (attention.h).
 *
 * Changes of logits (draw.h) lie behind the tables: what is sent has no gap.
 *
 * Limits: EDIT_BYTES of changes; RECORD_BYTES of records, or those of one row if that is more; a
 * run whose records find no room stays whole. */
#include "engine/cuda/plan.h"

#define ITEMS_PER_UNIT 8
#define RECORD_BYTES   ((size_t)64 << 20)
#define EDIT_BYTES     ((size_t)4 << 20)
#define ALIGN_BYTES    256u

static uint32_t group_of(const mr_hparams *hp) {
    return hp->n_head / hp->n_kv_head;
}

static size_t record_bytes(const mr_hparams *hp) {
    return MR_ATTN_RECORD(hp->d_head) * sizeof(float);
}

static uint32_t blocks_for(uint32_t n_tokens) {
    return (n_tokens + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN;
}

void mr_plan_init(mr_plan *p, const mr_hparams *hp, uint32_t max_rows, uint32_t max_seqs,
                  uint32_t max_len, uint32_t n_units) {
    const size_t spans = (max_len + MR_ATTN_SPAN - 1) / MR_ATTN_SPAN;
    const size_t row_records = spans * hp->n_head, most = RECORD_BYTES / record_bytes(hp);

    *p = (mr_plan){.hp = hp,
                   .max_rows = max_rows,
                   .max_draws = max_seqs,
                   .max_tables = (max_seqs < max_rows ? max_seqs : max_rows) + 1, /* padding */
                   .table_len = blocks_for(max_len),
                   .split_below = ITEMS_PER_UNIT * n_units,
                   .max_records = row_records > most ? row_records : most};
}

size_t mr_plan_record_bytes(const mr_plan *p) {
    return p->max_records * record_bytes(p->hp);
}

static void *place(uint8_t **at, size_t bytes) {
    void *p = *at;

    *at += (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    return p;
}

mr_plan_lists mr_plan_lists_in(const mr_plan *p, void *memory) {
    uint8_t *at = memory;
    mr_plan_lists l;

    l.counts = place(&at, 2 * sizeof *l.counts);
    l.token = place(&at, p->max_rows * sizeof *l.token);
    l.pos = place(&at, p->max_rows * sizeof *l.pos);
    l.table = place(&at, p->max_rows * sizeof *l.table);
    l.kept = place(&at, p->max_rows * sizeof *l.kept);
    for (int i = 0; i < 2; i++) l.runs[i] = place(&at, p->max_rows * sizeof *l.runs[i]);
    l.draws = place(&at, p->max_draws * sizeof *l.draws);
    l.tables = (int32_t *)(void *)at;
    l.edits = (mr_edit *)(void *)at;
    return l;
}

static size_t bytes_before_tables(const mr_plan *p) {
    uint8_t *const start = (uint8_t *)p; /* any address: only the distance counts */
    return (size_t)((uint8_t *)mr_plan_lists_in(p, start).tables - start);
}

static size_t table_bytes(const mr_plan *p) {
    return (size_t)p->max_tables * p->table_len * sizeof(int32_t);
}

size_t mr_plan_bytes(const mr_plan *p) {
    return bytes_before_tables(p) + table_bytes(p) + EDIT_BYTES;
}

size_t mr_plan_first_edit(const mr_plan *p) {
    const size_t used = p->used_bytes - bytes_before_tables(p);
    return (used + sizeof(mr_edit) - 1) / sizeof(mr_edit);
}

size_t mr_plan_end_edit(const mr_plan *p) {
    return (table_bytes(p) + EDIT_BYTES) / sizeof(mr_edit);
}

void mr_plan_send_edits(mr_plan *p, size_t n_edits) {
    p->used_bytes = bytes_before_tables(p) + n_edits * sizeof(mr_edit);
}

/* Rows of a sequence are neighbours: each table goes in once, as far as its last row needs it. */
static void list_rows(mr_plan *p, const mr_row *rows, uint32_t n) {
    uint32_t used = 0;

    p->n = n;
    p->n_kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t last = i;
        while (last + 1 < n && rows[last + 1].table == rows[i].table) last++;
        const uint32_t n_blocks = rows[last].pos / MR_KV_BLOCK_LEN + 1;
        MR_CHECK(used + n_blocks <= (size_t)p->max_tables * p->table_len);
        memcpy(p->host.tables + used, rows[i].table, n_blocks * sizeof *p->host.tables);
        for (;; i++) {
            p->host.token[i] = rows[i].token;
            p->host.pos[i] = rows[i].pos;
            p->host.table[i] = used;
            if (rows[i].want) p->host.kept[p->n_kept++] = i;
            if (i == last) break;
        }
        used += n_blocks;
    }
    p->used_bytes = bytes_before_tables(p) + used * sizeof *p->host.tables;
}

static bool follows(const mr_run *r, uint32_t table, uint32_t pos) {
    return table == r->table && pos == r->pos + r->n_rows && pos % MR_RUN_ROWS != 0;
}

/* which 0: all rows; 1: the wanted ones. */
static void make_runs(mr_plan *p, int which) {
    const uint32_t n = which == 0 ? p->n : p->n_kept;
    mr_run *runs = p->host.runs[which];
    uint32_t n_runs = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t row = which == 0 ? i : p->host.kept[i];
        const uint32_t table = p->host.table[row], pos = p->host.pos[row];

        if (n_runs > 0 && follows(&runs[n_runs - 1], table, pos))
            runs[n_runs - 1].n_rows++;
        else
            runs[n_runs++] =
                (mr_run){.first = i, .n_rows = 1, .pos = pos, .table = table, .n_parts = 1};
    }
    p->n_runs[which] = n_runs;
}

static uint32_t count_items(const mr_plan *p, int which) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_runs[which]; i++)
        n += mr_run_items(&p->host.runs[which][i], group_of(p->hp), p->hp->n_kv_head);
    return n;
}

static void cut_runs(mr_plan *p, int which) {
    const uint32_t group = group_of(p->hp), n_kv = p->hp->n_kv_head;
    const bool split = count_items(p, which) < p->split_below;
    uint32_t n_items = 0;
    size_t n_records = 0;

    for (uint32_t i = 0; i < p->n_runs[which]; i++) {
        mr_run *r = &p->host.runs[which][i];

        r->first_item = n_items;
        r->first_record = (uint32_t)n_records;
        if (split) r->n_parts = mr_run_spans(r);
        if (n_records + mr_run_records(r, group, n_kv) > p->max_records) r->n_parts = 1;
        n_records += mr_run_records(r, group, n_kv);
        n_items += mr_run_items(r, group, n_kv);
    }
    p->n_items[which] = n_items;
    p->host.counts[which] = (mr_run_counts){p->n_runs[which], n_items};
    p->n_records[which] = n_records;
}

void mr_plan_pass(mr_plan *p, const mr_row *rows, uint32_t n) {
    list_rows(p, rows, n);
    for (int which = 0; which < 2; which++) {
        make_runs(p, which);
        cut_runs(p, which);
    }
}
