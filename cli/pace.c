/* pace.c - see pace.h. What a caller that looks only now and then was late by, it may catch up
 * with: CATCH_UP_US at most. */
#include "cli/pace.h"

enum {
    LEAST_PART = 32,       /* behind a refusal the pause is at least this part of the time told, */
    RISE = 2,              /* and has gained this part; */
    EASE = 8,              /* it loses this part with a job, */
    EASE_MS = 500,         /* when jobs have gone for so long without one; */
    LONGEST_US = 10000000, /* it does not rise beyond this, */
    LEAST_US = 500,        /* and is none below this */
    CATCH_UP_US = 200000
};

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void mr_pace_refused(mr_pace *p, uint64_t sent_ms, uint64_t after_ms, uint64_t now_ms) {
    const uint64_t after_us = smaller(after_ms, UINT64_MAX / 1000 - now_ms) * 1000;

    p->next_us = larger(p->next_us, now_ms * 1000 + after_us);
    if (p->heard_ms && sent_ms <= p->heard_ms) return;
    p->heard_ms = now_ms;
    p->quiet_ms = p->next_us / 1000;
    if (p->gap_us < LONGEST_US) p->gap_us += p->gap_us / RISE;
    p->gap_us = larger(p->gap_us, larger(after_us / LEAST_PART, LEAST_US));
}

bool mr_pace_may_send(const mr_pace *p, uint64_t now_ms) {
    return now_ms >= p->next_us / 1000;
}

void mr_pace_sent(mr_pace *p, uint64_t now_ms) {
    const uint64_t now_us = now_ms * 1000;

    if (!p->gap_us) return;
    p->next_us = larger(p->next_us, now_us > CATCH_UP_US ? now_us - CATCH_UP_US : 0) + p->gap_us;
    if (now_ms < p->quiet_ms + EASE_MS) return;
    p->quiet_ms = now_ms;
    p->gap_us -= p->gap_us / EASE;
    if (p->gap_us < LEAST_US) p->gap_us = 0;
}
