/* suspects.h - which waiting job may start now, so that one that kills its worker is found.
 *
 * A job with which a process died is a suspect. It runs alone: when the process dies again, only
 * that job can have done it. While a suspect waits, nobody else starts, so its turn comes as soon
 * as what runs has ended; among suspects the one with the fewest deaths is first, so that the
 * innocent are through before the guilty has its next try. Without suspects all start in order of
 * arrival.
 *
 * A job counts as running from its start until it is dropped: as long as a mark of it may stand in
 * Kafka. Pure: no clock, no I/O, no allocation after open. Thread: loop. */
#ifndef MR_WORKER_SUSPECTS_H
#define MR_WORKER_SUSPECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "millrace/error.h"

typedef struct mr_suspects mr_suspects;

/* ids are 0..n_ids-1. */
mr_status mr_suspects_open(mr_suspects **out, uint32_t n_ids, mr_err *err);
void mr_suspects_close(mr_suspects *s); /* NULL is allowed */

/* A job arrived, with which so many processes died; it waits. */
void mr_suspects_add(mr_suspects *s, uint32_t id, unsigned deaths);
/* The job to start now; it counts as running. False: none. */
bool mr_suspects_next(mr_suspects *s, uint32_t *id_out);
/* It could not start after all: it waits again, where it was. */
void mr_suspects_wait(mr_suspects *s, uint32_t id);
/* The job has ended or left, waiting or running. Unknown ids are ignored. */
void mr_suspects_drop(mr_suspects *s, uint32_t id);

bool mr_suspects_waits(const mr_suspects *s, uint32_t id);
/* A suspect waits or runs: others have to wait. */
bool mr_suspects_busy(const mr_suspects *s);

#endif
