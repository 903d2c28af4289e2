/* pace.h - when the next job may be submitted, after some were refused with the time to come back.
 *
 * A refusal says how long it takes until there is room, not for how many. So nothing is sent for
 * that time, and then jobs go one by one, with a pause between them that grows with each refusal
 * and shrinks while there are none. A refusal of what was sent before the last one was heard tells
 * nothing new. Without refusals there is no pause. Pure: now_ms is an argument. */
#ifndef MR_CLI_PACE_H
#define MR_CLI_PACE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_pace { /* zeroed: as fast as it goes */
    uint64_t next_us;    /* nothing is sent before */
    uint64_t gap_us;     /* between two jobs */
    uint64_t quiet_ms;   /* since when jobs go without a refusal, or the gap has shrunk */
    uint64_t heard_ms;   /* of the last refusal that told something; 0: none */
} mr_pace;

/* A job that was sent at sent_ms may come back after after_ms. */
void mr_pace_refused(mr_pace *p, uint64_t sent_ms, uint64_t after_ms, uint64_t now_ms);
bool mr_pace_may_send(const mr_pace *p, uint64_t now_ms);
void mr_pace_sent(mr_pace *p, uint64_t now_ms);

#endif
