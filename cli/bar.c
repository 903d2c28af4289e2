/* bar.c - see bar.h. */
#include "cli/bar.h"

#include "cli/cli.h"

enum { WIDTH = 24, REDRAW_MS = 200, LINE_MS = 10000 };

void mr_bar_init(mr_bar *b, FILE *f, size_t total, size_t done_before, uint64_t now_ms) {
    *b = (mr_bar){.f = f, .terminal = mr_cli_is_terminal(f), .total = total, .done = done_before,
                  .done_before = done_before, .begin_ms = now_ms};
}

static void format_eta(char *out, size_t cap, const mr_bar *b, uint64_t now_ms) {
    const size_t done = b->done - b->done_before, left = b->total - b->done;
    if (done == 0 || b->total < b->done) {
        snprintf(out, cap, "--:--");
        return;
    }
    const uint64_t s = (now_ms - b->begin_ms) * left / done / 1000;
    if (s >= 3600)
        snprintf(out, cap, "%llu:%02llu:%02llu", (unsigned long long)(s / 3600),
                 (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60));
    else
        snprintf(out, cap, "%llu:%02llu", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
}

void mr_bar_show(mr_bar *b, uint64_t now_ms, bool force) {
    char eta[32], bar[WIDTH + 1];
    const uint64_t pause_ms = b->terminal ? REDRAW_MS : LINE_MS;
    const double seconds = (double)(now_ms - b->begin_ms) / 1000;

    if (!force && now_ms - b->shown_ms < pause_ms) return;
    b->shown_ms = now_ms;
    const size_t full = b->total ? b->done * WIDTH / b->total : WIDTH;
    for (size_t i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = '\0';
    format_eta(eta, sizeof eta, b, now_ms);
    fprintf(b->f, "%s[%s] %zu/%zu jobs  %.0f tokens/s  ETA %s", b->terminal ? "\r\033[K" : "", bar,
            b->done, b->total, seconds > 0 ? (double)b->tokens / seconds : 0.0, eta);
    if (b->failed) fprintf(b->f, "  %zu failed", b->failed);
    if (b->held) fprintf(b->f, "  %zu refused for now", b->held);
    if (b->held && b->held_ms > now_ms)
        fprintf(b->f, ", again in %llu s", (unsigned long long)(b->held_ms - now_ms + 999) / 1000);
    if (!b->terminal) fputc('\n', b->f);
    fflush(b->f);
}

void mr_bar_clear(mr_bar *b) {
    if (b->terminal) fputs("\r\033[K", b->f);
}
