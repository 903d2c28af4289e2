/* bar.h - progress of a batch: one line that redraws itself on a terminal, a line now and then elsewhere. */
#ifndef MR_CLI_BAR_H
#define MR_CLI_BAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct mr_bar {
    FILE *f;
    bool terminal;
    size_t total, done, failed;
    size_t held; /* refused for now */
    size_t done_before; /* by earlier runs: they do not count for speed */
    uint64_t tokens;    /* generated in this run */
    uint64_t begin_ms, shown_ms, held_ms; /* held_ms: until when nothing is sent */
} mr_bar;

void mr_bar_init(mr_bar *b, FILE *f, size_t total, size_t done_before, uint64_t now_ms);
/* Redraws at most every 200 ms (terminal) or 10 s (else), unless forced. */
void mr_bar_show(mr_bar *b, uint64_t now_ms, bool force);
/* Removes the line from a terminal, so that other text can be printed. */
void mr_bar_clear(mr_bar *b);

#endif
