/* delay.h - jobs that are not due: held in order of time, and which delay topic to wait in.
 *
 * A wait of some length is a chain of hops through topics of constant delay, the longest that fits
 * first; the last stretch, shorter than the shortest topic, is waited here. A record that stands in
 * a delay topic is held here, too, while it is at the head of its partition. Pure: now_ms (wall
 * clock) is an argument. Entries are the caller's, linked and unlinked here (place MR_PLACE_DELAY).
 */
#ifndef MR_DISPATCHER_DELAY_H
#define MR_DISPATCHER_DELAY_H

#include "dispatcher/names.h"
#include "dispatcher/window.h"

typedef struct mr_delay mr_delay;

mr_status mr_delay_open(mr_delay **out, mr_err *err);
void mr_delay_close(mr_delay *d); /* entries are not freed; NULL is allowed */
/* Held until ready_ms; UINT64_MAX: until it is removed. */
void mr_delay_add(mr_delay *d, mr_entry *e, uint64_t ready_ms);
void mr_delay_remove(mr_delay *d, mr_entry *e);
/* Takes out the earliest whose time has come; NULL: none. Never early. */
mr_entry *mr_delay_pop(mr_delay *d, uint64_t now_ms);
uint64_t mr_delay_next_ms(const mr_delay *d); /* UINT64_MAX: none */
size_t mr_delay_len(const mr_delay *d);

/* The delay topic for a wait of left_ms; -1: shorter than any, hold it here. */
int mr_delay_tier(uint64_t left_ms);

#endif
